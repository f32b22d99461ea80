"""Round trips and acknowledged bytes, where the kernel tells them."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from veltix_tx.net.transport.sockets import acknowledged, round_trip


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
