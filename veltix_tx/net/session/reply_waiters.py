"""Deferreds that wait for replies: each settled once, by its reply, its deadline, its canceller or the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from veltix_tx.errors import RequestTimeout
from veltix_tx.net.clock import Timers
from veltix_tx.wire.pending import PendingTable

__all__ = ["Reply", "ReplyWaiters"]

_SWEEP_FLOOR = 0.01
"""Seconds between two sweeps at least, whatever the deadlines: a sweep looks at every request."""

_ROUNDING = 1e-6


class Reply(Deferred[Any]):
    """A Deferred that knows what it waits for: 0.2 µs less than a closure for each that cancels it.

    Attributes:
        request_id: the id of the request.
        seconds: how long it may take.
    """

    request_id: int
    seconds: float


class ReplyWaiters:
    """The Deferreds of one kind of question on one connection.

    One timer serves them all: it sweeps at the earliest deadline (a timer each costs 3 µs).

    Args:
        uptime: a clock that never jumps, in seconds.
        deadlines: where the sweep timer lives.
        name: the timer's.
        counters: where those that time out are counted, as ``requests_timed_out``.
        held_up: returns how many of the peer's messages wait for a handler, for the error to say; asked when one times out.

    Attributes:
        entries: what waits, by request id: always the same dict, to look into.
        given_up: ids whose replies are late; see :class:`~veltix_tx.wire.veltix.request_ids.GivenUpIds`.
    """

    __slots__ = ("_counters", "_held_up", "_name", "_sweep_at", "_table", "_timers", "_uptime", "entries", "given_up")

    def __init__(
        self,
        uptime: Callable[[], float],
        deadlines: Timers,
        name: str,
        counters: Counter[str],
        held_up: Callable[[], int] = lambda: 0,
    ) -> None:
        self._counters = counters
        self._held_up = held_up
        self._uptime = uptime
        self._timers = deadlines
        self._name = name
        self._sweep_at = math.inf
        self._table: PendingTable[Reply] = PendingTable()
        self.entries, self.given_up = self._table.entries, self._table.abandoned

    def add(self, request_id: int, seconds: float, reply: Reply | None = None) -> Deferred[Any]:
        """Return a Deferred for the reply to ``request_id``.

        It errbacks with RequestTimeout after ``seconds`` (``math.inf`` for never). Cancelling it
        gives the request up.

        Args:
            request_id: the id.
            seconds: how long it may take.
            reply: the Deferred, made with :meth:`abandon` as its canceller; a plain one by default.
        """
        if reply is None:
            reply = Reply(self.abandon)
        reply.request_id, reply.seconds = request_id, seconds
        deadline = self._uptime() + seconds
        self._table.add(request_id, reply, deadline)
        if deadline < self._sweep_at:
            self._arm(seconds)
        return reply

    def settle(self, request_id: int, result: object) -> bool:
        """Give a reply (or a Failure) to who waits for it; return whether anyone did."""
        reply = self._table.settle(request_id)
        if reply is None:
            return False
        reply.callback(result)
        return True

    def came_late(self, request_id: int) -> bool:
        """Take note of a late reply, whose id may be used again; return False where none was given up."""
        return self._table.came_late(request_id)

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Fail everything that waits, each with an error of its own."""
        self._timers.clear(self._name)
        for reply in self._table.drain():
            _fail(reply, error())

    def abandon(self, reply: Deferred[Any]) -> None:
        """Give a request up, whose Deferred is cancelled."""
        assert isinstance(reply, Reply)
        self._table.abandon(reply.request_id)

    def _arm(self, seconds: float) -> None:
        self._sweep_at = self._uptime() + seconds
        self._timers.set(self._name, seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_at = math.inf
        now = self._uptime()
        due = self._table.expired(now + _ROUNDING)
        earliest = self._table.next_deadline()
        if earliest is not None and earliest < math.inf:
            self._arm(max(earliest - now, _SWEEP_FLOOR))
        held_up = self._held_up() if due else 0
        for reply in due:
            self._counters["requests_timed_out"] += 1
            _fail(reply, RequestTimeout(reply.seconds, held_up))


def _fail(deferred: Deferred[Any], error: Exception) -> None:
    """Fail a Deferred, unless the failure of one before it made the user cancel this one."""
    if not deferred.called:
        deferred.errback(error)
