"""Round trips and acknowledged bytes, where the kernel tells them."""

from __future__ import annotations

import socket
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection, Port
from twisted.internet.testing import StringTransport

from veltix_tx.net.transport.sockets import acknowledged, round_trip, set_options, set_options_of_accepted, share_attribute_names


async def test_the_round_trip_of_a_real_socket_is_known() -> None:
    """The kernel's round trip of a loopback connection is a small number of seconds, 0 or more; of anything else, 0."""
    from twisted.internet import reactor

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
    protocol = Protocol()
    gone: Deferred[None] = Deferred()
    protocol.connectionLost = lambda reason=None: gone.callback(None)  # type: ignore[method-assign]
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), protocol)
    assert 0 <= round_trip(protocol.transport) < 1
    assert acknowledged(protocol.transport) in (0, 1)
    protocol.transport.loseConnection()  # type: ignore[union-attr]
    await gone
    await port.stopListening()
    assert round_trip(StringTransport()) == 0.0


def test_a_kernel_that_does_not_tell_the_round_trip_is_no_error() -> None:
    """A socket option that is missing or shorter than expected counts as no delay."""

    class Handle:
        def __init__(self, answer: bytes | None) -> None:
            self.answer = answer

        def getsockopt(self, *_: int) -> bytes:
            if self.answer is None:
                raise OSError
            return self.answer

    for answer in (None, b"short"):
        transport = StringTransport()
        transport.getHandle = lambda answer=answer: Handle(answer)  # type: ignore[attr-defined]
        assert round_trip(transport) == 0.0
        assert acknowledged(transport) is None


def test_a_transport_gets_early_what_all_transports_get_later() -> None:
    """A producer's attributes are a socket's own from the beginning, with the values they have for all; others are left alone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Connection(ours, Protocol())
        share_attribute_names(transport)
        assert {"producer": None, "streamingProducer": False}.items() <= vars(transport).items()
        assert transport.producer is Connection.producer
        assert transport.streamingProducer == Connection.streamingProducer
    text = StringTransport()
    before = dict(vars(text))
    share_attribute_names(text)
    assert vars(text) == before


async def test_a_connection_has_its_options_from_its_port_or_of_its_own() -> None:
    """One that came before its port had the options gets them when it is set up, and one that came after needs nothing."""
    from twisted.internet import reactor

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
    assert isinstance(port, Port)
    port.stopReading()

    def accepted() -> socket.socket:
        with socket.create_connection(port.socket.getsockname()):
            return port.socket.accept()[0]

    def options(of: socket.socket) -> tuple[int, int]:
        return of.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), of.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    with accepted() as early:
        set_options_of_accepted(port, 3, 2)
        with accepted() as late:
            assert options(early) == (0, 0)
            assert options(late) == ((1, 1) if sys.platform == "linux" else (0, 0))
            for each in (early, late):
                set_options(Connection(each, Protocol()), 3, 2)
                assert options(each) == (1, 1)
    await port.stopListening()
