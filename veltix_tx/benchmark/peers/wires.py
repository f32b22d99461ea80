"""The bytes of each peer's wire as the raw client says them: a greeting, frames made beforehand, sizes of answers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

from veltix_tx.benchmark.peers.program import CODE

__all__ = ["WIRES", "Greeting", "Wire"]

Greeting: TypeAlias = "Generator[bytes | int, bytes, None]"
"""Yields bytes to send, or how many to receive, which are sent in."""


@dataclass(frozen=True)
class Wire:
    """One wire.

    Attributes:
        greet: a new handshake, from the client's side.
        frame: a message as bytes.
        answer: the bytes that a reply with so much content takes.
    """

    greet: Callable[[], Greeting]
    frame: Callable[[bytes], bytes]
    answer: Callable[[int], int]


def _frame15(content: bytes) -> bytes:
    return struct.pack(">2sBHII2s", b"VX", 0, CODE, len(content), crc32(content), b"\0\7") + content


def _frame22(content: bytes, code: int = CODE, request_id: bytes = b"\1\2\3\4") -> bytes:
    return struct.pack(">HIIQ4s", code, len(content), crc32(content), 1_700_000_000_000, request_id) + content


def _frame16(content: bytes, code: int = CODE, request_id: bytes = b"\1\2\3\4") -> bytes:
    return struct.pack(">2sHII4s", b"VX", code, len(content), crc32(content), request_id) + content


def _json_greeting() -> Greeting:
    size = yield 2
    hello = json.loads((yield int.from_bytes(size, "big")))
    answer = json.dumps({"v": hello["v"], "pv": hello["pv"], "meta": {}}).encode()
    yield len(answer).to_bytes(2, "big") + answer
    size = yield 2
    result = yield int.from_bytes(size, "big")
    if json.loads(result) != {"result": "ok"}:
        raise ValueError(f"refused: {result!r}")


def _hello_greeting(frame: Callable[[bytes, int, bytes], bytes], header: int, size_at: int) -> Callable[[], Greeting]:
    def greet() -> Greeting:
        hello = yield header
        content = yield int.from_bytes(hello[size_at : size_at + 4], "big")
        yield frame(content, 11, hello[-4:])

    return greet


def _no_greeting() -> Greeting:
    yield from ()


WIRES = {
    "json15": Wire(_json_greeting, _frame15, lambda size: 15 + size),
    "hello22": Wire(_hello_greeting(_frame22, 22, 2), _frame22, lambda size: 22 + size),
    "hello16": Wire(_hello_greeting(_frame16, 16, 4), _frame16, lambda size: 16 + size),
    "int32": Wire(_no_greeting, lambda content: struct.pack(">I", len(content)) + content, lambda size: 4 + size),
}
"""The wires by name."""
