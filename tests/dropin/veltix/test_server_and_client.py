"""Servers and clients: listening, connecting, events, closing."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Lines, Peer, both_wires, free_port, new_type, until
from veltix_tx.dropin.veltix import DisconnectReason, DisconnectState, Events, Request, Server
from veltix_tx.dropin.veltix.exceptions import ConnectionError, MessageError  # noqa: A004 (upstream's names)

MANUAL = DisconnectState(True, 0, 0, DisconnectReason.MANUAL)
SERVER_CLOSED = DisconnectState(True, 0, 0, DisconnectReason.SERVER_CLOSED)


@both_wires
def test_messages_both_ways(ends: Ends) -> None:
    """A message sent at one end is handed to the other end's ``on_recv`` as it was sent."""
    kind, at_server, at_client = new_type(), [], []  # type: ignore[var-annotated]
    server, client = ends.pair()
    server.set_callback(Events.ON_RECV, lambda info, response: at_server.append((info, response)))
    client.set_callback(Events.ON_RECV, at_client.append)
    assert client.get_sender().send(Request(kind, b"up")) is True
    info, up = until(lambda: at_server)[0]
    assert (info, up.type, up.content) == (server.clients[0], kind, b"up")
    assert server.get_sender().send(Request(kind, b"down"), client=info.conn) is True
    down = until(lambda: at_client)[0]
    assert (down.type, down.content) == (kind, b"down")


def test_clients_can_connect_when_start_returns(ends: Ends) -> None:
    """Once ``start()`` has returned the port is open: nobody has to wait for it."""
    for _ in range(20):
        with Peer(ends.server().port):
            pass


def test_start_again_does_nothing(ends: Ends) -> None:
    """A server that listens is not started twice; it returns None as the first time."""
    server = ends.server()
    port = server.port
    assert server.start() is None  # type: ignore[func-returns-value]
    assert server.port == port


def test_second_server_on_a_port(ends: Ends) -> None:
    """Where another listens already, ``start()`` raises OSError, and the first goes on."""
    first = ends.server()
    second = ends.server(port=first.port, start=False)
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert ends.client(first).is_connected
    first.close_all()
    second.start()
    assert ends.client(second).is_connected


def test_address_of_another_machine(ends: Ends) -> None:
    """An address that is not this machine's is an OSError at ``start()``."""
    with pytest.raises(OSError, match=r"."):
        ends.server(host="192.0.2.1", start=False).start()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", ""])
def test_hosts(ends: Ends, host: str) -> None:
    """A server listens on a name, an address, or everywhere."""
    server = ends.server(host=host)
    assert ends.client(server, server_addr="localhost").ping_server() is not None


def test_server_starts_again(ends: Ends) -> None:
    """After ``close_all()`` a server can be started again, its callbacks and routes kept."""
    server, seen, kind = ends.server(), [], new_type()  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    server.close_all()
    server.start()
    ends.client(server).get_sender().send(Request(kind, b"again"))
    assert until(lambda: seen) == [b"again"]


def test_close_all_ends_every_connection(ends: Ends) -> None:
    """``close_all()`` closes each client, tells ``on_disconnect`` of each before it returns, and stops listening."""
    server, gone, states = ends.server(), [], []  # type: ignore[var-annotated]

    def ended(info: Any) -> None:
        time.sleep(0.02)
        gone.append((info, info in server.clients))

    server.set_callback(Events.ON_DISCONNECT, ended)
    clients = [ends.client(server) for _ in range(3)]
    for client in clients:
        client.set_callback(Events.ON_DISCONNECT, states.append)
    infos = until(lambda: len(server.clients) == 3 and server.clients)
    port = server.port
    assert server.close_all() is None  # type: ignore[func-returns-value]
    assert sorted(gone, key=lambda each: each[0].thread_id) == [(info, False) for info in infos]
    assert server.clients == []
    until(lambda: not any(client.is_connected for client in clients))
    assert until(lambda: len(states) == 3 and states) == [SERVER_CLOSED] * 3
    with pytest.raises(OSError, match=r"refused"):
        Peer(port)
    assert server.close_all() is None  # type: ignore[func-returns-value]


