"""The server's door: listening, refusing, stopping."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import deferLater
from twisted.logger import formatEvent
from zope.interface import implementer

from tests.support.loopback import Raw
from veltix_tx import (
    BufferSize,
    Client,
    ClientConfig,
    Limits,
    MessageRegistry,
    MessageType,
    Server,
    ServerConfig,
    ServerFull,
    SessionClosed,
    SettingsError,
    Timeouts,
)
from veltix_tx.app.applications import Echo
from veltix_tx.errors import NotVeltix
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.testing import MemoryNetwork


async def echoes(client: Client, message_type: MessageType) -> bool:
    """Connect, and tell whether a message comes back."""
    await client.connect()
    return (await client.send_and_wait(message_type, b"hello")).content == b"hello"


async def test_every_generation_is_served_on_one_port(loopback: Any) -> None:
    """A server on auto answers clients that find out, over real sockets, both ways."""
    server = await loopback.server()
    clients = [loopback.client(server.port) for _ in range(3)]
    for client in clients:
        assert await echoes(client, loopback.chat)
        assert 0 < await client.ping_server() < 5000
    assert len(server.clients) == 3
    assert 0 < await server.clients[0].ping() < 5000


async def test_few_connections_are_taken_at_a_time(loopback: Any) -> None:
    """Of many connections that come at once a port takes ten in a turn of the reactor; who is connected is served between."""
    server = await loopback.server()
    [port] = server._ports
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(35)]
    taken = []
    for _ in range(4):
        port.doRead()
        taken.append(len(list(server._connections)))
    for caller in callers:
        caller.close()
    assert taken == [10, 20, 30, 35]
    await gatherResults([protocol.when_lost() for protocol in server._connections])


@pytest.mark.parametrize("wire", ["1.3.0", "1.4.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.0", "3.3.0"])
async def test_each_endpoint_may_speak_its_own_wire(wire: str, loopback: Any) -> None:
    """Several endpoints of one server each speak what stands before their @, and share the routes."""
    server = await loopback.server(endpoints=(f"{wire}@tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"), wire="1.6.2")
    pinned, other = (port.getHost().port for port in server._ports)
    assert await echoes(loopback.client(pinned), loopback.chat)
    assert await echoes(loopback.client(other, wire="1.6.2"), loopback.chat)
    first, second = server.clients
    assert first.peer.version in ("", wire)
    assert second.peer.version == "1.6.2"
    assert server.broadcast(loopback.chat, b"all") == 2


async def test_an_endpoint_object_will_do(loopback: Any) -> None:
    """Endpoint may be an IStreamServerEndpoint."""
    from twisted.internet import reactor

    server = await loopback.server(endpoint=TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
    assert await echoes(loopback.client(server.port), loopback.chat)


async def test_a_unix_socket_is_served(loopback: Any, tmp_path: Path, log_events: list[Any]) -> None:
    """A unix endpoint works at both ends; its sessions have no address, and no word is said of strangers."""
    path = tmp_path / "s"
    server = await loopback.server(endpoint=f"unix:{path}")
    client = Client(endpoint=f"unix:{path}", types=loopback.types)
    assert await echoes(client, loopback.chat)
    (session,) = server.clients
    assert (session.ip, session.port) == ("", 0)
    said = [event["log_format"].format(**event) for event in log_events if event.get("log_namespace") == "veltix_tx.server"]
    assert len(said) == 1
    assert said[0].endswith(f"on unix:{path}")
    await client.disconnect()


async def test_the_start_line_says_what_is_spoken_and_where(loopback: Any, log_events: list[Any]) -> None:
    """One line per endpoint says what it speaks and where; a public one is warned of."""
    server = await loopback.server(host="0.0.0.0", wire="1.6.3")
    said = [event["log_format"].format(**event) for event in log_events if event.get("log_namespace") == "veltix_tx.server"]
    assert said[0].endswith(f"speaks Veltix 1.6.3 on 0.0.0.0:{server.port}")
    assert "anyone" in said[1]
    assert len(said) == 2


async def test_port_tells_where_it_listens(loopback: Any) -> None:
    """Port is the system's choice while listening, the setting otherwise."""
    server = loopback.made_server()
    assert server.port == 0
    await server.listen()
    assert server.port > 0
    await server.stopService()


