"""A reactor in a thread of its own, for programs that block.

There is one for the whole process, a reactor object beside Twisted's global one: a program may use
this package and a Twisted of its own at once. It starts when it is first needed. When the
interpreter exits, what is still open is closed politely (what was sent is sent), callbacks are not
called any more, and the thread ends; nothing of it keeps a finished program alive.

(Crochet, the library for this, runs the global reactor and takes over its logging and its
shutdown, which a drop-in replacement must leave to the program.)
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Lock, Thread, get_ident
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from veltix_tx.errors import VeltixError
from veltix_tx.net.shared.log_limiter import LogLimiter
from veltix_tx.net.threads import wait_for

__all__ = ["Closing", "ReactorThread", "reactor_thread"]

_log = Logger()

_EXIT = 5.0
"""Seconds that open connections have at the interpreter's exit."""

_LINES = 5, 20
"""Lines of the log a second, and in a row, that may be about no connection, as of a connection."""

_POSTED = 1024 * 1024
"""Bytes that may wait for the reactor's thread before whoever posts more waits, too."""


class Closing(Protocol):
    """Something that is open in the reactor."""

    def close_at_exit(self) -> Deferred[Any]:
        """Close politely and call nobody back; called in the reactor's thread."""


class ReactorThread:
    """The reactor and its thread. Use :func:`reactor_thread`."""

    def __init__(self) -> None:
        self.reactor: Any = _make_reactor()
        self.reactor._registerAsIOThread = False  # the program's own reactor may be Twisted's "I/O thread"
        self.reactor.getThreadPool().threadFactory = partial(Thread, daemon=True)
        self.open: set[Closing] = set()
        self._remarks = LogLimiter(time.monotonic, *_LINES)
        self._calls: deque[tuple[Any, ...]] = deque()  # one object for each: the garbage collector looks at them all
        self._woken = False
        self._thread = Thread(target=self.reactor.run, kwargs={"installSignalHandlers": False}, name="veltix_tx", daemon=True)
        started = Event()
        self.reactor.callWhenRunning(started.set)
        self._thread.start()
        started.wait()

    def may_log(self) -> bool:
        """Return True if the log may have one more line that no connection's budget is for: peers may cause mistakes."""
        return self._remarks.allow("this program")

    def call(self, function: Callable[..., object], *arguments: object) -> Any:
        """Call a function in the reactor's thread, after everything posted so far, and wait.

        Returns:
            what it returns, or what its Deferred fires with; raises what that fails with.
        """
        return wait_for(self.reactor, self._after_posted, function, *arguments)

    def post(self, function: Callable[..., object], *arguments: object, size: int = 0) -> None:
        """Queue a call for the reactor's thread, in the order of posting, and do not wait.

        The reactor is woken once for many calls: that is what makes sending from a loop fast.

        Args:
            function: what to call.
            arguments: what to call it with.
            size: bytes it keeps until then. With many of them waiting already, this does wait.
        """
        if len(self._calls) * size > _POSTED and get_ident() != self._thread.ident:
            self.call(lambda: None)
        self._calls.append((function, *arguments))
        if not self._woken:
            self._woken = True
            self.reactor.callFromThread(self._run_posted)

    def _after_posted(self, function: Callable[..., object], *arguments: object) -> object:
        self._run_posted()
        return function(*arguments)

    def _run_posted(self) -> None:
        self._woken = False  # before looking: a call posted from now on wakes the reactor again
        for _ in range(len(self._calls)):  # not those posted meanwhile: threads that send all the time leave it time to read
            try:
                function, *arguments = self._calls.popleft()
                function(*arguments)
            except BaseException:  # noqa: PERF203 (the others are called all the same)
                if self.may_log():
                    _log.failure("a call from another thread failed")

    def stop(self) -> None:
        """Close what is open and end the thread."""
        with suppress(VeltixError):
            self.call(self._close_all)
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(_EXIT)

    def _close_all(self) -> Deferred[Any]:
        closing = DeferredList([maybeDeferred(each.close_at_exit) for each in list(self.open)], consumeErrors=True)
        return closing.addTimeout(_EXIT, self.reactor, onTimeoutCancel=lambda result, _: result)


_lock = Lock()
_running: list[ReactorThread] = []


def reactor_thread() -> ReactorThread:
    """Return the process's reactor thread, started."""
    if not _running:
        with _lock:
            if not _running:
                _running.append(ReactorThread())
    return _running[0]


@atexit.register  # at import, so that what the program registers for its exit comes before
def _stop() -> None:
    for each in _running:
        each.stop()


def _forget() -> None:
    """Start afresh in a forked child, which has the reactor but not its thread; what the parent has made fails at once."""
    for each in _running:
        each.reactor.running = False
    _running.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget)


def _make_reactor() -> Any:
    try:
        from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 (Linux only)
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor  # noqa: PLC0415 (everywhere)

        return SelectReactor()
    return EPollReactor()
