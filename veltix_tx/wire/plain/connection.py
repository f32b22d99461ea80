"""One connection of a plain wire, sans-io: a framing, and the text or bytes in it. It is ready as soon as it begins."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any, cast

from veltix_tx.errors import (
    HandshakeError,
    LocalProtocolError,
    NotReady,
    RemoteProtocolError,
    StreamEnded,
    TooManyProtocolErrors,
    excerpt,
)
from veltix_tx.wire.compiled import MakeMessages, are_used
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import ConnectionFailed, Event, FrameRejected, HandshakeCompleted, RejectReason
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageType, Response, as_content, encode_content
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.plain.framing import Framing
from veltix_tx.wire.rpc import RpcCodec

__all__ = ["Format", "PlainConnection", "TextMessage"]

_BEGINNING = 64
"""Bytes of an unfinished message that tell what its peer speaks."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the connections of one wire share.

    Attributes:
        name: the wire's name.
        type: the type of every message.
        encoding: of text; None for bytes.
        errors: what becomes of bytes that are no text, as :meth:`bytes.decode` takes it.
        ascii_is_text: True if ASCII bytes are always text.
        in_order_replies: True if the next message is the reply to a request.
        key: equal for wires that send the same bytes for the same value.
        peer: what is known of every peer.
        make: makes the messages of a read in one call, where it is compiled.
    """

    name: str
    type: MessageType
    encoding: str | None
    errors: str
    ascii_is_text: bool
    in_order_replies: bool
    key: object
    peer: Peer
    make: MakeMessages | None


@dataclass(init=False, eq=False, match_args=False)
class TextMessage(Response[Any]):
    """A message whose value is text, unless its type has a ``content=``.

    It keeps the bytes alone, which are checked: text may take four times as much.

    Attributes:
        encoding: the text's.
        errors: what takes the place of what is none.
    """

    encoding: str = "utf-8"
    errors: str = "strict"

    @property
    def value(self) -> Any:
        """Text, which is not kept, or a value of the type's ``content=``, which is; raises InvalidContent."""
        return self.content.decode(self.encoding, self.errors) if self.type.codec is None else super().value

    def _decode(self) -> Any:
        """Return the text, or decode :attr:`value` by the type's ``content=`` and return it; raises InvalidContent."""
        return self.value if self.type.codec is None else super()._decode()


