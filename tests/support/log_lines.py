"""Events of the log, and settings by which a line is easy to compare."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent
from twisted.logger import LogLevel as TwistedLevel
from twisted.python.failure import Failure


def event(text: str = "hello", **fields: Any) -> LogEvent:
    """Make an event as Twisted does."""
    return {
        "log_format": "{text}",
        "text": text,
        "log_namespace": "app",
        "log_level": TwistedLevel.info,
        "log_time": 0.25,
        **fields,
    }


def plain(**settings: Any) -> dict[str, Any]:
    """Settings by which a line is its message."""
    return {"show_timestamp": False, "show_caller": False, "show_level": False, **settings}


def failure(text: str) -> Failure:
    """Make a failure with a traceback."""
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()
