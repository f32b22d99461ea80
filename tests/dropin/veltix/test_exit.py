"""The end of a script: it comes by itself and promptly, with what was sent delivered. Other reactors in the process, and forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.dropin.loopback import Ends, run_script, until
from veltix_tx.dropin.veltix import MessageType, MessageTypeRegistry, Request

CODE = 29_000
KIND = MessageTypeRegistry.get(CODE) or MessageType(CODE, "scripts")

HEAD = f"""
import os, signal, sys, threading, time
from veltix_tx.dropin.veltix import *
KIND = MessageType({CODE})
PORT = int(sys.argv[1])
def client(**settings):
    client = Client(ClientConfig(port=PORT, **settings))
    assert client.connect()
    return client
"""


PATIENCE = 30.0
"""Seconds until a script is killed, and so whoever reads what it prints comes to the end of it."""


class Script:
    """A script that runs, for ``PATIENCE`` seconds at most."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            run_script(folder, HEAD + text, port),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._end = threading.Timer(PATIENCE, self.kill)
        self._end.daemon = True
        self._end.start()

    def kill(self) -> None:
        """End it and what it has forked, if it runs."""
        self._end.cancel()
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def reads(self, wanted: str) -> None:
        """Read what it prints up to a line with this in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if wanted in line:
                return
        pytest.fail(f"it never said {wanted!r}")

    def ends(self, seconds: float = 10) -> tuple[int, str]:
        """Wait for its end; return its status and what stood on stderr."""
        _, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, errors


class Scripts(list[Script]):
    """Starts scripts in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def start(self, text: str, port: int = 0) -> Script:
        """Start one; it is given a port."""
        self.append(Script(self.folder, text, port))
        return self[-1]


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    """Starts scripts; those that still run behind the test are killed."""
    started = Scripts(tmp_path)
    yield started
    for script in started:
        script.kill()
        script.process.communicate(timeout=PATIENCE)


def received(ends: Ends) -> tuple[int, list[bytes], list[object]]:
    """Return a server's port, what it receives, and who has left it."""
    server, seen, gone = ends.server(), [], []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    server.set_callback("on_disconnect", gone.append)
    return server.port, seen, gone


def test_client_that_never_disconnects(ends: Ends, scripts: Scripts) -> None:
    """A script that sends and ends has sent all of it, and ends by itself."""
    port, seen, gone = received(ends)
    script = scripts.start(
        """
sender = client().get_sender()
for number in range(2000):
    assert sender.send(Request(KIND, b"%d" % number + bytes(1000)))
print("sent")
""",
        port,
    )
    script.reads("sent")
    sent = time.monotonic()
    assert script.ends() == (0, "")
    assert time.monotonic() - sent < 3
    until(lambda: len(seen) == 2000)
    assert [int(content.rstrip(b"\0")) for content in seen] == list(range(2000))
    until(lambda: gone)


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("client().get_sender().send(Request(KIND, b'last'))\nraise ValueError('my own')", 1, "ValueError: my own\n"),
        ("client().get_sender().send(Request(KIND, b'last'))\nsys.exit(7)", 7, ""),
        ("c = client()\nc.get_sender().send(Request(KIND, b'last'))\nc.disconnect()", 0, ""),
    ],
    ids=["exception", "exit", "disconnected"],
)
def test_other_ways_to_end(ends: Ends, scripts: Scripts, text: str, status: int, error: str) -> None:
    """An exception, sys.exit(), a client closed before: the status is the script's own, what was sent is delivered."""
    port, seen, _ = received(ends)
    found, errors = scripts.start(text, port).ends()
    assert (found, errors[-len(error) :] if error else errors) == (status, error)
    assert until(lambda: seen) == [b"last"]


def test_closing_at_exit(scripts: Scripts) -> None:
    """What a program registers for its exit comes before everything is closed, and closing again is harmless."""
    script = scripts.start(
        """
import atexit
def clean():
    print(end.disconnect(), server.close_all(), end.disconnect())
atexit.register(clean)
server = Server(ServerConfig(host="127.0.0.1", port=0))
server.start()
end = Client(ClientConfig(port=server.port))
assert end.connect()
print("up")
"""
    )
    script.reads("up")
    script.reads("True None True")
    assert script.ends() == (0, "")


