"""Links that lose, delay, repeat and cut: packets between two network namespaces, or a TCP proxy on loopback."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_CLONE_NEWNET = 0x40000000
_MTU = 1500
_SERVER, _CLIENT = "10.91.0.1", "10.91.0.2"  # each known in the two namespaces only
_NAMESPACE_FD = 3
_LIBC = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine or user cannot have such a link; the text says why and what to do."""


@dataclass(frozen=True)
class Impairment:
    """What a link does to what passes; probabilities are from 0 to 1.

    Attributes:
        delay: seconds each way.
        jitter: seconds by which the delay differs at most, either way.
        loss: of a packet.
        duplicate: of a packet.
        reorder: of a packet, to be held back by three delays, or 10 ms.
        corrupt: of a packet, to have one bit flipped.
        rate: bytes per second each way, 0 for any.
        cut: ``"both"``, ``"to server"`` or ``"to client"``: nothing passes, and nobody is told.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0
    cut: str = ""

    def cuts(self, direction: str) -> bool:
        """Whether nothing passes in a direction."""
        return self.cut in ("both", direction)


CLEAR = Impairment()


class _Pace:
    """One direction: when the next bytes may pass."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._free_at = 0.0

    def wait(self, impairment: Impairment, size: int, random: Random) -> float:
        """Return the seconds until ``size`` bytes are at the other end."""
        now = self._reactor.seconds()
        self._free_at = max(self._free_at, now) + (size / impairment.rate if impairment.rate else 0.0)
        return max(0.0, self._free_at - now + impairment.delay + random.uniform(-1, 1) * impairment.jitter)


# Packets.


