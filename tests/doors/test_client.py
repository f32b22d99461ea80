"""The client's door: connecting, failing to, and connecting again."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread

from tests.support.ports import free_port
from veltix_tx import (
    Client,
    ClientConfig,
    DisconnectReason,
    HandshakeError,
    HandshakeTimeout,
    MessageRegistry,
    MessageType,
    NotReady,
    RetryPolicy,
    Server,
    ServerConfig,
    ServerFull,
    SessionClosed,
    SettingsError,
    VersionRefused,
)
from veltix_tx.app.applications import Echo
from veltix_tx.testing import MemoryNetwork, _ClientEndpoint

QUICK = RetryPolicy(initial_delay=0.01, factor=1, jitter=False)


# Failing to connect.


async def test_a_refused_connection_is_twisteds_error(loopback: Any) -> None:
    """Where nobody listens, connect() errbacks ConnectionRefusedError; later tries may succeed."""
    port = free_port()
    client = loopback.client(port)
    with pytest.raises(Refused):
        await client.connect()
    assert not client.is_connected
    server = await loopback.server(port=port)
    await client.connect()
    assert client.is_connected
    assert len(server.clients) == 1


async def test_a_refused_version_names_both(loopback: Any) -> None:
    """VersionRefused tells what the server announces and what is accepted here, at once or at the handshake's deadline."""
    server = await loopback.server(wire="1.7.5")
    with pytest.raises(VersionRefused, match=r"1\.7\.5.*1\.7\.0"):
        await loopback.client(server.port, wire="1.7.0").connect()
    server = await loopback.server(wire="1.6.4")
    with pytest.raises(VersionRefused, match=r"1\.6\.4.*1\.6\.3"):
        await loopback.client(server.port, wire="1.6.3", handshake_timeout=0.1).connect()


async def test_a_server_of_another_generation_is_a_handshake_timeout(loopback: Any) -> None:
    """A pinned client that has waited for its hello in vain says what it heard, and how to find out what a server speaks."""
    server = await loopback.server(wire="3.3.0")
    with pytest.raises(HandshakeTimeout, match=r"0\.1 s.*3\.3\.0.*no HELLO of 1\.6\.3.*wire='auto'"):
        await loopback.client(server.port, wire="1.6.3", handshake_timeout=0.1).connect()


@pytest.mark.parametrize("wire", ["1.4.0", "1.6.2", "1.6.3", "1.6.9", "1.6.10", "1.7.2", "2.0.3", "3.3.0"])
async def test_a_pinned_client_connects_to_the_auto_port(wire: str, loopback: Any) -> None:
    """A client pinned to a release of every generation that shares a port waits there for its hello, and is served."""
    server = await loopback.server()
    client = loopback.client(server.port, wire=wire)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"hello")).content == b"hello"


async def test_a_silent_server_is_a_handshake_timeout(loopback: Any) -> None:
    """A server that accepts and says nothing is given up after handshake_timeout."""
    port = await loopback.raw_server()
    with pytest.raises(HandshakeTimeout, match=r"0\.1 s"):
        await loopback.client(port.getHost().port, handshake_timeout=0.1).connect()


@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.6.3"])
async def test_a_server_that_closes_at_once_is_a_sentence(wire: str, loopback: Any) -> None:
    """What accepts and closes without a word is told as that, in words that can be read by themselves."""

    class Closing(Protocol):
        def connectionMade(self) -> None:
            self.transport.loseConnection()  # type: ignore[union-attr]

    port = await loopback.raw_server(Closing)
    with pytest.raises(HandshakeError) as caught:
        await loopback.client(port.getHost().port, wire=wire).connect()
    assert str(caught.value) == (
        "the server closed the connection before it said a word: is it a Veltix server, and one without TLS?"
    )


