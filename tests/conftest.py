"""What pytest-twisted does not give: deadlines, and trial's strictness about what a test leaves behind."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

DEADLINE = 5.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every coroutine test a deadline; a test that hangs fails instead."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("deadline")
            item.obj = _with_deadline(item.obj, marker.args[0] if marker else DEADLINE)


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


def _with_deadline(function: Callable[..., Any], seconds: float) -> Callable[..., Deferred[Any]]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Deferred[Any]:
        from twisted.internet import reactor

        return Deferred.fromCoroutine(function(*args, **kwargs)).addTimeout(seconds, reactor)

    return run


def _after(seconds: float) -> Deferred[None]:
    from twisted.internet import reactor

    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


@pytest.fixture(scope="session", autouse=True)
def running_reactor() -> None:
    """Start the reactor before any test, so that what it keeps itself is not taken for a leak."""
    pytest_twisted.blockon(_after(0.05))
    gc.freeze()  # what is there by now stays: the collection behind each test need not look at it


class LoggedFailures(list[LogEvent]):
    """Failures logged during a test; one that is not flushed fails it."""

    def flush(self, *kinds: type[BaseException]) -> list[LogEvent]:
        """Take out the failures of these kinds, all without any; return them."""
        taken = [event for event in self if not kinds or event["log_failure"].check(*kinds)]
        self[:] = [event for event in self if event not in taken]
        return taken


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail a test that logs a failure (an error nobody handled among them) without flushing it."""
    failures = LoggedFailures()

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None and event.get("log_level") == LogLevel.critical:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield failures
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert not failures, "\n".join(event["log_failure"].getTraceback() for event in failures)


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    """Fail a test that leaves a delayed call, a port or a connection behind."""
    from twisted.internet import reactor

    before = _inventory(reactor)
    yield
    for _ in range(20):
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
def folders(running_reactor: None) -> dict[str, Path]:
    """Each real release's folder; they are installed once for a test run."""
    from .interop.driver import install_all

    installed: dict[str, Path]
    installed, failed = pytest_twisted.blockon(Deferred.fromCoroutine(install_all()))
    if failed:
        pytest.fail(
            f"{len(failed)} of {len(installed)} releases of veltix could not be installed, the first with: {failed[0]}",
            pytrace=False,
        )
    return installed


@pytest.fixture
def authority(tmp_path: Path) -> Any:
    """Return an issuer of certificates; its files are in a folder of the test's."""
    from .authority import Authority

    folder = tmp_path / "certificates"
    folder.mkdir()
    return Authority(folder, "Test Authority")