async def test_listening_twice_is_refused(loopback: Any) -> None:
    """listen() of a server that listens already raises SettingsError and changes nothing."""
    server = await loopback.server()
    port = server.port
    with pytest.raises(SettingsError, match="until the service stops"):
        server.listen()
    assert server.port == port


# Ports that cannot be had.


async def test_a_busy_port_raises_from_start_and_errbacks_from_listen(loopback: Any) -> None:
    """CannotListenError comes out of startService and listen(); the server can then be configured and started elsewhere."""
    first = await loopback.server()
    second = loopback.made_server(port=first.port)
    with pytest.raises(CannotListenError, match=str(first.port)):
        second.startService()
    assert not second.running
    with pytest.raises(CannotListenError):
        await second.listen()
    second.configure(port=0)
    second.startService()
    assert second.port not in (0, first.port)


async def test_one_busy_port_closes_the_others(loopback: Any) -> None:
    """When one of several endpoints cannot listen, none is left open."""
    first = await loopback.server()
    second = loopback.made_server(endpoints=("tcp:0:interface=127.0.0.1", f"tcp:{first.port}:interface=127.0.0.1"))
    with pytest.raises(CannotListenError):
        second.startService()
    second.configure(endpoints=("tcp:0:interface=127.0.0.1",))


@pytest.mark.parametrize("bad", ["8080", "tcp:", "nonsense:1", "tcp:port=x"])
async def test_a_bad_endpoint_is_a_settings_error_and_leaves_no_port(bad: str, loopback: Any) -> None:
    """An endpoint that is none raises SettingsError naming it; endpoints before it are not left open."""
    server = loopback.made_server(endpoints=("tcp:0:interface=127.0.0.1", bad))
    with pytest.raises(SettingsError, match="endpoint"):
        server.startService()
    assert not server.running
    opened = list(server._ports)
    for port in opened:
        await port.stopListening()
    assert opened == []


# Settings.


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"port": -1}, "port"),
        ({"port": "8080"}, "port"),
        ({"wire": "7.0"}, "wire"),
        ({"endpoint": ""}, "endpoints"),
        ({"endpoint": "7.0@tcp:1"}, "endpoint"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connection": -2}, "max_connection"),
        ({"buffer_size": 0}, "buffer_size"),
        ({"max_workers": 0}, "max_workers"),
        ({"unknown": 1}, "unknown"),
        ({"timeouts": 5}, "timeouts"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], named: str) -> None:
    """A wrong setting raises SettingsError where it is given, naming it."""
    with pytest.raises(SettingsError, match=named):
        Server(**settings)
    server = Server()
    if "endpoint" not in settings:
        with pytest.raises(SettingsError, match=named):
            server.configure(**settings)
        assert server.config == ServerConfig()


def test_settings_are_given_before_listening() -> None:
    """configure() changes single fields, takes a whole config, and raises while the server listens."""
    server = Server(ServerConfig(port=1234), handshake_timeout=3)
    assert (server.config.port, server.config.handshake_timeout) == (1234, 3)
    server.configure(ServerConfig(max_connections=5), port=99)
    assert (server.config.max_connections, server.config.port) == (5, 99)
    network = MemoryNetwork()
    network.serve(server)
    with pytest.raises(SettingsError, match="before the server listens"):
        server.configure(port=5)
    network.result(server.stopService())
    server.configure(port=5)


def test_an_application_takes_the_place_of_routes() -> None:
    """A server with an application of its own has its types, and refuses routes and callbacks."""
    application = Echo()
    server = Server(application=application)
    for attempt in (lambda: server.route(MessageType(200, registry=MessageRegistry())), lambda: server.set_callback("on_recv")):
        with pytest.raises(SettingsError, match="application"):
            attempt()


# Its life.


async def test_a_full_server_refuses_and_recovers(loopback: Any) -> None:
    """The client over max_connections is told ServerFull; when another is gone there is room again."""
    server = await loopback.server(max_connections=1)
    first = loopback.client(server.port)
    await first.connect()
    second = loopback.client(server.port)
    with pytest.raises(ServerFull):
        await second.connect()
    gone = server.clients[0].when_closed()
    await first.disconnect()
    await gone
    assert await echoes(second, loopback.chat)


