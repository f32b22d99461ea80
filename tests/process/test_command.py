"""The ``veltix`` command and ``python -m veltix_tx``, against a server in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from veltix_tx import MessageRegistry, MessageType, Server
from veltix_tx._version import __version__
from veltix_tx.wire import codec

from ..ports import free_port

pytestmark = pytest.mark.deadline(20)


@pytest.fixture
def veltix(spawn: Any, scripts: str) -> Any:
    """Start the ``veltix`` command."""
    return lambda *arguments: spawn(os.path.join(scripts, "veltix"), *arguments)


@pytest.fixture
def server(clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Any]:
    """Return an echo server on loopback."""
    types = MessageRegistry()
    server = Server(port=0, host="127.0.0.1", types=types)
    server.chat = MessageType(200, "chat", registry=types)  # type: ignore[attr-defined]
    server.route(server.chat)(lambda client, message: message.content)  # type: ignore[attr-defined]
    server.startService()
    server.where = f"127.0.0.1:{server.port}"  # type: ignore[attr-defined]
    yield server
    finish(server.stopService())


async def test_ping_tells_each_round_trip(server: Any, veltix: Any) -> None:
    """Ping prints a line for each and a summary."""
    process = veltix("ping", server.where, "--count", "3")
    assert await process.exited == 0, process.err
    lines = process.out.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["1", "2", "3", "3 pings"]
    assert all(float(line.split()[1]) > 0 for line in lines[:3])
    assert process.err == b""


async def test_send_waits_for_the_reply_and_escapes_it(server: Any, veltix: Any) -> None:
    """Send --wait prints the reply; control characters cannot reach the terminal."""
    process = veltix("send", "--wait", server.where, "200", "h\u00e9llo \x1b[31mred\x07")
    assert await process.exited == 0, process.err
    assert process.out.decode() == "h\u00e9llo \\x1b[31mred\\x07\n"


async def test_send_without_waiting_delivers(server: Any, veltix: Any) -> None:
    """Send delivers the message before the command ends, and prints nothing."""
    from twisted.internet.defer import Deferred

    arrived: Deferred[bytes] = Deferred()
    server.router.unregister_route(server.chat)
    server.route(server.chat)(lambda client, message: arrived.callback(message.content))
    process = veltix("send", server.where, "200", "x" * 50_000)
    assert await process.exited == 0, process.err
    assert await arrived == b"x" * 50_000
    assert process.out + process.err == b""


async def test_listen_prints_what_comes(server: Any, veltix: Any) -> None:
    """Listen prints time, type and escaped content of each message until it is interrupted."""
    from twisted.internet.defer import Deferred

    arrived: Deferred[None] = Deferred()
    server.set_callback("on_connect", lambda client: arrived.callback(None))
    process = veltix("listen", server.where)
    await arrived
    await server.clients[0].ping()
    server.broadcast(server.chat, b"one\n\xfftwo\x1b")
    found = await process.says(rb"\d\d:\d\d:\d\d 200 (.*)\n")
    assert found.group(1) == rb"one\n\xfftwo\x1b"
    process.signal(signal.SIGINT)
    await process.exited
    assert b"Traceback" not in process.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ping", "{free}"), "refused"),
        (("send", "{free}", "200", "x"), "refused"),
        (("ping", "{server}", "--wire", "1.6.3"), "wire='auto'"),
        (("ping", "{server}", "--wire", "7.0"), "a release"),
        (("ping", "a..b:8080"), "a..b"),
        (("send", "{server}", "201", "x", "--wait", "--timeout", "0.2"), "no reply within 0.2 s"),
    ],
)
async def test_an_error_is_one_line_and_status_1(arguments: tuple[str, ...], said: str, server: Any, veltix: Any) -> None:
    """Whatever goes wrong with the server is one line on stderr and status 1, without a traceback."""
    words = [word.format(free=f"127.0.0.1:{free_port()}", server=server.where) for word in arguments]
    process = veltix(*words)
    status = await process.exited
    assert b"Traceback" not in process.err, process.err.decode()
    (line,) = process.err.decode().splitlines()
    assert line.startswith("veltix: ")
    assert said in line
    assert status == 1
    assert process.out == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ("ping",),
        ("ping", "nowhere"),
        ("ping", "127.0.0.1:0"),
        ("ping", "127.0.0.1:1", "--timeout", "0"),
        ("send", "127.0.0.1:1", "5", "x"),
        ("fly",),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], run: Any, scripts: str) -> None:
    """Wrong arguments end with status 2 and a usage line."""
    ended = run(os.path.join(scripts, "veltix"), *arguments)
    assert ended.returncode == 2
    assert "Usage" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", [["veltix"], [sys.executable, "-m", "veltix_tx"]])
def test_both_commands_tell_their_version(command: list[str], run: Any, scripts: str) -> None:
    """``veltix --version`` and ``python -m veltix_tx --version`` tell the package's version and the codec in use."""
    ended = run(*(os.path.join(scripts, "veltix") if word == "veltix" else word for word in command), "--version")
    assert ended.returncode == 0
    assert __version__ in ended.stdout
    assert f"({codec.description()})" in ended.stdout
