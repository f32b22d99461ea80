"""What conftest.py and pyproject.toml make of a test run: nothing goes unnoticed, and nothing goes on for ever."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

Pytest = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_pytest(tmp_path: Path) -> Pytest:
    """Run pytest with this project's settings and conftest.py on one test module of a folder."""

    def run(module: str, *options: str, what: str = ".", ignored: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        (tmp_path / "conftest.py").write_bytes((HERE / "conftest.py").read_bytes())
        (tmp_path / "test_it.py").write_text(module)
        command = [sys.executable, "-m", "pytest", "-c", str(HERE.parent / "pyproject.toml"), "--rootdir", str(tmp_path)]
        return subprocess.run(
            [*command, "-p", "no:cacheprovider", *options, what],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored] and None,
        )

    return run


def outcomes(ended: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return how many tests passed, failed and so on, by pytest's last line."""
    return {what: int(count) for count, what in re.findall(r"(\d+) ([a-z]+)", ended.stdout.splitlines()[-1].partition(" in ")[0])}


NOBODYS = """
from twisted.internet.defer import Deferred

kept = []

def failed():
    deferred = Deferred()
    deferred.errback(ValueError("nobody's"))
    deferred.cycle = deferred
    return deferred
"""


def test_an_error_nobody_handled_fails_the_test_that_leaves_it(run_pytest: Pytest) -> None:
    """Also if only a collection finds it: the reference cycle that it is in is garbage behind the test."""
    ended = run_pytest(NOBODYS + "def test_it(): failed()\ndef test_next(): pass\n", "--numprocesses=0")
    assert outcomes(ended) == {"passed": 2, "error": 1}
    assert re.search(r"^ERROR test_it.py::test_it - .*", ended.stdout, re.MULTILINE)
    assert "ValueError: nobody's" in ended.stdout


def test_an_error_nobody_handled_fails_the_module_that_kept_it_longer(run_pytest: Pytest) -> None:
    """What outlives its test is looked at again behind the last test of its module."""
    ended = run_pytest(NOBODYS + "def test_it(): kept.append(failed())\ndef test_last(): kept.clear()\n", "--numprocesses=0")
    assert outcomes(ended) == {"passed": 2, "error": 1}
    assert re.search(r"^ERROR test_it.py::test_last - .*", ended.stdout, re.MULTILINE)
    assert "ValueError: nobody's" in ended.stdout


HANGS = """
import threading

def test_first(): pass
def test_hangs(): threading.Event().wait()
def test_last(): pass
"""


def test_a_test_that_hangs_is_ended(run_pytest: Pytest) -> None:
    """After ``faulthandler_timeout`` a worker ends with the stacks of its threads; its test has failed and the run goes on."""
    ended = run_pytest(HANGS, "--numprocesses=1", "--override-ini=faulthandler_timeout=1")
    assert outcomes(ended) == {"passed": 2, "failed": 1}
    assert "FAILED test_it.py::test_hangs - worker 'gw0' crashed" in ended.stdout
    assert "in test_hangs" in ended.stderr


def test_a_run_without_workers_that_hangs_is_ended(run_pytest: Pytest) -> None:
    """It has a status that is not 0, and says where it hung."""
    ended = run_pytest(HANGS, "--numprocesses=0", "--override-ini=faulthandler_timeout=1")
    assert ended.returncode != 0
    assert "in test_hangs" in ended.stderr


def test_no_test_may_take_more_than_two_minutes(request: pytest.FixtureRequest) -> None:
    """That is what pyproject.toml sets."""
    assert 0 < float(request.config.getini("faulthandler_timeout")) <= 120


def test_processes_of_tests_have_the_default_signals(run_pytest: Pytest) -> None:
    """Where pytest ignores signals, as behind ``&`` in a script or under nohup, what it starts does not; itself it still does."""
    ended = run_pytest(
        """
import os, signal, subprocess, sys
import pytest

@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_it(name):
    os.kill(os.getpid(), getattr(signal, name))
    show = f"import signal; print(signal.getsignal(signal.{name}) == signal.SIG_IGN)"
    assert subprocess.run([sys.executable, "-c", show], capture_output=True, timeout=60).stdout == b"False\\n"
""",
        "--numprocesses=1",
        ignored=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    )
    assert outcomes(ended) == {"passed": 3}, ended.stdout


WORKS = """
import os

def test_it(): print("worker:", os.environ.get("PYTEST_XDIST_WORKER"))
"""


@pytest.mark.parametrize(
    ("what", "options", "workers"),
    [(".", (), True), (".", ("-s",), False), ("test_it.py::test_it", (), False)],
)
def test_a_folder_has_workers(what: str, options: tuple[str, ...], workers: bool, run_pytest: Pytest) -> None:
    """Tests of folders run in a worker for each processor; a single file's, and those whose output is wanted, in pytest itself."""
    ended = run_pytest(WORKS, "-rP", "--maxprocesses=1", *options, what=what)
    assert outcomes(ended) == {"passed": 1}
    assert ("worker: gw" in ended.stdout, "worker: None" in ended.stdout) == (workers, not workers)
