"""The least that does it on asyncio: the same frames and checksum, a callback for each message, no limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Any
from zlib import crc32

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.program import CODE, Tally

_HEADER = Struct(">2sBHIIH")
_BATCH = 64 * 1024
_PING, _PONG = 0, 1


def encode(code: int, content: bytes, request_id: int) -> bytes:
    """Return a message as bytes."""
    return _HEADER.pack(b"VX", 0, code, len(content), crc32(content), request_id) + content


class Message:
    """What a callback is given."""

    __slots__ = ("code", "content", "request_id")

    def __init__(self, code: int, content: bytes, request_id: int) -> None:
        self.code = code
        self.content = content
        self.request_id = request_id


class Decoder:
    """Bytes to messages.

    Args:
        received: called with each message.
    """

    def __init__(self, received: Callable[[Message], object]) -> None:
        self._received = received
        self._rest = b""
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self._missing:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._missing = 0
        elif self._rest:
            data = self._rest + data
        at, end, unpack, received = 0, len(data), _HEADER.unpack_from, self._received
        while end - at >= 15:
            magic, _, code, size, checksum, request_id = unpack(data, at)
            stop = at + 15 + size
            if stop > end:
                break
            content = data[at + 15 : stop]
            if magic != b"VX" or crc32(content) != checksum:
                raise ValueError("a bad frame")
            received(Message(code, content, request_id))
            at = stop
        self._rest = data[at:]
        if len(self._rest) >= 15:
            self._missing = 15 + size - len(self._rest)
            if self._missing > _BATCH:
                self._pieces.append(self._rest)
                self._rest = b""
            else:
                self._missing = 0


class End(asyncio.Protocol):
    """What both ends do alike: shake hands, then messages."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._decoder: Decoder | None = None
        self._hello = b""
        self._out: list[bytes] = []
        self._size = 0
        self._in_read = False
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what arrived; answers leave in one write."""
        if self._decoder is None:
            data = self._shake_hands(data)
        if self._decoder is not None:
            self._in_read = True
            self._decoder.feed(data)
            self._in_read = False
            self.flush()

    def _shake_hands(self, data: bytes) -> bytes:
        """Take what arrived of the handshake; return what is behind it."""
        self._hello += data
        while self._decoder is None:
            size = 2 + int.from_bytes(self._hello[:2], "big")
            if len(self._hello) < max(3, size):
                return b""
            told, self._hello = json.loads(self._hello[2:size]), self._hello[size:]
            self.greet(told)
        return self._hello

    def tell(self, told: dict[str, Any]) -> None:
        """Send a part of the handshake."""
        text = json.dumps(told).encode()
        self.transport.write(len(text).to_bytes(2, "big") + text)

    def greet(self, told: dict[str, Any]) -> None:
        """Take a part of the handshake."""
        raise NotImplementedError

    def begin(self) -> None:
        """Expect messages from now on."""
        self._decoder = Decoder(self.received)

    def received(self, message: Message) -> None:
        """Take a message."""
        raise NotImplementedError

    def put(self, frame: bytes) -> None:
        """Send a frame, with the others of this turn of the loop."""
        if not self._out and not self._in_read:
            self._loop.call_soon(self.flush)
        self._out.append(frame)
        self._size += len(frame)

    def flush(self) -> None:
        """Write what is to be sent."""
        if self._out:
            out, self._out, self._size = self._out, [], 0
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def pause_writing(self) -> None:
        """Let those wait who send much."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
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

    def __init__(self, ends: set[ServerEnd], handle: Callable[[ServerEnd, Message], object]) -> None:
        super().__init__()
        self._ends = ends
        self._handle = handle

    def connection_made(self, transport: Any) -> None:
        """Say hello."""
        super().connection_made(transport)
        self.tell({"v": "3.3.0", "pv": "1.0", "meta": {}})

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._ends.discard(self)

    def greet(self, told: dict[str, Any]) -> None:
        """Take the client's hello."""
        self.tell({"result": "ok"})
        self._ends.add(self)
        self.begin()

    def received(self, message: Message) -> None:
        """Take a message."""
        if message.code == _PING:
            self.put(encode(_PONG, b"", message.request_id))
        else:
            self._handle(self, message)


class ClientEnd(End):
    """A client's connection."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._last = 0

    def greet(self, told: dict[str, Any]) -> None:
        """Take the server's hello, then its result."""
        if "pv" in told:
            self.tell({"v": told["v"], "pv": told["pv"], "meta": {}})
        else:
            self.begin()
            self.ready.set_result(None)

    def received(self, message: Message) -> None:
        """Take a reply."""
        self._waiting.pop(message.request_id).set_result(message)

    def send(self, content: bytes) -> None:
        """Send a message."""
        self.put(encode(CODE, content, 0))

    def ask(self, content: bytes) -> Awaitable[Message]:
        """Send a request."""
        return self._ask(CODE, content)

    def ping(self) -> Awaitable[Message]:
        """Send a ping."""
        return self._ask(_PING, b"")

    def content(self, reply: Message) -> bytes:
        """Return a reply's content."""
        return reply.content

    def _ask(self, code: int, content: bytes) -> Awaitable[Message]:
        self._last = request_id = self._last + 1 & 0x7FFF
        reply = self._waiting[request_id] = self._loop.create_future()
        self.put(encode(code, content, request_id))
        return reply


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    tally, ends = Tally(), set[ServerEnd]()

    def echo(end: ServerEnd, message: Message) -> None:
        end.put(encode(CODE, message.content, message.request_id))

    def broadcast(end: ServerEnd, message: Message) -> None:
        for _ in range(task["in_a_row"]):
            frame = encode(CODE, message.content, 0)
            for each in ends:
                each.transport.write(frame)

    handles: dict[str, Callable[..., object]] = {"sink": tally.take, "echo": echo, "broadcast": broadcast}
    handle = handles[task["mode"]]
    server = await asyncio.get_running_loop().create_server(lambda: ServerEnd(ends, handle), "127.0.0.1", 0, backlog=1024)
    return server.sockets[0].getsockname()[1], tally.commands | {"hold": lambda: bool(server)}


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    _, end = await asyncio.get_running_loop().create_connection(ClientEnd, "127.0.0.1", task["port"])
    await end.ready
    return end


if __name__ == "__main__":
    looping.run(serve, connect)
