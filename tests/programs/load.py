"""What the load programs share: a real server process, peers on raw sockets, and what the system knows of a process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import getrandbits
from typing import Any

from veltix_tx.wire.events import ConnectionFailed, HandshakeCompleted
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.releases import find_release

HERE = Path(__file__).resolve().parent

TYPES = MessageRegistry()
ECHO = MessageType(200, "echo", registry=TYPES)
REPORT = MessageType(201, "report", registry=TYPES)
STORM = MessageType(202, "storm", registry=TYPES)
NEWS = MessageType(203, "news", registry=TYPES)
JOIN = MessageType(204, "join", registry=TYPES)
LEAVE = MessageType(205, "leave", registry=TYPES)
KICK = MessageType(206, "kick", registry=TYPES)

MIB = 1024 * 1024
PATIENCE = 30.0
"""Seconds after which something that must happen is taken to have failed."""

_BIND_LATE = 24
"""Linux's IP_BIND_ADDRESS_NO_PORT: the port is chosen when the destination is known."""

_RESET = struct.pack("ii", 1, 0)


def say(text: str = "", end: str = "\n") -> None:
    """Show something now."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the values do not exceed, 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    return "\n".join(map(line, [head, ["-" * width for width in widths], *rows]))


def new_connection(release: str | None = "3.3.0") -> VeltixConnection:
    """Return the client's side of a connection without a transport; it speaks a release, or finds out."""
    return VeltixConnection(
        Role.CLIENT,
        None if release is None else find_release(release),
        calendar_ms=lambda: 0,
        uptime_ms=lambda: 0,
        getrandbits=getrandbits,
        types=TYPES,
    )