async def test_a_broadcast_does_not_disturb_a_handshake(loopback: Any) -> None:
    """A client whose handshake is under way hears nothing of a broadcast and becomes ready."""
    server = await loopback.server(wire="3.3.0")
    ready = loopback.client(server.port)
    await ready.connect()
    heard: Deferred[bytes] = Deferred()
    ready.set_callback("on_recv", lambda message: heard.callback(message.content))
    raw = await loopback.raw(server.port)
    hello = await raw.some()
    assert server.broadcast(loopback.chat, b"all") == 1
    assert await heard == b"all"
    text = b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'
    raw.transport.write(len(text).to_bytes(2, "big") + text)
    said = await raw.some(len(hello) + 2)
    assert said[len(hello) :] == b'\0\x10{"result": "ok"}'


async def test_a_server_can_be_started_again(loopback: Any) -> None:
    """After stopService nothing listens; startService listens again, with the same routes."""
    server = await loopback.server()
    assert server.running
    client = loopback.client(server.port)
    assert await echoes(client, loopback.chat)
    old = server.port
    gone = client.session.when_closed()
    await server.stopService()
    await gone
    assert (bool(server.running), client.is_connected, server.clients) == (False, False, [])
    with pytest.raises(Refused):
        await loopback.client(old).connect()
    server.startService()
    assert await echoes(loopback.client(server.port), loopback.chat)


async def test_two_peers_that_ask_much_of_each_other_at_once_both_get_it(loopback: Any) -> None:
    """Large requests in flight both ways, more than every buffer holds, do not stop each other."""
    limits = Limits(write_hard=64 * 1024 * 1024)
    server = loopback.made_server(limits=limits)
    asked: Deferred[list[Any]] = Deferred()
    content = b"x" * 5_000_000

    @server.set_callback("on_connect")
    def ask_back(client: Any) -> None:
        gatherResults([client.send_and_wait(loopback.chat, content, timeout=15) for _ in range(5)]).chainDeferred(asked)

    server.route(loopback.chat)(lambda client, message: message.content)
    server.startService()
    client = loopback.client(server.port, limits=limits)
    client.route(loopback.chat)(lambda message: message.content)
    await client.connect()
    replies = await gatherResults([client.send_and_wait(loopback.chat, content, timeout=15) for _ in range(5)])
    assert [len(reply.content) for reply in [*replies, *await asked]] == [5_000_000] * 10
    await client.disconnect()
    await server.stopService()


async def test_stopping_finishes_what_was_received(loopback: Any) -> None:
    """StopService lets running handlers finish and flushes their replies; new connections are refused meanwhile."""
    server = loopback.made_server()
    started: Deferred[None] = Deferred()
    gate: Deferred[bytes] = Deferred()

    @server.route(loopback.chat)
    async def slow(client: Any, message: Any) -> bytes:
        started.callback(None)
        await gate
        return b"x" * 3_000_000

    server.startService()
    port = server.port
    client = loopback.client(port)
    await client.connect()
    reply = client.send_and_wait(loopback.chat, b"?")
    await started
    stopped = server.stopService()
    with pytest.raises(Refused):
        await loopback.client(port).connect()
    gate.callback(b"")
    assert len((await reply).content) == 3_000_000
    await stopped


@pytest.mark.parametrize("concurrent", [False, True])
async def test_stopping_does_not_wait_for_those_who_left(concurrent: bool, loopback: Any) -> None:
    """A peer that leaves has its handlers cancelled, whatever time they have; a stop finds nothing to do."""
    server = loopback.made_server(timeouts=Timeouts(drain=60))
    told: list[object] = []
    gone: Deferred[None] = Deferred()

    @server.route(loopback.chat, timeout=math.inf, concurrent=concurrent)
    async def poll(client: Any, message: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            told.append(message.content)
            raise

    @server.set_callback("on_disconnect")
    def on_disconnect(client: Any) -> None:
        told.append("gone")
        gone.callback(None)

    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    client.send(loopback.chat, b"1")
    client.send(loopback.chat, b"2")
    await client.disconnect()
    await gone
    assert told == [b"1", b"2", "gone"]
    await server.stopService()
    assert server.counters["handlers_failed"] == server.counters["cut_off"] == 0


@pytest.mark.parametrize("plain", [True, False])
async def test_a_handler_may_stop_the_server(plain: bool, loopback: Any) -> None:
    """A handler that calls stopService() is answered for as any other, and the stop goes on."""
    server = loopback.made_server()
    stopped: list[Deferred[None]] = []

    @server.route(loopback.chat)
    def stop(client: Any, message: Any) -> Any:
        stopped.append(server.stopService())
        return b"bye" if plain else succeed(b"bye")

    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat)).content == b"bye"
    await stopped[0]