def test_close_all_of_a_server_never_started(ends: Ends) -> None:
    """There is nothing to close."""
    assert ends.server(start=False).close_all() is None  # type: ignore[func-returns-value]


def test_disconnect(ends: Ends) -> None:
    """``disconnect()`` returns True with the connection closed and ``on_disconnect`` called; both sides know."""
    server, client = ends.pair()
    states, gone = [], []  # type: ignore[var-annotated]
    client.set_callback(Events.ON_DISCONNECT, lambda state: states.append((state, client.is_connected)))
    server.set_callback(Events.ON_DISCONNECT, gone.append)
    info = server.clients[0]
    assert client.disconnect() is True
    assert states == [(MANUAL, False)]
    assert (client.is_connected, client.running) == (False, False)
    assert until(lambda: gone) == [info]
    assert server.clients == []


def test_disconnect_twice_or_without_a_connection(ends: Ends) -> None:
    """A disconnected client stays so; ``on_disconnect`` is told of one end, not of none."""
    server = ends.server()
    never, states = ends.client(server, connect=False), []  # type: ignore[var-annotated]
    never.set_callback("on_disconnect", states.append)
    assert never.disconnect() is True
    assert states == []
    client = ends.client(server)
    client.set_callback("on_disconnect", states.append)
    assert [client.disconnect(), client.disconnect()] == [True, True]
    assert states == [MANUAL]


def test_what_was_sent_before_disconnect_arrives(ends: Ends) -> None:
    """``disconnect()`` is polite: what was sent before it is delivered."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    sender = client.get_sender()
    for number in range(500):
        assert sender.send(Request(kind, b"%d" % number + bytes(2000)))
    client.disconnect()
    until(lambda: len(seen) == 500)
    assert [int(content.rstrip(b"\0")) for content in seen] == list(range(500))


def test_connects_again_after_disconnect(ends: Ends) -> None:
    """A client can be connected again, which upstream's never could; its callbacks stay."""
    server, client = ends.pair()
    connected, seen, kind = [], [], new_type()  # type: ignore[var-annotated]
    client.set_callback("on_connect", lambda: connected.append(client.is_connected))
    client.set_callback("on_recv", seen.append)
    client.disconnect()
    assert client.connect() is True
    assert connected == [True]
    assert (client.running, client.is_connected) == (True, True)
    info = until(lambda: [each for each in server.clients if each.thread_id == 2])[0]
    server.get_sender().send(Request(kind, b"welcome back"), client=info.conn)
    assert until(lambda: seen)[0].content == b"welcome back"


def test_connects_again_after_a_refusal(ends: Ends) -> None:
    """A connect() that failed does not spoil the client."""
    port = free_port()
    client = ends.client(port, connect=False)
    assert client.connect() is False
    ends.server(port=port)
    assert client.connect() is True


def test_connect_while_connected(ends: Ends) -> None:
    """A connected client answers True and stays as it is."""
    server, client = ends.pair()
    assert client.connect() is True
    assert client.ping_server() is not None
    assert len(server.clients) == 1


@pytest.mark.parametrize("name", ["nowhere.invalid", "not a host name", "a" * 300, "..", "256.256.256.256"])
def test_unknown_host(ends: Ends, name: str) -> None:
    """A host that cannot be found is a connect() that returns False, whatever its name is."""
    states: list[Any] = []
    client = ends.client(1, connect=False, server_addr=name)
    client.set_callback("on_disconnect", states.append)
    assert client.connect() is False
    assert states == [DisconnectState(True, 0, 0, DisconnectReason.ERROR)]


def test_on_connect_has_been_called_when_connect_returns(ends: Ends) -> None:
    """``connect()`` returns after ``on_connect``; upstream's order was open."""
    server = ends.server()
    for _ in range(50):
        called: list[bool] = []
        client = ends.client(server, connect=False)
        client.set_callback("on_connect", lambda called=called, client=client: called.append(client.is_connected))
        assert client.connect()
        assert called == [True]


