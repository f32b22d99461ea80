"""What an asker learns when its request cannot be answered: at once between two of this package, as ever from others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import formatEvent

from veltix_tx import Client, Limits, MessageRegistry, MessageType, RemoteError, RequestTimeout, Server, Timeouts
from veltix_tx.errors import TooManyProtocolErrors
from veltix_tx.testing import MemoryNetwork, ScriptedPeer
from veltix_tx.wire.veltix.layouts import W15, W22
from veltix_tx.wire.veltix.wire import Auto

TYPES = MessageRegistry()
ORDER = MessageType(200, "order", registry=TYPES)
OTHER = MessageType(201, "other", registry=TYPES)

SECRET = "the password is 1234"
AGREEING = {"v": "2.0.0", "pv": "1.0", "meta": {"features": ["errors"]}}


def ends(network: MemoryNetwork, *, server: dict[str, Any] | None = None, client: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """Connect a server and a client, made with these settings."""
    made = Server(types=TYPES, **(server or {})), Client(types=TYPES, **(client or {}))
    network.serve(made[0])
    network.connect(made[1])
    return made


async def raising() -> None:
    """A coroutine that fails."""
    raise ZeroDivisionError(SECRET)


def raise_now() -> None:
    """A function that fails."""
    raise ZeroDivisionError(SECRET)


FAILURES = {
    "raises": raise_now,
    "coroutine": raising,
    "Deferred": lambda: fail(ZeroDivisionError(SECRET)),
    "no answer": lambda: SECRET,
    "too large": lambda: SECRET.encode() * 10_000,
}


@pytest.mark.parametrize("asks", ["client", "server"])
@pytest.mark.parametrize("how", FAILURES)
def test_the_asker_is_told_at_once(how: str, asks: str, logged_failures: Any) -> None:
    """However a handler fails, the request between two that find out errbacks with RemoteError before any time has passed."""
    network = MemoryNetwork()
    server, client = ends(network, server={"max_message_size": 10_000}, client={"max_message_size": 10_000})
    server.route(ORDER)(lambda _, message: FAILURES[how]())
    client.route(ORDER)(lambda message: FAILURES[how]())
    asker = client.session if asks == "client" else server.clients[0]
    with pytest.raises(RemoteError) as caught:
        network.result(asker.send_and_wait(ORDER, b"tea"))
    logged_failures.flush()
    assert (caught.value.code, caught.value.message) == ("handler_failed", "the handler failed")
    assert str(caught.value) == "the peer could not answer: 'the handler failed' (handler_failed)"
    assert SECRET.encode() not in caught.value.detail
    assert network.clock.seconds() == 0
    assert asker.pending_requests == 0


def test_a_handler_that_takes_too_long_is_told_when_it_is_given_up(logged_failures: Any) -> None:
    """The asker hears of a handler that is not done in time when that time is over, not when its own is."""
    network = MemoryNetwork()
    server, client = ends(network, server={"timeouts": Timeouts(handler=1)})
    server.route(ORDER)(lambda *_: Deferred())
    reply = client.send_and_wait(ORDER, b"tea", timeout=60)
    network.advance(1.1)
    with pytest.raises(RemoteError) as caught:
        network.result(reply)
    logged_failures.flush()
    assert caught.value.code == "handler_failed"


def test_with_long_headers_too(logged_failures: Any) -> None:
    """On the layout of 22 bytes that two of this package can agree on, the asker gets the code as well."""
    network = MemoryNetwork()
    server, client = ends(network, client={"wire": Auto(long_headers=True)})
    server.route(ORDER)(lambda *_: raise_now())
    assert client.session.peer.layout is W22
    with pytest.raises(RemoteError) as caught:
        network.result(client.send_and_wait(ORDER, b"tea"))
    logged_failures.flush()
    assert caught.value.code == "handler_failed"


@pytest.mark.parametrize("pinned", ["server", "client"])
def test_a_pinned_side_is_a_real_one(pinned: str, logged_failures: Any) -> None:
    """Where one of the two speaks a release's own protocol nothing is said, and the asker waits for its timeout."""
    network = MemoryNetwork()
    server, client = ends(network, **{pinned: {"wire": "3.3.0"}})
    server.route(ORDER)(lambda *_: raise_now())
    reply = client.send_and_wait(ORDER, b"tea", timeout=2)
    network.pump()
    assert not reply.called
    network.advance(2)
    with pytest.raises(RequestTimeout):
        network.result(reply)
    logged_failures.flush()


def test_a_message_that_asks_nothing_is_not_answered(logged_failures: Any) -> None:
    """What was only sent fails without a word to its sender."""
    network = MemoryNetwork()
    server, client = ends(network)
    server.route(ORDER)(lambda *_: raise_now())
    client.send(ORDER, b"tea")
    network.pump()
    logged_failures.flush()
    assert (client.session.late_replies, client.session.frames_rejected) == (0, 0)
    assert server.counters["handlers_failed"] == 1


