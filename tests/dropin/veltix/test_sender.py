"""Senders: True when a message was handed to an open connection, False when not, and never an exception."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Lines, Peer, both_wires, new_type, until
from veltix_tx.dropin.veltix import Mode, Request, Sender, SenderError
from veltix_tx.dropin.veltix.reactor import reactor_thread
from veltix_tx.wire.veltix.layouts import W22


def test_modes() -> None:
    """A client's sender needs a connection; a server's does not."""
    with pytest.raises(SenderError, match="CLIENT mode requires a socket connection"):
        Sender(Mode.CLIENT)
    sender = Sender(Mode.SERVER)
    assert (sender.mode, sender.is_client, sender.conn) == (Mode.SERVER, False, None)


def test_the_senders_there_are(ends: Ends) -> None:
    """Each server and client has one sender; one made by hand works the same."""
    server, client = ends.pair()
    assert server.get_sender() is server.get_sender() is server.sender
    assert client.get_sender() is client.get_sender() is client.sender
    assert (server.sender.is_client, client.sender.is_client) == (False, True)
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    client.set_callback("on_recv", lambda response: seen.append(response.content))
    assert Sender(Mode.CLIENT, conn=client.socket).send(Request(kind, b"up")) is True
    assert Sender(Mode.SERVER).send(Request(kind, b"down"), server.clients[0].conn) is True
    assert sorted(until(lambda: len(seen) == 2 and seen)) == [b"down", b"up"]


def test_to_whom(ends: Ends, log: Lines) -> None:
    """A server's send() needs a client: its ``conn``, or the client itself, which upstream takes not."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(response.content))
    sender, info = server.get_sender(), server.clients[0]
    assert sender.send(Request(kind, b"nobody")) is False
    assert log.about("No client socket provided")
    assert sender.send(Request(kind, b"conn"), client=info.conn) is True
    assert sender.send(Request(kind, b"info"), client=info) is True  # type: ignore[arg-type]
    assert sender.send(Request(kind, b"wrong"), client="somebody") is False  # type: ignore[arg-type]
    assert client.get_sender().send(Request(kind, b"up"), client=info.conn) is True
    assert until(lambda: len(seen) == 2 and seen) == [b"conn", b"info"]


def test_not_connected(ends: Ends, log: Lines) -> None:
    """False before the first connection, after ``disconnect()``, and to a client that has gone; upstream says True."""
    server, client = ends.pair()
    kind, info = new_type(), server.clients[0]
    never = ends.client(server, connect=False)
    assert never.get_sender().send(Request(kind, b"")) is False
    client.disconnect()
    until(lambda: not server.clients)
    assert client.get_sender().send(Request(kind, b"")) is False
    assert server.get_sender().send(Request(kind, b""), info.conn) is False
    assert server.get_sender().broadcast(Request(kind, b""), [info.conn]) is False
    assert len(log.about("not connected")) == 3


