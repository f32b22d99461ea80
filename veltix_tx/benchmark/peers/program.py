"""Common part of every peer's program: the line protocol, clocks, and the figures of CPU and memory.

The line protocol is the only agreement between the benchmark and the programs it starts. They may be of another
checkout of this package (``--compare``), whose modules have other names, so it changes with its number only.

A program is started as ``python -m veltix_tx.benchmark.peers.NAME TASK``, the task a JSON object:

- ``role``: ``"server"`` or ``"client"``;
- ``mode``, of a server: ``"sink"`` (check what arrives on one connection), ``"streams"`` (on many), ``"echo"``,
  ``"broadcast"`` (send each message to all, ``in_a_row`` times), ``"room"`` (the same to a room that all are in);
- ``header``: bytes of a message's header, 15, 22 or 62, for peers that have the choice;
- ``raw``, of a server: whether the raw client comes, which says what one release says, or the peer's own client;
- ``workers``, of a server: how many processes it is to be, of the mode ``"echo"`` or ``"burn"`` (50 µs for each message);
- ``plain``, of a server: ``"lines"`` or ``"udp"``, for a plain wire in place of its own;
- ``most``: bytes of the largest message, where that is over the usual limit;
- ``profiled``: whether to note which function runs.

It prints ``["ready", {"protocol": 2, "port": PORT}]`` (a client: no port), then answers each line
``[command, argument, ...]`` of stdin with ``["ok", result]`` or ``["error", text]``. It ends with stdin. Commands:

- ``usage``: seconds of the processor that the process has taken; ``rss``: bytes of its memory; ``samples``: how often
  each function ran, where profiled;
- of a server: ``expect NUMBER SIZE``, null (see :class:`~veltix_tx.benchmark.peers.delivery.Tally`), and
  ``wait NUMBER SECONDS``, an object of ``got``, ``wrong``, ``reordered`` and ``at``;
- of a client: ``connect PORT NUMBER``, null; then (see :class:`~veltix_tx.benchmark.peers.working.Work`)
  ``oneway NUMBER SIZE`` and ``stress EACH SIZE``, objects of ``begun``, ``sent`` and ``cpu``;
  ``ask NUMBER IN_FLIGHT SIZE`` and ``ping NUMBER``, of ``seconds``, ``cpu``, ``lost``, ``wrong`` and ``times``, a
  histogram of nanoseconds; ``fps RATE SECONDS``, of ``sent``, ``ticks``, ``late``, ``begun``, ``seconds`` and ``cpu``.

Contents are those of :mod:`~veltix_tx.benchmark.peers.delivery`; ``begun`` and ``at`` are moments of
``time.perf_counter``, which is one clock for all processes of a machine; ``cpu`` and the rest are seconds. The type of
every message is 200.
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
from typing import Any

from veltix_tx.benchmark.peers.sampling import samples, start

__all__ = ["CODE", "PROTOCOL", "begin", "clock", "clock_ns", "obey", "ready", "say", "serve_commands"]

PROTOCOL = 2
"""The line protocol's number: 2 since it has one."""

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


def ready(port: int | None = None) -> None:
    """Say that the program has started."""
    _write(["ready", {"protocol": PROTOCOL, "port": port}])


def say(*what: object) -> None:
    """Write one line, whole."""
    _write(what)


def _write(what: object) -> None:
    line = json.dumps(what).encode() + b"\n"
    with _lock:
        while line:
            line = line[os.write(_answers, line) :]


def obey(
    commands: Mapping[str, Callable[..., Any]],
    run: Callable[[Any], Any] = lambda result: result,
    at_end: Callable[[], object] = lambda: None,
) -> None:
    """Carry out the commands on stdin until that ends, then end the process.

    Args:
        commands: what can be done, by name; ``usage`` and ``rss`` always can.
        run: makes the result of what a command returns, such as a coroutine.
        at_end: ends what else there is to end.
    """
    known = {"usage": usage, "rss": resident, "samples": samples} | dict(commands)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            say("ok", run(known[name](*arguments)))
        except Exception as error:
            say("error", f"{type(error).__name__}: {error}")
    at_end()
    os._exit(0)


def serve_commands(commands: Mapping[str, Callable[..., Any]], run: Callable[[Any], Any] = lambda result: result) -> None:
    """Carry out the commands in a thread of their own."""
    threading.Thread(target=obey, args=(commands, run), daemon=True).start()


def usage() -> float:
    """Return the seconds of the processor that this process has taken, in all its threads, for itself and in the kernel."""
    with suppress(ImportError):
        import resource  # noqa: PLC0415 (Windows has none)

        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime
    return time.process_time()


def resident() -> int:
    """Return the bytes of memory the process has now."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
