"""A test's clock that stands in for a reactor with threads; see :mod:`veltix_tx.testing`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread, current_thread, get_ident
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.net.threads import IReactorThread

__all__ = ["ThreadedClock"]


@implementer(IReactorThreads, IReactorThread)
class ThreadedClock(Clock):
    """A clock whose threads are real, and on which what they call is called by the test, in :meth:`work`.

    It is its own thread pool, each function in a thread of its own.

    Attributes:
        patience: real seconds that a thread may take from one call to the next, or to its end.
        wake: called, in any thread, when there is something to do at once; does nothing by default.
        io_thread: the thread in which :meth:`work` makes the calls.
    """

    max = 0

    def __init__(self) -> None:
        super().__init__()
        self.patience = 5.0
        self.wake: Callable[[], object] = lambda: None
        self.io_thread = get_ident()
        self._calls: SimpleQueue[tuple[Thread, Callable[[], object]]] = SimpleQueue()
        self._busy: dict[Thread, str] = {}

    def work(self) -> bool:
        """Call what threads want called until each has ended or waits for a Deferred; return whether there was any.

        Raises:
            AssertionError: a thread does neither.
        """
        worked = False
        while self._busy or not self._calls.empty():
            try:
                thread, call = self._calls.get(timeout=self.patience)
            except Empty:
                names = " and ".join(sorted(self._busy.values()))
                raise AssertionError(f"{names} blocks for more than {self.patience} s (clock.patience) in a thread") from None
            result, worked = call(), True
            if isinstance(result, Deferred) and thread in self._busy:
                result.addBoth(partial(self._goes_on, thread, self._busy.pop(thread)))
        return worked

    def _goes_on(self, thread: Thread, name: str, result: Any) -> Any:
        self._busy[thread] = name
        return result

    # From IReactorTime.

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: N802
        """Call a function later."""
        call = super().callLater(delay, callable, *args, **kwargs)
        if not delay:
            self.wake()
        return call

    # From IReactorThreads and the thread pool.

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Queue a function for :meth:`work` to call; a thread is taken to wait for the Deferred that it returns."""
        self._calls.put((current_thread(), partial(callable, *args, **kwargs)))
        self.wake()

    def callInThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call a function in a thread."""
        self.callInThreadWithCallback(lambda success, result: None, callable, *args, **kwargs)

    def callInThreadWithCallback(self, on_result: Callable[..., Any], function: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Call a function in a thread, then ``on_result`` there with True and its result, or False and its Failure."""

        def run() -> None:
            try:
                outcome = (True, function(*args, **kw))
            except BaseException:
                outcome = (False, Failure())
            on_result(*outcome)
            self.callFromThread(self._busy.pop, current_thread())

        thread = Thread(target=run, daemon=True)
        self._busy[thread] = getattr(function, "__qualname__", repr(function))
        thread.start()

    def getThreadPool(self) -> Any:
        """Return itself."""
        return self

    def adjustPoolsize(self, minthreads: int | None = None, maxthreads: int | None = None) -> None:
        """Nothing to do: there is no limit."""

    suggestThreadPoolSize = adjustPoolsize
