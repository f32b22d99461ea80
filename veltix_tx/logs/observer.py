"""Log events as lines on a stream and in a file."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, LoggingFile, eventAsText, formatEvent, formatTime
from twisted.logger import LogLevel as TwistedLevel
from zope.interface import implementer

from veltix_tx.logs.config import LoggerConfig, LogLevel
from veltix_tx.logs.writer_thread import WriterThread
from veltix_tx.sanitize import escape_controls

__all__ = ["LineObserver"]

_LEVELS = {
    TwistedLevel.debug: LogLevel.DEBUG,
    TwistedLevel.info: LogLevel.INFO,
    TwistedLevel.warn: LogLevel.WARNING,
    TwistedLevel.error: LogLevel.ERROR,
    TwistedLevel.critical: LogLevel.CRITICAL,
}
_SHOWN = {
    LogLevel.TRACE: ("TRACE", 90),
    LogLevel.DEBUG: ("DEBUG", 37),
    LogLevel.INFO: ("INFO ", 36),
    LogLevel.SUCCESS: ("OK   ", 32),
    LogLevel.WARNING: ("WARN ", 33),
    LogLevel.ERROR: ("ERROR", 31),
    LogLevel.CRITICAL: ("CRIT ", 41),
}
"""Level: how it is written, and its colour as ANSI has it."""

_NESTED = 2


def _level(event: LogEvent) -> LogLevel:
    level = event.get("veltix_level")
    return level if isinstance(level, LogLevel) else _LEVELS.get(event.get("log_level"), LogLevel.INFO)


def _origin(event: LogEvent) -> str:
    return escape_controls(str(event.get("veltix_caller") or event.get("log_system") or event.get("log_namespace") or "-"))


def _traceback(event: LogEvent) -> str:
    if event.get("log_failure") is None:
        return ""
    text = eventAsText({"log_failure": event["log_failure"]}, includeTimestamp=False, includeSystem=False)
    return "".join(f"\n\t{escape_controls(line)}" for line in text.strip("\n").split("\n"))


class _RotatingFile(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        failure = sys.exc_info()[1]
        if failure is not None:
            raise failure


class _Output(logging.Handler):
    """A stream and a file. A handler for the sake of its lock, which survives a fork.

    What writing itself logs (a stream that logs, a Deferred found by the garbage collector) is
    written, too, but what that logs is not, or there might be no end.
    """

    def __init__(self, config: LoggerConfig) -> None:
        super().__init__()
        self.lost = 0
        self._exiting = False
        self._depth = 0
        self._stream = None if isinstance(config.stream, LoggingFile) else config.stream
        self._colours = config.use_colors and self._shows_colours()
        self._file: _RotatingFile | None = None
        if config.file_path is not None:
            path = Path(config.file_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _RotatingFile(
                path, maxBytes=config.file_rotation_size, backupCount=config.file_backup_count, encoding="utf-8"
            )

    def emit(self, record: logging.LogRecord) -> None:
        if self._depth == _NESTED:
            self.lost += 1
            return
        self._depth += 1
        try:
            for write in (self._to_stream, self._to_file):
                try:
                    write(record)
                except Exception:  # noqa: PERF203 (the file is written whatever became of the stream)
                    self.lost += 1
        finally:
            self._depth -= 1

    def close(self) -> None:
        """Close the file. Logging does so at exit; what still comes then opens it for itself only."""
        self.acquire()
        try:
            self._exiting = True
            if self._file is not None:
                self._file.close()
        finally:
            self.release()
        super().close()

    def _shows_colours(self) -> bool:
        """Return True if the stream is anything but a file or a pipe: those are read by programs."""
        try:
            return self._stream is not None and os.isatty(self._stream.fileno())
        except (AttributeError, OSError, ValueError):
            return True

    def _to_stream(self, record: logging.LogRecord) -> None:
        if self._stream is None:
            return
        line = record.getMessage()
        if self._colours:
            line = f"\x1b[{record.levelno}m{line}\x1b[0m"
        encoding = getattr(self._stream, "encoding", None)
        if encoding:
            line = line.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(line + "\n")
        if hasattr(self._stream, "flush"):
            self._stream.flush()

    def _to_file(self, record: logging.LogRecord) -> None:
        if self._file is not None:
            self._file.handle(record)
            if self._exiting:
                self._file.close()


@implementer(ILogObserver)
class LineObserver:
    r"""Writes log events as lines: ``[14:23:45.123] INFO  [server.py:45] message``.

    It can be added to any publisher, such as ``globalLogPublisher``, and called from any thread. Without
    a config it is a log for ``twistd --logger veltix_tx.logs.LineObserver``.

    In brackets stand the file and line of who called :class:`~veltix_tx.Logger`, else the event's
    ``log_system`` or ``log_namespace``; Twisted's loggers do not tell the line. A failure's traceback
    follows, each line of it after a tab. Control characters are written as escapes (``\n``, ``\x1b``),
    so that no message can look like another line. An event without text and failure is left out.

    A stream or file that fails loses the line, and never raises into the logging call. A stream that is Twisted's
    log itself (``sys.stdout`` under twistd) is left alone: what would be written is in that log already.

    Args:
        config: what is shown and where.

    Attributes:
        level: the lowest level that is shown; may be changed.
        enabled: True if anything is shown; may be changed.
        counts: how many events were shown, by level.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, config: LoggerConfig | None = None) -> None:
        self._config = config or LoggerConfig()
        self.level = self._config.level
        self.enabled = self._config.enabled
        self.counts: Counter[LogLevel] = Counter()
        self._output = _Output(self._config)
        self._background = WriterThread(self._config.buffer_size) if self._config.async_write else None
        self._counting = threading.RLock()
        self._closed = False

    @property
    def lost(self) -> int:
        """Number of writes that have failed."""
        return self._output.lost

    def __call__(self, event: LogEvent) -> None:
        """Write an event if its level is shown."""
        level = _level(event)
        if self._closed or not self.enabled or level < self.level:
            return
        line = self._line(event, level)
        if line is None:
            return
        record = logging.makeLogRecord({"msg": line, "levelno": _SHOWN[level][1]})
        with self._counting:
            self.counts[level] += 1
        if self._background is None:
            self._output.handle(record)
        else:
            self._background.submit(partial(self._output.handle, record))

    def close(self) -> None:
        """Write what waits and close the file; later events are not shown. The stream is left open."""
        self._closed = True
        if self._background is not None:
            self._background.close()
        self._output.close()

    def _line(self, event: LogEvent, level: LogLevel) -> str | None:
        text, traceback = escape_controls(formatEvent(event)), _traceback(event)
        if not text and not traceback:
            return None
        parts = []
        if self._config.show_timestamp:
            parts.append(f"[{formatTime(event.get('log_time'), '%H:%M:%S.%f')[:12]}]")
        if self._config.show_level:
            parts.append(_SHOWN[level][0])
        if self._config.show_caller:
            parts.append(f"[{_origin(event)}]")
        return " ".join([*parts, text]) + traceback
