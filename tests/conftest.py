"""What pytest-twisted does not give: deadlines, and trial's strictness about what a test leaves behind."""

from __future__ import annotations

import faulthandler
import functools
import gc
import inspect
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

DEADLINE = 90.0
"""Seconds that a coroutine test may take. It ends what hangs, and no test is judged by it: a machine may be busy."""

LONGEST = ("reliability", "packaging")
"""Folders of the longest tests: a worker that came to them at the end would keep everybody waiting."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return two workers more than processors: many tests wait. None for a few files and for ``-s``: workers show no output."""
    files = [argument for argument in config.args if "::" in argument or argument.endswith(".py")]
    return 0 if len(files) == len(config.args) or config.option.capture == "no" else _processors() + 2


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every coroutine test a deadline; a test that hangs fails instead. Workers begin with the longest tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in LONGEST)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _with_deadline(item.obj)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let a hypothesis test run once for each parameter: pytest-twisted wraps what is inside each time, and leaves it so."""
    handle = getattr(pyfuncitem.obj, "hypothesis", None)
    inner = handle.inner_test if handle is not None else None
    try:
        return (yield)
    finally:
        if handle is not None:
            handle.inner_test = inner


def _with_deadline(function: Callable[..., Any]) -> Callable[..., Deferred[Any]]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Deferred[Any]:
        from twisted.internet import reactor

        return Deferred.fromCoroutine(function(*args, **kwargs)).addTimeout(DEADLINE, reactor)

    return run


def _after(seconds: float) -> Deferred[None]:
    from twisted.internet import reactor

    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    """Start every process of a test with the default signals, also where pytest ignores some: under nohup, behind a script's ``&``.

    An ignored signal stays ignored in a new program; one with a handler, even of no effect, is back at its default there.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture
def unhurried() -> None:
    """Lift ``faulthandler_timeout``: for what ends by itself, but on a slow machine, or by command, after more than two minutes."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def finish() -> Callable[..., Any]:
    """Return a function that runs the reactor until a Deferred has fired: for fixtures, which a test's deadline does not reach."""

    def finish(deferred: Deferred[Any], seconds: float = DEADLINE) -> Any:
        from twisted.internet import reactor

        return pytest_twisted.blockon(deferred.addTimeout(seconds, reactor))

    return finish


@pytest.fixture(scope="session", autouse=True)
def running_reactor() -> None:
    """Start the reactor before any test, so that what it keeps itself is not taken for a leak."""
    pytest_twisted.blockon(_after(0.05))
    gc.freeze()  # see logged_failures


class LoggedFailures(list[LogEvent]):
    """Failures logged during a test; one that is not flushed fails it."""

    def flush(self, *kinds: type[BaseException]) -> list[LogEvent]:
        """Take out the failures of these kinds, all without any; return them."""
        taken = [event for event in self if not kinds or event["log_failure"].check(*kinds)]
        self[:] = [event for event in self if event not in taken]
        return taken


@contextmanager
def _no_failures_logged() -> Iterator[LoggedFailures]:
    """Fail if a failure is logged in the block and not flushed."""
    failures = LoggedFailures()

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None and event.get("log_level") == LogLevel.critical:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield failures
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures, "\n".join(event["log_failure"].getTraceback() for event in failures)


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail a test that logs a failure (an error nobody handled among them) without flushing it."""
    with _no_failures_logged() as failures:
        yield failures
        gc.collect()
    gc.freeze()  # the collection behind each later test need not look at what outlives this one


@pytest.fixture(scope="module", autouse=True)
def late_failures() -> Iterator[None]:
    """Fail the last test of a module for an unhandled error in what outlived one of its tests and is garbage by now."""
    yield
    with _no_failures_logged():
        gc.unfreeze()
        gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    """Fail a test that leaves a delayed call, a port or a connection behind."""
    from twisted.internet import reactor

    before = _inventory(reactor)
    yield
    for _ in range(200):
        left = [each for each in _inventory(reactor) if each not in before]
        if not left:
            return
        pytest_twisted.blockon(_after(0.01))
    pytest.fail(f"left behind in the reactor: {left}")


def _inventory(reactor: Any) -> list[Any]:
    return [*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()]


@pytest.fixture
def log_events() -> Iterator[list[LogEvent]]:
    """Every event logged during the test."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture(scope="session")
def folders(running_reactor: None, finish: Callable[..., Any]) -> dict[str, Path]:
    """Each real release's folder; they are installed once for a test run."""
    from tests.support.interop.driver import install_all

    installed: dict[str, Path]
    faulthandler.cancel_dump_traceback_later()  # it may take longer, and ends by itself
    installed, failed = finish(Deferred.fromCoroutine(install_all()), 600)
    if failed:
        pytest.fail(
            f"{len(failed)} of {len(installed)} releases of veltix could not be installed, the first with: {failed[0]}",
            pytrace=False,
        )
    return installed


@pytest.fixture(scope="session")
def conduits(running_reactor: None, finish: Callable[..., Any]) -> Any:
    """Real releases of netconduit; they are installed once for a test run."""
    from tests.support.interop.conduits import Conduits, install_conduits

    faulthandler.cancel_dump_traceback_later()  # it may take longer, and ends by itself
    return Conduits(*finish(Deferred.fromCoroutine(install_conduits()), 600))


@pytest.fixture(scope="session")
def flexi_sockets(running_reactor: None, finish: Callable[..., Any]) -> Any:
    """Real releases of flexi_socket; they are installed once for a test run."""
    from tests.support.interop.flexi_sockets import FlexiSockets, install_flexi_sockets

    faulthandler.cancel_dump_traceback_later()  # it may take longer, and ends by itself
    return FlexiSockets(finish(Deferred.fromCoroutine(install_flexi_sockets()), 600))


@pytest.fixture
def authority(tmp_path: Path) -> Any:
    """Return an issuer of certificates; its files are in a folder of the test's."""
    from tests.support.authority import Authority

    folder = tmp_path / "certificates"
    folder.mkdir()
    return Authority(folder, "Test Authority")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Any]:
    """Start a Redis server with a folder and a port of its own; it is killed when the test is over. Skip where there is none."""
    from tests.support.redis_server import RedisServer

    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
