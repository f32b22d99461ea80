"""Work that a thread of its own does, in order, and that is never lost."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakSet

__all__ = ["WriterThread"]

Work = Callable[[], object]


class WriterThread:
    """Does work in one thread, in the order it was given.

    The thread starts with the first work. It stops for a fork, since a child would have its work but
    not the thread, and starts again with the next work on either side. At the interpreter's exit, and when
    the reactor has stopped (twistd then ends by a signal, without an exit), everything is done that was given;
    later work is done at once, by whoever gives it.

    ``logging.handlers.QueueListener`` would do most of this, but can lose what is put while it stops,
    and the queue that bounds it deadlocks if the garbage collector makes somebody log inside ``put``.

    Args:
        most: how much may wait; who gives more waits until all of it is done.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._closed = False
        _open.add(self)

    def submit(self, work: Work) -> None:
        """Queue work, which must not raise. The thread's own work is done at once, since it cannot wait for itself."""
        if threading.current_thread() is self._thread:
            work()
            return
        _watch_reactor()
        if self._queue.qsize() >= self._most:
            done = threading.Event()
            self._enqueue(done.set)
            done.wait()
        self._enqueue(work)

    def close(self) -> None:
        """Do what waits; from now on work is done by whoever gives it."""
        self._closed = True
        with self._lock:
            self._stop()

    def pause(self) -> None:
        """Do what waits, and let no thread start until :meth:`resume`."""
        self._lock.acquire()
        self._stop()

    def resume(self) -> None:
        """Allow the thread again."""
        self._lock.release()

    def _enqueue(self, work: Work) -> None:
        self._queue.put(work)
        if self._thread is None:  # looked at after the put, so that _stop, which looks the other way round, misses nothing
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="veltix_tx.logs", daemon=True)
        with self._lock:
            if self._closed:
                self._drain()
            elif self._thread is None:
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # the system has no thread left
                    self._thread = None
                    self._drain()

    def _stop(self) -> None:
        thread = self._thread
        if thread is threading.current_thread():
            return
        if thread is not None:
            self._queue.put(None)
            thread.join()
            self._thread = None
        self._drain()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    def _drain(self) -> None:
        while True:
            try:
                work = self._queue.get_nowait()
            except Empty:
                return
            if work is not None:
                work()


_open: WeakSet[WriterThread] = WeakSet()
_held: list[WriterThread] = []
_watched: list[Any] = []


def _watch_reactor() -> None:
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and not _watched:
        _watched.append(reactor)
        reactor.addSystemEventTrigger("after", "shutdown", _at_exit)


def _at_exit() -> None:
    for each in list(_open):
        each.close()


def _before_fork() -> None:
    _held[:] = _open
    for each in _held:
        each.pause()


def _after_fork() -> None:
    while _held:
        _held.pop().resume()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
