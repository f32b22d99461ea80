"""Who is it? Servers that decide who is let in, and clients that say who they are: the doors, in memory and on loopback."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent

from tests.support.authority import Authority
from tests.support.wires import Texts
from veltix_tx import (
    AuthenticationFailed,
    Client,
    Credentials,
    CredentialsUnavailable,
    DisconnectReason,
    DisconnectState,
    MessageRegistry,
    MessageType,
    NotReady,
    Password,
    PlaintextCredentials,
    RequestTimeout,
    RetryPolicy,
    Server,
    SessionClosed,
    SettingsError,
    Token,
)
from veltix_tx.errors import LocalProtocolError
from veltix_tx.limits import Limits
from veltix_tx.testing import MemoryNetwork

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

TOKENS = {"s3cret": "ann", "t0ken": "bob"}


def known(credentials: Credentials) -> str | None:
    """Let in who has a token."""
    return TOKENS.get(credentials.token or "")


def echo(**settings: Any) -> Server:
    """A server that answers with the identity of who asks."""
    server = Server(types=TYPES, **{"authenticate": known} | settings)
    server.route(CHAT)(lambda client, message: str(client.identity).encode())
    return server


def a_client(credentials: Any = None, **settings: Any) -> Client:
    """A client with these credentials."""
    return Client(types=TYPES, credentials=credentials, **settings)


@pytest.fixture
def network() -> Any:
    """A network in memory."""
    with MemoryNetwork() as network:
        yield network


# In memory


def test_the_identity_is_the_sessions(network: MemoryNetwork) -> None:
    """Handlers, on_connect and lists of clients see who it is; the client has no identity of its server."""
    server, heard = echo(), []
    server.set_callback("on_connect", lambda client: heard.append(client.identity))
    network.serve(server)
    for token, name in TOKENS.items():
        client = a_client(Token(token))
        network.connect(client)
        assert network.result(client.send_and_wait(CHAT)).content == name.encode()
        assert client.session is not None
        assert client.session.identity is None
    assert [client.identity for client in server.clients] == heard == ["ann", "bob"]


@pytest.mark.parametrize("credentials", [Token("wrong"), Password("ann", "s3cret"), None])
def test_who_is_refused_is_told_so(network: MemoryNetwork, credentials: Any) -> None:
    """connect() errbacks with AuthenticationFailed; the server has counted it, and has no session."""
    server = echo()
    network.serve(server)
    with pytest.raises(AuthenticationFailed):
        network.connect(a_client(credentials))
    assert server.clients == []
    assert (server.counters["authentications_failed"], server.counters["ready"]) == (1, 0)
    assert server.counters["closed_authentication_failed"] == 1


def test_a_refused_client_does_not_try_again(network: MemoryNetwork) -> None:
    """With tries left, a refusal is the last: the credentials would be as wrong the next time."""
    states: list[DisconnectState] = []
    server, client = echo(), a_client(Token("wrong"), retry=RetryPolicy())
    client.set_callback("on_disconnect", states.append)
    network.serve(server)
    with pytest.raises(AuthenticationFailed):
        network.connect(client)
    network.advance(600)
    assert server.counters["accepted"] == 1
    assert [(state.permanent, state.reason) for state in states] == [(True, DisconnectReason.AUTHENTICATION_FAILED)]


def test_a_client_that_is_told_so_tries_again_with_new_credentials(network: MemoryNetwork) -> None:
    """``after_refusal`` goes with a function that has new credentials each time."""
    tokens = iter(["expired", "expired too", "s3cret"])
    server = echo()
    client = a_client(lambda: Token(next(tokens)), retry=RetryPolicy(jitter=False, after_refusal=True))
    network.serve(server)
    client.reactor = network.clocks
    with pytest.raises(AssertionError, match="has not fired"):
        network.connect(client)
    network.advance(1)
    assert client.is_connected
    assert server.counters["authentications_failed"] == 2


def test_credentials_are_obtained_for_each_connection(network: MemoryNetwork) -> None:
    """A function is asked again after each loss: a token that was renewed meanwhile is presented."""
    made: list[int] = []

    async def obtain() -> Token:
        made.append(1)
        return Token("s3cret")

    server, client = echo(), a_client(obtain, retry=RetryPolicy(jitter=False))
    network.serve(server)
    network.connect(client)
    network.result(server.clients[0].disconnect())
    network.advance(1)
    assert client.is_connected
    assert len(made) == 2


def test_credentials_may_take_as_long_as_the_handshake(network: MemoryNetwork) -> None:
    """A server that finds out does not go on with its other hellos while a client of this package obtains its credentials."""
    client = a_client(lambda: deferLater(network.clocks.reactor, 4, lambda: Token("s3cret")))
    network.serve(echo())
    with pytest.raises(AssertionError, match="has not fired"):
        network.connect(client)
    network.advance(4)
    assert network.result(client.send_and_wait(CHAT)).content == b"ann"


def test_credentials_that_cannot_be_had_are_tried_again(network: MemoryNetwork) -> None:
    """What gives the credentials may be away for a while: that ends one try, not all of them."""
    answers: Any = iter([OSError("away"), Token("s3cret")])

    def obtain() -> Token:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        token: Token = answer
        return token

    server, client = echo(), a_client(obtain, retry=RetryPolicy(jitter=False))
    network.serve(server)
    with pytest.raises(AssertionError, match="has not fired"):
        network.connect(client)
    network.advance(1)
    assert client.is_connected


def test_the_error_of_that_function_is_the_cause(network: MemoryNetwork) -> None:
    """Without tries left connect() errbacks with CredentialsUnavailable, behind which is what went wrong."""
    network.serve(echo())
    with pytest.raises(CredentialsUnavailable) as raised:
        network.connect(a_client(lambda: Token("")))
    assert isinstance(raised.value.__cause__, SettingsError)


@pytest.mark.parametrize("wrong", ["s3cret", b"s3cret", {"token": "s3cret"}, ("ann", "s3cret"), 5])
def test_what_are_no_credentials_is_refused_where_it_is_given(network: MemoryNetwork, wrong: Any) -> None:
    """A text in place of a Token is a SettingsError that does not show it."""
    with pytest.raises(SettingsError, match="Token") as raised:
        a_client(wrong)
    assert "s3cret" not in str(raised.value)
    network.serve(echo())
    client = a_client(Token("s3cret"))
    network.connect(client)
    with pytest.raises(CredentialsUnavailable) as unusable:
        network.result(client.reauthenticate(wrong))
    assert "s3cret" not in str(unusable.value)


def test_a_hook_is_given_once_and_can_be_called() -> None:
    """A second hook, one that cannot be called, and one for a server that listens are SettingsErrors."""
    server = Server(types=TYPES)
    assert not server.authenticates
    with pytest.raises(SettingsError, match="authenticate"):
        server.set_authenticate("tokens.txt")  # type: ignore[arg-type]
    server.set_authenticate(known)
    assert server.authenticates
    with pytest.raises(SettingsError, match="authenticate"):
        server.set_authenticate(known)
    other = Server(types=TYPES)
    with MemoryNetwork() as network:
        network.serve(other)
        with pytest.raises(SettingsError, match="authenticate"):
            other.set_authenticate(known)


def test_a_wire_that_cannot_ask_is_asked_for(network: MemoryNetwork) -> None:
    """On any wire the hook decides before the session is there: what a refused peer sends is handled by nobody."""
    types = MessageRegistry()
    line = MessageType(name="line", registry=types)
    verdicts: list[Deferred[object]] = []
    asked: list[Credentials] = []
    handled: list[object] = []

    def decide(credentials: Credentials) -> Deferred[object]:
        asked.append(credentials)
        verdicts.append(Deferred())
        return verdicts[-1]

    server = Server(wire=Texts(line), types=types, authenticate=decide)
    server.route(line)(lambda client, message: handled.append((client.identity, message.value)))
    network.serve(server)
    for identity in (None, "ann"):
        peer = network.dial()
        peer.send(b"early\n")
        assert (handled, peer.received, server.clients) == ([], b"", [])
        verdicts[-1].callback(identity)
        network.pump()
        assert peer.closed == (identity is None)
    assert handled == [("ann", "early")]
    assert {each.wire for each in asked} == {"texts"}


def test_a_server_without_a_hook_lets_everybody_in_and_is_sent_nothing(network: MemoryNetwork, log_events: Any) -> None:
    """A client with credentials talks to a server that does not ask; that they were not sent is a line of its log."""
    server = Server(types=TYPES)
    network.serve(server)
    client = a_client(Token("s3cret"))
    network.connect(client)
    assert server.clients[0].identity is None
    assert any("asks for no credentials" in event.get("log_format", "") for event in log_events)
    with pytest.raises(LocalProtocolError, match="takes no new credentials"):
        network.result(client.reauthenticate())


def test_the_end_of_a_connection_tells_whose_it_was(network: MemoryNetwork, log_events: Any) -> None:
    """With log_connections the line of a connection's end has the identity, and of a refused one its reason."""
    server, client = echo(log_connections=True), a_client(Token("s3cret"))
    network.serve(server)
    network.connect(client)
    network.result(client.disconnect())
    with pytest.raises(AuthenticationFailed):
        network.connect(a_client(Token("wrong")))
    ends = [formatEvent(event) for event in log_events if " ended after " in event.get("log_format", "")]
    assert "2.0.0, identity 'ann'; received" in ends[0]
    assert "AUTHENTICATION_FAILED (the connection was closed: the peer's identity was refused); no handshake" in ends[1]


