"""Everything a client does, with one line for each thing it sees. The server is ``peers/server.py``."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import queue
import threading

from veltix import Client, ClientConfig, Events, Logger, MessageType, Request

Logger.get_instance().disable()

PLAIN = MessageType(200, "plain")
ROUTED = MessageType(201, "routed")
ECHO = MessageType(202, "echo", "comes back")

happened: queue.Queue[str] = queue.Queue()
"""What the callbacks saw: printed by the main thread, in its order."""

client = Client(ClientConfig(server_addr="127.0.0.1", port=8080))


@client.route(ROUTED)
def on_routed(response):
    """Take what the server tells all."""
    happened.put(f"route {response.type} {response.content}")


def on_connect():
    """Take note. What the real one's ``is_connected`` is by now is left to chance."""
    happened.put(f"on_connect, in the main thread: {in_main_thread()}")


def on_recv(response):
    """Take what has no route and nobody waits for."""
    same = response.request_id == echoed.request_id
    happened.put(f"on_recv {response.type} {response.content}, that id {same}, in the main thread: {in_main_thread()}")


def on_disconnect(state):
    """Take note (in which thread, is told in the list of differences)."""
    happened.put(f"on_disconnect {state}, is_connected {client.is_connected}")


def in_main_thread():
    """Tell where this runs."""
    return threading.current_thread() is threading.main_thread()


def show(what, value):
    """Print a value."""
    print(f"{what}: {value!r}")


client.set_callback(Events.ON_CONNECT, on_connect)
client.set_callback("on_recv", on_recv)
client.set_callback(Events.ON_DISCONNECT, on_disconnect)
show("set_callback of something else", client.set_callback("on_something", on_recv))
show("is_connected", client.is_connected)
show("connect", client.connect())
print(happened.get())
show("is_connected", client.is_connected)

sender = client.get_sender()
show("send", sender.send(Request(PLAIN, b"to the server")))
show("send of no bytes", sender.send(Request(PLAIN, "text")))
show("broadcast", sender.broadcast(Request(PLAIN, b""), []))

# The newest wire has room for two bytes of an id.
echoed = Request(ECHO, b"echo", request_id=b"\0\0\x124")
show("request", echoed)
show("send", sender.send(echoed))
print(happened.get())
reply = client.send_and_wait(Request(ECHO, b"asked", request_id=b"abcd"), timeout=5.0)
show("reply", (reply.type, reply.content, reply.request_id, reply.hash, type(reply.timestamp), type(reply.received_at)))
show("its latency", -1000 < reply.latency < 5000)
show("big reply", len(client.send_and_wait(Request(ECHO, bytes(300_000))).content))
show("empty reply", client.send_and_wait(Request(ECHO, b"")).content)
show("no reply", client.send_and_wait(Request(PLAIN, b"no answer to this"), timeout=0.2))
answer = Request(PLAIN, b"answer")
show("respond", answer.respond(reply))
show("its id", answer.request_id == reply.request_id)

latency = client.ping_server(timeout=5.0)
show("ping", isinstance(latency, (int, float)) and 0 <= latency < 5000)

show("ask for all", sender.send(Request(PLAIN, b"tell all")))
print(happened.get())
show("unregister_route", client.request_handler.unregister_route(ROUTED))
show("unregister_route", client.request_handler.unregister_route(ROUTED))
show("ask for all", sender.send(Request(PLAIN, b"tell all")))
print(happened.get())
show("register_route", client.request_handler.register_route(ROUTED, on_routed))
show("register_route", client.request_handler.register_route(ROUTED, on_routed))


def ask(number):
    """Ask from a thread of its own."""
    happened.put(f"{client.send_and_wait(Request(ECHO, b'%d' % number)).content}")


several = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
for thread in several:
    thread.start()
show("asked by many threads", sorted(happened.get() for _ in several))

show("disconnect", client.disconnect())
print(happened.get())
show("is_connected", client.is_connected)
show("running", client.running)
show("left", happened.qsize())
