"""UNIX sockets that a process which was killed has left behind."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError

from veltix_tx import Server
from veltix_tx.net.transport.unix_socket import remove_abandoned

FAR = 2e9
"""A time by which everything here is old."""


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def leave_behind(path: Path, holder: int = 1) -> None:
    """Leave a socket and its lock, which names a process that lives for ever, as a kill -9 does whose number is used again."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    lock = Path(f"{path}.lock")
    lock.symlink_to(str(holder))
    for each in (path, lock):
        os.utime(each, (1, 1), follow_symlinks=False)


async def test_a_server_takes_the_place_of_one_that_was_killed(path: Path) -> None:
    """The lock that the killed one has left names a process that lives; nobody listens, so that it does not count."""
    leave_behind(path)
    server = Server(endpoints=(f"unix:{path}",))
    await server.listen()
    await server.stopService()


async def test_a_server_that_listens_keeps_its_socket(path: Path) -> None:
    """A second one on the same path is refused, and the first one serves on, however old its socket is."""
    server = Server(endpoints=(f"unix:{path}",))
    await server.listen()
    for each in (path, Path(f"{path}.lock")):
        os.utime(each, (1, 1), follow_symlinks=False)
    with pytest.raises(CannotListenError):
        await Server(endpoints=(f"unix:{path}",)).listen()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    await server.stopService()


def test_what_is_no_abandoned_socket_is_left_alone(path: Path) -> None:
    """A file, what is not there, and a socket that is only just being made."""
    path.write_text("a file of somebody's")
    remove_abandoned(str(path), FAR)
    assert path.read_text()
    path.unlink()
    remove_abandoned(str(path), FAR)
    leave_behind(path)
    remove_abandoned(str(path), 1.5)
    assert path.is_socket()
    assert Path(f"{path}.lock").is_symlink()
    remove_abandoned(str(path), FAR)
    assert not path.exists()
    assert not Path(f"{path}.lock").is_symlink()
