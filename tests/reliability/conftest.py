"""The programs that are run by hand, in a small size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.run_program import run_program


@pytest.fixture
def held() -> Callable[..., str]:
    """Run a command and return what it prints; it must find no fault."""

    def run(name: str, *options: str) -> str:
        ended = run_program(name, *options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.endswith("  held\n"), ended.stdout
        return ended.stdout

    return run
