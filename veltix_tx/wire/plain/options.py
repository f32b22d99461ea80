"""Options of the plain wires: frozen objects for ``wire=``, one class for each framing."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from msgspec import UNSET

from veltix_tx.errors import SettingsError
from veltix_tx.limits import check_whole
from veltix_tx.wire.compiled import message_maker
from veltix_tx.wire.interface import MAX_DATAGRAM, Role, WireContext
from veltix_tx.wire.messages import TEXT, MessageType, Response
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.plain.connection import Format, PlainConnection, TextMessage
from veltix_tx.wire.plain.datagrams import PlainDatagrams
from veltix_tx.wire.plain.framing import (
    DelimitedFraming,
    EndOfStreamFraming,
    FixedFraming,
    Framing,
    LineFraming,
    PrefixFraming,
    RawFraming,
)

__all__ = ["Delimited", "EndOfStream", "Fixed", "Lines", "PlainWire", "Prefixed", "Raw", "ReplyingWire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainWire(ABC):
    """A wire without handshake, message types, request ids and pings: a framing, and text or bytes in it.

    Attributes:
        text: True for values that are str, False for bytes.
        encoding: of text, such as ``"utf-8"`` or ``"latin-1"``.
        errors: what becomes of bytes that are no text: ``"strict"`` rejects the message, ``"replace"`` and Python's other
            handlers put something in their place.
        type: the type of every message, which picks the route.

    Raises:
        SettingsError: one of them cannot be.
    """

    text: bool = True
    encoding: str = "utf-8"
    errors: str = "strict"
    type: MessageType = TEXT

    def __post_init__(self) -> None:
        if not isinstance(self.text, bool):
            raise SettingsError("text", self.text, "True or False")
        if not isinstance(self.type, MessageType):
            raise SettingsError("type", self.type, "a MessageType")
        try:
            b"\xff".decode("ascii", self.errors)
        except UnicodeError:
            pass  # strict
        except (LookupError, TypeError):
            raise SettingsError("errors", self.errors, "a handler of what is no text, such as 'strict' or 'replace'") from None
        try:
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)
        except (LookupError, TypeError):
            raise SettingsError("encoding", self.encoding, "the name of an encoding of text, such as 'utf-8'") from None

    @property
    @abstractmethod
    def name(self) -> str:
        """Name for logs and for ``wire=``."""

    @property
    def authenticates(self) -> bool:
        """False: nobody is asked who they are."""
        return False

    @property
    def in_order_replies(self) -> bool:
        """True if the next message of the peer is the reply to a request."""
        return False

    def describe(self, *, encrypted: bool) -> str:
        """Return the name and what the messages are."""
        return f"{self.name} ({self.encoding if self.text else 'bytes'})"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:  # noqa: B027 (most wires can be spoken with all of them)
        """Raise SettingsError where the wire cannot be spoken with these settings."""

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> PlainConnection:
        """Return a connection, which is ready as soon as it begins."""
        shared, framing = _format(self, id(self.type)), self._framing(context.max_message_size)
        return PlainConnection(role, shared, framing, most_garbage=context.limits.protocol_errors, encrypted=encrypted)

    def check_datagrams(self, max_message_size: int) -> None:
        """Raise SettingsError where the wire cannot be spoken in datagrams."""
        self.check(encrypted=False, max_message_size=min(max_message_size, MAX_DATAGRAM))

    def connect_datagrams(self, role: Role, context: WireContext) -> PlainDatagrams:
        """Return a connection of whole datagrams, which is ready as soon as it begins."""
        return PlainDatagrams(role, _format(self, id(self.type)), self._framing(min(context.max_message_size, MAX_DATAGRAM)))

    @abstractmethod
    def _framing(self, max_size: int) -> Framing:
        """Return the framing of a new connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyingWire(PlainWire):
    """A plain wire whose messages may be replies.

    Attributes:
        replies: ``"in-order"`` if the peer answers each message with one, in their order, and says nothing else meanwhile.
            Then ``send_and_wait`` works, one request at a time: later ones wait for their turn. One that is given up, late or
            cancelled, closes the connection, because its late reply could not be told from the next one.
    """

    replies: Literal["in-order"] | None = None

    def __post_init__(self) -> None:
        PlainWire.__post_init__(self)
        if self.replies not in (None, "in-order"):
            raise SettingsError("replies", self.replies, "'in-order' or None")

    @property
    def in_order_replies(self) -> bool:
        """True as ``replies`` says."""
        return self.replies is not None

    def check_datagrams(self, max_message_size: int) -> None:
        """Raise SettingsError for replies in order, of which the network may lose one, and for a length that is too much."""
        if self.replies is not None:
            raise SettingsError("replies", self.replies, "None in datagrams, which may be lost")
        PlainWire.check_datagrams(self, max_message_size)


