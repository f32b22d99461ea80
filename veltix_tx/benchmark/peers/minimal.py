"""asyncio as an expert would use it: the same headers and checksums, a callback for each message, no limits.

Large messages are received into place (BufferedProtocol). What is sent while a read is handled, to whatever connections,
leaves in one write for each of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from time import time
from typing import Any

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.headers import HEADERS, HELLO, HELLO_ACK, PING, PONG, Header
from veltix_tx.benchmark.peers.program import CODE

_READ = 256 * 1024
_BATCH = 64 * 1024
_LARGE = 64 * 1024
"""Bytes of a content from which on it is received into place."""


class Message:
    """Message as a callback gets it."""

    __slots__ = ("code", "content", "request_id")

    def __init__(self, code: int, content: bytes | bytearray, request_id: int) -> None:
        self.code = code
        self.content = content
        self.request_id = request_id


class Decoder:
    """Bytes to messages.

    Args:
        header: of each message.
        received: called with each message.

    Attributes:
        target: where the rest of a large content belongs; None while there is none.
        after_large: True if the last content was large: the next one likely is, too.
    """

    def __init__(self, header: Header, received: Callable[[Message], object]) -> None:
        self._header = header
        self._received = received
        self._rest = b""
        self._large: tuple[int, bytearray, Any, int] | None = None
        self.target: memoryview | None = None
        self.after_large = False

    @property
    def missing(self) -> int:
        """Bytes that a header is short of."""
        return self._header.size - len(self._rest)

    def feed(self, data: bytes) -> None:
        """Take what was read while there was no target."""
        self.after_large = False
        header, received = self._header, self._received
        unpack, checksum, size_of = header.unpack.unpack_from, header.checksum, header.size
        if self._rest:
            data = self._rest + data
        at, end, size = 0, len(data), 0
        while end - at >= size_of:
            code, size, digest, request_id = unpack(data, at)
            begin = at + size_of
            stop = begin + size
            if stop > end:
                break
            content = data[begin:stop]
            if checksum(content) != digest:
                raise ValueError("a bad checksum")
            received(Message(code, content, request_id))
            at = stop
        self._rest = data[at:]
        if size > _LARGE and end - at >= size_of:
            large = bytearray(size)
            there = len(self._rest) - size_of
            large[:there] = memoryview(self._rest)[size_of:]
            self._rest = b""
            self._large = (code, large, digest, request_id)
            self.target = memoryview(large)[there:]

    def fill(self, number: int) -> None:
        """Record that so many bytes were read into the target."""
        assert self.target is not None
        assert self._large is not None
        if number < len(self.target):
            self.target = self.target[number:]
            return
        (code, content, digest, request_id), self._large, self.target = self._large, None, None
        if self._header.checksum(content) != digest:
            raise ValueError("a bad checksum")
        self.after_large = True
        self._received(Message(code, content, request_id))


class End(asyncio.BufferedProtocol):
    """Common part of both ends: the handshake, then messages.

    Args:
        header: of each message.
        unwritten: the connections of the process to which something is to be written when the read is handled.
    """

    transport: asyncio.Transport

    def __init__(self, header: Header, unwritten: list[End]) -> None:
        self.header = header
        self._unwritten = unwritten
        self._view = _read_buffer()
        self._decoder = Decoder(header, self.received)
        self._shaking = header.json
        self._hello = b""
        self._out: list[bytes | bytearray] = []
        self._size = 0
        self._ms = 0
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        decoder = self._decoder
        if decoder.target is not None:
            return decoder.target
        return self._view[: decoder.missing] if decoder.after_large else self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read; answers leave in one write."""
        unwritten = self._unwritten
        unwritten.append(self)  # the first one: nobody but this function writes for now
        if self._decoder.target is not None:
            self._decoder.fill(nbytes)
        else:
            data = bytes(self._view[:nbytes])
            if self._shaking:
                data = self._shake_hands(data)
            if data:
                self._decoder.feed(data)
        for end in unwritten:
            end.flush()
        unwritten.clear()

    def _shake_hands(self, data: bytes) -> bytes:
        """Take what arrived of a handshake in JSON; return what is behind it."""
        self._hello += data
        while self._shaking:
            size = 2 + int.from_bytes(self._hello[:2], "big")
            if len(self._hello) < max(3, size):
                return b""
            told, self._hello = json.loads(self._hello[2:size]), self._hello[size:]
            self.greeted(told)
        return self._hello

    def greeted(self, told: dict[str, Any]) -> None:
        """Take a part of a handshake in JSON."""
        raise NotImplementedError

    def received(self, message: Message) -> None:
        """Take a message."""
        raise NotImplementedError

    def head(self, content: bytes | bytearray, code: int = CODE, request_id: int = 0) -> bytes:
        """Return a message's header."""
        header = self.header
        if header.free and not self._out:  # the clock is read once for what leaves together
            self._ms = int(time() * 1000)
        return header.make(code, len(content), header.checksum(content), request_id, self._ms)

    def put(self, content: bytes | bytearray, code: int = CODE, request_id: int = 0) -> None:
        """Send a message; a large one without copying it."""
        head = self.head(content, code, request_id)
        if len(content) > _LARGE:
            self.flush()
            self.transport.write(head)
            self.transport.write(content)
        else:
            self.put_frame(head + content)

    def put_frame(self, frame: bytes) -> None:
        """Send a frame, with the others of this read, or of this turn of the loop."""
        if not self._out:
            if self._unwritten:
                self._unwritten.append(self)
            else:
                self._loop.call_soon(self.flush)
        self._out.append(frame)
        self._size += len(frame)

    def flush(self) -> None:
        """Write what is to be sent."""
        if self._out:
            out, self._out, self._size = self._out, [], 0
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def pause_writing(self) -> None:
        """Make senders wait."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Wake the senders that wait."""
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    async def room(self) -> None:
        """Wait until there is room to send more."""
        if self._size > _BATCH:
            self.flush()
        if self._room is not None:
            await self._room


