"""``server.run()``: a program that is a server, as a user starts and stops it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, MessageType, Server, SettingsError
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

HEAD = """
import sys
from twisted.internet.task import deferLater
from veltix_tx import MessageRegistry, MessageType, Server

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
"""

SERVER = (
    HEAD
    + """
server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0, types=TYPES)


@server.route(CHAT)
async def on_chat(client, message):
    print("handling", flush=True)
    if message.content == b"fail":
        raise ValueError("on purpose")
    await deferLater(server.reactor, float(message.content))
    return b"done"


server.run()
print("run() has returned", flush=True)
"""
)


@pytest.fixture
def program(spawn: Any, tmp_path: Path) -> Any:
    """Start a program with this Python."""

    def start(text: str, *arguments: str) -> Any:
        (tmp_path / "program.py").write_text(text)
        return spawn(sys.executable, "program.py", *arguments)

    return start


@pytest.fixture
def mistaken(run: Any, tmp_path: Path) -> Any:
    """Run a program that cannot serve to its end; return its one line."""

    def end(text: str, *arguments: str) -> str:
        (tmp_path / "program.py").write_text(text)
        ended = run(sys.executable, "program.py", *arguments)
        assert ended.returncode == 1
        lines = ended.stderr.splitlines()
        assert len(lines) == 1, ended.stderr
        assert ended.stdout == ""
        return lines[0]

    return end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_drains_and_returns(number: int, program: Any) -> None:
    """The start line is on stderr; the first signal lets what was received be answered; then the program goes on."""
    process = program(SERVER)
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    assert b"listening on 127.0.0.1:" in process.err
    await client.connect()
    reply = client.send_and_wait(CHAT, b"0.4")
    await process.says(rb"handling")
    process.signal(number)
    assert (await reply).content == b"done"
    assert await process.exited == 0
    assert process.out.endswith(b"run() has returned\n")
    assert process.err.count(b"\n") == 1
    await client.disconnect()


async def test_it_shows_who_comes_and_goes_where_that_is_asked_for(program: Any) -> None:
    """With log_connections the program, which logs nothing itself, has its connections on stderr."""
    process = program(SERVER.replace("else 0, types", "else 0, log_connections=True, types"))
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    await client.disconnect()
    await process.says(rb"connection \S+ from 127\.0\.0\.1:\d+ ended after 0\.")


async def test_the_second_signal_does_not_wait(program: Any) -> None:
    """A second signal cuts off what the first one waits for."""
    process = program(SERVER)
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    reply = client.send_and_wait(CHAT, b"8")
    reply.addErrback(lambda _: None)
    await process.says(rb"handling")
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGINT)
    assert await process.exited in (0, -signal.SIGTERM, -signal.SIGINT)
    assert b"a second signal" in process.err
    assert b"Traceback" not in process.err
    await client.disconnect()


async def test_what_goes_wrong_is_shown(program: Any) -> None:
    """Without a log of the program's own, a handler that fails is shown on stderr, with its traceback, once."""
    process = program(SERVER)
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    client.send(CHAT, b"fail")
    await process.says(rb"on purpose")
    process.signal(signal.SIGTERM)
    await process.exited
    assert process.err.count(b"ValueError: on purpose") == 1
    assert b"the handler on_chat of chat failed" in process.err
    await client.disconnect()


async def test_a_programs_own_log_is_left_alone(program: Any) -> None:
    """Where the program logs already, run() adds its start line to stderr and nothing else."""
    begun = "from twisted.python import log\nlog.startLogging(open('own.log', 'w'), setStdout=False)\n"
    process = program(SERVER.replace("server.run()", begun + "server.run()"))
    await process.port()
    process.signal(signal.SIGTERM)
    assert await process.exited == 0
    assert process.err.count(b"\n") == 1


def test_a_busy_port_is_one_line(mistaken: Any, busy_port: int) -> None:
    """A port that is taken ends the program with status 1 and one line that names it and the remedy."""
    line = mistaken(SERVER, str(busy_port))
    assert f"127.0.0.1:{busy_port}" in line
    assert "Choose another port" in line


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("Server(endpoint='nonsense:1')", "a Twisted server endpoint"),
        ("Server(tls_cert='nosuch.pem', port=0)", "nosuch.pem"),
        ("Server(endpoint='unix:no/such/folder')", "no/such/folder"),
    ],
)
def test_a_mistake_is_one_line(made: str, told: str, mistaken: Any) -> None:
    """What cannot be listened on ends the program with one line that names it."""
    assert told in mistaken(f"{HEAD}\n{made}.run()\n")


def test_an_endpoint_that_fails_later_ends_the_program(run: Any, tmp_path: Path) -> None:
    """Where it turns out only when the reactor runs that nothing can be listened on, run() ends with a line, too."""
    (tmp_path / "program.py").write_text(
        f"""{HEAD}
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError


class Late:
    def listen(self, factory):
        failing = Deferred()
        reactor.callLater(0.1, failing.errback, CannotListenError("nowhere", 1, OSError("no such thing")))
        return failing


Server(endpoint=Late()).run()
"""
    )
    ended = run(sys.executable, "program.py")
    assert ended.returncode == 1
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == ["veltix_tx"]
    assert "no such thing" in ended.stderr


def test_it_may_run_in_a_thread(run: Any, tmp_path: Path) -> None:
    """In another thread than the main one it serves as well; whoever stops the reactor ends it."""
    (tmp_path / "program.py").write_text(
        f"""{HEAD}
import threading
server = Server("127.0.0.1", 0, types=TYPES)
server.route(CHAT)(lambda client, message: b"from the thread")
thread = threading.Thread(target=server.run)
thread.start()
from veltix_tx import Client
while not server.addresses:
    pass
client = Client("127.0.0.1", server.port, types=TYPES)
client.blocking.connect()
print(client.blocking.send_and_wait(CHAT, b"").content.decode())
client.blocking.disconnect()
server.reactor.callFromThread(server.reactor.stop)
thread.join()
print(server.running)
"""
    )
    ended = run(sys.executable, "program.py")
    assert ended.stdout.splitlines() == ["from the thread", "0"]
    assert "listening on" in ended.stderr
    assert ended.returncode == 0


async def test_it_needs_a_reactor_that_does_not_run_yet() -> None:
    """Where the reactor runs, and on a test's clock, run() says what to use instead."""
    with pytest.raises(SettingsError, match=r"startService\(\)"):
        Server(types=MessageRegistry()).run()
    with pytest.raises(SettingsError, match="reactor is"):
        Server(types=MessageRegistry(), reactor=MemoryNetwork().clocks).run()


async def test_a_server_that_listens_already_may_be_run(program: Any) -> None:
    """What was started before run() goes on, and is told of as well."""
    process = program(SERVER.replace("server.run()", "server.startService()\nserver.run()"))
    await process.says(rb"listening on 127\.0\.0\.1:\d+")
    process.signal(signal.SIGTERM)
    assert await process.exited == 0
    assert process.err.count(b"\n") == 1


def test_a_reactor_runs_once(run: Any, tmp_path: Path) -> None:
    """A second run() in the process is a SettingsError that says why."""
    (tmp_path / "program.py").write_text(
        f"""{HEAD}
server = Server("127.0.0.1", 0, types=TYPES)
server.reactor.callWhenRunning(server.reactor.stop)
server.run()
try:
    server.run()
except Exception as error:
    print(type(error).__name__, error)
print(server.addresses)
"""
    )
    ended = run(sys.executable, "program.py")
    assert "SettingsError" in ended.stdout
    assert "once in a process" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"