def test_server_that_never_closes(ends: Ends, scripts: Scripts) -> None:
    """A script with a running server and connected clients ends by itself; the clients are told."""
    script = scripts.start(
        """
server = Server(ServerConfig(host="127.0.0.1", port=0))
server.set_callback("on_disconnect", lambda info: print("called"))
server.start()
print(server.port, "port")
sys.stdin.readline()
server.get_sender().broadcast(Request(KIND, b"goodbye"), server.get_all_clients_sockets())
""".replace("sys.stdin.readline()", "while len(server.clients) < 2: time.sleep(0.01)")
    )
    assert script.process.stdout is not None
    port = next(int(line.split()[0]) for line in script.process.stdout if line.endswith("port\n"))
    seen, states = [], []  # type: ignore[var-annotated]
    for _ in range(2):
        client = ends.client(port, connect=False)
        client.set_callback("on_recv", lambda response: seen.append(response.content))
        client.set_callback("on_disconnect", states.append)
        client.connect()
    assert script.ends() == (0, "")
    until(lambda: len(states) == 2)
    assert seen == [b"goodbye"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "c = client()\nc.set_callback('on_disconnect', lambda state: print('called'))",
        "c = client()\nc.set_callback('on_recv', lambda _: threading.Event().wait())\nc.get_sender().send(Request(KIND, b'echo'))",
        "Server(ServerConfig(port=1))\nClient(ClientConfig(port=1))",
        "c = Client(ClientConfig(port=1, retry=1000, retry_delay=1000))\nc.retry()",
        """
import socket, veltix_tx.dropin.veltix.reactor
veltix_tx.dropin.veltix.reactor._EXIT = 0.5
socket.getaddrinfo = lambda *_: threading.Event().wait()
threading.Thread(target=Client(ClientConfig("a.name.that.takes.its.time", 1, timeout=60)).connect, daemon=True).start()
""",
        "threading.Thread(target=Client(ClientConfig(port=1, retry=1000, retry_delay=1000)).connect, daemon=True).start()",
        """
c = client()
threading.Thread(target=lambda: c.send_and_wait(Request(KIND, b''), 1000), daemon=True).start()
time.sleep(0.1)
""",
    ],
    ids=["idle", "blocked callback", "unused", "retrying", "looking up", "connecting", "waiting"],
)
def test_nothing_keeps_a_script_alive(ends: Ends, scripts: Scripts, text: str) -> None:
    """Whatever is open, waits or is blocked: a script that is at its end ends, and no callback is called then."""
    server = ends.server()
    server.set_callback("on_recv", lambda info, response: server.get_sender().send(Request(KIND, b"block"), info.conn))
    script = scripts.start(text + "\ntime.sleep(0.2)\nprint('at its end')", server.port)
    script.reads("at its end")
    reached = time.monotonic()
    assert script.process.stdout is not None
    rest = script.process.stdout.read()
    assert script.ends() == (0, "")
    assert time.monotonic() - reached < 3
    assert "called" not in rest


def test_many_calls_wait_for_a_blocked_callback(ends: Ends, scripts: Scripts) -> None:
    """A script ends promptly even if thousands of messages wait behind a blocked callback."""
    script = scripts.start(
        """
server = Server(ServerConfig(host="127.0.0.1", port=0))
server.set_callback("on_recv", lambda *_: threading.Event().wait())
server.start()
print(server.port, "port")
while not server._clients or len(list(server._clients.values())[0][1]._calls) < 1000: time.sleep(0.01)
print("at its end")
"""
    )
    assert script.process.stdout is not None
    port = next(int(line.split()[0]) for line in script.process.stdout if line.endswith("port\n"))
    sender = ends.client(port).get_sender()
    for _ in range(5000):
        sender.send(Request(KIND, bytes(100)))
    script.reads("at its end")
    reached = time.monotonic()
    assert script.ends() == (0, "")
    assert time.monotonic() - reached < 3


