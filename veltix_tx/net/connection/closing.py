"""A polite close: it goes on for as long as the peer takes what is left for it."""

from __future__ import annotations

from collections.abc import Callable

from veltix_tx.net.clock import ROUNDING, Timers

__all__ = ["CloseWatch"]

_LOOKS = 5
"""Times that a close is looked at in the time after which it is given up."""


class CloseWatch:
    """Watches a close, and gives it up when the peer has taken nothing for some time, or too little for longer.

    Args:
        deadlines: the connection's; the timer is ``"close"``.
        uptime: a clock that never jumps, in seconds.
        left: returns the bytes that the peer has still to take.
        seconds: for which the peer may take nothing.
        write_timeout: seconds in which the peer must take ``least`` bytes at least.
        least: see there.
        give_up: called when it is given up.
    """

    __slots__ = (
        "_deadlines",
        "_give_up",
        "_least",
        "_left",
        "_mark",
        "_marked_at",
        "_seconds",
        "_smallest",
        "_taken_at",
        "_uptime",
        "_write_timeout",
    )

    def __init__(
        self,
        deadlines: Timers,
        uptime: Callable[[], float],
        left: Callable[[], int],
        *,
        seconds: float,
        write_timeout: float,
        least: float,
        give_up: Callable[[], None],
    ) -> None:
        self._deadlines = deadlines
        self._uptime = uptime
        self._left = left
        self._seconds = seconds
        self._write_timeout = write_timeout
        self._least = least
        self._give_up = give_up
        self._taken_at = self._marked_at = uptime()
        self._smallest = self._mark = left()
        self._wait()

    def _wait(self) -> None:
        rest = self._taken_at + self._seconds - self._uptime()
        self._deadlines.set("close", min(rest, self._seconds / _LOOKS), self._look)

    def _look(self) -> None:
        now, left = self._uptime(), self._left()
        if left < self._smallest:
            self._smallest, self._taken_at = left, now
        if now >= self._marked_at + self._write_timeout - ROUNDING:
            if self._mark - left < self._least:
                self._give_up()
                return
            self._mark, self._marked_at = left, now
        if now >= self._taken_at + self._seconds - ROUNDING:
            self._give_up()
        else:
            self._wait()