def test_a_late_failure_is_a_late_reply(logged_failures: Any) -> None:
    """A failure that comes after its request was given up is counted once, and its id is free again."""
    network = MemoryNetwork()
    server, client = ends(network)
    waiting: list[Deferred[Any]] = []

    @server.route(ORDER)
    def on_order(_: Any, message: Any) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    reply = client.send_and_wait(ORDER, b"tea", timeout=1)
    network.advance(1)
    with pytest.raises(RequestTimeout):
        network.result(reply)
    waiting[0].errback(ZeroDivisionError())
    network.pump()
    logged_failures.flush()
    assert client.session.late_replies == 1
    assert not client.session._requests.requests.given_up


# Peers that say what they like


def agreed(network: MemoryNetwork, **settings: Any) -> tuple[Server, ScriptedPeer]:
    """A server, and a scripted client that has agreed."""
    server = Server(types=TYPES, **settings)
    network.serve(server)
    peer = network.dial()
    hello = json.dumps(AGREEING).encode()
    peer.send(len(hello).to_bytes(2, "big") + hello)
    assert server.clients[0].peer.features == ("errors",)
    peer.received.clear()
    return server, peer


def frame(code: int, content: bytes, request_id: int = 5) -> bytes:
    """A frame of 15 bytes."""
    return W15.pack(code, content, request_id, 0) + content


def test_a_malformed_failure_is_counted_and_too_many_close() -> None:
    """A FAILED that cannot be understood is a refused frame, forgiven once a second like one of an unknown type."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    session = server.clients[0]
    for number in range(32):
        peer.send(frame(100, b"{", number))
    assert (session.frames_rejected, server.counters["frames_refused"]) == (32, 32)
    assert not peer.closed
    network.advance(5)
    for number in range(10):
        peer.send(frame(100, b"[]", number))
    assert peer.closed
    assert session.closed is not None
    assert isinstance(session.closed.cause, TooManyProtocolErrors)


def test_a_failure_nobody_asked_for_is_counted_only() -> None:
    """One with an id that nobody waits for is a late reply; it is never answered, and reaches no handler."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    received: list[Any] = []
    server.set_callback("on_recv", lambda client, message: received.append(message))
    peer.send(frame(100, b'{"code": "handler_failed", "message": "no"}', 0x9000))
    assert (server.clients[0].late_replies, server.clients[0].frames_rejected, received, peer.received) == (1, 0, [], b"")


def test_from_one_that_did_not_agree_it_is_an_unknown_type() -> None:
    """Code 100 of a peer that did not agree is refused as it always was, and reaches no handler."""
    network = MemoryNetwork()
    server = Server(types=MessageRegistry(open=True))
    received: list[Any] = []
    server.set_callback("on_recv", lambda client, message: received.append(message))
    network.serve(server)
    peer = network.dial()
    hello = b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'
    peer.send(len(hello).to_bytes(2, "big") + hello)
    peer.received.clear()
    peer.send(frame(100, b'{"code": "handler_failed", "message": "no"}'))
    assert (server.clients[0].frames_rejected, received, peer.received) == (1, [], b"")


# Messages that nothing handles


def unhandled_lines(events: list[Any], word: str = "was dropped") -> list[str]:
    """The lines of the log about messages that were dropped."""
    return [text for event in events if word in (text := formatEvent(event) or "")]


@pytest.mark.parametrize("asks", ["client", "server"])
def test_an_asker_of_a_type_without_a_route_is_told_at_once(asks: str, log_events: list[Any]) -> None:
    """Where there is neither a route nor on_recv the asker gets RemoteError; it is counted, and one line says what to do."""
    network = MemoryNetwork()
    server, client = ends(network)
    asker, other = (client.session, server) if asks == "client" else (server.clients[0], client)
    for _ in range(3):
        with pytest.raises(RemoteError) as caught:
            network.result(asker.send_and_wait(ORDER, b"tea"))
        assert (caught.value.code, caught.value.message) == ("no_route", "message type 200 has no route")
    assert network.clock.seconds() == 0
    assert (other.counters["unhandled"], other.counters["unhandled_200"]) == (3, 3)
    (line,) = unhandled_lines(log_events)
    assert "of type order (200)" in line
    assert ("@server.route" if asks == "client" else "@client.route") in line
    assert "on_recv" in line


