"""The bytes of each peer's wire as the raw client says them: a greeting, frames made beforehand, and their answers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from veltix_tx.benchmark.peers.delivery import unbroken
from veltix_tx.benchmark.peers.headers import HEADERS, HELLO, HELLO_ACK, Header

__all__ = ["PASSWORD", "WIRES", "Greeting", "Wire"]

PASSWORD = "benchmark"
"""Password of the wires that need one."""

Greeting: TypeAlias = "Generator[bytes | int, bytes, None]"
"""Yields bytes to send, or how many to receive, which are sent in."""


@dataclass(frozen=True)
class Wire:
    """One wire.

    Attributes:
        greet: a new handshake, from the client's side.
        frame: a request as bytes.
        answer: the reply to it as bytes.
        note: a message without a reply as bytes, where that is another; a broadcast looks like one.
        free: bytes of a reply that may be others than those of ``answer``, such as a clock.
        free_note: the same of a broadcast.
    """

    greet: Callable[[], Greeting]
    frame: Callable[[bytes], bytes]
    answer: Callable[[bytes], bytes]
    note: Callable[[bytes], bytes] | None = None
    free: Sequence[int] = ()
    free_note: Sequence[int] = ()

    def oneway(self, content: bytes) -> bytes:
        """Return a message without a reply as bytes."""
        return (self.note or self.frame)(content)

    def broadcast(self, content: bytes) -> bytes:
        """Return a broadcast as bytes."""
        return (self.note or self.answer)(content)


def _veltix(header: Header) -> Wire:
    def as_json() -> Greeting:
        size = yield 2
        hello = json.loads((yield int.from_bytes(size, "big")))
        answer = json.dumps({"v": hello["v"], "pv": hello["pv"], "meta": {}}).encode()
        yield len(answer).to_bytes(2, "big") + answer
        size = yield 2
        result = yield int.from_bytes(size, "big")
        if json.loads(result) != {"result": "ok"}:
            raise ValueError(f"refused: {result!r}")

    def as_frames() -> Greeting:
        hello = yield header.size
        code, size, _, _ = header.unpack.unpack(hello)
        if code != HELLO:
            raise ValueError(f"not the hello of {header.version}: {hello!r}")
        answer, at = header.frame((yield size), HELLO_ACK), header.id_at
        yield answer[: at.start] + hello[at.start : at.stop] + answer[at.stop :]

    free_note = (*header.free, *header.id_at)
    return Wire(as_json if header.json else as_frames, header.frame, header.frame, None, header.free, free_note)


def _no_greeting() -> Greeting:
    yield from ()


def _box(**items: bytes) -> bytes:
    pairs = ((key.encode(), value) for key, value in items.items())
    return b"".join(len(each).to_bytes(2, "big") + each for pair in pairs for each in pair) + b"\0\0"


def _upgrade() -> Greeting:
    lines = ("GET / HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    yield "\r\n".join([*lines, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]).encode()
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += yield 1


def _socket_header(size: int, mask: int) -> bytes:
    if size < 126:
        return struct.pack(">BB", 0x82, mask | size)
    return struct.pack(">BBH", 0x82, mask | 126, size) if size < 65536 else struct.pack(">BBQ", 0x82, mask | 127, size)


def _zmtp() -> Greeting:
    yield b"\xff" + bytes(8) + b"\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)
    yield 64
    ready = b"\5READY\x0bSocket-Type\0\0\0\6DEALER"
    yield bytes([4, len(ready)]) + ready
    header = yield 2
    yield header[1]
    yield b"\0\0"  # an empty message: a router knows those it has heard of


def _zmtp_frame(content: bytes) -> bytes:
    size = len(content)
    return (bytes([0, size]) if size < 256 else b"\2" + size.to_bytes(8, "big")) + content


def _conduit_frame(code: int, payload: bytes) -> bytes:
    return struct.pack(">4sHHHHIQQ", b"CNDT", 0x100, code, 0, 0, len(payload), 7, 1_700_000_000_000) + payload


def _packed(item: str | bytes) -> bytes:
    """Return a text or bytes in msgpack."""
    if isinstance(item, str):
        text = item.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else bytes([0xD9, len(text)])) + text
    for code, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
        if len(item) < 256**width:
            return bytes([code]) + len(item).to_bytes(width, "big") + item
    raise ValueError("more than 4 GiB")


def _packed_map(*pairs: tuple[str, bytes]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(_packed(key) + value for key, value in pairs)


def _conduit_greeting() -> Greeting:
    who = _packed_map(("name", _packed("raw")), ("version", _packed("1")))
    secret = _packed(sha256(PASSWORD.encode()).hexdigest())
    yield _conduit_frame(7, _packed_map(("password_hash", secret), ("client_info", who)))
    header = yield 32
    yield int.from_bytes(header[12:16], "big")
    if header[6:8] != b"\0\x08":
        raise ValueError("refused")


def _conduit_request(content: bytes) -> bytes:
    params = _packed_map(("content", _packed(content)))
    return _conduit_frame(2, _packed_map(("method", _packed("echo")), ("params", params)))


def _conduit_answer(content: bytes) -> bytes:
    inner = _packed_map(("success", b"\xc3"), ("data", _packed(content)))
    return _conduit_frame(3, _packed_map(("success", b"\xc3"), ("result", inner)))


def _conduit_note(content: bytes) -> bytes:
    return _conduit_frame(1, _packed_map(("type", _packed("note")), ("data", _packed(content))))


def _int32_frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _line(content: bytes) -> bytes:
    return unbroken(content) + b"\n"


WIRES = {
    **{f"veltix{size}": _veltix(header) for size, header in HEADERS.items()},
    "lines": Wire(_no_greeting, _line, _line),
    "int32": Wire(_no_greeting, _int32_frame, _int32_frame),
    "amp": Wire(
        _no_greeting,
        lambda content: _box(_ask=b"7", _command=b"Ask", content=content),
        lambda content: _box(_answer=b"7", content=content),
        lambda content: _box(_command=b"Note", content=content),
    ),
    "websocket": Wire(
        _upgrade,
        lambda content: _socket_header(len(content), 0x80) + bytes(4) + content,  # a mask of zeros
        lambda content: _socket_header(len(content), 0) + content,
    ),
    "zmtp": Wire(_zmtp, _zmtp_frame, _zmtp_frame),
    "conduit": Wire(_conduit_greeting, _conduit_request, _conduit_answer, _conduit_note, range(32), range(32)),
}
"""The wires by name."""
