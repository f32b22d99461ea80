"""Levels of a process's log by namespace: a filter in front of whatever observers there are, changed while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate, LogPublisher, globalLogPublisher

__all__ = ["LogLevels"]


class LogLevels:
    """Levels of a log: an event below the level of its namespace reaches no observer that was there at :meth:`install`.

    Args:
        default: level of namespaces for which there is none, ``debug``, ``info``, ``warn``, ``error`` or ``critical``.
        levels: levels of namespaces and of what is below them.
        publisher: the log, Twisted's own by default.
    """

    def __init__(self, default: str, levels: Mapping[str, str], publisher: LogPublisher = globalLogPublisher) -> None:
        self._predicate = LogLevelFilterPredicate()
        self._publisher = publisher
        self._wrapped: list[tuple[ILogObserver, ILogObserver]] = []
        self.levels: dict[str, str] = {}
        self.use(default, levels)

    def use(self, default: str, levels: Mapping[str, str]) -> None:
        """Change all levels."""
        self.levels = {}
        self._predicate.clearLogLevels()
        for namespace, level in {"": default, **levels}.items():
            self.set_level(namespace, level)

    def set_level(self, namespace: str, level: str) -> None:
        """Change the level of one namespace and what is below it; of ``""``, of all others."""
        self._predicate.setLogLevelForNamespace(namespace, LogLevel.levelWithName(level))
        self.levels[namespace] = level

    def install(self) -> None:
        """Put the filter in front of the log's observers."""
        for observer in self._observers():
            filtering = cast(ILogObserver, FilteringLogObserver(observer, [self._predicate]))
            self._replace(observer, filtering)
            self._wrapped.append((observer, filtering))

    def restore(self) -> None:
        """Give the log its observers back, but for those that were removed."""
        wrapped, self._wrapped = self._wrapped, []
        for observer, filtering in wrapped:
            if filtering in self._observers():
                self._replace(filtering, observer)

    def _observers(self) -> list[ILogObserver]:
        publisher: Any = self._publisher  # Twisted has no public name for them, and twistd chooses its observer itself
        return list(publisher._observers)

    def _replace(self, observer: ILogObserver, other: ILogObserver) -> None:
        self._publisher.removeObserver(observer)
        self._publisher.addObserver(other)