# New credentials


class Leased:
    """An identity for a while."""

    def __init__(self, name: str, expires_at: float) -> None:
        self.name = name
        self.expires_at = expires_at


def test_a_client_renews_its_identity(network: MemoryNetwork) -> None:
    """reauthenticate() presents what the client has by then; the session goes on behind the end of the first identity."""
    tokens = iter(["first", "second"])
    server = echo(authenticate=lambda credentials: Leased(credentials.token, network.clocks.calendar() + 60))
    client = a_client(lambda: Token(next(tokens)))
    network.serve(server)
    network.connect(client)
    (session,) = server.clients
    network.advance(50)
    assert network.result(client.reauthenticate()) is None
    network.advance(50)
    assert session.closed is None
    assert isinstance(session.identity, Leased)
    assert session.identity.name == "second"
    network.advance(11)
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.IDENTITY_EXPIRED
    assert not client.is_connected
    assert server.counters["closed_identity_expired"] == 1


def test_what_waits_when_an_identity_expires_is_not_handled(network: MemoryNetwork) -> None:
    """Messages behind a handler that is not done are dropped with the identity that sent them."""
    handled: list[bytes] = []
    server = Server(types=TYPES, authenticate=lambda credentials: Leased("ann", network.clocks.calendar() + 10))

    @server.route(CHAT)
    def on_chat(session: Any, message: Any) -> Any:
        handled.append(message.content)
        return Deferred()

    client = a_client(Token("any"))
    network.serve(server)
    network.connect(client)
    for number in range(5):
        client.send(CHAT, b"%d" % number)
    network.advance(30)
    assert server.counters["closed_identity_expired"] == 1
    assert handled == [b"0"]


