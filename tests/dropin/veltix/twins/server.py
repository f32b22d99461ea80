"""Everything a server does with one client, ``twins/asker.py``, with one line for each thing it sees."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import queue
import threading

from veltix import Events, Logger, MessageType, Mode, Request, Sender, SenderError, Server, ServerConfig

Logger.get_instance().disable()

PLAIN = MessageType(200, "plain")
ROUTED = MessageType(201, "routed")
ECHO = MessageType(202, "echo")

happened: queue.Queue[str] = queue.Queue()
"""What the callbacks saw: printed by the main thread, in its order."""
clients: queue.Queue[object] = queue.Queue()

server = Server(ServerConfig(host="127.0.0.1", port=8080))
sender = server.get_sender()


def in_main_thread():
    """Tell where this runs."""
    return threading.current_thread() is threading.main_thread()


def about(client):
    """Tell what is the same in every run."""
    return f"{client.addr[0]} {client.ip} {client.addr[1] == client.port} {client.thread_id} {client.handshake_done}"


def show(what, value):
    """Print a value."""
    print(f"{what}: {value!r}")


def on_connect(client):
    """Take note."""
    happened.put(f"on_connect {about(client)}, there {client in server.clients}, in the main thread: {in_main_thread()}")
    client.add_tag("since", value="on_connect")
    clients.put(client)


def on_recv(client, response):
    """Answer ECHO."""
    if response.type == ECHO:
        reply = Request(ECHO, response.content)
        reply.respond(response)
        sender.send(reply, client=client.conn)
    else:
        happened.put(f"on_recv {response.type} {response.content}, in the main thread: {in_main_thread()}")


def on_disconnect(client):
    """Take note."""
    happened.put(f"on_disconnect {about(client)}, there {client in server.clients}, tags {client.tags}")


server.set_callback(Events.ON_CONNECT, on_connect)
server.set_callback(Events.ON_RECV, on_recv)
server.set_callback("on_disconnect", on_disconnect)


@server.route(ROUTED)
def on_routed(response, client):
    """Take a routed message."""
    happened.put(f"route {response.content} of {client.get_tag('since')}")


show("clients", server.clients)
show("start", server.start())
print(happened.get())
client = clients.get()
show("clients", len(server.clients))
show("sockets", [each is client.conn for each in server.get_all_clients_sockets()])

for _ in range(2):  # the client waits for an answer between them
    print(happened.get())
    show("go on", sender.send(Request(PLAIN, b"go on"), client=client.conn))

reply = server.send_and_wait(Request(ECHO, b"asked"), client, timeout=5.0)
show("reply", (reply.type, reply.content))
show("no reply", server.send_and_wait(Request(PLAIN, b"no answer to this"), client, timeout=0.2))
latency = server.ping_client(client, timeout=5.0)
show("ping", isinstance(latency, (int, float)) and 0 <= latency < 5000)
show("ping_client_async", server.ping_client_async(client, lambda latency: happened.put(f"ping {latency is not None}")))
print(happened.get())

everyone = server.get_all_clients_sockets()
show("broadcast", sender.broadcast(Request(PLAIN, b"to all"), everyone))
show("broadcast", sender.broadcast(Request(PLAIN, b"to nobody"), everyone, except_clients=[client.conn]))
show("broadcast", sender.broadcast(Request(PLAIN, b"to nobody"), []))
show("send to nobody", sender.send(Request(PLAIN, b"to nobody")))
try:
    Sender(Mode.CLIENT)
except SenderError as error:
    print(error)

show("tags", (client.tags, client.add_tag("a"), client.add_tag("a", value=1), client.get_tag("a"), client.has_any_tags(["a", "b"])))
show("tags", (client.has_all_tags(["a", "since"]), client.remove_tag("b"), client.remove_tag("a"), client.tags))

show("leave", sender.send(Request(PLAIN, b"leave"), client=client.conn))
print(happened.get())
show("clients", server.clients)

show("come again", None)
print(happened.get())
client = clients.get()
show("close_all", server.close_all())
print(happened.get())
show("clients", server.clients)
show("close_all", server.close_all())
show("left", happened.qsize())
