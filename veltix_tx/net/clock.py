"""Clocks, named timers and the sweep timer: the source of time, as a parameter of everything that needs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["ROUNDING", "Clocks", "SweepTimer", "Timers", "resolve_clocks"]

ROUNDING = 1e-6
"""Seconds by which a timer may come before its time."""


_SWEEP_FLOOR = 0.01
"""Seconds from one sweep to the next at least, whatever the deadlines: a sweep looks at everything that waits."""

_LATE = 0.1
"""Seconds after its time at which a deadline lets what has arrived meanwhile be read first."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Sources of time; a test gives one clock for all three.

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


class Timers:
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
        self._calls: dict[str, IDelayedCall] | None = None  # an idle connection has none, and keeps no dict for it

    def __contains__(self, name: object) -> bool:
        return self._calls is not None and name in self._calls

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in ``seconds`` unless cleared or set again before."""
        self.clear(name)
        clock = self._clock
        due = partial(self._due, name, act, clock.seconds() + seconds, self._uptime() + seconds)
        self._keep(name, clock.callLater(seconds, due))

    def _due(self, name: str, act: Callable[[], None], at: float, end: float) -> None:
        """Call ``act``, unless the clock has come early, or late: then what is due with it goes first."""
        clock, left = self._clock, end - self._uptime()
        if left > _LATE:
            self._keep(name, clock.callLater(left, partial(self._due, name, act, clock.seconds() + left, end)))
        elif clock.seconds() - at > _LATE:
            self._keep(name, clock.callLater(0, partial(self._due, name, act, math.inf, end)))
        else:
            self._forget(name)
            act()

    def clear(self, name: str) -> None:
        """Take a timer back."""
        if name in self:
            self._forget(name).cancel()

    def clear_all(self) -> None:
        """Take every timer back."""
        for name in list(self._calls or ()):
            self.clear(name)

    def _keep(self, name: str, call: IDelayedCall) -> None:
        if self._calls is None:
            self._calls = {}
        self._calls[name] = call

    def _forget(self, name: str) -> IDelayedCall:
        assert self._calls is not None
        call = self._calls.pop(name)
        self._calls = self._calls or None
        return call


class SweepTimer:
    """One timer for many deadlines: it comes at the earliest one, and what is due then is found by a sweep over all.

    A deadline that is met sets and clears no timer: the timer comes, and finds nothing to do (a timer each costs 3 µs).

    Args:
        timers: where the timer lives.
        name: its name there.
        uptime: a clock that never jumps, in seconds.
        sweep: called with the time when the timer comes. It says with :meth:`continue_at` when the next deadline is.
        floor: seconds from one sweep to the next at least.

    Attributes:
        due: when the timer comes, in seconds of uptime; ``math.inf`` while it is not set.
    """

    __slots__ = ("_floor", "_name", "_sweep", "_timers", "_uptime", "due")

    def __init__(
        self,
        timers: Timers,
        name: str,
        uptime: Callable[[], float],
        sweep: Callable[[float], object],
        floor: float = _SWEEP_FLOOR,
    ) -> None:
        self._timers = timers
        self._name = name
        self._uptime = uptime
        self._sweep = sweep
        self._floor = floor
        self.due = math.inf

    def watch(self, deadline: float) -> None:
        """Sweep at a new deadline, in seconds of uptime, unless the timer comes before; ``math.inf`` is none."""
        if deadline < self.due:
            self.due = deadline
            self._timers.set(self._name, max(0.0, deadline - self._uptime()), self._come)

    def continue_at(self, deadline: float) -> None:
        """Sweep again at the earliest deadline that a sweep has left, but not at once; ``math.inf`` is none."""
        self.watch(max(deadline, self._uptime() + self._floor))

    def clear(self) -> None:
        """Take the timer back: there are no more deadlines."""
        self.due = math.inf
        self._timers.clear(self._name)

    def _come(self) -> None:
        self.due = math.inf
        self._sweep(self._uptime())


def resolve_clocks(reactor: IReactorTime | Clocks | None) -> Clocks:
    """Return the clocks to use: those given, those of a given reactor, or those of the global one."""
    if isinstance(reactor, Clocks):
        return reactor
    if reactor is None:
        from twisted.internet import reactor as installed  # noqa: PLC0415 (importing it installs it)

        return Clocks(installed)
    return Clocks(reactor)
