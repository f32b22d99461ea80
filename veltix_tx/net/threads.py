"""Threads: handlers that may block run in the reactor's pool, and call back into its thread from there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from functools import wraps
from inspect import iscoroutine
from threading import Lock, get_ident, main_thread
from time import monotonic
from types import CodeType, FrameType, FunctionType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python import threadable
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import CannotBlock, SessionClosed

__all__ = [
    "BlockingView",
    "IReactorThread",
    "OwnerThread",
    "Workers",
    "at_home",
    "from_any_thread",
    "in_thread_of",
    "is_running",
    "wait_for",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound="_Owned")
S = TypeVar("S", bound="_Settled")

_LOOK = 0.5
"""Seconds between two looks of a waiting thread at whether the reactor still runs."""

_BEGIN = 30.0
"""Seconds that a call from another thread waits for the reactor to begin to run."""

_BEGIN_ELSEWHERE = 5.0
"""The same for a blocking call in a thread that may be the one to run it."""


class IReactorThread(Interface):
    """A reactor that knows the thread it runs in, or a test's clock that knows the one it is moved in."""

    io_thread: int = Attribute("""The thread's identifier.""")


def is_running(reactor: Any) -> bool:
    """Return True if a reactor runs; a test's clock always does, since its test moves it."""
    return bool(reactor.running) if IReactorCore.providedBy(reactor) else True


class OwnerThread:
    """The one thread in which an object is used: its reactor's.

    Until the reactor runs, that is the main thread if it uses the object, else the thread given here.

    Args:
        reactor: the reactor.
        thread: the thread that made the object; the present one by default.

    Attributes:
        thread: the thread's identifier.
        begun: True once the reactor is known to have run.
    """

    __slots__ = ("begun", "reactor", "thread")

    def __init__(self, reactor: Any, thread: int | None = None) -> None:
        self.reactor = reactor
        self.begun = False
        self.thread = thread if thread is not None and IReactorFromThreads.providedBy(reactor) else get_ident()
        if is_running(reactor):
            self.settle()
        else:
            reactor.callWhenRunning(self.settle)

    def settle(self) -> None:
        """Find the thread in which the reactor runs."""
        self.thread = _thread_of(self.reactor, self.thread)
        self.begun = True


def _thread_of(reactor: Any, otherwise: int) -> int:
    """Return the thread that runs a reactor, which Twisted does not tell: the one whose stack shows it.

    Args:
        reactor: a running reactor, or a test's clock; it may provide IReactorThread.
        otherwise: the thread of a reactor that no stack shows, because a loop of the user's runs it.
    """
    own = get_ident()
    if IReactorThread.providedBy(reactor):
        return int(reactor.io_thread)
    loops = _loops_of(type(reactor))
    if any(_runs(frame, reactor, loops) for frame in _stack(sys._getframe())):
        return own
    if loops:
        for thread, top in sys._current_frames().items():
            if any(_runs(frame, reactor, loops) for frame in _stack(top)):
                return thread
    if reactor is sys.modules.get("twisted.internet.reactor"):  # in a greenlet, as with pytest-twisted
        return own if threadable.isInIOThread() else main_thread().ident or own
    return otherwise


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _loops_of(kind: type) -> set[CodeType]:
    """Return the code of a class's methods in which a reactor stays while it runs; none of a test's clock."""
    found = [base.__dict__.get(name) for base in kind.__mro__ for name in ("run", "mainLoop")]
    return {each.__code__ for each in found if isinstance(each, FunctionType)}


def _runs(frame: FrameType, reactor: object, loops: set[CodeType]) -> bool:
    # To look at the locals of any frame called run, while its thread goes on, has crashed Python 3.11: a loop's frame stays.
    return frame.f_code in loops and frame.f_locals.get("self") is reactor


class _Owned(Protocol):
    @property
    def _owner_thread(self) -> OwnerThread | None: ...


class _Settled(Protocol):
    def _settle(self) -> OwnerThread: ...


def from_any_thread(method: Callable[Concatenate[H, P], R]) -> Callable[Concatenate[H, P], R]:
    """Decorate a method that may be called from any thread.

    Elsewhere than at home it runs there, and its caller waits: for what it returns or raises, or
    for what its Deferred fires or fails with. What has no home yet is called where it is.
    """

    @wraps(method)
    def call(self: H, /, *args: P.args, **kwargs: P.kwargs) -> R:
        home = self._owner_thread
        if home is None or home.thread == get_ident():
            return method(self, *args, **kwargs)
        return in_thread_of(home, method, self, *args, **kwargs)

    return call


