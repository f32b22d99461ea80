"""``twistd -n veltix`` as a process: its start line, its mistakes, its end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.support.burst import Burst
from veltix_tx import Client, MessageRegistry, MessageType
from veltix_tx._version import __version__
from veltix_tx.wire.veltix import codec

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

HERE = ("--port", "0", "--interface", "127.0.0.1")


# What it serves.


@pytest.mark.parametrize("wire", ["auto", "1.6.3"])
async def test_it_says_what_it_speaks_and_where_and_echoes(wire: str, twistd: Any) -> None:
    """The start line tells the port and the releases; the server behind it is an echo."""
    process = twistd(*HERE, "--wire", wire)
    port = await process.port()
    line = next(line for line in process.out.decode().splitlines() if "speaks" in line)
    assert __version__ in line
    assert ("1.4 to 3.3" in line) if wire == "auto" else ("Veltix 1.6.3" in line), line
    client = Client("127.0.0.1", port, types=TYPES)
    await client.connect()
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_relay_passes_on_to_others(twistd: Any) -> None:
    """--app relay sends each client's messages to the others."""
    from twisted.internet.defer import Deferred

    process = twistd(*HERE, "--app", "relay")
    port = await process.port()
    one, other = (Client("127.0.0.1", port, types=TYPES) for _ in range(2))
    heard: Deferred[bytes] = Deferred()
    other.set_callback("on_recv", lambda message: heard.callback(message.content))
    await other.connect()
    await other.ping_server()
    await one.connect()
    one.send(CHAT, b"news")
    assert await heard == b"news"
    await one.disconnect()
    await other.disconnect()


APPS = {
    "server": "from veltix_tx import Server\nthing = Server(types=TYPES)\nthing.route(CHAT)(lambda client, message: b'mine')\n",
    "function": (
        "from veltix_tx import Server\n"
        "def thing():\n"
        "    server = Server(types=TYPES)\n"
        "    server.route(CHAT)(lambda client, message: b'mine')\n"
        "    return server\n"
    ),
    "application": (
        "from zope.interface import implementer\n"
        "from veltix_tx import IVeltixApplication\n"
        "@implementer(IVeltixApplication)\n"
        "class Mine:\n"
        "    types = TYPES\n"
        "    def connected(self, session): pass\n"
        "    def received(self, session, message): return b'mine'\n"
        "    def disconnected(self, session, reason): pass\n"
        "thing = Mine()\n"
    ),
}


@pytest.mark.parametrize("kind", APPS)
async def test_a_users_own_object_is_served(kind: str, twistd: Any, tmp_path: Path) -> None:
    """--app module:object takes a Server, a function that returns one, or an application, from the working folder."""
    preamble = "from veltix_tx import MessageRegistry, MessageType\nTYPES = MessageRegistry()\nCHAT = MessageType(200, 'chat', registry=TYPES)\n"  # noqa: E501
    (tmp_path / "own_app.py").write_text(preamble + APPS[kind])
    process = twistd(*HERE, "--app", "own_app:thing")
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    assert (await client.send_and_wait(CHAT, b"?")).content == b"mine"
    await client.disconnect()


async def test_several_endpoints(twistd: Any, tmp_path: Path) -> None:
    """--listen can be given several times, each with its own wire, each with a line of its own."""
    process = twistd("--listen", "1.9.0@tcp:0:interface=127.0.0.1", "--listen", f"unix:{tmp_path / 's'}")
    port = int((await process.says(rb"speaks Veltix 1\.9\.0 on 127\.0\.0\.1:(\d+)")).group(1))
    await process.says(rb"speaks Veltix 1\.4 to 3\.3.* on unix:.*/s")
    for settings in ({"server": "127.0.0.1", "port": port, "wire": "1.9.0"}, {"endpoint": f"unix:{tmp_path / 's'}"}):
        client = Client(types=TYPES, **settings)  # type: ignore[arg-type]
        await client.connect()
        assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
        await client.disconnect()


async def test_python_m_twisted_serves_as_well(spawn: Any) -> None:
    """``python -m twisted veltix`` runs the same service in the foreground."""
    process = spawn(sys.executable, "-m", "twisted", "--log-format", "text", "veltix", *HERE)
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err