async def test_stopping_cuts_what_takes_too_long(loopback: Any) -> None:
    """A handler that does not finish within timeouts.drain does not hold the stop: its client is cut off."""
    server = loopback.made_server(timeouts=Timeouts(drain=0.2))
    started: Deferred[None] = Deferred()

    @server.route(loopback.chat)
    def never(client: Any, message: Any) -> Deferred[None]:
        started.callback(None)
        return Deferred()

    server.startService()
    client = loopback.client(server.port)
    session = await client.connect()
    reset = session.when_closed()
    client.send(loopback.chat, b"?")
    await started
    await server.stopService()
    assert len(server._connections) == 0
    assert isinstance(await reset, SessionClosed)


@pytest.mark.parametrize("configured", [False, True])
def test_stopping_cuts_only_what_was_there(configured: bool) -> None:
    """A server that listens again while it stops keeps its new clients; the old ones are cut all the same."""
    network, types = MemoryNetwork(), MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server = Server(types=types, timeouts=Timeouts(drain=3))
    server.route(chat)(lambda client, message: Deferred() if message.content == b"endless" else message.content)
    network.serve(server)
    old, new = Client(types=types), Client(types=types)
    network.connect(old).send(chat, b"endless")
    network.pump()
    stopping = server.stopService()
    if configured:
        server.configure(max_connections=5)
    server.startService()
    network.connect(new)
    network.advance(3)
    network.result(stopping)
    assert (old.is_connected, new.is_connected) == (False, True)
    assert network.result(new.send_and_wait(chat, b"still")).content == b"still"


async def test_stopping_ends_half_open_connections(loopback: Any) -> None:
    """A connection in its handshake is gone when stopService fires, and leaves nothing in the reactor."""
    server = await loopback.server(wire="3.3.0", handshake_timeout=60, timeouts=Timeouts(drain=60))
    raw = await loopback.raw(server.port)
    await raw.some()
    await server.stopService()
    assert len(server._connections) == 0
    await raw.gone


async def test_the_application_may_be_of_the_users_own(loopback: Any) -> None:
    """An IVeltixApplication is told of the session, its messages and its end, in this order."""
    calls: list[str] = []
    ended: Deferred[None] = Deferred()

    @implementer(IVeltixApplication)
    class Mine:
        types = loopback.types

        def connected(self, session: Any) -> None:
            calls.append("connected")

        def received(self, session: Any, message: Any) -> bytes:
            calls.append("received")
            return b"mine"

        def disconnected(self, session: Any, reason: SessionClosed) -> None:
            calls.append("disconnected")
            ended.callback(None)

    server = Server(port=0, host="127.0.0.1", application=Mine())
    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    assert (await client.send_and_wait(loopback.chat, b"?")).content == b"mine"
    await client.disconnect()
    await ended
    assert calls == ["connected", "received", "disconnected"]
    await server.stopService()


# What upstream's settings do here.


async def test_buffer_size_is_how_much_is_read_at_once(loopback: Any, monkeypatch: Any) -> None:
    """Each side reads no more at once than its own buffer_size, however much is there."""
    read: dict[bool, list[int]] = {True: [], False: []}
    received = VeltixProtocol.dataReceived

    def data_received(self: VeltixProtocol, data: bytes) -> None:
        read[self.transport.getHost().port == server.port].append(len(data))
        received(self, data)

    monkeypatch.setattr(VeltixProtocol, "dataReceived", data_received)
    server = await loopback.server(buffer_size=BufferSize.SMALL)
    client = loopback.client(server.port, buffer_size=3000)
    await client.connect()
    content = bytes(500_000)
    assert (await client.send_and_wait(loopback.chat, content)).content == content
    assert max(read[True]) == 1024
    assert max(read[False]) == 3000


