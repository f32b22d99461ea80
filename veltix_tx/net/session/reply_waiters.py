"""Deferreds that wait for replies: each settled once, by its reply, its timeout, its canceller or the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from veltix_tx.errors import RequestTimeout
from veltix_tx.net.clock import ROUNDING, SweepTimer, Timers
from veltix_tx.wire.pending import PendingTable

__all__ = ["Reply", "ReplyWaiters"]


class Reply(Deferred[Any]):
    """A Deferred that knows what it waits for, in place of a closure for each that cancels it.

    Attributes:
        request_id: the id of the request.
        seconds: the time it may take.
    """

    request_id: int
    seconds: float


class ReplyWaiters:
    """The Deferreds of one kind of question on one connection.

    Args:
        uptime: a clock that never jumps, in seconds.
        deadlines: where the sweep timer lives.
        name: the timer's.
        counters: where those that time out are counted, as ``requests_timed_out``.
        held_up: returns how many of the peer's messages wait for a handler, for the error to say; asked when one times out.
        on_given_up: called with the id of each request that is given up, timed out or cancelled, before its Deferred fails.

    Attributes:
        entries: what waits, by request id: always the same dict, to look into.
        given_up: ids whose replies are late; see :class:`~veltix_tx.wire.veltix.request_ids.GivenUpIds`.
    """

    __slots__ = ("_counters", "_held_up", "_on_given_up", "_sweep_timer", "_table", "_uptime", "entries", "given_up")

    def __init__(
        self,
        uptime: Callable[[], float],
        deadlines: Timers,
        name: str,
        counters: Counter[str],
        held_up: Callable[[], int] = lambda: 0,
        on_given_up: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_given_up = on_given_up
        self._counters = counters
        self._held_up = held_up
        self._uptime = uptime
        self._sweep_timer = SweepTimer(deadlines, name, uptime, self._sweep)
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
        self.entries[request_id] = (reply, deadline)
        if deadline < self._sweep_timer.due:
            self._sweep_timer.watch(deadline)
        return reply

    def settle(self, request_id: int, result: object) -> bool:
        """Give a reply (or a Failure) to who waits for it; return whether anyone did."""
        reply = self._table.settle(request_id)
        if reply is None:
            return False
        reply.callback(result)
        return True

    def came_late(self, request_id: int) -> bool:
        """Record a late reply, whose id may be used again; return False where none was given up."""
        return self._table.came_late(request_id)

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Fail everything that waits, each with an error of its own."""
        self._sweep_timer.clear()
        for reply in self._table.drain():
            _fail(reply, error())

    def abandon(self, reply: Deferred[Any]) -> None:
        """Give a request up, whose Deferred is cancelled."""
        assert isinstance(reply, Reply)
        self._table.abandon(reply.request_id)
        self._on_given_up(reply.request_id)

    def _sweep(self, now: float) -> None:
        due = self._table.expired(now + ROUNDING)
        earliest = self._table.next_deadline()
        if earliest is not None:
            self._sweep_timer.continue_at(earliest)
        held_up = self._held_up() if due else 0
        for reply in due:
            self._counters["requests_timed_out"] += 1
            self._on_given_up(reply.request_id)
            _fail(reply, RequestTimeout(reply.seconds, held_up))


def _fail(deferred: Deferred[Any], error: Exception) -> None:
    """Fail a Deferred, unless the failure of one before it made the user cancel this one."""
    if not deferred.called:
        deferred.errback(error)
