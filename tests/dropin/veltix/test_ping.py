"""Pings: true round trips, from anywhere, and None where there is no answer."""

from __future__ import annotations

import threading
import time

from tests.support.dropin.loopback import Ends, Lines, Peer, both_wires, new_type, until
from veltix_tx.dropin.veltix import PING, PONG, Request


@both_wires
def test_round_trip_both_ways(ends: Ends) -> None:
    """Both sides measure milliseconds, as a number above 0: ``if latency:`` is true for every answer."""
    server, client = ends.pair()
    for latency in (client.ping_server(), server.ping_client(server.clients[0])):
        assert isinstance(latency, float)
        assert 0 < latency < 1000


def test_ping_inside_on_connect(ends: Ends) -> None:
    """A ping inside ``on_connect`` is answered on both sides, where upstream's always times out."""
    server, measured = ends.server(), []  # type: ignore[var-annotated]
    server.set_callback("on_connect", lambda info: measured.append(server.ping_client(info, timeout=2)))
    client = ends.client(server, connect=False)
    client.set_callback("on_connect", lambda: measured.append(client.ping_server(timeout=2)))
    client.connect()
    assert None not in until(lambda: len(measured) == 2 and measured)


def test_pings_are_answered_while_callbacks_run(ends: Ends) -> None:
    """A peer whose callback blocks answers pings all the same, and a ping inside a callback is answered."""
    server, kind, measured = ends.server(max_workers=1), new_type(), []  # type: ignore[var-annotated]

    def block(info: object, _: object) -> None:
        measured.append(server.ping_client(info))  # type: ignore[arg-type]
        ends.release.wait(20)

    server.set_callback("on_recv", block)
    client = ends.client(server)
    client.get_sender().send(Request(kind, b""))
    until(lambda: measured)
    assert client.ping_server(timeout=2) is not None
    assert measured[0] is not None


def test_pings_do_not_reach_handlers(ends: Ends) -> None:
    """Neither pings nor their answers are handed to routes or ``on_recv``."""
    server, client = ends.pair()
    seen: list[object] = []
    for each in (server, client):
        each.set_callback("on_recv", lambda *response: seen.append(response))
        each.route(PING)(lambda *response: seen.append(response))
        each.route(PONG)(lambda *response: seen.append(response))
    assert client.ping_server()
    assert server.ping_client(server.clients[0])
    client.disconnect()
    until(lambda: not server.clients)
    assert not seen


def test_no_answer(ends: Ends, log: Lines) -> None:
    """A peer that does not answer is None after the timeout, and a line in the log."""
    server = ends.server(wire="1.6.3")
    with Peer(server.port) as peer:
        _, request_id, content = peer.frame()
        peer.socket.sendall(bytes.fromhex("000b00000007853cf6ee000001a1fcb3879c") + request_id + content)
        info = until(lambda: server.clients)[0]
        started = time.monotonic()
        assert server.ping_client(info, timeout=0.2) is None
        assert 0.15 < time.monotonic() - started < 2
        assert log.about("Ping timed out")


def test_not_connected(ends: Ends) -> None:
    """Without a connection a ping is None at once."""
    server, client = ends.pair()
    info = server.clients[0]
    client.disconnect()
    until(lambda: not server.clients)
    started = time.monotonic()
    assert client.ping_server(timeout=5) is None
    assert server.ping_client(info, timeout=5) is None
    assert ends.client(server, connect=False).ping_server() is None
    assert time.monotonic() - started < 1


def test_timeout_zero(ends: Ends) -> None:
    """No time is no answer."""
    _, client = ends.pair()
    assert client.ping_server(timeout=0) is None


def test_connection_lost_while_waiting(ends: Ends) -> None:
    """A ping ends with the connection, not with its timeout."""
    server = ends.server(wire="1.6.3")
    with Peer(server.port) as peer:
        _, request_id, content = peer.frame()
        peer.socket.sendall(bytes.fromhex("000b00000007853cf6ee000001a1fcb3879c") + request_id + content)
        info = until(lambda: server.clients)[0]
        measured: list[float | None] = []
        thread = threading.Thread(target=lambda: measured.append(server.ping_client(info, timeout=30)))
        thread.start()
        assert peer.frame()[0] == 0
    thread.join(5)
    assert measured == [None]


def test_ping_client_async(ends: Ends) -> None:
    """``ping_client_async`` returns at once; the callback gets the measurement in a thread of its own."""
    server, client = ends.pair()
    got: list[tuple[float | None, int]] = []
    info = server.clients[0]
    server.ping_client_async(info, lambda latency: got.append((latency, threading.get_ident())))
    latency, thread = until(lambda: got)[0]
    assert latency is not None
    assert thread != threading.get_ident()
    client.disconnect()
    server.ping_client_async(info, lambda latency: got.append((latency, 0)), timeout=1)
    assert until(lambda: len(got) == 2 and got)[1] == (None, 0)
