"""Veltix connection, sans-io: the peer's bytes in, events and bytes to send out.

The floor above drives a :class:`WireConnection` and never knows which wire it is on::

    connection.start()                               # then send data_to_send()
    for event in connection.receive_data(data, ms):  # then send data_to_send()
        ...                                          # HandshakeCompleted, Response, Pong, RequestFailed, …
    connection.send(message_type, content)           # then send data_to_send()

``next_timeout`` tells in how many seconds :meth:`~WireConnection.handle_timeout` wants to be called if the
peer stays silent. :class:`VeltixConnection` is the wire of Veltix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import cache, partial

from veltix_tx.errors import (
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    NotReady,
    RemoteProtocolError,
    TooManyRequests,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.error_codes import HANDLER_FAILED
from veltix_tx.wire.events import (
    CallCancelled,
    ConnectionFailed,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import (
    AUTHENTICATE,
    CALL,
    CANCEL,
    ERROR,
    EXTENSION_TYPES,
    FAILED,
    FIRST_USER_CODE,
    PING,
    PONG,
    PROCESS_TYPES,
    SYSTEM_TYPES,
    MessageRegistry,
    MessageType,
    Response,
    encode_content,
)
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.rpc import RpcCodec
from veltix_tx.wire.veltix.authentication import ACCEPTED, REFUSED, Reauthentication, encode_credentials
from veltix_tx.wire.veltix.encoder import NO_ENCODER, encoder_for
from veltix_tx.wire.veltix.extensions import ERRORS, FEATURES, IDENTITY, OPTIONAL, RPC, decode_error, encode_error
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.handshake import Handshake
from veltix_tx.wire.veltix.peer import VeltixPeer
from veltix_tx.wire.veltix.phases import Closed, Established, Opening, Phase
from veltix_tx.wire.veltix.releases import Release
from veltix_tx.wire.veltix.request_ids import RequestIds, half_of
from veltix_tx.wire.veltix.rpc import VELTIX_RPC
from veltix_tx.wire.veltix.states import STATES, State, Trigger

__all__ = [
    "State",
    "VeltixConnection",
]

_LIMITS = Limits()

_READY, _CLOSED = State.READY, State.CLOSED
"""As globals of their own, because a class attribute of an Enum costs five times as much for each message."""

_PINGS = (PING.code, PONG.code)

_TOO_LATE = "the connection is closed: nothing can be sent any more"


@cache
def _features(wanted: tuple[str, ...], identity: bool) -> tuple[str, ...]:
    """Return the extensions to offer: those that are always, those that are wanted, and the identity's."""
    left_out = {each for each in OPTIONAL if each not in wanted} | (set() if identity else {IDENTITY})
    return tuple(each for each in FEATURES if each not in left_out)


