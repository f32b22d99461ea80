"""send_and_wait: an answer from who was asked, or None."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Lines, both_wires, new_type, until
from veltix_tx.dropin.veltix import MessageType, Request, Response, Server


def answering(server: Server, kind: MessageType) -> None:
    """Let a server answer with what it gets, in capitals."""

    def answer(response: Response, info: Any) -> None:
        server.get_sender().send(Request(kind, response.content.upper(), request_id=response.request_id), client=info.conn)

    server.route(kind)(answer)


@both_wires
def test_client_asks(ends: Ends) -> None:
    """A client gets the answer to its request, with the request's id; nobody else sees it."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", seen.append)
    answering(server, kind)
    request = Request(kind, b"question")
    reply = client.send_and_wait(request, timeout=5)
    assert reply is not None
    assert (reply.type, reply.content, reply.request_id) == (kind, b"QUESTION", request.request_id)
    assert not seen


@both_wires
def test_server_asks(ends: Ends) -> None:
    """A server asks a client, which answers by ``respond``."""
    server, client = ends.pair()
    kind = new_type()

    @client.route(kind)
    def answer(response: Response) -> None:
        request = Request(kind, b"client " + response.content)
        request.respond(response)
        client.get_sender().send(request)

    reply = server.send_and_wait(Request(kind, b"here?"), server.clients[0])
    assert reply is not None
    assert reply.content == b"client here?"


@both_wires
def test_any_way_to_give_the_id(ends: Ends) -> None:
    """The id may be given to the constructor, by ``respond``, or set: each makes an answer."""
    server, client = ends.pair()
    kind = new_type()
    by_hand = Request(kind, b"set")

    def reply(response: Response, info: Any) -> None:
        request = Request(kind, b"given", request_id=response.request_id)
        if response.content == b"respond":
            request = Request(kind, b"respond")
            request.respond(response)
        elif response.content == b"set":
            request = by_hand
            request.request_id = response.request_id
        server.get_sender().send(request, info.conn)

    server.route(kind)(reply)
    for way in (b"given", b"respond", b"set"):
        answer = client.send_and_wait(Request(kind, way), timeout=2)
        assert answer is not None
        assert answer.content == way


def test_inside_callbacks(ends: Ends) -> None:
    """It works inside ``on_connect``, ``on_recv`` and routes of both sides, also back to who asks."""
    server, kind, back, got = ends.server(), new_type(), new_type(), []  # type: ignore[var-annotated]
    answering(server, kind)

    @server.route(back)
    def ask_back(response: Response, info: Any) -> None:
        reply = server.send_and_wait(Request(kind, b"and you?"), info)
        server.get_sender().send(Request(back, reply.content if reply else b"none", response.request_id), info.conn)

    client = ends.client(server, connect=False)
    client.route(kind)(lambda response: client.get_sender().send(Request(kind, b"fine", response.request_id)))
    client.set_callback("on_connect", lambda: got.append(client.send_and_wait(Request(kind, b"hi"), timeout=2)))
    client.connect()
    assert got[0].content == b"HI"
    reply = client.send_and_wait(Request(back, b"how are you?"))
    assert reply is not None
    assert reply.content == b"fine"


def test_no_answer(ends: Ends, log: Lines) -> None:
    """None after the timeout, and a line in the log; a late answer is nobody's."""
    server, client = ends.pair()
    kind, seen, late = new_type(), [], threading.Event()  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(response.content))

    def answer(response: Response, info: Any) -> None:
        late.wait(20)
        server.get_sender().send(Request(kind, b"late", response.request_id), info.conn)
        server.get_sender().send(Request(kind, b"next"), info.conn)

    server.route(kind)(answer)
    started = time.monotonic()
    assert client.send_and_wait(Request(kind, b"?"), timeout=0.2) is None
    assert 0.15 < time.monotonic() - started < 2
    assert log.about("No response to Request(")
    late.set()
    assert until(lambda: seen) == [b"next"]


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time(ends: Ends, timeout: float) -> None:
    """Without time there is no answer."""
    _, client = ends.pair()
    assert client.send_and_wait(Request(new_type(), b""), timeout=timeout) is None


def test_not_connected(ends: Ends, log: Lines) -> None:
    """Without a connection it is None at once, not after the timeout as upstream's."""
    server, client = ends.pair()
    info, kind = server.clients[0], new_type()
    client.disconnect()
    until(lambda: not server.clients)
    started = time.monotonic()
    assert client.send_and_wait(Request(kind, b"")) is None
    assert server.send_and_wait(Request(kind, b""), info) is None
    assert time.monotonic() - started < 1
    assert len(log.about("not connected")) == 2


@pytest.mark.parametrize("who", ["disconnect", "close_client", "close_all"])
def test_connection_goes_while_waiting(ends: Ends, who: str) -> None:
    """Who waits is woken when the connection goes, whoever closes it."""
    server, client = ends.pair()
    kind, got, asked = new_type(), [], threading.Event()  # type: ignore[var-annotated]
    server.route(kind)(lambda *_: asked.set())
    thread = threading.Thread(target=lambda: got.append(client.send_and_wait(Request(kind, b""), timeout=30)))
    thread.start()
    assert asked.wait(5)
    {
        "disconnect": client.disconnect,
        "close_client": lambda: server.close_client(server.clients[0]),
        "close_all": server.close_all,
    }[who]()
    thread.join(5)
    assert got == [None]


