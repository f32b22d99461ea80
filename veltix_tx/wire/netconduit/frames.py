"""Frames: a header of 32 bytes and a payload; an incremental, bounded decoder of them.

The header is the one that netconduit's releases send, which is not the one in their README.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from io import BytesIO

from veltix_tx.errors import FrameTooLarge, MalformedFrame, RemoteProtocolError
from veltix_tx.wire.freed_memory import keep_freed_memory

__all__ = [
    "HEADER",
    "HEADER_SIZE",
    "MAGIC",
    "MAX_PAYLOAD",
    "VERSION",
    "Frame",
    "FrameDecoder",
    "FrameFlags",
    "FrameType",
]

HEADER = struct.Struct(">4sHHHHIQQ")
"""Magic, version, type, flags, reserved, bytes of the payload, correlation id, ms since 1970."""

HEADER_SIZE = HEADER.size

MAGIC = b"CNDT"

VERSION = 0x0100

MAX_PAYLOAD = 100 * 1024 * 1024
"""Maximum bytes of a payload that netconduit's releases read."""


class FrameType(IntEnum):
    """Type of a frame. No release sends the last seven; one in another state of its connection than this ignores them."""

    MESSAGE = 0x01
    RPC_REQUEST = 0x02
    RPC_RESPONSE = 0x03
    RPC_ERROR = 0x04
    HEARTBEAT_PING = 0x05
    HEARTBEAT_PONG = 0x06
    AUTH_REQUEST = 0x07
    AUTH_SUCCESS = 0x08
    AUTH_FAILURE = 0x09
    PAUSE = 0x0A
    RESUME = 0x0B
    ACK = 0x0C
    NACK = 0x0D
    CLOSE = 0x0E
    CLOSE_ACK = 0x0F
    RPC_LIST = 0x10


class FrameFlags(IntFlag):
    """Flags of a frame. Only the first has a meaning; all are accepted, and the others ignored."""

    COMPRESSED = 0x01
    ENCRYPTED = 0x02
    REQUIRE_ACK = 0x04
    PRIORITY = 0x08
    FRAGMENT = 0x10
    LAST_FRAGMENT = 0x20
    BINARY = 0x40


Frame = tuple[int, int, int, int, bytes]
"""Type, flags, correlation id, ms since 1970, payload."""

_LAST_TYPE = max(FrameType)

_LONG = 16 * 1024
"""A payload of more bytes is collected apart while it arrives; a shorter frame waits to be joined to the next read."""


class FrameDecoder:
    """Turns the bytes of one direction of one connection into frames.

    Args:
        max_payload: maximum bytes of a payload.

    Attributes:
        max_payload: as given; may be changed between two reads.
        error: what ended the stream, None while it is sound. After it nothing more is read.
    """

    __slots__ = ("_header", "_missing", "_payload", "_tail", "error", "max_payload")

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.error: RemoteProtocolError | None = None
        self._tail = b""
        self._header: tuple[int, int, int, int] | None = None
        self._payload: BytesIO | None = None
        self._missing = 0

    @property
    def buffered_size(self) -> int:
        """Bytes kept of an unfinished frame."""
        return len(self._tail) + (0 if self._payload is None else self._payload.tell())

    @property
    def incoming_size(self) -> int:
        """Bytes of the frame that has arrived in part, as far as they are declared; 0 without one."""
        return self.buffered_size + self._missing

    @property
    def beginning(self) -> bytes:
        """First bytes of an unfinished frame, where they are still apart."""
        return self._tail[:HEADER_SIZE]

    def receive_data(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes, in order. What is read of it depends on its being run to its end.

        Args:
            data: the next bytes.
        """
        if self.error is not None:
            return
        position = 0
        if self._payload is not None:
            assert self._header is not None
            position = self._collect(data)
            if self._missing:
                return
            payload, self._payload = self._payload.getvalue(), None
            yield (*self._header, payload)
        elif self._tail:
            data, self._tail = self._tail + data, b""
        unpack, end = HEADER.unpack_from, len(data)
        while end - position >= HEADER_SIZE:
            magic, version, kind, flags, _, size, correlation, sent_at = unpack(data, position)
            if magic != MAGIC or version != VERSION or not 0 < kind <= _LAST_TYPE or size > self.max_payload:
                self.error = self._fault(magic, version, kind, size)
                return
            start = position + HEADER_SIZE
            if start + size > end:
                if size > _LONG:
                    keep_freed_memory()
                    self._header, self._missing, self._payload = (kind, flags, correlation, sent_at), size, BytesIO()
                    position = start + self._collect(memoryview(data)[start:])
                break
            position = start + size
            yield kind, flags, correlation, sent_at, data[start:position]
        if end - position >= len(MAGIC) and not data.startswith(MAGIC, position):
            self.error = self._fault(data[position : position + len(MAGIC)], 0, 0, 0)  # the rest of the header may never come
            return
        self._tail = data[position:]

    def _collect(self, data: bytes | memoryview) -> int:
        """Take what is missing of the payload from ``data``; return how much that was."""
        used = min(self._missing, len(data))
        assert self._payload is not None
        self._payload.write(memoryview(data)[:used])
        self._missing -= used
        return used

    def _fault(self, magic: bytes, version: int, kind: int, size: int) -> RemoteProtocolError:
        if magic != MAGIC:
            return MalformedFrame("magic", magic, repr(MAGIC))
        if version != VERSION:
            return MalformedFrame("version", version, str(VERSION))
        if not 0 < kind <= _LAST_TYPE:
            return MalformedFrame("type", kind, f"from 1 to {_LAST_TYPE}")
        return FrameTooLarge(size + HEADER_SIZE, self.max_payload + HEADER_SIZE)
