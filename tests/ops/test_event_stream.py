"""Snapshots as server-sent events: what is in them, who reads them, and what readers cost that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.support.administration import TYPES, Answer, World
from veltix_tx import Client, MessageType
from veltix_tx.ops.admin_listener import LIFETIME, MOST_CONNECTIONS
from veltix_tx.ops.event_stream import MOST_READERS, MOST_SNAPSHOT, PATIENCE


class Reader:
    """A reader of snapshots."""

    def __init__(self, world: World, query: str = "", **headers: str) -> None:
        self._protocol, self.transport = world.dial()
        lines = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "127.0.0.1"} | headers).items())
        self._protocol.dataReceived(f"GET /events{query} HTTP/1.1\r\n{lines}\r\n".encode())
        world.network.advance(0)

    @property
    def snapshots(self) -> list[Any]:
        """What has come since the last time."""
        lines = self.transport.value().split(b"\n")
        self.transport.clear()
        return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]

    def leave(self) -> None:
        """Close the connection."""
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def pause(self) -> None:
        """Take nothing, so that the transport's buffer is full."""
        self.transport.producer.pauseProducing()

    def resume(self) -> None:
        """Take something again."""
        self.transport.producer.resumeProducing()


def test_a_snapshot_comes_at_once_and_each_second(world: World) -> None:
    """Everybody gets the server's numbers, and of its lists the page that is asked for."""
    for _ in range(60):
        world.network.connect(Client(types=TYPES))
    reader, other = Reader(world, "?show=sessions&sort=-id&offset=5&limit=1000"), Reader(world)
    assert Answer(reader.transport.value()).headers["content-type"] == "text/event-stream"
    (first,) = reader.snapshots
    assert (first["now"]["sessions"], first["server"]["sessions"]) == (60, 60)
    assert [row["id"] for row in first["shown"]["sessions"]] == [peer.id for peer in world.server.clients[54:4:-1]]
    assert [snapshot["shown"] for snapshot in other.snapshots] == [None]
    for _ in range(3):
        world.network.advance(1)
        assert (len(reader.snapshots), len(other.snapshots)) == (1, 1)


def test_a_stream_outlives_other_connections(world: World) -> None:
    """It has no end of its own, and gives way to nobody."""
    reader = Reader(world)
    others = [world.dial() for _ in range(MOST_CONNECTIONS)]
    world.network.advance(LIFETIME)
    assert all(transport.disconnected for _, transport in others)
    assert len(reader.snapshots) == LIFETIME + 1


def test_a_session_that_is_gone_is_told(world: World) -> None:
    """What cannot be shown any more is said in its place; the numbers go on."""
    world.network.connect(Client(types=TYPES))
    (peer,) = world.server.clients
    reader = Reader(world, f"?show=sessions/{peer.id}")
    assert reader.snapshots[0]["shown"]["id"] == peer.id
    peer.disconnect()
    world.network.advance(1)
    assert reader.snapshots[-1]["shown"] == {"error": "there is no open session with this id"}


def test_nothing_is_made_while_nobody_looks(world: World) -> None:
    """With its last reader a stream costs nothing any more."""
    before = len(world.network.clock.getDelayedCalls())
    reader = Reader(world)
    world.network.advance(1)
    reader.leave()
    world.network.advance(1)
    assert len(world.network.clock.getDelayedCalls()) == before
    assert len(Reader(world).snapshots) == 1


def test_who_does_not_read_gets_the_latest_later(world: World) -> None:
    """While a reader takes nothing, nothing is kept for it; then it gets the numbers of that time, once."""
    reader, other = Reader(world), Reader(world)
    reader.pause()
    assert len(reader.snapshots) == 1
    world.network.advance(1)
    world.network.connect(Client(types=TYPES))
    for _ in range(5):
        world.network.advance(1)
    assert reader.transport.value() == b""
    assert len(other.snapshots) == 7
    reader.resume()
    world.network.advance(1)
    assert [snapshot["now"]["sessions"] for snapshot in reader.snapshots] == [1]


def test_who_does_not_read_for_long_makes_room(world: World) -> None:
    """A reader that takes nothing for half a minute is cut off."""
    reader = Reader(world)
    reader.pause()
    for _ in range(int(PATIENCE) + 2):
        world.network.advance(1)
    assert reader.transport.disconnected


def test_a_thousand_readers_are_refused(world: World) -> None:
    """As many as may be are served; all others get 503, and cost those nothing."""
    readers = [Reader(world) for _ in range(MOST_READERS)]
    for reader in readers[1:]:
        reader.pause()
    refused = []
    for _ in range(1000):
        protocol, transport = world.dial()
        protocol.dataReceived(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        world.network.advance(0)
        refused.append(transport)
    answers = [Answer(transport.value()) for transport in refused]
    assert {(answer.status, answer.headers["retry-after"]) for answer in answers} == {(503, "5")}
    assert sum(not transport.disconnected for transport in refused) == MOST_CONNECTIONS
    world.network.advance(1)
    assert len(readers[0].snapshots) == 2
    assert all(len(reader.transport.value()) < MOST_SNAPSHOT for reader in readers)
    assert world.ask("GET", "/healthz").status == 200
    readers[1].leave()
    assert len(Reader(world).snapshots) == 1


def test_a_snapshot_is_bounded(world: World) -> None:
    """A page that is too long is left out of it."""
    for code in range(300, 350):
        world.server.route(MessageType(code, f"{code}" + "x" * 2000, registry=TYPES))(lambda client, message: None)
    reader = Reader(world, "?show=routes")
    assert len(reader.transport.value()) < MOST_SNAPSHOT
    assert reader.snapshots[0]["shown"] == {"error": "it is too long to be shown"}


@pytest.mark.parametrize("query", ["?show=log", "?show=sessions/x", "?show=../server", "?limit=x"])
def test_a_wrong_question_has_no_stream(query: str, world: World) -> None:
    """What cannot be shown is refused when it is asked for."""
    assert world.ask("GET", f"/events{query}").status == 400


def test_a_stream_ends_with_its_token_and_its_login(guarded: World, token: str) -> None:
    """Who logs out, or whose token is taken back, reads no more; without either there is nothing to read."""
    assert guarded.ask("GET", "/events").status == 401
    cookie = guarded.ask("POST", "/login", {"token": token}).headers["set-cookie"].partition(";")[0]
    by_cookie, by_token = Reader(guarded, Cookie=cookie), Reader(guarded, Authorization=f"Bearer {token}")
    guarded.ask("POST", "/logout", {}, Cookie=cookie)
    guarded.network.advance(1)
    assert [has_ended(each.transport) for each in (by_cookie, by_token)] == [True, False]
    assert guarded.administration.tokens is not None
    guarded.administration.tokens.use({})
    guarded.network.advance(1)
    assert has_ended(by_token.transport)


def test_a_stream_ends_with_the_administration(world: World) -> None:
    """At the end readers are told, and nothing is left to do."""
    reader = Reader(world)
    world.administration.stopService()
    assert has_ended(reader.transport)
    world.administration.startService()


def has_ended(transport: StringTransport) -> bool:
    """Return True if an answer has come to its end."""
    return transport.value().endswith(b"0\r\n\r\n")
