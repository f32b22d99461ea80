"""Upstream's Logger: one for the program, its lines Twisted log events."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from typing import Any, ClassVar

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel as TwistedLevel
from zope.interface import implementer

from veltix_tx.errors import SettingsError
from veltix_tx.logs.config import LoggerConfig, LogLevel
from veltix_tx.logs.observer import LineObserver

__all__ = ["Logger"]

_NAMESPACE = "veltix_tx"
_LEVELS = {
    LogLevel.TRACE: TwistedLevel.debug,
    LogLevel.DEBUG: TwistedLevel.debug,
    LogLevel.INFO: TwistedLevel.info,
    LogLevel.SUCCESS: TwistedLevel.info,
    LogLevel.WARNING: TwistedLevel.warn,
    LogLevel.ERROR: TwistedLevel.error,
    LogLevel.CRITICAL: TwistedLevel.critical,
}
_log = TwistedLogger(namespace=_NAMESPACE)


@implementer(ILogObserver)
class _Ours:
    """Shows this package's events by an observer that can be exchanged."""

    def __init__(self, observer: LineObserver) -> None:
        self.observer = observer

    def __call__(self, event: LogEvent) -> None:
        namespace = event.get("log_namespace")
        if isinstance(namespace, str) and (namespace == _NAMESPACE or namespace.startswith(f"{_NAMESPACE}.")):
            self.observer(event)


class Logger:
    """The program's logger. However often it is made, there is one.

    Its lines are Twisted log events of the namespace ``veltix_tx``, so any other observer sees them
    as well. It shows them, together with what the package itself logs, by a :class:`LineObserver`.

    Args:
        config: how to show lines; given again, it replaces the earlier one. Without it, the earlier one
            or the default.

    Attributes:
        config: the config in use.

    Raises:
        SettingsError: the config is none.
        OSError: its file cannot be opened; an earlier config stays.
    """

    config: LoggerConfig
    _shown: _Ours
    _instance: ClassVar[Logger | None] = None
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __new__(cls, config: LoggerConfig | None = None) -> Logger:
        """Return the one there is, or make it."""
        with cls._lock:
            if cls._instance is not None:
                if config is not None:
                    cls._instance.configure(config)
                return cls._instance
            made = super().__new__(cls)
            made.config = _checked(config or LoggerConfig())
            made._shown = _Ours(LineObserver(made.config))
            globalLogPublisher.addObserver(made._shown)
            cls._instance = made
            return made

    @classmethod
    def get_instance(cls, config: LoggerConfig | None = None) -> Logger:
        """Return the logger, made if need be; a config always has effect."""
        return cls(config)

    @classmethod
    def reset_instance(cls) -> None:
        """Close the logger: what waits is written, its file is closed. The next one starts afresh."""
        with cls._lock:
            instance, cls._instance = cls._instance, None
        if instance is not None:
            globalLogPublisher.removeObserver(instance._shown)
            instance._shown.observer.close()

    def configure(self, config: LoggerConfig) -> None:
        """Show lines by another config from now on; the counts go on.

        Raises:
            SettingsError: it is no config.
            OSError: its file cannot be opened; the earlier config stays.
        """
        with self._lock:
            observer, earlier = LineObserver(_checked(config)), self._shown.observer
            observer.counts.update(earlier.counts)
            self.config = config
            self._shown.observer = observer
            earlier.close()

    def set_level(self, level: LogLevel) -> None:
        """Show this level and those above it.

        Raises:
            SettingsError: there is no such level.
        """
        self._change(level=level)

    def enable(self) -> None:
        """Show lines again."""
        self._change(enabled=True)

    def disable(self) -> None:
        """Show nothing until :meth:`enable`."""
        self._change(enabled=False)

    def get_stats(self) -> dict[LogLevel, int]:
        """Return how many lines of each level were shown, the package's own among them."""
        return {level: self._shown.observer.counts[level] for level in LogLevel}

    def trace(self, message: object) -> None:
        """Log the finest detail."""
        self._say(LogLevel.TRACE, message)

    def debug(self, message: object) -> None:
        """Log what helps to find a mistake."""
        self._say(LogLevel.DEBUG, message)

    def info(self, message: object) -> None:
        """Log what happens."""
        self._say(LogLevel.INFO, message)

    def success(self, message: object) -> None:
        """Log what went well."""
        self._say(LogLevel.SUCCESS, message)

    def warning(self, message: object) -> None:
        """Log what somebody should look at."""
        self._say(LogLevel.WARNING, message)

    def error(self, message: object) -> None:
        """Log what failed."""
        self._say(LogLevel.ERROR, message)

    def critical(self, message: object) -> None:
        """Log what nothing goes on after."""
        self._say(LogLevel.CRITICAL, message)

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self.config = replace(self.config, **changes)
            self._shown.observer.level, self._shown.observer.enabled = self.config.level, self.config.enabled

    def _say(self, level: LogLevel, message: object) -> None:
        config = self.config
        if level < config.level or not config.enabled:
            return
        caller = sys._getframe(2)
        where = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}"
        _log.emit(_LEVELS[level], "{message}", message=message, veltix_level=level, veltix_caller=where)


def _checked(config: LoggerConfig) -> LoggerConfig:
    if not isinstance(config, LoggerConfig):
        raise SettingsError("config", config, "a LoggerConfig")
    return config
