"""The programs of peers as processes: start, ask, end, each with a deadline."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from veltix_tx.benchmark.peers.program import PROTOCOL

__all__ = ["Program", "ProgramError", "run_python"]

_ROOT = Path(__file__).absolute().parents[2]
_START = 30.0
_ANSWER = 120.0
_END = 2.0


class ProgramError(Exception):
    """A peer's program did not do what it was asked: it failed, ended, or took too long."""


class Program:
    """One process of a peer; also a context manager that ends it.

    It is not waited for until something is asked of it, so that several start at once.

    Args:
        module: the module to run, of ``veltix_tx.benchmark.peers``.
        task: what it is told to be.
        folder: where the peer is installed; None for what is installed beside this package.
        environment: variables set for it.
        root: the checkout it is of; this one by default.

    Attributes:
        role: what it is: ``"server"`` or ``"client"``.
    """

    def __init__(
        self,
        module: str,
        task: Mapping[str, Any],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        root: Path | None = None,
    ) -> None:
        self.role: str = task.get("role", "client")
        self._name = f"{module} ({self.role})"
        self._ready: Any = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"veltix_tx.benchmark.peers.{module}", json.dumps(dict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=root or _ROOT,
            env=_environment(root or _ROOT, folder, environment),
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """A server's port.

        Raises:
            ProgramError: the program does not start.
        """
        port: int = self._started()["port"]
        return port

    @property
    def protocol(self) -> int:
        """The number of the line protocol that it speaks, 0 before that had one.

        Raises:
            ProgramError: the program does not start.
        """
        self._await_ready()
        number: int = self._ready.get("protocol", 0) if isinstance(self._ready, dict) else 0
        return number

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, command: str, *arguments: Any, seconds: float = _ANSWER) -> Any:
        """Make it carry out a command; return the result.

        Raises:
            ProgramError: it fails, ends, or takes longer than ``seconds``.
        """
        self._started()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise ProgramError(f"{self._name} has ended: {self._last_words()}") from None
        return self._answer(command, seconds)

    def close(self) -> None:
        """End it, by force if it does not end with its stdin."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it has ended, something unsent
            process.stdin.close()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()
        process.stdout.close()
        self._errors.close()

    def _started(self) -> dict[str, Any]:
        """Return what it told when it had started."""
        if self.protocol != PROTOCOL:
            raise ProgramError(f"{self._name} speaks line protocol {self.protocol} instead of {PROTOCOL}")
        told: dict[str, Any] = self._ready
        return told

    def _await_ready(self) -> None:
        if self._ready is None:
            self._ready = self._answer("ready", _START) or {}

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _answer(self, command: str, seconds: float) -> Any:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise ProgramError(f"{self._name} has not answered {command!r} for {seconds:g} s") from None
        if not line:
            raise ProgramError(f"{self._name} has ended: {self._last_words()}")
        word, result = json.loads(line)
        if word == "error":
            raise ProgramError(f"{self._name}: {result}")
        return result

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def run_python(code: str, environment: Mapping[str, str] | None = None, root: Path | None = None) -> Any:
    """Run Python code in a process of its own, and return what it prints as JSON.

    Args:
        code: what to run.
        environment: variables set for it.
        root: the checkout it is to import; this one by default.

    Raises:
        ProgramError: it fails, or takes too long.
    """
    command = [sys.executable, "-c", code]
    variables = _environment(root or _ROOT, None, environment)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START, check=False, cwd=root or _ROOT, env=variables
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"no end within {_START:g} s: {code}") from None
    if done.returncode:
        raise ProgramError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}: {code}")
    return json.loads(done.stdout)


def _environment(root: Path, folder: Path | None, more: Mapping[str, str] | None) -> dict[str, str]:
    folders = [str(each) for each in (folder, root) if each is not None]
    inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return os.environ | dict(more or {}) | {"PYTHONPATH": os.pathsep.join([*folders, *inherited])}
