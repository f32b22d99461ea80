"""A client that loses its server twice: the server comes back once. Enter when it is gone, Enter when it is back."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import queue

from veltix import Client, ClientConfig, Events, Logger, MessageType, Request

Logger.get_instance().disable()

ECHO = MessageType(202, "echo")
happened: queue.Queue[str] = queue.Queue()

client = Client(ClientConfig(port=8080, retry=3, retry_delay=0.5))
client.set_callback(Events.ON_CONNECT, lambda: happened.put("on_connect"))
client.set_callback(Events.ON_RECV, lambda response: happened.put(f"on_recv {response.content}"))
client.set_callback(Events.ON_DISCONNECT, lambda state: happened.put(f"on_disconnect {state}"))
print("connect", client.connect())
print(happened.get())

input("Stop the server and start it again...\n")
line = happened.get()
while line != "on_connect":  # it depends on the server how many attempts fail
    line = happened.get()
print("connected again:", client.is_connected)
print("asked:", client.send_and_wait(Request(ECHO, b"still there?")).content)
print("sent:", client.get_sender().send(Request(ECHO, b"to on_recv")))
print(happened.get())

input("Stop the server...\n")
for _ in range(4):
    print(happened.get())
print("is_connected", client.is_connected)