@pytest.mark.parametrize("name", ["max_connection", "max_connections"])
async def test_no_limit_on_connections(name: str, loopback: Any) -> None:
    """-1 lets any number in, under either name; 1 lets one in."""
    server = await loopback.server(**{name: -1})
    clients = [loopback.client(server.port) for _ in range(5)]
    await gatherResults([client.connect() for client in clients])
    await gatherResults([client.disconnect() for client in clients])
    await server.stopService()
    server.configure(**{name: 1})
    server.startService()
    for client in clients:
        client.configure(port=server.port)
    await clients[0].connect()
    with pytest.raises(ServerFull):
        await clients[1].connect()


@pytest.mark.parametrize("config", [ClientConfig(), 5, b"localhost", {}])
def test_a_config_of_another_kind_is_refused(config: Any) -> None:
    """What is no ServerConfig is named, with what it must be."""
    with pytest.raises(SettingsError, match="it must be a ServerConfig"):
        Server(config)


@pytest.mark.parametrize("when", ["after stopService()", "when a request fails"])
async def test_listening_again_while_the_port_still_closes(when: str, loopback: Any) -> None:
    """listen() before the earlier stop is done waits for its ports, so that it can have the same; the stop ends as ever."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await loopback.server(port=port)
    client = loopback.client(port)
    await client.connect()
    await client.ping_server()
    again: list[Deferred[None]] = []
    if when == "when a request fails":
        server.clients[0].send_and_wait(loopback.news).addErrback(lambda _: again.append(server.listen()))
    stopped = server.stopService()
    if when == "after stopService()":
        again.append(server.listen())
    await again[0]
    await stopped
    assert [address.port for address in server.addresses] == [port]
    later = loopback.client(port)
    assert await echoes(later, loopback.chat)
    await later.disconnect()
    await server.stopService()


# What it says of itself.


async def test_an_ipv4_client_of_a_port_for_both_has_its_ipv4_address(loopback: Any) -> None:
    """On a port that takes IPv6 and IPv4, a session of an IPv4 client has the IPv4 address, in ``ip`` and in the log."""
    server = await loopback.server(host="::" if socket.has_dualstack_ipv6() else "0.0.0.0")
    client = loopback.client(server.port)
    await client.connect()
    await client.ping_server()
    (session,) = server.clients
    assert session.ip == "127.0.0.1"
    assert f"with 127.0.0.1:{session.port} " in repr(session)


async def test_a_server_and_a_client_say_what_and_where(loopback: Any) -> None:
    """Their reprs tell where they listen or connect, before, while and after."""
    server = loopback.made_server(port=0)
    assert repr(server) == "<Server for 127.0.0.1:0, not listening>"
    server.startService()
    assert repr(server) == f"<Server on 127.0.0.1:{server.port}, 0 clients>"
    client = loopback.client(server.port)
    assert repr(client) == f"<Client of 127.0.0.1:{server.port}, not connected>"
    connecting = client.connect()
    assert repr(client).endswith(", connecting>")
    await connecting
    assert repr(client) == f"<Client of 127.0.0.1:{server.port}, connected>"
    await client.ping_server()
    assert repr(server).endswith(", 1 client>")
    await client.disconnect()
    assert repr(client).endswith(", not connected>")
    await server.stopService()
    assert repr(server) == "<Server for 127.0.0.1:0, not listening>"
    assert repr(Server("[::1]:8080")) == "<Server for [::1]:8080, not listening>"
    assert repr(Server(endpoints=("tcp:8080", "unix:s"))) == "<Server for tcp:8080, unix:s, not listening>"
    assert repr(Client(endpoint="unix:s")) == "<Client of unix:s, not connected>"


# Peers that speak something else.


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", "it begins with b'GET /admin HTTP/1.1\\r', which looks like HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it begins with b'SSH-2.0-OpenSSH_9.6\\r', which looks like SSH"),
        (b"\xff" * 64, "declared a frame of 65535 bytes, over the limit of 4096: it begins with b'\\xff\\xff"),
        (
            b"hello, is there anybody?",
            "declared a frame of 26725 bytes, over the limit of 4096: it begins with b'hello, is",
        ),
    ],
)
async def test_a_server_quotes_who_speaks_something_else(data: bytes, said: str, loopback: Any, log_events: Any) -> None:
    """The one line of the log quotes the first bytes, harmlessly, and says what they look like."""
    server = await loopback.server()
    raw = await loopback.raw(server.port)
    raw.transport.write(data)
    await raw.gone
    (line,) = [text for text in map(formatEvent, log_events) if "closing 127.0.0.1:" in text]
    assert said in line
    assert line.isprintable()


@pytest.mark.parametrize("wire", ["auto", "3.3.0", "1.6.3"])
async def test_a_client_says_what_the_server_speaks(wire: str, loopback: Any) -> None:
    """connect() fails with the server's first bytes quoted, and what they look like."""

    class Ssh(Raw):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    port = await loopback.raw_server(Ssh)
    client = loopback.client(port.getHost().port, wire=wire)
    with pytest.raises(NotVeltix) as caught:
        await client.connect()
    assert str(caught.value) == (
        "the server does not speak Veltix: it begins with b'SSH-2.0-OpenSSH_9.6\\r', which looks like SSH: is this the right port?"
    )