def test_given_credentials_are_those_of_later_connections(network: MemoryNetwork) -> None:
    """Credentials that were accepted take the place of the old ones; refused ones do not."""
    presented: list[str | None] = []

    def note(credentials: Credentials) -> object:
        presented.append(credentials.token)
        return known(credentials)

    client = a_client(Token("s3cret"), retry=RetryPolicy(jitter=False))
    server = echo(authenticate=note)
    network.serve(server)
    network.connect(client)
    with pytest.raises(AuthenticationFailed):
        network.result(client.reauthenticate(Token("wrong")))
    assert network.result(client.reauthenticate(Token("t0ken"))) is None
    assert network.result(client.send_and_wait(CHAT)).content == b"bob"
    network.result(server.clients[0].disconnect())
    network.advance(1)
    network.result(client.disconnect())
    network.connect(client)
    assert presented == ["s3cret", "wrong", "t0ken", "t0ken", "t0ken"]


def test_what_cannot_be_renewed_is_told(network: MemoryNetwork) -> None:
    """Before a connection, after it, without credentials, twice at once, and where no verdict comes: each has its error."""
    verdicts: list[Deferred[object]] = []

    def slow(credentials: Credentials) -> object:
        if not verdicts:
            verdicts.append(succeed("ann"))
        else:
            verdicts.append(Deferred())
        return verdicts[-1]

    client = a_client(reactor=network.clocks)
    with pytest.raises(NotReady):
        network.result(client.reauthenticate(Token("s3cret")))
    network.serve(echo(authenticate=slow, handshake_timeout=60))
    network.connect(client)
    with pytest.raises(LocalProtocolError, match="no credentials"):
        network.result(client.reauthenticate())
    first = client.reauthenticate(Token("s3cret"), timeout=3)
    with pytest.raises(LocalProtocolError, match="already"):
        network.result(client.reauthenticate(Token("s3cret")))
    network.advance(3)
    with pytest.raises(RequestTimeout):
        network.result(first)
    waiting = client.reauthenticate(Token("s3cret"))
    network.result(client.disconnect())
    with pytest.raises(SessionClosed):
        network.result(waiting)
    with pytest.raises(SessionClosed):
        network.result(client.reauthenticate(Token("s3cret")))


