"""Interface of every wire: a frozen :class:`Wire` makes a sans-io :class:`WireConnection` for each transport connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from veltix_tx.errors import HandshakeError
from veltix_tx.limits import Limits
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import MessageRegistry, MessageType
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.rpc import RpcCodec

__all__ = ["MAX_DATAGRAM", "DatagramWire", "PasswordWire", "Role", "Wire", "WireConnection", "WireContext"]

MAX_DATAGRAM = 65_507
"""Bytes of a datagram at most: IPv4 carries no more in one of UDP."""


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
        authenticates: True if the local side is a server that decides who is let in. A handshake that can ask for credentials
            does so then; of a wire whose handshake cannot, the floor above asks for the verdict itself.
        features: returns the extensions, besides those of the wire's own, that the floors above want to agree on now.
    """

    calendar_ms: Callable[[], int]
    uptime_ms: Callable[[], int]
    getrandbits: Callable[[int], int]
    types: MessageRegistry
    limits: Limits
    max_message_size: int
    authenticates: bool = False
    features: Callable[[], tuple[str, ...]] = tuple


@runtime_checkable
class Wire(Protocol):
    """One wire with its options: frozen, hashable, shared by all connections that speak it."""

    @property
    def name(self) -> str:
        """Name for logs and for ``wire=``."""

    @property
    def type(self) -> MessageType | None:
        """Type of every message, on a wire that carries none; None on one that does."""

    @property
    def authenticates(self) -> bool:
        """True if a server of it lets in only who proves something in the handshake."""

    def describe(self, *, encrypted: bool) -> str:
        """Return what a listener of this wire speaks, for its start line.

        Args:
            encrypted: True if TLS is below it.
        """

    def check(self, *, encrypted: bool, max_message_size: int) -> None:
        """Raise SettingsError where the wire cannot be spoken with these settings.

        Args:
            encrypted: True if TLS is below it.
            max_message_size: as in :class:`WireContext`.
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


@runtime_checkable
class DatagramWire(Wire, Protocol):
    """Wire that can be spoken in datagrams, too, each of which holds whole messages."""

    def check_datagrams(self, max_message_size: int) -> None:
        """Raise SettingsError where it cannot be spoken in datagrams with these settings; see :meth:`Wire.check`."""

    def connect_datagrams(self, role: Role, context: WireContext) -> WireConnection:
        """Return the protocol state for a new peer.

        It is ready as soon as it starts. Its ``receive_data`` takes a whole datagram, and keeps nothing of it: what is wrong with
        one is a FrameRejected, and never ends the connection, because anybody may have sent it in the peer's name. Each buffer
        of ``data_to_send`` is a datagram.
        """


class WireConnection(Protocol):
    """Sans-io protocol state of one connection: bytes in, events and bytes to send out.

    It begins with :meth:`start` or :meth:`refuse`, once, and ends with :meth:`connection_lost`. Messages are received, and can
    be sent, only behind its one HandshakeCompleted. Whatever a peer sends becomes events: the only errors raised are those of the
    local side. After a ConnectionFailed, the last event, input is ignored.

    What a flag says the wire cannot do raises a LocalProtocolError that names the wire. Attributes that are constant once the
    handshake is complete are plain attributes, because they are read per message.
    """

    @property
    def peer(self) -> Peer | None:
        """The other side, None until the handshake is complete."""

    @property
    def overhead(self) -> int:
        """Bytes a message takes on the wire beside its content and the name of its type."""

    @property
    def max_message_size(self) -> int:
        """Maximum bytes of a message in either direction, :attr:`overhead` included."""

    @property
    def encoding_key(self) -> object:
        """Equal for two connections whose peers take the same bytes for the same message."""

    @property
    def compiled(self) -> bool:
        """True if the connection's codec is compiled, so that what goes with it may be, too."""

    @property
    def supports_requests(self) -> bool:
        """True if replies carry the id of their request, so that ``send_and_wait`` works."""

    @property
    def in_order_replies(self) -> bool:
        """True if the peer's next message is the reply to a request, of which there is one at a time.

        Then ``send_and_wait`` works without ids, and a request that is given up ends the connection.
        """

    @property
    def half_closes(self) -> bool:
        """True if the peer may end its stream and still be answered. What it has sent is handled before the local side closes."""

    @property
    def supports_ping(self) -> bool:
        """True if the peer answers pings."""

    @property
    def rpc(self) -> RpcCodec | None:
        """Codec of remote procedure calls, None where the wire or the peer has none."""

    @property
    def marks_requests(self) -> bool:
        """True if the wire tells a request from a message that asks nothing, so that error replies only answer requests."""

    @property
    def handshake_fault(self) -> HandshakeError | None:
        """Fault in the peer's part of a handshake that still goes on, None for none."""

    @property
    def beginning(self) -> bytes:
        """First bytes of the message, or of the handshake's part, that has arrived in part; empty where they are not apart."""

    @property
    def incoming_size(self) -> int:
        """Bytes of the message that has arrived in part, as far as they are declared, at least 1; 0 without one."""

    @property
    def buffered_size(self) -> int:
        """Bytes kept of what has arrived in part, at most :attr:`max_message_size`; 0 after the end."""

    @property
    def has_more(self) -> bool:
        """True if bytes that :meth:`receive_data` has taken cost too much to be decoded at once.

        They are decoded by the next call, which may bring no bytes, in front of those it brings.
        """

    @property
    def next_timeout(self) -> float | None:
        """Seconds from now until :meth:`handle_timeout` is due, None for never. Read after every call."""

    def start(self) -> list[Event]:
        """Begin the handshake; may complete it.

        Raises:
            LocalProtocolError: it has begun, or ended, already.
        """

    def refuse(self) -> None:
        """Instead of :meth:`start`: refuse the client because the server is full, in words where the wire has them.

        Raises:
            LocalProtocolError: it has begun, or ended, already; or the local side is a client.
        """

    def handle_timeout(self) -> list[Event]:
        """Continue after :attr:`next_timeout`; returns no events where none is due."""

    def accept(self) -> list[Event]:
        """Accept the peer after an :class:`~veltix_tx.wire.events.AuthenticationRequested`.

        Raises:
            LocalProtocolError: no authentication is pending.
        """

    def reject(self) -> None:
        """Refuse the peer after an :class:`~veltix_tx.wire.events.AuthenticationRequested`; raises as :meth:`accept`."""

    def present(self, credentials: Token | Password | None) -> list[Event]:
        """Present credentials, None for none, after a :class:`~veltix_tx.wire.events.CredentialsRequested`.

        Raises:
            LocalProtocolError: the handshake does not ask for them.
        """

    def reauthenticate(self, credentials: Token | Password, request_id: int) -> int:
        """Queue new credentials for a peer that has let the local side in; return their bytes on the wire.

        Args:
            credentials: what to present.
            request_id: the id under which the verdict comes.

        Raises:
            LocalProtocolError: the peer did not agree to take any. Nothing was queued.
        """

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Process bytes of the peer.

        Args:
            data: the bytes.
            received_at: the local calendar clock in ms.

        Raises:
            LocalProtocolError: the connection has not begun.
        """

    def receive_eof(self, received_at: int) -> list[Event]:
        """Process the end of the peer's stream, where :attr:`half_closes` is True: it may complete a message.

        Args:
            received_at: the local calendar clock in ms.
        """

    def connection_lost(self) -> None:
        """Mark the connection closed. Later input is ignored; later sends raise LocalProtocolError."""

    def data_to_send(self) -> list[bytes]:
        """Return and clear the buffers to write, in order. An empty one, the last, ends the local side's stream."""

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return an id for a request, a ping or a call that is neither taken nor given up, ``wanted`` if it can be had.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the wire has no ids.
            TooManyRequests: every id is in use.
        """

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write.

        Args:
            message_type: its type.
            value: its content: bytes, a value of the type's ``content=``, or one the wire can carry.
            request_id: id of the request it answers.

        Raises:
            NotReady: the handshake is not complete.
            MessageTooLarge: the peer would have to reject it.
            LocalProtocolError: the wire cannot carry it.
            InvalidContent: the value is not of the type's ``content=``.
            TypeError: the value is none this wire carries.
        """

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Queue a message and return its bytes on the wire.

        Raises as :meth:`encode`, and LocalProtocolError when the connection is closed; then nothing is queued.
        """

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal :attr:`encoding_key` returned.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
        """

    def key_of(self, buffer: bytes) -> Hashable:
        """Return the key of the type of a message, by the first buffer that :meth:`encode` returned for it.

        None for a message of the wire's own, such as a ping, and for the second buffer of one in two. It is asked of a sample of
        what is sent, and not of every message.
        """

    def send_ping(self, request_id: int | None) -> None:
        """Queue a ping, without an id a probe; raises LocalProtocolError where :attr:`supports_ping` is False."""

    def reply_error(self, request_id: int, code: str = ..., message: str = ..., details: object = ...) -> bool:
        """Queue an error reply, with code, message and details where the wire carries them.

        Returns:
            False, nothing being queued, where the wire has none.
        """
