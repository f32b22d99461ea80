"""Policing of one peer: budgets for pings and violations, a deadline for each message, and the end of a peer that exceeds them."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    FrameTimeout,
    RemoteProtocolError,
    SessionClosed,
    TooManyPings,
    TooManyProtocolErrors,
    excerpt,
)
from veltix_tx.net.clock import ROUNDING, Timers
from veltix_tx.net.rate import TokenBucket
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.wire.error_codes import UNKNOWN_TYPE
from veltix_tx.wire.events import FrameRejected
from veltix_tx.wire.foreign import looks_like
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import FIRST_USER_CODE

__all__ = ["FORGIVEN_PER_SECOND", "MOST_REJECTIONS", "SLOWEST_FRAME", "PeerPolicing"]

_log = Logger()

FORGIVEN_PER_SECOND = 1.0
"""Frames of an unknown type, and pongs never asked for, that are forgiven per second."""

MOST_REJECTIONS = 32
"""Messages without a handler that are answered with an ERROR in a row, and one more each second, where nothing tells whether they
ask: real programs get it as a message, and one that answers each message with another would be answered for ever."""

SLOWEST_FRAME = 64 * 1024
"""Bytes per second that a message which has begun may arrive at."""

_TEXTS = {
    DisconnectReason.WRITE_TIMEOUT: "it does not read what it is sent",
    DisconnectReason.PING_TIMEOUT: "it is silent, and has not answered a ping",
    DisconnectReason.IDLE: "it has been silent for {seconds:g} s (timeouts.idle)",
    DisconnectReason.OVERLOAD: "all connections together keep over {most} bytes (limits.{direction}), and it the most",
}
"""Log text of each reason that has no error behind it."""


class PolicedConnection(Protocol):
    """A connection as its policing sees it."""

    context: ConnectionContext
    connection: WireConnection
    timers: Timers
    _closed: SessionClosed | None

    @property
    def paused(self) -> bool:
        """True while nothing is read from the peer."""

    def close(self, closed: SessionClosed) -> None:
        """Write what is queued and close."""

    def abort(self, closed: SessionClosed) -> None:
        """Close at once; what is queued is lost."""

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Reject the peer's request."""

    def charge_buffers(self) -> None:
        """Record in the budget the bytes kept of what the peer sent."""

    def _may_log(self) -> bool:
        """Return True if the log may have one more line that the peer causes."""

    def log_fields(self) -> dict[str, Any]:
        """Return the fields that every line of the log about the connection has."""


