"""An alarm receiver: two kinds of devices report in lines of text, operators on Veltix hear of it.

    python 14_lines.py [PORT] [OPERATORS]
    veltix listen 127.0.0.1:OPERATORS
    veltix send 127.0.0.1:PORT --wire lines - --wait

A device says first who it is, ``PANEL number`` or ``SENSOR place``. A panel sends ``ALARM place``, which is stored in
``alarms.db`` before it is acknowledged; a sensor sends how warm it is. Both send ``BEAT`` now and then, and one that has
been silent for 90 seconds is closed. Each line has an answer, ``NAK`` where the handler failed. PORT is 8080 by default,
OPERATORS 8081; 0 lets the system choose.
"""

import sqlite3
import sys

from twisted.internet import reactor

from veltix_tx import TEXT, Consumed, Lines, MessageType, Server, Timeouts

NEWS = MessageType(200, "news", content=str)
HOT = 60
ports = [int(given) for given in sys.argv[1:3]] + [8080, 8081][len(sys.argv) - 1 :]


def kind_of(client, message):
    """The first line of a device says what it is; operators have no kind."""
    kind, _, name = message.value.partition(" ") if message.type is TEXT else ("", "", "")
    if kind not in ("PANEL", "SENSOR") or not name:
        return None
    client.add_tag("name", name)
    client.send(TEXT, "ACK")
    return Consumed(kind)


devices = Lines(max_line=256, errors="replace")  # no line is dropped: it would have no answer
server = Server(
    endpoints=((devices, f"tcp:{ports[0]}:interface=127.0.0.1"), f"tcp:{ports[1]}:interface=127.0.0.1"),
    timeouts=Timeouts(idle=90),
    classifier=kind_of,
)


@server.set_callback("on_connect")
def on_connect(client):
    if client.peer.wire != "lines":
        client.add_tag("operator")


@server.use
async def answer_failures(client, message, next):
    """Only the order tells a device which answer is whose: without one the next ACK would be taken for that of the failed line."""
    try:
        return await next(message)
    except Exception:
        if client.peer.wire == "lines":
            client.send(TEXT, "NAK")
        raise  # to the log


@server.use
def heartbeat(client, message, next):
    return "ACK" if client.kind and message.value == "BEAT" else next(message)


@server.route(TEXT, kind="PANEL", thread=True)
def on_panel(panel, message):
    """It writes to a database, and so runs in a thread: this panel waits for it, and no other device."""
    event, _, place = message.value.partition(" ")
    if event != "ALARM" or not place:
        return "WHAT?"
    with sqlite3.connect("alarms.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS alarms (panel, place)")
        database.execute("INSERT INTO alarms VALUES (?, ?)", [panel.get_tag("name"), place])
    database.close()
    told = tell(f"alarm in {place}, says panel {panel.get_tag('name')}")
    return f"ACK, {told} told"


@server.route(TEXT, kind="SENSOR")
def on_sensor(sensor, message):
    try:
        celsius = float(message.value)
    except ValueError:
        return "WHAT?"
    if celsius > HOT:
        tell(f"{celsius:g} degrees at {sensor.get_tag('name')}")
    return "ACK"


@server.route(TEXT)
def on_stranger(device, message):
    """What has said another thing than who it is."""
    device.send(TEXT, "WHO ARE YOU?")
    device.disconnect()


def tell(news):
    return server.broadcast(NEWS, news, to=server.select(["operator"]))


server.startService()
reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
for who, address in zip(("devices", "operators"), server.addresses, strict=True):
    print(f"{who}: listening on {address.host}:{address.port}", flush=True)
reactor.run()
