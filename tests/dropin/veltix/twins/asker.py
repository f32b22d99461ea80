"""The client of ``twins/server.py``."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import queue

from veltix import Client, ClientConfig, Events, Logger, MessageType, Request

Logger.get_instance().disable()

TYPES = {code: MessageType(code, f"type {code}") for code in (200, 201, 202)}
PLAIN, ROUTED, ECHO = TYPES.values()
happened: queue.Queue[str] = queue.Queue()

client = Client(ClientConfig(port=8080, max_workers=1))  # else the real one takes messages in any order
sender = client.get_sender()


def on_recv(response):
    """Answer ECHO."""
    if response.type == ECHO:
        sender.send(Request(ECHO, response.content, request_id=response.request_id))
    else:
        happened.put(f"on_recv {response.content}")


client.set_callback(Events.ON_RECV, on_recv)
client.set_callback(Events.ON_DISCONNECT, lambda state: happened.put(f"on_disconnect {state}"))
print("connect", client.connect())
for kind, content in ((PLAIN, b"plain"), (ROUTED, b"routed")):
    print("send", sender.send(Request(kind, content)))
    print(happened.get())
print("asked", client.send_and_wait(Request(ECHO, b"anyone?")).content)
print("ping", client.ping_server() is not None)
for _ in range(3):
    print(happened.get())
print("disconnect", client.disconnect())
print(happened.get())

again = Client(ClientConfig(port=8080))
again.set_callback(Events.ON_DISCONNECT, lambda state: happened.put(f"on_disconnect {state}"))
input("Enter to come again...\n")
print("connect", again.connect())
print(happened.get())
