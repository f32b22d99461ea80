"""This package at its door for asyncio: aio's Server and Client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from veltix_tx import Response
from veltix_tx.aio import Client, Server, Session
from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.own import MESSAGE, PINNED, sizes
from veltix_tx.wire.veltix.wire import Auto


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    header = task["header"]
    wire = PINNED[header] if header == 62 or (header == 22 and task["raw"]) else "auto"
    server, tally = Server(host="127.0.0.1", port=0, wire=wire, **sizes(task)), Tally()

    def echo(client: Session, message: Response) -> bytes:
        return message.content

    def broadcast(client: Session, message: Response) -> None:
        for _ in range(task["in_a_row"]):
            server.broadcast(MESSAGE, message.content)

    handlers: dict[str, Callable[..., Any]] = {
        "sink": tally.take,
        "streams": tally.take_stream,
        "echo": echo,
        "broadcast": broadcast,
    }
    server.register_route(MESSAGE, handlers[task["mode"]])
    await server.listen()
    return server.port, tally.commands


async def connect(task: dict[str, Any]) -> Awaited:
    """Connect a client."""
    header = task["header"]
    wire = PINNED[62] if header == 62 else Auto(long_headers=header == 22)
    client = Client("127.0.0.1", task["port"], wire=wire, **sizes(task))
    await client.connect()
    return Awaited(client)


class Awaited:
    """A connected client."""

    def __init__(self, client: Client) -> None:
        self.send = partial(client.send, MESSAGE)
        self.ask = partial(client.send_and_wait, MESSAGE)
        self.ping = client.ping
        assert client.session is not None
        self.room = client.session.when_writable

    def content(self, reply: Response) -> bytes:
        """Return a reply's content."""
        return reply.content


if __name__ == "__main__":
    looping.run(serve, connect)
