"""Keepalive: pings to silent peers, and the end of those that stay silent."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Protocol

from twisted.logger import Logger

from veltix_tx.net.clock import ROUNDING, Clocks, SweepTimer, Timers

__all__ = ["Heartbeat"]

_AT_ONCE = 256
"""Connections looked at, and asked, in one turn of the reactor: a ping costs some 15 µs, written and all."""

_log = Logger()


class KeepaliveTarget(Protocol):
    """A connection as its heartbeat sees it."""

    last_received: float
    pinged_at: float | None

    @property
    def answers_pings(self) -> bool: ...

    @property
    def owes_answers(self) -> bool: ...

    @property
    def paused(self) -> bool: ...

    @property
    def bytes_taken(self) -> int | None: ...

    def _may_log(self) -> bool: ...

    def log_fields(self) -> dict[str, Any]: ...

    def send_probe(self) -> None: ...

    def abort_dead_peer(self) -> None: ...

    def close_idle_peer(self) -> None: ...


class Heartbeat:
    """Asks silent peers with a ping, and tells of those that stay silent, as of those silent for long that no ping can ask.

    Any byte of a peer counts as life. A dead peer is noticed within ``ping_interval`` and ``ping_timeout``
    seconds. One that only reads, and slowly, gets the ping behind all that waits for it: it lives for as
    long as it takes some of that in every ``ping_timeout`` seconds. While reading from a peer is paused its silence
    says nothing, and Twisted notices neither FIN nor RST; the pings go on, because writing to a connection
    that is gone fails.

    One timer serves all connections (one each costs 500 bytes and, for each read, a clock): it looks
    at all of them when the first is due, some in each turn of the reactor, and not before a grain of time has passed. A ping is
    therefore one or two grains early, so that the end is never late.

    Args:
        clocks: uptime, and the timer's clock.
        ping_interval: seconds without a byte before the ping.
        ping_timeout: seconds after the ping.
        idle: seconds without a byte of a peer that no ping can ask.
    """

    def __init__(self, clocks: Clocks, ping_interval: float, ping_timeout: float, idle: float = math.inf) -> None:
        self._uptime = clocks.uptime
        self._timeout = ping_timeout
        self._grain = min(1.0, ping_interval / 16, ping_timeout / 16)
        self._timers = timers = Timers(clocks.reactor, clocks.uptime)
        self._sweep_timer = SweepTimer(timers, "keepalive", clocks.uptime, self._sweep, self._grain)
        self._interval = ping_interval - self._grain
        self._idle = idle
        self._targets: dict[KeepaliveTarget, int | None] = {}  # to what it had taken when it was last asked
        self._unseen: deque[KeepaliveTarget] = deque()  # of the sweep that is under way
        self._due = math.inf  # of those that it has seen

    def __len__(self) -> int:
        return len(self._targets)

    def add(self, connection: KeepaliveTarget) -> None:
        """Look after a connection. From now on its ``heard`` is set by whoever reads, its ``asked`` here."""
        seconds = self._interval if connection.answers_pings else self._idle
        if seconds == math.inf:
            return
        self._targets[connection] = None
        self.reading_resumed(connection)
        self._sweep_timer.watch(connection.last_received + seconds)

    def reading_resumed(self, connection: KeepaliveTarget) -> None:
        """Count the peer as heard: reading goes on after a pause, and what the peer said meanwhile is still to be read."""
        connection.last_received = self._uptime()
        connection.pinged_at = None

    def discard(self, connection: KeepaliveTarget) -> None:
        """Look after a connection no more."""
        self._targets.pop(connection, None)
        if not self._targets:
            self._timers.clear("rest")
            self._sweep_timer.clear()
            self._unseen.clear()

    def _sweep(self, now: float) -> None:
        if self._unseen:
            self._due = now  # another sweep comes behind this one
            return
        self._unseen.extend(self._targets)
        self._due = math.inf
        self._sweep_some()

    def _sweep_some(self) -> None:
        now = self._uptime()
        for _ in range(_AT_ONCE):
            if not self._unseen:  # the end of one may be the end of others
                break
            each = self._unseen.popleft()
            if each in self._targets:
                self._due = min(self._due, self._check_safely(each, now))
        if self._unseen:
            self._timers.set("rest", 0, self._sweep_some)
        elif self._targets:
            self._sweep_timer.continue_at(self._due if self._due < math.inf else now + self._interval)

    def _check_safely(self, connection: KeepaliveTarget, now: float) -> float:
        """Return when to look at it again, whatever one connection's end has user code raise: the others have no other timer."""
        try:
            return self._check(connection, now)
        except Exception:
            if connection._may_log():
                _log.failure("a look at {peer} ({connection}) failed", **connection.log_fields())
            return math.inf

    def _check(self, connection: KeepaliveTarget, now: float) -> float:
        paused = connection.paused
        if not connection.answers_pings:
            return self._check_idle(connection, now)
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

    def _check_idle(self, connection: KeepaliveTarget, now: float) -> float:
        if connection.paused or connection.owes_answers:
            connection.last_received = now
        due = connection.last_received + self._idle
        if now < due - ROUNDING:
            return due
        connection.close_idle_peer()
        return math.inf

    def _makes_progress(self, connection: KeepaliveTarget) -> bool:
        """Return True if a silent peer has taken some of what waits for it since the last time."""
        before, taken = self._targets[connection], connection.bytes_taken
        self._targets[connection] = taken
        return before is not None if taken is None else before is None or taken > before
