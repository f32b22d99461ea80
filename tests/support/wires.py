"""Two wires that only the tests have: what a third one needs is what these have.

:class:`Texts` has neither message types, request ids nor pings, and its values are texts. :class:`Objects` has names in
place of codes, maps as values, and a handshake that authenticates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from veltix_tx.errors import (
    AuthenticationFailed,
    FrameTooLarge,
    LocalProtocolError,
    MalformedHello,
    MessageTooLarge,
    NotReady,
    RemoteProtocolError,
)
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import AuthenticationRequested, ConnectionFailed, Event, FrameRejected, HandshakeCompleted, RejectReason
from veltix_tx.wire.interface import Role, WireConnection, WireContext
from veltix_tx.wire.messages import MessageType, Response
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds

__all__ = ["Objects", "Text", "Texts"]


class _Connection:
    """Bookkeeping that both wires share; each begins, reads and writes in its own way."""

    name = ""
    compiled = supports_requests = supports_ping = marks_requests = in_order_replies = half_closes = has_more = False
    rpc = None
    handshake_fault = None
    beginning = b""
    next_timeout: float | None = None
    overhead = 0

    def __init__(self, role: Role, context: WireContext) -> None:
        self.peer: Peer | None = None
        self.max_message_size = context.max_message_size
        self.encoding_key: object = type(self)
        self._role, self._context = role, context
        self._buffer = b""
        self._out: list[bytes] = []
        self._begun = self._failed = self._lost = self._asking = False

    @property
    def buffered_size(self) -> int:
        return len(self._buffer)

    incoming_size = buffered_size

    def start(self) -> list[Event]:
        self._begin()
        return []

    def refuse(self) -> None:
        if self._role is Role.CLIENT:
            raise LocalProtocolError("only a server refuses a peer")
        self._begin()
        self.connection_lost()

    def connection_lost(self) -> None:
        self._begun = self._lost = True
        self._buffer = b""

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        if not self._begun:
            raise LocalProtocolError("the connection has not begun")
        if self._failed or self._lost:
            return []
        self._buffer += data
        events: list[Event] = []
        try:
            self.read(events, received_at)
        except RemoteProtocolError as error:
            self._failed, self._buffer = True, b""
            events.append(ConnectionFailed(error))
        return events

    def receive_eof(self, received_at: int) -> list[Event]:
        return []

    def read(self, events: list[Event], received_at: int) -> None:
        raise NotImplementedError

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def handle_timeout(self) -> list[Event]:
        return []

    def accept(self) -> list[Event]:
        if not self._asking:
            raise LocalProtocolError("the connection waits for no verdict")
        self._asking = False
        return []

    def reject(self) -> None:
        _Connection.accept(self)

    def present(self, credentials: Token | Password | None) -> list[Event]:
        raise LocalProtocolError("this wire has its own token")

    def reauthenticate(self, credentials: Token | Password, request_id: int) -> int:
        raise LocalProtocolError("this wire has its own token")

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        raise LocalProtocolError(f"the wire {self.name} has no request ids: only send() works on it")

    def key_of(self, buffer: bytes) -> Hashable:
        raise NotImplementedError

    def send_ping(self, request_id: int | None) -> None:
        raise LocalProtocolError(f"the wire {self.name} has no pings")

    def reply_error(self, request_id: int, code: str = "", message: str = "", details: object = None) -> bool:
        return False

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        buffers = self.encode(message_type, value, request_id)
        self.send_encoded(buffers)
        return sum(map(len, buffers))

    def send_encoded(self, buffers: list[bytes]) -> None:
        if self._lost:
            raise LocalProtocolError("the connection is closed")
        if self.peer is None:
            raise NotReady
        self._out += buffers

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        if self.peer is None and not self._lost:
            raise NotReady
        framed = self.frame(message_type, value)
        if len(framed) > self.max_message_size:
            raise MessageTooLarge(len(framed), self.max_message_size)
        return [framed]

    def frame(self, message_type: MessageType, value: object) -> bytes:
        raise NotImplementedError

    def _begin(self) -> None:
        if self._begun:
            raise LocalProtocolError("the connection has begun already")
        self._begun = True

    def _ready(self) -> list[Event]:
        self.peer = Peer(wire=self.name)
        return [HandshakeCompleted(self.peer)]


class Text(Response):
    """A message whose value is text."""

    @property
    def value(self) -> str:
        return self.content.decode()


@dataclass(frozen=True)
class Texts:
    """One line of UTF-8 a message, all of one type; ready at once.

    Attributes:
        type: the type of every message.
    """

    type: MessageType
    name: str = "texts"
    authenticates: bool = False

    def describe(self, *, encrypted: bool) -> str:
        return "texts, a line each"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        pass

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        return _TextConnection(self.type, role, context)


class _TextConnection(_Connection):
    name, overhead = "texts", 1

    def __init__(self, message_type: MessageType, role: Role, context: WireContext) -> None:
        super().__init__(role, context)
        self._type = message_type

    def start(self) -> list[Event]:
        return [*super().start(), *self._ready()]

    def read(self, events: list[Event], received_at: int) -> None:
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in (*lines, self._buffer):
            if len(line) >= self.max_message_size:
                raise FrameTooLarge(len(line) + 1, self.max_message_size)
            if line is not self._buffer:
                events.append(self._message(line, received_at))

    def _message(self, line: bytes, received_at: int) -> Event:
        try:
            line.decode()
        except ValueError:
            return FrameRejected(RejectReason.MALFORMED)
        return Text(self._type, line, 0, 0, received_at)

    def frame(self, message_type: MessageType, value: object) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"a message of this wire is a text, not {type(value).__name__}")
        return value.encode() + b"\n"

    def key_of(self, buffer: bytes) -> Hashable:
        return self._type.key


class Map(Response):
    """A message whose value is a map."""

    @property
    def value(self) -> object:
        return json.loads(self.content)


@dataclass(frozen=True)
class Objects:
    """A size and a JSON array of name and map; a client says its token first.

    Attributes:
        token: what a client says.
    """

    token: str = ""
    name: str = "objects"
    type: MessageType | None = None
    authenticates: bool = True

    def describe(self, *, encrypted: bool) -> str:
        return "objects, with a token"

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        pass

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        return _ObjectConnection(self.token, role, context)


class _ObjectConnection(_Connection):
    name, overhead = "objects", 4

    def __init__(self, token: str, role: Role, context: WireContext) -> None:
        super().__init__(role, context)
        self._token = token

    def start(self) -> list[Event]:
        self._begin()
        if self._role is Role.CLIENT:
            self._out.append(_pack("token", {"token": self._token}))
        return []

    def refuse(self) -> None:
        super().refuse()
        self._out.append(_pack("full", {}))

    def accept(self) -> list[Event]:
        super().accept()
        self._out.append(_pack("welcome", {}))
        return self._ready()

    def reject(self) -> None:
        super().reject()
        self._out.append(_pack("refused", {}))

    def read(self, events: list[Event], received_at: int) -> None:
        while len(self._buffer) >= 4:
            size = 4 + int.from_bytes(self._buffer[:4], "big")
            if size > self.max_message_size:
                raise FrameTooLarge(size, self.max_message_size)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[4:size], self._buffer[size:]
            try:
                name, content = json.loads(body)
            except (ValueError, TypeError, RecursionError) as error:
                raise RemoteProtocolError(f"no pair: {error}") from None
            events += self._event(str(name), content, received_at)

    def _event(self, name: str, content: object, received_at: int) -> list[Event]:
        if self.peer is not None:
            known = self._context.types.named(name)
            if known is None:
                return [FrameRejected(RejectReason.UNKNOWN_TYPE)]
            return [Map(known, json.dumps(content).encode(), 0, 0, received_at)]
        if self._role is Role.SERVER and name == "token" and not self._asking:
            self._asking = True
            return [AuthenticationRequested(content)]
        if self._role is Role.CLIENT and name == "welcome":
            return self._ready()
        if self._role is Role.CLIENT and name in ("refused", "full"):
            raise AuthenticationFailed(f"the server says {name}")
        raise MalformedHello(f"{name!r} came before the handshake was complete")

    def frame(self, message_type: MessageType, value: object) -> bytes:
        if not isinstance(value, dict):
            raise TypeError(f"a message of this wire is a map, not {type(value).__name__}")
        return _pack(message_type.name, value)

    def key_of(self, buffer: bytes) -> Hashable:
        known = self._context.types.named(json.loads(buffer[4:])[0])
        return None if known is None else known.key


def _pack(name: str, content: object) -> bytes:
    body = json.dumps([name, content]).encode()
    return len(body).to_bytes(4, "big") + body
