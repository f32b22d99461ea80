"""Threads: what runs in a worker, and what a worker calls back into the reactor's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorThreads
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import RequestTimeout, SessionClosed
from veltix_tx.net import threads
from veltix_tx.net.threads import OwnerThread, Workers, from_any_thread, wait_for


class Thing:
    """Lives in one thread; its methods tell in which one they ran."""

    def __init__(self, reactor: Any = None) -> None:
        self._owner_thread = OwnerThread(reactor) if reactor is not None else None

    @from_any_thread
    def where(self, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Tell where this runs and with what."""
        return threading.get_ident(), args, kwargs

    @from_any_thread
    def outcome(self, result: Any) -> Any:
        """Return or raise this."""
        if isinstance(result, BaseException):
            raise result
        return result


@pytest.fixture
def thing() -> Thing:
    """Return a thing that lives in the reactor's thread."""
    from twisted.internet import reactor

    return Thing(reactor)


def later(result: Any) -> Deferred[Any]:
    """Return a Deferred that fires or fails some turns later."""
    from twisted.internet import reactor

    deferred: Deferred[Any] = Deferred()
    reactor.callLater(0.01, deferred.callback if not isinstance(result, BaseException) else deferred.errback, result)
    return deferred


# From any thread.


async def test_a_call_from_another_thread_runs_at_home(thing: Thing) -> None:
    """A method called in another thread runs in the reactor's, with its arguments, and its result comes back."""
    here, args, kwargs = await deferToThread(lambda: thing.where(1, two=2))
    assert (here, args, kwargs) == (threading.get_ident(), (1,), {"two": 2})
    assert thing.where.__doc__ == "Tell where this runs and with what."


def test_a_call_at_home_is_a_plain_call(thing: Thing) -> None:
    """In its own thread a method is called at once, and a Deferred it returns is returned."""
    waiting: Deferred[Any] = Deferred()
    assert thing.outcome(waiting) is waiting
    assert thing.where()[0] == threading.get_ident()


async def test_what_has_no_home_yet_is_called_where_it_is() -> None:
    """Before an object belongs to a reactor its methods run in the thread that calls them."""
    homeless = Thing()
    ident, (here, _, _) = await deferToThread(lambda: (threading.get_ident(), homeless.where()))
    assert here == ident != threading.get_ident()


def test_home_is_where_the_reactor_runs() -> None:
    """What was made before the reactor runs in another thread moves there: its methods do not wait for themselves in it."""
    reactor = SelectReactor()
    reactor._registerAsIOThread = False
    thing, ran = Thing(reactor), threading.Event()
    assert thing.where()[0] == threading.get_ident()
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    reactor.callWhenRunning(lambda: (thing.where(), ran.set()))
    thread.start()
    assert ran.wait(5)
    assert thing.where()[0] == thread.ident
    reactor.callFromThread(reactor.stop)
    thread.join(5)
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)


def test_other_threads_are_looked_into_for_loops_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at the locals of a thread that goes on can crash Python: those of a frame that is no reactor's loop are not."""

    class Frame:
        f_code = threading.Thread.run.__code__
        f_back = None

        @property
        def f_locals(self) -> dict[str, Any]:
            raise AssertionError

    monkeypatch.setattr(threads.sys, "_current_frames", lambda: {1: Frame()})
    monkeypatch.setattr(threads, "is_running", lambda reactor: True)
    reactor = SelectReactor()
    for each in (Clock(), reactor):
        assert OwnerThread(each).thread == threading.get_ident()
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)


async def test_errors_come_back_as_they_are(thing: Thing) -> None:
    """What a method raises in the reactor's thread is raised in the calling thread: the same exception."""
    error = RequestTimeout(3)

    def call() -> BaseException:
        with pytest.raises(RequestTimeout) as caught:
            thing.outcome(error)
        return caught.value

    assert await deferToThread(call) is error


async def test_a_deferred_is_waited_for(thing: Thing) -> None:
    """A caller in another thread gets what a Deferred fires or fails with, when it does."""
    from twisted.internet import reactor

    for result in ("some", None, [1]):
        assert await deferToThread(wait_for, reactor, later, result) == result
        assert await deferToThread(thing.outcome, succeed(result)) == result
    with pytest.raises(ZeroDivisionError, match="at last"):
        await deferToThread(wait_for, reactor, later, ZeroDivisionError("at last"))


async def test_a_coroutine_function_is_waited_for() -> None:
    """What is called in the reactor's thread may be a coroutine function."""
    from twisted.internet import reactor

    async def some(content: str) -> str:
        await later(None)
        return content

    assert await deferToThread(wait_for, reactor, some, content="x") == "x"


@implementer(IReactorCore, IReactorFromThreads)
class Reactor:
    """Only what wait_for needs of one."""

    def __init__(self, running: bool, call: Callable[[Callable[[], object]], object]) -> None:
        self.running = running
        self.callFromThread = call