def test_a_verdict_that_nobody_waits_for_any_more_is_a_late_reply(network: MemoryNetwork) -> None:
    """Giving up the wait does not give up the credentials: the server's late verdict is counted and harms nothing."""
    verdicts: list[Deferred[object]] = [succeed("ann"), Deferred(), Deferred()]
    remaining = iter(verdicts)
    client = a_client(Token("s3cret"))
    server = echo(authenticate=lambda credentials: next(remaining))
    network.serve(server)
    network.connect(client)
    for verdict, identity in zip(verdicts[1:], ("eve", None), strict=True):
        waiting = client.reauthenticate()
        waiting.addErrback(lambda _: None)
        network.pump()
        waiting.cancel()
        verdict.callback(identity)
        network.pump()
    assert client.counters["late_replies"] == 2
    assert [session.identity for session in server.clients] == ["eve"]
    assert client.is_connected


def test_an_application_never_sees_the_frames(network: MemoryNetwork) -> None:
    """Credentials and verdicts are no messages: no route, on_recv or counter of them has any."""
    seen: list[object] = []
    server, client = echo(), a_client(Token("s3cret"))
    server.set_callback("on_recv", lambda session, message: seen.append(message))
    client.set_callback("on_recv", seen.append)
    network.serve(server)
    network.connect(client)
    network.result(client.reauthenticate())
    assert seen == []
    assert server.counters["unhandled"] == client.counters["unhandled"] == 0


# On loopback


def later(reactor: IReactorTime, seconds: float) -> Deferred[None]:
    """Wait."""
    return deferLater(reactor, seconds)


async def test_a_certificate_is_who_it_is(loopback: Any, authority: Authority) -> None:
    """Over TLS with tls_client_ca the hook has the verified certificate, on every generation; others never come so far."""
    files, own = authority.issue("server", "127.0.0.1"), authority.issue("ann", client=True)
    seen: list[Credentials] = []

    def named(credentials: Credentials) -> object:
        seen.append(credentials)
        certificate = credentials.certificate
        return certificate and certificate.subject.rfc4514_string()

    for wire in ("auto", "3.3.0", "1.6.3", "1.2.0"):
        server = await loopback.server(
            wire=wire, tls_cert=files.cert, tls_key=files.key, tls_client_ca=authority.ca, authenticate=named
        )
        client = loopback.client(server.port, tls=True, tls_ca=authority.ca, tls_cert=own.both, wire=wire)
        await client.connect()
        assert (await client.send_and_wait(loopback.chat, b"x")).content == b"x"
        assert [session.identity for session in server.clients] == ["CN=ann"]
    assert all(each.encrypted for each in seen)


async def test_a_token_goes_over_tls(loopback: Any, authority: Authority) -> None:
    """Token and TLS together, verdicts from a thread; without a certificate of the client's there is none."""
    files = authority.issue("server", "127.0.0.1")

    def slowly(credentials: Credentials) -> object:
        assert credentials.certificate is None
        return deferToThread(lambda: "ann" if compare_digest(credentials.token or "", "s3cret") else None)

    server = await loopback.server(tls_cert=files.cert, tls_key=files.key, authenticate=slowly)
    for token, fine in (("s3cret", True), ("wrong", False)):
        client = loopback.client(server.port, tls=True, tls_ca=authority.ca, credentials=Token(token))
        if fine:
            await client.connect()
            assert (await client.send_and_wait(loopback.chat, b"x" * 10**6)).content == b"x" * 10**6
            await client.reauthenticate()
        else:
            with pytest.raises(AuthenticationFailed):
                await client.connect()


