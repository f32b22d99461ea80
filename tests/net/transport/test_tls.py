"""TLS below a protocol, moved by hand on a clock of the test's own."""

from __future__ import annotations

import ssl
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.support.authority import Authority, Files
from tests.support.line import Recorder
from veltix_tx.errors import HandshakeTimeout, SettingsError, TlsFailed
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.net.transport import tls
from veltix_tx.net.transport.tls import ClientTls, ServerTls, TlsEndpoint
from veltix_tx.settings import ClientConfig, ServerConfig


@pytest.fixture
def files(authority: Authority) -> Files:
    """Return a server's certificate for example.com."""
    return authority.issue("server", "example.com")


class Pair:
    """A server's and a client's protocol with TLS below both, and no network between them but this."""

    def __init__(self, authority: Authority, files: Files, wire: str = "auto", *, name: str = "example.com", **client: Any) -> None:
        self.clock = Clock()
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        client_tls = ClientTls(name, authority.ca)
        self.server = VeltixProtocol(ConnectionContext(Recorder(), ServerConfig(wire=wire), clocks, random=Random(1)))
        self.client = VeltixProtocol(ConnectionContext(Recorder(), ClientConfig(wire=wire, **client), clocks, random=Random(2)))
        below_server = ServerTls(files.both).below(Factory.forProtocol(lambda: self.server), self.clock)
        self.ends = [
            self._end(below_server),
            self._end(tls._Factory(client_tls, True, Factory.forProtocol(lambda: self.client), self.clock)),
        ]

    def _end(self, factory: Any) -> tuple[Any, StringTransport]:
        protocol, transport = factory.buildProtocol(None), StringTransport(peerAddress=UNIXAddress("peer"), lenient=True)
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        return protocol, transport

    def deliver(self, step: float = 0.0) -> bool:
        """Carry over what waits on either side; return whether there was anything. Time goes on by ``step``."""
        self.clock.advance(step)
        moved = False
        for (_, source), (target, _) in (self.ends, self.ends[::-1]):
            data = source.value()
            source.clear()
            if data:
                moved = True
                target.dataReceived(data)
        self.clock.advance(0)
        return moved

    def finish(self) -> None:
        """Carry over all there is."""
        while self.deliver():
            pass


@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.6.3", "1.2.0"])
def test_a_slow_link_does_not_upset_the_handshake(wire: str, authority: Authority, files: Files) -> None:
    """However long TLS takes within the deadline, Veltix's handshake begins after it, so that its own timing holds."""
    pair = Pair(authority, files, wire)
    assert pair.client.session is None
    pair.deliver(2.2)
    pair.deliver(2.2)
    pair.finish()
    assert pair.client.session is not None
    assert pair.server.session is not None
    assert pair.client.session.closed is None


def test_nobody_is_ready_before_tls_is_through(authority: Authority, files: Files) -> None:
    """Even on a wire without a handshake there is no session, and so nothing to send, before the peer is verified."""
    pair = Pair(authority, files, "1.2.0")
    assert pair.client.session is None
    assert pair.server.session is None
    pair.finish()
    assert pair.client.session is not None


def test_the_deadline_is_one_for_tls_and_veltix(authority: Authority, files: Files) -> None:
    """A TLS handshake that takes 4 of the 5 seconds leaves Veltix's one."""
    pair = Pair(authority, files, "3.3.0")
    ends: list[Any] = []
    pair.client.when_lost().addCallback(ends.append)
    pair.deliver(2)
    pair.deliver(2)
    assert not pair.client._secure or pair.client.session is None
    pair.ends[0][1].clear()
    pair.clock.advance(1.1)
    assert isinstance(pair.client._closed.cause, HandshakeTimeout)  # type: ignore[union-attr]


