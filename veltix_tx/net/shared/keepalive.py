"""Clocks, the deadlines of one connection on them, and whether peers are alive and keep measure."""

from __future__ import annotations

import math
from typing import Protocol

from twisted.logger import Logger

from veltix_tx.net.clock import ROUNDING, Clocks, Timers

__all__ = [
    "Heartbeat",
]

_log = Logger()


class KeepaliveTarget(Protocol):
    """A connection as its heartbeat sees it."""

    last_received: float
    pinged_at: float | None

    @property
    def paused(self) -> bool: ...

    @property
    def bytes_taken(self) -> int | None: ...

    def _may_log(self) -> bool: ...

    def send_probe(self) -> None: ...

    def abort_dead_peer(self) -> None: ...


class Heartbeat:
    """Asks silent peers with a ping, and tells of those that stay silent.

    Any byte of a peer counts as life. A dead peer is noticed within ``ping_interval`` and ``ping_timeout``
    seconds. One that only reads, and slowly, gets the ping behind all that waits for it: it lives for as
    long as it takes some of that in every ``ping_timeout`` seconds. While reading from a peer is paused its silence
    says nothing, and Twisted notices neither FIN nor RST; the pings go on, because writing to a connection
    that is gone fails.

    One timer serves all connections (one each costs 500 bytes and, for each read, a clock): it looks
    at all of them when the first is due, and not before a grain of time has passed. A ping is
    therefore one or two grains early, so that the end is never late.

    Args:
        clocks: uptime, and the timer's clock.
        ping_interval: seconds without a byte before the ping.
        ping_timeout: seconds after the ping.
    """

    def __init__(self, clocks: Clocks, ping_interval: float, ping_timeout: float) -> None:
        self._uptime = clocks.uptime
        self._timer = Timers(clocks.reactor, clocks.uptime)
        self._timeout = ping_timeout
        self._grain = min(1.0, ping_interval / 16, ping_timeout / 16)
        self._interval = ping_interval - self._grain
        self._targets: dict[KeepaliveTarget, int | None] = {}  # to what it had taken when it was last asked

    def __len__(self) -> int:
        return len(self._targets)

    def add(self, connection: KeepaliveTarget) -> None:
        """Look after a connection. From now on its ``heard`` is set by whoever reads, its ``asked`` here."""
        self._targets[connection] = None
        self.reading_resumed(connection)
        if "look" not in self._timer:
            self._timer.set("look", self._interval, self._sweep)

    def reading_resumed(self, connection: KeepaliveTarget) -> None:
        """Take note that reading goes on after a pause: what the peer said meanwhile is still to be read."""
        connection.last_received = self._uptime()
        connection.pinged_at = None

    def discard(self, connection: KeepaliveTarget) -> None:
        """Look after a connection no more."""
        self._targets.pop(connection, None)
        if not self._targets:
            self._timer.clear_all()

    def _sweep(self) -> None:
        now = self._uptime()
        due = math.inf
        for each in list(self._targets):
            if each in self._targets:  # the end of one may be the end of others
                due = min(due, self._check_safely(each, now))
        if self._targets:
            wait = due - now if due < math.inf else self._interval
            self._timer.set("look", max(wait, self._grain), self._sweep)

    def _check_safely(self, connection: KeepaliveTarget, now: float) -> float:
        """Return when to look at it again, whatever one connection's end has user code raise: the others have no other timer."""
        try:
            return self._check(connection, now)
        except Exception:
            if connection._may_log():
                _log.failure("a look at {connection!r} failed", connection=connection)
            return math.inf

    def _check(self, connection: KeepaliveTarget, now: float) -> float:
        paused = connection.paused
        if connection.pinged_at is not None and connection.last_received < connection.pinged_at and not paused:
            if now < connection.pinged_at + self._timeout - ROUNDING:
                return connection.pinged_at + self._timeout
            if not self._makes_progress(connection):
                connection.abort_dead_peer()
                return math.inf
            connection.pinged_at = now
            return now + self._timeout
        connection.pinged_at = None
        if connection.last_received + self._interval > now + self._grain:
            return connection.last_received + self._interval
        if paused:
            connection.last_received = now
        else:
            connection.pinged_at = now
            self._targets[connection] = connection.bytes_taken
        connection.send_probe()
        return now + (self._interval if paused else self._timeout)

    def _makes_progress(self, connection: KeepaliveTarget) -> bool:
        """Whether a silent peer has taken some of what waits for it since the last time."""
        before, taken = self._targets[connection], connection.bytes_taken
        self._targets[connection] = taken
        return before is not None if taken is None else before is None or taken > before
