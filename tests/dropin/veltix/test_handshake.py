"""The handshake: what is said on the wire, and what connect() makes of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Peer, new_type, until
from veltix_tx.dropin.veltix import DisconnectReason, DisconnectState, Request

HELLO = bytes.fromhex("000a00000007853cf6ee000001a1fcb38798a968cc460005312e362e33")
"""A real 1.6.3's, as captured."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A bare port."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)
        yield door


def answer(door: socket.socket, said: Callable[[socket.socket], Any]) -> None:
    """Let something be said to whoever connects next, and keep the connection open until it ends."""

    def run() -> None:
        with suppress(OSError), door.accept()[0] as peer:
            peer.settimeout(20)
            said(peer)
            while peer.recv(65536):
                pass

    threading.Thread(target=run, daemon=True).start()


def test_server_says_hello_first_and_takes_the_ack(ends: Ends) -> None:
    """A server of 1.6.3 sends HELLO at once, with its version; the ACK with the same id makes a client of the peer."""
    server, connected = ends.server(wire="1.6.3"), []  # type: ignore[var-annotated]
    server.set_callback("on_connect", connected.append)
    with Peer(server.port) as peer:
        code, request_id, content = peer.frame()
        assert (code, content) == (10, b"\x00\x051.6.3")
        assert not connected
        ack = bytes.fromhex("000b00000007853cf6ee000001a1fcb3879c") + request_id + content
        peer.socket.sendall(ack)
        info = until(lambda: connected)[0]
        assert info.handshake_done
        assert info.port == peer.socket.getsockname()[1]


def test_client_answers_hello_with_its_ack(ends: Ends, listener: socket.socket) -> None:
    """A client takes a real 1.6.3's HELLO and answers with its id and version; then connect() is True."""
    got: list[bytes] = []

    def hello(peer: socket.socket) -> None:
        peer.sendall(HELLO)
        got.append(peer.recv(29))

    answer(listener, hello)
    client = ends.client(listener.getsockname()[1])
    (ack,) = until(lambda: got)
    assert ack[:10] == bytes.fromhex("000b00000007853cf6ee")
    assert ack[18:] == HELLO[18:]
    assert client.is_connected


def test_any_type_does_not_complete_a_handshake(ends: Ends) -> None:
    """A frame with the HELLO's id that is no HELLO_ACK completes no handshake, as it did upstream; the peer is closed."""
    server, connected, kind = ends.server(wire="1.6.3"), [], new_type()  # type: ignore[var-annotated]
    server.set_callback("on_connect", connected.append)
    with Peer(server.port) as peer:
        _, request_id, _ = peer.frame()
        peer.socket.sendall(Request(kind, b"let me in", request_id=request_id).compile())
        assert peer.ended()
    assert not connected


def test_silent_server(ends: Ends, listener: socket.socket) -> None:
    """No HELLO within ``handshake_timeout``: connect() returns False then, with reason ERROR, and is tried again if asked to."""
    states: list[DisconnectState] = []
    client = ends.client(listener.getsockname()[1], connect=False, handshake_timeout=0.2, retry=1, retry_delay=0.05, wire="1.6.3")
    client.set_callback("on_disconnect", states.append)
    answer(listener, lambda _: None)
    started = time.monotonic()
    assert client.connect() is False
    assert 0.4 <= time.monotonic() - started < 2
    assert states == [DisconnectState(False, 1, 1, DisconnectReason.ERROR), DisconnectState(True, 1, 1, DisconnectReason.ERROR)]


def test_dripping_server(ends: Ends, listener: socket.socket) -> None:
    """``handshake_timeout`` is for the whole handshake: bytes that drip in do not prolong it."""
    done = threading.Event()

    def drip(peer: socket.socket) -> None:
        for byte in HELLO:
            if done.wait(0.1):
                break
            peer.send(bytes([byte]))

    answer(listener, drip)
    client = ends.client(listener.getsockname()[1], connect=False, handshake_timeout=0.3, wire="1.6.3")
    started = time.monotonic()
    assert client.connect() is False
    done.set()
    assert time.monotonic() - started < 2


def test_refused_version(ends: Ends, listener: socket.socket) -> None:
    """A server of a version the client was told not to speak is refused, as 1.6.3 does at the timeout, without further tries."""
    states: list[DisconnectState] = []
    answer(listener, lambda peer: peer.sendall(HELLO))
    port = listener.getsockname()[1]
    client = ends.client(port, connect=False, wire="1.6.2", retry=3, retry_delay=0.01, handshake_timeout=0.2)
    client.set_callback("on_disconnect", states.append)
    started = time.monotonic()
    assert client.connect() is False
    assert time.monotonic() - started < 2
    assert states == [DisconnectState(True, 0, 3, DisconnectReason.ERROR)]


def test_server_that_closes_in_the_handshake(ends: Ends, listener: socket.socket) -> None:
    """A server that hangs up without a word is a connect() that returns False at once."""
    client = ends.client(listener.getsockname()[1], connect=False)

    def hang_up() -> None:
        listener.accept()[0].close()

    threading.Thread(target=hang_up, daemon=True).start()
    started = time.monotonic()
    assert client.connect() is False
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("release", ["1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.3", "3.3.0"])
def test_every_generation(ends: Ends, release: str) -> None:
    """Servers of every release are found out by the client, and all the API works on their wires."""
    server, kind = ends.server(wire=release), new_type()

    def echo(response: Any, info: Any) -> None:
        request = Request(kind, response.content)
        request.respond(response)
        server.get_sender().send(request, client=info.conn)

    server.route(kind)(echo)
    client = ends.client(server)
    client.route(kind)(lambda response: client.get_sender().send(Request(kind, b"mine", request_id=response.request_id)))
    reply = client.send_and_wait(Request(kind, b"there and back"))
    assert reply is not None
    assert reply.content == b"there and back"
    assert len(reply.request_id) == 4
    assert client.ping_server() is not None
    info = server.clients[0]
    assert server.ping_client(info) is not None
    reply = server.send_and_wait(Request(kind, b"who?"), info)
    assert reply is not None
    assert reply.content == b"mine"