@pytest.mark.parametrize("asks", ["client", "server"])
def test_an_asker_of_an_unknown_type_is_told_at_once(asks: str, log_events: list[Any]) -> None:
    """A type that the other side has not even registered is a refused frame as ever, and its asker is told."""
    network = MemoryNetwork()
    few = MessageRegistry()
    made = {"server": Server(types=few if asks == "client" else TYPES), "client": Client(types=TYPES if asks == "client" else few)}
    network.serve(made["server"])
    network.connect(made["client"])
    asker = made["client"].session if asks == "client" else made["server"].clients[0]
    other = made["server" if asks == "client" else "client"]
    for _ in range(3):
        with pytest.raises(RemoteError) as caught:
            network.result(asker.send_and_wait(OTHER, b"tea"))
        assert (caught.value.code, caught.value.message) == ("unknown_type", "message type 201 is not known")
    assert (other.counters["frames_refused"], other.counters["unhandled"]) == (3, 0)
    (line,) = unhandled_lines(log_events)
    assert "of type 201" in line
    assert "MessageType" in line


def test_each_type_is_named_once_for_all_connections(log_events: list[Any]) -> None:
    """However many clients send it, a type without a route is one line of the log, and a second type another one."""
    network = MemoryNetwork()
    server = Server(types=TYPES)
    network.serve(server)
    for _ in range(3):
        client = Client(types=TYPES)
        network.connect(client)
        for message_type in (ORDER, OTHER, ORDER):
            client.send(message_type, b"")
        network.pump()
    assert [line.partition(",")[0] for line in unhandled_lines(log_events)] == [
        "a message of type order (200)",
        "a message of type other (201)",
    ]
    assert {name: count for name, count in server.counters.items() if name.startswith("unhandled")} == {
        "unhandled": 9,
        "unhandled_200": 6,
        "unhandled_201": 3,
    }


def test_a_type_is_named_when_the_log_has_room_again(log_events: list[Any]) -> None:
    """A line that the log's budget does not allow is not lost: the next message of the type makes it."""
    network = MemoryNetwork()
    _, client = ends(network, server={"limits": Limits(log_lines=1, log_burst=1)})
    client.send(ORDER, b"")
    client.send(OTHER, b"")
    network.pump()
    assert len(unhandled_lines(log_events)) == 1
    network.advance(5)
    client.send(OTHER, b"")
    network.pump()
    assert "other (201)" in unhandled_lines(log_events)[1]


def test_a_peer_cannot_make_the_list_of_types_grow(log_events: list[Any]) -> None:
    """Of a peer that sends more types than anybody has, where every code is a type, only so many are counted and named apart."""
    network = MemoryNetwork()
    server = Server(types=MessageRegistry(open=True), limits=Limits(log_lines=100_000, log_burst=100_000))
    network.serve(server)
    client = Client(types=MessageRegistry(open=True))
    network.connect(client)
    for code in range(300, 1000):
        client.send(client._types.get(code), b"")
        if code % 50 == 0:
            network.advance(1)
    network.pump()
    assert server.counters["unhandled"] == 700
    assert sum(name.startswith("unhandled_") for name in server.counters) == 64
    assert len(unhandled_lines(log_events)) == 64


def test_what_is_only_sent_is_not_answered() -> None:
    """A message whose id asks nothing, and a broadcast, are counted where they arrive; nothing goes back."""
    network = MemoryNetwork()
    server, client = ends(network)
    client.send(ORDER, b"")
    server.broadcast(OTHER, b"")
    network.pump()
    assert (server.counters["unhandled"], client.counters["unhandled"]) == (1, 1)
    assert (server.counters["late_replies"], client.counters["late_replies"]) == (0, 0)


def test_with_on_recv_nothing_is_unhandled(log_events: list[Any]) -> None:
    """on_recv is the handler of every type without a route."""
    network = MemoryNetwork()
    server, client = ends(network)
    server.set_callback("on_recv", lambda *_: b"here")
    assert network.result(client.send_and_wait(ORDER, b"tea")).content == b"here"
    assert server.counters["unhandled"] == 0
    assert unhandled_lines(log_events) == []


@pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0"])
def test_older_peers_get_an_error_but_not_for_ever(wire: str) -> None:
    """A peer up to 1.9.0 gets an ERROR for each message nothing handles: 32 in a row, then one a second, whoever began."""
    network = MemoryNetwork()
    _, client = ends(network, server={"wire": wire}, client={"wire": wire})
    told: list[Any] = []
    for _ in range(100):
        client.send_and_wait(ORDER, b"tea", timeout=60).addErrback(lambda failure: told.append(failure.value))
    network.pump()
    assert [type(error) for error in told] == [RemoteError] * 32
    assert client.session.pending_requests == 68
    network.advance(10)
    for _ in range(100):
        client.send(ORDER, b"tea")
    network.pump()
    assert client.counters["late_replies"] == 10


