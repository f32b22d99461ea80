"""Source watch: has a server's workers replaced when the files of its application change, for development."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from veltix_tx.errors import SettingsError
from veltix_tx.sanitize import one_line

__all__ = ["SourceWatch"]

_log = Logger()

_STOPS_WITHIN = 500
"""Milliseconds after which the thread that watches looks whether it is to stop."""

_NAMED = 3
"""Changed files that the log names."""


class SourceWatch(Service):
    """Service that calls a function after changes of Python files.

    Args:
        folder: the folder whose files are watched, with those below it.
        act: called after changes; changes that come before its Deferred fires have it called once more then.
        reactor: its thread pool has the thread that watches.

    Raises:
        SettingsError: watchfiles is not installed.
    """

    def __init__(self, folder: str, act: Callable[[], Deferred[Any]], reactor: Any) -> None:
        try:
            import watchfiles  # noqa: PLC0415 (an extra)
        except ImportError:
            rule = "left out, or watchfiles installed: pip install 'veltix-tx[reload]'"
            raise SettingsError("reload", None, rule) from None
        self._watch = watchfiles.watch
        self._filter = watchfiles.PythonFilter()
        self._folder = folder
        self._act = act
        self._reactor = reactor
        self._stop = Event()
        self._ended: Deferred[Any] | None = None
        self._changed = False
        self._acts = False

    def startService(self) -> None:
        """Begin to watch."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[Any] | None:
        """Stop watching.

        Returns:
            a Deferred that fires when the thread has ended.
        """
        super().stopService()
        self._stop.set()
        return self._ended

    def _begin(self) -> None:
        _log.info("files in {folder} are watched", folder=self._folder)
        self._ended = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._run)

    def _run(self) -> None:
        changes = self._watch(
            self._folder, watch_filter=self._filter, stop_event=self._stop, rust_timeout=_STOPS_WITHIN, raise_interrupt=False
        )
        for each in changes:
            self._reactor.callFromThread(self._record_change, sorted(path for _, path in each))

    @inlineCallbacks
    def _record_change(self, paths: list[str]) -> Any:
        more = ", …" if len(paths) > _NAMED else ""
        _log.info("changed: {paths}", paths=one_line(", ".join(paths[:_NAMED]) + more))
        self._changed = True
        if self._acts:
            return
        self._acts = True
        while self._changed and self.running:
            self._changed = False
            yield self._act()
        self._acts = False