def test_connect_does_not_wait_for_messages(ends: Ends) -> None:
    """A server that sends all the time does not keep ``connect()`` from returning."""
    server, kind = ends.server(), new_type()
    stop, returned = threading.Event(), threading.Event()

    def stream(info: Any) -> None:
        while not stop.wait(0.001):
            server.get_sender().send(Request(kind, b"more"), client=info.conn)

    server.set_callback("on_connect", stream)
    client = ends.client(server, connect=False)
    client.set_callback("on_recv", lambda _: stop.wait(0.02))

    def connect() -> None:
        client.connect()
        returned.set()

    threading.Thread(target=connect, daemon=True).start()
    try:
        assert returned.wait(2)
    finally:
        stop.set()


def test_on_connect_of_the_server(ends: Ends) -> None:
    """The server's ``on_connect`` gets a client that it can send to, which stands in ``server.clients``."""
    server, seen, kind = ends.server(), [], new_type()  # type: ignore[var-annotated]

    def greet(info: Any) -> None:
        seen.append((info in server.clients, info.handshake_done, server.get_sender().send(Request(kind, b"hi"), info.conn)))

    server.set_callback(Events.ON_CONNECT, greet)
    client, got = ends.client(server, connect=False), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", got.append)
    client.connect()
    assert until(lambda: got)[0].content == b"hi"
    assert seen == [(True, True, True)]


def test_client_info(ends: Ends) -> None:
    """A client's address is that of its socket; clients are numbered from 1."""
    server, client = ends.pair()
    info = server.clients[0]
    assert info.addr == (info.ip, info.port)
    assert info.ip == "127.0.0.1"
    assert info.port == client.socket.session.address.port or info.port > 0  # type: ignore[union-attr]
    assert info.thread_id == 1
    ends.client(server)
    assert until(lambda: len(server.clients) == 2 and sorted(each.thread_id for each in server.clients)) == [1, 2]
    assert info != server.clients[1]
    assert len({info, *server.clients}) == 2


def test_clients_is_a_list_of_ones_own(ends: Ends) -> None:
    """Changing the list that ``server.clients`` returns changes nothing; upstream's is the live one."""
    server, _ = ends.pair()
    server.clients.clear()
    assert len(server.clients) == 1
    assert server.get_all_clients_sockets() == [server.clients[0].conn]


def test_close_client(ends: Ends) -> None:
    """``close_client`` and ``conn.close()`` close the connection, which upstream's did not; True once, then False."""
    server, client = ends.pair()
    states: list[Any] = []
    client.set_callback("on_disconnect", states.append)
    info = server.clients[0]
    assert server.close_client(info) is True
    assert until(lambda: states) == [SERVER_CLOSED]
    until(lambda: not server.clients)
    assert server.close_client(info) is False
    assert info.conn.close() is False


def test_peers_in_their_handshake_are_no_clients(ends: Ends) -> None:
    """Who has not completed the handshake is not in ``server.clients``, gets no broadcast, and reaches no handler."""
    server, connected, seen, kind = ends.server(wire="1.6.3"), [], [], new_type()  # type: ignore[var-annotated]
    server.set_callback("on_connect", connected.append)
    server.set_callback("on_recv", lambda *_: seen.append(1))
    with Peer(server.port) as silent:
        assert silent.frame()[0] == 10
        silent.socket.sendall(Request(kind, b"too early").compile())
        ends.client(server)
        until(lambda: server.clients and connected)
        assert [len(server.clients), len(connected)] == [1, 1]
        assert server.get_sender().broadcast(Request(kind, b"news"), server.get_all_clients_sockets())
        assert silent.ended()  # for speaking too early, and without a byte more
    assert not seen


def test_handshake_timeout_of_the_server(ends: Ends) -> None:
    """A peer that says nothing is closed after ``handshake_timeout``; upstream keeps it for ever."""
    server = ends.server(handshake_timeout=0.2)
    with Peer(server.port) as silent:
        assert silent.ended()


def test_max_connection(ends: Ends) -> None:
    """A full server refuses at once, without a handshake timeout, and takes the next when a place is free."""
    server = ends.server(max_connection=1)
    first = ends.client(server)
    second = ends.client(server, connect=False)
    assert second.connect() is False
    first.disconnect()
    until(lambda: not server.clients)
    assert second.connect() is True


def test_max_message_size_counts_the_header(ends: Ends) -> None:
    """A message that just fits arrives; one byte more is refused where it is sent, and what follows arrives."""
    server, client = ends.pair(wire="1.6.3", max_message_size=1000)
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(len(response.content)))
    conn = server.clients[0].conn
    sender = server.get_sender()
    assert [sender.send(Request(kind, bytes(size)), conn) for size in (978, 979, 1)] == [True, False, True]
    until(lambda: len(seen) == 2)
    assert seen == [978, 1]


