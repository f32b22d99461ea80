"""What the tests of the drop-in share: servers and clients that are closed behind each test, and waiting with a deadline."""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.ports import free_port
from veltix_tx.dropin.veltix import Client, ClientConfig, Events, MessageType, Server, ServerConfig
from veltix_tx.dropin.veltix.reactor import reactor_thread
from veltix_tx.logs import Logger, LoggerConfig

__all__ = ["Ends", "Peer", "both_wires", "ends", "free_port", "log", "new_type", "run_script", "until", "wire"]

T = TypeVar("T")

_codes = itertools.count(30_000)


def new_type(name: str | None = None) -> MessageType:
    """Return a type that nobody has; codes are the whole process's."""
    return MessageType(next(_codes), name)


def until(look: Callable[[], T], seconds: float = 30.0) -> T:
    """Wait until something is true; return it."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.001)
    return found


class Peer:
    """A bare socket, for what no Veltix end would do; as context manager it closes itself."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes; fewer at the end."""
        data = b""
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return data

    def frame(self) -> tuple[int, bytes, bytes]:
        """Read one message in 1.6.3's format: code, request id, content."""
        code, size, _, _, request_id = struct.unpack(">HI4sQ4s", self.read(22))
        return code, request_id, self.read(size)

    def ended(self) -> bool:
        """Whether the other side closes; what it still says is read."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True


class Ends:
    """Makes servers and clients on loopback, and closes them.

    Args:
        wire: the release the servers speak.
    """

    def __init__(self, wire: str) -> None:
        self.wire = wire
        self.made: list[Server | Client] = []
        self.release = threading.Event()
        """Set behind the test: callbacks may block on it."""

    def server(self, *, start: bool = True, **settings: Any) -> Server:
        """Return a server, listening unless told otherwise."""
        settings = {"host": "127.0.0.1", "port": 0, "wire": self.wire, **settings}
        server = Server(ServerConfig(**settings))
        self.made.append(server)
        if start:
            server.start()
        return server

    def client(self, to: Server | int, *, connect: bool = True, **settings: Any) -> Client:
        """Return a client of a server or port, connected unless told otherwise."""
        port = to.port if isinstance(to, Server) else to
        client = Client(ClientConfig(port=port, **settings))
        self.made.append(client)
        if connect:
            assert client.connect()
        return client

    def pair(self, **settings: Any) -> tuple[Server, Client]:
        """Return a server and a client of it; the server knows the client."""
        server = self.server(**settings)
        client = self.client(server)
        until(lambda: server.clients)
        return server, client

    def close(self) -> None:
        """Close all, and see that nothing is left in the drop-in's reactor."""
        self.release.set()
        for each in reversed(self.made):
            for event in Events:
                each.set_callback(event, None)
            each.close_all() if isinstance(each, Server) else each.disconnect()
        until(lambda: not reactor_thread().open.intersection(self.made))
        until(lambda: not reactor_thread().call(_left), 2)


def _left() -> list[Any]:
    reactor = reactor_thread().reactor
    sockets = [each for each in (*reactor.getReaders(), *reactor.getWriters()) if hasattr(each, "socket")]
    return [*reactor.getDelayedCalls(), *sockets]


@pytest.fixture
def wire() -> str:
    """The release that a test's servers speak: any; see ``both_wires``."""
    return "auto"


both_wires = pytest.mark.parametrize("wire", ["3.3.0", "1.6.3"])
"""On the newest wire and on 1.6.3's. (By default two ends of ours use 1.6.3's headers behind the newest handshake.)"""


@pytest.fixture
def ends(wire: str) -> Iterator[Ends]:
    """Servers and clients, closed behind the test."""
    made = Ends(wire)
    yield made
    made.close()


class Lines(list[str]):
    """A stream that keeps what the logger says."""

    def write(self, text: str) -> int:
        """Take a line."""
        self.append(text.rstrip("\n"))
        return len(text)

    def about(self, text: str) -> list[str]:
        """Return the lines that have this in them."""
        return [line for line in list(self) if text in line]


@pytest.fixture
def log() -> Iterator[Lines]:
    """What the package's logger says during the test."""
    lines = Lines()
    Logger.reset_instance()
    Logger.get_instance(LoggerConfig(stream=lines, use_colors=False))
    yield lines
    Logger.reset_instance()


def run_script(folder: Path, text: str, *arguments: object) -> list[str]:
    """Write a script; return the command that runs it."""
    script = folder / f"script{next(_codes)}.py"
    script.write_text(text, encoding="utf-8")
    return [sys.executable, str(script), *map(str, arguments)]