async def test_a_full_server_is_named(loopback: Any) -> None:
    """A server's own words of refusal are ServerFull."""

    class Full(Protocol):
        def connectionMade(self) -> None:
            text = b'{"error": "server_full"}'
            self.transport.write(len(text).to_bytes(2, "big") + text)  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]

    port = await loopback.raw_server(Full)
    with pytest.raises(ServerFull, match="server_full"):
        await loopback.client(port.getHost().port).connect()


@pytest.mark.parametrize("silent", [True, False])
async def test_a_cancelled_connect_leaves_nothing(silent: bool, loopback: Any) -> None:
    """Cancelling connect() in the handshake or before gives up: the Deferred fails, nothing is left, it can connect later."""
    port = await loopback.raw_server()
    client = loopback.client(port.getHost().port)
    connecting = client.connect()
    if silent:
        await Deferred.fromCoroutine(_turns(5))
    connecting.cancel()
    with pytest.raises((CancelledError, SessionClosed)):
        await connecting
    await client.disconnect()
    server = await loopback.server()
    client.configure(port=server.port)
    await client.connect()
    assert client.is_connected


def test_sending_while_the_connection_closes_says_that_it_is_closed() -> None:
    """Between the end of a session and the end of its transport the client has a closed session, not one that never was."""
    network = MemoryNetwork()
    network.serve(Server())
    client = Client()
    network.connect(client)
    session = client.session
    assert session is not None
    session.disconnect()
    assert not client.is_connected
    with pytest.raises(SessionClosed) as caught:
        client.send(MessageType(200, "late", registry=MessageRegistry()), b"")
    assert caught.value.reason is DisconnectReason.MANUAL
    network.pump()


async def _turns(number: int) -> None:
    from twisted.internet import reactor

    for _ in range(number):
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.005, turn.callback, None)  # type: ignore[attr-defined]
        await turn


def test_a_connect_that_takes_too_long_times_out() -> None:
    """connect().addTimeout() ends in Twisted's TimeoutError, as for any cancellable Deferred."""
    from twisted.internet.defer import TimeoutError as TimedOut

    network = MemoryNetwork()
    _, connecting = network.answer(Client(types=MessageRegistry(), handshake_timeout=100))
    connecting.addTimeout(1, network.clock)
    network.advance(1)
    with pytest.raises(TimedOut):
        network.result(connecting)


async def test_a_bad_endpoint_is_a_settings_error_and_can_be_mended(loopback: Any) -> None:
    """connect() raises SettingsError for an endpoint that is none; the client can then be configured and connected."""
    client = loopback.client(endpoint="nonsense:1")
    with pytest.raises(SettingsError, match="nonsense"):
        client.connect()
    client.configure(endpoint=["tcp:127.0.0.1:1", "tcp:127.0.0.1:2"])
    with pytest.raises(SettingsError, match="one endpoint"):
        client.connect()
    server = await loopback.server()
    client.configure(endpoint=f"tcp:127.0.0.1:{server.port}")
    await client.connect()
    assert client.is_connected


async def test_disconnect_after_a_bad_endpoint_is_harmless(loopback: Any) -> None:
    """A client that could not even try can be disconnected."""
    client = loopback.client(endpoint="nonsense:1")
    with pytest.raises(SettingsError):
        client.connect()
    assert await client.disconnect() is None


# Its settings, and what it may do when.


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"port": 0}, "port"),
        ({"wire": "7.0"}, "wire"),
        ({"endpoint": ""}, "endpoint"),
        ({"unknown": 1}, "unknown is 1: it must be left out: ClientConfig has no such setting$"),
        ({"retries": 1}, r"retries is 1: .* \(did you mean retry\?\)"),
        ({"server": 8080}, r"config is 8080: .*'127.0.0.1:8080' \(a port alone is port=8080\)"),
        ({"server": "8080"}, "server_addr is '8080': it must be a name or an address"),
        ({"retry": -1}, "retry"),
        ({"retry_delay": -1}, "retry_delay"),
        ({"max_workers": 0}, "max_workers"),
        ({"max_connection": 5}, "max_connection"),
        ({"server": ""}, "server_addr"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], named: str) -> None:
    """A wrong setting raises SettingsError where it is given, naming it."""
    with pytest.raises(SettingsError, match=named):
        Client(**settings)