@pytest.mark.parametrize(
    "call",
    [
        "client().send_and_wait(Request(KIND, b''), timeout=60)",
        "Client(ClientConfig(port=1, retry=1000, retry_delay=1000)).connect()",
        "c = client(); time.sleep(60)",
        "server.start(); input()",
    ],
    ids=["send_and_wait", "connect", "sleep", "input"],
)
def test_ctrl_c(ends: Ends, scripts: Scripts, call: str) -> None:
    """Ctrl+C during a blocking call is a KeyboardInterrupt there, and ends the script."""
    text = f"""
server = Server(ServerConfig(host="127.0.0.1", port=0))
print("begins")
try:
    {call}
except KeyboardInterrupt:
    print("interrupted")
    raise
"""
    script = scripts.start(text, ends.server().port)
    script.reads("begins")
    time.sleep(0.3)  # it is about to block, and says nothing when it does
    script.process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    script.reads("interrupted")
    status, errors = script.ends()
    assert time.monotonic() - interrupted < 4
    assert status in (130, -signal.SIGINT, 1)
    assert "KeyboardInterrupt" in errors


def test_twisteds_own_reactor_in_the_same_process(scripts: Scripts) -> None:
    """A program may run Twisted's reactor in its main thread, with servers and clients of both APIs."""
    script = scripts.start(
        """
import veltix_tx
from twisted.internet import defer, reactor, threads
from twisted.python import threadable
native = veltix_tx.Server(port=0, endpoint="tcp:0:interface=127.0.0.1")
OTHER = veltix_tx.MessageType(4000)

@native.route(OTHER)
def echo(client, message):
    return b"native " + message.content

def answer(info, response):
    blocking.get_sender().send(Request(KIND, b"dropin " + response.content, response.request_id), info.conn)

def blocks():
    MINE = MessageType(4000)
    c = Client(ClientConfig(port=native.port))
    assert c.connect()
    return c.send_and_wait(Request(MINE, b"a")).content, threadable.isInIOThread()

async def main():
    global blocking
    blocking = Server(ServerConfig(host="127.0.0.1", port=0))
    blocking.set_callback("on_recv", answer)
    blocking.start()
    await native.listen()
    first = await threads.deferToThread(blocks)
    registry = veltix_tx.MessageRegistry()
    client = veltix_tx.Client("127.0.0.1", blocking.port, types=registry)
    session = await client.connect()
    kind = veltix_tx.MessageType(KIND.code, "x", registry=registry)
    reply = await client.send_and_wait(kind, b"b")
    print(first, reply.content, threadable.isInIOThread(), flush=True)
    await client.disconnect()
    await native.stopService()
    reactor.stop()

reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
reactor.run()
blocking.close_all()
print("end")
"""
    )
    script.reads("(b'native a', False) b'dropin b' True")
    script.reads("end")
    assert script.ends() == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_children(ends: Ends, scripts: Scripts) -> None:
    """A forked child has a reactor of its own: its new clients work, it ends by itself; the parent's stay the parent's."""
    port, seen, _ = received(ends)
    script = scripts.start(
        """
import warnings
warnings.simplefilter("ignore")  # Python 3.12 and later warn of forking with threads
mine = client()
child = os.fork()
if child == 0:
    assert mine.send_and_wait(Request(KIND, b"never"), 1) is None
    assert mine.get_sender().send(Request(KIND, b"never")) is False
    assert mine.socket.close() is mine.is_connected is False
    client().get_sender().send(Request(KIND, b"child"))
    sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert mine.get_sender().send(Request(KIND, b"parent"))
""",
        port,
    )
    assert script.ends() == (0, "")
    until(lambda: len(seen) == 2)
    assert seen == [b"child", b"parent"]


def test_importing_starts_nothing(tmp_path: Path) -> None:
    """Importing the drop-in starts no thread and imports no reactor."""
    code = (
        "import sys, threading, veltix_tx.dropin.veltix; print(threading.active_count(), 'twisted.internet.reactor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1 False\n"


def test_the_global_reactor_is_left_alone(scripts: Scripts) -> None:
    """Using the drop-in installs no reactor: a program may choose its own afterwards."""
    script = scripts.start(
        """
server = Server(ServerConfig(host="127.0.0.1", port=0))
server.start()
from twisted.internet import selectreactor
selectreactor.install()
from twisted.internet import reactor
print(type(reactor).__name__)
"""
    )
    script.reads("SelectReactor")
    assert script.ends() == (0, "")