async def test_connections_are_logged_where_that_is_wanted(twistd: Any) -> None:
    """--log-connections logs a line at a connection's begin and one at its end."""
    process = twistd(*HERE, "--log-connections")
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    await process.says(rb"connection \d+-1 from 127\.0\.0\.1:\d+ on 127\.0\.0\.1:\d+")
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    await client.disconnect()
    await process.says(rb"connection \d+-1 from .* ended after \d+\.\d+ s: PEER_CLOSED .* received 1 messages, .* sent 1 messages,")
    process.signal(signal.SIGTERM)
    await process.exited


# Mistakes.


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("--wire", "7.0"), "it must be 'auto' or a release: 1.0, 1.2.0"),
        (("--app", "nothing"), "echo, relay or module:object"),
        (("--app", "nothing_there:server"), "to import from this folder or PYTHONPATH"),
        (("--app", "broken:server"), "broken.py:2"),
        (("--app", "broken_syntax:server"), "SyntaxError"),
        (("--app", "junk:server"), "a Server, an IVeltixApplication or a function"),
        (("--app", "raising:server"), "raising"),
        (("--listen", "nonsense:1"), "a Twisted server endpoint"),
        (("--listen", "8080"), "a port is tcp:8080"),
        (("--listen", "tcp"), "--listen tcp: it must be a Twisted server endpoint (tcp needs a port: tcp:8080)"),
        (
            ("--listen", "1.9.0@tls"),
            "--listen 1.9.0@tls: it must be a Twisted server endpoint (tls needs a port and a certificate: tls:8443",
        ),
        (("--listen", "unix:nowhere/socket"), "cannot listen on nowhere/socket: No such file or directory"),
        (("--port", "http"), "a whole number from 0 to 65535"),
        (("--port", "65536"), "a whole number from 0 to 65535"),
        (("--port", "-1"), "a whole number from 0 to 65535"),
        (("--handshake-timeout", "0"), "more than 0"),
        (("--max-message-size", "12"), "a whole number"),
        (("--port", "0", "--listen", "tcp:0:interface=127.0.0.1"), "--port 0: it must be left out where --listen tcp:0:"),
        (("--port", "0", "--app", "own:places"), "--port 0: it must be left out, or --listen given: --app own:places"),
        (("--plugin", "absent"), "Put a module that holds one into a folder twisted/plugins"),
        (("--app", "own:places"), "--app own:places: endpoint is 'nonsense:1': it must be a Twisted server endpoint"),
        (("--app", "own:secure"), "--app own:secure: tls_cert is 'absent.pem': it must be a file that can be read"),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_and_a_status(options: tuple[str, ...], remedy: str, run: Any, scripts: str, tmp_path: Path) -> None:
    """A mistake ends the process with a status that is not 0 and exactly one line on stderr, which tells the remedy."""
    (tmp_path / "broken.py").write_text("x = 1\nraise ValueError('inside')\n")
    (tmp_path / "broken_syntax.py").write_text("def server(:\n")
    (tmp_path / "junk.py").write_text("server = 5\n")
    (tmp_path / "own.py").write_text(
        "from veltix_tx import Server\ndef places(): return Server(endpoint='nonsense:1')\nsecure = Server(tls_cert='absent.pem')\n"
    )
    (tmp_path / "raising.py").write_text("def server():\n    raise ValueError('inside')\n")
    here = () if "--listen" in options or "own:places" in options else ("--interface", "127.0.0.1")
    ended = run(os.path.join(scripts, "twistd"), "-n", "--pidfile=", "veltix", *here, *options)
    assert ended.returncode not in (0, None)
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("twistd veltix: ")
    assert remedy in lines[0]


@pytest.mark.parametrize("options", [("--wire", "7.0"), ("--app", "nothing")])
def test_a_mistake_is_one_line_under_python_m_twisted(options: tuple[str, ...], run: Any) -> None:
    """``python -m twisted veltix`` tells of a mistake as twistd does."""
    ended = run(sys.executable, "-m", "twisted", "veltix", *options)
    assert ended.returncode not in (0, None)
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"twistd veltix: {options[0]} {options[1]}")


def test_a_busy_port_is_one_line_and_a_status(run: Any, scripts: str, busy_port: int) -> None:
    """A busy port ends twistd with status 1 and one line on stderr that names the port and the remedy."""
    twistd = os.path.join(scripts, "twistd")
    ended = run(twistd, "-n", "--pidfile=", "veltix", "--port", str(busy_port), "--interface", "127.0.0.1")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert str(busy_port) in line
    assert "--port" in line


