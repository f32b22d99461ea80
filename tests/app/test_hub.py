"""The hub: broadcasts and the drain."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from veltix_tx import Limits, Request
from veltix_tx.app.hub import Hub
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import MessageTooLarge, SettingsError
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.layouts import W22


def test_a_broadcast_reaches_every_client_once(town: Any) -> None:
    """Every ready client hears a broadcast once, and the number is told."""
    place = town()
    assert place.server.broadcast(place.chat, b"nobody") == 0
    for name in "abc":
        place.client(name)
    assert place.server.broadcast(place.chat, b"all") == 3
    place.network.pump()
    assert place.heard == {"a": [b"all"], "b": [b"all"], "c": [b"all"]}


def test_a_broadcast_can_be_told_to_whom(town: Any) -> None:
    """Exclude leaves sessions out, to names the only ones, and both go together."""
    place = town()
    for name in "abc":
        place.client(name)
    a, b, c = place.server.clients
    assert place.server.broadcast(place.chat, b"1", exclude=[a]) == 2
    assert place.server.broadcast(place.chat, b"2", to=[a, b]) == 2
    assert place.server.broadcast(place.chat, b"3", to=iter([a, c]), exclude=iter([c])) == 1
    assert place.server.broadcast(place.chat, b"4", to=[]) == 0
    place.network.pump()
    assert place.heard == {"a": [b"2", b"3"], "b": [b"1", b"2"], "c": [b"1"]}


@pytest.mark.parametrize("argument", ["to", "exclude"])
def test_a_broadcast_to_what_are_no_sessions_is_named(argument: str, town: Any) -> None:
    """One session in place of several, or the name of one, is a SettingsError; it is sent to nobody."""
    place = town()
    place.client("a")
    for wrong in (place.server.clients[0], "a", b"a", 1):
        with pytest.raises(SettingsError, match=rf"^{argument} is .*: it must be several sessions, such as \[client\]"):
            place.server.broadcast(place.chat, b"lost", **{argument: wrong})
    place.network.pump()
    assert place.heard["a"] == []


def test_a_broadcast_can_be_a_request(town: Any) -> None:
    """A whole Request is broadcast as its type and content."""
    place = town()
    place.client("a")
    assert place.server.broadcast(Request(place.chat, b"whole")) == 1
    place.network.pump()
    assert place.heard == {"a": [b"whole"]}


def test_each_generation_is_encoded_once(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers of mixed releases each get what they can read; a message is encoded once per generation."""
    place = town()
    for name, wire in {"new": "3.3.0", "newer": "3.0.1"}.items():
        place.client(name, wire=wire)
    old = [place.old_peer(), place.old_peer()]
    encoded = []
    encode = VeltixConnection.encode
    monkeypatch.setattr(
        VeltixConnection, "encode", lambda self, *arguments: (encoded.append(self.peer.layout.name), encode(self, *arguments))[1]
    )
    assert place.server.broadcast(place.chat, b"all") == 4
    place.network.pump()
    assert sorted(encoded) == ["W15", "W22"]
    assert place.heard == {"new": [b"all"], "newer": [b"all"]}
    assert [bytes(peer.received[22:]) for peer in old] == [b"all", b"all"]
    assert W22.unpack(old[0].received).code == 200


def test_closed_sessions_are_left_out(town: Any) -> None:
    """A session that is closed, gone or not yet, is neither counted nor written to."""
    place = town()
    place.client("a")
    place.client("b")
    closing, _ = place.server.clients
    closing.disconnect()
    assert place.server.broadcast(place.chat, b"1") == 1
    assert place.server.broadcast(place.chat, b"2", to=[closing]) == 0
    place.network.pump()
    assert place.heard == {"a": [], "b": [b"1"]}
    assert len(place.server.clients) == 1
    assert place.server.broadcast(place.chat, b"3", to=[closing]) == 0


def test_a_client_in_its_handshake_hears_no_broadcast(town: Any) -> None:
    """A broadcast during a handshake does not disturb it, and the peer hears only later ones."""
    place = town()
    place.client("a")
    half = place.network.dial()
    before = bytes(half.received)
    assert place.server.broadcast(place.chat, b"1") == 1
    place.network.pump()
    assert bytes(half.received) == before
    assert place.heard["a"] == [b"1"]


def test_a_broadcast_that_is_too_large_reaches_nobody(town: Any) -> None:
    """A message over the limit of any generation raises MessageTooLarge and is sent to nobody."""
    place = town(max_message_size=1000)
    place.client("new", wire="3.3.0")
    old = place.old_peer()
    with pytest.raises(MessageTooLarge):
        place.server.broadcast(place.chat, b"x" * 985)
    place.network.pump()
    assert place.heard == {"new": []}
    assert not old.received
    assert place.server.broadcast(place.chat, b"x" * 978) == 2


@pytest.mark.parametrize("content", ["text", None, 5])
def test_a_broadcast_is_bytes(content: Any, town: Any) -> None:
    """Content that is not bytes raises TypeError where a Veltix peer is connected: what content may be is its wire's business."""
    place = town()
    place.client("one", wire="3.3.0")
    with pytest.raises(TypeError):
        place.server.broadcast(place.chat, content)