async def test_a_client_says_what_a_server_speaks_that_waits_for_it(loopback: Any) -> None:
    """A server of HTTP, which says nothing by itself, is told by its answer to the client's question."""

    class Http(Raw):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.transport.loseConnection()

    port = await loopback.raw_server(Http)
    client = loopback.client(port.getHost().port)
    with pytest.raises(NotVeltix, match="looks like HTTP"):
        await client.connect()


@pytest.mark.parametrize(("wire", "hint"), [("1.6.3", "it begins with b'hello'"), ("1.3.0", "b'GET / HTTP/1.1\\r\\nHost'")])
async def test_what_never_becomes_a_message_is_quoted(wire: str, hint: str, loopback: Any, log_events: Any) -> None:
    """Where too little comes for anything to be told by its header, the deadline's line quotes it."""
    server = await loopback.server(wire=wire, handshake_timeout=0.2, timeouts=Timeouts(frame=0.2))
    raw = await loopback.raw(server.port)
    raw.transport.write(b"hello" if wire == "1.6.3" else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await raw.gone
    (line,) = [text for text in map(formatEvent, log_events) if "closing 127.0.0.1:" in text]
    assert hint in line


# What a stop waits for, and what comes after a peer that has left.


@pytest.mark.parametrize("how", ["the drain is over", "abort()"])
async def test_a_stop_that_is_cut_off_waits_for_on_disconnect(how: str, loopback: Any) -> None:
    """stopService() fires after the last on_disconnect, also where what still ran was cut off."""
    from twisted.internet import reactor

    server = await loopback.server(timeouts=Timeouts(drain=0.1 if how == "the drain is over" else 10))
    told: list[str] = []

    async def goodbye(client: Any) -> None:
        told.append("begun")
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        told.append("done")

    server.unregister_route(loopback.chat)
    server.route(loopback.chat)(lambda client, message: Deferred())
    server.set_callback("on_disconnect", goodbye)
    client = loopback.client(server.port)
    await client.connect()
    client.send(loopback.chat, b"waits for ever")
    await client.ping_server()
    stopped = server.stopService()
    if how == "abort()":
        server.abort()
    await stopped
    assert told == ["begun", "done"]
    await client.disconnect()


async def test_nothing_begins_beside_a_handler_that_outlives_its_peer(loopback: Any) -> None:
    """One at a time holds to the end: where a handler goes on after its peer has left, the messages behind it are dropped."""
    server = await loopback.server(timeouts=Timeouts(close=0.05))
    begun: list[bytes] = []
    gone: Deferred[Any] = Deferred()
    release = threading.Event()

    def work(client: Any, message: Any) -> None:
        begun.append(message.content)
        release.wait(5)

    server.unregister_route(loopback.chat)
    server.route(loopback.chat, thread=True)(work)
    server.set_callback("on_disconnect", gone.callback)
    client = loopback.client(server.port)
    await client.connect()
    for each in (b"1", b"2", b"3"):
        client.send(loopback.chat, each)
    await client.ping_server()
    client.session._abort_slow_reader()
    await gone
    assert begun == [b"1"]
    release.set()
    await server.stopService()
    assert begun == [b"1"]