class ServerProcess:
    """``twistd -n veltix --app server:server`` in a process of its own, on ports the system chooses.

    Args:
        plain: listen on the wire of lines as well, over TCP and UDP.

    Attributes:
        pid: its process id.
        port: where it listens.
        lines: where it speaks lines.
        udp: where it does so over UDP.
    """

    lines = udp = 0

    def __init__(self, *, plain: bool = False) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="server", suffix=".log")  # noqa: SIM115 (closed in stop)
        twistd = os.path.join(os.path.dirname(sys.executable), "twistd")
        command = [sys.executable, twistd, "-n", "--pidfile=", "veltix", "--app", "server:server"]
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        places = ["tcp", *(["lines@tcp", "lines@udp"] if plain else [])]
        self._process = subprocess.Popen(
            [*command, *(option for place in places for option in ("--listen", f"{place}:0:interface=127.0.0.1"))],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.pid = self._process.pid
        try:
            self.port = int(until(lambda: self._started(r"speaks Veltix .*"))[1])
            if plain:
                self.lines = int(until(lambda: self._started(r"speaks lines \(utf-8\)"))[1])
                self.udp = int(until(lambda: self._started(r"speaks lines .* over UDP"))[1])
        except BaseException:
            self.stop()
            raise

    def _started(self, speaks: str) -> re.Match[str] | None:
        if self._process.poll() is not None:
            raise SystemExit(f"the server did not start:\n{self.said}")
        return re.search(speaks + r" on 127\.0\.0\.1:(\d+)", self.said)

    @property
    def said(self) -> str:
        """Its log."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory (RSS)."""
        return memory_of(self.pid)

    @property
    def descriptors(self) -> int:
        """File descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def seconds(self) -> float:
        """Seconds of processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def waited(self) -> float:
        """Seconds it has waited for a processor while it had work to do."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9

    def stop(self) -> int:
        """Ask it to end, and kill it if it does not; return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._log.close()


def memory_of(pid: int) -> int:
    """Return the bytes of a process that are in memory (RSS)."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def until(look: Callable[[], Any], seconds: float = PATIENCE, gap: float = 0.02) -> Any:
    """Return what ``look`` returns once that is true, and the last of it if it does not become so in time."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(gap)
    return found


class Caller:
    """A well-behaved client on a blocking socket.

    Args:
        port: the server's.

    Attributes:
        connection: its side of the protocol.
        socket: its socket.
    """

    def __init__(self, port: int) -> None:
        self.connection = new_connection(None)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.start()
        while self.connection.state is not State.READY:
            self.read()

    def read(self, most: int = 1 << 18) -> list[Response]:
        """Return the messages of one read of at most so many bytes; pings are answered."""
        data = self.socket.recv(most)
        if not data:
            raise ConnectionError("the server has closed the connection")
        events = self.connection.receive_data(data, 0)
        self.write()
        return [event for event in events if isinstance(event, Response)]

    def write(self) -> None:
        """Send what the connection has to send."""
        if out := self.connection.data_to_send():
            self.socket.sendall(b"".join(out))

    def ask(self, message_type: MessageType, content: bytes = b"") -> Response:
        """Send a request and return its reply; what comes before it is dropped."""
        request_id = self.connection.allocate_id(())
        self.connection.send(message_type, content, request_id)
        self.write()
        while True:
            for message in self.read():
                if message.request_id == request_id and message.type is message_type:
                    return message

    def report(self) -> dict[str, Any]:
        """Return what the server says it holds."""
        found: dict[str, Any] = json.loads(self.ask(REPORT).content)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


class Crowd:
    """Many peers on raw sockets that never block, driven by one epoll.

    Args:
        port: the server's.
        lines: where it speaks lines.
        udp: where it does so over UDP.

    Attributes:
        peers: those whose connection is open.
    """

    def __init__(self, port: int, lines: int = 0, udp: int = 0) -> None:
        self.port, self.lines, self.udp = port, lines, udp
        self.peers: set[RawPeer] = set()
        self._epoll = select.epoll()
        self._by_number: dict[int, RawPeer] = {}

    def add(self, peer: RawPeer) -> None:
        """Take a peer in."""
        number = peer.socket.fileno()
        self.peers.add(peer)
        self._by_number[number] = peer
        self._epoll.register(number, select.EPOLLIN | select.EPOLLOUT)

    def watch(self, peer: RawPeer, *, read: bool = True, write: bool = False) -> None:
        """Say what a peer waits for; its end is noticed in any case."""
        self._epoll.modify(peer.socket.fileno(), (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0))

    def discard(self, peer: RawPeer) -> None:
        """Forget a peer that closes."""
        if peer in self.peers:
            self.peers.discard(peer)
            del self._by_number[peer.socket.fileno()]
            self._epoll.unregister(peer.socket.fileno())

    def turn(self, seconds: float = 0.05) -> None:
        """Let every peer do what it can."""
        for number, what in self._epoll.poll(seconds):
            peer = self._by_number.get(number)
            if peer is not None:
                peer.work(what)

    def run(self, go_on: Callable[[], object], seconds: float = 2 * PATIENCE) -> bool:
        """Take turns while ``go_on`` is true, at most so long; return whether it no longer is."""
        end = time.monotonic() + seconds
        while going := go_on():
            if time.monotonic() > end:
                break
            self.turn()
        return not going

    def clear(self) -> None:
        """Close every peer."""
        for peer in list(self.peers):
            peer.close()

    def close(self) -> None:
        """Close every peer and the epoll."""
        self.clear()
        self._epoll.close()


class RawPeer:
    """A peer that connects at once, completes its handshake, and then does what its kind does.

    Args:
        crowd: whose epoll drives it.
        source: the address it comes from.
        quiet: say nothing at all.
        port: where it connects; the crowd's port by default.

    Attributes:
        socket: its socket.
        connection: its side of the protocol.
        lost: whether the server has closed it.
        failed: whether it has closed because it was slower than 0.3 s to answer the first hello, and so was sent the
            next one, which it takes for a mistake as a real client of 3.x does.
    """

    def __init__(self, crowd: Crowd, source: str = "127.0.0.1", *, quiet: bool = False, port: int = 0) -> None:
        self.crowd = crowd
        self.connection = new_connection()
        self.lost = self.failed = False
        self._quiet = quiet
        self._out = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, _BIND_LATE, 1)
        self.socket.bind((source, 0))
        self.socket.connect_ex(("127.0.0.1", port or crowd.port))
        self.connection.start()
        crowd.add(self)

    # What kinds of peers change.

    def ready(self) -> None:
        """The handshake is complete."""

    def received(self, message: Response) -> None:
        """A message came."""

    def read_bytes(self, data: bytes) -> None:
        """Bytes came."""
        if self._quiet:
            return
        for event in self.connection.receive_data(data, 0):
            if isinstance(event, HandshakeCompleted):
                self.ready()
            elif isinstance(event, Response):
                self.received(event)
            elif isinstance(event, ConnectionFailed):
                self.failed = True
                self.close()
        self.write(b"".join(self.connection.data_to_send()))

    def written(self) -> None:
        """Everything is written."""

    def ended(self) -> None:
        """The server has closed the connection."""

    # What they have in common.

    def write(self, data: bytes) -> None:
        """Send bytes, now or when the server takes them."""
        if not data or self not in self.crowd.peers:
            return
        self._out += data
        self._flush()

    def _flush(self) -> None:
        try:
            self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            return
        if self in self.crowd.peers:
            self.crowd.watch(self, write=bool(self._out))
            if not self._out:
                self.written()

    def work(self, what: int) -> None:
        """Do what epoll says can be done."""
        if what & select.EPOLLIN:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                pass
            except OSError:
                data = b""
                self._end()
            else:
                if data:
                    self.read_bytes(data)
                else:
                    self._end()
        elif what & (select.EPOLLERR | select.EPOLLHUP):
            self._end()
        if what & select.EPOLLOUT and self in self.crowd.peers:
            if self._out:
                self._flush()
            else:
                self.crowd.watch(self)

    def _end(self) -> None:
        self.lost = True
        self.close()
        self.ended()

    def close(self) -> None:
        """Close the connection."""
        self.crowd.discard(self)
        self.socket.close()

    def reset(self) -> None:
        """Close it with an RST: what is under way is lost."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()
