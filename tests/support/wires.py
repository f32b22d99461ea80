"""Two wires that only the tests have: what a third one needs is what these have.

:class:`Texts` has neither message types, request ids nor pings, and its values are texts. :class:`Objects` has names in
place of codes, maps as values, and a handshake that authenticates.
"""

from __future__ import annotations

import json
from collections.abc import Collection
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
from veltix_tx.wire.events import AuthenticationRequested, ConnectionFailed, Event, HandshakeCompleted
from veltix_tx.wire.interface import Role, WireConnection, WireContext
from veltix_tx.wire.messages import MessageType, Response
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds

__all__ = ["Objects", "Text", "Texts"]


class _Connection:
    """Framing and bookkeeping that both wires share; each reads and writes its own messages."""

    compiled = supports_requests = supports_ping = marks_requests = False
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
        self._open = True

    @property
    def buffered_size(self) -> int:
        return len(self._buffer)

    incoming_size = buffered_size

    def connection_lost(self) -> None:
        self._open, self._buffer = False, b""

    def data_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def handle_timeout(self) -> list[Event]:
        return []

    def accept(self) -> list[Event]:
        raise LocalProtocolError("no authentication is pending")

    def reject(self) -> None:
        raise LocalProtocolError("no authentication is pending")

    def refuse(self) -> None:
        self._out.append(b"full\n")

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        raise LocalProtocolError("this wire has no request ids: only send() works on it")

    def send_ping(self, request_id: int | None) -> None:
        raise LocalProtocolError("this wire has no pings")

    def reply_error(self, request_id: int) -> bool:
        return False

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        buffers = self.encode(message_type, value, request_id)
        self.send_encoded(buffers)
        return sum(map(len, buffers))

    def send_encoded(self, buffers: list[bytes]) -> None:
        if self.peer is None:
            raise NotReady
        if not self._open:
            raise LocalProtocolError("the connection is closed")
        self._out += buffers

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        raise NotImplementedError


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

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        return _TextConnection(self.type, role, context)


class _TextConnection(_Connection):
    overhead = 1

    def __init__(self, message_type: MessageType, role: Role, context: WireContext) -> None:
        super().__init__(role, context)
        self._type = message_type

    def start(self) -> list[Event]:
        self.peer = Peer(wire="texts")
        return [HandshakeCompleted(self.peer)]

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        *lines, self._buffer = (self._buffer + data).split(b"\n") if self._open else [b""]
        events: list[Event] = [Text(self._type, line, 0, 0, received_at) for line in lines]
        if len(self._buffer) >= self.max_message_size:
            self._open = False
            events.append(ConnectionFailed(FrameTooLarge(len(self._buffer), self.max_message_size)))
        return events

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        if not isinstance(value, str):
            raise TypeError(f"a message of this wire is a text, not {type(value).__name__}")
        if len(value.encode()) >= self.max_message_size:
            raise MessageTooLarge(len(value.encode()) + 1, self.max_message_size)
        return [value.encode() + b"\n"]


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
    authenticates: bool = True

    def describe(self, *, encrypted: bool) -> str:
        return "objects, with a token"

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        return _ObjectConnection(self.token, role, context)


class _ObjectConnection(_Connection):
    overhead = 4

    def __init__(self, token: str, role: Role, context: WireContext) -> None:
        super().__init__(role, context)
        self._token = token

    def start(self) -> list[Event]:
        if self._role is Role.CLIENT:
            self._out += _pack("token", {"token": self._token})
        return []

    def accept(self) -> list[Event]:
        self._out += _pack("welcome", {})
        return self._ready()

    def reject(self) -> None:
        self._out += _pack("refused", {})

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        events: list[Event] = []
        self._buffer += data if self._open else b""
        while len(self._buffer) >= 4 and self._open:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > self.max_message_size:
                self._open = False
                events.append(ConnectionFailed(FrameTooLarge(size, self.max_message_size)))
                break
            if len(self._buffer) < 4 + size:
                break
            body, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            try:
                name, content = json.loads(body)
                events += self._take(str(name), content, received_at)
            except (ValueError, RemoteProtocolError) as error:
                self._open = False
                failed = error if isinstance(error, RemoteProtocolError) else RemoteProtocolError(f"no pair: {error}")
                events.append(ConnectionFailed(failed))
        return events

    def _take(self, name: str, content: object, received_at: int) -> list[Event]:
        if self.peer is None and self._role is Role.SERVER and name == "token":
            return [AuthenticationRequested(content)]
        if self.peer is None and self._role is Role.CLIENT and name == "welcome":
            return self._ready()
        if self.peer is None and self._role is Role.CLIENT and name == "refused":
            raise AuthenticationFailed("the server refused the token")
        if self.peer is None:
            raise MalformedHello(f"{name!r} came before the handshake was complete")
        message_type = self._context.types.named(name)
        if message_type is None:
            raise RemoteProtocolError(f"{name!r} is no type of this side")
        return [Map(message_type, json.dumps(content).encode(), 0, 0, received_at)]

    def _ready(self) -> list[Event]:
        self.peer = Peer(wire="objects")
        return [HandshakeCompleted(self.peer)]

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        if not isinstance(value, dict):
            raise TypeError(f"a message of this wire is a map, not {type(value).__name__}")
        return _pack(message_type.name, value)


def _pack(name: str, content: object) -> list[bytes]:
    body = json.dumps([name, content]).encode()
    return [len(body).to_bytes(4, "big") + body]
