"""Bridge between Deferreds and asyncio: a coroutine runs as a task and may await both."""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future, Task, current_task, get_running_loop
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["run_task", "wait"]

T = TypeVar("T")

_running: set[_Steps] = set()
"""What keeps tasks from being collected: a loop refers to them weakly."""


async def wait(deferred: Deferred[T]) -> T:
    """Wait in a task for a Deferred; return its result or raise its failure.

    Cancelling the task cancels the Deferred.
    """
    try:
        return await _as_future(deferred, get_running_loop())
    except CancelledError:
        deferred.cancel()
        raise


def run_task(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """Run a coroutine as a task of the running loop. It may await Deferreds, too.

    It runs to its first wait at once, as with ``Deferred.fromCoroutine``, and in a copy of the present context.

    Returns:
        a Deferred of its result. Cancelling it cancels the task, which gets ``asyncio.CancelledError`` where it waits; the
        Deferred fires when the task has ended, with Twisted's CancelledError where it did so by that.
    """
    loop = get_running_loop()
    steps = _Steps(coroutine, loop)
    task = steps.outcome.task = loop.create_task(steps)
    outer = current_task(loop)
    if outer is not None:
        _leave_task(loop, outer)
    _enter_task(loop, task)  # for asyncio.timeout, TaskGroup and their like
    try:
        steps.begin()
    finally:
        _leave_task(loop, task)
        if outer is not None:
            _enter_task(loop, outer)
    if not steps.outcome.called:
        _running.add(steps)
    return steps.outcome


class _Outcome(Deferred[Any]):
    """Deferred of what a task comes to. Cancelling it does not fire it: the end of the task does.

    Attributes:
        task: the task.
    """

    task: Task[Any]

    def cancel(self) -> None:
        if self.called:
            super().cancel()
        else:
            self.task.cancel()


class _Steps(Coroutine[Any, Any, None]):
    """Coroutine of a task that runs the user's, and gives the task a future in place of each Deferred that is awaited.

    Args:
        coroutine: the user's.
        loop: the task's.

    Attributes:
        outcome: the Deferred of what the user's coroutine returns or raises.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: AbstractEventLoop) -> None:
        self.outcome = _Outcome()
        self._coroutine = coroutine
        self._loop = loop
        self._context = copy_context()
        self._begun = False
        self._held: list[Any] = []  # what the first step awaits, until the task takes it
        self._deferred: Deferred[Any] | None = None  # the one that is awaited, and the future in its place
        self._future: Future[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # the task's repr and stack show the user's code

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("it is for a task to run, not to be awaited")

    def begin(self) -> None:
        """Run to the first wait, unless the loop's task factory is eager and has done so."""
        if self._begun:
            return
        try:
            awaited = self._advance(self._coroutine.send, None)
        except (StopIteration, CancelledError):
            return
        self._held.append(awaited)

    def send(self, value: None) -> Any:
        """Go on to the next wait; return what is awaited."""
        if self._held:
            return self._held.pop()
        future, self._future, self._deferred = self._future, None, None
        return self._advance(self._coroutine.send, None if future is None else future.result())

    def throw(self, error: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """Go on with an error: what was awaited failed, or the task is cancelled."""
        if self._held:
            awaited = self._held.pop()
            if awaited is not None and awaited.cancel():  # as a task does with what it waits for
                return awaited
        deferred, self._future, self._deferred = self._deferred, None, None
        if deferred is not None:
            deferred.cancel()
        return self._advance(self._coroutine.throw, error if value is None else value)

    def close(self) -> None:
        """Close the user's coroutine."""
        self._coroutine.close()

    def _advance(self, step: Callable[[Any], Any], value: Any) -> Any:
        self._begun = True
        if self.outcome.called:
            raise StopIteration
        while True:
            try:
                awaited = self._context.run(step, value)
            except StopIteration as end:
                self._end(self.outcome.callback, end.value)
                raise
            except CancelledError:
                self._end(self.outcome.errback, defer.CancelledError())
                raise
            except BaseException:
                self._end(self.outcome.errback, Failure())
                raise StopIteration from None
            if not isinstance(awaited, Deferred):
                return awaited
            future = _as_future(awaited, self._loop)
            if not future.done():
                self._deferred, self._future = awaited, future
                future._asyncio_future_blocking = True  # as its __await__ does
                return future
            error = future.exception()
            step, value = (self._coroutine.send, future.result()) if error is None else (self._coroutine.throw, error)

    def _end(self, fire: Callable[[Any], None], outcome: object) -> None:
        _running.discard(self)
        fire(outcome)


def _as_future(deferred: Deferred[T], loop: AbstractEventLoop) -> Future[T]:
    """Return a future of a Deferred, which keeps a result and forgets a failure (its ``asFuture`` makes three closures)."""
    future: Future[T] = loop.create_future()
    deferred.addCallbacks(_succeed, _fail, callbackArgs=(future,), errbackArgs=(future,))
    return future


def _succeed(result: T, future: Future[T]) -> T:
    if not future.done():  # else it was cancelled
        future.set_result(result)
    return result  # which the Deferred's own __await__ looks for when it goes on


def _fail(failure: Failure, future: Future[Any]) -> None:
    if not future.done():
        future.set_exception(failure.value)  # type: ignore[arg-type]  # it has one
