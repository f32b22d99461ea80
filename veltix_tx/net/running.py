"""Handlers that are not done yet: each has so long, then it is cancelled, and what it still brings is dropped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from veltix_tx.net.keepalive import ROUNDING, Clocks, Deadlines

__all__ = ["Overdue", "Running", "Within", "as_deferred"]

_SWEEP_FLOOR = 0.01
"""Seconds between two sweeps at least: a sweep looks at every handler."""


@dataclass(frozen=True, slots=True)
class Within:
    """A handler's Deferred or coroutine with a time of its own.

    Attributes:
        seconds: how long it may take, in place of ``timeouts.handler``.
        result: the Deferred or coroutine.
    """

    seconds: float
    result: object


class Overdue(Exception):
    """A handler was not done in time.

    Attributes:
        seconds: the time it had.
        stopped: how it failed when it was cancelled, which tells where it was; None where it did not fail.
    """

    def __init__(self, seconds: float, stopped: Failure | None) -> None:
        super().__init__(seconds, stopped)
        self.seconds = seconds
        self.stopped = stopped

    def __str__(self) -> str:
        return f"not done after {self.seconds:g} s"


class _Handler:
    __slots__ = ("after_end", "cancelled", "deadline", "over", "result", "seconds", "settle", "stopped", "stopping")

    def __init__(
        self, result: Deferred[Any], settle: Callable[[object], object], seconds: float, deadline: float, after_end: float
    ) -> None:
        self.result = result
        self.settle = settle
        self.seconds = seconds
        self.deadline = deadline
        self.after_end = after_end
        self.cancelled = False
        self.over = False
        self.stopping = False
        self.stopped: Failure | None = None


class Running:
    """The handlers of one connection that are not done yet.

    One timer serves them all: it comes when the first has had its time, and finds nothing to do in
    most cases, so that a handler that is done soon sets and clears none.

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
        self._deadlines = Deadlines(clocks.reactor, clocks.uptime)
        self._grace = grace
        self._late = late
        self._abandoned = abandoned
        self._handlers: dict[_Handler, None] = {}
        self._sweep_at = math.inf
        self._ended_at = math.inf
        self._cut = False

    def watch(self, seconds: float, result: Deferred[Any], settle: Callable[[object], object], after_end: float = 0.0) -> None:
        """Call ``settle`` once, with a handler's result, its Failure, or the Failure of :class:`Overdue` where none comes in time.

        Args:
            seconds: the time it has, ``math.inf`` for no end.
            result: what the handler returned; not to be used any more.
            settle: what to call; must not raise. Gets the Failure of CancelledError for one that is given up after the end of the
                connection, and None for one that :meth:`cut` cancels.
            after_end: seconds from the end of the connection to its cancellation; ``math.inf`` for what only begins then.
        """
        if self._cut:
            result.addBoth(settle)
            return
        handler = _Handler(result, settle, seconds, self._uptime() + seconds, after_end)
        self._handlers[handler] = None
        if handler.deadline < self._sweep_at:
            self._arm(seconds)
        if self._ended_at < math.inf and after_end < math.inf:
            self._deadlines.set("end", 0, self._cancel_ended)
        result.addBoth(self._done, handler)

    def end(self) -> None:
        """Cancel what runs, in the next turn of the reactor: the connection is gone."""
        self._ended_at = self._uptime()
        if self._handlers:
            self._deadlines.set("end", 0, self._cancel_ended)
        else:
            self._deadlines.clear_all()

    def cut(self) -> None:
        """Cancel every handler, as if it had returned None, and keep no timer any more."""
        self._cut = True
        handlers, self._handlers = list(self._handlers), {}
        self._deadlines.clear_all()
        for handler in handlers:
            handler.over = True
        for handler in handlers:
            self._stop(handler)
            handler.settle(None)

    def _done(self, result: object, handler: _Handler) -> None:
        if handler.stopping:
            handler.stopped = result if isinstance(result, Failure) else None
        elif handler.over:
            self._late(result)
        else:
            handler.over = True
            del self._handlers[handler]
            if self._ended_at < math.inf and not self._handlers:
                self._deadlines.clear_all()
            handler.settle(result)

    def _arm(self, seconds: float) -> None:
        self._sweep_at = self._uptime() + seconds
        self._deadlines.set("handlers", seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_at = math.inf
        now = self._uptime()
        due = [handler for handler in self._handlers if handler.deadline <= now + ROUNDING]
        for handler in due:
            handler.over = True
            del self._handlers[handler]
        earliest = min((handler.deadline for handler in self._handlers), default=math.inf)
        if earliest < math.inf:
            self._arm(max(earliest - now, _SWEEP_FLOOR))
        for handler in due:
            self._stop(handler)
            handler.settle(Failure(Overdue(handler.seconds, handler.stopped)))

    def _cancel_ended(self) -> None:
        """Cancel what has no more time after the end of the connection, and give up what has had its grace."""
        since = self._uptime() - self._ended_at
        for handler in [each for each in self._handlers if each.after_end <= since + ROUNDING and not each.cancelled]:
            if not handler.over:  # the cancellation of one before it may have ended it
                self._cancel(handler)
        if self._grace <= since + ROUNDING:
            for handler in [each for each in self._handlers if each.cancelled]:
                if not handler.over:
                    handler.over = True
                    del self._handlers[handler]
                    self._abandoned()
                    handler.settle(Failure(CancelledError()))
        ends = [self._grace if each.cancelled else each.after_end for each in self._handlers if each.after_end < math.inf]
        if ends:
            wait = min(ends) - since
            self._deadlines.set("end", wait if wait > ROUNDING else 0, self._cancel_ended)
        elif not self._handlers:
            self._deadlines.clear_all()

    def _cancel(self, handler: _Handler) -> None:
        handler.cancelled, handler.deadline = True, math.inf
        try:
            handler.result.cancel()
        except BaseException:  # the canceller is the user's
            if not handler.over:
                self._done(Failure(), handler)

    def _stop(self, handler: _Handler) -> None:
        handler.stopping = True
        try:
            handler.result.cancel()
        except BaseException:  # the canceller is the user's
            handler.stopped = Failure()
        handler.stopping = False


class _Copy(Deferred[Any]):
    """A Deferred with the outcome of another, which others may wait for as well.

    Cancelling it cancels the other one when nobody else waits for that.
    """

    def __init__(self, of: Deferred[Any], copies: _Copies) -> None:
        super().__init__()
        self._of = of
        self._copies = copies

    def cancel(self) -> None:
        waiting = self._copies.waiting
        if waiting == [self]:
            self._of.cancel()
        elif self in waiting:
            waiting.remove(self)
            self.errback(CancelledError())


class _Copies:
    """The copies of one Deferred of the user's, kept on the Deferred itself: it may be returned again.

    Attributes:
        waiting: those that have no outcome yet.
        failed: how it failed, which the Deferred itself forgets as soon as somebody has dealt with it.
    """

    __slots__ = ("failed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[_Copy] = []
        self.failed: Failure | None = None

    def fire(self, outcome: object) -> object:
        """Fire all copies, and leave the result to whoever uses the Deferred after them; a failure has been dealt with."""
        self.failed = outcome if isinstance(outcome, Failure) else None
        waiting, self.waiting = self.waiting, []
        for copy in waiting:
            copy.callback(outcome)
        return None if self.failed is not None else outcome


_COPIES = "_veltix_tx_copies"


def _copy(of: Deferred[Any]) -> Deferred[object]:
    """Return a Deferred with the outcome of one that a handler returned, and may return again for another message."""
    copies: _Copies | None = of.__dict__.get(_COPIES)
    if copies is None:
        if of.called and not of.paused and not isinstance(of.result, (Failure, Deferred)):
            return succeed(of.result)
        copies = of.__dict__[_COPIES] = _Copies()
    if copies.failed is not None:
        return fail(copies.failed)
    copy = _Copy(of, copies)
    copies.waiting.append(copy)
    if len(copies.waiting) == 1:
        of.addBoth(copies.fire)
    return copy


def as_deferred(result: object) -> Deferred[object]:
    """Return what a handler returned as a Deferred, which is the caller's own: a Deferred of the handler's keeps its result."""
    if isinstance(result, Deferred):
        return _copy(result)
    return Deferred.fromCoroutine(result) if iscoroutine(result) else succeed(result)