@both_wires
def test_too_large(ends: Ends, log: Lines) -> None:
    """A message the other side must drop is refused where it is sent; the next one arrives."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    assert client.get_sender().send(Request(kind, bytes(11 * 1024 * 1024))) is False
    assert client.get_sender().send(Request(kind, b"next")) is True
    assert until(lambda: seen) == [b"next"]
    assert log.about("Cannot send Request(type=")


@pytest.mark.parametrize("wrong", ["content", "type", "id", "request", "none"])
@both_wires
def test_never_raises(ends: Ends, log: Lines, wrong: str) -> None:
    """Whatever it is given: False, a line in the log, and the connection goes on."""
    server, client = ends.pair()
    kind = new_type()
    given: Any = {
        "content": Request(kind, "text"),  # type: ignore[arg-type]
        "type": Request("chat", b""),  # type: ignore[arg-type]
        "id": Request(kind, b"", 5),  # type: ignore[arg-type]
        "request": Request(kind, b"").compile(),
        "none": None,
    }[wrong]
    conn = server.clients[0].conn
    assert client.get_sender().send(given) is False
    assert server.get_sender().send(given, conn) is False
    assert len(log.about("ERROR")) == 2
    if wrong != "id":  # a broadcast answers nobody
        assert server.get_sender().broadcast(given, [conn]) is False
        assert len(log.about("ERROR")) == 3
    assert client.ping_server() is not None


@both_wires
def test_broadcast(ends: Ends) -> None:
    """A broadcast goes to all in the list but those left out, given as ``conn`` or as the client."""
    server, kind, got = ends.server(), new_type(), []  # type: ignore[var-annotated]
    for number in range(4):
        client = ends.client(server, connect=False)
        client.set_callback("on_recv", lambda response, number=number: got.append((number, response.content)))
        client.connect()
    infos = sorted(until(lambda: len(server.clients) == 4 and server.clients), key=lambda info: info.thread_id)
    sender, conns = server.get_sender(), [info.conn for info in infos]
    assert sender.broadcast(Request(kind, b"all"), conns) is True
    assert sender.broadcast(Request(kind, b"but 0"), conns, except_clients=[conns[0]]) is True
    assert sender.broadcast(Request(kind, b"infos"), infos, except_clients=[infos[1]]) is True  # type: ignore[arg-type]
    assert sender.broadcast(Request(kind, b"tuple"), (conns[3],)) is True
    wanted = [(number, b"all") for number in range(4)] + [(number, b"but 0") for number in (1, 2, 3)]
    wanted += [(number, b"infos") for number in (0, 2, 3)] + [(3, b"tuple")]
    assert sorted(until(lambda: len(got) == len(wanted) and got)) == sorted(wanted)


def test_broadcast_to_nobody(ends: Ends) -> None:
    """Nobody to send to is no failure."""
    server, _ = ends.pair()
    sender, request = server.get_sender(), Request(new_type(), b"")
    everybody = server.get_all_clients_sockets()
    assert sender.broadcast(request, []) is True
    assert sender.broadcast(request, None) is True  # type: ignore[arg-type]
    assert sender.broadcast(request, everybody, except_clients=everybody) is True


def test_broadcast_to_some_that_have_gone(ends: Ends) -> None:
    """Those that are there get it."""
    server, kind, seen = ends.server(), new_type(), []  # type: ignore[var-annotated]
    gone, there = ends.client(server), ends.client(server)
    there.set_callback("on_recv", lambda response: seen.append(response.content))
    conns = until(lambda: len(server.clients) == 2 and server.get_all_clients_sockets())
    gone.disconnect()
    until(lambda: len(server.clients) == 1)
    assert server.get_sender().broadcast(Request(kind, b"news"), conns) is True
    assert until(lambda: seen) == [b"news"]


def test_broadcast_with_a_wrong_entry(ends: Ends, log: Lines) -> None:
    """An entry that is no connection is False; the others get it."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(response.content))
    assert server.get_sender().broadcast(Request(kind, b"news"), ["wrong", server.clients[0].conn]) is False  # type: ignore[list-item]
    assert until(lambda: seen) == [b"news"]
    assert log.about("Unexpected send error")


def test_a_client_does_not_broadcast(ends: Ends, log: Lines) -> None:
    """A client has nobody to broadcast to."""
    _, client = ends.pair()
    assert client.get_sender().broadcast(Request(new_type(), b""), [client.socket]) is False
    assert log.about("Broadcast not available in CLIENT mode")


def test_compiled_messages_on_a_connection(ends: Ends) -> None:
    """``conn.send`` takes compiled messages; ``settimeout`` is there and does nothing."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(response.content))
    conn = server.clients[0].conn
    assert conn.send(Request(kind, b"raw").compile()) is True
    assert conn.settimeout(1.0) is True
    assert until(lambda: seen) == [b"raw"]
    client.disconnect()
    until(lambda: not server.clients)
    assert conn.send(Request(kind, b"raw").compile()) is False


def test_the_same_request_twice(ends: Ends) -> None:
    """One Request may be sent many times, changed in between."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    request = Request(kind, b"one")
    assert client.get_sender().send(request)
    request.content = b"two"
    assert client.get_sender().send(request)
    assert until(lambda: len(seen) == 2 and seen) == [b"one", b"two"]


