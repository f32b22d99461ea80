"""Standard output and standard error of a command: a write that fails ends the command as it ends other Unix tools."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

__all__ = ["FAILED", "INTERRUPTED", "OutputFailed", "command_output", "is_broken_pipe"]

FAILED = 1
"""Exit status of a command that has failed."""

INTERRUPTED = 128 + 2
"""Exit status of a command that SIGINT (Ctrl-C) has ended."""

_NAMES = {1: "standard output", 2: "standard error"}


class OutputFailed(Exception):
    """A write to standard output or standard error has failed.

    No OSError, so that it is not taken for one of a socket or a file.

    Attributes:
        error: the system's error.
        stream: its name, ``"standard output"`` or ``"standard error"``.
    """

    def __init__(self, error: OSError, stream: str) -> None:
        super().__init__(error, stream)
        self.error = error
        self.stream = stream

    def __str__(self) -> str:
        return f"cannot write to {self.stream}: {self.error.strerror}"


class _Stream:
    """A stream whose failed writes raise :class:`OutputFailed`; a text stream's buffer is another one."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    @property
    def buffer(self) -> _Stream:
        """Binary stream below a text stream, to which click writes itself where the encoding is ASCII."""
        return _Stream(self._stream.buffer, self._name)

    def write(self, text: Any) -> int:
        """Write text, or bytes."""
        try:
            return int(self._stream.write(text))
        except OSError as error:
            raise OutputFailed(error, self._name) from None

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputFailed(error, self._name) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def command_output(name: str) -> Iterator[None]:
    """Run a command; where its output cannot be written, or it is interrupted, end the process.

    Nobody reads any more (``| head -1``): by SIGPIPE, without a word, which a shell shows as status 141. Any other
    error, such as a full disk: with one line on standard error and status 1. Ctrl-C: with status 130.

    Args:
        name: the command's name, for that line.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        cast("Any", stream and _Stream(stream, _NAMES[number])) for number, stream in enumerate(before, start=1)
    )
    try:
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except OutputFailed as failed:
        sys.exit(_end(name, failed))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        sys.stdout, sys.stderr = before


def is_broken_pipe(stream: Any) -> bool:
    """True if what a stream writes to is a pipe that nobody reads any more."""
    try:
        from select import POLLERR, POLLHUP, poll  # noqa: PLC0415 (Windows has no poll)

        watched = poll()
        watched.register(stream.fileno(), 0)
    except (ImportError, OSError, ValueError, AttributeError):
        return False
    return any(event & (POLLERR | POLLHUP) for _, event in watched.poll(0))


def _end(name: str, failed: OutputFailed) -> int:
    unwritten = os.open(os.devnull, os.O_WRONLY)
    for number, stream in _NAMES.items():
        if stream == failed.stream:
            os.dup2(unwritten, number)  # what is still buffered goes nowhere, and fails no second time
    os.close(unwritten)
    if isinstance(failed.error, BrokenPipeError):
        with suppress(AttributeError):  # Windows has no such signal
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
    elif failed.stream != _NAMES[2]:
        with suppress(OSError):
            os.write(2, f"{name}: {failed}\n".encode())
    return FAILED
