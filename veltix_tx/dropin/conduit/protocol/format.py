"""The header of a frame, and the numbers in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar

from veltix_tx.wire.netconduit.frames import HEADER, HEADER_SIZE, MAGIC
from veltix_tx.wire.netconduit.frames import MAX_PAYLOAD as MAX_PAYLOAD_SIZE
from veltix_tx.wire.netconduit.frames import VERSION as PROTOCOL_VERSION
from veltix_tx.wire.netconduit.frames import FrameType as MessageType

__all__ = ["HEADER_SIZE", "MAGIC", "MAX_PAYLOAD_SIZE", "PROTOCOL_VERSION", "MessageFlags", "MessageHeader", "MessageType"]

_RPC = (MessageType.RPC_REQUEST, MessageType.RPC_RESPONSE, MessageType.RPC_ERROR, MessageType.RPC_LIST)
_AUTH = (MessageType.AUTH_REQUEST, MessageType.AUTH_SUCCESS, MessageType.AUTH_FAILURE)


class MessageFlags(IntFlag):
    """Flags of a frame. Only COMPRESSED has an effect."""

    NONE = 0x00
    COMPRESSED = 0x01
    ENCRYPTED = 0x02
    REQUIRE_ACK = 0x04
    PRIORITY = 0x08
    FRAGMENT = 0x10
    LAST_FRAGMENT = 0x20
    BINARY = 0x40


@dataclass
class MessageHeader:
    """Header of a frame: 32 bytes, :doc:`as on the wire </protocol/netconduit>`.

    Attributes:
        magic: ``b"CNDT"``.
        version: 0x0100.
        message_type: type of the frame.
        flags: its flags.
        reserved: 0.
        content_length: bytes of the payload as it is sent.
        correlation_id: id of the call it belongs to, else 0.
        timestamp: when it was made, ms since 1970.
    """

    STRUCT_FORMAT: ClassVar[str] = HEADER.format

    magic: bytes
    version: int
    message_type: MessageType
    flags: MessageFlags
    reserved: int
    content_length: int
    correlation_id: int
    timestamp: int

    @classmethod
    def create(
        cls,
        message_type: MessageType,
        content_length: int,
        correlation_id: int = 0,
        flags: MessageFlags = MessageFlags.NONE,
        timestamp: int | None = None,
    ) -> MessageHeader:
        """Return a new header, of now unless a time is given."""
        sent_at = int(time.time() * 1000) if timestamp is None else timestamp
        return cls(MAGIC, PROTOCOL_VERSION, message_type, flags, 0, content_length, correlation_id, sent_at)

    def to_bytes(self) -> bytes:
        """Return the header as bytes."""
        return HEADER.pack(*vars(self).values())

    @classmethod
    def from_bytes(cls, data: bytes) -> MessageHeader:
        """Return the header that bytes begin with.

        Raises:
            ValueError: they are too few, or of another magic or of an unknown type.
        """
        if len(data) < HEADER_SIZE:
            raise ValueError(f"Header too short: {len(data)} bytes, not {HEADER_SIZE}")
        magic, version, kind, flags, *rest = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise ValueError(f"Invalid magic: {magic!r}, not {MAGIC!r}")
        return cls(magic, version, MessageType(kind), MessageFlags(flags), *rest)

    def validate(self) -> None:
        """Raise ValueError for another magic or version, or too long a payload."""
        if self.magic != MAGIC:
            raise ValueError(f"Invalid magic: {self.magic!r}, not {MAGIC!r}")
        if self.version != PROTOCOL_VERSION:
            raise ValueError(f"Unsupported version: {self.version:#06x}, not {PROTOCOL_VERSION:#06x}")
        if self.content_length > MAX_PAYLOAD_SIZE:
            raise ValueError(f"Content too long: {self.content_length} bytes, over {MAX_PAYLOAD_SIZE}")

    def is_control_message(self) -> bool:
        """Return True for a ping, a pong and others of no content."""
        return MessageType.HEARTBEAT_PING <= self.message_type < MessageType.RPC_LIST and not self.is_auth()

    def is_rpc(self) -> bool:
        """Return True for a call, its answer and its failure."""
        return self.message_type in _RPC

    def is_auth(self) -> bool:
        """Return True for a frame of the authentication."""
        return self.message_type in _AUTH