def test_ids_of_messages(ends: Ends) -> None:
    """On 1.6.3's wire a message arrives with the id it was given, or that was drawn for it."""
    server, client = ends.pair(wire="1.6.3")
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.request_id))
    drawn = Request(kind, b"")
    client.get_sender().send(drawn)
    client.get_sender().send(Request(kind, b"", b"mine"))
    assert until(lambda: len(seen) == 2 and seen) == [drawn.request_id, b"mine"]


def test_a_full_queue_is_told(ends: Ends, log: Lines) -> None:
    """A broadcast is not sent to a client whose queue is full: a line in the log each, False where it is so for all."""
    server, client = ends.pair()
    kind, info = new_type(), server.clients[0]
    session = info.conn.session
    assert session is not None
    reactor_thread().call(session._flow.pauseProducing)
    content = bytes(9 * 1024 * 1024)
    assert server.get_sender().broadcast(Request(kind, content), server.clients) is True
    until(lambda: session.write_buffer_size > len(content))
    assert server.get_sender().broadcast(Request(kind, content), server.clients) is False
    assert log.about("does not read")
    seen: list[int] = []
    client.set_callback("on_recv", lambda response: seen.append(len(response.content)))
    reactor_thread().call(session._flow.resumeProducing)
    assert server.get_sender().send(Request(kind, b"small"), info.conn) is True
    assert until(lambda: len(seen) == 2 and seen) == [len(content), 5]


@pytest.mark.parametrize("wire", ["1.6.3"])
def test_answers_to_peers_that_leave_are_a_bounded_number_of_lines(ends: Ends, log: Lines) -> None:
    """15,000 messages of peers of one source that are gone when they are answered: few lines, and how many are missing."""
    server, kind, gone, answered = ends.server(), new_type(), threading.Event(), []  # type: ignore[var-annotated]

    def answer(info: Any, response: Any) -> None:
        gone.wait(20)
        answered.append(server.get_sender().send(Request(kind, b"answer", response.request_id), info.conn))

    server.set_callback("on_recv", answer)
    began = time.monotonic()
    for _ in range(30):
        with Peer(server.port) as peer:
            code, request_id, hello = peer.frame()
            assert code == 10
            peer.socket.sendall(W22.pack(11, hello, int.from_bytes(request_id, "big"), 0) + hello)
            peer.socket.sendall((W22.pack(kind.code, b"?", 5, 0) + b"?") * 500)
    until(lambda: server._native.counters["ready"] == 30 and server.clients == [], 20)
    gone.set()
    until(lambda: len(answered) == 15_000, 30)
    seconds = time.monotonic() - began
    lines = [line for line in log if "127.0.0.1" not in line or "left out" in line]
    about = log.about("not connected") + log.about("Not sent")
    assert answered.count(False) == len(answered)
    assert len(about) <= 20 + 5 * seconds
    assert len(lines) <= 2 * (20 + 5 * seconds)
    assert server._native.counters["lines_left_out"] > 14_000


def test_mistakes_of_a_program_are_a_bounded_number_of_lines(ends: Ends, log: Lines) -> None:
    """A callback that sends to nobody, for each message of a peer, causes no flood of lines either."""
    server, kind = ends.server(), new_type()
    for _ in range(1000):
        assert server.get_sender().send(Request(kind, b""), None) is False
        assert server.get_sender().broadcast(None, [5]) is False  # type: ignore[arg-type, list-item]
    assert len(log.about("ERROR")) <= 40


@both_wires
def test_questions_to_a_peer_that_is_gone_are_a_bounded_number_of_lines(ends: Ends, log: Lines) -> None:
    """Nor does asking, or pinging, a client that has left, or a server that has."""
    (server, client), kind = ends.pair(), new_type()
    (info,) = server.clients
    client.disconnect()
    until(lambda: not server.clients)
    for _ in range(200):
        assert server.send_and_wait(Request(kind, b""), info, 0.1) is None
        assert server.ping_client(info, 0.1) is None
        assert client.ping_server(0.1) is None
        assert client.send_and_wait(Request(kind, b""), 0.1) is None
    assert 2 <= len(log.about("No response") + log.about("Ping timed out")) <= 80
