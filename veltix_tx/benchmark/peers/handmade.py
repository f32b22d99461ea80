"""asyncio + msgspec as an experienced user writes it by hand: lengths, ids, values and calls; no checks, timeouts or limits.

A frame is a length of four bytes, an id of four, and a body: a value in JSON or msgpack, or the msgpack array of a method's name
and its arguments. What is sent in one turn of the loop leaves in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Any

import msgspec

from veltix_tx.benchmark.peers import looping
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.values import Fields, Values

_HEADER = Struct(">II")


class End(asyncio.Protocol):
    """Common part of both ends: frames in, frames out."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._rest = b""
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        data = self._rest + data if self._rest else data
        unpack, received, at, end = _HEADER.unpack_from, self.received, 0, len(data)
        while end - at >= 8:
            size, request_id = unpack(data, at)
            if at + 8 + size > end:
                break
            received(request_id, data[at + 8 : at + 8 + size])
            at += 8 + size
        self._rest = data[at:]

    def received(self, request_id: int, body: bytes) -> None:
        """Take a frame."""
        raise NotImplementedError

    def put(self, request_id: int, body: bytes) -> None:
        """Send a frame."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_HEADER.pack(len(body), request_id) + body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        self.transport.write(b"".join(out))


class Call(msgspec.Struct, array_like=True):
    """A call as received."""

    method: str
    args: msgspec.Raw


def _methods(functions: dict[str, tuple[Callable[..., object], Any]]) -> Callable[[bytes], bytes]:
    """Return what serves calls: functions and the types of their arguments by name."""
    decode_call, encode = msgspec.msgpack.Decoder(Call).decode, msgspec.msgpack.Encoder().encode
    known = {name: (function, msgspec.msgpack.Decoder(types).decode) for name, (function, types) in functions.items()}

    def serve(body: bytes) -> bytes:
        call = decode_call(body)
        function, decode = known[call.method]
        return encode(function(*decode(call.args)))

    return serve


def _values(form: str) -> Callable[[bytes], bytes]:
    """Return what answers a value in a format with itself."""
    codec = msgspec.json if form == "json" else msgspec.msgpack
    decode, encode = codec.Decoder(Fields).decode, codec.Encoder().encode
    return lambda body: encode(decode(body))


class ServerEnd(End):
    """A server's connection.

    Args:
        answer: body -> body.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._answer = answer

    def received(self, request_id: int, body: bytes) -> None:
        """Answer."""
        self.put(request_id, self._answer(body))


class ClientEnd(End):
    """A client's connection.

    Args:
        encode: what is asked -> body.
        decode: body -> what comes of it.
        content: what comes of it -> content.
    """

    def __init__(
        self, encode: Callable[[bytes], bytes], decode: Callable[[bytes], Any], content: Callable[[Any], bytes | bytearray]
    ) -> None:
        super().__init__()
        self._encode, self._decode, self.content = encode, decode, content
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0

    def received(self, request_id: int, body: bytes) -> None:
        """Take a reply."""
        self._waiting.pop(request_id).set_result(self._decode(body))

    def ask(self, content: bytes) -> Awaitable[Any]:
        """Send a request."""
        self._last = request_id = self._last + 1
        reply = self._waiting[request_id] = self._loop.create_future()
        self.put(request_id, self._encode(content))
        return reply

    def ping(self) -> Awaitable[Any]:
        """Send an empty request."""
        return self.ask(b"")

    def send(self, content: bytes) -> None:
        """Not there: everything is answered."""
        raise NotImplementedError

    def room(self) -> Awaitable[None]:
        """Not needed."""
        raise NotImplementedError


async def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and answer what the task says."""

    def echo(content: bytes) -> bytes:
        return content

    form = task["content"]
    answer = _methods({"echo": (echo, tuple[bytes])}) if form == "call" else _values(form)
    server = await asyncio.get_running_loop().create_server(lambda: ServerEnd(answer), "127.0.0.1", 0, backlog=1024)
    return server.sockets[0].getsockname()[1], Tally().commands | {"hold": lambda: bool(server)}


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    form = task["content"]
    if form == "call":
        pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(bytes).decode
        end = ClientEnd(lambda content: pack(("echo", (content,))), unpack, bytes)
    else:
        codec = msgspec.json if form == "json" else msgspec.msgpack
        encode, values = codec.Encoder().encode, Values()
        end = ClientEnd(lambda content: encode(values.of(content)), codec.Decoder(Fields).decode, values.content)
    await asyncio.get_running_loop().create_connection(lambda: end, "127.0.0.1", task["port"])
    return end


if __name__ == "__main__":
    looping.run(serve, connect)