def test_only_the_asked_client_answers(ends: Ends) -> None:
    """An answer with the right id from another client is a message of that client and no answer."""
    server, asked = ends.pair()
    other = ends.client(server)
    until(lambda: len(server.clients) == 2)
    kind, forged, ids = new_type(), threading.Event(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda info, response: forged.set())

    @asked.route(kind)
    def answer(response: Response) -> None:
        ids.append(response.request_id)
        forged.wait(20)
        asked.get_sender().send(Request(kind, b"true", response.request_id))

    got: list[Response | None] = []
    thread = threading.Thread(target=lambda: got.append(server.send_and_wait(Request(kind, b"?"), server.clients[0])))
    thread.start()
    other.get_sender().send(Request(kind, b"forged", until(lambda: ids)[0]))
    thread.join(5)
    assert got[0] is not None
    assert got[0].content == b"true"


def test_what_cannot_be_sent(ends: Ends, log: Lines) -> None:
    """A request that is too large or has no bytes is None at once, and the connection goes on."""
    server, client = ends.pair(max_message_size=1000)
    kind = new_type()
    answering(server, kind)
    started = time.monotonic()
    assert client.send_and_wait(Request(kind, bytes(11 * 1024 * 1024))) is None
    assert client.send_and_wait(Request(kind, "text")) is None  # type: ignore[arg-type]
    assert server.send_and_wait(Request(kind, bytes(1000)), server.clients[0]) is None
    assert time.monotonic() - started < 2
    assert len(log.about("No response")) == 3
    reply = client.send_and_wait(Request(kind, b"fits"))
    assert reply is not None
    assert reply.content == b"FITS"


def test_the_same_request_again(ends: Ends) -> None:
    """One Request object may be sent many times."""
    server, client = ends.pair()
    kind = new_type()
    answering(server, kind)
    request = Request(kind, b"again")
    assert [client.send_and_wait(request).content for _ in range(3)] == [b"AGAIN"] * 3  # type: ignore[union-attr]


def test_latency_of_a_reply(ends: Ends) -> None:
    """A reply's ``latency`` is the round trip, the time the other side took included."""
    server, client = ends.pair()
    kind = new_type()

    def slow(response: Response, info: Any) -> None:
        time.sleep(0.05)
        server.get_sender().send(Request(kind, b"", response.request_id), info.conn)

    server.route(kind)(slow)
    reply = client.send_and_wait(Request(kind, b""))
    assert reply is not None
    assert 50 <= reply.latency < 2000


@pytest.mark.parametrize("wire", ["auto", "1.6.3"])
def test_ids_arrive_as_they_are(ends: Ends) -> None:
    """Two ends of ours, as two of 1.6.3's, see each other's 4-byte ids: of requests, messages and answers."""
    kind, server = new_type(), ends.server()
    seen: list[bytes] = []
    client = ends.client(server)
    server.set_callback("on_recv", lambda info, response: seen.append(response.request_id))
    asked, plain, chosen = Request(kind, b"1"), Request(kind, b"2"), Request(kind, b"3", request_id=b"abcd")
    assert client.send_and_wait(asked, timeout=0.05) is None
    assert client.get_sender().send(plain)
    assert client.get_sender().send(chosen)
    until(lambda: len(seen) == 3)
    assert seen == [asked.request_id, plain.request_id, b"abcd"]


@pytest.mark.parametrize("wire", ["auto", "1.6.3"])
def test_no_id_of_one_side_is_one_of_the_other(wire: str, ends: Ends) -> None:
    """Of two ends of ours a server's requests and messages have ids with the first bit set, a client's without, given or not."""
    kind = new_type()
    server, client = ends.pair(wire=wire)
    at_server: list[bytes] = []
    at_client: list[bytes] = []
    server.set_callback("on_recv", lambda info, response: at_server.append(response.request_id))
    client.set_callback("on_recv", lambda response: at_client.append(response.request_id))
    for _ in range(16):
        assert client.get_sender().send(Request(kind, b""))
        assert server.get_sender().send(Request(kind, b""), server.clients[0].conn)
    for given in (b"\x00\x01\x02\x03", b"\xf0\x01\x02\x03"):
        assert client.send_and_wait(Request(kind, b"", given), timeout=0.01) is None
        assert server.send_and_wait(Request(kind, b"", given), server.clients[0], timeout=0.01) is None
    until(lambda: len(at_server) == len(at_client) == 18)
    assert not any(each[0] & 0x80 for each in at_server)
    assert all(each[0] & 0x80 for each in at_client)


def test_a_request_asked_again_with_an_id_of_the_other_side_is_answered(ends: Ends) -> None:
    """A program's own id that is the other side's is replaced on the wire, and its own again in the answer."""
    server, client = ends.pair()
    kind = new_type()
    answering(server, kind)
    request = Request(kind, b"again", request_id=b"\xff\x01\x02\x03")
    for _ in range(2):
        reply = client.send_and_wait(request)
        assert reply is not None
        assert (reply.content, reply.request_id) == (b"AGAIN", b"\xff\x01\x02\x03")


def test_a_request_given_up_and_asked_again_gets_its_own_answer(ends: Ends) -> None:
    """The late answer to a request that timed out is not taken for that to the same Request object, sent again."""
    server, client = ends.pair()
    kind, asked = new_type(), []  # type: ignore[var-annotated]
    server.route(kind)(lambda response, info: asked.append((response, info)))
    request = Request(kind, b"first")
    assert client.send_and_wait(request, timeout=0.05) is None
    request.content = b"second"
    replies: list[Any] = []
    waiting = threading.Thread(target=lambda: replies.append(client.send_and_wait(request)))
    waiting.start()
    until(lambda: len(asked) == 2)
    for response, info in asked:
        server.get_sender().send(Request(kind, response.content, response.request_id), info.conn)
    waiting.join(5)
    assert [reply.content for reply in replies] == [b"second"]