def test_a_verifier_that_fails_refuses(authority: Authority, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that upsets the verification itself is refused, and its error is told in short."""

    def upset(*_: object) -> None:
        raise RuntimeError("\x1b[31m" + "x" * 500)

    monkeypatch.setattr(tls, "verify_service_identity", upset)
    pair = Pair(authority, files)
    pair.finish()
    protocol, transport = pair.ends[1]
    assert transport.disconnecting
    protocol.connectionLost(Failure(ConnectionDone()))
    cause = pair.client._closed.cause  # type: ignore[union-attr]
    assert isinstance(cause, TlsFailed)
    assert "it cannot be understood" in str(cause)
    assert "\x1b" not in str(cause)
    assert len(str(cause)) < 200


# Names.

ODD = ["DNS:127.0.0.1", "DNS:*", "DNS:*.local", "DNS:*.*.example", "DNS: ", "DNS:1", "URI:spiffe://example/a:b:c", "URI:nothing"]
"""What no host can be called, and names of other kinds."""


def outcome(authority: Authority, files: Files, name: str) -> str:
    """What a client that connects to a name says of a server's certificate: nothing where it takes it."""
    pair = Pair(authority, files, name=name)
    pair.finish()
    if pair.client.session is not None:
        return ""
    pair.ends[1][0].connectionLost(Failure(ConnectionDone()))
    return str(pair.client._closed.cause)  # type: ignore[union-attr]


def ssl_takes(authority: Authority, files: Files, name: str) -> bool:
    """Whether Python's own ssl takes the certificate for the name."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server_side.load_cert_chain(files.both)
    client_side.load_verify_locations(authority.ca)
    ends = [
        client_side.wrap_bio(to_client, to_server, server_hostname=name),
        server_side.wrap_bio(to_server, to_client, server_side=True),
    ]
    try:
        for end in ends * 4:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError:
        return False
    return True


@pytest.mark.parametrize("odd", [*ODD, None])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "printer.local"])
def test_odd_names_beside_a_good_one_are_skipped(name: str, odd: str | None, authority: Authority) -> None:
    """A certificate with the right name or address is for it, whatever else it has, before or behind; Python's ssl says so, too."""
    others = [odd] if odd else ODD
    for names in ([*others, name], [name, *others]):
        files = authority.issue("server", *names)
        assert outcome(authority, files, name) == ""
        assert ssl_takes(authority, files, name)


@pytest.mark.parametrize("odd", [*ODD, None])
@pytest.mark.parametrize("name", ["127.0.0.1", "printer.example", "printer.local"])
def test_odd_names_alone_are_for_nobody(name: str, odd: str | None, authority: Authority) -> None:
    """What is skipped matches nothing: no address by a name that looks like one, and no name by ``*``."""
    files = authority.issue("server", *([odd] if odd else ODD))
    assert f"it is not for {name}" in outcome(authority, files, name)


def test_a_wildcard_is_for_one_label(authority: Authority) -> None:
    """``*.example.com`` beside an odd name is what it is: for a name below, and no other."""
    files = authority.issue("server", "*.example.com", "DNS:*")
    assert outcome(authority, files, "shop.example.com") == ""
    for name in ("example.com", "a.shop.example.com", "shop.example.org"):
        assert f"it is not for {name}" in outcome(authority, files, name)


def test_a_refused_connection_gets_no_tls(authority: Authority, files: Files) -> None:
    """A factory that refuses a connection is not asked to speak TLS on it."""

    class Refusing(Factory):
        def buildProtocol(self, addr: object) -> None:
            return None

    assert ServerTls(files.both).below(Refusing(), Clock()).buildProtocol(None) is None  # type: ignore[arg-type]


def test_a_client_endpoint_reads_its_files_each_time(authority: Authority, files: Files) -> None:
    """A file that has gone since fails the try it is needed for, with its name, and not the ones before."""
    reactor = MemoryReactorClock()
    endpoint = TlsEndpoint(lambda: ClientTls("example.com", authority.ca), TCP4ClientEndpoint(reactor, "127.0.0.1", 1), reactor)
    endpoint.connect(Factory())
    assert len(reactor.tcpClients) == 1
    authority.ca.unlink()
    with pytest.raises(SettingsError, match="tls_ca is"):
        endpoint.connect(Factory())
    assert len(reactor.tcpClients) == 1
