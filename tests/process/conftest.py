"""Real processes of ``twistd veltix`` and ``veltix``, with this interpreter's own scripts."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from veltix_tx.cli import _veltix

SCRIPTS = os.path.dirname(sys.executable)


def environment() -> dict[str, str]:
    """The surroundings of a process: nothing of pytest's, no plugin cache or bytecode written."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


class Process(ProcessProtocol):
    """A running process: what it says, line by line, and how it ends."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.exited: Deferred[int] = Deferred()
        self._waits: list[tuple[re.Pattern[bytes], Deferred[re.Match[bytes]]]] = []

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        """Keep what it says."""
        self.out += data
        self._look()

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        """Keep what it says."""
        self.err += data
        self._look()

    def says(self, pattern: bytes) -> Deferred[re.Match[bytes]]:
        """Return a Deferred that fires with the match once either output has it, and errbacks at the end."""
        deferred: Deferred[re.Match[bytes]] = Deferred()
        self._waits.append((re.compile(pattern), deferred))
        self._look()
        return deferred

    async def port(self) -> int:
        """Return the port of the first start line."""
        return int((await self.says(rb"speaks .* on 127\.0\.0\.1:(\d+)")).group(1))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.transport.signalProcess(number)  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        """Tell of the end."""
        assert isinstance(reason.value, (ProcessDone, ProcessTerminated))
        code, number = reason.value.exitCode, reason.value.signal
        for _, deferred in self._waits:
            deferred.errback(AssertionError(f"it ended: {self.out!r} {self.err!r}"))
        self._waits.clear()
        self.exited.callback(-number if code is None else code)  # type: ignore[operator, arg-type]

    def _look(self) -> None:
        for wait in list(self._waits):
            found = wait[0].search(self.out) or wait[0].search(self.err)
            if found is not None:
                self._waits.remove(wait)
                wait[1].callback(found)


@pytest.fixture
def spawn(clean_reactor: None, tmp_path: Path, finish: Callable[..., Any]) -> Iterator[Callable[..., Process]]:
    """Start a process in a folder of its own; it is killed, by its id, if the test leaves it running.

    ``out`` and ``err`` are descriptors for its output, in place of pipes that are read here.
    """
    from twisted.internet import reactor

    processes: list[Process] = []

    def start(*command: str, **descriptors: int) -> Process:
        process = Process()
        processes.append(process)
        files = {0: "w", 1: descriptors.get("out", "r"), 2: descriptors.get("err", "r")}
        reactor.spawnProcess(  # type: ignore[attr-defined]
            process, command[0], command, env=environment(), path=str(tmp_path), childFDs=files
        )
        return process

    yield start
    for process in processes:
        if not process.exited.called:
            process.signal(signal.SIGKILL)
            finish(process.exited)


@pytest.fixture
def twistd(spawn: Callable[..., Process]) -> Callable[..., Process]:
    """Start ``twistd -n veltix`` with options."""
    return lambda *options: spawn(os.path.join(SCRIPTS, "twistd"), "-n", "--pidfile=", "veltix", *options)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end, where nothing in this process needs the reactor meanwhile."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the ``veltix`` command in this process, in the test's folder: for what ends before anything is connected to."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(_veltix, arguments, prog_name="veltix", catch_exceptions=False)


@pytest.fixture
def scripts() -> str:
    """Return the folder of this interpreter's scripts."""
    return SCRIPTS


@pytest.fixture
def busy_port() -> Iterator[int]:
    """Return a port that something listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]