class VeltixConnection:
    """One Veltix connection of any generation, in either role.

    Args:
        role: this side's.
        release: the upstream release to speak, None to find out.
        calendar_ms: the calendar's clock, ms since 1970, for headers that carry one.
        uptime_ms: a monotonic clock in ms, for peers of 1.6.9, which expect that.
        getrandbits: draws ids: a number of bits -> an int of as many.
        types: the message types this side knows.
        max_message_size: the most bytes of a message either way, header included.
        limits: what the peer may make this side keep.
        gap: seconds between the hellos of a server that finds out.
        long_headers: as a client, ask a server that offers it for headers of 22 bytes.
        authenticates: as a server with a JSON handshake, ask for the verdict on each client.
        wanted: extensions that the floors above want to agree on, of those in OPTIONAL.

    Attributes:
        state: a :class:`State`.
        peer: the other side, from READY on.
        max_message_size: as given.
    """

    has_more = False

    __slots__ = ("_out", "_phase", "max_message_size", "peer", "state")

    def __init__(
        self,
        role: Role,
        release: Release | None = None,
        *,
        calendar_ms: Callable[[], int],
        uptime_ms: Callable[[], int],
        getrandbits: Callable[[int], int],
        types: MessageRegistry = PROCESS_TYPES,
        max_message_size: int = 10 * 1024 * 1024,
        limits: Limits = _LIMITS,
        gap: float = 0.15,
        long_headers: bool = False,
        authenticates: bool = False,
        wanted: tuple[str, ...] = (),
    ) -> None:
        self.state = State.NEW
        self.peer: VeltixPeer | None = None
        self.max_message_size = max_message_size
        asks = authenticates and role is Role.SERVER
        # With system codes of the program's, 100 may be a type of it.
        features = () if types.holds_system_codes else _features(wanted, asks or role is Role.CLIENT)
        handshake = Handshake(role, release, getrandbits, limits, gap, long_headers, features, asks)
        self._phase: Phase = Opening(role, handshake, calendar_ms, uptime_ms, getrandbits, types, limits.protocol_errors)
        self._out: list[bytes] = []

    @property
    def compiled(self) -> bool:
        """True if the compiled codec was in use when the handshake completed."""
        return self._phase.decoder.compiled

    @property
    def overhead(self) -> int:
        """Bytes of a header, 0 before READY."""
        return self._phase.encoder.overhead

    @property
    def encoding_key(self) -> object:
        """Equal for two connections whose peers take the same bytes for the same message; None before READY."""
        return self._phase.encoder.key

    @property
    def supports_requests(self) -> bool:
        """True if the layout has request ids: every one but the 46-byte header."""
        return self._phase.ids.available

    @property
    def in_order_replies(self) -> bool:
        """False: replies carry the ids of their requests."""
        return False

    @property
    def half_closes(self) -> bool:
        """False: a peer that ends its stream has left."""
        return False

    @property
    def marks_requests(self) -> bool:
        """True if error replies are agreed on: they answer only ids that ask."""
        return self.peer is not None and ERRORS in self.peer.features

    @property
    def rpc(self) -> RpcCodec | None:
        """Codec of calls where the peer agreed on them."""
        return VELTIX_RPC if self.peer is not None and RPC in self.peer.features else None

    @property
    def supports_ping(self) -> bool:
        """True if the peer answers pings: every release does."""
        return True

    @property
    def incoming_size(self) -> int:
        """Bytes of the message of which only a part has come, 0 without one; the handshake has a deadline of its own."""
        return self._phase.decoder.incoming_size

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the message of which only a part has come; in the handshake, too."""
        return self._phase.buffered_size

    @property
    def beginning(self) -> bytes:
        """The first bytes of the message of which only a part has come, where they are still apart; in the handshake, too."""
        return self._phase.beginning

    @property
    def next_timeout(self) -> float | None:
        """Seconds of silence after which :meth:`handle_timeout` wants to be called, None for never."""
        return self._phase.next_timeout

    @property
    def handshake_fault(self) -> HandshakeError | None:
        """What is wrong with what the peer has said so far, in a handshake that goes on all the same; None for nothing."""
        return self._phase.fault

    def start(self) -> list[Event]:
        """Begin the handshake; may be all there is to it.

        Raises:
            LocalProtocolError: it has begun, or ended, already.
        """
        opening = self._open(Trigger.START)
        opening.handshake.start()
        return self._check_agreed(opening, b"", opening.calendar_ms())

    def refuse(self) -> None:
        """Instead of :meth:`start`: refuse the client because the server is full.

        Raises:
            LocalProtocolError: it has begun, or ended, already; or this side is a client.
        """
        if isinstance(self._phase, Opening) and self._phase.role is Role.CLIENT:
            raise LocalProtocolError("only a server refuses a peer because it is full")
        opening = self._open(Trigger.REFUSE)
        opening.handshake.refuse()
        self._collect(opening.handshake)
        self._phase = Closed(opening)

    def handle_timeout(self) -> list[Event]:
        """Go on after ``next_timeout`` seconds of silence."""
        if isinstance(self._phase, Opening):
            self._phase.handshake.handle_timeout()
            self._collect(self._phase.handshake)
        return []

    def accept(self) -> list[Event]:
        """Let the client in, or accept its new credentials.

        Raises:
            LocalProtocolError: no verdict is asked for.
        """
        opening = self._phase
        if not isinstance(opening, Opening):
            self._send_verdict(ACCEPTED)
            return []
        return self._go_on(opening, opening.handshake.accept, opening.calendar_ms())

    def reject(self) -> None:
        """Refuse the client, of which nothing more is read then; or its new credentials. Raises as :meth:`accept`."""
        opening = self._phase
        if not isinstance(opening, Opening):
            self._send_verdict(REFUSED)
            return
        opening.handshake.reject()
        self._collect(opening.handshake)
        self._phase = Closed(opening)
        self._move(Trigger.FAULT)

    def present(self, credentials: Token | Password | None) -> list[Event]:
        """Present credentials, None for none, in a client's handshake.

        Raises:
            LocalProtocolError: the handshake does not ask for them.
        """
        opening = self._phase
        if not isinstance(opening, Opening):
            raise LocalProtocolError("the server's handshake asks for no credentials now")
        return self._go_on(opening, partial(opening.handshake.present, credentials), opening.calendar_ms())

    def reauthenticate(self, credentials: Token | Password, request_id: int) -> int:
        """Queue new credentials, and return how many bytes that is.

        Raises:
            LocalProtocolError: the server did not agree to take any, or this side is one.
        """
        reauthentication = self._phase.reauthentication
        if reauthentication is None or not reauthentication.may_present:
            raise LocalProtocolError("the server takes no new credentials: only one of veltix_tx that has asked a client does")
        return self.send(AUTHENTICATE, json.dumps(encode_credentials(credentials)).encode(), request_id)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Take the peer's bytes.

        Args:
            data: the bytes.
            received_at: this side's calendar clock in ms.

        Returns:
            what happened, in order. After a :class:`ConnectionFailed`, the last, nothing more is read.

        Raises:
            LocalProtocolError: it has not begun.
        """
        if self.state is _READY:
            return self._receive_frames(data, received_at)
        if self.state is State.NEW:
            raise LocalProtocolError("the connection has not begun: call start() before receive()")
        opening = self._phase
        if not isinstance(opening, Opening):
            return []
        return self._go_on(opening, partial(opening.handshake.receive_data, data), received_at)

    def receive_eof(self, received_at: int) -> list[Event]:
        """Return nothing: the end of the stream completes no message."""
        return []

    def connection_lost(self) -> None:
        """Mark the connection closed. Later input is ignored; later sends raise LocalProtocolError."""
        self._move(Trigger.END)
        self._phase = Closed(self._phase)

    def data_to_send(self) -> list[bytes]:
        """Return what is to be written now, in order, and forget it."""
        out, self._out = self._out, []
        return out

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return a request id of this side that is neither taken nor given up.

        Where ids have 4 bytes or more, and so are drawn at random, that is the wanted one if it is one of this side's and free.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the wire has no request ids (W46).
            TooManyRequests: no other id is left.
        """
        request_id = self._phase.ids.allocate(taken, given_up, wanted)
        if request_id is None:
            raise self._no_id(taken, given_up)
        return request_id

    def _no_id(self, taken: Collection[int], given_up: GivenUpIds) -> LocalProtocolError | TooManyRequests:
        """Return the error for a request that gets no id."""
        if self._phase.ids.available:
            return TooManyRequests(len(taken) + len(given_up), len(given_up))
        if self._phase.encoder is NO_ENCODER:
            return NotReady()
        return LocalProtocolError("the wire W46 has no request ids: only send() works on it")

    def encode(self, message_type: MessageType, value: object, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write.

        Raises:
            NotReady: the handshake is not complete.
            MessageTooLarge: the peer would have to refuse it.
            LocalProtocolError: the request id does not fit the wire.
            InvalidContent: the value is not of the type's ``content=``.
        """
        phase = self._phase
        content = value if type(value) is bytes else encode_content(message_type, value)
        return phase.encoder.encode(message_type, content, phase.ids.unsolicited() if request_id is None else request_id)

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Queue a message and return how many bytes that is; raises as :meth:`encode`, and LocalProtocolError once it is closed."""
        content = value if type(value) is bytes else encode_content(message_type, value)
        phase = self._phase
        if request_id is None:
            draw = phase.ids.unsolicited  # in two steps, here and below: an attribute that is called is slow to load
            request_id = draw()
        queue = phase.queue
        return queue(self._out, message_type.code, content, request_id) or self._send_unusual(message_type, content, request_id)

    def _send_unusual(self, message_type: MessageType, content: bytes, request_id: int) -> int:
        """Queue a long message, or say why there is none."""
        if self.state is _CLOSED:
            raise LocalProtocolError(_TOO_LATE)
        self._out += self.encode(message_type, content, request_id)
        return self.overhead + len(content)

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal ``encoding`` returned.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
        """
        if type(self._phase) is not Established:
            raise self._cannot_send()
        self._out += buffers

    def key_of(self, buffer: bytes) -> int | None:
        """Return the type code of a frame, or of a header alone; None for the content behind one, and for pings and pongs."""
        if self.peer is None or len(buffer) < self.peer.layout.header_size:
            return None
        layout = self.peer.layout
        header = layout.unpack(buffer)
        whole = header.sound and len(buffer) - layout.header_size in (0, header.size)
        return header.code if whole and header.code not in _PINGS else None

    def send_ping(self, request_id: int | None) -> None:
        """Queue a PING; without an id, one whose PONG carries none either."""
        self.send(PING, b"", self._phase.ids.probe if request_id is None else request_id)

    def reply_error(
        self, request_id: int, code: str = HANDLER_FAILED, message: str = "the handler failed", details: object = None
    ) -> bool:
        """Queue a FAILED where that is agreed, else an ERROR, a type known to the releases up to 1.9.0.

        Args:
            request_id: the request's.
            code: what happened, for programs; an ERROR does not carry it.
            message: the same for people, without internals.
            details: more of it, of JSON's kinds.

        Returns:
            False, nothing being queued, for a later peer, and for an id that asks nothing.
        """
        peer = self.peer
        if peer is None or self.state is _CLOSED:
            raise self._cannot_send()
        if ERRORS in peer.features:
            if not self._phase.ids.may_ask(request_id):
                return False
            self.send(FAILED, encode_error(code, message, details), request_id)
            return True
        if not peer.release.has_error_type:
            return False
        self.send(ERROR, b"", request_id)
        return True

    def _go_on(self, opening: Opening, step: Callable[[], bytes], received_at: int) -> list[Event]:
        """Go on with the handshake by what may complete or end it."""
        handshake = opening.handshake
        try:
            rest = step()
            if handshake.kept > self.max_message_size:
                raise HandshakeError(f"the peer sent {handshake.kept} bytes before the handshake was complete")
        except (HandshakeError, FrameTooLarge) as error:
            self._collect(handshake)
            self._phase = Closed(opening)
            return [self._fail(error)]
        return self._check_agreed(opening, rest, received_at)

    def _send_verdict(self, verdict: dict[str, str]) -> None:
        reauthentication = self._phase.reauthentication
        if reauthentication is None:
            raise LocalProtocolError("the connection waits for no verdict")
        self.send(AUTHENTICATE, json.dumps(verdict).encode(), reauthentication.take_pending())

    def _cannot_send(self) -> LocalProtocolError:
        """Return the error for sending before the handshake is complete, or after the end."""
        return LocalProtocolError(_TOO_LATE) if self.state is _CLOSED else NotReady()

    def _collect(self, handshake: Handshake) -> None:
        self._out += handshake.outgoing
        handshake.outgoing.clear()

    def _open(self, trigger: Trigger) -> Opening:
        """Take a step that only a new connection can; return its phase."""
        phase = self._phase
        if not isinstance(phase, Opening):
            raise _no_such_step(self.state, trigger)
        self._move(trigger)
        return phase

    def _move(self, trigger: Trigger) -> None:
        moved = STATES[self.state].get(trigger)
        if moved is None:
            raise _no_such_step(self.state, trigger)
        self.state = moved

    def _fail(self, error: RemoteProtocolError) -> ConnectionFailed:
        self._move(Trigger.FAULT)
        return ConnectionFailed(error)

    def _check_agreed(self, opening: Opening, rest: bytes, received_at: int) -> list[Event]:
        self._collect(opening.handshake)
        peer = opening.handshake.peer
        if peer is None:
            requests, opening.handshake.requests = opening.handshake.requests, []
            return [*requests]
        self._move(Trigger.AGREED)
        self.peer = peer
        monotonic = peer.release.monotonic
        clock = opening.uptime_ms if monotonic else opening.calendar_ms
        lookup = opening.types.extended_lookup if peer.features else opening.types.lookup
        first_plain = CALL.code if RPC in peer.features else FIRST_USER_CODE
        self._phase = Established(
            encoder_for(opening.role, peer.layout, monotonic, clock, self.max_message_size),
            FrameDecoder(peer.layout, lookup, self.max_message_size, opening.max_violations, first_plain),
            RequestIds(peer.layout, half_of(opening.role, peer), opening.getrandbits),
            Reauthentication(opening.role, peer) if IDENTITY in peer.features else None,
        )
        return [HandshakeCompleted(peer), *(self._receive_frames(rest, received_at) if rest else ())]

    def _receive_frames(self, data: bytes, received_at: int) -> list[Event]:
        decoder = self._phase.decoder
        events: list[Event] = decoder.receive_data(data, received_at)  # type: ignore[assignment]
        if decoder.system_seen:
            events = self._answer_system(events)
        if decoder.error is not None:
            events.append(self._fail(decoder.error))
        return events

    def _answer_system(self, events: list[Event]) -> list[Event]:
        """Answer pings, tell of pongs and errors, and keep every other system message from the user."""
        passed: list[Event] = []
        pings = 0
        for event in events:
            if not isinstance(event, Response) or event.type.code >= FIRST_USER_CODE:
                passed.append(event)
            elif event.type is PING:
                self.send(PONG, b"", event.request_id)
                pings += 1
            elif event.type is PONG:
                probe = event.request_id == self._phase.ids.probe
                passed.append(Pong(None if probe else event.request_id, event.timestamp))
            elif event.type is ERROR:
                passed.append(RequestFailed(event.request_id, event.content))
            elif event.type is FAILED:
                said = decode_error(event.content)
                refused = FrameRejected(RejectReason.MALFORMED, FAILED.code)
                passed.append(refused if said is None else RequestFailed(event.request_id, event.content, *said))
            elif event.type is AUTHENTICATE:
                reauthentication = self._phase.reauthentication
                unknown = FrameRejected(RejectReason.UNKNOWN_TYPE, AUTHENTICATE.code)
                passed.append(unknown if reauthentication is None else reauthentication.receive(event))
            elif event.type is CANCEL and self.rpc is not None:
                passed.append(CallCancelled(event.request_id))
            elif event.type.code in SYSTEM_TYPES or (self.rpc is None and event.type is EXTENSION_TYPES.get(event.type.code)):
                passed.append(FrameRejected(RejectReason.UNKNOWN_TYPE, event.type.code))
            else:
                passed.append(event)  # a call, a result, or of a registry that holds codes below the users'
        return [PingsAnswered(pings), *passed] if pings else passed


def _no_such_step(state: State, trigger: Trigger) -> LocalProtocolError:
    return LocalProtocolError(f"a connection in the state {state.name} cannot take the step {trigger.name}")
