"""A server with a route, a callback and a broadcast.

    python 01_server.py [PORT]

PORT is 8080 by default; 0 lets the system choose. Talk to it with 02_client.py, with a program that
uses upstream Veltix, or from a shell: ``veltix send 127.0.0.1:8080 200 hello --wait``.
"""

import sys

from veltix_tx import MessageType, Server

CHAT = MessageType(200, "chat")

server = Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)


@server.route(CHAT)
def on_chat(client, message):
    """Pass the message on to all other clients; what is returned answers the sender."""
    reached = server.broadcast(CHAT, message.content, exclude=[client])
    return b"delivered to %d" % reached


@server.set_callback("on_connect")
def on_connect(client):
    print(f"{client.ip} connected, it speaks Veltix {client.peer.version}", flush=True)


@server.set_callback("on_disconnect")
def on_disconnect(client):
    print(f"{client.ip} is gone: {client.closed}", flush=True)


server.run()