async def test_a_real_connection_waits_for_its_verdict(loopback: Any) -> None:
    """With sockets, too, what comes early is kept by the kernel until the hook is done, and is handled then, in order."""
    from twisted.internet import reactor

    verdict: Deferred[object] = Deferred()
    asked: Deferred[None] = Deferred()

    def decide(credentials: Credentials) -> Deferred[object]:
        asked.callback(None)
        return verdict

    server = await loopback.server(authenticate=decide, wire="1.6.3")
    heard: list[bytes] = []
    server.router.unregister_route(loopback.chat)
    server.route(loopback.chat)(lambda client, message: heard.append(message.content))
    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()  # of such a release, done with its own last word
    for number in range(100):
        client.send(loopback.chat, b"%d" % number * 10_000)
    await asked
    await later(reactor, 0.05)  # type: ignore[arg-type]
    assert heard == []
    assert server.clients == []
    verdict.callback("ann")
    while len(heard) < 100:
        await later(reactor, 0.01)  # type: ignore[arg-type]
    assert heard == [b"%d" % number * 10_000 for number in range(100)]


async def test_a_peer_that_leaves_while_it_waits_is_let_go(loopback: Any) -> None:
    """A raw peer that is gone before its verdict ends with the handshake's deadline at the latest, and is nowhere then."""
    cancelled: Deferred[object] = Deferred()
    server = await loopback.server(authenticate=lambda credentials: Deferred(cancelled.callback), handshake_timeout=0.3)
    client = loopback.client(server.port, credentials=Token("s3cret"), handshake_timeout=0.1)
    with pytest.raises(Exception, match="not complete"):
        await client.connect()
    await cancelled
    assert server.clients == []
    assert server.counters["ready"] == 0


async def test_hundreds_of_wrong_tokens_cost_the_others_nothing(loopback: Any) -> None:
    """While one source guesses, an open session is answered, a new client is let in, and nothing is left of the guesses."""
    from twisted.internet import reactor

    server = await loopback.server(authenticate=known, limits=Limits(half_open=16))
    ann = loopback.client(server.port, credentials=Token("s3cret"))
    await ann.connect()
    slowest, refused = 0.0, 0
    for batch in range(8):
        guesses = [loopback.client(server.port, credentials=Token(f"guess {batch} {number}")).connect() for number in range(25)]
        began = reactor.seconds()  # type: ignore[attr-defined]
        assert (await ann.send_and_wait(loopback.chat, b"x")).content == b"x"
        slowest = max(slowest, reactor.seconds() - began)  # type: ignore[attr-defined]
        for guess in guesses:
            with pytest.raises(AuthenticationFailed):
                await guess
            refused += 1
    bob = loopback.client(server.port, credentials=Token("t0ken"))
    await bob.connect()
    assert slowest < 1
    assert (refused, server.counters["authentications_failed"]) == (200, 200)
    assert len(server.clients) == 2
    while len(list(server._connections)) > 2:
        await later(reactor, 0.01)  # type: ignore[arg-type]
    assert server._connections.half_open() == []


async def test_a_blocking_client_renews(loopback: Any) -> None:
    """In a thread the same call blocks, and raises what its Deferred errbacks with."""
    server = await loopback.server(authenticate=known)
    client = loopback.client(server.port, credentials=Token("s3cret"))
    await client.connect()
    assert await deferToThread(client.blocking.reauthenticate) is None
    with pytest.raises(AuthenticationFailed):
        await deferToThread(client.blocking.reauthenticate, Token("wrong"))


async def test_plaintext_credentials_stay_here(loopback: Any) -> None:
    """A name that leads elsewhere is connected to, and told nothing: the error is typed, the tries are over."""
    from twisted.internet import reactor
    from twisted.internet.address import IPv4Address
    from twisted.internet.endpoints import TCP4ClientEndpoint

    port = await loopback.raw_server()

    class Elsewhere:
        """An endpoint whose peer seems to be on another machine."""

        def connect(self, factory: Any) -> Any:
            build: Callable[..., Any] = factory.buildProtocol

            def moved(address: Any) -> Any:
                protocol = build(address)
                made = protocol.makeConnection

                def make(transport: Any) -> None:
                    transport.getPeer = lambda: IPv4Address("TCP", "10.0.0.1", 8080)
                    made(transport)

                protocol.makeConnection = make
                return protocol

            factory.buildProtocol = moved
            return TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)

    client = Client(endpoint=Elsewhere(), types=loopback.types, credentials=Token("s3cret"), retry=RetryPolicy())
    with pytest.raises(PlaintextCredentials, match=r"10\.0\.0\.1:8080"):
        await client.connect()
