"""Clocks, the deadlines of one connection on them, and whether peers are alive and keep measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["ROUNDING", "Clocks", "Deadlines", "Heartbeat", "TokenBucket"]

_log = Logger()

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
        self._calls: dict[str, IDelayedCall] | None = None  # an idle connection has none, and keeps no dict for it

    def __contains__(self, name: object) -> bool:
        return self._calls is not None and name in self._calls

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
                self._keep(name, clock.callLater(left, due))
                return
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

    @property
    def taken(self) -> int | None: ...

    def may_log(self) -> bool: ...

    def probe(self) -> None: ...

    def dead(self) -> None: ...


class Heartbeat:
    """Asks silent peers with a ping, and tells of those that stay silent.

    Any byte of a peer counts as life. A dead peer is noticed within ``silence`` and ``pong``
    seconds. One that only reads, and slowly, gets the ping behind all that waits for it: it lives for as
    long as it takes some of that in every ``pong`` seconds. While reading from a peer is paused its silence
    says nothing, and Twisted notices neither FIN nor RST; the pings go on, because writing to a connection
    that is gone fails.

    One timer serves all connections (one each costs 500 bytes and, for each read, a clock): it looks
    at all of them when the first is due, and not before a grain of time has passed. A ping is
    therefore one or two grains early, so that the end is never late.

    Args:
        clocks: uptime, and the timer's clock.
        silence: seconds without a byte before the ping.
        pong: seconds after the ping.
    """

    def __init__(self, clocks: Clocks, silence: float, pong: float) -> None:
        self._uptime = clocks.uptime
        self._timer = Deadlines(clocks.reactor, clocks.uptime)
        self._pong = pong
        self._grain = min(1.0, silence / 16, pong / 16)
        self._silence = silence - self._grain
        self._beating: dict[_Beating, int | None] = {}  # to what it had taken when it was last asked

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
        due = math.inf
        for each in list(self._beating):
            if each in self._beating:  # the end of one may be the end of others
                due = min(due, self._look_safely(each, now))
        if self._beating:
            wait = due - now if due < math.inf else self._silence
            self._timer.set("look", max(wait, self._grain), self._look)

    def _look_safely(self, connection: _Beating, now: float) -> float:
        """Return when to look at it again, whatever one connection's end has user code raise: the others have no other timer."""
        try:
            return self._look_at(connection, now)
        except Exception:
            if connection.may_log():
                _log.failure("a look at {connection!r} failed", connection=connection)
            return math.inf

    def _look_at(self, connection: _Beating, now: float) -> float:
        paused = connection.paused
        if connection.asked is not None and connection.heard < connection.asked and not paused:
            if now < connection.asked + self._pong - ROUNDING:
                return connection.asked + self._pong
            if not self._takes(connection):
                connection.dead()
                return math.inf
            connection.asked = now
            return now + self._pong
        connection.asked = None
        if connection.heard + self._silence > now + self._grain:
            return connection.heard + self._silence
        if paused:
            connection.heard = now
        else:
            connection.asked = now
            self._beating[connection] = connection.taken
        connection.probe()
        return now + (self._silence if paused else self._pong)

    def _takes(self, connection: _Beating) -> bool:
        """Whether a silent peer has taken some of what waits for it since the last time."""
        before, taken = self._beating[connection], connection.taken
        self._beating[connection] = taken
        return before is not None if taken is None else before is None or taken > before


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

    def take(self, tokens: int) -> bool:
        """Take tokens if there are as many; return whether there were."""
        if self.spend(tokens):
            return True
        self._left += tokens
        return False

    def resumed(self) -> None:
        """Take note that reading goes on after a pause: what waited may come all at once."""
        self._left += self._grown()

    def _grown(self) -> float:
        seen, self._seen = self._seen, self._uptime()
        return (self._seen - seen) * self._per_second