def test_nothing_is_sent_by_a_client_that_is_not_connected() -> None:
    """send() raises NotReady, send_and_wait() and ping_server() errback it; disconnect() is harmless."""
    chat = MessageType(200, registry=MessageRegistry())
    client = Client(ClientConfig(port=99), 98)
    assert client.config.port == 98
    network = MemoryNetwork()
    with pytest.raises(NotReady, match=r"not connected: call connect\(\)"):
        client.send(chat, b"x")
    for waiting in (client.send_and_wait(chat, b"x"), client.ping_server()):
        with pytest.raises(NotReady):
            network.result(waiting)
    assert network.result(client.disconnect()) is None
    assert client.session is None


async def test_settings_are_given_before_connecting(loopback: Any) -> None:
    """configure() raises while the client is connected, and works again after."""
    server = await loopback.server()
    client = loopback.client(server.port)
    await client.connect()
    with pytest.raises(SettingsError, match="before the client connects"):
        client.configure(port=5)
    await client.disconnect()
    client.configure(port=5)


def test_an_application_takes_the_place_of_routes() -> None:
    """A client with an application of its own refuses routes and callbacks."""
    client = Client(application=Echo())
    for attempt in (lambda: client.route(MessageType(200, registry=MessageRegistry())), lambda: client.set_callback("on_recv")):
        with pytest.raises(SettingsError, match="application"):
            attempt()


# Connecting again.


async def test_connect_gives_the_same_session_to_all_callers(loopback: Any) -> None:
    """connect() while connecting or connected makes no second connection."""
    server = await loopback.server()
    client = loopback.client(server.port)
    first, second = client.connect(), client.connect()
    session = await first
    assert await second is session is await client.connect() is client.session
    assert len(server.clients) == 1


async def test_a_client_connects_again_after_disconnect(loopback: Any) -> None:
    """After disconnect() the client can connect again; its routes are still there."""
    server = await loopback.server()
    client = loopback.client(server.port)
    client.route(loopback.news)(lambda message: b"again, " + message.content)
    for _ in range(2):
        session = await client.connect()
        assert (await client.send_and_wait(loopback.chat, b"here")).content == b"here"
        assert (await server.clients[0].send_and_wait(loopback.news, b"news")).content == b"again, news"
        gone = server.clients[0].when_closed()
        await client.disconnect()
        await gone
        assert session.closed.reason is DisconnectReason.MANUAL
        assert not client.is_connected


async def test_routes_and_callbacks_survive_reconnects(loopback: Any) -> None:
    """A client with a RetryPolicy comes back by itself after a loss, with its routes and callbacks."""
    server = await loopback.server()
    client = loopback.client(server.port, retry=QUICK)
    events: list[str] = []
    back: Deferred[None] = Deferred()
    asked: Deferred[bytes] = Deferred()

    @client.set_callback("on_connect")
    def connected() -> None:
        events.append("connect")
        if len(events) == 3:
            back.callback(None)

    client.set_callback("on_disconnect", lambda state: events.append(state.reason.name))
    client.route(loopback.news)(lambda message: b"yes, " + message.content)
    server.set_callback("on_recv", lambda session, message: asked.callback(message.content))
    await client.connect()
    gone = client.session.when_closed()
    server.clients[0].disconnect()
    assert (await gone).reason is DisconnectReason.PEER_CLOSED
    await back
    assert events == ["connect", "PEER_CLOSED", "connect"]
    (session,) = server.clients
    assert (await session.send_and_wait(loopback.news, b"there?")).content == b"yes, there?"


async def test_a_client_waits_for_its_server(loopback: Any) -> None:
    """With a RetryPolicy connect() fires when a server appears."""
    port = free_port()
    client = loopback.client(port, retry=QUICK)
    connecting = client.connect()
    await _turns(3)
    server = await loopback.server(port=port)
    assert (await connecting).port == port
    assert len(server.clients) == 1


