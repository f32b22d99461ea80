"""The distributions, built once from a clean copy of this tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
)


def _run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
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
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the project to build from."""
    return _copy(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, tree, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    _run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, tree, cwd=folder)
    (built,) = folder.glob("*.tar.gz")
    return built