@dataclass(frozen=True, slots=True)
class Lines(ReplyingWire):
    """Text or bytes in lines.

    Attributes:
        separator: what ends a line, such as ``b"|"``; None for LF or CRLF, and LF in what is sent.
        max_line: maximum bytes of a line, its separator included. A longer one closes the connection.
        keep: leave the separator at the end of what is received.
    """

    separator: bytes | None = None
    max_line: int = 65536
    keep: bool = False

    def __post_init__(self) -> None:
        ReplyingWire.__post_init__(self)
        if self.separator is not None and (not isinstance(self.separator, bytes) or not 0 < len(self.separator) <= _LONGEST):
            raise SettingsError("separator", self.separator, f"1 to {_LONGEST} bytes, such as b'|', or None")
        check_whole("max_line", self.max_line, _LONGEST + 1)
        if not isinstance(self.keep, bool):
            raise SettingsError("keep", self.keep, "True or False")

    @property
    def name(self) -> str:
        """``"lines"``."""
        return "lines"

    def _framing(self, max_size: int) -> Framing:
        return LineFraming(min(self.max_line, max_size), self.separator, self.keep)


_LONGEST = 16
"""Maximum bytes of a separator."""


@dataclass(frozen=True, slots=True)
class EndOfStream(PlainWire):
    """One message in each direction: the sender ends its stream behind it, and the peer still answers. Not over TLS.

    The reply is the peer's one message, so ``send_and_wait`` works. When both have come the connection is over.
    """

    @property
    def name(self) -> str:
        """``"eof"``."""
        return "eof"

    @property
    def in_order_replies(self) -> bool:
        """True: there is one message to come."""
        return True

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Raise SettingsError for TLS, which cannot end a stream in one direction alone."""
        if encrypted:
            raise SettingsError("wire", self.name, "one that works over TLS, such as 'lines' or 'prefixed-4': 'eof' does not")

    def check_datagrams(self, max_message_size: int) -> None:
        """Raise SettingsError: a datagram is no stream."""
        raise SettingsError("wire", self.name, "one for datagrams, such as 'raw', where each is a message")

    def _framing(self, max_size: int) -> Framing:
        return EndOfStreamFraming(max_size)


@dataclass(frozen=True, slots=True)
class Fixed(ReplyingWire):
    """Messages of one length.

    Attributes:
        length: bytes of a message.
        pad: the byte that fills shorter ones up, and is taken off the end of what is received; None for no padding.
    """

    length: int
    pad: bytes | None = b" "

    def __post_init__(self) -> None:
        ReplyingWire.__post_init__(self)
        check_whole("length", self.length, 1, 2**32 - 1)
        if self.pad is not None:
            _check_byte("pad", self.pad)

    @property
    def name(self) -> str:
        """Such as ``"fixed-1024"``."""
        return f"fixed-{self.length}"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Raise SettingsError for a ``max_message_size`` that is less than the length."""
        if self.length > max_message_size:
            raise SettingsError("max_message_size", max_message_size, f"{self.length} or more with the wire {self.name}")

    def check_datagrams(self, max_message_size: int) -> None:
        """Raise SettingsError for a length that no datagram has, too."""
        if self.length > MAX_DATAGRAM:
            raise SettingsError("length", self.length, f"at most {MAX_DATAGRAM} in datagrams")
        ReplyingWire.check_datagrams(self, max_message_size)

    def _framing(self, max_size: int) -> Framing:
        return FixedFraming(self.length, self.pad)


