"""Handlers that are not done yet: each has so long, then it is cancelled, and what it still brings is dropped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from veltix_tx.net.keepalive import ROUNDING, Clocks, Deadlines

__all__ = ["Overdue", "Running"]

_SWEEP_FLOOR = 0.01
"""Seconds between two sweeps at least: a sweep looks at every handler."""


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
    __slots__ = ("deadline", "outcome", "result", "seconds", "stopped", "stopping")

    def __init__(self, result: Deferred[Any], seconds: float, deadline: float) -> None:
        self.result = result
        self.seconds = seconds
        self.deadline = deadline
        self.outcome: Deferred[Any] = Deferred(lambda _: result.cancel())
        self.stopping = False
        self.stopped: Failure | None = None


class Running:
    """The handlers of one connection that are not done yet.

    One timer serves them all: it comes when the first has had its time, and finds nothing to do in
    most cases, so that a handler that is done soon sets and clears none.

    Args:
        clocks: uptime, and what the timer runs on. It outlives the connection as handlers do.
        late: called with what a handler brings after it was given up.
    """

    def __init__(self, clocks: Clocks, late: Callable[[object], object]) -> None:
        self._uptime = clocks.uptime
        self._deadlines = Deadlines(clocks.reactor)
        self._late = late
        self._handlers: dict[_Handler, None] = {}
        self._sweep_at = math.inf
        self._ended = False
        self._cut = False

    def within(self, seconds: float, result: Deferred[Any]) -> Deferred[Any]:
        """Return a Deferred of a handler's result, which errbacks with :class:`Overdue` where none comes in time.

        Args:
            seconds: the time it has, ``math.inf`` for no end.
            result: what the handler returned; not to be used any more.
        """
        if self._cut or seconds == math.inf or (result.called and not result.paused):
            return result
        handler = _Handler(result, seconds, self._uptime() + seconds)
        self._handlers[handler] = None
        if handler.deadline < self._sweep_at:
            self._arm(seconds)
        result.addBoth(self._done, handler)
        return handler.outcome

    def end(self) -> None:
        """Keep no timer longer than there are handlers: the connection is gone."""
        self._ended = True
        self._calm()

    def cut(self) -> None:
        """Cancel every handler, as if it had returned None, and keep no timer any more."""
        self._ended = self._cut = True
        handlers, self._handlers = list(self._handlers), {}
        self._calm()
        for handler in handlers:
            self._stop(handler)
            if not handler.outcome.called:
                handler.outcome.callback(None)

    def _done(self, result: object, handler: _Handler) -> None:
        if handler.stopping:
            handler.stopped = result if isinstance(result, Failure) else None
            return
        if handler in self._handlers:
            del self._handlers[handler]
            self._calm()
        if handler.outcome.called:
            self._late(result)
        else:
            handler.outcome.callback(result)

    def _arm(self, seconds: float) -> None:
        self._sweep_at = self._uptime() + seconds
        self._deadlines.set("handlers", seconds, self._sweep)

    def _calm(self) -> None:
        if self._ended and not self._handlers:
            self._deadlines.clear("handlers")

    def _sweep(self) -> None:
        self._sweep_at = math.inf
        now = self._uptime()
        due = [handler for handler in self._handlers if handler.deadline <= now + ROUNDING]
        for handler in due:
            del self._handlers[handler]
        if self._handlers:
            earliest = min(handler.deadline for handler in self._handlers)
            self._arm(max(earliest - now, _SWEEP_FLOOR))
        for handler in due:
            self._stop(handler)
            if not handler.outcome.called:
                handler.outcome.errback(Overdue(handler.seconds, handler.stopped))

    def _stop(self, handler: _Handler) -> None:
        handler.stopping = True
        try:
            handler.result.cancel()
        except BaseException:  # the canceller is the user's
            handler.stopped = Failure()
        handler.stopping = False
