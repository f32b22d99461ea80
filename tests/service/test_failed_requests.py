"""What an asker learns when its request cannot be answered: at once between two of this package, as ever from others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from veltix_tx import Client, MessageRegistry, MessageType, RemoteError, RequestTimeout, Server, Timeouts
from veltix_tx.errors import TooManyStrikes
from veltix_tx.testing import MemoryNetwork, ScriptedPeer
from veltix_tx.wire.layouts import W15, W22

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
    assert asker.waiting == 0


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
    server, client = ends(network, client={"long_headers": True})
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
    assert (client.session.late_replies, client.session.refused) == (0, 0)
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
    assert not client.session.questions.requests.given_up


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
    assert (session.refused, server.counters["frames_refused"]) == (32, 32)
    assert not peer.closed
    network.advance(5)
    for number in range(10):
        peer.send(frame(100, b"[]", number))
    assert peer.closed
    assert session.closed is not None
    assert isinstance(session.closed.cause, TooManyStrikes)


def test_a_failure_nobody_asked_for_is_counted_only() -> None:
    """One with an id that nobody waits for is a late reply; it is never answered, and reaches no handler."""
    network = MemoryNetwork()
    server, peer = agreed(network)
    received: list[Any] = []
    server.set_callback("on_recv", lambda client, message: received.append(message))
    peer.send(frame(100, b'{"code": "handler_failed", "message": "no"}', 0x9000))
    assert (server.clients[0].late_replies, server.clients[0].refused, received, peer.received) == (1, 0, [], b"")


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
    assert (server.clients[0].refused, received, peer.received) == (1, [], b"")
