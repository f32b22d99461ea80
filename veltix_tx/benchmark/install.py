"""Peers installed on demand, each in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from veltix_tx.benchmark.peers import Peer

__all__ = ["InstallError", "cache_folder", "installed"]

_PATIENCE = 300.0


class InstallError(Exception):
    """A peer cannot be installed."""


def cache_folder() -> Path:
    """Return where peers are kept between runs unless the user says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "veltix_tx" / "benchmark"


def installed(peer: Peer, cache: Path) -> Path | None:
    """Return the folder a peer is in, installed there first if it is not yet; None for one that needs none.

    Raises:
        InstallError: pip cannot install it; the message ends with pip's last line.
    """
    if not peer.needs:
        return None
    folder = cache / f"{peer.name}-py{sys.version_info[0]}.{sys.version_info[1]}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{peer.name}.", dir=cache) as temporary:
        target = Path(temporary) / "installed"
        if peer.name.startswith("veltix-"):
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


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise InstallError(f"pip took longer than {_PATIENCE:g} s for {arguments[-1]}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InstallError(f"pip cannot install {arguments[-1]}: {said[-1] if said else 'it says nothing'}")
