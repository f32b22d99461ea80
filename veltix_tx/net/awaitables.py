"""Results of user functions as Deferreds."""

from __future__ import annotations

from types import CoroutineType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

__all__ = ["LATER", "as_deferred"]

LATER = (Deferred, CoroutineType)
"""Types of results that are not there yet."""


class _Copy(Deferred[Any]):
    """A Deferred with the outcome of another, which others may wait for as well.

    Cancelling it cancels the other one when nobody else waits for that.
    """

    def __init__(self, of: Deferred[Any], copies: _Copies) -> None:
        super().__init__()
        self._of = of
        self._copies = copies

    def cancel(self) -> None:
        waiting = self._copies.waiting
        if waiting == [self]:
            self._of.cancel()
        elif self in waiting:
            waiting.remove(self)
            self.errback(CancelledError())


class _Copies:
    """The copies of one Deferred of the user's, kept on the Deferred itself: it may be returned again.

    Attributes:
        waiting: those that have no outcome yet.
        failed: how it failed, which the Deferred itself forgets as soon as somebody has dealt with it.
    """

    __slots__ = ("failed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[_Copy] = []
        self.failed: Failure | None = None

    def fire(self, outcome: object) -> object:
        """Fire all copies, and leave the result to whoever uses the Deferred after them; a failure has been dealt with."""
        self.failed = outcome if isinstance(outcome, Failure) else None
        waiting, self.waiting = self.waiting, []
        for copy in waiting:
            copy.callback(outcome)
        return None if self.failed is not None else outcome


_COPIES = "_veltix_tx_copies"


def _copy(of: Deferred[Any]) -> Deferred[object]:
    """Return a Deferred with the outcome of one that a handler returned, and may return again for another message."""
    copies: _Copies | None = of.__dict__.get(_COPIES)
    if copies is None:
        if of.called and not of.paused and not isinstance(of.result, (Failure, Deferred)):
            return succeed(of.result)
        copies = of.__dict__[_COPIES] = _Copies()
    if copies.failed is not None:
        return fail(copies.failed)
    copy = _Copy(of, copies)
    copies.waiting.append(copy)
    if len(copies.waiting) == 1:
        of.addBoth(copies.fire)
    return copy


def as_deferred(result: object) -> Deferred[object]:
    """Return what a handler returned as a Deferred, which is the caller's own: a Deferred of the handler's keeps its result."""
    if isinstance(result, Deferred):
        return _copy(result)
    return Deferred.fromCoroutine(result) if isinstance(result, CoroutineType) else succeed(result)
