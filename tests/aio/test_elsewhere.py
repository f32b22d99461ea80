"""Both kinds of awaitables under Twisted's asyncio reactor, and asyncio's frameworks around what is awaited."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio.ends import LOOPS
from veltix_tx import CannotAwait, Client, MessageRegistry, MessageType, RemoteError, Server
from veltix_tx.testing import MemoryNetwork

HERE = Path(__file__).parent


def run_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that must not warn. Twisted before 25 never closes the descriptor that it keeps in reserve."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(HERE.parents[1])
    command = [sys.executable, "-W", "error", "-W", "ignore:unclosed file <_io.TextIOWrapper:ResourceWarning", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("loop", LOOPS)
def test_twisteds_door_awaits_both_under_its_asyncio_reactor(loop: str) -> None:
    """Routes, callbacks and plugins of a native server and client, each with Deferreds and asyncio's awaitables in one body."""
    done = run_python(str(HERE.parent / "support" / "aio" / "under_asyncioreactor.py"), loop)
    assert (done.returncode, done.stderr) == (0, "")


def test_on_another_reactor_the_log_says_what_to_do(logged_failures: Any) -> None:
    """A handler that awaits what asyncio serves fails, with an error that names the remedy, and its session goes on."""
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server, client = Server(types=types), Client(types=types)

    @server.route(chat)
    async def on_chat(session: Any, message: Any) -> None:
        await asyncio.sleep(0.001)

    with MemoryNetwork() as network:
        network.serve(server)
        network.connect(client)
        with pytest.raises(RemoteError):
            network.result(client.send_and_wait(chat))
        assert client.is_connected
    (event,) = logged_failures.flush(CannotAwait)
    assert "twistd --reactor asyncio" in str(event["log_failure"].value)


TESTS = """
import asyncio
import sys

import pytest
import pytest_asyncio

from veltix_tx import MessageRegistry, MessageType, RequestTimeout
from veltix_tx.aio import Client, Server
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)


def make_server():
    server = Server("127.0.0.1", 0, types=TYPES)

    @server.route(CHAT)
    async def on_chat(client, message):
        await asyncio.sleep(0)
        return message.content

    return server


@pytest_asyncio.fixture
async def client():
    async with make_server() as server, Client("127.0.0.1", server.port, types=TYPES) as client:
        yield client


@pytest.mark.parametrize("content", [b"one", b"two"])
async def test_a_real_port(client, content):
    assert (await client.send_and_wait(CHAT, content)).content == content


async def test_in_memory():
    async with MemoryNetwork() as network:
        network.serve(make_server())
        client = Client(types=TYPES)
        await network.connect(client)
        assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"


async def test_time_passes_in_memory():
    server = Server(types=TYPES)
    server.route(CHAT)(lambda client, message: None)
    async with MemoryNetwork() as network:
        network.serve(server)
        client = Client(types=TYPES)
        await network.connect(client)
        asking = asyncio.create_task(client.send_and_wait(CHAT, timeout=60))
        await asyncio.sleep(0)
        network.advance(60)
        with pytest.raises(RequestTimeout):
            await asking


def test_no_reactor_is_imported():
    assert "twisted.internet.reactor" not in sys.modules
"""


@pytest.mark.parametrize("scope", ["function", "module"])
def test_it_works_under_pytest_asyncio(scope: str, tmp_path: Path) -> None:
    """Fixtures and tests that are coroutines, with a loop for each or one for all: no warning, and no reactor."""
    (tmp_path / "test_chat.py").write_text(TESTS, encoding="utf-8")
    settings = ["asyncio_mode=auto", f"asyncio_default_fixture_loop_scope={scope}", f"asyncio_default_test_loop_scope={scope}"]
    options = [part for each in settings for part in ("-o", each)]
    done = run_python(
        "-m", "pytest", "-q", "-p", "no:twisted", "-p", "no:cacheprovider", "-W", "error", *options, ".", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
