"""Clocks, the deadlines of one connection on them, and whether its peer is alive and keeps measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["ROUNDING", "Clocks", "Deadlines", "Heartbeat", "PingBudget"]


ROUNDING = 1e-6
"""Seconds by which a timer may come before its time."""

_LATE = 0.1
"""Seconds after its time at which a deadline lets what has arrived meanwhile be read first."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from; a test gives one clock for all three.

    Attributes:
        reactor: calls later.
        calendar: seconds since 1970, for message headers.
        uptime: seconds that never jump, for round trips and deadlines (``reactor.seconds`` is
            the calendar's and does jump).
    """

    reactor: IReactorTime
    calendar: Callable[[], float] = time.time
    uptime: Callable[[], float] = time.monotonic

    def calendar_ms(self) -> int:
        """Return the calendar's ms."""
        return int(self.calendar() * 1000)

    def uptime_ms(self) -> int:
        """Return the uptime's ms."""
        return int(self.uptime() * 1000)


class Deadlines:
    """Named one-shot timers: setting one again replaces it, clearing is always allowed.

    Where the whole process was held up (a handler that blocked, a machine that slept), what the
    peer sent in time is still to be read: a deadline found to be late waits for one turn of the reactor.
    Where the clock is set forward, a deadline waits for the rest of its time.

    Args:
        clock: what they run on.
        uptime: a clock that never jumps, in seconds; ``clock`` by default.
    """

    __slots__ = ("_calls", "_clock", "_uptime")

    def __init__(self, clock: IReactorTime, uptime: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._uptime = uptime or clock.seconds
        self._calls: dict[str, IDelayedCall] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._calls

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in ``seconds`` unless cleared or set again before."""
        self.clear(name)
        clock, uptime = self._clock, self._uptime
        at, end = clock.seconds() + seconds, uptime() + seconds

        def due() -> None:
            nonlocal at
            left = end - uptime()
            if left > _LATE:
                at = clock.seconds() + left
                self._calls[name] = clock.callLater(left, due)
                return
            if clock.seconds() - at > _LATE:
                at = math.inf
                self._calls[name] = clock.callLater(0, due)
                return
            del self._calls[name]
            act()

        self._calls[name] = clock.callLater(seconds, due)

    def clear(self, name: str) -> None:
        """Take a timer back."""
        call = self._calls.pop(name, None)
        if call is not None:
            call.cancel()

    def clear_all(self) -> None:
        """Take every timer back."""
        for name in list(self._calls):
            self.clear(name)


class Heartbeat:
    """Asks a silent peer with a ping, and tells when it stays silent.

    Any byte of the peer counts as life. A dead peer is noticed within ``silence`` and ``pong``
    seconds. While reading from it is paused its silence says nothing, and Twisted notices neither
    FIN nor RST; the pings go on, because writing to a connection that is gone fails.

    Args:
        clocks: uptime, and the deadlines' clock.
        deadlines: where the timer lives.
        silence: seconds without a byte before the ping.
        pong: seconds after the ping.
        ping: sends one.
        paused: whether reading is paused.
        dead: called when the peer is dead.

    Attributes:
        heard: uptime when the peer was last heard; set by whoever reads.
    """

    __slots__ = ("_asked", "_clocks", "_dead", "_deadlines", "_paused", "_ping", "_pong", "_silence", "heard")

    def __init__(
        self,
        clocks: Clocks,
        deadlines: Deadlines,
        silence: float,
        pong: float,
        *,
        ping: Callable[[], object],
        paused: Callable[[], bool],
        dead: Callable[[], None],
    ) -> None:
        self._clocks = clocks
        self._deadlines = deadlines
        self._silence = silence
        self._pong = pong
        self._ping = ping
        self._paused = paused
        self._dead = dead
        self._asked: float | None = None
        self.heard = clocks.uptime()
        self._look_in(silence)

    def _look_in(self, seconds: float) -> None:
        self._deadlines.set("heartbeat", seconds, self._look)

    def _look(self) -> None:
        now = self._clocks.uptime()
        if self._paused():
            self._asked = None
            self._ping()
            self._look_in(self._silence)
            return
        if self._asked is not None and self.heard < self._asked:
            self._dead()
            return
        self._asked = None
        left = self.heard + self._silence - now
        if left > ROUNDING:
            self._look_in(left)
            return
        self._asked = now
        self._ping()
        self._look_in(self._pong)

    def resumed(self) -> None:
        """Take note that reading goes on after a pause: what the peer said meanwhile is still to be read."""
        self.heard = self._clocks.uptime()


class PingBudget:
    """How many pings a peer may still send: so many per second on average, so many in a row.

    Args:
        uptime: a clock that never jumps, in seconds.
        per_second: how fast the budget grows.
        burst: the most it grows to.
    """

    __slots__ = ("_burst", "_left", "_per_second", "_seen", "_uptime")

    def __init__(self, uptime: Callable[[], float], per_second: float, burst: float) -> None:
        self._uptime = uptime
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._seen = uptime()

    def spend(self, pings: int) -> bool:
        """Count pings; return whether the peer keeps within its budget."""
        self._left = max(self._left, min(self._burst, self._left + self._grown())) - pings
        return self._left >= 0

    def resumed(self) -> None:
        """Take note that reading goes on after a pause: the pings that waited may come all at once."""
        self._left += self._grown()

    def _grown(self) -> float:
        seen, self._seen = self._seen, self._uptime()
        return (self._seen - seen) * self._per_second
