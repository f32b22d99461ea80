"""TLS between real servers and clients on loopback: who is let in, who is not and why, and what stays as it was without TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.support.authority import DAY, Authority, Files
from veltix_tx import (
    Client,
    DisconnectReason,
    HandshakeError,
    HandshakeTimeout,
    Limits,
    Server,
    SessionClosed,
    SettingsError,
    Timeouts,
    TlsFailed,
)
from veltix_tx.net.transport import tls

MIB = 1024 * 1024


async def sleep(seconds: float) -> None:
    """Wait."""
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not true():
        await sleep(0.01)


@pytest.fixture
def logged() -> Iterator[Callable[[str], bool]]:
    """Return whether a text has been logged."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lambda text: any(text in line for line in lines)
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def files(authority: Authority) -> Files:
    """Return a server's certificate for localhost and 127.0.0.1."""
    return authority.issue("server", "localhost", "127.0.0.1")


def secure(loopback: Any, server: Server, authority: Authority, name: str = "127.0.0.1", **settings: Any) -> Client:
    """Return a client that trusts the authority."""
    client: Client = loopback.client(server.port, server_addr=name, tls=True, tls_ca=authority.ca, **settings)
    return client


def certificate_of(client: Client) -> str:
    """Return the common name of the certificate a client was shown."""
    transport: Any = client.session._transport.transport  # type: ignore[union-attr]
    return common_name(transport)


def common_name(transport: Any) -> str:
    """Return the common name of the certificate that the peer showed."""
    return str(transport.getPeerCertificate().to_cryptography().subject.rfc4514_string()).removeprefix("CN=")


async def refused(client: Client) -> TlsFailed:
    """Connect where that must fail for TLS; return why."""
    with pytest.raises(TlsFailed) as caught:
        await client.connect()
    return caught.value


# Who is let in.


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.6.3", "1.2.0"])
async def test_everything_works_over_tls(
    name: str, wire: str, loopback: Any, authority: Authority, files: Files, logged: Callable[[str], bool]
) -> None:
    """A server with tls_cert and tls_key and a client that trusts its issuer talk, whatever the wire and whether called by name."""
    server = await loopback.server(tls_cert=files.cert, tls_key=files.key, wire=wire)
    client = secure(loopback, server, authority, name, wire=wire)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"x" * MIB)).content == b"x" * MIB
    assert await client.ping_server() > 0
    transport: Any = client.session._transport.transport  # type: ignore[union-attr]
    assert transport.getHandle().get_protocol_version_name() == "TLSv1.3"
    assert logged("over TLS on 127.0.0.1:")
    closed = server.clients[0].when_closed()
    await client.disconnect()
    assert (await closed).reason is DisconnectReason.PEER_CLOSED


async def test_a_chain_in_the_certificates_file_is_shown(loopback: Any, authority: Authority) -> None:
    """A client that trusts the root only accepts a certificate of an intermediate that is behind it in the file; one file does."""
    files = Authority(authority.folder, "Intermediate", authority).issue("chained", "127.0.0.1")
    server = await loopback.server(tls_cert=str(files.both))
    client = secure(loopback, server, authority)
    await client.connect()
    assert certificate_of(client) == "chained"


async def test_an_endpoint_has_a_certificate_of_its_own(loopback: Any, authority: Authority, files: Files, tmp_path: Path) -> None:
    """``tls:PORT:cert=...`` is served with what it says, ``tls:PORT`` with tls_cert, others without; colons can be escaped."""
    other = authority.issue("other", "127.0.0.1")
    with_colon = tmp_path / "a:b.pem"
    with_colon.write_bytes(other.both.read_bytes())
    escaped = str(with_colon).replace(":", r"\:")
    server = loopback.made_server(
        endpoints=(
            f"3.3.0@tls:0:cert={escaped}:interface=127.0.0.1",
            f"tls:0:cert={other.cert}:key={other.key}:interface=127.0.0.1",
            "tls:0:interface=127.0.0.1",
            "tcp:0:interface=127.0.0.1",
        ),
        tls_cert=files.both,
    )
    server.startService()
    shown = []
    for address in server.addresses[:3]:
        client = loopback.client(address.port, tls=True, tls_ca=authority.ca)
        await client.connect()
        shown.append(certificate_of(client))
    assert shown == ["other", "other", "server"]
    plain = loopback.client(server.addresses[3].port)
    await plain.connect()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Twisted uses what pyOpenSSL deprecates
