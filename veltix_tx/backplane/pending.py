"""Requests of a node to others that wait for their replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from veltix_tx.errors import NodeGone, RequestTimeout

__all__ = ["PendingRequests"]


class PendingRequests:
    """Table of requests, each with a number, which its reply has as well.

    Args:
        reactor: ends those that wait for too long.
        counters: where failures are counted.
    """

    def __init__(self, reactor: IReactorTime, counters: Counter[str]) -> None:
        self._reactor, self._counters = reactor, counters
        self._waiting: dict[int, tuple[Deferred[bytes], str, IDelayedCall]] = {}
        self._accepts: dict[int, Callable[[bytes], bool]] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, node: str, timeout: float, accepts: Callable[[bytes], bool] | None = None) -> tuple[int, Deferred[bytes]]:
        """Return the number of a new request to a node, and the Deferred of the first reply that is accepted."""
        number = next(self._numbers)
        reply: Deferred[bytes] = Deferred(lambda _: self._forget(number))
        timer = self._reactor.callLater(timeout, self.fail, number, RequestTimeout(timeout))
        self._waiting[number] = (reply, node, timer)
        if accepts is not None:
            self._accepts[number] = accepts
        return number, reply

    def settle(self, number: int, payload: bytes) -> None:
        """Take the reply to a request; one that nobody waits for, or accepts, changes nothing."""
        if number in self._accepts and not self._accepts[number](payload):
            return
        waiting = self._pop(number)
        if waiting is not None:
            waiting.callback(payload)

    def waits_for(self, node: str) -> bool:
        """Return True if a request to a node waits."""
        return any(asked == node for _, asked, _ in self._waiting.values())

    def fail(self, number: int, error: BaseException) -> None:
        """Fail a request, unless it is settled."""
        waiting = self._pop(number)
        if waiting is not None:
            self._counters["requests_failed"] += 1
            waiting.errback(error)

    def fail_all(self, error: BaseException) -> None:
        """Fail every request."""
        for number in list(self._waiting):
            self.fail(number, error)

    def node_gone(self, node: str) -> None:
        """Fail the requests to a node."""
        for number, (_, asked, _) in list(self._waiting.items()):
            if asked == node:
                self.fail(number, NodeGone(node))

    def _pop(self, number: int) -> Deferred[bytes] | None:
        waiting, _, timer = self._waiting.pop(number, (None, "", None))
        self._accepts.pop(number, None)
        if timer is not None and timer.active():
            timer.cancel()
        return waiting

    def _forget(self, number: int) -> None:
        self._pop(number)
