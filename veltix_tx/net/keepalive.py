"""Clocks, the deadlines of one connection on them, and whether its peer is alive and keeps measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Clocks", "Deadlines", "Heartbeat", "PingBudget"]


_ROUNDING = 1e-6


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

    Args:
        clock: what they run on.
    """

    __slots__ = ("_calls", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: dict[str, IDelayedCall] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._calls

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in ``seconds`` unless cleared or set again before."""
        self.clear(name)

        def due() -> None:
            del self._calls[name]
            act()

        self._calls[name] = self._clock.callLater(seconds, due)

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

    Any byte of the peer counts as life. While reading from it is paused its silence says nothing;
    who paused it watches it. A dead peer is noticed within ``silence`` and ``pong`` seconds.

    Args:
        clocks: uptime, and the deadlines' clock.
        deadlines: where the timer lives.
        silence: seconds without a byte before the ping.
        pong: seconds after the ping.
        ping: sends one; what comes of it does not matter.
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
            self.heard, self._asked = now, None
        if self._asked is not None and self.heard < self._asked:
            self._dead()
            return
        self._asked = None
        left = self.heard + self._silence - now
        if left > _ROUNDING:
            self._look_in(left)
            return
        self._asked = now
        self._ping()
        self._look_in(self._pong)


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
        now = self._uptime()
        self._left = min(self._burst, self._left + (now - self._seen) * self._per_second) - pings
        self._seen = now
        return self._left >= 0
