"""netconduit: typed RPC in msgpack on asyncio, after a password; or this package's drop-in for it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Iterable
from importlib import import_module
from typing import Any

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.wires import PASSWORD


class ClientEnd:
    """A connected client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._enveloped = type(client).__module__.startswith("conduit.")

    async def many(self, contents: Iterable[bytes]) -> None:
        """Send messages, one after another."""
        send = self._client.send
        for content in contents:
            await send("note", content)

    async def ask(self, content: bytes) -> Any:
        """Send a request, and wait for the reply."""
        return await self._client.rpc.call("echo", {"content": content})

    async def ping(self) -> None:
        """Send an empty request, and wait for the reply."""
        await self.ask(b"")

    def send(self, content: bytes) -> None:
        """Not there: sending is a coroutine here."""
        raise NotImplementedError

    def room(self) -> Awaitable[None]:
        """Not needed: sending waits."""
        raise NotImplementedError

    def content(self, reply: Any) -> bytes:
        """Return a reply's content, which netconduit itself has in an envelope."""
        content: bytes = reply["data"] if self._enveloped else reply
        return content


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    logging.disable(logging.WARNING)
    conduit, tally = import_module(task["module"]), Tally()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = conduit.Server(conduit.ServerDescriptor(password=PASSWORD, host="127.0.0.1", port=port, max_connections=10_000))

    async def echo(content: bytes) -> bytes:
        return content

    take = tally.take_stream_content if task["mode"] == "streams" else tally.take_content

    async def sink(connection: Any, content: bytes) -> None:
        take(content)

    async def broadcast(connection: Any, content: bytes) -> None:
        for _ in range(task["in_a_row"]):
            await server.broadcast("note", content)

    server.rpc("echo")(echo)
    server.on("note")(broadcast if task["mode"] == "broadcast" else sink)
    await server.start()
    return port, tally.commands


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    logging.disable(logging.WARNING)
    conduit = import_module(task["module"])
    client = conduit.Client(conduit.ClientDescriptor(server_host="127.0.0.1", server_port=task["port"], password=PASSWORD))
    if not await asyncio.wait_for(client.connect(), 10):
        raise ConnectionError("connect() returned False")
    return ClientEnd(client)


if __name__ == "__main__":
    looping.run(serve, connect)
