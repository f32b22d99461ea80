"""One connection, sans-io: the peer's bytes in, events and bytes to send out.

The floor above drives a :class:`WireConnection` and never knows which wire it is on::

    connection.start()                          # then send data_to_send()
    for event in connection.receive(data, ms):  # then send data_to_send()
        ...                                     # Ready, Response, Pong, Declined, …
    connection.send(message_type, content)      # then send data_to_send()

``wake_after`` tells in how many seconds :meth:`~WireConnection.wake` wants to be called if the
peer stays silent. :class:`VeltixConnection` is the wire of Veltix.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from veltix_tx.errors import (
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    MessageTooLarge,
    NotReady,
    RemoteProtocolError,
    TooManyRequests,
)
from veltix_tx.settings import Limits
from veltix_tx.wire.events import Declined, Event, Failed, Pong, Ready
from veltix_tx.wire.extensions import ERRORS, FEATURES, HANDLER_FAILED, decode_error, encode_error
from veltix_tx.wire.frames import FrameDecoder, Refusal, Refused, framer
from veltix_tx.wire.handshake import Handshake
from veltix_tx.wire.layouts import W15, Layout
from veltix_tx.wire.messages import (
    ERROR,
    FAILED,
    FIRST_USER_CODE,
    PING,
    PONG,
    PROCESS_TYPES,
    SYSTEM_TYPES,
    MessageRegistry,
    MessageType,
    Response,
)
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.releases import Release, release_of
from veltix_tx.wire.requests import NONE_GIVEN_UP, PLAIN_IDS, GivenUpIds, RequestIds, half_of
from veltix_tx.wire.states import STATES, Role, State, Trigger
from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.wire import WireConnection

__all__ = [
    "Declined",
    "Event",
    "Failed",
    "Pong",
    "Ready",
    "State",
    "VeltixConnection",
    "WireConnection",
]

_UNCOPIED = 65536
"""Content longer than this (bytes) is sent as it is, behind its header, instead of joined to it."""

_LIMITS = Limits()

_READY, _CLOSED = State.READY, State.CLOSED
"""As globals of their own, because a class attribute of an Enum costs five times as much for each message."""

_TOO_LATE = "the connection is closed: nothing can be sent any more"

_packer = lru_cache(maxsize=64)(Layout.packer)
"""The connections of one side share it."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What is only needed until the handshake is complete, and kept no longer: a connection is small."""

    role: Role
    calendar_ms: Callable[[], int]
    uptime_ms: Callable[[], int]
    getrandbits: Callable[[int], int]
    types: MessageRegistry
    strikes: float


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

    Attributes:
        state: a :class:`State`.
        peer: the other side, from READY on.
        max_message_size: as given.
        encoding: equal for two connections whose peers take the same bytes for the same message.
        wake_after: see the module.
        pings: pings answered so far.
    """

    __slots__ = (
        "_beginning",
        "_decoder",
        "_frame",
        "_frame_now",
        "_handshake",
        "_ids",
        "_layout",
        "_max_content",
        "_most_joined",
        "_out",
        "_pack",
        "encoding",
        "max_message_size",
        "peer",
        "pings",
        "state",
    )

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
    ) -> None:
        self.state = State.NEW
        self.peer: Peer | None = None
        self.max_message_size = max_message_size
        beginning = _Beginning(role, calendar_ms, uptime_ms, getrandbits, types, limits.strikes)
        self._beginning: _Beginning | None = beginning
        features = () if types.holds_system_codes else FEATURES  # there 100 may be a type of the program's
        self._handshake: Handshake | None = Handshake(role, release, getrandbits, limits, gap, long_headers, features)
        self._decoder: FrameDecoder | None = None
        self._layout: Layout = W15
        self.encoding: object = None
        self._max_content = 0
        self._most_joined = -1
        self._pack: Callable[[int, bytes, int], bytes] | None = None
        self._frame: Callable[[int, bytes, int], bytes] | None = None
        self._frame_now: Callable[[int, bytes, int], bytes] | None = None
        self._ids: RequestIds | None = None
        self._out: list[bytes] = []
        self.pings = 0

    @property
    def unfinished(self) -> int:
        """Bytes of the message of which only a part has come, 0 without one; the handshake has a deadline of its own."""
        return 0 if self._decoder is None else self._decoder.unfinished

    @property
    def buffered(self) -> int:
        """Bytes that have come of the message of which only a part has."""
        return 0 if self._decoder is None else self._decoder.buffered

    @property
    def beginning(self) -> bytes:
        """The first bytes of the message of which only a part has come, where they are still apart; in the handshake, too."""
        part = self._decoder or self._handshake
        return b"" if part is None else part.beginning

    @property
    def wake_after(self) -> float | None:
        """Seconds of silence after which :meth:`wake` wants to be called, None for never."""
        return self._handshake.wake_after if self._handshake is not None and self.state is State.HANDSHAKE else None

    @property
    def handshake_fault(self) -> HandshakeError | None:
        """What is wrong with what the peer has said so far, in a handshake that goes on all the same; None for nothing."""
        return None if self._handshake is None else self._handshake.fault

    def start(self) -> list[Event]:
        """Begin the handshake; may be all there is to it.

        Raises:
            LocalProtocolError: it has begun, or ended, already.
        """
        self._move(Trigger.START)
        assert self._handshake is not None
        assert self._beginning is not None
        self._handshake.start()
        return self._check_agreed(b"", self._beginning.calendar_ms())

    def refuse_full(self) -> None:
        """Instead of :meth:`start`: refuse the client because the server is full.

        Raises:
            LocalProtocolError: it has begun, or ended, already; or this side is a client.
        """
        if self._beginning is not None and self._beginning.role is Role.CLIENT:
            raise LocalProtocolError("only a server refuses a peer because it is full")
        self._move(Trigger.REFUSE)
        assert self._handshake is not None
        self._handshake.refuse_full()
        self._collect(self._handshake)

    def wake(self) -> None:
        """Go on after ``wake_after`` seconds of silence."""
        if self._handshake is not None and self.state is State.HANDSHAKE:
            self._handshake.wake()
            self._collect(self._handshake)

    def receive(self, data: bytes, received_at: int) -> list[Event]:
        """Take the peer's bytes.

        Args:
            data: the bytes.
            received_at: this side's calendar clock in ms.

        Returns:
            what happened, in order. After a :class:`Failed`, the last, nothing more is read.

        Raises:
            LocalProtocolError: it has not begun.
        """
        if self.state is _READY:
            return self._receive_frames(data, received_at)
        if self.state is State.NEW:
            raise LocalProtocolError("the connection has not begun: call start() before receive()")
        if self._handshake is None or self.state is not State.HANDSHAKE:
            return []
        try:
            rest = self._handshake.receive(data)
        except (HandshakeError, FrameTooLarge) as error:
            self._collect(self._handshake)
            self._handshake = None  # and with it what it has read
            return [self._fail(error)]
        return self._check_agreed(rest, received_at)

    def end(self) -> None:
        """Take note that the connection is closed; nothing more is read or sent."""
        self._move(Trigger.END)
        self._decoder = None  # and with it the part of a message, before the garbage collector comes
        self._most_joined = -1

    def data_to_send(self) -> list[bytes]:
        """Return what is to be written now, in order, and forget it."""
        out, self._out = self._out, []
        return out

    def fresh_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return a request id of this side that is neither taken nor given up.

        Where ids have 4 bytes or more, and so are drawn at random, that is the wanted one if it is one of this side's and free.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the wire has no request ids (the 46-byte format).
            TooManyRequests: no other id is left.
        """
        ids = self._ids
        if ids is None:
            raise NotReady()
        if not ids.usable:
            raise LocalProtocolError("the 46-byte wire has no request ids: only send() works on it")
        if wanted is not None and ids.takes(wanted) and wanted not in taken and wanted not in given_up.ids:
            return wanted
        request_id = ids.fresh(taken, given_up)
        if request_id is None:
            raise TooManyRequests(len(taken) + len(given_up), len(given_up))
        return request_id

    def encode(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write.

        Raises:
            NotReady: the handshake is not complete.
            MessageTooLarge: the peer would have to refuse it.
            LocalProtocolError: the request id does not fit the wire.
        """
        pack, frame, ids = self._pack, self._frame_now, self._ids
        if pack is None or frame is None or ids is None:
            raise NotReady()
        size = len(content)
        if size > self._max_content:
            raise MessageTooLarge(self._layout.header_size + size, self.max_message_size)
        wire_id = ids.unsolicited() if request_id is None else request_id
        try:
            if size <= _UNCOPIED:
                return [frame(message_type.code, content, wire_id)]
            return [pack(message_type.code, content, wire_id), content]
        except (struct.error, OverflowError):
            raise _no_such_id(request_id) from None

    def send(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> int:
        """Queue a message and return how many bytes that is; raises as :meth:`encode`, and LocalProtocolError once it is closed."""
        if len(content) > self._most_joined:  # so is every content before READY, and after the end
            if self.state is State.CLOSED:
                raise LocalProtocolError(_TOO_LATE)
            self._out += self.encode(message_type, content, request_id)
            return self._layout.header_size + len(content)
        if request_id is None:
            request_id = self._ids.unsolicited()  # type: ignore[union-attr]
        try:  # the common case, without encode()'s list: 0.1 of 0.6 µs
            frame = self._frame(message_type.code, content, request_id)  # type: ignore[misc]
        except (struct.error, OverflowError):
            raise _no_such_id(request_id) from None
        self._out.append(frame)
        return len(frame)

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal ``encoding`` returned.

        Raises:
            NotReady: the handshake is not complete.
            LocalProtocolError: the connection is closed.
        """
        if self._most_joined < 0:
            raise LocalProtocolError(_TOO_LATE) if self.state is _CLOSED else NotReady()
        self._out += buffers

    def send_ping(self, request_id: int | None) -> None:
        """Queue a PING; without an id, one whose PONG carries none either."""
        ids = self._ids
        self.send(PING, b"", ids.probe if request_id is None and ids is not None else request_id)

    def send_failure(self, request_id: int, code: str = HANDLER_FAILED, message: str = "the handler failed") -> bool:
        """Queue a FAILED where that is agreed, else an ERROR, a type known to the releases up to 1.9.0.

        Args:
            request_id: the request's.
            code: what happened, for programs; an ERROR does not carry it.
            message: the same for people, without internals.

        Returns:
            False, nothing being queued, for a later peer, and on W15 for an id that asks nothing.
        """
        agreed = self.peer is not None and ERRORS in self.peer.features
        if self.state is not _CLOSED and self._pack is not None and self._layout is W15 and (not agreed or request_id in PLAIN_IDS):
            return False
        if agreed:
            self.send(FAILED, encode_error(code, message), request_id)
        else:
            self.send(ERROR, b"", request_id)
        return True

    def _collect(self, handshake: Handshake) -> None:
        self._out += handshake.outgoing
        handshake.outgoing.clear()

    def _move(self, trigger: Trigger) -> None:
        moved = STATES[self.state].get(trigger)
        if moved is None:
            raise LocalProtocolError(f"a connection in the state {self.state.name} cannot take the step {trigger.name}")
        self.state = moved

    def _fail(self, error: RemoteProtocolError) -> Failed:
        self._move(Trigger.FAULT)
        return Failed(error)

    def _check_agreed(self, rest: bytes, received_at: int) -> list[Event]:
        assert self._handshake is not None
        self._collect(self._handshake)
        peer = self._handshake.peer
        if peer is None:
            return []
        beginning, self._beginning = self._beginning, None
        assert beginning is not None
        self._handshake = None  # 1.5 KB that a connection has no more use for
        self._move(Trigger.AGREED)
        self.peer, self._layout = peer, peer.layout
        known = release_of(peer.layout, peer.version)
        monotonic = known is not None and known.monotonic
        self.encoding = intern(f"{beginning.role.name} {peer.layout.name} {monotonic}")
        clock = beginning.uptime_ms if monotonic else beginning.calendar_ms
        self._pack, self._frame = _packer(peer.layout, clock), framer(peer.layout, clock)
        # encode() may be called in any thread, and no turn need end behind it: no time is kept for it.
        self._frame_now = framer(peer.layout, clock.read if isinstance(clock, TurnClock) else clock)
        self._max_content = self.max_message_size - peer.layout.header_size
        self._most_joined = min(self._max_content, _UNCOPIED)
        self._ids = RequestIds(peer.layout, half_of(beginning.role, peer), beginning.getrandbits)
        lookup = beginning.types.extended_lookup if peer.features else beginning.types.lookup
        self._decoder = FrameDecoder(peer.layout, lookup, self.max_message_size, beginning.strikes)
        return [Ready(peer), *(self._receive_frames(rest, received_at) if rest else ())]

    def _receive_frames(self, data: bytes, received_at: int) -> list[Event]:
        decoder = self._decoder
        assert decoder is not None
        events: list[Event] = decoder.feed(data, received_at)  # type: ignore[assignment]
        if decoder.system_seen:
            events = self._answer_system(events)
        if decoder.error is not None:
            events.append(self._fail(decoder.error))
        return events

    def _answer_system(self, events: list[Event]) -> list[Event]:
        """Answer pings, tell of pongs and errors, and keep every other system message from the user."""
        passed: list[Event] = []
        for event in events:
            if not isinstance(event, Response) or event.type.code >= FIRST_USER_CODE:
                passed.append(event)
            elif event.type is PING:
                self.send(PONG, b"", event.request_id)
                self.pings += 1
            elif event.type is PONG:
                probe = event.request_id == self._ids.probe  # type: ignore[union-attr]
                passed.append(Pong(None if probe else event.request_id))
            elif event.type is ERROR:
                passed.append(Declined(event.request_id, event.content))
            elif event.type is FAILED:
                said = decode_error(event.content)
                refused = Refused(Refusal.MALFORMED, FAILED.code)
                passed.append(refused if said is None else Declined(event.request_id, event.content, *said))
            elif event.type.code in SYSTEM_TYPES:
                passed.append(Refused(Refusal.UNKNOWN_TYPE, event.type.code))
            else:
                passed.append(event)  # of a registry that holds codes below the users'
        return passed


def _no_such_id(request_id: int | None) -> LocalProtocolError:
    return LocalProtocolError(f"request id {request_id} is not one of this wire's")
