"""Recent events: the last lines of the log, from the level info on, kept for who asks what happened."""

from __future__ import annotations

import re
from collections import deque

from twisted.logger import ILogObserver, LogEvent, LogLevel, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

from veltix_tx.ops.answers import Event
from veltix_tx.sanitize import escape_controls

__all__ = ["MOST_EVENTS", "RecentEvents", "text_of"]

MOST_EVENTS = 500
"""Events that are kept."""

_LONGEST = 500
"""Characters of one."""

_SHOWN = (LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical)


def text_of(event: LogEvent) -> str:
    """Return the text of an event, and the exception of a failure."""
    text, failure = formatEvent(event), event.get("log_failure")
    return text if failure is None else f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}".removeprefix(": ")


@implementer(ILogObserver)
class RecentEvents:
    """Observer of a log that keeps the text of its last events, each with a number, and the worker that it comes from, if any.

    Args:
        publisher: the log, Twisted's own by default.
    """

    def __init__(self, publisher: LogPublisher = globalLogPublisher) -> None:
        self._publisher = publisher
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._count = 0

    def start(self) -> None:
        """Begin to listen to the log."""
        self._publisher.addObserver(self)

    def stop(self) -> None:
        """Listen no more."""
        self._publisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """Keep an event."""
        level, line = event.get("log_level"), event.get("worker_line")
        if level not in _SHOWN:
            return
        self._count += 1
        kept: Event = {
            "number": self._count,
            "time": event.get("log_time"),
            "level": level.name,
            "namespace": str(event.get("log_namespace", "")),
            "connection": event.get("connection"),
            "text": escape_controls((text_of(event) if line is None else line)[:_LONGEST]),
        }
        if line is not None:
            kept["worker"] = event["worker"]
        self._events.append(kept)

    @property
    def last(self) -> int:
        """Number of the last event; 0 before the first."""
        return self._count

    def after(self, number: int, most: int, search: str = "", connection: str = "") -> list[Event]:
        """Return the last events with higher numbers, the oldest first.

        Args:
            number: the number; 0 for all.
            most: how many.
            search: a text that their texts have in them, or their connection's id.
            connection: id of a connection that they are about, or that their texts name whole; empty for all.
        """
        named = re.compile(rf"(?<![\w-]){re.escape(connection)}(?!\d)")
        found = [
            each
            for each in list(self._events)
            if each["number"] > number
            and (search in each["text"] or search == each["connection"])
            and (not connection or connection == each["connection"] or named.search(each["text"]))
        ]
        return found[-most:] if most else []