def test_the_drain_lets_handlers_finish(town: Any) -> None:
    """Stopping waits for running handlers and what waits behind them, sends their replies, then closes."""
    place = town()
    client, _ = place.client("a")
    gate: Deferred[bytes] = Deferred()
    place.server.route(place.chat)(lambda session, message: gate if message.content == b"1" else b"re 2")
    replies = [client.send_and_wait(place.chat, b"1", timeout=60), client.send_and_wait(place.chat, b"2", timeout=60)]
    place.network.pump()
    stopped = place.server.stopService()
    place.network.advance(5)
    assert client.is_connected
    gate.callback(b"re 1")
    assert [place.network.result(reply).content for reply in replies] == [b"re 1", b"re 2"]
    assert place.network.result(stopped) is None
    assert not client.is_connected
    assert place.network.clock.getDelayedCalls() == []


def test_the_drain_has_an_end(town: Any) -> None:
    """A handler that never finishes is cut off after timeouts.drain: every connection is gone, nothing is logged as lost."""
    place = town()
    client, session = place.client("a")
    place.client("b")
    place.server.route(place.chat)(lambda session, message: Deferred())
    waiting = client.send_and_wait(place.chat, b"1", timeout=60)
    failed: list[Any] = []
    waiting.addErrback(failed.append)
    place.network.pump()
    fired: list[Any] = []
    place.server.stopService().addBoth(fired.append)
    place.network.advance(9.9)
    assert fired == []
    place.network.advance(0.2)
    assert fired == [None]
    assert session.closed is not None
    assert len(failed) == 1
    assert place.server.clients == []
    assert place.network.clock.getDelayedCalls() == []


def test_a_hub_keeps_sessions_until_they_are_gone(town: Any) -> None:
    """A hub counts and lists what was added to it until that is gone; draining closes what is left."""
    place = town()
    hub = Hub()
    clients = [place.client(name)[0] for name in "ab"]
    for session in place.server.clients:
        hub.add(session)
    assert len(hub) == 2
    assert list(hub) == place.server.clients
    place.network.result(clients[0].disconnect())
    assert len(hub) == 1
    place.network.result(hub.drain())
    assert list(hub) == []
    assert not clients[1].is_connected


# Peers that do not read.


def full(town: Any) -> tuple[Any, Any, Any]:
    """A server with two clients, the first of which reads nothing and has a nearly full queue."""
    place = town(limits=Limits(write_high=1000, write_low=100, write_hard=2000))
    place.client("slow")
    place.client("good")
    slow, good = place.server.clients
    slow._flow.pauseProducing()
    assert place.server.broadcast(place.chat, b"1" * 1900) == 2
    return place, slow, good


def test_a_broadcast_closes_who_does_not_read(town: Any) -> None:
    """By default a client whose queue is full is closed with WRITE_TIMEOUT; the others hear everything."""
    place, slow, good = full(town)
    assert place.server.broadcast(place.chat, b"2" * 100) == 1
    assert slow.closed.reason is DisconnectReason.WRITE_TIMEOUT
    assert place.server.broadcast(place.chat, b"3") == 1
    place.network.pump()
    assert place.heard["good"] == [b"1" * 1900, b"2" * 100, b"3"]
    assert good.closed is None
    assert slow.write_buffer_size == 0


def test_a_broadcast_may_be_dropped_for_who_does_not_read(town: Any) -> None:
    """With slow="drop" the message is left out whole for a full client, and counted; it hears what comes when it has read."""
    place, slow, good = full(town)
    for _ in range(3):
        assert place.server.broadcast(place.chat, b"2" * 100, slow="drop") == 1
    assert (slow.broadcasts_dropped, good.broadcasts_dropped) == (3, 0)
    slow._flow.resumeProducing()
    assert place.server.broadcast(place.chat, b"3", slow="drop") == 2
    place.network.pump()
    assert place.heard == {"slow": [b"1" * 1900, b"3"], "good": [b"1" * 1900, *[b"2" * 100] * 3, b"3"]}


def test_another_way_with_the_slow_is_refused(town: Any) -> None:
    """Only "close" and "drop" are known; anything else raises SettingsError and sends nothing."""
    place = town()
    place.client("a")
    with pytest.raises(SettingsError, match="slow"):
        place.server.broadcast(place.chat, b"1", slow="wait")
    place.network.pump()
    assert place.heard == {"a": []}


def test_one_that_closes_during_a_broadcast_does_not_end_it(town: Any) -> None:
    """What closing a slow client sets off may close another that comes later in the broadcast: the rest still hear it."""
    place, slow, good = full(town)
    place.client("last")
    waiting = slow.send_and_wait(place.chat, timeout=60)
    waiting.addErrback(lambda _: good.disconnect() and None)
    assert place.server.broadcast(place.chat, b"2" * 100) == 1
    place.network.pump()
    assert place.heard == {"slow": [], "good": [b"1" * 1900], "last": [b"2" * 100]}


def test_the_bytes_of_a_broadcast_are_shared(town: Any) -> None:
    """What waits for many clients is there once."""
    place = town()
    for name in "abc":
        place.client(name)
    for session in place.server.clients:
        session._flow.pauseProducing()
    place.server.broadcast(place.chat, b"x" * 100_000)
    queues = [session._flow._queue for session in place.server.clients]
    assert len({id(buffer) for queue in queues for buffer in queue}) == len(queues[0])