@pytest.mark.parametrize("where", ["on_disconnect", "when_closed"])
async def test_connecting_again_when_told_of_the_end_gives_a_new_session(where: str, loopback: Any) -> None:
    """connect() called in on_disconnect or when_closed gives a new, open session, never the closed one."""
    server = await loopback.server()
    client = loopback.client(server.port)
    again: Deferred[Any] = Deferred()

    def connect(_: object) -> None:
        client.connect().chainDeferred(again)

    if where == "on_disconnect":
        client.set_callback("on_disconnect", connect)
    session = await client.connect()
    if where == "when_closed":
        session.when_closed().addCallback(connect)
    server.clients[0].disconnect()
    new = await again
    client.set_callback("on_disconnect", lambda reason: None)
    assert new is not session
    assert new.closed is None


# As a service.


async def test_the_service_connects_and_disconnects(loopback: Any) -> None:
    """StartService connects, stopService closes."""
    server = await loopback.server()
    client = loopback.client(server.port)
    client.startService()
    await client.connect()
    assert client.running
    gone = server.clients[0].when_closed()
    await client.stopService()
    assert (await gone).reason is DisconnectReason.PEER_CLOSED
    assert not client.is_connected


async def test_a_service_that_cannot_connect_logs_it(loopback: Any, logged_failures: Any) -> None:
    """A failure to connect at service start is logged, not lost."""
    client = loopback.client(free_port())
    client.startService()
    with pytest.raises(Refused):
        await client.connect()
    assert len(logged_failures.flush(Refused)) == 1
    await client.stopService()


async def test_stopping_a_service_that_still_connects_is_no_failure(loopback: Any, logged_failures: Any) -> None:
    """StopService while connecting is the user's wish, not a failure to be logged with a traceback."""
    port = await loopback.raw_server()
    client = loopback.client(port.getHost().port)
    client.startService()
    await _turns(3)
    await client.stopService()
    assert logged_failures.flush() == []


@pytest.mark.parametrize("config", [ServerConfig(), 5, b"localhost", {}])
def test_a_config_of_another_kind_is_refused(config: Any) -> None:
    """What is no ClientConfig is named, with what it must be."""
    with pytest.raises(SettingsError, match="it must be a ClientConfig"):
        Client(config)


# Waiting for a session.


