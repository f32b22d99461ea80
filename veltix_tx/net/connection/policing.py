"""How a peer may conduct itself on a connection, and the end of one that does otherwise."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    FrameTimeout,
    HandshakeError,
    HandshakeTimeout,
    RemoteProtocolError,
    SessionClosed,
    TooManyPings,
    TooManyProtocolErrors,
    VersionRefused,
    excerpt,
)
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.addresses import shown, source_of
from veltix_tx.net.clock import ROUNDING, Clocks, Timers
from veltix_tx.net.connection.close_reason import SILENT_SERVER
from veltix_tx.net.rate import TokenBucket
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.context import ConnectionContext, SharedState
from veltix_tx.net.transport.flow_control import FlowControl
from veltix_tx.wire.error_codes import UNKNOWN_TYPE
from veltix_tx.wire.events import FrameRejected
from veltix_tx.wire.foreign import looks_like
from veltix_tx.wire.interface import Role, WireConnection
from veltix_tx.wire.messages import FIRST_USER_CODE

__all__ = ["PeerPolicing"]

_log = Logger()

_FORGIVEN = 1.0
"""Frames of an unknown type, and pongs never asked for, that are forgiven per second."""

_REJECTIONS = 32
"""Messages without a handler that are answered with an ERROR in a row, and one more each second, where nothing tells whether they
ask: real programs get it as a message, and one that answers each message with another would be answered for ever."""

_SLOWEST_FRAME = 64 * 1024
"""Bytes per second that a message which has begun may arrive at."""


class PeerPolicing(Protocol):
    """A protocol that ends a connection, and says so in the log, whose peer breaks a rule, is silent or does not read."""

    transport: Any
    context: ConnectionContext
    session: Session | None
    connection: WireConnection
    flow: FlowControl
    timers: Timers
    last_received: float
    pinged_at: float | None
    _closed: SessionClosed | None
    _first: bytes
    _secure: bool
    _frame_begun: float | None
    _ping_budget: TokenBucket | None
    _violations: TokenBucket | None
    _rejections: TokenBucket | None = None  # most connections never need it

    @property
    def clocks(self) -> Clocks:
        """Where time comes from."""
        return self.context.clocks

    @property
    def shared(self) -> SharedState:
        """What it has in common with the other connections."""
        return self.context.shared

    @property
    def limits(self) -> Limits:
        """The settings of its side."""
        return self.context.config.limits

    @property
    def timeouts(self) -> Timeouts:
        """The settings of its side."""
        return self.context.config.timeouts

    @property
    def address(self) -> IAddress:
        """The peer's network address."""
        peer: IAddress = self.transport.getPeer()
        return peer

    def _may_log(self) -> bool:
        """Whether the log may have one more line that the peer causes."""
        return self.shared.log_limiter.allow(source_of(self.address))

    def close(self, closed: SessionClosed) -> None:
        """Write what is queued and close."""
        raise NotImplementedError

    def abort(self, closed: SessionClosed) -> None:
        """Close at once; what is queued is lost."""
        raise NotImplementedError

    def charge_buffers(self) -> None:
        """Tell the budget how much of what the peer sent is kept."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the connection has to send."""
        raise NotImplementedError

    # From the session.

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Tell the peer that its request is not handled, where its wire can.

        Args:
            request_id: the request's.
            code: why, for programs.
            message: why, for people.
        """
        assert self.session is not None
        if not self.connection.marks_requests:
            self._rejections = self._rejections or TokenBucket(self.clocks.uptime, _FORGIVEN, _REJECTIONS)
            if not self._rejections.take(1):
                return
        if self.connection.reply_error(request_id, code, message):
            self.flush()

    # From the flow and what the connections share.

    def abort_slow_reader(self) -> None:
        """Close at once a peer that does not read."""
        if self._may_log():
            _log.warn("closing {peer}: it does not read what it is sent", peer=shown(self.address))
        self.abort(SessionClosed(DisconnectReason.WRITE_TIMEOUT))

    def reading_resumed(self) -> None:
        """Reading goes on: while it was paused, time did not run against the peer."""
        self.shared.heartbeat.reading_resumed(self)
        if self._ping_budget is not None:
            self._ping_budget.reading_resumed()
        if self._frame_begun is not None:
            self._frame_begun = self.clocks.uptime()

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return self.flow.paused

    @property
    def bytes_taken(self) -> int | None:
        """Bytes that the peer has taken so far, None where nothing waits for it to take more."""
        return self.flow.bytes_taken

    def send_probe(self) -> None:
        """Ask a silent peer whether it is there."""
        assert self.session is not None
        self.session._send_probe()

    def abort_dead_peer(self) -> None:
        """Close at once a peer that has not answered."""
        if self._may_log():
            _log.warn("closing {peer}: it is silent, and has not answered a ping", peer=shown(self.address))
        self.abort(SessionClosed(DisconnectReason.PING_TIMEOUT))

    @property
    def frame_begun(self) -> float | None:
        """When the message began of which only a part has come, on the clock that never jumps; None without one."""
        return self._frame_begun

    def hurry(self, seconds: float) -> None:
        """Close a peer whose message has had so many seconds, and the time for what has come of it, because room is scarce."""
        if self._frame_begun is not None:
            seconds += self.connection.buffered_size / _SLOWEST_FRAME
            if self._frame_begun + seconds <= self.clocks.uptime() + ROUNDING:
                self._frame_timed_out(seconds, "all connections together keep more than half of limits.receive_buffers")
                self.charge_buffers()

    def overloaded(self, direction: str, most: int) -> None:
        """Close at once, because all connections together keep too much and this one the most."""
        if self._may_log():
            text = "closing {peer}: all connections together keep over {most} bytes (limits.{direction}), and it the most"
            _log.warn(text, peer=shown(self.address), most=most, direction=direction)
        if self.session is not None and direction == "receive_buffers":
            self.session._dispatcher.discard_queued()
        self.abort(SessionClosed(DisconnectReason.OVERLOAD))

    # From the protocol.

    def _spend_pings(self, pings: int) -> None:
        self._ping_budget = self._ping_budget or TokenBucket(self.clocks.uptime, self.limits.pings, self.limits.ping_burst)
        if not self._ping_budget.spend(pings):
            self._terminate(TooManyPings())

    def _count_violation(self) -> None:
        """Count what is harmless, and forgiven with time, but not in any number."""
        self._violations = self._violations or TokenBucket(self.clocks.uptime, _FORGIVEN, self.limits.protocol_errors)
        if not self._violations.spend(1):
            self._terminate(TooManyProtocolErrors(self.limits.protocol_errors))

    def _unknown_type(self, refused: FrameRejected) -> None:
        """Name a type that is not registered once in the log, tell a peer that asks, and count it against the peer."""
        if self._closed is not None:
            return  # one behind the one that closed
        code = refused.code
        if self.shared.unhandled.first(("unknown", code, refused.name), self._may_log):
            text = "a message of type {type}, which {session} sent, was dropped: that type is not registered here, see MessageType"
            shown_type = excerpt(refused.name) if refused.name else code
            _log.warn(text, type=shown_type, code=code, session=self.session)
        if refused.request_id is not None and code >= FIRST_USER_CODE:
            self.decline(refused.request_id, UNKNOWN_TYPE, f"message type {code} is not known")
        self._count_violation()

    def _terminate(self, error: RemoteProtocolError) -> None:
        if self._closed is not None:
            return
        if self._may_log():
            _log.warn("closing {peer}: {error}", peer=shown(self.address), error=error)
        self.close(SessionClosed(error.reason, error))

    def _handshake_late(self) -> None:
        hint = ""
        fault = self.connection.handshake_fault
        if not self._secure:
            hint = "TLS was not through"
        elif fault is not None:
            hint = str(fault)
        elif self.context.role is Role.CLIENT and not self._first:
            hint = f"the server has not said a word: {SILENT_SERVER}"
        elif self.connection.beginning:
            hint = f"the peer's part is not finished, it begins with {excerpt(self.connection.beginning)}"
        error: HandshakeError = HandshakeTimeout(self.context.config.handshake_timeout, hint)
        if isinstance(fault, VersionRefused):
            error = fault
        if self._may_log():
            _log.warn("closing {peer}: {error}", peer=shown(self.address), error=error)
        self.abort(SessionClosed(error.reason, error))

    def _frame_late(self) -> None:
        if self._frame_begun is None:
            return
        size = self.connection.incoming_size
        seconds = self.timeouts.frame + size / _SLOWEST_FRAME
        left = self._frame_begun + seconds - self.clocks.uptime()
        if self.flow.paused:
            self.timers.set("frame", seconds, self._frame_late)
        elif left > ROUNDING:
            self.timers.set("frame", left, self._frame_late)
        else:
            first = self.connection.beginning
            other = looks_like(first)
            self._frame_timed_out(seconds, f"it begins with {excerpt(first)}, which looks like {other}" if other else "")

    def _frame_timed_out(self, seconds: float, hint: str = "") -> None:
        self.shared.counters["frames_timed_out"] += 1
        self._terminate(FrameTimeout(self.connection.incoming_size, seconds, hint))
