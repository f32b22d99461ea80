"""Log of a process as JSON, an object on each line: twistd's own log in another form, where that would be written."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from twisted.logger import FileLogObserver, LogEvent, formatEvent
from twisted.python.logfile import LogFile

from veltix_tx.errors import SettingsError
from veltix_tx.sanitize import escape_controls

__all__ = ["event_as_json", "event_as_map", "json_observer"]

_LONGEST = 2000
"""Characters of a field."""

_LONGEST_TRACEBACK = 20_000

_NOTHING_NEW = frozenset({"format", "isError", "logLevel", "message", "system", "time", "worker_line"})
"""Fields that say again what others do: of the events of Twisted's older log, and the text of a worker's."""


def event_as_json(event: LogEvent) -> str | None:
    """Return a log event as a line of JSON, what :func:`event_as_map` returns; None for one without text."""
    shown = event_as_map(event)
    return None if shown is None else json.dumps(shown) + "\n"


def event_as_map(event: LogEvent) -> dict[str, Any] | None:
    """Return a log event as what JSON has; None for one without text.

    ``time`` is UTC, ``level`` and ``logger`` are the event's, ``message`` is its text, ``connection`` the id of the connection that
    it is about. Its other fields that JSON has are in ``fields``, a failure is in ``traceback``.
    """
    text, failure = formatEvent(event), event.get("log_failure")
    if not text and failure is None:
        return None
    seconds = event.get("log_time") or 0.0
    level = event.get("log_level")
    shown: dict[str, Any] = {
        "time": datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.name if level is not None else "info",
        "logger": str(event.get("log_namespace", "")),
        "message": escape_controls(text)[:_LONGEST],
    }
    if "connection" in event:
        shown["connection"] = str(event["connection"])
    fields = {name: value for name, value in event.items() if _is_shown(name, value)}
    if fields:
        shown["fields"] = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in fields.items()}
    if failure is not None:
        shown["traceback"] = failure.getTraceback()[-_LONGEST_TRACEBACK:]
    return shown


def json_observer(options: Mapping[str, Any]) -> FileLogObserver:
    """Return an observer that writes JSON to where twistd's log would go.

    Args:
        options: those of what runs the service: twistd's.

    Raises:
        SettingsError: what runs the service has a log of its own, which this would not replace.
    """
    if "nodaemon" not in options:
        raise SettingsError("log.format", "json", "left out: it is twistd's log that it is of. python -m twisted has --log-format")
    for own in ("logger", "syslog"):
        if options.get(own):
            raise SettingsError("log.format", "json", f"left out where twistd has --{own}, which says what the log is like")
    return FileLogObserver(_destination(options.get("logfile") or "", nodaemon=bool(options["nodaemon"])), event_as_json)


def _destination(file: str, *, nodaemon: bool) -> TextIO:
    """Return what twistd would write its log to, as UnixAppLogger does, the rotation on SIGUSR1 among it."""
    if nodaemon and file in ("", "-"):
        return sys.stdout
    if file == "-":
        raise SettingsError("log.format", "json", "left out for a daemon that logs to standard output, which it has not")
    log: Any = LogFile.fromFullPath(file or "twistd.log")
    if hasattr(signal, "SIGUSR1") and not signal.getsignal(signal.SIGUSR1):

        def rotate(number: int, frame: object) -> None:
            from twisted.internet import reactor  # noqa: PLC0415 (twistd's own)

            reactor.callFromThread(log.rotate)  # type: ignore[attr-defined]

        signal.signal(signal.SIGUSR1, rotate)
    return log  # type: ignore[no-any-return]


def _is_shown(name: str, value: object) -> bool:
    if name.startswith("log_") or name in _NOTHING_NEW or name == "connection":
        return False
    return isinstance(value, (str, int, bool)) or (isinstance(value, float) and math.isfinite(value))
