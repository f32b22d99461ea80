"""This package at its door for asyncio: aio's Server and Client."""

from __future__ import annotations

from functools import partial
from typing import Any

from veltix_tx import Response
from veltix_tx.aio import Client, Server
from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.own import MESSAGE, check_header, client_settings, handler, server_settings


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    server, tally = Server(**server_settings(task)), Tally()
    server.register_route(MESSAGE, handler(task, server.broadcast, tally))
    await server.listen()
    return server.port, tally.commands


async def connect(task: dict[str, Any]) -> Awaited:
    """Connect a client."""
    client = Client(**client_settings(task))
    session = await client.connect()
    check_header(session.peer, task)
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