def test_an_unknown_option_is_told(run: Any, scripts: str) -> None:
    """An option that there is not is named, without a traceback (the exit status is twistd's: 0 before Twisted 25)."""
    ended = run(os.path.join(scripts, "twistd"), "-n", "veltix", "--colour", "red")
    assert "Traceback" not in ended.stderr
    assert "colour" in ended.stdout + ended.stderr


def test_the_command_is_listed_with_its_help(run: Any, scripts: str) -> None:
    """Twistd lists veltix, and its help names every option."""
    twistd = os.path.join(scripts, "twistd")
    assert "veltix" in run(twistd, "--help").stdout
    ended = run(twistd, "veltix", "--help")
    for option in (
        "--port",
        "--interface",
        "--wire",
        "--app",
        "--listen",
        "--max-connections",
        "--handshake-timeout",
        "--plugin",
        "--log-connections",
    ):
        assert option in ended.stdout


def test_the_command_tells_its_own_version(run: Any, scripts: str) -> None:
    """``twistd veltix --version`` tells the package's version and the codec in use; ``twistd --version`` stays Twisted's."""
    twistd = os.path.join(scripts, "twistd")
    ended = run(twistd, "veltix", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"twistd veltix (veltix_tx) {__version__} ({codec.description()})\n")
    assert run(twistd, "--version").stdout.startswith("twistd (the Twisted daemon) ")
    assert run(sys.executable, "-m", "twisted", "veltix", "--version").stdout == ended.stdout


# Its end.

SLOW = """
from twisted.internet import reactor
from twisted.internet.task import deferLater
from veltix_tx import MessageRegistry, MessageType, Server

TYPES = MessageRegistry()
server = Server(types=TYPES)


@server.route(MessageType(200, "chat", registry=TYPES))
async def slow(client, message):
    print("handling", flush=True)
    await deferLater(reactor, 0.5, lambda: None)
    return b"x" * 1_000_000
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_handlers_finish(number: int, twistd: Any, tmp_path: Path) -> None:
    """SIGTERM and SIGINT let a running asynchronous handler finish and its reply arrive whole; then the process ends."""
    (tmp_path / "slow_app.py").write_text(SLOW)
    process = twistd(*HERE, "--app", "slow_app:server")
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await client.connect()
    reply = client.send_and_wait(CHAT, b"?")
    await process.says(rb"handling")
    process.signal(number)
    assert len((await reply).content) == 1_000_000
    await process.exited
    assert b"Traceback" not in process.out + process.err
    await client.disconnect()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_had_arrived_at_the_signal_is_answered(number: int, twistd: Any) -> None:
    """2,000 requests of 500 bytes that wait in the socket when the signal comes are answered before the process ends."""
    process = twistd(*HERE, "--app", "echo")
    burst = await deferToThread(Burst, await process.port(), CHAT, TYPES)
    await deferToThread(burst.shake_hands)
    process.signal(signal.SIGSTOP)
    assert burst.ask(2000, 500) == 2000
    process.signal(number)
    process.signal(signal.SIGCONT)
    assert await deferToThread(burst.answers) == list(range(2000))
    assert burst.ended == "FIN"
    await process.exited
    assert b"Traceback" not in process.out + process.err


HASTY = """
import os
import signal

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface import implementer

from veltix_tx import MessageRegistry, Server


@implementer(IStreamServerEndpoint)
class Hasty:
    def listen(self, factory):
        listening = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        os.kill(os.getpid(), signal.SIGHUP)
        return listening


server = Server(endpoint=Hasty(), types=MessageRegistry())
"""


async def test_a_hangup_as_soon_as_the_port_is_open_is_minded(twistd: Any, tmp_path: Path) -> None:
    """A SIGHUP in the moment in which the port opens does not end the process: it is done when the server runs."""
    (tmp_path / "hasty_app.py").write_text(HASTY)
    process = twistd("--app", "hasty_app:server")
    client = Client("127.0.0.1", await process.port(), types=TYPES)
    await process.says(rb"SIGHUP: the configuration was read again")
    await client.connect()
    await client.disconnect()
    process.signal(signal.SIGTERM)
    assert await process.exited in (0, -signal.SIGTERM)
    assert b"Traceback" not in process.out + process.err
