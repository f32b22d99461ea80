"""Log of a worker on its way to the supervisor's: an event to a line, whole, beside what anything else writes there."""

from __future__ import annotations

import json
import sys

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure

from veltix_tx.ops.json_log import event_as_map
from veltix_tx.ops.recent import text_of
from veltix_tx.sanitize import one_line

__all__ = ["LONGEST_LINE", "WORKER_LOG", "event_of", "log_lines"]

WORKER_LOG = "veltix_tx.ops.worker_log.log_lines"
"""Name of what twistd is to log with in a worker."""

LONGEST_LINE = 65_536
"""Bytes of a line: an event that has more is told without its fields, then without its traceback."""

_MARK = "\x1e"
"""Begin of an event, which no text has by chance: the record separator, as in JSON text sequences (RFC 7464)."""


def log_lines() -> ILogObserver:
    """Return what writes log events to standard output as :func:`event_of` reads them."""
    return FileLogObserver(sys.__stdout__, _as_line)  # type: ignore[arg-type]


def _as_line(event: LogEvent) -> str | None:
    told = event_as_map(event)
    if told is None:
        return None
    told |= {"time": event.get("log_time"), "message": one_line(text_of(event))}
    for left_out in ("", "fields", "traceback"):
        told.pop(left_out, None)
        line = f"{_MARK}{json.dumps(told)}\n"
        if len(line) <= LONGEST_LINE:
            break
    return line


def event_of(line: str, worker: int) -> tuple[str, LogEvent | None]:
    """Return the text in a line that is of no event, which may be empty, and the event in it; None without one.

    Args:
        line: what a worker has written.
        worker: its number, which the event has, too.
    """
    text, _, told = line.partition(_MARK)
    try:
        said = json.loads(told)
        event: LogEvent = {
            **said.get("fields", {}),
            "log_time": said["time"],
            "log_level": LogLevel.lookupByName(said["level"]),
            "log_namespace": said["logger"],
            "log_format": "worker {worker}: {worker_line}",
            "worker": worker,
            "worker_line": said["message"],
        }
    except (ValueError, KeyError, TypeError, AttributeError):  # cut off by the worker's end, or none
        return one_line(line), None
    if "connection" in said:
        event["connection"] = said["connection"]
    if "traceback" in said:
        event["log_failure"] = _ToldFailure(said["traceback"])
    return one_line(text), event


class _InWorkerError(Exception):
    """An exception of a worker, whose text is the last line of its traceback."""


class _ToldFailure(Failure):
    """A failure in a worker, of which there is the traceback as text."""

    def __init__(self, traceback: str) -> None:
        super().__init__(_InWorkerError(traceback.rstrip().rpartition("\n")[2]))
        self._told = traceback

    def getTraceback(self, elideFrameworkCode: int = 0, detail: str = "default") -> str:  # noqa: N802, N803 (Twisted's names)
        """Return the traceback."""
        return self._told
