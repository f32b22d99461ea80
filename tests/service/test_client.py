"""The client's door: connecting, failing to, and connecting again."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Protocol

from veltix_tx import (
    Client,
    ClientConfig,
    DisconnectReason,
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
from veltix_tx.testing import MemoryNetwork

from ..ports import free_port

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
    """VersionRefused tells what the server announces and what is accepted here."""
    server = await loopback.server(wire="1.6.4")
    with pytest.raises(VersionRefused, match=r"1\.6\.4.*1\.6\.3"):
        await loopback.client(server.port, wire="1.6.3").connect()


async def test_a_silent_server_is_a_handshake_timeout(loopback: Any) -> None:
    """A server that accepts and says nothing is given up after handshake_timeout."""
    port = await loopback.raw_server()
    with pytest.raises(HandshakeTimeout, match=r"0\.1 s"):
        await loopback.client(port.getHost().port, handshake_timeout=0.1).connect()


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
        ({"unknown": 1}, "unknown"),
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
    with pytest.raises(NotReady):
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
