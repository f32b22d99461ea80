"""Callbacks off the reactor's thread: several connections at once, each one's in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from threading import Condition, Event, Lock, Thread, get_ident
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from veltix_tx.sanitize import SanitizedFailure, escape_controls

__all__ = ["Strand", "ThreadPool"]

_log = Logger()

_LINGER = 1.0
"""Seconds a thread without work waits for more before it ends."""

_AT_A_TIME = 64
"""Calls of one strand in a row before others get a turn."""

_FULL, _LOW = 1024, 256
"""Calls that may wait in a strand, and how few must be left before there is room again."""


class ThreadPool:
    """Daemon threads that run jobs: made when there is work, gone when there is none.

    Args:
        most: how many at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[Callable[[], object]] = deque()
        self._changed = Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Callable[[], object]) -> None:
        """Run a job as soon as a thread is free."""
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
                return
            if self._threads >= self._most:
                return
            self._threads += 1
        Thread(target=self._work, name="veltix_tx callbacks", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._idle += 1
                    self._changed.wait(_LINGER)
                    self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            copy_context().run(job)  # what it sets with a ContextVar is seen by no other job in this thread


class Strand:
    """Calls that run one after another in the order they come, in whatever thread is free.

    Args:
        crew: whose threads.
        reactor: in whose thread what :meth:`put` returns fires.
        may_log: whether the log may have one more line that the peer causes.
    """

    def __init__(self, crew: ThreadPool, reactor: Any, may_log: Callable[[], bool] = lambda: True) -> None:
        self._crew = crew
        self.may_log = may_log
        self._reactor = reactor
        self._calls: deque[tuple[Any, ...]] = deque()
        self._lock = Lock()
        self._running = False
        self._thread = 0
        self._room: Deferred[None] | None = None

    def put(self, function: Callable[..., object], *arguments: object) -> Deferred[None] | None:
        """Queue a function to be called after those put before.

        Returns:
            None, or where too many wait a Deferred that fires when there is room for more.
        """
        self._calls.append((function, *arguments))
        if not self._running:  # else whoever runs it looks for more after saying that it has stopped: no lock for each call
            self._start()
        return self._full() if len(self._calls) >= _FULL else self._room

    def wait(self, seconds: float) -> bool:
        """Wait until everything put so far has run; return whether it has. Never waits for itself."""
        if self._thread == get_ident():
            return False
        if not (self._running or self._calls):
            return True
        done = Event()  # not "until nothing is left": more may come all the time
        self.put(done.set)
        return done.wait(seconds)

    def clear(self) -> None:
        """Forget what has not been called yet."""
        with self._lock:
            self._calls.clear()
            self._make_room()

    def _run(self) -> None:
        self._thread = get_ident()
        for _ in range(_AT_A_TIME):
            try:
                function, *arguments = self._calls.popleft()
            except IndexError:
                break
            try:
                function(*arguments)
            except BaseException as error:  # exit() in a callback must not end the thread that others use
                if self.may_log():
                    _log_failed(function, error)
        self._thread = 0
        if self._room is not None:
            with self._lock:
                if len(self._calls) <= _LOW:
                    self._make_room()
        self._running = False
        if self._calls:
            self._start()

    def _start(self) -> None:
        with self._lock:
            starts, self._running = not self._running, True
        if starts:
            self._crew.submit(self._run)

    def _full(self) -> Deferred[None] | None:
        with self._lock:
            if self._room is None and len(self._calls) > _LOW:
                self._room = Deferred()
            return self._room

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self._reactor.callFromThread(room.callback, None)


def _log_failed(function: Callable[..., object], error: BaseException) -> None:
    failure = Failure()
    failure.cleanFailure()  # to text: an event may be kept, and would keep what the frames hold
    _log.failure(
        *("Error in callback {name}: {kind}: {error}", SanitizedFailure(failure), LogLevel.error),
        name=getattr(function, "__qualname__", repr(function)),
        kind=type(error).__name__,
        error=escape_controls(safe_str(error)),
    )
