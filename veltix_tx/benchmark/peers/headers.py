"""The headers that a message can have, as those peers write them that are written here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Any
from zlib import crc32

from veltix_tx.benchmark.peers.program import CODE

__all__ = ["HEADERS", "HELLO", "HELLO_ACK", "PING", "PONG", "Header"]

PING, PONG, HELLO, HELLO_ACK = 0, 1, 10, 11
"""Types of a connection's own messages."""

_TIME = 1_700_000_000_000


def _sha256(content: bytes | bytearray) -> bytes:
    return sha256(content).digest()


@dataclass(frozen=True)
class Header:
    """One header: upstream's, of a release with so many bytes.

    Attributes:
        version: the release that is announced with it.
        json: True if its handshake is JSON; frames otherwise.
        unpack: what unpacks type, size, checksum and request id.
        checksum: of a content.
        make: makes one of type, size, checksum, request id and a time in ms.
        ids: request ids in a row before the first one comes again.
        free: the bytes that two sides may fill differently: the sender's clock.
        id_at: the bytes of the request id, which a message without a reply may fill as it likes.
    """

    version: str
    json: bool
    unpack: Struct
    checksum: Callable[[Any], Any]
    make: Callable[[int, int, Any, int, int], bytes]
    ids: int
    free: range
    id_at: range

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self.unpack.size

    def frame(self, content: bytes, code: int = CODE, request_id: int = 7, ms: int = _TIME) -> bytes:
        """Return a whole message."""
        return self.make(code, len(content), self.checksum(content), request_id, ms) + content

    def greeting(self, code: int = HELLO) -> bytes:
        """Return what a side says of itself: the server first, then the client."""
        if self.json:
            text = json.dumps({"v": self.version, "pv": "1.0", "meta": {}}).encode()
            return len(text).to_bytes(2, "big") + text
        return self.frame(len(self.version).to_bytes(2, "big") + self.version.encode(), code)

    @property
    def result(self) -> bytes:
        """Last bytes of the server in the handshake."""
        text = json.dumps({"result": "ok"}).encode() if self.json else b""
        return len(text).to_bytes(2, "big") + text if text else b""


_PACK15 = Struct(">2sBHIIH").pack
_PACK16 = Struct(">2sHIII").pack
_PACK22 = Struct(">HIIQI").pack
_PACK62 = Struct(">HI32sQ8xQ").pack

HEADERS = {
    15: Header(
        *("3.3.0", True, Struct(">3xHIIH"), crc32),
        *(lambda code, size, digest, request_id, ms: _PACK15(b"VX", 0, code, size, digest, request_id), 0x8000),
        *(range(0), range(13, 15)),
    ),
    16: Header(
        *("1.7.5", False, Struct(">2xHIII"), crc32),
        *(lambda code, size, digest, request_id, ms: _PACK16(b"VX", code, size, digest, request_id), 2**32),
        *(range(0), range(12, 16)),
    ),
    22: Header(
        *("1.6.3", False, Struct(">HII8xI"), crc32),
        *(lambda code, size, digest, request_id, ms: _PACK22(code, size, digest, ms, request_id), 2**32),
        *(range(10, 18), range(18, 22)),
    ),
    62: Header(
        *("1.6.0", False, Struct(">HI32s16xQ"), _sha256),
        *(lambda code, size, digest, request_id, ms: _PACK62(code, size, digest, ms, request_id), 2**62),
        *(range(38, 46), range(46, 62)),
    ),
}
"""The headers by their bytes."""
