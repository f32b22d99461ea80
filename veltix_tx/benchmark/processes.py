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

__all__ = ["Program", "ProgramError"]

_ROOT = Path(__file__).parents[2]
_START = 30.0
_ANSWER = 120.0
_END = 2.0


class ProgramError(Exception):
    """A peer's program did not do what it was asked: it failed, ended, or took too long."""


class Program:
    """One process of a peer; also a context manager that ends it.

    Args:
        module: the module to run, of ``veltix_tx.benchmark.peers``.
        task: what it is told to be.
        folder: where the peer is installed; None for what is installed beside this package.
        environment: variables set for it.

    Attributes:
        role: what it is: ``"server"`` or ``"client"``.
        ready: what it told when it had started: a server's port.

    Raises:
        ProgramError: it does not start.
    """

    def __init__(
        self, module: str, task: Mapping[str, Any], folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        folders = [str(each) for each in (folder, _ROOT) if each is not None]
        inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
        self.role: str = task.get("role", "client")
        self._name = f"{module} ({self.role})"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"veltix_tx.benchmark.peers.{module}", json.dumps(dict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=_ROOT,
            env=os.environ | dict(environment or {}) | {"PYTHONPATH": os.pathsep.join([*folders, *inherited])},
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.ready: Any = self._answer("ready", _START)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, command: str, *arguments: Any, seconds: float = _ANSWER) -> Any:
        """Let it carry out a command; return the result.

        Raises:
            ProgramError: it fails, ends, or takes longer than ``seconds``.
        """
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