class PeerPolicing:
    """Holds the peer of one connection to the limits, and closes the connection when it exceeds one.

    Args:
        target: the connection.

    Attributes:
        frame_begun: when the message began of which only a part has come, in seconds of uptime; None without one.
    """

    __slots__ = ("_ping_budget", "_rejections", "_target", "_violations", "frame_begun")

    def __init__(self, target: PolicedConnection) -> None:
        self._target = target
        self.frame_begun: float | None = None
        # Most connections never need one of these.
        self._ping_budget: TokenBucket | None = None
        self._violations: TokenBucket | None = None
        self._rejections: TokenBucket | None = None

    def terminate(
        self, reason: DisconnectReason, cause: Exception | None = None, *, graceful: bool = False, **fields: object
    ) -> None:
        """Close the connection, and say in the log why.

        Args:
            reason: why.
            cause: the error behind it, which the log shows; without one it has words for the reason.
            graceful: write what is queued first.
            fields: for the line of the log.
        """
        self.log_closing(_TEXTS[reason] if cause is None else "{error}", error=cause, **fields)
        (self._target.close if graceful else self._target.abort)(SessionClosed(reason, cause))

    def log_closing(self, text: str, **fields: object) -> None:
        """Log that the connection is closed, as far as the log may have one more line about the peer."""
        if self._target._may_log():
            _log.warn("closing {peer} ({connection}): " + text, **self._target.log_fields(), **fields)

    def violated(self, error: RemoteProtocolError) -> None:
        """Close gracefully because the peer broke a rule, unless the connection is closing."""
        if self._target._closed is None:
            self.terminate(error.reason, error, graceful=True)

    def pings_answered(self, count: int) -> None:
        """Count pings of the peer against their budget."""
        if self._ping_budget is None:
            limits = self._target.context.config.limits
            self._ping_budget = self._bucket(limits.pings, limits.ping_burst)
        if not self._ping_budget.spend(count):
            self.violated(TooManyPings())

    def count_violation(self) -> None:
        """Count what is harmless, and forgiven with time, but not in any number."""
        most = self._target.context.config.limits.protocol_errors
        self._violations = self._violations or self._bucket(FORGIVEN_PER_SECOND, most)
        if not self._violations.spend(1):
            self.violated(TooManyProtocolErrors(most))

    def unknown_type(self, rejected: FrameRejected) -> None:
        """Name a type that is not registered once in the log, tell a peer that asks, and count it against the peer."""
        target = self._target
        if target._closed is not None:
            return  # one behind the one that closed
        code = rejected.code
        if target.context.shared.unhandled.first(("unknown", code, rejected.name), target._may_log):
            text = "a message of type {type}, which {peer} ({connection}) sent, was dropped: "
            text += "that type is not registered here, see MessageType"
            named = excerpt(rejected.name) if rejected.name else code
            _log.warn(text, **target.log_fields(), type=named, code=code)
        if rejected.request_id is not None and code >= FIRST_USER_CODE:
            target.decline(rejected.request_id, UNKNOWN_TYPE, f"message type {code} is not known")
        self.count_violation()

    def may_reject(self) -> bool:
        """Return True if one more message may be answered with an error that its wire gives to messages, too, that ask nothing."""
        self._rejections = self._rejections or self._bucket(FORGIVEN_PER_SECOND, MOST_REJECTIONS)
        return self._rejections.take(1)

    def reading_resumed(self) -> None:
        """Reading goes on: while it was paused, time did not run against the peer."""
        if self._ping_budget is not None:
            self._ping_budget.reading_resumed()
        if self.frame_begun is not None:
            self.frame_begun = self._target.context.clocks.uptime()

    def begin_frame(self, now: float) -> None:
        """Give the message that has just begun its time. One timer looks after all messages: it is not set again for each."""
        self.frame_begun = now
        if "frame" not in self._target.timers:
            self._target.timers.set("frame", self._target.context.config.timeouts.frame, self._check_frame)

    def hurry(self, seconds: float) -> None:
        """Close a peer whose message has had so many seconds, and the time for what has come of it, because room is scarce."""
        target = self._target
        if self.frame_begun is not None:
            seconds += target.connection.buffered_size / SLOWEST_FRAME
            if self.frame_begun + seconds <= target.context.clocks.uptime() + ROUNDING:
                self._frame_timed_out(seconds, "all connections together keep more than half of limits.receive_buffers")
                target.charge_buffers()

    def _check_frame(self) -> None:
        if self.frame_begun is None:
            return
        target = self._target
        context, connection, timers = target.context, target.connection, target.timers
        seconds = context.config.timeouts.frame + connection.incoming_size / SLOWEST_FRAME
        left = self.frame_begun + seconds - context.clocks.uptime()
        if target.paused:
            timers.set("frame", seconds, self._check_frame)
        elif left > ROUNDING:
            timers.set("frame", left, self._check_frame)
        else:
            first = connection.beginning
            other = looks_like(first)
            self._frame_timed_out(seconds, f"it begins with {excerpt(first)}, which looks like {other}" if other else "")

    def _frame_timed_out(self, seconds: float, hint: str) -> None:
        self._target.context.shared.counters["frames_timed_out"] += 1
        self.violated(FrameTimeout(self._target.connection.incoming_size, seconds, hint))

    def _bucket(self, per_second: float, burst: float) -> TokenBucket:
        return TokenBucket(self._target.context.clocks.uptime, per_second, burst)
