"""Server processes that are out of files, have as many connections as they may, or are stopped by the system."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.programs.processes import ASK, TYPES, Ledger, ServerProcess
from tests.programs.processes import sleep as sleep_on
from veltix_tx import Client, ServerFull


async def sleep(seconds: float) -> None:
    """Wait."""
    from twisted.internet import reactor

    await sleep_on(reactor, seconds)


@pytest.fixture
def start(clean_reactor: None, tmp_path: Path, finish: Callable[..., Any]) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server process; it is killed, by its id, if the test leaves it running."""
    from twisted.internet import reactor

    processes: list[ServerProcess] = []

    def start(python: str = "") -> ServerProcess:
        options = ("--port", "0", "--app", "served:server")
        processes.append(ServerProcess(reactor, *options, ledger=tmp_path / "ledger", python=python))
        return processes[-1]

    yield start
    for process in processes:
        if not process.exited.called:
            process.signal(signal.SIGKILL)
            finish(process.exited)


@asynccontextmanager
async def canary(port: int) -> AsyncIterator[Ledger]:
    """Ask all the time, on one connection, and fail the test where a reply is missing in the end."""
    ledger, client, going = Ledger(), Client("127.0.0.1", port, types=TYPES), [True]
    await client.connect()

    async def sing() -> None:
        while going[0]:
            await ledger.ask(lambda content: client.send_and_wait(ASK, content, timeout=10))
            await sleep(0.01)

    singing = Deferred.fromCoroutine(sing())
    yield ledger
    going[0] = False
    await singing
    await client.disconnect()
    ledger.check()
    assert ledger.faults == []
    assert len(ledger.replied) == ledger.begun


async def serves(port: int, count: int) -> None:
    """Fail the test unless so many new clients are served, one after the other."""
    for _ in range(count):
        client = Client("127.0.0.1", port, types=TYPES)
        await client.connect()
        assert (await client.send_and_wait(ASK, b"1 fresh")).content == b"1 fresh"
        await client.disconnect()


async def test_a_process_with_few_files_says_that_it_is_full(start: Callable[..., ServerProcess]) -> None:
    """With 104 files a process serves 40 clients, tells the 41st that the server is full, and serves another when one leaves."""
    process = start("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (104, 104))")
    port = await process.listening
    assert b"the system's 104 open files allow: 40, see ulimit -n" in process.log
    clients = [Client("127.0.0.1", port, types=TYPES) for _ in range(40)]
    for client in clients:
        await client.connect()
    for _ in range(3):
        late = Client("127.0.0.1", port, types=TYPES)
        with pytest.raises(ServerFull, match="server_full"):
            await late.connect()
    for client in clients:
        assert (await client.send_and_wait(ASK, b"1 in")).content == b"1 in"
    await clients.pop().disconnect()
    await sleep(0.1)
    await serves(port, 3)
    for client in clients:
        await client.disconnect()
    assert b"Traceback" not in process.log


async def test_a_process_out_of_files_goes_on(start: Callable[..., ServerProcess]) -> None:
    """With 72 connections for 12 files a client inside misses nothing, the CPU is idle, and clients are served afterwards."""
    process = start()
    port = await process.listening
    async with canary(port) as ledger:
        await sleep(0.2)
        files = len(os.listdir(f"/proc/{process.pid}/fd")) + 12
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(72)]
        await sleep(0.3)
        assert b"EMFILE" in process.log
        asked, used = ledger.begun, process.cpu_seconds
        await sleep(2)
        assert process.cpu_seconds - used < 0.4
        assert ledger.begun > asked
        for each in crowd:
            each.close()
        await sleep(0.2)
        await serves(port, 5)
    assert b"Traceback" not in process.log


async def test_a_process_that_is_stopped_for_a_while_loses_nothing(start: Callable[..., ServerProcess]) -> None:
    """A server process that the system stops for a second answers everything when it goes on."""
    process = start()
    async with canary(await process.listening) as ledger:
        await sleep(0.1)
        process.signal(signal.SIGSTOP)
        await sleep(1)
        process.signal(signal.SIGCONT)
        replied = len(ledger.replied)
        await sleep(0.3)
        assert len(ledger.replied) > replied
