"""The supervisor without processes: first starts that all fail, and lines of workers in its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEventAsClassicLogText, globalLogPublisher
from twisted.python.failure import Failure

from veltix_tx import ServerConfig
from veltix_tx.net.transport.endpoints import listen_specs
from veltix_tx.ops.json_log import event_as_json
from veltix_tx.ops.recent import RecentEvents
from veltix_tx.ops.supervisor import FIRST_STARTS, Supervisor, WorkerProcess
from veltix_tx.ops.worker import STATUS
from veltix_tx.ops.worker_log import LONGEST_LINE, log_lines


class Reactor(Clock):
    """A clock that starts no process, and remembers which it was to start."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[WorkerProcess] = []

    def spawnProcess(self, process: Any, *_: object, **__: object) -> Reactor:  # noqa: N802
        """Note it."""
        self.started.append(process)
        process.makeConnection(self)
        return self

    @property
    def pid(self) -> int:
        """The process's id."""
        return len(self.started)

    def closeChildFD(self, number: int) -> None:  # noqa: N802
        """Do nothing."""

    def signalProcess(self, number: int) -> None:  # noqa: N802
        """End all of them."""
        for each in self.started:
            if each.state.value != "gone":
                each.processEnded(Failure(ProcessTerminated(signal=number)))


@pytest.fixture
def reactor() -> Reactor:
    """A reactor."""
    return Reactor()


@pytest.fixture
def supervisor(reactor: Reactor) -> Iterator[Supervisor]:
    """A supervisor of two workers."""
    places = listen_specs(ServerConfig(host="127.0.0.1", port=0))
    supervisor = Supervisor(places, 2, ["worker"], {}, reactor, 1.0, random=lambda: 0.0)
    supervisor.startService()
    yield supervisor
    supervisor.stopService()


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """What is logged."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def end(process: WorkerProcess, said: bytes = b"") -> None:
    """End a process after it has written something to standard error."""
    process.childDataReceived(2, said)
    process.processEnded(Failure(ProcessTerminated(1)))


def test_it_gives_up_when_no_worker_has_ever_listened(reactor: Reactor, supervisor: Supervisor) -> None:
    """After the last try of the last worker that is said once, with the last line of its error; nothing is started any more."""
    failed: list[str] = []
    supervisor.when_failed().addCallback(failed.append)
    for _ in range(FIRST_STARTS):
        assert failed == []
        reactor.advance(30)  # however long an application takes to fail
        for process in reactor.started[-2:]:
            end(process, b"Traceback\nwrong port\n")
        reactor.advance(60)
    assert failed == ["wrong port"]
    assert len(reactor.started) == 2 * FIRST_STARTS


def test_it_goes_on_where_one_worker_has_listened(reactor: Reactor, supervisor: Supervisor) -> None:
    """However often all of them fail later, they are started again."""
    failed: list[str] = []
    supervisor.when_failed().addCallback(failed.append)
    ready = reactor.started[0]
    ready.childDataReceived(STATUS, b"\0\0\0\x0d\x95\x00\xa5value\xa11\xcc\xc8\xa0")
    assert ready.state.value == "ready"
    for _ in range(FIRST_STARTS + 2):
        for process in reactor.started[-2:]:
            end(process)
        reactor.advance(60)
    assert failed == []
    assert len(reactor.started) == 2 * (FIRST_STARTS + 3)


def test_a_workers_event_is_logged_as_it_was(
    reactor: Reactor, supervisor: Supervisor, logged: list[LogEvent], logged_failures: Any
) -> None:
    """It has the worker's number, and the time, level, namespace, connection, fields and traceback that it has in the worker."""
    recent = RecentEvents()
    recent.start()
    try:
        _log_as_worker(reactor.started[0], format=1, level="high", handler="on_order")
    finally:
        recent.stop()
    (event,) = [event for event in logged if event.get("worker") == 1]
    told = json.loads(event_as_json(event) or "")
    assert told["traceback"].startswith("Traceback (most recent call last):\n")
    assert told.pop("traceback").endswith("ZeroDivisionError: division by zero\n")
    assert told == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "critical",
        "logger": "shop.orders",
        "message": "worker 1: an order\\n\\x1eforged failed: ZeroDivisionError: division by zero",
        "connection": "4711-3",
        "fields": {"thing": "order", "handler": "on_order", "level": "high", "worker": 1},
    }
    as_text = formatEventAsClassicLogText(event) or ""
    assert "[shop.orders#critical] worker 1: an order" in as_text
    assert as_text.endswith("ZeroDivisionError: division by zero\n\t\n")
    (kept,) = recent.after(0, 10)
    assert (kept["worker"], kept["connection"], kept["namespace"]) == (1, "4711-3", "shop.orders")
    assert kept["text"] == event["worker_line"]
    assert len(logged_failures.flush(Exception)) == 1


def test_a_workers_long_event_is_told_without_its_fields(
    reactor: Reactor, supervisor: Supervisor, logged: list[LogEvent], logged_failures: Any
) -> None:
    """Many long fields are left out before the line is longer than what is read of one."""
    _log_as_worker(reactor.started[0], **{f"field{number}": "\u20ac" * 2000 for number in range(LONGEST_LINE // 6_000)})
    (event,) = [event for event in logged if event.get("worker") == 1]
    assert event["worker_line"].startswith("an order")
    assert "field0" not in event
    assert "log_failure" in event
    logged_failures.flush(Exception)


def test_a_line_that_is_no_event_is_the_supervisors(
    reactor: Reactor, supervisor: Supervisor, logged: list[LogEvent], logged_failures: Any
) -> None:
    """What an interpreter writes, or a program prints before there is a log, is passed on, too, each line by itself."""
    reactor.started[1].childDataReceived(1, b"one\ntw")
    reactor.started[1].childDataReceived(1, b"o\n\n\x1b[31mred\n{}\n\x1e[]\nout")
    _log_as_worker(reactor.started[1])
    reactor.started[1].processEnded(Failure(ProcessTerminated(1)))
    assert [event["worker_line"] for event in logged if event.get("worker") == 2] == [
        "one",
        "two",
        "\\x1b[31mred",
        "{}",
        "\\x1e[]",
        "out",
        "an order\\n\\x1eforged failed: ZeroDivisionError: division by zero",
    ]
    logged_failures.flush(Exception)


def _log_as_worker(process: WorkerProcess, **fields: object) -> None:
    """Hand a process what a worker writes for a failure of one connection."""
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        failure = Failure()
    event = {
        **fields,
        "log_time": 1_700_000_000.25,
        "log_format": "an {thing}\n\x1eforged failed",
        "thing": "order",
        "log_level": LogLevel.critical,
        "log_namespace": "shop.orders",
        "log_failure": failure,
        "connection": "4711-3",
    }
    observer: Any = log_lines()
    process.childDataReceived(1, observer.formatEvent(event).encode())
