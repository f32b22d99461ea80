"""A server that tells all that happens to it, and sends messages of type 202 back."""

# ruff: noqa: T201 (a script)
from __future__ import annotations

import zlib

from veltix import ClientInfo, Events, MessageType, Request, Response, Server, ServerConfig

TYPES = {code: MessageType(code, f"type {code}") for code in (200, 201, 202)}
server = Server(ServerConfig(port=8080))


def send(code: int, content: bytes) -> bool:
    """Send a message to all."""
    return server.get_sender().broadcast(Request(TYPES[code], content), server.get_all_clients_sockets())


def received(client: ClientInfo, response: Response) -> None:
    """Print a message, a long one as its size and checksum."""
    content = response.content
    print(f"received {response.type.code} {content.decode() if len(content) < 1000 else (len(content), zlib.crc32(content))}")
    if response.type.code == 202:
        server.get_sender().send(Request(response.type, content, request_id=response.request_id), client=client.conn)


server.set_callback(Events.ON_CONNECT, lambda client: print("connected"))
server.set_callback(Events.ON_DISCONNECT, lambda client: print("disconnected"))
server.set_callback(Events.ON_RECV, received)
server.start()