def test_an_error_is_never_answered_with_one() -> None:
    """Two sides without handlers do not talk about that for ever."""
    network = MemoryNetwork()
    server, client = ends(network, server={"wire": "1.6.3"}, client={"wire": "1.6.3"})
    client.send(ORDER, b"")
    server.broadcast(ORDER, b"")
    network.advance(1)
    assert (server.counters["unhandled"], client.counters["unhandled"]) == (1, 1)
    assert (server.counters["late_replies"], client.counters["late_replies"]) == (1, 1)


def test_newer_real_peers_are_sent_nothing() -> None:
    """A peer of 2.x or 3.x has no word for it: the message is counted, and nothing goes back."""
    network = MemoryNetwork()
    server, client = ends(network, client={"wire": "3.3.0"})
    reply = client.send_and_wait(ORDER, b"tea", timeout=1)
    network.pump()
    assert not reply.called
    assert server.counters["unhandled"] == 1
    network.advance(1)
    with pytest.raises(RequestTimeout):
        network.result(reply)


def test_too_many_unknown_types_still_close() -> None:
    """A peer that sends unknown types without end is told for each until it is closed, and what is behind is not answered."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    peer.send(b"".join(frame(300, b"", number) for number in range(50)))
    assert peer.closed
    assert server.counters["frames_refused"] == 50
    assert peer.received.count(b"unknown_type") == 33


def test_a_system_code_is_not_answered() -> None:
    """Frames with codes of the system's that are not known are refused without a word: no request has such a code."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    peer.send(frame(150, b"") + frame(21, b"") + frame(199, b""))
    assert server.counters["frames_refused"] == 3
    assert peer.received == b""


def test_after_the_end_of_a_session_nobody_is_told() -> None:
    """A message that is handled when its session has ended is counted only."""
    network = MemoryNetwork()
    server, client = ends(network)
    busy: Deferred[None] = Deferred()
    server.route(ORDER)(lambda *_: busy)
    client.send(ORDER, b"")
    client.send_and_wait(OTHER, b"").addErrback(lambda _: None)
    network.pump()
    network.result(client.disconnect())
    busy.callback(None)
    assert server.counters["unhandled"] == 1


# Two that ask each other


def asking_each_other(network: MemoryNetwork, *, concurrent: bool) -> Client:
    """A server that asks its client to answer an ORDER, where the client asks the server to answer that."""
    server, client = ends(network)

    @server.route(ORDER, concurrent=concurrent)
    async def on_order(session: Any, message: Any) -> bytes:
        reply = await session.send_and_wait(OTHER, b"which?", timeout=2)
        return bytes(reply.content)

    @client.route(OTHER)
    async def on_other(message: Any) -> bytes:
        reply = await client.send_and_wait(OTHER, b"what is there?", timeout=60)
        return b"some of " + bytes(reply.content)

    server.route(OTHER)(lambda session, message: b"the green one")
    return client


def test_a_timeout_says_that_the_answer_waits_behind_the_handler_that_asks(logged_failures: Any) -> None:
    """Each of two handlers waits for the other: the first to give up tells how many messages wait behind it, and what helps."""
    network = MemoryNetwork()
    client = asking_each_other(network, concurrent=False)
    reply = client.send_and_wait(ORDER, b"tea", timeout=60)
    network.advance(2.1)
    with pytest.raises(RemoteError):
        network.result(reply)
    (failed,) = logged_failures.flush(RequestTimeout)
    error = failed["log_failure"].value
    assert error.held_up == 1
    assert "1 message of the peer waits here behind a handler that is not done" in str(error)
    assert "concurrent=True" in str(error)


def test_the_remedy_helps() -> None:
    """With concurrent=True the same conversation comes to its end."""
    network = MemoryNetwork()
    client = asking_each_other(network, concurrent=True)
    assert network.result(client.send_and_wait(ORDER, b"tea")).content == b"some of the green one"


@pytest.mark.parametrize("busy", [True, False])
def test_a_timeout_of_other_causes_says_only_that(busy: bool) -> None:
    """Without a busy handler, or with one that holds nothing up, there is nothing to add."""
    network = MemoryNetwork()
    server, client = ends(network)
    server.route(ORDER)(lambda *_: Deferred() if busy else None)
    client.route(OTHER)(lambda message: None)
    client.send(ORDER, b"")
    network.pump()
    reply = server.clients[0].send_and_wait(OTHER, b"?", timeout=1)
    network.advance(1)
    with pytest.raises(RequestTimeout) as caught:
        network.result(reply)
    assert str(caught.value) == "no reply within 1 s"


def test_a_ping_waits_for_no_handler() -> None:
    """A ping's timeout has nothing to do with handlers."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    server.route(ORDER)(lambda *_: Deferred())
    peer.send(frame(200, b"") + frame(200, b""))
    ping = server.clients[0].ping(timeout=1)
    network.advance(1)
    with pytest.raises(RequestTimeout) as caught:
        network.result(ping)
    assert caught.value.held_up == 0