def test_big_messages(ends: Ends) -> None:
    """Messages of the size the limits allow arrive whole, above upstream's 10 MiB as well."""
    most = 24 * 1024 * 1024
    server, kind = ends.server(max_message_size=most), new_type()
    server.set_callback("on_recv", lambda info, response: server.get_sender().send(_answer(kind, response), info.conn))
    client = ends.client(server, max_message_size=most)
    content = bytes(range(256)) * (20 * 4096)
    reply = client.send_and_wait(Request(kind, content), timeout=20)
    assert reply is not None
    assert reply.content == content


def _answer(kind: Any, response: Any) -> Request:
    request = Request(kind, response.content)
    request.respond(response)
    return request


@pytest.mark.parametrize("event", [Events.ON_CONNECT, Events.ON_RECV, Events.ON_DISCONNECT])
def test_a_callback_that_raises(ends: Ends, log: Lines, event: Events) -> None:
    """What a callback raises is logged, with its name; connection and server go on."""
    server = ends.server()
    kind, seen = new_type(), []  # type: ignore[var-annotated]

    def failing(*_: object) -> None:
        raise ValueError("bad")

    server.set_callback(event, failing)
    client = ends.client(server)
    client.get_sender().send(Request(kind, b""))
    client.disconnect()
    until(lambda: log.about("Error in callback"))
    assert "failing: ValueError: bad" in log.about("Error in callback")[0]
    server.set_callback(event, None)
    server.set_callback("on_recv", lambda *_: seen.append(1))
    ends.client(server).get_sender().send(Request(kind, b""))
    until(lambda: seen)


@pytest.mark.parametrize("event", [Events.ON_CONNECT, Events.ON_RECV, Events.ON_DISCONNECT])
def test_a_clients_callback_that_raises(ends: Ends, log: Lines, event: Events) -> None:
    """The same at a client: connect() and disconnect() return as ever."""
    server, client = ends.pair()
    client.disconnect()

    def failing(*_: object) -> None:
        raise ValueError("bad")

    client.set_callback(event, failing)
    assert client.connect() is True
    info = until(lambda: server.clients)[-1]
    server.get_sender().send(Request(new_type(), b""), info.conn)
    if event is Events.ON_RECV:
        until(lambda: log.about("Error in callback"))
    assert client.disconnect() is True
    until(lambda: log.about("Error in callback"))


