"""This package as ``twistd veltix --workers N``: its start, its port, and the CPU of all its processes."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import thread_time
from typing import Any

from veltix_tx import MessageType, Response, Server
from veltix_tx.benchmark.peers.program import CODE, begin, obey, ready, usage

__all__ = ["BURNT", "burn", "echo"]

BURNT = 50e-6
"""Seconds of CPU that a handler burns."""

_END = 1.5
"""Seconds that the processes have to end."""

_SPEAKS = re.compile(r"speaks .* on 127\.0\.0\.1:(\d+)")
_SERVES = re.compile(r"\d+ workers serve")


def echo() -> Server:
    """Return a server that sends each message back."""
    server = Server()
    server.register_route(MessageType(CODE, "benchmark"), lambda client, message: message.content)
    return server


def burn() -> Server:
    """Return a server that sends each message back after BURNT seconds of the processor."""

    def burnt(client: object, message: Response) -> bytes:
        end = thread_time() + BURNT
        while thread_time() < end:
            pass
        return message.content

    server = Server()
    server.register_route(MessageType(CODE, "benchmark"), burnt)
    return server


class Workers:
    """A supervisor with its workers.

    Args:
        mode: ``"echo"`` or ``"burn"``.
        workers: how many.

    Attributes:
        port: the port they listen on.
    """

    def __init__(self, mode: str, workers: int) -> None:
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "veltix"]
        options = ["--workers", str(workers), "--port", "0", "--interface", "127.0.0.1", "--app", f"{__spec__.name}:{mode}"]
        self._process = subprocess.Popen([*twistd, *options], stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
        self.port = 0
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = _SPEAKS.search(line)
            if found is not None:
                self.port = int(found[1])
            if _SERVES.search(line):
                return
        raise RuntimeError(f"twistd has ended with status {self._process.wait()}")

    def usage(self) -> float:
        """Return the seconds of the processor that all their processes have taken."""
        return usage() + sum(map(_used, self._processes()))

    def end(self) -> None:
        """End them, by force if they take too long."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        self._process.kill()  # workers do not outlive their supervisor

    def _processes(self) -> list[int]:
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _used(pid: int) -> float:
    """Return the seconds of the processor of a process: of its threads, to the nanosecond, where its own are in ticks of 10 ms."""
    return sum(int(thread.read_text().split()[0]) for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _main(task: dict[str, Any]) -> None:
    workers = Workers(task["mode"], task["workers"])
    ready(workers.port)
    obey({"usage": workers.usage}, at_end=workers.end)


if __name__ == "__main__":
    _main(begin())
