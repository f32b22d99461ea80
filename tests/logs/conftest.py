"""Observers that are closed, and a program without a logger before and after each test."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from veltix_tx.logs import LineObserver, Logger, LoggerConfig


@pytest.fixture(autouse=True)
def no_logger() -> Iterator[None]:
    """Begin and end without the one logger."""
    Logger.reset_instance()
    yield
    Logger.reset_instance()


class File(io.StringIO):
    """A stream in memory that can pass for a file."""


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream in memory that gets no colours."""
    with open(os.devnull, "w") as file:
        stream = File()
        stream.fileno = file.fileno
        yield stream


@pytest.fixture
def observer(stream: io.StringIO) -> Iterator[Callable[..., LineObserver]]:
    """Make observers on ``stream`` (unless told otherwise) and close them after the test."""
    made: list[LineObserver] = []

    def make(**settings: Any) -> LineObserver:
        made.append(LineObserver(LoggerConfig(**{"stream": stream, **settings})))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Run a program in a fresh Python in the test's folder, with warnings as errors; return what it prints."""

    def run(program: str) -> str:
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run
