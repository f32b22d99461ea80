"""Results of user functions as Deferreds."""

from __future__ import annotations

from asyncio import Future, _get_running_loop
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import Interface

from veltix_tx.errors import CannotAwait
from veltix_tx.net.tasks import run_task

__all__ = ["LATER", "SETTLED", "ITaskReactor", "as_deferred", "call"]

LATER = (Deferred, CoroutineType, Future)
"""Types of results that are not there yet."""

SETTLED = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})
"""Types of results that surely are: to look here first takes a quarter of the time."""


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


class ITaskReactor(Interface):
    """Marks a reactor, or a clock, that works in a running asyncio loop: coroutines are run as the loop's tasks."""


def as_deferred(result: object, reactor: object) -> Deferred[object]:
    """Return what a handler returned as a Deferred, which is the caller's own: a Deferred of the handler's keeps its result.

    Args:
        result: what the handler returned.
        reactor: the reactor. A coroutine runs as a task of asyncio's where that is asyncio's, and may await both kinds of
            things; elsewhere it awaits Deferreds alone, and the result fails with CannotAwait where it tries another.
    """
    if isinstance(result, Deferred):
        return _copy(result)
    if isinstance(result, CoroutineType):
        return run_task(result) if _has_tasks(reactor) else Deferred.fromCoroutine(result).addErrback(_explain)
    return run_task(_result_of(result)) if isinstance(result, Future) and _has_tasks(reactor) else succeed(result)


def call(reactor: object, function: Callable[..., object], *arguments: object) -> Deferred[object]:
    """Call a function of the user's; return a Deferred of what it returns, as :func:`as_deferred` does, or raises."""
    try:
        result = function(*arguments)
    except BaseException:
        return fail()
    return as_deferred(result, reactor)


async def _result_of(future: Future[Any]) -> object:
    return await future


def _has_tasks(reactor: object) -> bool:
    if _get_running_loop() is None:
        return False
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor  # noqa: PLC0415 (not for every reactor)

    return isinstance(reactor, AsyncioSelectorReactor) or ITaskReactor.providedBy(reactor)


_ASYNCIO_SAYS = ("no running event loop", "await wasn't used with future")


def _explain(failure: Failure) -> Failure:
    if failure.check(RuntimeError) and str(failure.value) in _ASYNCIO_SAYS:
        raise CannotAwait().with_traceback(failure.getTracebackObject()) from failure.value
    return failure
