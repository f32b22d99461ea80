"""asyncio as most use it: streams, a loop that reads one message after another, a write for each message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.headers import HEADERS, HELLO_ACK, PING, PONG, Header
from veltix_tx.benchmark.peers.program import CODE

_READ = 256 * 1024


class Connection:
    """One connection: messages in, messages out.

    Args:
        header: of each message.
        reader: where they come from.
        writer: where they go.
    """

    def __init__(self, header: Header, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._header = header
        self._read = reader.readexactly
        self.write = writer.write
        self.room = writer.drain

    async def message(self) -> tuple[int, bytes, int]:
        """Return the next message: its type, its content, its request id."""
        header = self._header
        code, size, digest, request_id = header.unpack.unpack(await self._read(header.size))
        content = await self._read(size)
        if header.checksum(content) != digest:
            raise ValueError("a bad checksum")
        return code, content, request_id

    async def told(self) -> dict[str, Any]:
        """Return the next part of a handshake in JSON."""
        told: dict[str, Any] = json.loads(await self._read(int.from_bytes(await self._read(2), "big")))
        return told


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    tally, connections, header, mode = Tally(), set[Connection](), HEADERS[task["header"]], task["mode"]
    take = tally.take_stream_content if mode == "streams" else tally.take_content

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(header, reader, writer)
        connection.write(header.greeting())
        try:
            if header.json:
                await connection.told()
                connection.write(header.result)
                connections.add(connection)
            while True:
                await handle(connection, *await connection.message())
        except (asyncio.IncompleteReadError, ConnectionError):
            connections.discard(connection)
            writer.close()

    async def handle(connection: Connection, code: int, content: bytes, request_id: int) -> None:
        if code == CODE and mode == "echo":
            connection.write(header.frame(content, CODE, request_id))
            await connection.room()
        elif code == CODE and mode == "broadcast":
            for _ in range(task["in_a_row"]):
                frame = header.frame(content, CODE, 0)
                for each in connections:
                    each.write(frame)
        elif code == CODE:
            take(content)
        elif code == PING:
            connection.write(header.frame(b"", PONG, request_id))
        elif code == HELLO_ACK:
            connections.add(connection)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_READ, backlog=1024)
    return server.sockets[0].getsockname()[1], tally.commands


class ClientEnd:
    """A client's connection."""

    def __init__(self, header: Header, connection: Connection) -> None:
        self._header = header
        self._connection = connection
        self.room = connection.room
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0
        self._loop = asyncio.get_running_loop()

    async def begin(self) -> None:
        """Shake hands, and read replies from then on."""
        connection, header = self._connection, self._header
        if header.json:
            await connection.told()
            connection.write(header.greeting())
            await connection.told()
        else:
            _, content, request_id = await connection.message()
            connection.write(header.frame(content, HELLO_ACK, request_id))
        self._reading = self._loop.create_task(self._read())

    async def _read(self) -> None:
        while True:
            _, content, request_id = await self._connection.message()
            self._waiting.pop(request_id).set_result(content)

    def send(self, content: bytes) -> None:
        """Send a message."""
        self._connection.write(self._header.frame(content, CODE, 0))

    def ask(self, content: bytes) -> Awaitable[bytes]:
        """Send a request."""
        return self._ask(content, CODE)

    def ping(self) -> Awaitable[bytes]:
        """Send a ping."""
        return self._ask(b"", PING)

    def content(self, reply: bytes) -> bytes:
        """Return a reply's content."""
        return reply

    def _ask(self, content: bytes, code: int) -> Awaitable[bytes]:
        self._last = request_id = (self._last + 1) % self._header.ids
        reply = self._waiting[request_id] = self._loop.create_future()
        self._connection.write(self._header.frame(content, code, request_id))
        return reply


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    header = HEADERS[task["header"]]
    end = ClientEnd(header, Connection(header, *await asyncio.open_connection("127.0.0.1", task["port"], limit=_READ)))
    await end.begin()
    return end


if __name__ == "__main__":
    looping.run(serve, connect)
