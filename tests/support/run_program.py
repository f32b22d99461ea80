"""Programs of ``tests/programs``, run to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / "programs"


def run_program(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end; it is killed, with all that it has started, if it takes nearly two minutes."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(PROGRAMS / name), *options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, errors = process.communicate(timeout=110)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, errors)
