"""Servers and clients of the netconduit drop-in for one test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tests.support.ports import free_port
from veltix_tx.dropin.conduit import Client, ClientDescriptor, Server, ServerDescriptor

__all__ = ["Run", "connected", "make_client", "make_server", "serving", "until"]

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def make_server(**settings: Any) -> Server:
    """Make a server for a free port."""
    return Server(ServerDescriptor(**{"host": "127.0.0.1", "port": free_port(), "password": "secret"} | settings))


def make_client(server: Server, **settings: Any) -> Client:
    """Make a client of a server."""
    given = {"server_host": "127.0.0.1", "server_port": server.config.port, "password": "secret", "reconnect_enabled": False}
    return Client(ClientDescriptor(**given | settings))


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true; the test's own time bounds that."""
    while not true():  # noqa: ASYNC110 (there is nothing that would tell)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Start a server; stop it behind the block."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(server: Server, client: Client | None = None) -> AsyncIterator[Client]:
    """Start a server and connect a client to it; both are gone behind the block."""
    client = client or make_client(server)
    async with serving(server):
        assert await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()
