"""What the connections of one server, or of one client, share: counters, budgets of bytes, the heartbeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from os import getpid
from typing import Any

from twisted.logger import Logger

from veltix_tx.net.keepalive import Clocks, Deadlines, Heartbeat
from veltix_tx.net.remarks import Remarks
from veltix_tx.settings import Limits, Timeouts

__all__ = ["COUNTERS", "Budget", "Shared", "Unhandled"]

_log = Logger()

COUNTERS = {
    "accepted": "connections taken, by a server",
    "ready": "handshakes completed",
    "sessions_rejected": "sessions closed because `on_connect` failed, was not done in time, or refused them",
    "refused": "connections refused because there were too many, of one source or in all",
    "evicted": "half-open connections that had to give way to newer ones",
    "frames_refused": "frames refused and dropped: bad checksum, unknown type, garbage",
    "unhandled": "messages dropped because their type has no route and there is no `on_recv`; `unhandled_` and a code, of one type",
    "frames_timed_out": "messages that had begun and did not come to their end in time, which ends their connections",
    "late_replies": "replies dropped because their request had been given up, or was never made",
    "reads_paused": "times that reading from a peer was paused: it does not read, or its messages are not handled fast enough",
    "writes_paused": "times that more than `write_high` waited for a peer, and whoever sends was asked to wait",
    "queues_full": "messages not sent because too much waited for their peer",
    "broadcasts_dropped": "broadcasts left out for one slow peer",
    "requests_refused": "requests not sent because too many waited for their replies",
    "requests_timed_out": "requests and pings whose replies did not come in time",
    "handlers_failed": "handlers that raised, returned what is no answer, or were not done in time",
    "handlers_slow": "handlers that blocked everything for longer than they may",
    "handlers_late": "handlers that were done after they had been given up",
    "closes_aborted": "closes that were aborted because their peer did not read what waited for it, or did not close, too",
    "cut_off": "connections that a stopping server did not get done with in time",
    "lines_left_out": "lines left out of the log because their source caused too many",
}
"""What is counted, beside ``closed_`` and a disconnect reason for each connection that has ended."""


_RELIEF = 1.0
"""Seconds between two looks at half-received messages while less than half of ``limits.inbound`` is free."""

_MOST_TYPES = 64
"""Message types without a handler that are counted and named one by one; of more, which peers may choose, only the sum is kept."""


class Unhandled:
    """Message types that nothing handles, on all connections of one server or client: counted by type, named in the log once.

    Args:
        counters: where messages are counted, as ``unhandled`` and, for the first types, ``unhandled_`` and the code.
    """

    __slots__ = ("_counters", "_named")

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._named: set[object] = set()

    def count(self, code: int) -> None:
        """Count a message of a type that has no handler."""
        counters, of_type = self._counters, f"unhandled_{code}"
        counters["unhandled"] += 1
        if of_type in counters or sum(name.startswith("unhandled_") for name in counters) < _MOST_TYPES:
            counters[of_type] += 1

    def first(self, key: object, may_log: Callable[[], bool]) -> bool:
        """Return True if the log is to name a type now, that is once: a line must follow.

        Args:
            key: the type code, or whatever else stands for the type.
            may_log: asked only for a type that has not been named; while it says no, the type is not.
        """
        if key in self._named or len(self._named) >= _MOST_TYPES or not may_log():
            return False
        self._named.add(key)
        return True


class Budget:
    """How many bytes all connections together may keep; beyond it the one that keeps the most is ended.

    Args:
        most: bytes.
        over: called with a connection that is to end.
        tight: called with True when less than half is free, and with False when at least half is again.

    Attributes:
        kept: bytes kept now.
        is_tight: True if less than half is free.
    """

    __slots__ = ("_keepers", "_most", "_over", "_tight", "is_tight", "kept")

    def __init__(self, most: int, over: Callable[[Any], None], tight: Callable[[bool], None] = lambda _: None) -> None:
        self.kept = 0
        self.is_tight = False
        self._most = most
        self._over = over
        self._tight = tight
        self._keepers: dict[Any, int] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._keepers))

    @property
    def free(self) -> float:
        """The part of it that is free, from 0 to 1."""
        return max(0.0, 1 - self.kept / self._most)

    def keep(self, connection: Any, size: int) -> None:
        """Take note that a connection keeps so many bytes now; 0 for one that has ended."""
        keepers = self._keepers
        self.kept += size - keepers.get(connection, 0)
        if size:
            keepers[connection] = size
        else:
            keepers.pop(connection, None)
        while self.kept > self._most:
            heaviest = max(keepers, key=keepers.__getitem__)
            self.kept -= keepers.pop(heaviest)
            self._over(heaviest)
        if (self.kept > self._most / 2) is not self.is_tight:
            self.is_tight = not self.is_tight
            self._tight(self.is_tight)


class Shared:
    """What the connections of one server, or of one client, share.

    Args:
        clocks: where time comes from.
        limits: the budgets.
        timeouts: the heartbeat's.
        counters: to go on with, where others were before; new ones by default.

    Attributes:
        counters: what has happened, by the names of :data:`COUNTERS`.
        unhandled: the message types that nothing handles.
        heartbeat: looks after the ready ones.
        inbound: bytes of messages that have come in part, or wait for their turn. While less than half is free, messages that
            have come in part have less time.
        outbound: bytes that wait for peers to read; those of broadcasts, which all queues share, are not counted.
    """

    def __init__(self, clocks: Clocks, limits: Limits, timeouts: Timeouts, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.remarks = Remarks(clocks.uptime, limits.log_lines, limits.log_burst, self.counters)
        self.unhandled = Unhandled(self.counters)
        self._reactor = clocks.reactor
        self._unwritten: list[Any] = []
        self._connection_ids = count(1)
        self.heartbeat = Heartbeat(clocks, timeouts.silence, timeouts.pong)
        self._uptime, self._frame = clocks.uptime, timeouts.frame
        self._relief = Deadlines(clocks.reactor, clocks.uptime)
        self.inbound = Budget(limits.inbound, lambda connection: connection.overloaded("inbound", limits.inbound), self._tighten)
        self.outbound = Budget(limits.outbound, lambda connection: connection.overloaded("outbound", limits.outbound))

    def next_connection_id(self) -> str:
        """Return an id for a new connection, ``<node>-<counter>``; the node is this process."""
        return f"{getpid()}-{next(self._connection_ids)}"

    def _tighten(self, tight: bool) -> None:
        if tight:
            self._relief.set("frames", _RELIEF, self._relieve)
        else:
            self._relief.clear("frames")

    def _relieve(self) -> None:
        """Give half-received messages less time, the less is free, and let the oldest of them give way until half is."""
        self._relief.set("frames", _RELIEF, self._relieve)
        seconds = self._frame * 2 * self.inbound.free
        begun = [each for each in self.inbound if each.frame_begun is not None and not each.paused]
        for each in sorted(begun, key=lambda each: each.frame_begun):
            if not self.inbound.is_tight:
                return
            each.hurry(seconds)

    def write_soon(self, connection: Any) -> None:
        """Let a connection write what it has to send when this turn of the reactor is over.

        All that is sent in one turn leaves in one write: a message of a loop costs a quarter of a write of its own.
        """
        if not self._unwritten:
            self._reactor.callLater(0, self._write_all)
        self._unwritten.append(connection)

    def _write_all(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            try:
                connection.write_out()
            except Exception:  # noqa: PERF203 (a transport's; the others have no other turn)
                if connection.may_log():
                    _log.failure("writing to {connection!r} failed", connection=connection)