class PlainConnection:
    """One connection of a plain wire, in either role.

    Args:
        role: the local side's.
        wire: what it shares with the others.
        framing: its own.
        most_garbage: runs of bytes outside every message after which the peer is closed.
        encrypted: True if TLS is below it, which cannot end a stream in one direction.
    """

    __slots__ = (
        "_begun",
        "_deaf",
        "_ended",
        "_framing",
        "_garbage",
        "_lost",
        "_make",
        "_most_garbage",
        "_out",
        "_refuses",
        "_role",
        "_wire",
        "max_message_size",
        "peer",
    )

    supports_requests = supports_ping = marks_requests = has_more = False
    half_closes = True
    handshake_fault: HandshakeError | None = None
    rpc: RpcCodec | None = None
    next_timeout: float | None = None

    def __init__(self, role: Role, wire: Format, framing: Framing, *, most_garbage: int, encrypted: bool) -> None:
        self.peer: Peer | None = None
        self.max_message_size = framing.max_size
        self._role = role
        self._wire = wire
        self._framing = framing
        self._garbage, self._most_garbage = 0, most_garbage
        self._refuses = encrypted and framing.ends_stream
        self._make = wire.make if are_used() else None
        self._out: list[bytes] = []
        self._begun = self._deaf = self._ended = self._lost = False

    @property
    def overhead(self) -> int:
        """Bytes that the framing adds, escapes apart."""
        return self._framing.overhead

    @property
    def compiled(self) -> bool:
        """True if compiled code makes the messages."""
        return self._make is not None

    @property
    def encoding_key(self) -> object:
        """The wire."""
        return self._wire.key

    @property
    def in_order_replies(self) -> bool:
        """True where the wire was told so, and where a stream has one message."""
        return self._wire.in_order_replies

    @property
    def beginning(self) -> bytes:
        """First bytes of the unfinished message."""
        return bytes(self._framing.partial[:_BEGINNING])

    @property
    def incoming_size(self) -> int:
        """Bytes of the unfinished message as far as they are known."""
        return self._framing.incoming_size

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the unfinished message."""
        return len(self._framing.partial)

    def start(self) -> list[Event]:
        """Complete the handshake, which has no bytes."""
        self._begin()
        if self._refuses:
            self.connection_lost()
            said = f"the wire {self._wire.name} cannot be spoken over TLS, which does not end a stream in one direction alone"
            return [ConnectionFailed(HandshakeError(said))]
        self.peer = self._wire.peer
        return [HandshakeCompleted(self.peer)]

    def refuse(self) -> None:
        """Begin a connection that is closed without a word: there are none for it."""
        if self._role is Role.CLIENT:
            raise LocalProtocolError("only a server refuses a peer because it is full")
        self._begin()
        self.connection_lost()

    def _begin(self) -> None:
        if self._begun:
            raise LocalProtocolError("the connection has begun, or ended, already")
        self._begun = True

    def handle_timeout(self) -> list[Event]:
        """Do nothing: none is ever due."""
        return []

    def accept(self) -> list[Event]:
        """Raise LocalProtocolError: there is no authentication."""
        raise LocalProtocolError(f"the wire {self._wire.name} asks for no authentication")

    def reject(self) -> None:
        """Raise LocalProtocolError, as :meth:`accept`."""
        self.accept()

    def present(self, credentials: Token | Password | None) -> list[Event]:
        """Raise LocalProtocolError: the handshake does not ask for credentials."""
        raise LocalProtocolError(f"the wire {self._wire.name} carries no credentials")

    def reauthenticate(self, credentials: Token | Password, request_id: int) -> int:
        """Raise LocalProtocolError, as :meth:`present`."""
        raise LocalProtocolError(f"the wire {self._wire.name} carries no credentials")

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Return the messages that are complete now; raises LocalProtocolError before the beginning."""
        if not self._begun:
            raise LocalProtocolError("the connection has not begun: call start() first")
        if self._deaf:
            return []
        contents: list[bytes | None] = []
        try:
            self._framing.feed(data, contents)
        except RemoteProtocolError as error:
            events = self._events(contents, received_at)
            return events if self._deaf else [*events, self._fail(error)]
        return self._events(contents, received_at)

    def receive_eof(self, received_at: int) -> list[Event]:
        """Return the message that the end of the stream completes, if any; one that it leaves unfinished is rejected."""
        if self._deaf:
            return []
        contents: list[bytes | None] = []
        self._framing.end(contents)
        return self._events(contents, received_at)

    def _events(self, contents: list[bytes | None], received_at: int) -> list[Event]:
        made = None if self._make is None else self._make(contents, received_at)
        if made is not None:
            return made
        wire, events = self._wire, list[Event]()
        message_type, encoding, errors, ascii_is_text = wire.type, wire.encoding, wire.errors, wire.ascii_is_text
        if encoding is None and None not in contents:
            return [Response(message_type, content, 0, 0, received_at) for content in cast(list[bytes], contents)]
        for content in contents:
            if content is None:
                events.append(FrameRejected(RejectReason.GARBAGE))
                self._garbage += 1
                if self._garbage > self._most_garbage:
                    events.append(self._fail(TooManyProtocolErrors(self._most_garbage)))
                    break
            elif encoding is None:
                events.append(Response(message_type, content, 0, 0, received_at))
            else:
                try:
                    if not (ascii_is_text and content.isascii()):
                        content.decode(encoding, errors)
                except UnicodeError:
                    events.append(FrameRejected(RejectReason.MALFORMED))
                else:
                    events.append(TextMessage(message_type, content, 0, 0, received_at, None, encoding, errors))
        return events

    def _fail(self, error: RemoteProtocolError) -> ConnectionFailed:
        self._deaf = True
        self._framing.partial.clear()
        return ConnectionFailed(error)

    def connection_lost(self) -> None:
        """Mark the connection closed, and drop the unfinished message."""
        self._begun = self._deaf = self._lost = True
        self._framing.partial.clear()

    def data_to_send(self) -> list[bytes]:
        """Return and clear the buffers to write; an empty one, the last, ends the stream."""
        out, self._out = self._out, []
        return out

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Raise LocalProtocolError: there are no request ids."""
        raise LocalProtocolError(f"the wire {self._wire.name} has no request ids: send_and_wait() needs replies='in-order' on it")

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write, an empty one behind it where the end of the stream ends it.

        Raises:
            NotReady: the connection has not begun.
            MessageTooLarge: it is over the limit.
            LocalProtocolError: its type is not the wire's, or the framing or the encoding cannot carry it.
            InvalidContent: the value is not of the type's ``content=``.
            TypeError: it is neither text nor bytes, or text on a wire of bytes.
        """
        if self.peer is None:
            raise NotReady()
        wire = self._wire
        if message_type is not wire.type and message_type.key != wire.type.key:
            raise LocalProtocolError(
                f"the wire {wire.name} carries messages of type {wire.type.name} alone, not {message_type.name}"
            )
        if message_type.codec is not None:
            value = encode_content(message_type, value)
        content = value if wire.encoding is None and type(value) is bytes else self._content(value)
        framing = self._framing
        framed = framing.frame(content)
        return [framed, b""] if framing.ends_stream else [framed]

    def _content(self, value: object) -> bytes:
        encoding, errors = self._wire.encoding, self._wire.errors
        try:
            if encoding is None:
                return as_content(value)
            if isinstance(value, str):
                return value.encode(encoding, errors)
            if isinstance(value, (bytes, bytearray, memoryview)):
                content = bytes(value)
                content.decode(encoding, errors)
                return content
        except UnicodeError:
            raise LocalProtocolError(
                f"a message of the wire {self._wire.name} is text in {encoding}, not {excerpt(value)}"
            ) from None
        raise TypeError(f"a message of the wire {self._wire.name} is text, or bytes of it, not {type(value).__name__}")

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Queue a message and return its bytes on the wire; raises as :meth:`encode` and :meth:`send_encoded`."""
        if self._lost or self._ended:
            self._check_open()
        buffers = self.encode(message_type, value)
        self._out += buffers
        self._ended = self._framing.ends_stream
        return len(buffers[0])

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal :attr:`encoding_key` returned.

        Raises:
            NotReady: the connection has not begun.
            LocalProtocolError: it is closed.
            StreamEnded: its one message has been sent.
        """
        self._check_open()
        if self.peer is None:
            raise NotReady()
        self._queue(buffers)

    def _check_open(self) -> None:
        if self._lost:
            raise LocalProtocolError("the connection is closed: nothing can be sent any more")
        if self._ended:
            raise StreamEnded()

    def _queue(self, buffers: list[bytes]) -> None:
        self._out += buffers
        self._ended = self._framing.ends_stream

    def key_of(self, buffer: bytes) -> Hashable:
        """Return the key of the wire's one type."""
        return self._wire.type.key if buffer else None

    def send_ping(self, request_id: int | None) -> None:
        """Raise LocalProtocolError: there are no pings."""
        raise LocalProtocolError(f"the wire {self._wire.name} has no pings: timeouts.idle closes silent peers on it")

    def reply_error(self, request_id: int, code: str = "", message: str = "", details: object = None) -> bool:
        """Return False: there are no error replies."""
        return False
