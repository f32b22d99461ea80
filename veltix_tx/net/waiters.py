"""Waiters: many callers wait for one thing to happen, each with a Deferred of its own."""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Waiters"]

T = TypeVar("T")


class Waiters(Generic[T]):
    """Deferreds that fire together. Cancelling one takes it out and leaves the others."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """Return a new Deferred that fires with the others."""
        deferred: Deferred[T] = Deferred(self._discard)
        self._waiting.append(deferred)
        return deferred

    def fire(self, result: T | Failure) -> None:
        """Fire every Deferred that waits; later ones wait for the next time."""
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if not deferred.called:  # one of those before it may have had it cancelled
                deferred.callback(result)

    def _discard(self, deferred: Deferred[T]) -> None:
        if deferred in self._waiting:
            self._waiting.remove(deferred)