def test_nobody_waits_for_a_reactor_that_has_stopped(monkeypatch: Any) -> None:
    """A reactor that runs no more calls nothing: its caller gets SessionClosed instead of waiting forever."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    with pytest.raises(SessionClosed) as caught:
        wait_for(Reactor(False, lambda call: None), len, "x")
    assert caught.value.reason is DisconnectReason.MANUAL


def test_what_was_given_up_is_not_carried_out(monkeypatch: Any) -> None:
    """Who got SessionClosed for a call that had not begun can rely on it: the reactor, run again, does not make the call."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    queued: list[Callable[[], object]] = []
    carried_out: list[str] = []
    with pytest.raises(SessionClosed, match="the reactor has stopped"):
        wait_for(Reactor(False, queued.append), carried_out.append, "x")
    for call in queued:
        call()
    assert len(queued) == 1
    assert carried_out == []


def test_a_slow_reactor_is_waited_for(monkeypatch: Any) -> None:
    """As long as the reactor runs, its caller waits."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    assert wait_for(Reactor(True, lambda call: threading.Timer(0.1, call).start()), len, "abc") == 3


def test_a_reactor_that_stops_lets_its_workers_go() -> None:
    """A worker that waits for a Deferred when the reactor stops gets SessionClosed, and so the process can end."""
    reactor = SelectReactor()
    outcome: list[Any] = []

    def work() -> None:
        try:
            wait_for(reactor, Deferred)
        except SessionClosed as error:
            outcome.append(error.reason)

    def begin() -> None:
        reactor.callInThread(work)
        reactor.callLater(0.05, reactor.stop)

    reactor.callWhenRunning(begin)
    main = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    main.start()
    main.join(5)
    stopped = not main.is_alive()
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)
    assert stopped
    assert outcome == [DisconnectReason.MANUAL]


# Workers.


@implementer(IReactorThreads)
class WithPool:
    """A reactor with a pool of its own."""

    def __init__(self, size: int) -> None:
        from twisted.internet import reactor

        self.pool = ThreadPool(0, size)
        self.callFromThread = reactor.callFromThread

    def getThreadPool(self) -> ThreadPool:  # noqa: D102
        return self.pool


@pytest.fixture
def with_pool() -> Iterator[WithPool]:
    """Return a reactor whose pool has one thread at most."""
    made = WithPool(1)
    made.pool.start()
    yield made
    made.pool.stop()


async def test_results_and_errors_of_workers_keep_their_types(with_pool: WithPool) -> None:
    """A Deferred of what the function returns or raises fires in the reactor's thread; the function runs in another."""
    workers = Workers(with_pool, 1)
    assert await workers.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(KeyError, match="missing"):
        await workers.run({}.__getitem__, "missing")
    fired_in = workers.run(threading.get_ident).addCallback(lambda ident: (ident, threading.get_ident()))
    worked, fired = await fired_in
    assert worked != fired == threading.get_ident()


async def test_no_more_than_so_many_work_at_once(with_pool: WithPool) -> None:
    """Of many functions exactly ``most`` run at the same time, and all of them in the end."""
    workers, lock, running, peaks = Workers(with_pool, 3), threading.Lock(), [0], [0]

    def work(number: int) -> int:
        with lock:
            running[0] += 1
            peaks[0] = max(peaks[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return number

    assert await gatherResults([workers.run(work, number) for number in range(12)]) == list(range(12))
    assert peaks == [3]


def test_the_pool_is_widened() -> None:
    """The reactor's pool keeps as many threads for its other users as it had."""
    reactor = WithPool(10)
    Workers(reactor, 4)
    Workers(reactor, 2)
    assert reactor.pool.max == 16


@pytest.mark.parametrize("late", ["Deferred", "coroutine"])
async def test_what_goes_on_after_a_worker_is_refused(late: str, with_pool: WithPool) -> None:
    """A function that returns a Deferred or a coroutine in a thread fails with TypeError, and frees its place."""

    async def coroutine() -> None:
        """Not run."""

    workers = Workers(with_pool, 1)
    with pytest.raises(TypeError, match=late):
        await workers.run({"Deferred": Deferred, "coroutine": coroutine}[late])
    assert await workers.run(len, "x") == 1


async def test_a_reactor_without_threads_does_the_work_itself() -> None:
    """On a plain test clock a function runs at once, in the caller's thread."""
    workers = Workers(Clock(), 1)
    assert await workers.run(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 1, 0)
    assert await workers.run(succeed, 5) == 5


USER: ContextVar[str] = ContextVar("user", default="nobody")


# Context variables.


async def test_a_thread_sees_a_copy_and_leaves_nothing(with_pool: WithPool) -> None:
    """What runs in a worker's thread sees its caller's variables; what it sets is seen by the next one in that thread no more."""
    workers = Workers(with_pool, 1)

    def work(name: str) -> str:
        seen = USER.get()
        USER.set(name)
        return seen

    token = USER.set("caller")
    first, second = workers.run(work, "one"), workers.run(work, "two")
    USER.reset(token)
    assert [await first, await second, await workers.run(work, "three")] == ["caller", "caller", "nobody"]
    assert USER.get() == "nobody"


async def test_a_call_from_a_thread_takes_its_context_along() -> None:
    """What a thread calls in the reactor's sees the thread's variables, and leaves nothing there."""
    from twisted.internet import reactor

    def look() -> Deferred[str]:
        seen = USER.get()
        USER.set("left behind")
        return succeed(seen)

    def work() -> Any:
        USER.set("thread")
        return wait_for(reactor, look)

    assert await deferToThread(work) == "thread"
    assert await deferToThread(wait_for, reactor, USER.get) != "left behind"
    assert USER.get() == "nobody"
