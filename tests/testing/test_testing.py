"""The testing module itself: real servers and clients in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused

from veltix_tx import Client, MessageRegistry, MessageType, RequestTimeout, RetryPolicy, Server, SessionClosed, VersionRefused
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.layouts import W15, W22

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
ACK = W22.pack(11, b"\0\x051.6.3", 1, 0) + b"\0\x051.6.3"


def json(text: bytes) -> bytes:
    """Return one message of the JSON handshake."""
    return len(text).to_bytes(2, "big") + text


@pytest.fixture
def network() -> MemoryNetwork:
    """Return a network with an echo server."""
    network = MemoryNetwork()
    server = Server(types=TYPES)
    server.route(CHAT)(lambda client, message: message.content)
    network.serve(server)
    return network


@pytest.mark.parametrize("wire", ["auto", "1.3.0", "1.4.0", "1.6.3", "1.7.5", "1.9.0", "3.3.0"])
def test_a_server_and_its_clients_meet_in_memory(wire: str) -> None:
    """connect() returns a session whose handshake is done; result() returns what a Deferred fires with."""
    network = MemoryNetwork()
    server = Server(types=TYPES, wire=wire)
    server.route(CHAT)(lambda client, message: message.content)
    network.serve(server)
    clients = [Client(types=TYPES, wire=wire) for _ in range(2)]
    sessions = [network.connect(client) for client in clients]
    assert [client.session for client in clients] == sessions
    for client in clients:
        assert network.result(client.send_and_wait(CHAT, b"hello")).content == b"hello"
        assert network.result(client.ping_server()) == 0
    ports = [session.port for session in server.clients]
    assert len(set(ports)) == 2
    assert network.result(clients[0].disconnect()) is None
    assert clients[1].is_connected


def test_nothing_listens_without_a_server() -> None:
    """connect() raises what the client's own connect errbacks with."""
    with pytest.raises(Refused, match="nothing listens"):
        MemoryNetwork().connect(Client(types=TYPES))
    with pytest.raises(AssertionError, match="serve"):
        MemoryNetwork().dial()


def test_a_stopped_server_listens_no_more(network: MemoryNetwork) -> None:
    """After stopService nothing listens any more, and a server can be served again."""
    server = Server(types=TYPES)
    network.serve(server)
    client = Client(types=TYPES)
    network.connect(client)
    network.result(server.stopService())
    assert not client.is_connected
    with pytest.raises(Refused):
        network.connect(Client(types=TYPES))
    network.serve(server)
    network.connect(client)
    assert client.is_connected


def test_result_returns_raises_or_says_what_is_missing(network: MemoryNetwork) -> None:
    """result() returns a value, raises a failure, and refuses a Deferred that has not fired."""
    assert network.result(succeed(5)) == 5
    with pytest.raises(ZeroDivisionError):
        network.result(fail(ZeroDivisionError()))
    with pytest.raises(AssertionError, match="advance"):
        network.result(Deferred())


def test_result_can_be_asked_again() -> None:
    """A Deferred that had not fired yet can be given to result() again once time has passed."""
    network = MemoryNetwork()
    server = Server(types=TYPES)
    server.route(CHAT)(lambda client, message: None)
    network.serve(server)
    client = Client(types=TYPES)
    network.connect(client)
    waiting = client.send_and_wait(CHAT, b"?", timeout=3)
    with pytest.raises(AssertionError):
        network.result(waiting)
    network.advance(3)
    with pytest.raises(RequestTimeout):
        network.result(waiting)


def test_time_passes_only_by_advance(network: MemoryNetwork) -> None:
    """advance() lets everything due happen at its own time, and the clock ends where it was told to."""
    times: list[float] = []

    def again() -> None:
        times.append(network.clock.seconds())
        if len(times) < 4:
            network.clock.callLater(1, again)

    network.clock.callLater(0.5, again)
    network.advance(2.75)
    assert times == [0.5, 1.5, 2.5]
    assert network.clock.seconds() == 2.75
    network.advance(10)
    assert times == [0.5, 1.5, 2.5, 3.5]
    assert network.clocks.calendar() - network.clocks.uptime() == 1_700_000_000


def test_a_scripted_client_says_what_it_likes(network: MemoryNetwork) -> None:
    """dial() connects a peer whose bytes, right or wrong, reach the server as they are."""
    peer = network.dial()
    assert b'"v"' in peer.received
    peer.received.clear()
    peer.send_bytewise(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert bytes(peer.received) == json(b'{"result": "ok"}')
    peer.received.clear()
    peer.send(W15.pack(200, b"hi", 5, 0) + b"hi")
    assert bytes(peer.received) == W15.pack(200, b"hi", 5, 0) + b"hi"
    assert not peer.closed
    peer.send(b"VX" + b"\xff" * 13)
    assert peer.closed


def test_a_scripted_client_hangs_up(network: MemoryNetwork) -> None:
    """hang_up() closes from the peer's side."""
    gone: list[Any] = []
    server = Server(types=TYPES)
    server.set_callback("on_disconnect", lambda client: gone.append(client.closed))
    network.serve(server)
    peer = network.dial()
    peer.send(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert len(server.clients) == 1
    peer.hang_up()
    assert isinstance(gone[0], SessionClosed)
    assert server.clients == []


def test_a_scripted_server_answers_a_client() -> None:
    """answer() gives a client a server that says only what the test makes it say."""
    network = MemoryNetwork()
    client = Client(types=TYPES)
    peer, connecting = network.answer(client)
    assert bytes(peer.received) == b""
    peer.send(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert b'"pv": "1.0"' in peer.received
    peer.send(json(b'{"result": "ok"}'))
    assert network.result(connecting) is client.session
    peer, connecting = network.answer(Client(types=TYPES, wire="3.3.0", retry=RetryPolicy()))
    peer.send(json(b'{"v": "4.0.0", "pv": "2.0"}'))
    with pytest.raises(VersionRefused):
        network.result(connecting)


def test_late_bytes_come_at_their_time(network: MemoryNetwork) -> None:
    """A scripted peer may take its time: nothing is delivered before it is said."""
    network.serve(Server(types=TYPES, wire="1.6.3", handshake_timeout=2))
    peer = network.dial()
    hello = W22.unpack(peer.received)
    ack = W22.pack(11, ACK[22:], hello.request_id, 0) + ACK[22:]
    peer.send(ack[:10])
    network.advance(1.9)
    peer.send(ack[10:])
    network.advance(10)
    assert not peer.closed
    silent = network.dial()
    network.advance(2)
    assert silent.closed
