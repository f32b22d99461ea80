"""UDP ports: what is read of them in a turn, and whole; which address of a name is taken."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread

from tests.support.line import Recorder
from tests.support.name_resolution import Reactor
from veltix_tx import DisconnectReason, Raw, VeltixDatagramProtocol
from veltix_tx.net.transport.udp import PER_TURN, UdpClientEndpoint, read_in_portions
from veltix_tx.settings import ServerConfig


@pytest.fixture
def plain() -> Any:
    """Return a bare socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


# Reading.


class Port:
    """A real UDP port whose turns a test takes."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.port: Any = reactor.listenUDP(0, DatagramProtocol(), "127.0.0.1")  # type: ignore[attr-defined]
        self.now = 0.0
        self.took = 0.0
        self.portions: list[int] = []
        self.errors: list[OSError] = []
        read_in_portions(self.port, self.handle, self.errors.append, lambda: self.now)
        self.port.stopReading()
        self.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)

    def handle(self, arrived: list[Any]) -> None:
        """Take some time for a portion."""
        self.portions.append(len(arrived))
        self.now += self.took

    def take(self, plain: socket.socket, datagrams: list[bytes]) -> list[int]:
        """Return how many datagrams each turn brings, once these have been sent."""
        for datagram in datagrams:
            plain.sendto(datagram, ("127.0.0.1", self.port.getHost().port))
        turns = list[int]()
        while sum(turns) < len(datagrams):
            self.portions.clear()
            self.port.doRead()
            turns.append(sum(self.portions))
        return turns


@pytest.mark.parametrize("datagram", [b"", b"x", b"x" * 100])
async def test_a_turn_brings_so_many_datagrams_of_any_size(datagram: bytes, plain: socket.socket) -> None:
    """A flood of small ones, or of empty ones, which Twisted would read without end, is read in portions."""
    port = Port()
    turns = port.take(plain, [datagram] * (2 * PER_TURN + 5))
    assert turns == [PER_TURN, PER_TURN, 5]
    await port.port.stopListening()


async def test_a_turn_ends_when_it_has_taken_long(plain: socket.socket) -> None:
    """Behind the portion with which 2 ms are over, be that 32 datagrams, 4 KiB of them, or one that is longer."""
    port = Port()
    port.took = 0.0015
    assert port.take(plain, [b"x"] * 70) == [64, 6]
    assert port.take(plain, [bytes(1000)] * 12) == [10, 2]
    assert port.take(plain, [bytes(65_507)] * 3) == [2, 1]
    port.took = 0.01
    assert port.take(plain, [bytes(1000)] * 12) == [5, 5, 2]
    await port.port.stopListening()


async def test_an_error_in_place_of_a_datagram_is_told_behind_what_came_before(plain: socket.socket) -> None:
    """Such as "no route to host" on a connected port; the port is read on, and the reactor hears nothing of it."""
    port = Port()
    real = port.port.socket
    answers = [(b"one", ("127.0.0.1", 1)), OSError(errno.EHOSTUNREACH, "No route to host")]

    def receive(size: int) -> Any:
        found = answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    port.port.socket = SimpleNamespace(recvfrom=receive)
    read_in_portions(port.port, port.handle, port.errors.append, lambda: 0.0)
    port.port.socket = real
    port.port.doRead()
    assert (port.portions, [error.errno for error in port.errors]) == ([1], [errno.EHOSTUNREACH])
    await port.port.stopListening()


async def test_a_native_port_cuts_no_datagram(plain: socket.socket) -> None:
    """``reactor.listenUDP`` reads 8,192 bytes of a datagram by default; under this protocol all of it is read."""
    from twisted.internet import reactor

    application: Any = Recorder()
    application.on_message = lambda session, message: message.content
    protocol = VeltixDatagramProtocol(application, ServerConfig(wire=Raw(text=False)))
    port = reactor.listenUDP(0, protocol, "127.0.0.1")  # type: ignore[attr-defined]
    plain.connect(("127.0.0.1", port.getHost().port))
    for size in (65_507, 1, 8193):
        plain.send(bytes(size))
        assert len(await deferToThread(plain.recv, 65_536)) == size
    ended = protocol._peers[plain.getsockname()].when_lost()
    await port.stopListening()
    assert (await ended).reason is DisconnectReason.MANUAL


# Names.


@pytest.mark.parametrize(
    ("found", "own_address", "taken"),
    [
        (["::1", "127.0.0.1", "127.0.0.2"], "", "127.0.0.1"),
        (["::1", "::2"], "", "::1"),
        (["127.0.0.1", "::1"], "::1", "::1"),
        (["127.0.0.1"], "::1", "127.0.0.1"),
    ],
)
def test_one_address_of_a_name_is_taken(found: list[str], own_address: str, taken: str) -> None:
    """Nothing tells which of them is served: it is the first of IPv4, where ``udp:PORT`` listens, or of the own address's kind."""
    reactor, tried = Reactor(), list[str]()
    endpoint = UdpClientEndpoint(reactor, "name", 8080, own_address)
    endpoint._connect = lambda host, factory: tried.append(host)  # type: ignore[method-assign]
    endpoint.connect(None)  # type: ignore[arg-type]
    reactor.answer(*found)
    assert tried == [taken]


def test_a_name_without_an_address_is_a_lookup_error() -> None:
    """``connect`` errbacks, once the look-up is done."""
    reactor, failed = Reactor(), list[Any]()
    UdpClientEndpoint(reactor, "name", 8080).connect(None).addErrback(failed.append)  # type: ignore[arg-type]
    assert failed == []
    reactor.answer()
    assert failed[0].check(DNSLookupError)