class _Tun:
    """One end of a link of packets: a TUN device in a namespace of its own, read by the reactor."""

    def __init__(self, address: str, peer: str) -> None:
        _unshare()
        self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            name = fcntl.ioctl(self._fd, _TUNSETIFF, struct.pack("16sH22x", b"bad%d", _IFF_TUN_NO_PI))[:16].rstrip(b"\0").decode()
        except OSError as error:
            raise Unavailable(f"no TUN device ({error}): load the kernel's tun module, or use --link proxy") from error
        for command in (f"addr add {address} peer {peer} dev {name}", f"link set {name} mtu {_MTU} up", "link set lo up"):
            subprocess.run(["ip", *command.split()], check=True)
        self.arrived: Callable[[bytes], None] = lambda packet: None

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Return its name in the log."""
        return "link"

    def doRead(self) -> None:
        """Read all packets there are."""
        while True:
            try:
                packet = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            self.arrived(packet)

    def connectionLost(self, reason: object) -> None:
        """The reactor ends."""
        os.close(self._fd)

    def send(self, packet: bytes) -> None:
        """Put a packet in; the kernel drops it where it has no room."""
        try:
            os.write(self._fd, packet)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EIO, errno.EINVAL):
                raise


def _unshare() -> None:
    if _LIBC.unshare(_CLONE_NEWNET) != 0:
        why = os.strerror(ctypes.get_errno())
        raise Unavailable(f"no network namespace ({why}): run as root of a machine or privileged container, or use --link proxy")


class NamespaceLink:
    """Two network namespaces and the packets between them; this process is in the client's from then on.

    The namespaces have no name and end with the processes in them, so that nothing is left however those end.

    Attributes:
        server_host: where the server listens.
        server_python: what the server's process does first, to be in its namespace.
        server_fds: the descriptors it needs for that.
        counts: packets lost, repeated and so on.

    Raises:
        Unavailable: they cannot be had here.
    """

    name = "namespaces"
    server_host = _SERVER
    server_python = f"import ctypes, os; assert ctypes.CDLL(None).setns({_NAMESPACE_FD}, 0) == 0; os.close({_NAMESPACE_FD})"

    def __init__(self, reactor: Any, random: Random) -> None:
        if not Path("/dev/net/tun").exists():
            raise Unavailable("there is no /dev/net/tun: load the kernel's tun module, or use --link proxy")
        self._reactor, self._random = reactor, random
        self.impairment = CLEAR
        self.counts = dict.fromkeys(("packets", "lost", "repeated", "reordered", "corrupted", "cut"), 0)
        server, client = _Tun(_SERVER, _CLIENT), _Tun(_CLIENT, _SERVER)
        self.server_fds = {_NAMESPACE_FD: server.namespace}
        server.arrived = lambda packet: self._pass("to client", packet, client, to_client)
        client.arrived = lambda packet: self._pass("to server", packet, server, to_server)
        to_client, to_server = _Pace(reactor), _Pace(reactor)
        reactor.addReader(server)
        reactor.addReader(client)

    async def open(self, port: int) -> tuple[str, int]:
        """Return where a client connects to reach the server."""
        return _SERVER, port

    def _pass(self, direction: str, packet: bytes, to: _Tun, pace: _Pace) -> None:
        how, chance = self.impairment, self._random.random
        self.counts["packets"] += 1
        if how.cuts(direction):
            self.counts["cut"] += 1
            return
        if chance() < how.loss:
            self.counts["lost"] += 1
            return
        if chance() < how.corrupt:
            self.counts["corrupted"] += 1
            at = self._random.randrange(len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << self._random.randrange(8)]) + packet[at + 1 :]
        wait = pace.wait(how, len(packet), self._random)
        if chance() < how.reorder:
            self.counts["reordered"] += 1
            wait += max(0.01, 3 * how.delay)
        repeated = chance() < how.duplicate
        self.counts["repeated"] += repeated
        for _ in range(1 + repeated):
            if wait < 0.0005:
                to.send(packet)
            else:
                self._reactor.callLater(wait, self._arrive, direction, packet, to)

    def _arrive(self, direction: str, packet: bytes, to: _Tun) -> None:
        if not self.impairment.cuts(direction):
            to.send(packet)


# Bytes.


class _Side(Protocol):
    """One of a proxy's two connections."""

    def __init__(self, link: ProxyLink, direction: str) -> None:
        self._link, self._direction = link, direction
        self._pace = _Pace(link.reactor)
        self._queue: list[bytes] = []
        self._arrives = 0.0
        self.other: _Side | None = None

    def connectionMade(self) -> None:
        self._link.sides.add(self)
        self.look()

    def look(self) -> None:
        """Read, or do not."""
        if self._link.impairment.cuts(self._direction):
            self.transport.pauseProducing()
            return
        self.transport.resumeProducing()
        queue, self._queue = self._queue, []
        for data in queue:
            self.dataReceived(data)

    def dataReceived(self, data: bytes) -> None:
        how = self._link.impairment
        if how.cuts(self._direction) or self.other is None:
            self._queue.append(data)
            return
        now = self._link.reactor.seconds()
        self._arrives = max(self._arrives, now + self._pace.wait(how, len(data), self._link.random))
        self._link.reactor.callLater(self._arrives - now, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self._link.impairment.cuts(self._direction):
            self._queue.append(data)
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self._link.sides.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class ProxyLink:
    """A proxy on loopback that delays, slows, stalls and cuts; it has no packets to lose.

    Attributes as :class:`NamespaceLink`.
    """

    name = "proxy"
    server_host = "127.0.0.1"
    server_python = ""
    counts: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, reactor: Any, random: Random) -> None:
        self.reactor, self.random = reactor, random
        self.server_fds: dict[int, int] = {}
        self.sides: set[_Side] = set()
        self._impairment = CLEAR

    @property
    def impairment(self) -> Impairment:
        """What it does now."""
        return self._impairment

    @impairment.setter
    def impairment(self, impairment: Impairment) -> None:
        self._impairment = impairment
        for side in list(self.sides):
            side.look()

    async def open(self, port: int) -> tuple[str, int]:
        """Return where a client connects to reach the server."""
        server = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port)

        class Near(_Side):
            """The connection from the client."""

            def connectionMade(self) -> None:
                super().connectionMade()
                far = _Side(self._link, "to client")
                far.other = self

                def connected(_: object) -> None:
                    self.other = far
                    self.look()

                connectProtocol(server, far).addCallbacks(connected, lambda _: self.transport.abortConnection())

        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda address: Near(self, "to server")  # type: ignore[method-assign]
        listening = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(factory)
        return "127.0.0.1", listening.getHost().port


LINKS: dict[str, type[NamespaceLink] | type[ProxyLink]] = {"namespaces": NamespaceLink, "proxy": ProxyLink}
