"""``nc`` and ``socat`` as peers of the plain wires, over TCP and UDP, in both roles."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from veltix_tx import TEXT, Client, DisconnectReason, Server

from ..support.ports import free_port

HERE = "interface=127.0.0.1"

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("nc") and shutil.which("socat")), reason="needs nc and socat: apt-get install netcat-openbsd socat"
    ),
]


def shell(command: str) -> bytes:
    """Run a line of the shell to its end; return what it prints."""
    return subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True).stdout


@pytest.fixture
def served(clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Callable[[str], int]]:
    """Return a function that starts a server which answers in capitals, and returns its port."""
    servers: list[Server] = []

    def serve(place: str) -> int:
        server = Server(endpoint=place)
        server.register_route(TEXT, lambda client, message: message.value.upper())
        server.startService()
        servers.append(server)
        return server.port

    yield serve
    for server in servers:
        finish(server.stopService())


SAID = {
    "lines": (r"one\r\ntwo\nh\303\251", b"ONE\nTWO\n"),  # a line that does not end is none
    "eof": (r"one\ntwo", b"ONE\nTWO"),
    "raw": (r"one", b"ONE"),
}


@pytest.mark.parametrize("command", ["nc -N 127.0.0.1 {port}", "socat -t 5 - TCP:127.0.0.1:{port}"])
@pytest.mark.parametrize("wire", SAID)
async def test_a_program_over_tcp(wire: str, command: str, served: Any) -> None:
    """It pipes its input in, ends its stream, gets all answers, and then the end of the connection."""
    port = served(f"{wire}@tcp:0:{HERE}")
    said, answer = SAID[wire]
    assert await deferToThread(shell, f"printf '{said}' | {command.format(port=port)}") == answer


@pytest.mark.parametrize("command", ["nc -u -w 1 127.0.0.1 {port}", "socat -t 1 - UDP:127.0.0.1:{port}"])
@pytest.mark.parametrize(("wire", "answer"), [("lines", b"ONE\nTWO\nTHREE\n"), ("raw", b"ONE\r\nTWO\nTHREE")])
async def test_a_program_over_udp(wire: str, answer: bytes, command: str, served: Any) -> None:
    """What it reads in one piece is a datagram: so many lines, the last without an end; or one message, as it is."""
    port = served(f"{wire}@udp:0:{HERE}")
    assert await deferToThread(shell, rf"printf 'one\r\ntwo\nthree' | {command.format(port=port)}") == answer


class Listener:
    """A program that listens, ended with the test."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(["sh", "-c", f"exec {command}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


async def answers(client: Client, said: str) -> object:
    """Connect, until the program listens, send a text and return what comes back."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    heard: Deferred[object] = Deferred()
    client.set_callback("on_recv", lambda message: heard.called or heard.callback(message.value))
    while not heard.called:
        try:
            await client.connect()
            client.send(TEXT, said)
        except Exception:
            pass
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
    await client.disconnect()
    return await heard


@pytest.mark.parametrize(
    ("command", "there"),
    [
        ("socat TCP-LISTEN:{port},bind=127.0.0.1,fork EXEC:cat", "tcp:127.0.0.1:{port}"),
        ("socat UDP-RECVFROM:{port},bind=127.0.0.1,fork EXEC:cat", "udp:127.0.0.1:{port}"),
    ],
)
async def test_a_client_of_socat(command: str, there: str) -> None:
    """A Client's line comes back from a program that echoes what it gets, over either."""
    port = free_port()
    listener = Listener(command.format(port=port))
    try:
        assert await answers(Client(endpoint=there.format(port=port), wire="lines"), "h\u00e9") == "h\u00e9"
    finally:
        listener.end()


async def test_nc_hears_a_client_over_udp() -> None:
    """``nc -u -l`` prints the lines that a Client sends."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    port = free_port()
    listener = Listener(f"nc -u -l 127.0.0.1 {port}")
    client = Client(endpoint=f"udp:127.0.0.1:{port}", wire="lines")
    try:
        reason: Any = DisconnectReason.UNREACHABLE
        while reason is DisconnectReason.UNREACHABLE:  # until it listens
            session = await client.connect()
            client.send(TEXT, "one")
            await deferLater(reactor, 0.1)  # type: ignore[arg-type]
            reason = None if session.closed is None else session.closed.reason
        assert listener.process.stdout is not None
        assert await deferToThread(listener.process.stdout.readline) == b"one\n"
        await client.disconnect()
    finally:
        listener.end()