async def test_twisteds_own_descriptions_work(loopback: Any, authority: Authority, files: Files, tmp_path: Path) -> None:
    """``ssl:`` of Twisted's for the server and ``tls:`` for the client do as they say, and a refusal there is a TlsFailed, too."""
    server = loopback.made_server(endpoint=f"ssl:0:privateKey={files.key}:certKey={files.cert}:interface=127.0.0.1")
    server.route(loopback.chat)(lambda client, message: message.content)
    server.startService()
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "authority.pem").write_bytes(authority.ca.read_bytes())
    client = loopback.client(endpoint=f"tls:127.0.0.1:{server.port}:trustRoots={trusted}")
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"hello")).content == b"hello"
    stranger = loopback.client(endpoint=f"tls:127.0.0.1:{server.port}")
    assert "could not be verified" in str(await refused(stranger))
    elsewhere = loopback.client(
        endpoint=f"tls:elsewhere:{server.port}:trustRoots={trusted}:endpoint=tcp\\:127.0.0.1\\:{server.port}"
    )
    assert "not for the name" in str(await refused(elsewhere))


async def test_a_clients_own_endpoint_gets_tls(loopback: Any, authority: Authority, files: Files) -> None:
    """With an endpoint and tls, the certificate must be for tls_name."""
    server = await loopback.server(tls_cert=files.both)
    settings = {"endpoint": f"tcp:127.0.0.1:{server.port}", "tls": True, "tls_ca": authority.ca}
    good, bad = (Client(types=loopback.types, tls_name=name, **settings) for name in ("localhost", "elsewhere"))
    await good.connect()
    await good.disconnect()
    assert "not for elsewhere" in str(await refused(bad))


# Who is not.

CERTIFICATES: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "expired": ({"age": 40 * DAY}, ("127.0.0.1",), "it expired on 20"),
    "not yet": ({"age": -DAY}, ("127.0.0.1",), "it is valid only from 20"),
    "wrong name": ({}, ("localhost", "127.0.0.2"), "it is not for 127.0.0.1: connect by a name that it has"),
    "no name": ({}, (), "it is not for 127.0.0.1"),
    "self-signed": ({"self_signed": True}, ("127.0.0.1",), "it is self-signed and not trusted here: give it as tls_ca"),
    "a client's": ({"client": True}, ("127.0.0.1",), "it is not for this use"),
}


@pytest.mark.parametrize("kind", [*CERTIFICATES, "unknown issuer"])
async def test_a_servers_certificate_is_verified(
    kind: str, loopback: Any, authority: Authority, logged: Callable[[str], bool]
) -> None:
    """A certificate that cannot be trusted ends the connection at once, with the cause and what helps; nothing is served."""
    options, names, said = CERTIFICATES.get(kind, ({}, ("127.0.0.1",), "its issuer, 'CN=Stranger', is not trusted here: give"))
    issuer = Authority(authority.folder, "Stranger") if kind == "unknown issuer" else authority
    files = issuer.issue("server", *names, **options)
    server = await loopback.server(tls_cert=files.both)
    told: list[Any] = []
    server.set_callback("on_connect", told.append)
    client = secure(loopback, server, authority)
    states: list[Any] = []
    client.set_callback("on_disconnect", states.append)
    error = await refused(client)
    assert "the server's certificate is refused: " in str(error)
    assert said in str(error)
    assert states[-1].reason is DisconnectReason.TLS_FAILED
    await until(lambda: len(server._connections) == 0)
    assert told == []
    assert logged("the client refuses this side's certificate")