def test_an_on_connect_that_cannot_be_called(ends: Ends, monkeypatch: pytest.MonkeyPatch, logged_failures: Any) -> None:
    """Where the system has no thread for ``on_connect`` that is logged, and the connection lives on, as after one that raises."""
    server = ends.server()
    server.set_callback("on_connect", lambda info: None)
    with monkeypatch.context() as patch:

        def submit(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(server._crew, "submit", submit)
        client = ends.client(server)
        until(lambda: server.clients)
    assert client.ping_server() is not None
    assert len(logged_failures.flush(RuntimeError)) == 1


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_a_callback_that_wants_to_exit(ends: Ends, raised: type[BaseException]) -> None:
    """``exit()`` in a callback ends that callback only: the worker and the connection's later callbacks go on."""
    server, kind, seen = ends.server(max_workers=1), new_type(), []  # type: ignore[var-annotated]

    def leave(_: object, response: Any) -> None:
        seen.append(response.content)
        raise raised

    server.set_callback("on_recv", leave)
    client = ends.client(server)
    for number in range(3):
        client.get_sender().send(Request(kind, b"%d" % number))
    assert until(lambda: len(seen) == 3 and seen) == [b"0", b"1", b"2"]


def test_unknown_event(ends: Ends, log: Lines) -> None:
    """An event that does not exist is logged and nothing else; names are the values, not the members' names."""
    server, client = ends.pair()
    for each in (server, client):
        assert each.set_callback("nope", print) is None  # type: ignore[attr-defined]
        each.set_callback("ON_RECV", print)  # type: ignore[attr-defined]
        assert each.on_recv is None  # type: ignore[attr-defined]
    assert len(log.about("Unknown event type")) == 4


def test_callback_is_replaced_and_removed(ends: Ends, log: Lines) -> None:
    """The callback set last is the one; None takes it away, and a message nobody handles is logged."""
    server, client = ends.pair()
    first, second, kind = [], [], new_type()  # type: ignore[var-annotated]
    server.set_callback(Events.ON_RECV, lambda *_: first.append(1))
    server.set_callback(Events.ON_RECV, lambda *_: second.append(1))
    client.get_sender().send(Request(kind, b""))
    until(lambda: second)
    server.set_callback(Events.ON_RECV, None)
    client.get_sender().send(Request(kind, b""))
    until(lambda: log.about("No handler registered"))
    assert (first, second) == ([], [1])


def test_first_documents_names_of_the_server(ends: Ends) -> None:
    """``bind``, ``send_to``, ``send_all`` and ``close_client`` do what the first documents say."""
    server, kind = ends.server(start=False), new_type()
    connected, gone, got = [], [], []  # type: ignore[var-annotated]
    server.bind("on_connect", connected.append)
    server.bind("on_disconnect", gone.append)
    server.bind("on_recv", lambda info, response: server.send_to(info, Request(kind, response.content.upper()).compile()))
    server.start()
    client = ends.client(server, connect=False)
    client.bind("on_recv", lambda response: got.append(response.content))
    client.connect()
    assert client.send(Request(kind, b"hello").compile()) is True
    until(lambda: got)
    info = until(lambda: connected)[0]
    assert server.send_all(Request(kind, b"all").compile() + Request(kind, b"of you").compile()) is True
    assert until(lambda: len(got) == 3 and got) == [b"HELLO", b"all", b"of you"]
    server.close_client(info)
    assert until(lambda: gone) == [info]


def test_first_documents_names_of_the_client(ends: Ends) -> None:
    """``client.send`` raises where the first documents say so; ``on_disconnect`` bound gets no argument."""
    server, client = ends.pair()
    kind, ended = new_type(), []  # type: ignore[var-annotated]
    client.bind("on_disconnect", lambda: ended.append(1))
    assert client.send(Request(kind, b"as it is")) is True
    with pytest.raises(MessageError):
        client.send("text")  # type: ignore[arg-type]
    with pytest.raises(MessageError):
        client.send(b"no message")
    with pytest.raises(MessageError):
        server.send_all(b"no message")
    client.disconnect()
    assert ended == [1]
    with pytest.raises(ConnectionError, match="not connected"):
        client.send(Request(kind, b"late").compile())


def test_reads_with_upstreams_sizes(ends: Ends) -> None:
    """``buffer_size`` may be as small as upstream's default, and as big as its biggest."""
    for size in (1, 1024, 1048576):
        server = ends.server(buffer_size=size)
        client = ends.client(server, buffer_size=size)
        assert client.ping_server() is not None


def test_server_in_a_with_block_of_nothing(ends: Ends) -> None:
    """Two servers in one process keep their clients apart."""
    servers = [ends.server() for _ in range(3)]
    clients = [ends.client(server) for server in servers for _ in range(2)]
    kind = new_type()
    for server in servers:
        until(lambda server=server: len(server.clients) == 2)
    got: list[int] = []
    for number, client in enumerate(clients):
        client.set_callback("on_recv", lambda _, number=number: got.append(number))
    servers[1].get_sender().broadcast(Request(kind, b"x"), servers[1].get_all_clients_sockets())
    assert sorted(until(lambda: len(got) == 2 and got)) == [2, 3]
    servers[0].close_all()
    until(lambda: not any(client.is_connected for client in clients[:2]))
    assert all(client.is_connected for client in clients[2:])


def test_ipv6(ends: Ends) -> None:
    """A server listens on IPv6, which upstream cannot."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    server = ends.server(host="::1")
    client = ends.client(server, server_addr="::1")
    assert client.ping_server() is not None
    assert until(lambda: server.clients)[0].ip == "::1"


def test_server_is_a_server() -> None:
    """A server that was made and never started opens nothing and needs no closing."""
    from veltix_tx.dropin.veltix import ServerConfig

    assert Server(ServerConfig(port=free_port())).clients == []