class Outage:
    """A client with endless tries, one each second, and a server that comes when it is told to."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.server = Server(types=MessageRegistry())
        self.client = Client(
            types=MessageRegistry(), reactor=self.network.clocks, retry=RetryPolicy(initial_delay=1, factor=1, jitter=False)
        )
        self.client.configure(endpoint=_ClientEndpoint(self.network))

    def begin(self) -> None:
        """Let the client try."""
        self.client.connect().addErrback(lambda failure: failure.trap(Refused, SessionClosed))

    def end(self) -> None:
        """Let the outage be over."""
        self.network.serve(self.server)
        self.network.advance(1)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_giving_up_a_wait_for_the_session_leaves_the_tries_alone(how: str) -> None:
    """when_connected() ends after its time, or when it is cancelled; the client goes on trying, and others on waiting."""
    outage = Outage()
    outage.begin()
    waiting = outage.client.when_connected(0.3 if how == "timeout" else None)
    patient = [outcome(outage.client.when_connected(timeout)) for timeout in (None, 60, math.inf)]
    given_up = outcome(waiting)
    if how == "cancel":
        waiting.cancel()
    outage.network.advance(0.3)
    (error,) = given_up
    if how == "timeout":
        assert isinstance(error, ConnectError)
        assert str(error) == "User timeout caused connection failure: no session within 0.3 s."
    else:
        assert isinstance(error, CancelledError)
    outage.end()
    session = outage.client.session
    assert session is not None
    assert patient == [[session]] * 3
    assert outcome(outage.client.when_connected(0.3)) == [session]
    outage.network.result(outage.client.disconnect())
    outage.network.result(outage.server.stopService())
    assert outage.network.clock.getDelayedCalls() == []


def test_a_wait_for_the_session_begins_no_connection() -> None:
    """Before the first connect() it waits for that, and nothing is tried."""
    outage = Outage()
    outage.network.serve(outage.server)
    waiting, late = outcome(outage.client.when_connected()), outcome(outage.client.when_connected(2))
    outage.network.advance(3)
    assert waiting == []
    assert isinstance(late[0], ConnectError)
    assert outage.server.counters["accepted"] == 0
    outage.begin()
    outage.network.pump()
    assert waiting == [outage.client.session]
    outage.network.result(outage.client.disconnect())


def test_a_wait_for_the_session_waits_for_on_connect() -> None:
    """It gives what connect() gives: a session whose on_connect is done; that itself gets it at once."""
    outage, done = Outage(), Deferred()  # type: ignore[var-annotated]
    inside: list[Any] = []

    def on_connect() -> Deferred[None]:
        inside.extend(outcome(outage.client.when_connected()))
        return done

    outage.client.set_callback("on_connect", on_connect)
    outage.network.serve(outage.server)
    outage.begin()
    waiting = outcome(outage.client.when_connected())
    outage.network.pump()
    assert waiting == []
    done.callback(None)
    assert waiting == inside == [outage.client.session]
    outage.network.result(outage.client.disconnect())


def test_a_wait_for_the_session_ends_with_the_tries() -> None:
    """Where no further try will be made it errbacks as connect() does, then and later."""
    outage = Outage()
    outage.begin()
    waiting = outcome(outage.client.when_connected())
    outage.client.stop_retry()
    assert isinstance(waiting[0], Refused)
    assert isinstance(outcome(outage.client.when_connected())[0], Refused)
    outage.network.result(outage.client.disconnect())
    outage.begin()
    outage.end()
    assert outcome(outage.client.when_connected()) == [outage.client.session]
    outage.network.result(outage.client.disconnect())
    (error,) = outcome(outage.client.when_connected(1))
    assert isinstance(error, SessionClosed)
    assert error.reason is DisconnectReason.MANUAL


@pytest.mark.parametrize("wrong", [0, -1, "1", math.nan])
def test_a_wait_that_cannot_be(wrong: Any) -> None:
    """A timeout that is no number above 0 is named."""
    with pytest.raises(ValueError, match="timeout is"):
        Client().when_connected(wrong)


async def test_a_thread_waits_for_the_session(loopback: Any) -> None:
    """In a thread it blocks, for so long at most, and returns the session."""
    server = await loopback.server()
    client = loopback.client(server.port)
    await client.connect()
    session = await deferToThread(client.when_connected, 5)
    assert session is client.session


# Names and addresses.


async def test_a_name_is_connected_to(loopback: Any) -> None:
    """A client is given a name as well as an address, whichever of its addresses the server listens on."""
    server = await loopback.server()
    client = Client("localhost", server.port, types=loopback.types)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"by name")).content == b"by name"
    await client.disconnect()


@pytest.mark.parametrize("settings", [{"server": "fe80::1%nosuch"}, {"endpoint": r"tcp:host=fe80\:\:1%nosuch:port=8080"}])
async def test_a_zone_that_is_none_is_a_connect_error(settings: Any) -> None:
    """An address on an interface that there is not: ConnectError, in one line with the interface's name."""
    client = Client(types=MessageRegistry(), **settings)
    with pytest.raises(ConnectError, match="nosuch") as caught:
        await client.connect()
    assert "\n" not in str(caught.value)


async def test_a_zone_that_is_none_is_no_place_to_listen() -> None:
    """A server says so as of any other address that is not the machine's."""
    with pytest.raises(CannotListenError, match="nosuch") as caught:
        await Server(host="fe80::1%nosuch", port=0, types=MessageRegistry()).listen()
    assert "\n" not in str(caught.value)