async def test_a_self_signed_certificate_can_be_trusted_as_it_is(loopback: Any, authority: Authority) -> None:
    """One that is given as tls_ca itself is accepted, and for its own name only."""
    files = authority.issue("server", "127.0.0.1", self_signed=True)
    server = await loopback.server(tls_cert=files.both)
    settings = {"tls": True, "tls_ca": files.cert}
    await loopback.client(server.port, **settings).connect()
    assert "it is not for elsewhere" in str(await refused(loopback.client(server.port, tls_name="elsewhere", **settings)))


async def test_this_machines_issuers_are_trusted_by_default(loopback: Any, files: Files) -> None:
    """Without tls_ca the server's issuer must be one that this machine trusts."""
    server = await loopback.server(tls_cert=files.both)
    assert "is not trusted here" in str(await refused(loopback.client(server.port, tls=True)))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("kind", ["good", "none", "expired", "stranger's", "a server's"])
async def test_a_client_must_show_a_certificate(
    kind: str,
    version: str,
    loopback: Any,
    authority: Authority,
    files: Files,
    logged: Callable[[str], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With tls_client_ca a client is let in with a certificate of that issuer only, and told why not; the server logs it."""
    from OpenSSL import SSL

    if version == "TLSv1_2":
        monkeypatch.setattr(tls, "_OPTIONS", tls._OPTIONS | SSL.OP_NO_TLSv1_3)
    issuer = Authority(authority.folder, "Stranger") if kind == "stranger's" else authority
    own = issuer.issue("client", client=kind != "a server's", age=40 * DAY if kind == "expired" else DAY)
    server = await loopback.server(tls_cert=files.both, tls_client_ca=authority.ca)
    shown = {} if kind == "none" else {"tls_cert": own.cert, "tls_key": own.key}
    client = secure(loopback, server, authority, **shown)
    if kind == "good":
        await client.connect()
        assert (await client.send_and_wait(loopback.chat, b"in")).content == b"in"
        return
    error = await refused(client)
    assert "tls_cert" in str(error)
    server_said = {
        "none": "the client shows no certificate, and tls_client_ca asks for one",
        "expired": "the client's certificate is refused: it expired on",
        "stranger's": "'CN=Stranger', is not trusted here: give the issuer's certificate as tls_client_ca",
        "a server's": "the client's certificate is refused: it is not for this use",
    }
    await until(lambda: len(server._connections) == 0)
    assert logged(server_said[kind])


async def test_older_versions_are_refused(loopback: Any, files: Files, logged: Callable[[str], bool]) -> None:
    """TLS 1.1 is not spoken, however much a peer wants it."""
    from OpenSSL import SSL

    server = await loopback.server(tls_cert=files.both)
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    old = SSL.Connection(context, None)
    old.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        old.do_handshake()
    raw = await loopback.raw(server.port)
    raw.transport.write(old.bio_read(65536))
    await raw.gone
    assert raw.received == b"\x15\x03\x02\x00\x02\x02\x46"  # an alert: protocol version
    assert logged("the two sides have no TLS version in common")


# One side without TLS.


@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.2.0"])
async def test_a_plain_client_at_a_tls_port(wire: str, loopback: Any, files: Files, logged: Callable[[str], bool]) -> None:
    """It fails within the handshake timeout with the cause; the server serves the next client."""
    server = await loopback.server(tls_cert=files.both, handshake_timeout=2.0)
    client = loopback.client(server.port, wire=wire, handshake_timeout=1.8)
    if wire == "1.2.0":  # nobody begins there
        await client.connect()
        client.send(loopback.chat, b"hello")
        await until(lambda: not client.is_connected)
    else:
        said = {
            "auto": "the server closed the connection before it said a word",  # when it was asked whether it has no handshake
            "3.3.0": "the handshake was not complete after 1.8 s: the server has not said a word",
        }[wire]
        with pytest.raises(HandshakeError) as caught:
            await client.connect()
        assert str(caught.value) == f"{said}: is it a Veltix server, and one without TLS?"
    await until(lambda: len(server._connections) == 0)
    assert logged("the client does not speak TLS here" if wire != "3.3.0" else "TLS was not through") or wire == "3.3.0"


@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.6.3", "1.2.0"])
async def test_a_tls_client_at_a_plain_port(wire: str, loopback: Any, authority: Authority, logged: Callable[[str], bool]) -> None:
    """It fails with the cause, and never falls back to talking without TLS; the server's log says what came."""
    server = await loopback.server(wire=wire)
    told: list[Any] = []
    server.set_callback("on_recv", lambda client, message: told.append(message))
    client = secure(loopback, server, authority, wire=wire, handshake_timeout=1.0)
    error = await refused(client)
    assert "TLS" in str(error)
    await until(lambda: len(server._connections) == 0)
    assert told == []
    if wire != "1.2.0":
        assert logged("the client speaks TLS and this port does not")


async def test_a_tls_client_tries_again_with_tls_only(loopback: Any, authority: Authority, files: Files) -> None:
    """A client whose certificate was refused tries again as its policy says, and is in once the certificate is right."""
    bad = authority.issue("server", "elsewhere")
    server = await loopback.server(tls_cert=bad.both)
    client = secure(loopback, server, authority, retry=100, retry_delay=0.05)
    states: list[Any] = []
    client.set_callback("on_disconnect", states.append)
    connecting = client.connect()
    await until(lambda: len(states) >= 2)
    bad.both.write_bytes(authority.issue("good", "127.0.0.1").both.read_bytes())
    assert server.reload_tls() == 1
    await connecting
    assert certificate_of(client) == "good"
    assert {type(state.error) for state in states} == {TlsFailed}


# Time and numbers.


@pytest.mark.parametrize("says", [b"", b"\x16\x03\x01", "drip"])
async def test_a_stalled_tls_handshake_is_cut_off(
    says: bytes | str, loopback: Any, files: Files, logged: Callable[[str], bool]
) -> None:
    """A peer that does not get on with TLS is dropped at the handshake's absolute deadline, whatever it sends meanwhile."""
    server = await loopback.server(tls_cert=files.both, handshake_timeout=0.6)
    raw = await loopback.raw(server.port)
    assert len(server._connections.half_open()) == 1
    if says == "drip":
        for byte in b"\x16\x03\x01\x02\x00\x01\x00":
            raw.transport.write(bytes([byte]))
            await sleep(0.05)
    else:
        raw.transport.write(says)
    await raw.gone
    assert len(server._connections) == 0
    assert logged("the handshake was not complete after 0.6 s: TLS was not through")


async def test_a_server_that_does_not_get_on_with_tls_is_given_up(loopback: Any, authority: Authority) -> None:
    """A client waits for TLS no longer than its handshake timeout, and says that it was TLS that was missing."""
    port = await loopback.raw_server()
    client = loopback.client(port.getHost().port, tls=True, tls_ca=authority.ca, handshake_timeout=0.4)
    with pytest.raises(HandshakeTimeout, match="TLS was not through"):
        await client.connect()


async def test_peers_in_their_tls_handshake_are_half_open(loopback: Any, authority: Authority, files: Files) -> None:
    """They count for the limits of half-open connections, and the oldest give way to new clients, who are served."""
    limits = Limits(half_open=10, half_open_per_source=10)
    server = await loopback.server(tls_cert=files.both, limits=limits, handshake_timeout=30)
    raws = [await loopback.raw(server.port) for _ in range(10)]
    await until(lambda: len(server._connections.half_open()) == 10)
    await sleep(3.1)
    for _ in range(3):
        client = secure(loopback, server, authority)
        await client.connect()
    assert len(server.clients) == 3
    assert server.counters["evicted"] >= 1
    for raw in raws:
        raw.transport.abortConnection()


async def test_a_full_server_says_so_over_tls(loopback: Any, authority: Authority, files: Files) -> None:
    """A client too many is told so as it is without TLS; those far too many are dropped without a word, and without an error."""
    from veltix_tx import ServerFull

    server = await loopback.server(tls_cert=files.both, max_connections=1)
    first = secure(loopback, server, authority)
    await first.connect()
    with pytest.raises(ServerFull):
        await secure(loopback, server, authority).connect()
    raws = [await loopback.raw(server.port) for _ in range(70)]
    await until(lambda: server.counters["refused"] >= 71)
    assert first.is_connected
    for raw in raws:
        raw.transport.abortConnection()


# Certificates read again.


async def test_certificates_are_read_again(loopback: Any, authority: Authority, files: Files) -> None:
    """reload_tls() gives new connections the new certificate; a live one goes on, and what it waits for comes."""
    server = loopback.made_server(tls_cert=files.cert, tls_key=files.key)
    gate: Deferred[bytes] = Deferred()
    server.route(loopback.chat)(lambda client, message: gate)
    server.startService()
    live = secure(loopback, server, authority)
    await live.connect()
    waiting = live.send_and_wait(loopback.chat, b"?")
    renewed = authority.issue("renewed", "127.0.0.1")
    files.cert.write_bytes(renewed.cert.read_bytes())
    files.key.write_bytes(renewed.key.read_bytes())
    assert server.reload_tls() == 1
    later = secure(loopback, server, authority)
    await later.connect()
    assert (certificate_of(live), certificate_of(later)) == ("server", "renewed")
    gate.callback(b"still here")
    assert (await waiting).content == b"still here"


@pytest.mark.parametrize("broken", ["missing", "empty", "half", "other key", "issuer"])
async def test_a_reload_that_fails_changes_nothing(broken: str, loopback: Any, authority: Authority, files: Files) -> None:
    """A file that cannot be used leaves every certificate as it was, those that could be read as well, and is named."""
    issuers = authority.folder / "issuers.pem"
    issuers.write_bytes(authority.ca.read_bytes())
    good = authority.issue("good", "127.0.0.1")
    server = loopback.made_server(
        endpoints=(
            f"tls:0:cert={good.both}:interface=127.0.0.1",
            f"tls:0:cert={files.cert}:key={files.key}:client_ca={issuers}:interface=127.0.0.1",
        )
    )
    server.startService()
    good.both.write_bytes(authority.issue("renewed", "127.0.0.1").both.read_bytes())
    if broken == "missing":
        files.cert.unlink()
    elif broken == "empty":
        files.cert.write_bytes(b"")
    elif broken == "half":
        files.cert.write_bytes(files.cert.read_bytes()[:300])
    elif broken == "other key":
        files.key.write_bytes(good.key.read_bytes())
    else:
        issuers.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match={"other key": "whose key=", "issuer": "whose client_ca="}.get(broken, "whose cert=")):
        server.reload_tls()
    own = authority.issue("client", client=True)
    shown = []
    for address in server.addresses:
        client = loopback.client(address.port, tls=True, tls_ca=authority.ca, tls_cert=own.both)
        await client.connect()
        shown.append(certificate_of(client))
    assert shown == ["good", "server"]


async def test_there_may_be_nothing_to_read_again(loopback: Any, files: Files) -> None:
    """Without TLS, and before and after it listens, there are no certificates to read."""
    server = await loopback.server()
    assert server.reload_tls() == 0
    secured = loopback.made_server(tls_cert=files.both)
    assert secured.reload_tls() == 0
    secured.startService()
    assert secured.reload_tls() == 1
    await secured.stopService()
    assert secured.reload_tls() == 0


async def test_a_client_reads_its_files_for_each_try(loopback: Any, authority: Authority, files: Files) -> None:
    """A client that connects again shows what its certificate's file holds by then."""
    own = authority.issue("client", client=True)
    server = await loopback.server(tls_cert=files.both, tls_client_ca=authority.ca)
    client = secure(loopback, server, authority, tls_cert=own.both, retry=3, retry_delay=0.01)
    await client.connect()
    own.both.write_bytes(authority.issue("renewed", client=True).both.read_bytes())
    (lost,) = server.clients
    lost._transport.transport.abortConnection()
    await until(lambda: bool(server.clients) and server.clients != [lost])
    assert common_name(server.clients[0]._transport.transport) == "renewed"


# What holds without TLS holds with it.


def deaf(client: Client) -> None:
    """Let a client read nothing from now on."""
    client.session._transport.transport.pauseProducing()  # type: ignore[union-attr]


async def test_a_peer_that_does_not_read_is_bounded_and_given_up(loopback: Any, authority: Authority, files: Files) -> None:
    """What is queued for it stays within write_hard, and after the stall time it is closed; others are served."""
    limits = Limits(write_high=MIB, write_hard=2 * MIB)
    server = await loopback.server(tls_cert=files.both, limits=limits, timeouts=Timeouts(write=0.5))
    ends: list[SessionClosed] = []
    server.set_callback("on_disconnect", lambda client: ends.append(client.closed))
    idle, good = secure(loopback, server, authority), secure(loopback, server, authority)
    heard: list[int] = []
    good.set_callback("on_recv", lambda message: heard.append(len(message.content)))
    await idle.connect()
    await until(lambda: len(server.clients) == 1)
    (silent,) = server.clients
    await good.connect()
    await until(lambda: len(server.clients) == 2)
    deaf(idle)
    rounds = 0
    while not silent.broadcasts_dropped:
        rounds += 1
        server.broadcast(loopback.news, b"x" * 65536, slow="drop")
        assert silent.write_buffer_size <= 2 * MIB
        await sleep(0)
    await until(lambda: len(ends) == 1)
    assert ends[0].reason is DisconnectReason.WRITE_TIMEOUT
    await until(lambda: len(heard) == rounds)
    assert (await good.send_and_wait(loopback.chat, b"and you?")).content == b"and you?"


async def test_reading_is_paused_for_a_peer_that_asks_and_does_not_read(loopback: Any, authority: Authority, files: Files) -> None:
    """Its requests are not read any more until it reads, and then every reply comes, in order."""
    server = loopback.made_server(tls_cert=files.both)
    handled: list[bytes] = []

    @server.route(loopback.chat)
    def much(client: Any, message: Any) -> bytes:
        handled.append(message.content)
        return message.content * 20_000

    server.startService()
    client = secure(loopback, server, authority)
    heard: list[bytes] = []
    client.set_callback("on_recv", lambda message: heard.append(message.content[:4]))
    await client.connect()
    deaf(client)
    asked = [number.to_bytes(4, "big") for number in range(400)]
    for each in asked:
        client.send(loopback.chat, each)
    before = -1
    while before != len(handled):
        before = len(handled)
        await sleep(0.2)
    assert before < 400
    client.session._transport.transport.resumeProducing()  # type: ignore[union-attr]
    await until(lambda: len(heard) == 400)
    assert heard == asked


async def test_a_polite_close_delivers_what_is_queued(loopback: Any, authority: Authority, files: Files) -> None:
    """All that was sent before disconnect() arrives, however much, before TLS says goodbye."""
    server = await loopback.server(tls_cert=files.both)
    client = secure(loopback, server, authority)
    heard: list[int] = []
    client.set_callback("on_recv", lambda message: heard.append(len(message.content)))
    await client.connect()
    await until(lambda: len(server.clients) == 1)
    (session,) = server.clients
    for _ in range(100):
        session.send(loopback.news, b"x" * 100_000)
    assert session.write_buffer_size > 0
    assert (await session.disconnect()).reason is DisconnectReason.MANUAL
    await until(lambda: len(heard) == 100)


async def test_a_stopping_server_finishes_what_it_accepted(loopback: Any, authority: Authority, files: Files) -> None:
    """stopService() lets a handler end and its reply arrive whole over TLS; those still in their TLS handshake are dropped."""
    server = loopback.made_server(tls_cert=files.both)
    gate: Deferred[bytes] = Deferred()
    server.route(loopback.chat)(lambda client, message: gate)
    server.startService()
    client = secure(loopback, server, authority)
    await client.connect()
    raw = await loopback.raw(server.port)
    reply = client.send_and_wait(loopback.chat, b"?")
    await client.ping_server()
    stopped = server.stopService()
    await raw.gone
    assert not stopped.called
    gate.callback(b"x" * MIB)
    assert len((await reply).content) == MIB
    await stopped


async def test_abort_ends_a_stop_at_once(loopback: Any, authority: Authority, files: Files) -> None:
    """abort() while a stop waits for a handler cuts it off; without a stop it does nothing."""
    server = loopback.made_server(tls_cert=files.both)
    handling: Deferred[None] = Deferred()

    @server.route(loopback.chat)
    def never(client: Any, message: Any) -> Deferred[bytes]:
        handling.callback(None)
        return Deferred()

    server.startService()
    client = secure(loopback, server, authority)
    await client.connect()
    server.abort()
    reply = client.send_and_wait(loopback.chat, b"?")
    await handling
    stopped = server.stopService()
    await sleep(0.05)
    assert not stopped.called
    server.abort()
    await stopped
    with pytest.raises(SessionClosed):
        await reply


# Mistakes.


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert": "absent.pem"}, "tls_cert is 'absent.pem': it must be a file that can be read (No such file or directory)"),
        ({"tls_cert": "{folder}"}, "it must be a file that can be read (Is a directory)"),
        ({"tls_cert": "{key}"}, "it must be a PEM file with a certificate"),
        ({"tls_cert": "{cert}"}, "it must be a PEM file with the private key, too, or tls_key given"),
        ({"tls_cert": "{cert}", "tls_key": "{cert}"}, "tls_key is"),
        ({"tls_cert": "{cert}", "tls_key": "{other}"}, "it must be a key and a certificate that go together"),
        ({"tls_cert": "{cert}", "tls_key": "{locked}"}, "it must be a PEM file with a private key without a passphrase"),
        ({"tls_cert": "{both}", "tls_client_ca": "{key}"}, "tls_client_ca is"),
        ({"tls_key": "{key}"}, "tls_cert is None: it must be given where tls_key is"),
        ({"tls_client_ca": "{cert}"}, "tls_cert is None: it must be given where tls_client_ca is"),
        ({"tls_cert": 5}, "tls_cert is 5: it must be the path of a file, or None"),
        ({"endpoint": "tls:0"}, "endpoint is 'tls:0': it must be one with cert=FILE in it, or tls_cert given"),
        ({"endpoint": "tls:0:key={key}", "tls_cert": "{both}"}, "it must be one with cert=FILE in it"),
        ({"endpoint": "tcp:0", "tls_cert": "{both}"}, "it must be left out, or used by an endpoint tls:PORT"),
        ({"endpoint": "tls:0:cert={both}:colour=red"}, "it must be a Twisted server endpoint"),
        (
            {"endpoint": "tls:0:cert=absent.pem"},
            "endpoint is 'tls:0:cert=absent.pem': it must be one whose cert=absent.pem is a file that can be read",
        ),
        ({"endpoint": "1.9.0@tls:0:cert={cert}"}, "is a PEM file with the private key, too, or key given"),
        ({"endpoint": "tls:0:cert={cert}:key=absent.pem"}, "it must be one whose key=absent.pem is a file that can be read"),
        ({"endpoint": "tls:0:cert={both}:client_ca={key}"}, "it must be one whose client_ca="),
    ],
    ids=str,
)
async def test_what_a_server_cannot_use_is_named(settings: dict[str, Any], said: str, authority: Authority, files: Files) -> None:
    """A file that cannot be used is a SettingsError with the setting, the file and what it must be, before anything listens."""
    locked = authority.issue("locked", passphrase=b"secret").key
    other = authority.issue("other").key
    names = {**files._asdict(), "folder": authority.folder, "locked": locked, "other": other}
    given = {name: value.format(**names) if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(SettingsError) as caught:
        Server(**({"port": 0} | given)).listen()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls": 1}, "tls is 1: it must be True or False"),
        ({"tls_ca": "ca.pem"}, "tls is False: it must be True where tls_ca is given"),
        ({"tls_name": "localhost"}, "tls is False: it must be True where tls_name is given"),
        ({"tls": True, "tls_key": "key.pem"}, "tls_cert is None: it must be given where tls_key is"),
        ({"tls": True, "tls_ca": "absent.pem"}, "tls_ca is 'absent.pem': it must be a file that can be read"),
        ({"tls": True, "tls_ca": ""}, "tls_ca is '': it must be the path of a file, or None"),
        ({"tls": True, "tls_name": ""}, "tls_name is '': it must be a text that is not empty"),
        ({"tls": True, "tls_name": "a b"}, "tls_name is 'a b': it must be a host name or an address"),
        ({"tls": True, "endpoint": "unix:s"}, "tls_name is None: it must be given where an endpoint is"),
        ({"tls": True, "endpoint": "tls:host:1", "tls_name": "host"}, "it must be one without TLS of its own where tls is True"),
    ],
    ids=str,
)
async def test_what_a_client_cannot_use_is_named(settings: dict[str, Any], said: str) -> None:
    """Settings that do not go together, and files that cannot be used, are a SettingsError before anything is connected."""
    with pytest.raises(SettingsError) as caught:
        Client(**settings).connect()
    assert said in str(caught.value)


