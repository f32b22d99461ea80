"""``Type=notify``: what the service manager is told by ``twistd veltix``, on a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

Told = Callable[[str], Deferred[str]]

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="it needs UNIX sockets")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Be a service manager for the processes of the test: return what waits for a datagram that begins with a text."""
    path = str(tmp_path / "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", path)

    def wait(beginning: str) -> str:
        while True:
            said = manager.recv(4096).decode()
            if said.startswith(beginning):
                return said

    yield lambda beginning: deferToThread(wait, beginning)
    manager.close()


@pytest.mark.parametrize(
    ("options", "status"), [((), "STATUS=listening on 127.0.0.1:"), (("--workers", "2"), "STATUS=2 workers listen")]
)
async def test_it_is_told_when_all_listen_and_when_it_stops(options: tuple[str, ...], status: str, twistd: Any, told: Told) -> None:
    """READY comes once every process listens, STOPPING with the signal that begins the drain."""
    process = twistd("--port", "0", "--interface", "127.0.0.1", *options)
    said = await told("READY=1")
    assert status in said
    process.signal(signal.SIGTERM)
    assert await told("STOPPING=1") == "STOPPING=1\nSTATUS=draining"
    await process.exited


async def test_the_watchdog_is_fed_while_the_reactor_turns(twistd: Any, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager hears of a process whose reactor turns, again and again."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    process = twistd("--port", "0", "--interface", "127.0.0.1")
    await told("READY=1")
    for _ in range(3):
        await told("WATCHDOG=1")
    process.signal(signal.SIGTERM)
    await process.exited


async def test_another_process_watchdog_is_not_fed(twistd: Any, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WATCHDOG_PID that is not this process's is another one's business."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    process = twistd("--port", "0", "--interface", "127.0.0.1")
    await told("READY=1")
    process.signal(signal.SIGTERM)
    assert await told("") == "STOPPING=1\nSTATUS=draining"
    await process.exited
