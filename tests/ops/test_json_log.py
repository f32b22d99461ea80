"""The log as JSON: one object to a line, whatever is in the event, where twistd's log would go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from veltix_tx import SettingsError
from veltix_tx.ops.json_log import event_as_json, json_observer


def line(**event: Any) -> Any:
    """Return an event's line as JSON has it."""
    shown = event_as_json({"log_time": 1_700_000_000.25, "log_level": LogLevel.warn, "log_namespace": "shop", **event})
    assert shown is not None
    assert shown.endswith("\n")
    assert shown.count("\n") == 1
    assert shown.isascii()
    return json.loads(shown)


def test_an_event_is_an_object() -> None:
    """Time, level, logger, text and connection have names of their own; other fields that JSON has are kept."""
    assert line(log_format="{size} from {peer} ({connection})", size=3, peer=IPv4(), connection="1-2", ratio=float("nan")) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warn",
        "logger": "shop",
        "message": "3 from <ann> (1-2)",
        "connection": "1-2",
        "fields": {"size": 3},
    }


class IPv4:
    """An object that JSON has no form for."""

    def __str__(self) -> str:
        return "<ann>"


def test_what_a_peer_says_stays_in_its_line() -> None:
    """Line breaks, escapes and lone surrogates of a text are escaped, and what is long is cut."""
    shown = line(log_format="{said}", said='a\n{"level": "critical"}\x1b[2J\ud800' + "x" * 10_000)
    assert shown["message"].startswith('a\\n{"level": "critical"}\\x1b[2J')
    assert len(shown["message"]) == len(shown["fields"]["said"]) == 2000


def test_a_failure_has_its_traceback() -> None:
    """A failure is an object's ``traceback``; an event without text and failure has no line."""
    try:
        raise ZeroDivisionError("no such number")
    except ZeroDivisionError:
        shown = line(log_format="it failed", log_failure=Failure())
    assert "ZeroDivisionError: no such number" in shown["traceback"]
    assert event_as_json({"log_format": ""}) is None
    assert json.loads(event_as_json({"log_format": "old", "isError": 0, "message": (), "time": 1.0}) or "") == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "logger": "",
        "message": "old",
    }


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"reactor": "epoll"}, "it is twistd's log that it is of. python -m twisted has --log-format"),
        ({"nodaemon": 1, "logger": print}, "where twistd has --logger"),
        ({"nodaemon": 0, "syslog": 1}, "where twistd has --syslog"),
        ({"nodaemon": 0, "logfile": "-"}, "a daemon that logs to standard output"),
    ],
)
def test_a_log_that_is_not_twistds_is_left_alone(options: Any, rule: str) -> None:
    """Where the log is another's, or goes nowhere, json is refused."""
    with pytest.raises(SettingsError, match=rule):
        json_observer(options)
