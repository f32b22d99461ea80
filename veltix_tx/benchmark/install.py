"""Peers installed or compiled on demand, each in a folder of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path
from shutil import which

from veltix_tx.benchmark.peers import Peer

__all__ = ["InstallError", "cache_folder", "installed"]

_PATIENCE = 300.0
_SOURCES = Path(__file__).parent / "peers"


class InstallError(Exception):
    """A peer cannot be installed, or not be compiled."""


def cache_folder() -> Path:
    """Return where peers are kept between runs unless the user says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "veltix_tx" / "benchmark"


def installed(peer: Peer, cache: Path) -> Path | None:
    """Return the folder a peer is in, installed there first if it is not yet; None for one that needs none.

    Raises:
        InstallError: pip cannot install it, or the compiler cannot compile it; the message ends with what these said last.
    """
    if not peer.needs and not peer.source:
        return None
    name, python = peer.name, f"py{sys.version_info[0]}.{sys.version_info[1]}"
    source = _SOURCES / peer.source
    if peer.source:
        name = f"{source.stem.strip('_')}-{sha256(source.read_bytes()).hexdigest()[:12]}"
    folder = cache / f"{name}-{python}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=cache) as temporary:
        target = Path(temporary) / "installed"
        if peer.source:
            target.mkdir()
            _compile(source, target)
        elif peer.name.startswith("veltix-"):
            # They need nothing else, and pip refuses some of their wheels.
            _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", temporary, *peer.needs)
            (wheel,) = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)
        else:
            _pip("install", "--target", str(target), *peer.needs)
        try:
            target.rename(folder)
        except OSError:
            if not folder.exists():  # else a parallel run was faster
                raise
    return folder


def _compile(source: Path, folder: Path) -> None:
    """Compile a module's C source into a folder."""
    compiler = shlex.split(os.environ.get("CC") or "") or [found for name in ("cc", "gcc", "clang") if (found := which(name))][:1]
    if not compiler:
        raise InstallError(f"no C compiler for {source.name}: install one, such as gcc, or name it in CC")
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        raise InstallError(f"no Python.h for {source.name}: install Python's headers, such as the package python3-dev")
    module = folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = ["-O2", "-shared", "-fPIC", f"-I{include}"]
    _run([*compiler, *flags, str(source), "-o", str(module)], f"{compiler[0]} cannot compile {source.name}")


def _pip(*arguments: str) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], f"pip cannot install {arguments[-1]}")


def _run(command: list[str], failure: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise InstallError(f"{failure}: it took longer than {_PATIENCE:g} s") from None
    except OSError as error:
        raise InstallError(f"{failure}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InstallError(f"{failure}: {said[-1] if said else 'it says nothing'}")
