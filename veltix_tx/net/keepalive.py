"""Clocks, the deadlines of one connection on them, and whether peers are alive and keep measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["ROUNDING", "Clocks", "Deadlines", "Heartbeat", "TokenBucket"]


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

    Args:
        clock: what they run on.
    """

    __slots__ = ("_calls", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: dict[str, IDelayedCall] | None = None  # an idle connection has none, and keeps no dict for it

    def __contains__(self, name: object) -> bool:
        return self._calls is not None and name in self._calls

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in ``seconds`` unless cleared or set again before."""
        self.clear(name)
        clock = self._clock
        at = clock.seconds() + seconds

        def due() -> None:
            nonlocal at
            if clock.seconds() - at > _LATE:
                at = math.inf
                self._keep(name, clock.callLater(0, due))
                return
            self._forget(name)
            act()

        self._keep(name, clock.callLater(seconds, due))

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


class _Beating(Protocol):
    """A connection as its heartbeat sees it."""

    heard: float
    asked: float | None

    @property
    def paused(self) -> bool: ...

    def probe(self) -> None: ...

    def dead(self) -> None: ...


class Heartbeat:
    """Asks silent peers with a ping, and tells of those that stay silent.

    Any byte of a peer counts as life. A dead peer is noticed within ``silence`` and ``pong``
    seconds. While reading from it is paused its silence says nothing, and Twisted notices neither
    FIN nor RST; the pings go on, because writing to a connection that is gone fails.

    One timer serves all connections (one each costs 500 bytes and, for each read, a clock): it looks
    at all of them when the first is due, and not before a grain of time has passed. A ping may
    therefore be a grain early, and the end a grain late.

    Args:
        clocks: uptime, and the timer's clock.
        silence: seconds without a byte before the ping.
        pong: seconds after the ping.
    """

    def __init__(self, clocks: Clocks, silence: float, pong: float) -> None:
        self._uptime = clocks.uptime
        self._timer = Deadlines(clocks.reactor)
        self._silence = silence
        self._pong = pong
        self._grain = min(1.0, silence / 16, pong / 16)
        self._beating: dict[_Beating, None] = {}

    def __len__(self) -> int:
        return len(self._beating)

    def begin(self, connection: _Beating) -> None:
        """Look after a connection. From now on its ``heard`` is set by whoever reads, its ``asked`` here."""
        self._beating[connection] = None
        self.resumed(connection)
        if "look" not in self._timer:
            self._timer.set("look", self._silence, self._look)

    def resumed(self, connection: _Beating) -> None:
        """Take note that reading goes on after a pause: what the peer said meanwhile is still to be read."""
        connection.heard = self._uptime()
        connection.asked = None

    def end(self, connection: _Beating) -> None:
        """Look after a connection no more."""
        self._beating.pop(connection, None)
        if not self._beating:
            self._timer.clear_all()

    def _look(self) -> None:
        now = self._uptime()
        due = [self._look_at(each, now) for each in list(self._beating)]
        if self._beating:
            self._timer.set("look", max(min(due) - now, self._grain), self._look)

    def _look_at(self, connection: _Beating, now: float) -> float:
        """Return when to look at it again."""
        paused = connection.paused
        if connection.asked is not None and connection.heard < connection.asked and not paused:
            if now < connection.asked + self._pong - ROUNDING:
                return connection.asked + self._pong
            connection.dead()
            return math.inf
        connection.asked = None
        if connection.heard + self._silence > now + self._grain:
            return connection.heard + self._silence
        if paused:
            connection.heard = now
        else:
            connection.asked = now
        connection.probe()
        return now + (self._silence if paused else self._pong)


class TokenBucket:
    """How often a peer may still do something: so often per second on average, so often in a row.

    Args:
        uptime: a clock that never jumps, in seconds.
        per_second: how fast the bucket fills.
        burst: the most it holds.
    """

    __slots__ = ("_burst", "_left", "_per_second", "_seen", "_uptime")

    def __init__(self, uptime: Callable[[], float], per_second: float, burst: float) -> None:
        self._uptime = uptime
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._seen = uptime()

    def spend(self, tokens: int) -> bool:
        """Take tokens; return whether there were as many."""
        self._left = max(self._left, min(self._burst, self._left + self._grown())) - tokens
        return self._left >= 0

    def resumed(self) -> None:
        """Take note that reading goes on after a pause: what waited may come all at once."""
        self._left += self._grown()

    def _grown(self) -> float:
        seen, self._seen = self._seen, self._uptime()
        return (self._seen - seen) * self._per_second