def at_home(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Do the same for a method with which an object begins to use its reactor: it has a home from then on."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        home = self._settle()
        if home.thread == get_ident():
            return method(self, *args, **kwargs)
        return in_thread_of(home, method, self, *args, **kwargs)

    return call


def in_thread_of(home: OwnerThread, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do from another thread what :func:`from_any_thread` does. The methods called most test for it themselves."""
    if not home.begun:
        if is_running(home.reactor):  # it has begun in the very moment in which the home was made
            home.settle()
        elif get_ident() == main_thread().ident:  # which is about to run it, or to have it run elsewhere
            home.thread = get_ident()
        if home.thread == get_ident():
            return function(*args, **kwargs)
    return _wait(home.reactor, home, function, args, kwargs)  # type: ignore[no-any-return]


class BlockingView:
    """The Deferred-returning methods of an object as methods that block and return plain values, typed as they are.

    Args:
        home: returns the thread in which nothing may block.
    """

    __slots__ = ("_home",)

    def __init__(self, home: Callable[[], OwnerThread]) -> None:
        self._home = home

    def _wait(self, function: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the Deferred of a function fires with.

        Raises:
            CannotBlock: this is the reactor's thread, or the reactor does not run.
        """
        home = self._home()
        here = home.thread == get_ident()
        if home.begun and here:
            raise CannotBlock("a blocking call in the reactor's thread would wait for itself: await the plain method there")
        patience = _BEGIN_ELSEWHERE if here else _BEGIN
        return _wait(home.reactor, home, function, args, kwargs, patience)  # type: ignore[no-any-return]


def wait_for(reactor: Any, function: Callable[..., object], *args: object, **kwargs: object) -> Any:
    """Call a function in the reactor's thread from another one, and wait for its outcome.

    Args:
        reactor: a reactor that has begun to run.
        function: what to call.
        args: what to call it with.
        kwargs: the same.

    Returns:
        what it returns, or what its Deferred fires with.

    Raises:
        SessionClosed: the reactor has stopped. What had not been called by then never will be.
    """
    return _wait(reactor, None, function, args, kwargs)


def _wait(
    reactor: Any,
    home: OwnerThread | None,
    function: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    patience: float | None = None,
) -> Any:
    """Do what :func:`wait_for` does. With a home, wait for its reactor to begin, too, for ``patience`` seconds."""
    if not IReactorFromThreads.providedBy(reactor):
        raise CannotBlock(f"{reactor!r} has no threads: call this in the thread that moves it")
    claimed = Lock()  # taken by the call, or by its caller that gives it up
    done = Lock()  # released once there is an outcome; an Event costs more
    done.acquire()
    outcome: list[Any] = []

    def settle(result: object) -> None:
        outcome.append(result)
        done.release()

    def run() -> Deferred[Any] | None:
        if not claimed.acquire(blocking=False):
            return None
        if home is not None and not home.begun:
            home.settle()
        return context.run(maybeDeferred, function, *args, **kwargs).addBoth(settle)

    context = copy_context()  # the caller's
    reactor.callFromThread(run)
    given_up = monotonic() + (_BEGIN if patience is None else patience)
    while not done.acquire(timeout=_LOOK):
        if is_running(reactor):
            continue
        stopped = home is None or home.begun
        if not stopped and monotonic() < given_up:
            continue
        unclaimed = claimed.acquire(blocking=False)  # from now on nothing comes of it
        if stopped:
            raise SessionClosed(DisconnectReason.MANUAL, ReactorNotRunning("the reactor has stopped"))
        if unclaimed:
            raise CannotBlock("the reactor does not run: run it, in another thread than this one")
    result = outcome[0]
    if isinstance(result, Failure):
        raise result.value  # type: ignore[misc]
    return result


class Workers:
    """Runs functions that may block in the reactor's thread pool, so many at once at most.

    The pool is widened by that number, so that its other users (name lookups among them) keep
    their threads. A reactor without threads, such as a test's clock, runs the functions itself.

    Args:
        reactor: whose pool.
        most: how many at once.
    """

    def __init__(self, reactor: Any, most: int) -> None:
        self.reactor = reactor
        self.most = most
        self._free = DeferredSemaphore(most)
        self._pool = None
        if IReactorThreads.providedBy(reactor):
            self._pool = reactor.getThreadPool()
            self._pool.adjustPoolsize(maxthreads=self._pool.max + most)

    def run(self, function: Callable[..., object], *args: object) -> Deferred[Any]:
        """Return a Deferred of what the function returns or raises; in a thread it cannot return a Deferred.

        It sees a copy of the caller's ContextVars, and what it sets there is gone with it.

        Cancelling it keeps a function from running that has no thread yet. One that runs cannot be
        stopped: the Deferred fires when it ends, cancelled or not.
        """
        pool, context = self._pool, copy_context()
        if pool is None:
            return context.run(maybeDeferred, function, *args)
        outcome = _Outcome()

        def begin() -> Deferred[Any] | None:
            if outcome.called:
                return None
            outcome.runs = True
            return deferToThreadPool(self.reactor, pool, _finished(function, context), *args)

        def end(result: object) -> None:
            if not outcome.called:
                outcome.callback(result)

        self._free.run(begin).addBoth(end)
        return outcome


class _Outcome(Deferred[Any]):
    """A Deferred that cannot be cancelled while a thread works on it.

    Attributes:
        runs: True if a thread does.
    """

    runs = False

    def cancel(self) -> None:
        if not self.runs:
            super().cancel()


def _finished(function: Callable[..., object], context: Context) -> Callable[..., object]:
    """Run a function in a context, and refuse what would fire or go on in no reactor's thread."""

    @wraps(function)
    def call(*args: object) -> object:
        result = context.run(function, *args)
        if iscoroutine(result):
            result.close()
        elif not isinstance(result, Deferred):
            return result
        raise TypeError(f"what runs in a thread returns what it has, not a {type(result).__name__}")

    return call