async def test_names_beyond_ascii(loopback: Any, authority: Authority) -> None:
    """A name in letters of its own country is looked for as the domain name system writes it."""
    files = authority.issue("server", "xn--bcher-kva.example")
    server = await loopback.server(tls_cert=files.both)
    await secure(loopback, server, authority, tls_name="b\u00fccher.example").connect()
    with pytest.raises(SettingsError, match="a host name or an address"):
        secure(loopback, server, authority, tls_name="b\u00fc cher.example").connect()


@pytest.mark.parametrize(
    ("name", "told"), [("localhost.", "localhost"), ("::1", None), ("[::1]", None), ("::1%lo", None), ("[::1%lo]", None)]
)
async def test_names_as_certificates_do_not_have_them(name: str, told: str | None, loopback: Any, authority: Authority) -> None:
    """Brackets, an address's zone and the dot at a name's end are in no certificate: what is left counts, and is told."""
    server = await loopback.server(tls_cert=authority.issue("server", "localhost", "::1").both)
    client = secure(loopback, server, authority, tls_name=name)
    await client.connect()
    assert client.session._transport.transport.getHandle().get_servername() == (None if told is None else told.encode())
    other = await loopback.server(tls_cert=authority.issue("other", "elsewhere").both)
    assert "it is not for " in str(await refused(secure(loopback, other, authority, tls_name=name)))


@pytest.mark.parametrize("host", ["::1", "[::1]", "::1%lo"])
async def test_an_address_of_ipv6_is_connected_to_with_tls(host: str, loopback: Any, authority: Authority) -> None:
    """A server on ::1 is found by that address as people write it, and its certificate is for it."""
    server = loopback.made_server(host="[::1]", tls_cert=authority.issue("server", "::1").both)
    server.route(loopback.chat)(lambda client, message: message.content)
    server.startService()
    client = secure(loopback, server, authority, host)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"by address")).content == b"by address"


@pytest.mark.parametrize("age", [timedelta(days=2), timedelta(days=29, hours=23)])
async def test_a_certificate_is_good_to_its_last_day(age: timedelta, loopback: Any, authority: Authority) -> None:
    """A certificate that is still valid is accepted, however near its end."""
    server = await loopback.server(tls_cert=authority.issue("server", "127.0.0.1", age=age).both)
    await secure(loopback, server, authority).connect()
