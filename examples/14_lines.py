"""An alarm receiver: devices that speak lines of text report, operators on Veltix hear of it.

    python 14_lines.py [PORT] [OPERATORS]
    veltix send 127.0.0.1:PORT --wire lines 'ALARM kitchen' --wait
    veltix listen 127.0.0.1:OPERATORS

A device sends ``ALARM place``, and ``BEAT`` now and then; each line is acknowledged. One that has been silent for 90
seconds is closed. PORT is 8080 by default, OPERATORS 8081; 0 lets the system choose.
"""

import sys

from twisted.internet import reactor

from veltix_tx import TEXT, Lines, MessageType, Server, Timeouts

NEWS = MessageType(200, "news")
ports = [int(given) for given in sys.argv[1:3]] + [8080, 8081][len(sys.argv) - 1 :]

devices = Lines(max_line=256)
server = Server(
    endpoints=((devices, f"tcp:{ports[0]}:interface=127.0.0.1"), f"tcp:{ports[1]}:interface=127.0.0.1"),
    timeouts=Timeouts(idle=90),
)


@server.set_callback("on_connect")
def on_connect(client):
    if client.peer.wire != "lines":
        client.add_tag("operator")


@server.route(TEXT)
def on_line(device, message):
    kind, _, place = message.value.partition(" ")
    if kind == "ALARM" and place:
        told = server.broadcast(NEWS, f"alarm in {place}".encode(), to=server.select(["operator"]))
        return f"ACK, {told} told"
    return "ACK" if kind == "BEAT" else "WHAT?"


server.startService()
reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
for who, address in zip(("devices", "operators"), server.addresses, strict=True):
    print(f"{who}: listening on {address.host}:{address.port}", flush=True)
reactor.run()
