"""``websockets`` on asyncio, without compression: frames, no checksum, replies in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from importlib import import_module
from typing import Any

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally


class ClientEnd:
    """A connected client."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self._reading = self._loop.create_task(self._read())

    async def many(self, contents: Iterable[bytes]) -> None:
        """Send messages, one after another."""
        send = self._connection.send
        for content in contents:
            await send(content)

    async def ask(self, content: bytes) -> bytes:
        """Send a request, and wait for the reply."""
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(reply)
        await self._connection.send(content)
        return await reply

    async def ping(self) -> None:
        """Send a ping, and wait for the answer."""
        await (await self._connection.ping())

    def send(self, content: bytes) -> None:
        """Not there: sending is a coroutine here."""
        raise NotImplementedError

    def room(self) -> Awaitable[None]:
        """Not needed: sending waits."""
        raise NotImplementedError

    def content(self, reply: bytes) -> bytes:
        """Return a reply's content."""
        return reply

    async def _read(self) -> None:
        async for message in self._connection:
            self._waiting.popleft().set_result(message)


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    module, tally, ends = import_module("websockets.asyncio.server"), Tally(), set[Any]()

    async def sink(connection: Any) -> None:
        take = tally.take_content if task["mode"] == "sink" else tally.take_stream_content
        async for message in connection:
            take(message)

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def broadcast(connection: Any) -> None:
        ends.add(connection)
        async for message in connection:
            for _ in range(task["in_a_row"]):
                module.broadcast(ends, message)

    handler = {"echo": echo, "broadcast": broadcast}.get(task["mode"], sink)
    server = await module.serve(handler, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None, backlog=1024)
    return server.sockets[0].getsockname()[1], tally.commands


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    module = import_module("websockets.asyncio.client")
    address = f"ws://127.0.0.1:{task['port']}"
    return ClientEnd(await module.connect(address, compression=None, max_size=None, ping_interval=None, proxy=None))


if __name__ == "__main__":
    looping.run(serve, connect)
