"""Timeouts of handlers: one that is not done in time is cancelled, and what it still brings is dropped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from veltix_tx.errors import RpcError
from veltix_tx.net.clock import ROUNDING, Clocks, SweepTimer, Timers
from veltix_tx.wire.error_codes import CANCELLED

__all__ = ["Classifying", "HandlerTimeout", "HandlerTimeouts", "TimeLimited"]


@dataclass(frozen=True, slots=True)
class TimeLimited:
    """A handler's Deferred or coroutine with a time of its own.

    Attributes:
        seconds: how long it may take, in place of ``timeouts.handler``.
        result: the Deferred or coroutine.
        cancellable: True if the peer may cancel it, by the request id of its message.
        deadline: True if the time is that of the peer, which waits no longer: to exceed it is no failure of the handler.
    """

    seconds: float
    result: object
    cancellable: bool = False
    deadline: bool = False


@dataclass(frozen=True, slots=True)
class Classifying:
    """Kind of a session that is being decided, by its first message, which is handled after that.

    Attributes:
        seconds: how long it may take.
        decision: fires once the session has its kind, with True where the message is to be handled, and False where not.
    """

    seconds: float
    decision: Deferred[object]


class HandlerTimeout(Exception):
    """A handler was not done in time.

    Attributes:
        seconds: the time it had.
        cancel_failure: how it failed when it was cancelled, which tells where it was; None where it did not fail.
    """

    def __init__(self, seconds: float, stopped: Failure | None) -> None:
        super().__init__(seconds, stopped)
        self.seconds = seconds
        self.cancel_failure = stopped

    def __str__(self) -> str:
        return f"not done after {self.seconds:g} s"


class _Handler:
    __slots__ = ("after_end", "cancel_failure", "cancelled", "cancelling", "deadline", "result", "seconds", "settle", "settled")

    def __init__(
        self, result: Deferred[Any], settle: Callable[[object], object], seconds: float, deadline: float, after_end: float
    ) -> None:
        self.result = result
        self.settle = settle
        self.seconds = seconds
        self.deadline = deadline
        self.after_end = after_end
        self.cancelled = False
        self.settled = False
        self.cancelling = False
        self.cancel_failure: Failure | None = None


class HandlerTimeouts:
    """The handlers of one connection that are not done yet.

    The end of the connection cancels them in a turn of the reactor of its own: what they wait for may be the
    connection's end itself, and none of them is in the middle of a step then. What goes on after that (a thread, a
    coroutine that catches its cancellation) has ``grace`` seconds from the end of the connection before it is given up.

    Args:
        clocks: uptime, and what the timer runs on. It outlives the connection as handlers do.
        grace: seconds that a handler may go on after the end of its connection.
        late: called with what a handler brings after it was given up.
        abandoned: called when a handler goes on after the end and is given up, before that is settled.
    """

    def __init__(
        self, clocks: Clocks, grace: float, late: Callable[[object], object], abandoned: Callable[[], object] = lambda: None
    ) -> None:
        self._uptime = clocks.uptime
        self._deadlines = Timers(clocks.reactor, clocks.uptime)
        self._grace = grace
        self._late = late
        self._abandoned = abandoned
        self._handlers: dict[_Handler, None] = {}
        self._sweep_timer = SweepTimer(self._deadlines, "handlers", clocks.uptime, self._sweep)
        self._ended_at = math.inf
        self._cancelled = False

    def watch(self, seconds: float, result: Deferred[Any], settle: Callable[[object], object], after_end: float = 0.0) -> None:
        """Call ``settle`` once, with a handler's result, its Failure, or a HandlerTimeout's where none comes in time.

        Args:
            seconds: the time it has, ``math.inf`` for no end.
            result: what the handler returned; not to be used any more.
            settle: what to call; must not raise. Gets the Failure of CancelledError for one that is given up after the end of the
                connection, and None for one that :meth:`cancel_all` cancels.
            after_end: seconds from the end of the connection to its cancellation; ``math.inf`` for what only begins then.
        """
        if self._cancelled:
            result.addBoth(settle)
            return
        handler = _Handler(result, settle, seconds, self._uptime() + seconds, after_end)
        self._handlers[handler] = None
        self._sweep_timer.watch(handler.deadline)
        if self._ended_at < math.inf and after_end < math.inf:
            self._deadlines.set("end", 0, self._cancel_ended)
        result.addBoth(self._done, handler)

    def connection_lost(self) -> None:
        """Cancel what runs, in the next turn of the reactor: the connection is gone."""
        self._ended_at = self._uptime()
        if self._handlers:
            self._deadlines.set("end", 0, self._cancel_ended)
        else:
            self._clear_timers()

    def cancel_all(self) -> None:
        """Cancel every handler, as if it had returned None, and keep no timer any more."""
        self._cancelled = True
        handlers, self._handlers = list(self._handlers), {}
        self._clear_timers()
        for handler in handlers:
            handler.settled = True
        for handler in handlers:
            self._cancel_handler(handler)
            handler.settle(None)

    def let_go(self) -> None:
        """Break the circle with its timer: nothing is watched any more, and nothing will be."""
        self._clear_timers()
        del self._sweep_timer

    def _done(self, result: object, handler: _Handler) -> None:
        if handler.cancelling:
            handler.cancel_failure = result if isinstance(result, Failure) else None
        elif handler.settled:
            if not _is_cancellation(result):  # which a task has a turn later
                self._late(result)
        else:
            handler.settled = True
            del self._handlers[handler]
            if self._ended_at < math.inf and not self._handlers:
                self._clear_timers()
            handler.settle(result)

    def _clear_timers(self) -> None:
        self._sweep_timer.clear()
        self._deadlines.clear("end")

    def _sweep(self, now: float) -> None:
        due = [handler for handler in self._handlers if handler.deadline <= now + ROUNDING]
        for handler in due:
            handler.settled = True
            del self._handlers[handler]
        earliest = min((handler.deadline for handler in self._handlers), default=math.inf)
        self._sweep_timer.continue_at(earliest)
        for handler in due:
            self._cancel_handler(handler)
            handler.settle(Failure(HandlerTimeout(handler.seconds, handler.cancel_failure)))

    def _cancel_ended(self) -> None:
        """Cancel what has no more time after the end of the connection, and give up what has had its grace."""
        since = self._uptime() - self._ended_at
        for handler in [each for each in self._handlers if each.after_end <= since + ROUNDING and not each.cancelled]:
            if not handler.settled:  # the cancellation of one before it may have ended it
                self._cancel(handler)
        if self._grace <= since + ROUNDING:
            for handler in [each for each in self._handlers if each.cancelled]:
                if not handler.settled:
                    handler.settled = True
                    del self._handlers[handler]
                    self._abandoned()
                    handler.settle(Failure(CancelledError()))
        ends = [self._grace if each.cancelled else each.after_end for each in self._handlers if each.after_end < math.inf]
        if ends:
            wait = min(ends) - since
            self._deadlines.set("end", wait if wait > ROUNDING else 0, self._cancel_ended)
        elif not self._handlers:
            self._clear_timers()

    def _cancel(self, handler: _Handler) -> None:
        handler.cancelled, handler.deadline = True, math.inf
        try:
            handler.result.cancel()
        except BaseException:  # the canceller is the user's
            if not handler.settled:
                self._done(Failure(), handler)

    def _cancel_handler(self, handler: _Handler) -> None:
        handler.cancelling = True
        try:
            handler.result.cancel()
        except BaseException:  # the canceller is the user's
            handler.cancel_failure = Failure()
        handler.cancelling = False


def _is_cancellation(result: object) -> bool:
    """Return True for the failure of what was cancelled, as it is or in words for a caller."""
    if not isinstance(result, Failure):
        return False
    return bool(result.check(CancelledError)) or (isinstance(result.value, RpcError) and result.value.code == CANCELLED)