class ServerEnd(End):
    """A server's connection."""

    def __init__(
        self, header: Header, unwritten: list[End], ends: set[ServerEnd], handle: Callable[[ServerEnd, Message], object]
    ) -> None:
        super().__init__(header, unwritten)
        self._ends = ends
        self._handle = handle

    def connection_made(self, transport: Any) -> None:
        """Say hello."""
        super().connection_made(transport)
        transport.write(self.header.greeting())

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._ends.discard(self)

    def greeted(self, told: dict[str, Any]) -> None:
        """Take the client's hello."""
        self.transport.write(self.header.result)
        self._ends.add(self)
        self._shaking = False

    def received(self, message: Message) -> None:
        """Take a message."""
        if message.code == CODE:
            self._handle(self, message)
        elif message.code == PING:
            self.put(b"", PONG, message.request_id)
        elif message.code == HELLO_ACK:
            self._ends.add(self)


class ClientEnd(End):
    """A client's connection."""

    def __init__(self, header: Header, unwritten: list[End]) -> None:
        super().__init__(header, unwritten)
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._last = 0

    def greeted(self, told: dict[str, Any]) -> None:
        """Take the server's hello, then its result."""
        if "pv" in told:
            self.transport.write(self.header.greeting())
        else:
            self._shaking = False
            self.ready.set_result(None)

    def received(self, message: Message) -> None:
        """Take a reply."""
        if message.code == HELLO:
            self.put(message.content, HELLO_ACK, message.request_id)
            self.ready.set_result(None)
        else:
            self._waiting.pop(message.request_id).set_result(message)

    def send(self, content: bytes) -> None:
        """Send a message."""
        self.put(content)

    def ask(self, content: bytes) -> Awaitable[Message]:
        """Send a request."""
        return self._ask(content, CODE)

    def ping(self) -> Awaitable[Message]:
        """Send a ping."""
        return self._ask(b"", PING)

    def content(self, reply: Message) -> bytes | bytearray:
        """Return a reply's content."""
        return reply.content

    def _ask(self, content: bytes, code: int) -> Awaitable[Message]:
        self._last = request_id = (self._last + 1) % self.header.ids
        reply = self._waiting[request_id] = self._loop.create_future()
        self.put(content, code, request_id)
        return reply


_buffers: list[memoryview] = []


def _read_buffer() -> memoryview:
    """Return what all connections read to: a read is handled before the next one."""
    if not _buffers:
        _buffers.append(memoryview(bytearray(_READ)))
    return _buffers[0]


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    tally, ends, unwritten, header = Tally(), set[ServerEnd](), list[End](), HEADERS[task["header"]]

    def echo(end: ServerEnd, message: Message) -> None:
        end.put(message.content, CODE, message.request_id)

    def broadcast(end: ServerEnd, message: Message) -> None:
        for _ in range(task["in_a_row"]):
            frame = end.head(message.content) + message.content
            for each in ends:
                each.put_frame(frame)

    handles: dict[str, Callable[[ServerEnd, Message], object]] = {
        "sink": tally.take,
        "streams": tally.take_stream,
        "echo": echo,
        "broadcast": broadcast,
    }
    handle = handles[task["mode"]]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerEnd(header, unwritten, ends, handle), "127.0.0.1", 0, backlog=1024)
    return server.sockets[0].getsockname()[1], tally.commands | {"hold": lambda: bool(server)}


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    header, unwritten = HEADERS[task["header"]], list[End]()
    loop = asyncio.get_running_loop()
    _, end = await loop.create_connection(lambda: ClientEnd(header, unwritten), "127.0.0.1", task["port"])
    await end.ready
    return end


if __name__ == "__main__":
    looping.run(serve, connect)