@dataclass(frozen=True, slots=True)
class Prefixed(ReplyingWire):
    """Messages with their length in front, which does not count itself.

    Attributes:
        prefix: bytes of the length: 1, 2 or 4.
        byteorder: theirs, ``"big"`` or ``"little"``.
    """

    prefix: int = 4
    byteorder: Literal["big", "little"] = "big"

    def __post_init__(self) -> None:
        ReplyingWire.__post_init__(self)
        if isinstance(self.prefix, bool) or self.prefix not in _PREFIXES:
            raise SettingsError("prefix", self.prefix, "1, 2 or 4")
        if self.byteorder not in ("big", "little"):
            raise SettingsError("byteorder", self.byteorder, "'big' or 'little'")

    @property
    def name(self) -> str:
        """Such as ``"prefixed-4"``."""
        return f"prefixed-{self.prefix}"

    def _framing(self, max_size: int) -> Framing:
        return PrefixFraming(max_size, self.prefix, self.byteorder)


_PREFIXES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Delimited(ReplyingWire):
    """Messages between a start byte and an end byte.

    Attributes:
        start: the start byte, STX by default.
        end: the end byte, ETX by default.
        escape: the byte that stands before each of the three in a content, DLE by default; None where none has one of the others.
    """

    start: bytes = b"\x02"
    end: bytes = b"\x03"
    escape: bytes | None = b"\x10"

    def __post_init__(self) -> None:
        ReplyingWire.__post_init__(self)
        for name in ("start", "end", *(("escape",) if self.escape is not None else ())):
            _check_byte(name, getattr(self, name))
        if len({self.start, self.end, self.escape}) < 3:
            raise SettingsError("escape", self.escape, "another byte than start and end, which differ, too")

    @property
    def name(self) -> str:
        """``"delimited"``."""
        return "delimited"

    def _framing(self, max_size: int) -> Framing:
        return DelimitedFraming(max_size, self.start, self.end, self.escape)


@dataclass(frozen=True, slots=True)
class Raw(PlainWire):
    """No framing: each read is a message, however the network has cut or joined what was sent."""

    @property
    def name(self) -> str:
        """``"raw"``."""
        return "raw"

    def _framing(self, max_size: int) -> Framing:
        return RawFraming(max_size, self.encoding if self.text else None)


@lru_cache(maxsize=64)
def _format(wire: PlainWire, type_identity: int) -> Format:
    """Return what the connections of equal wires share, with the very type: another one of its key may have other contents."""
    encoding = wire.encoding if wire.text else None
    ascii_is_text = wire.text and codecs.lookup(wire.encoding).name in ("ascii", "utf-8")
    peer = Peer(wire=wire.name)
    fixed = {"type": wire.type, "request_id": 0, "digest": 0, "timestamp": None, "_value": UNSET}
    make = None
    if encoding is None:
        make = message_maker(Response, fixed, ascii_only=False)
    elif ascii_is_text:
        make = message_maker(TextMessage, {**fixed, "encoding": encoding, "errors": wire.errors}, ascii_only=True)
    return Format(wire.name, wire.type, encoding, wire.errors, ascii_is_text, wire.in_order_replies, wire, peer, make)


def _check_byte(name: str, value: object) -> None:
    if not isinstance(value, bytes) or len(value) != 1:
        raise SettingsError(name, value, "one byte, such as b' ', or None where there may be none")
