"""The commands of this folder, run to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run_command(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end; it is killed, with all that it has started, if it takes nearly two minutes."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(HERE / name), *options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, errors = process.communicate(timeout=110)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


@pytest.fixture
def held() -> Callable[..., str]:
    """Run a command and return what it prints; it must find no fault."""

    def run(name: str, *options: str) -> str:
        ended = run_command(name, *options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.endswith("  held\n"), ended.stdout
        return ended.stdout

    return run
