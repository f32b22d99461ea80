"""Interface of every wire: a frozen :class:`Wire` makes a sans-io :class:`WireConnection` for each transport connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from veltix_tx.errors import HandshakeError
from veltix_tx.limits import Limits
from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import MessageRegistry, MessageType
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds

__all__ = ["PasswordWire", "Role", "RpcConnection", "Wire", "WireConnection", "WireContext"]


class Role(Enum):
    """Role of the local side of a connection."""

    SERVER = "server"
    CLIENT = "client"

    __hash__ = object.__hash__  # by identity: an Enum's own hash is that of its name, and a handshake has many look-ups


@dataclass(frozen=True, slots=True)
class WireContext:
    """Facts that all connections of one server or client share.

    Attributes:
        calendar_ms: calendar clock, ms since 1970, for headers that carry one.
        uptime_ms: monotonic clock in ms.
        getrandbits: random source: a number of bits -> an int of as many.
        types: message types the local side knows.
        limits: maximum sizes and counts a peer may cause.
        max_message_size: maximum bytes of a message in either direction, header included.
    """

    calendar_ms: Callable[[], int]
    uptime_ms: Callable[[], int]
    getrandbits: Callable[[int], int]
    types: MessageRegistry
    limits: Limits
    max_message_size: int


class Wire(Protocol):
    """One wire with its options: frozen, hashable, shared by all connections that speak it."""

    @property
    def name(self) -> str:
        """Name for logs and for ``wire=``."""

    @property
    def authenticates(self) -> bool:
        """True if a server of it lets in only who proves something in the handshake."""

    def describe(self, *, encrypted: bool) -> str:
        """Return what a listener of this wire speaks, for its start line.

        Args:
            encrypted: True if TLS is below it.
        """

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        """Return the protocol state of a new connection.

        Args:
            role: role of the local side.
            context: facts shared by the connections.
            round_trip: round-trip time of the network in seconds as the kernel measured it, 0.0 where unknown.
            encrypted: True if TLS is below it.
        """


@runtime_checkable
class PasswordWire(Wire, Protocol):
    """Wire whose options hold a password, which a command line gives apart."""

    @property
    def password(self) -> str | None:
        """The password; None where it is not given."""

    def with_password(self, password: str) -> Wire:
        """Return the wire with a password; raises SettingsError for what cannot be one."""


class WireConnection(Protocol):
    """Sans-io protocol state of one connection: bytes in, events and bytes to send out.

    Attributes that are constant once the handshake is complete are plain attributes, because they are read per message.
    """

    @property
    def peer(self) -> Peer | None:
        """The other side, None until the handshake is complete."""

    @property
    def overhead(self) -> int:
        """Bytes a message takes on the wire beside its content."""

    @property
    def max_message_size(self) -> int:
        """Maximum bytes of a message, header included."""

    @property
    def encoding_key(self) -> object:
        """Equal for two connections whose peers take the same bytes for the same message."""

    @property
    def compiled(self) -> bool:
        """True if the connection's codec is compiled: then so may be what goes with it."""

    @property
    def supports_requests(self) -> bool:
        """True if replies carry the id of their request, so that ``send_and_wait`` works."""

    @property
    def supports_ping(self) -> bool:
        """True if the peer answers pings."""

    @property
    def marks_requests(self) -> bool:
        """True if the wire tells a request from a message that asks nothing, so that error replies only answer requests."""

    @property
    def handshake_fault(self) -> HandshakeError | None:
        """What is wrong with the peer's part of a handshake that still goes on, None for nothing."""

    @property
    def beginning(self) -> bytes:
        """First bytes of the message, or of the handshake's part, that has arrived in part."""

    @property
    def incoming_size(self) -> int:
        """Bytes of the message that has arrived in part, as far as they are declared; 0 without one."""

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the message that has arrived in part."""

    @property
    def next_timeout(self) -> float | None:
        """Seconds from now until :meth:`handle_timeout` is due, None for never. Read after every call."""

    def start(self) -> list[Event]:
        """Begin the handshake."""

    def refuse(self) -> None:
        """Instead of :meth:`start`: refuse the client because the server is full."""

    def handle_timeout(self) -> list[Event]:
        """Continue after :attr:`next_timeout`."""

    def accept(self) -> list[Event]:
        """Let the peer in after an :class:`~veltix_tx.wire.events.AuthenticationRequested`.

        Raises:
            LocalProtocolError: no authentication is pending.
        """

    def reject(self) -> None:
        """Refuse the peer after an :class:`~veltix_tx.wire.events.AuthenticationRequested`; raises as :meth:`accept`."""

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Process bytes of the peer.

        Args:
            data: the bytes.
            received_at: the local calendar clock in ms.
        """

    def connection_lost(self) -> None:
        """Mark the connection closed. Later input is ignored; later sends raise LocalProtocolError."""

    def data_to_send(self) -> list[bytes]:
        """Return and clear the buffers to write, in order."""

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return an id for a request, a ping or a call that is neither taken nor given up, ``wanted`` if it can be had.

        Raises:
            LocalProtocolError: the wire has no ids.
            TooManyRequests: every id is in use.
        """

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write.

        Args:
            message_type: its type.
            value: its content: bytes, or a value the wire can carry.
            request_id: id of the request it answers.

        Raises:
            NotReady: the handshake is not complete.
            MessageTooLarge: the peer would have to reject it.
            LocalProtocolError: the wire cannot carry it.
            TypeError: the value is none this wire carries.
        """

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Queue a message and return its bytes on the wire; raises as :meth:`encode`."""

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal :attr:`encoding_key` returned."""

    def send_ping(self, request_id: int | None) -> None:
        """Queue a ping, without an id a probe; raises LocalProtocolError where :attr:`supports_ping` is False."""

    def reply_error(self, request_id: int, code: str = ..., message: str = ...) -> bool:
        """Queue an error reply, with a code and a message where the wire carries them; return False where it has none."""


class RpcConnection(WireConnection, Protocol):
    """Connection of a wire that carries calls of procedures: one whose :attr:`supports_rpc` is True.

    The peer's calls arrive as :class:`~veltix_tx.wire.events.RpcCall` events, each to be answered once, in any order, with
    :meth:`send_result` or :meth:`send_call_error`; answers to calls of this side as
    :class:`~veltix_tx.wire.events.RpcResult` events. The ids of calls come from :meth:`allocate_id`. A deadline or a
    cancellation does not travel: the answer to a call that was given up comes all the same, or never.
    """

    @property
    def supports_rpc(self) -> bool:
        """True if calls can be sent and received."""

    @property
    def discovery_method(self) -> str:
        """Name of the method, called without arguments, by which peers list the others; the application does not see it."""

    def send_call(self, method: str, params: Mapping[str, object], request_id: int) -> int:
        """Queue a call and return its bytes on the wire; raises as :meth:`encode`.

        Args:
            method: the procedure's name.
            params: the arguments by name.
            request_id: an id that no pending call has.
        """

    def send_result(self, request_id: int, value: object) -> int:
        """Queue what a call returned, in the form the peer expects; returns and raises as :meth:`send_call`."""

    def send_call_error(self, request_id: int, code: int, message: str, details: Mapping[str, object] | None = None) -> int:
        """Queue why a call failed; returns and raises as :meth:`send_call`.

        Args:
            request_id: the call's.
            code: the wire's number for what happened.
            message: the same for people, without internals.
            details: what else the caller may know of it.
        """
