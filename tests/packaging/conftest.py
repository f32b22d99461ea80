"""The distributions, built once from a clean copy of this tree."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = (
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    "*.so",
    "*.pyd",
    ".*_cache",
    ".git",
    ".hypothesis",
    "_trial_temp*",
    "dropin.cache",
    "_build",
    ".venv*",
    ".interop-cache",
)


def _run(*command: str | Path, **options: Any) -> str:
    faulthandler.cancel_dump_traceback_later()  # a download may take longer
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a command that must succeed; returns its output."""
    return _run


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the source tree, found from here: the package may be an installed one."""
    return ROOT


def _copy(into: Path) -> Path:
    """Copy what belongs to the project: what git tracks or would, or everything without git."""
    if not (ROOT / ".git").exists():
        shutil.copytree(ROOT, into, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        return into
    for name in _run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)
    return into


@pytest.fixture(scope="session")
def copy_tree() -> Callable[[Path], Path]:
    """Copies the project to a new folder, for a build or an editable install of its own."""
    return _copy


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder and what belongs into it once for a test run, whichever of its workers comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / "once.lock").open("w") as lock:  # one for all: two builds in one tree would disturb each other
            faulthandler.cancel_dump_traceback_later()  # the other worker's commands end by themselves
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = Path(tempfile.mkdtemp(dir=shared))
                fill(unfinished)
                unfinished.rename(folder)
        return folder

    return make_once


@pytest.fixture(scope="session")
def tree(once: Callable[..., Path]) -> Path:
    """A clean copy of the project to build from."""
    return once("source", lambda folder: _copy(folder / "tree")) / "tree"


@pytest.fixture(scope="session")
def wheel(once: Callable[..., Path], tree: Path) -> Path:
    """The wheel."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    (built,) = once("wheel", lambda folder: _run(*pip, "--wheel-dir", folder, tree, cwd=folder)).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def sdist(once: Callable[..., Path], tree: Path) -> Path:
    """The source distribution."""
    build = (sys.executable, "-m", "build", "--sdist")
    (built,) = once("sdist", lambda folder: _run(*build, "--outdir", folder, tree, cwd=folder)).glob("*.tar.gz")
    return built
