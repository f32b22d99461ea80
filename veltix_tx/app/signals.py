"""Signals of a process that serves: the first SIGINT or SIGTERM stops it gracefully, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import Timer
from typing import Any

from twisted.logger import Logger

__all__ = ["Signals"]

_AT_ONCE = 1.0
"""Seconds that a process may still take after the second signal."""

_ENDING = (signal.SIGINT, signal.SIGTERM)

_log = Logger()


class Signals:
    """Signal handlers of a process, beside the reactor's own. They are made in the main thread.

    Args:
        reactor: the reactor, whose own handlers stop it.
        abort: cuts off what a graceful stop waits for.
    """

    def __init__(self, reactor: Any, abort: Callable[[], object]) -> None:
        self._reactor = reactor
        self._abort = abort
        self._earlier: dict[int, Any] = {}
        self._stops = False
        self._last: Timer | None = None

    def handle(self, number: int, act: Callable[[], object]) -> None:
        """Call a function in the reactor's thread at each signal of this number."""
        self._set(number, lambda *_: self._reactor.callFromThread(act))

    def mind_the_end(self) -> None:
        """Install the handlers of SIGINT and SIGTERM. Called once the reactor runs, and has handlers of its own."""
        for number in _ENDING:
            if callable(signal.getsignal(number)):  # not where it is to be ignored
                self._set(number, self._end)
        self._reactor.addSystemEventTrigger("before", "shutdown", setattr, self, "_stops", True)

    def restore(self) -> None:
        """Put the earlier handlers back: the reactor goes on without what was to be stopped."""
        if not self._stops:
            for number in list(self._earlier):
                signal.signal(number, self._earlier.pop(number))

    def run(self, begin: Callable[[], object]) -> None:
        """Run the reactor with them, and leave the process's handlers as they were.

        Args:
            begin: called when the reactor runs and signals are minded.
        """
        before = {number: signal.getsignal(number) for number in _ENDING}
        self._reactor.callWhenRunning(self.mind_the_end)
        self._reactor.callWhenRunning(begin)
        try:
            self._reactor.run()
        finally:
            if self._last is not None:
                self._last.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _set(self, number: int, handler: Callable[[int, Any], object]) -> None:
        self._earlier[number] = signal.signal(number, handler)

    def _end(self, number: int, frame: object) -> None:
        if not self._stops:
            self._stops = True
            self._earlier[number](number, frame)
            return
        for each in set(_ENDING).intersection(self._earlier):
            signal.signal(each, signal.SIG_DFL)
        self._reactor.callFromThread(self._cut)
        self._last = Timer(_AT_ONCE, os.kill, (os.getpid(), number))  # whatever a handler does in the reactor or a thread
        self._last.daemon = True
        self._last.start()

    def _cut(self) -> None:
        _log.warn("a second signal: what is not done is cut off")
        self._abort()
