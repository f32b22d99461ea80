"""TLS below a protocol, moved by hand on a clock of the test's own, and what its errors say."""

from __future__ import annotations

import ssl
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.authority import Authority, Files
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import HandshakeError, HandshakeTimeout, SettingsError, TlsFailed
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.close_reason import classify_close
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.net.transport import tls
from veltix_tx.net.transport.endpoints import ListenSpec, TlsFiles, listen_specs
from veltix_tx.net.transport.tls import ClientTls, ServerTls, TlsEndpoint
from veltix_tx.net.transport.tls_errors import beginning_of_tls, tls_failure
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.interface import Role
from veltix_tx.wire.registry import find_wire

from .conftest import Recorder


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


@pytest.mark.parametrize(
    ("said", "role", "meaning"),
    [
        ("certificate verify failed", Role.CLIENT, "the server's certificate could not be verified"),
        ("wrong version number", Role.SERVER, "the client does not speak TLS here"),
        ("http request", Role.SERVER, "the client does not speak TLS here"),
        ("tlsv13 alert certificate required", Role.CLIENT, "give one with tls_cert"),
        ("sslv3 alert handshake failure", Role.CLIENT, "give one with tls_cert"),
        (
            "ssl/tls alert unknown ca",
            Role.SERVER,
            "not trust its issuer): see the client's tls_ca, and tls_cert on this side",
        ),
        (
            "tlsv1 alert unknown ca",
            Role.CLIENT,
            "not trust its issuer): see the server's tls_client_ca, and tls_cert on this side",
        ),
        ("SSL/TLS ALERT CERTIFICATE EXPIRED", Role.SERVER, "(it has expired)"),
        ("no shared cipher", Role.SERVER, "no cipher in common"),
        ("tlsv1 alert protocol version", Role.CLIENT, "no TLS version in common"),
        ("flux capacitor", Role.CLIENT, "TLS with the server failed: flux capacitor"),
    ],
)
def test_openssls_words_are_told_with_their_remedy(said: str, role: Role, meaning: str) -> None:
    """What OpenSSL says in its own words is told as what it means to this side."""
    failed = tls_failure(Failure(SSL.Error([("SSL routines", "", said)])), role)
    assert isinstance(failed, TlsFailed)
    assert meaning in str(failed)


@pytest.mark.parametrize("queue", [(), ([],), ("text",)])
def test_openssl_may_say_nothing(queue: tuple[Any, ...]) -> None:
    """An OpenSSL error without words is a TlsFailed as well."""
    assert "OpenSSL does not say why" in str(tls_failure(Failure(SSL.Error(*queue)), Role.CLIENT))


def test_other_errors_are_none_of_tls() -> None:
    """Errors of the network say nothing about TLS, and first bytes that are not its are none of it."""
    assert tls_failure(Failure(ConnectionLost()), Role.CLIENT) is None
    assert beginning_of_tls(b"\x16\x03", Role.CLIENT) is None
    assert beginning_of_tls(b"\x15\x03", Role.SERVER) is None
    assert beginning_of_tls(b"\x16", Role.SERVER) is None
    assert "give the server a tls_cert" in str(beginning_of_tls(b"\x16\x03", Role.SERVER))
    assert "connect with tls=True" in str(beginning_of_tls(b"\x15\x03", Role.CLIENT))


@pytest.mark.parametrize(
    ("role", "first", "ready", "secure", "kind", "reason"),
    [
        (Role.CLIENT, b"", False, False, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.CLIENT, b"", False, True, HandshakeError, DisconnectReason.PEER_CLOSED),
        (Role.CLIENT, b"\x15\x03", False, True, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.CLIENT, b"\x15\x03", True, True, type(None), DisconnectReason.PEER_CLOSED),
        (Role.SERVER, b"\x16\x03", False, True, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.SERVER, b"", False, False, HandshakeError, DisconnectReason.PEER_CLOSED),
    ],
)
def test_why_a_connection_ended(role: Role, first: bytes, ready: bool, secure: bool, kind: type, reason: DisconnectReason) -> None:
    """A close before the handshake is complete is TLS's where TLS was not through or the peer's first bytes are its."""
    closed = classify_close(Failure(ConnectionDone()), role, first, ready=ready, secure=secure)
    assert type(closed.cause) is kind
    assert closed.reason is reason


def test_an_openssl_error_after_the_handshake_is_the_connections() -> None:
    """Once a session is ready, a failure of TLS is told as an error of the connection."""
    closed = classify_close(Failure(SSL.Error([("", "", "bad record mac")])), Role.CLIENT, b"", ready=True, secure=True)
    assert closed.reason is DisconnectReason.ERROR


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("tls:8443", ListenSpec("auto", "tcp:8443:backlog=1024", TlsFiles("own.pem", None, None))),
        ("1.6.3@tls:1:cert=c", ListenSpec("1.6.3", "tcp:1:backlog=1024", TlsFiles("c", None, None))),
        (
            r"tls:1:interface=\:\:1:cert=C\:\\c\=1.pem:backlog=5:key=k:client_ca=a",
            ListenSpec("auto", r"tcp:1:interface=\:\:1:backlog=5", TlsFiles(r"C:\c=1.pem", "k", "a")),
        ),
        ("tls:folder:port=1", ListenSpec("auto", "tls:folder:port=1", None)),
        ("ssl:1:privateKey=k", ListenSpec("auto", "ssl:1:privateKey=k", None)),
        ("tcp:1", ListenSpec("auto", "tcp:1:backlog=1024", None)),
        (r"tcp6:1:interface=\:\:1", ListenSpec("auto", r"tcp6:1:interface=\:\:1:backlog=1024", None)),
        ("tcp:1:backlog=7", ListenSpec("auto", "tcp:1:backlog=7", None)),
        ("tcp:1:localhost:7", ListenSpec("auto", "tcp:1:localhost:7", None)),
        ("tcp:1::7", ListenSpec("auto", "tcp:1::7", None)),
        ("unix:1", ListenSpec("auto", "unix:1", None)),
    ],
)
def test_where_a_description_leads(endpoint: str, place: ListenSpec) -> None:
    """``tls:`` and a port is TCP with the files it names, or with tls_cert; others are Twisted's; TCP waits for many."""
    assert listen_specs(ServerConfig(endpoints=(endpoint, "tls:1"), tls_cert="own.pem"))[0][:3] == (
        find_wire(place[0]),
        *place[1:3],
    )
    assert place.encrypted == ("tls" in endpoint or "ssl" in endpoint)
