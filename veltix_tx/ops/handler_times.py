"""Times of handlers, sampled: now and then each route's next call is timed, and every other call is as it ever was."""

from __future__ import annotations

from itertools import cycle, islice

from veltix_tx.app.call_timing import CallTimer
from veltix_tx.server import Server

__all__ = ["AT_ONCE", "HandlerTimes"]

AT_ONCE = 32
"""Handlers whose next call is timed at one time; where there are more, they take turns."""


class HandlerTimes:
    """Sampler of the times of a server's routes and methods.

    Args:
        server: the server.
        timer: times the calls, and takes what was measured.
    """

    def __init__(self, server: Server, timer: CallTimer) -> None:
        self._server = server
        self._timer = timer
        self._turn = 0

    def arm(self) -> None:
        """Have the next call of each handler timed, of as many as may be at once."""
        handlers = self._server.timed_handlers(self._timer)
        if not handlers:
            return
        self._turn %= len(handlers)
        for time_next_call in islice(cycle(handlers), self._turn, self._turn + min(AT_ONCE, len(handlers))):
            time_next_call()
        self._turn += AT_ONCE
