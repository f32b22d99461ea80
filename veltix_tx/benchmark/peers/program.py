"""What every program of a peer has: lines of JSON in and out, a count of messages, clocks.

A program is started with one argument, its task as a JSON object. It prints ``["ready", PORT]`` (a client: null), then
answers each line ``[command, argument, …]`` of stdin with ``["ok", result]`` or ``["error", text]``. It ends with stdin.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from veltix_tx.benchmark.peers.sampling import samples, start

__all__ = ["CODE", "Tally", "begin", "clock_ns", "obey", "say", "serve_commands"]

CODE = 200
"""The type of every message."""

clock = time.perf_counter
"""Seconds on the clock that all processes of one machine share."""

clock_ns = time.perf_counter_ns

# Some peers log to stdout: keep that for the answers alone.
_answers = 1
_lock = threading.Lock()


def begin() -> dict[str, Any]:
    """Return the program's task, with stdout kept for answers and as many open files as the system gives."""
    global _answers  # noqa: PLW0603
    _answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 (Windows has none)

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    task: dict[str, Any] = json.loads(sys.argv[1])
    if task.get("profiled"):
        start()
    return task


def say(*what: object) -> None:
    """Write one line, whole."""
    line = json.dumps(what).encode() + b"\n"
    with _lock:
        while line:
            line = line[os.write(_answers, line) :]


def obey(commands: Mapping[str, Callable[..., Any]], run: Callable[[Any], Any] = lambda result: result) -> None:
    """Carry out the commands on stdin until that ends, then end the process.

    Args:
        commands: what can be done, by name; ``cpu`` and ``rss`` always can.
        run: makes the result of what a command returns, such as a coroutine.
    """
    known = {"cpu": time.process_time, "rss": resident, "samples": samples} | dict(commands)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            say("ok", run(known[name](*arguments)))
        except Exception as error:
            say("error", f"{type(error).__name__}: {error}")
    os._exit(0)


def serve_commands(commands: Mapping[str, Callable[..., Any]], run: Callable[[Any], Any] = lambda result: result) -> None:
    """Carry out the commands in a thread of their own."""
    threading.Thread(target=obey, args=(commands, run), daemon=True).start()


def resident() -> int:
    """Return the bytes of memory the process has now."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Tally:
    """Counts the messages that a server's handler is given, in whatever threads."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._target = 0
        self._done = threading.Event()
        self._at = 0.0

    def take(self, *message: object) -> None:
        """Take one message: what a server's handler does."""
        if next(self._numbers) == self._target:
            self._at = clock()
            self._done.set()

    @property
    def commands(self) -> dict[str, Callable[..., Any]]:
        """What the benchmark asks of a server."""
        return {"expect": self.expect, "wait": self.wait}

    def expect(self, number: int) -> None:
        """Count from 0 again, and take note of when the last of so many has come."""
        self._done.clear()
        self._numbers = count(1)
        self._target = number

    def wait(self, number: int, seconds: float) -> dict[str, float]:
        """Wait until so many have come; return how many have, and when the last one did."""
        if self._target != number:
            self._target = number
            if self._count >= number:
                return {"got": self._count, "at": clock()}
        arrived = self._done.wait(seconds)
        return {"got": self._count, "at": self._at if arrived else clock()}

    @property
    def _count(self) -> int:
        return int(repr(self._numbers)[len("count(") : -1]) - 1
