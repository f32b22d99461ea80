"""The contract of Backplane, run over every implementation.

An implementation is one more line in IMPLEMENTATIONS: a context manager that makes an :class:`Engine`. Everything here runs on the
real reactor with a short lease, so that it runs with servers in other processes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import pytest
from twisted.internet.defer import Deferred, fail, gatherResults, succeed

from veltix_tx.backplane.interface import (
    Backplane,
    BackplaneLimits,
    BackplaneState,
    History,
    NodeStatus,
    Position,
    PresenceDiff,
)
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.errors import (
    BackplaneRefused,
    BackplaneUnavailable,
    NodeGone,
    NoSuchNode,
    RequestTimeout,
)
from veltix_tx.net.clock import Clocks

from .hosted_engine import hosted
from .redis_engine import redis

LEASE = 1.0
"""Seconds of every engine's lease here."""


class Engine(Protocol):
    """What the contract needs of an implementation besides Backplane."""

    def make(self, limits: BackplaneLimits | None = None) -> Backplane:
        """Return a new node, not started, whose lease is LEASE."""
        ...

    def cut(self, node: Any) -> None:
        """Cut a node off, without a word to the others: as a cable, or kill -9 of its process."""
        ...

    def restore(self, node: Any) -> None:
        """Let a node that was cut off find the others again."""
        ...

    def flush(self) -> None:
        """Lose all that the engine holds, as one that is started again with nothing."""
        ...


class MemoryEngine:
    def __init__(self) -> None:
        self._hub = MemoryHub(lease=LEASE)
        self.cut, self.restore, self.flush = self._hub.cut, self._hub.restore, self._hub.flush

    def make(self, limits: BackplaneLimits | None = None) -> Backplane:
        return MemoryBackplane(self._hub, limits=limits)


@contextmanager
def memory() -> Iterator[Engine]:
    yield MemoryEngine()


IMPLEMENTATIONS: dict[str, Callable[[Callable[..., Any]], AbstractContextManager[Engine]]] = {
    "memory": lambda finish: memory(),
    "redis": lambda finish: redis(LEASE),
    "hosted": partial(hosted, LEASE),
}


class Receiver:
    """A receiver that writes down what it gets."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, Position | None, str]] = []
        self.directed: list[tuple[bytes, str]] = []
        self.diffs: list[tuple[str, PresenceDiff]] = []
        self.interruptions: list[frozenset[str]] = []
        self.states: list[BackplaneState] = []
        self.reply: Callable[[bytes], Deferred[bytes]] = lambda payload: succeed(b"re " + payload)

    def message_received(self, topic: str, payload: bytes, position: Position | None, node: str) -> None:
        self.messages.append((topic, payload, position, node))

    def directed_received(self, payload: bytes, node: str) -> None:
        self.directed.append((payload, node))

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        return self.reply(payload)

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        self.diffs.append((topic, diff))

    def interrupted(self, topics: frozenset[str]) -> None:
        self.interruptions.append(topics)

    def state_changed(self, state: BackplaneState) -> None:
        self.states.append(state)

    def status(self) -> NodeStatus:
        return NodeStatus(3, False)

    @property
    def joined(self) -> set[str]:
        return {entry.member for _, diff in self.diffs for entry in diff.joined}

    @property
    def left(self) -> set[str]:
        return {entry.member for _, diff in self.diffs for entry in diff.left}


def clocks() -> Clocks:
    from twisted.internet import reactor

    return Clocks(reactor)  # type: ignore[arg-type]


class Nodes:
    """Nodes of one engine, each with a receiver; all are stopped at the end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.started: list[Backplane] = []

    async def start(self, limits: BackplaneLimits | None = None) -> tuple[Any, Receiver]:
        node, receiver = self.engine.make(limits), Receiver()
        self.started.append(node)
        await node.start(receiver, clocks())
        return node, receiver


@pytest.fixture(params=list(IMPLEMENTATIONS))
def nodes(request: pytest.FixtureRequest, finish: Callable[..., Any]) -> Iterator[Nodes]:
    with IMPLEMENTATIONS[request.param](finish) as engine:
        made = Nodes(engine)
        yield made
        finish(gatherResults([node.stop() for node in made.started]))


async def until(true: Callable[[], object]) -> None:
    """Let the reactor run until something is true; the test's deadline ends a wait for what does not come."""
    from twisted.internet import reactor

    while not true():
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.005, turn.callback, None)  # type: ignore[attr-defined]
        await turn


async def settled(*nodes: Backplane) -> None:
    """Wait until everything that was published before has arrived at these nodes: a directed message to each comes behind it."""
    for sender in nodes:
        for node in nodes:
            await sender.request(node.node_id, b"", 3)


# Topics.


async def test_a_message_reaches_the_other_subscribers_of_its_topic_alone(nodes: Nodes) -> None:
    """What a node publishes comes once to each other node that subscribes the topic, never to itself or to the others."""
    (a, at_a), (b, at_b), (c, at_c) = [await nodes.start() for _ in range(3)]
    assert await gatherResults([a.subscribe("x"), b.subscribe("x"), b.subscribe("x"), c.subscribe("y")]) == [True] * 4

    assert await a.publish("x", b"\x00\xff") is None

    await until(lambda: at_b.messages)
    await settled(a, b, c)
    assert at_b.messages == [("x", b"\x00\xff", None, a.node_id)]
    assert at_a.messages == at_c.messages == []
    assert (a.counters["published"], b.counters["received"]) == (1, 1)


async def test_messages_of_one_node_keep_their_order(nodes: Nodes) -> None:
    """What one node publishes on a topic in one turn or in several arrives in that order."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")

    for turn in range(3):
        await gatherResults([a.publish("x", b"%d" % (turn * 100 + number)) for number in range(100)])

    await until(lambda: len(at_b.messages) == 300)
    assert [int(payload) for _, payload, _, _ in at_b.messages] == list(range(300))


async def test_nothing_comes_after_unsubscribing(nodes: Nodes) -> None:
    """A node that has unsubscribed hears no more of the topic; unsubscribing what is not subscribed changes nothing."""
    (a, _), (b, at_b), (c, at_c) = [await nodes.start() for _ in range(3)]
    await gatherResults([b.subscribe("x"), c.subscribe("x")])

    await b.unsubscribe("x")
    await b.unsubscribe("x")
    await a.publish("x", b"late")

    await until(lambda: at_c.messages)
    await settled(a, b)
    assert at_b.messages == []


async def test_who_subscribes_again_in_the_same_turn_is_subscribed(nodes: Nodes) -> None:
    """A topic that is unsubscribed and subscribed again, and a member that goes and comes again, in one turn, are there."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([b.subscribe("x"), b.track("x", "m", b"1")])

    again = gatherResults([b.unsubscribe("x"), b.subscribe("x"), b.untrack("x", "m"), b.track("x", "m", b"2")])

    assert (await again)[1::2] == [True, True]
    await a.publish("x", b"hello")
    await until(lambda: at_b.messages)
    assert [each.info for each in await a.members("x")] == [b"2"]


async def test_a_message_over_the_limit_is_refused_and_counted(nodes: Nodes) -> None:
    """A payload over BackplaneLimits.payload is not published, and the error names the setting."""
    a, _ = await nodes.start(BackplaneLimits(payload=10))

    with pytest.raises(BackplaneRefused) as caught:
        await a.publish("x", b"01234567890")

    assert (caught.value.setting, caught.value.limit) == ("payload", 10)
    assert a.counters["publish_refused"] == 1


async def test_topics_are_bounded(nodes: Nodes) -> None:
    """A topic over BackplaneLimits.topic is neither published to, nor subscribed, looked up or tracked on."""
    a, _ = await nodes.start(BackplaneLimits(topic=5))
    kept = History(size=10, ttl=60)
    assert await a.publish("12345", b"", kept) is not None

    for refused in (
        *(lambda: a.publish("123456", b""), lambda: a.publish("123456", b"", kept), lambda: a.subscribe("123456")),
        *(lambda: a.history("123456", None, 1), lambda: a.track("123456", "m", b"")),
    ):
        with pytest.raises(BackplaneRefused) as caught:
            await refused()
        assert (caught.value.setting, caught.value.limit) == ("topic", 5)


async def test_bytes_of_presence_are_bounded(nodes: Nodes) -> None:
    """Topics, members and infos of one node's entries have a maximum together; one refused changes nothing."""
    a, _ = await nodes.start(BackplaneLimits(presence_bytes=20))
    await a.track("topic", "m", b"0123456789")

    for topic, member, info in (("topic", "n", b""), ("topic", "m", b"012345678901234")):
        with pytest.raises(BackplaneRefused) as caught:
            await a.track(topic, member, info)
        assert (caught.value.setting, caught.value.limit) == ("presence_bytes", 20)
    assert [each.info for each in await a.members("topic")] == [b"0123456789"]

    await a.track("topic", "m", b"01")
    await a.track("topic", "n", b"0123")
    await a.untrack("topic", "m")
    await a.track("topic", "n", b"0123456789")


async def test_subscriptions_and_presence_are_bounded(nodes: Nodes) -> None:
    """A node subscribes no more topics, and tracks no more members, than its limits say."""
    a, _ = await nodes.start(BackplaneLimits(subscriptions=2, presence=2))
    await gatherResults([a.subscribe("1"), a.subscribe("2"), a.subscribe("2"), a.track("1", "m", b""), a.track("2", "m", b"")])

    with pytest.raises(BackplaneRefused):
        await a.subscribe("3")
    with pytest.raises(BackplaneRefused):
        await a.track("1", "n", b"")

    assert await a.track("1", "m", b"new") is True  # no further entry
    await a.unsubscribe("1")
    assert await a.subscribe("3") is True


# History.


async def test_offsets_count_from_one_whoever_publishes(nodes: Nodes) -> None:
    """Messages with a history have the offsets 1, 2, 3 … of one epoch, as their publishers and all subscribers see them."""
    (a, at_a), (b, at_b), (c, at_c) = [await nodes.start() for _ in range(3)]
    await gatherResults([node.subscribe("x") for node in (a, b, c)])
    kept = History(size=100, ttl=60)

    positions = [await node.publish("x", b"%d" % number, kept) for number, node in enumerate([a, b, a, a, b])]

    assert [each.offset for each in positions] == [1, 2, 3, 4, 5]
    assert len({each.epoch for each in positions}) == 1
    await until(lambda: len(at_c.messages) == 5)
    assert [(payload, position) for _, payload, position, _ in at_c.messages] == [
        (b"%d" % number, position) for number, position in enumerate(positions)
    ]
    await until(lambda: len(at_a.messages) == 2 and len(at_b.messages) == 3)


async def test_history_gives_what_is_behind_a_position(nodes: Nodes) -> None:
    """The page behind a position has the messages that followed it in order, the oldest first up to the limit."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]
    kept = History(size=100, ttl=60)
    before = await b.history("x", None, 0)
    assert (before.items, before.top, before.recovered) == ((), 0, True)
    await gatherResults([a.publish("x", b"%d" % number, kept) for number in range(1, 8)])

    page = await b.history("x", Position(before.epoch, 2), 3)
    rest = await b.history("x", Position(before.epoch, 5), 100)
    none = await b.history("x", Position(before.epoch, 7), 100)
    latest = await b.history("x", None, 2)
    every = await b.history("x", Position(before.epoch, 0), 100)

    assert [(item.offset, item.payload, item.node) for item in page.items] == [(n, b"%d" % n, a.node_id) for n in (3, 4, 5)]
    assert (page.top, page.epoch, page.recovered) == (7, before.epoch, True)
    assert ([item.offset for item in rest.items], rest.recovered) == ([6, 7], True)
    assert (none.items, none.recovered) == ((), True)
    assert [item.offset for item in latest.items] == [6, 7]
    assert [item.offset for item in every.items] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_page_of_history_is_bounded_in_bytes(nodes: Nodes) -> None:
    """A page ends before it has more bytes than the limit, whichever end it begins at; one message it always has."""
    a, _ = await nodes.start(BackplaneLimits(page_bytes=1000))
    epoch = (await a.history("x", None, 0)).epoch
    for size in (300, 300, 300, 300, 5000, *[10] * 60, 600, 600):
        await a.publish("x", bytes(size), History(size=100, ttl=60))

    async def page(since: int | None, limit: int = 100) -> list[int]:
        found = await a.history("x", None if since is None else Position(epoch, since), limit)
        assert found.top == 67
        return [item.offset for item in found.items]

    assert await page(0) == [1, 2, 3]
    assert await page(3) == [4]
    assert await page(4) == [5]
    assert await page(5) == [*range(6, 66)]
    assert await page(5, 50) == [*range(6, 56)]
    assert await page(None) == [67]
    assert await page(None, 0) == []
    await a.publish("x", bytes(10), History(size=100, ttl=60))
    assert [item.offset for item in (await a.history("x", None, 100)).items] == [67, 68]
    for _ in range(20):
        await a.publish("y", bytes(10), History(size=100, ttl=60))
    assert [item.offset for item in (await a.history("y", None, 15)).items] == [*range(6, 21)]


async def test_what_has_expired_is_not_given_with_what_has_not(nodes: Nodes) -> None:
    """However many messages have expired, the page begins with the oldest that has not."""
    a, _ = await nodes.start()
    epoch = (await a.history("x", None, 0)).epoch
    for old in range(1, 8):
        for number in range(10):
            life = 0.1 if number < old else 60
            await a.publish(f"{old}", b"%d" % number, History(size=10, ttl=life))
    late = await a.publish("x", b"", History(ttl=0.1))
    assert late == Position(epoch, 1)

    async def gone() -> bool:
        return not (await a.history("x", None, 1)).items

    while not await gone():
        await until(lambda: True)
    for old in range(1, 8):
        page = await a.history(f"{old}", Position("another", 0), 100)
        assert [item.offset for item in page.items] == [*range(old + 1, 11)]
        again = await a.history(f"{old}", Position(page.epoch, old), 100)
        assert (again.items, again.recovered) == (page.items, True)
        assert not (await a.history(f"{old}", Position(page.epoch, old - 1), 100)).recovered


async def test_history_says_when_it_cannot_recover(nodes: Nodes) -> None:
    """A position whose successor is gone by size, of another epoch, or beyond the top, is not recovered."""
    a, _ = await nodes.start()
    for number in range(6):
        await a.publish("x", b"%d" % number, History(size=3, ttl=60))
    epoch = (await a.history("x", None, 0)).epoch

    trimmed = await a.history("x", Position(epoch, 2), 100)
    just = await a.history("x", Position(epoch, 3), 100)
    other = await a.history("x", Position("another", 5), 100)
    beyond = await a.history("x", Position(epoch, 7), 100)

    assert ([item.offset for item in trimmed.items], trimmed.recovered) == ([4, 5, 6], False)
    assert ([item.offset for item in just.items], just.recovered) == ([4, 5, 6], True)
    assert ([item.offset for item in other.items], other.recovered) == ([4, 5, 6], False)
    assert beyond.recovered is False


async def test_messages_expire_and_offsets_go_on(nodes: Nodes) -> None:
    """A message is kept for its ttl; its offset is never given again, and who missed it is not recovered."""
    a, _ = await nodes.start()
    first = await a.publish("x", b"old", History(size=10, ttl=0.2))

    async def gone() -> bool:
        return not (await a.history("x", None, 10)).items

    while not await gone():
        await until(lambda: True)
    page = await a.history("x", Position(first.epoch, 0), 10)
    second = await a.publish("x", b"new", History(size=10, ttl=60))

    assert (page.items, page.top, page.recovered) == ((), 1, False)
    assert second == Position(first.epoch, 2)
    assert (await a.history("x", first, 10)).recovered


async def test_lost_histories_get_another_epoch(nodes: Nodes) -> None:
    """After the engine has lost everything a topic's epoch is another, and a position of the old one is not recovered."""
    a, at_a = await nodes.start()
    await a.subscribe("x")
    before = await a.publish("x", b"1", History())

    nodes.engine.flush()
    await until(lambda: at_a.interruptions)
    after = await a.publish("x", b"2", History())

    assert after.epoch != before.epoch
    assert (await a.history("x", before, 10)).recovered is False


# Nodes.


async def test_nodes_are_listed_with_what_they_say_of_themselves(nodes: Nodes) -> None:
    """All nodes see the same list, in the order of their ids, with host, process and what the receiver's status says."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]

    listed = [await node.nodes() for node in (a, b)]

    assert listed[0] == listed[1]
    assert [each.node for each in listed[0]] == sorted([a.node_id, b.node_id])
    assert all((each.connections, each.draining) == (3, False) and each.pid and each.host for each in listed[0])

    await b.stop()

    assert [each.node for each in await a.nodes()] == [a.node_id]


async def test_a_directed_message_goes_to_one_node(nodes: Nodes) -> None:
    """A message to a node arrives there, and at no other; to a node that is not there it fires with False."""
    (a, at_a), (b, at_b), (c, at_c) = [await nodes.start() for _ in range(3)]

    assert await a.send(b.node_id, b"hello") is True
    assert await a.send(a.node_id, b"self") is True
    assert await a.send("nobody", b"hello") is False

    await until(lambda: at_b.directed and at_a.directed)
    await settled(a, c)
    assert (at_b.directed, at_a.directed, at_c.directed) == ([(b"hello", a.node_id)], [(b"self", a.node_id)], [])


async def test_a_reply_that_is_not_accepted_is_dropped(nodes: Nodes) -> None:
    """A request whose replies the asker does not accept waits on, and times out; nothing of another request changes that."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]
    looked: list[bytes] = []

    refusing = a.request(b.node_id, b"1", 0.3, lambda reply: bool(looked.append(reply)))
    assert await a.request(b.node_id, b"2", 3, lambda reply: reply == b"re 2") == b"re 2"

    with pytest.raises(RequestTimeout):
        await refusing
    assert looked == [b"re 1"]


async def test_a_request_is_answered_by_the_node_asked(nodes: Nodes) -> None:
    """A request fires with what the receiver of the node asked answers, be it this node; many may be under way."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]

    replies = await gatherResults([a.request(b.node_id, b"%d" % number, 3) for number in range(50)])

    assert replies == [b"re %d" % number for number in range(50)]
    assert await a.request(a.node_id, b"self", 3) == b"re self"


async def test_a_request_fails_at_once_where_there_is_no_such_node(nodes: Nodes) -> None:
    """A request to a node that is not there errbacks with NoSuchNode, without waiting for the timeout."""
    a, _ = await nodes.start()

    with pytest.raises(NoSuchNode):
        await a.request("nobody", b"", 60)


async def test_a_request_times_out(nodes: Nodes, logged_failures: Any) -> None:
    """A request that is not answered errbacks with RequestTimeout, also where the other side's receiver failed."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    at_b.reply = lambda payload: Deferred() if payload == b"never" else fail(ZeroDivisionError())

    for payload in (b"never", b"fails"):
        with pytest.raises(RequestTimeout) as caught:
            await a.request(b.node_id, payload, 0.2)
        assert caught.value.seconds == 0.2

    assert b.counters["receiver_failed"] == 1
    logged_failures.flush(ZeroDivisionError)


async def test_requests_that_wait_are_bounded(nodes: Nodes) -> None:
    """Over BackplaneLimits.requests that wait, a further request is refused and counted; a cancelled one waits no more."""
    (a, _), (b, at_b) = [await nodes.start(BackplaneLimits(requests=2)) for _ in range(2)]
    at_b.reply = lambda payload: Deferred()
    waiting = [a.request(b.node_id, b"", 60) for _ in range(2)]

    with pytest.raises(BackplaneRefused):
        await a.request(b.node_id, b"", 60)

    for each in waiting:
        each.addErrback(lambda _: None)
        each.cancel()
    at_b.reply = succeed
    assert await a.request(b.node_id, b"again", 3) == b"again"
    assert a.counters["requests_refused"] == 1


async def test_a_request_to_a_node_that_leaves_fails(nodes: Nodes) -> None:
    """A request that waits for a node fails with NodeGone as soon as that has left, or its lease has ended."""
    (a, _), (b, at_b), (c, at_c) = [await nodes.start() for _ in range(3)]
    at_b.reply = at_c.reply = lambda payload: Deferred()
    to_b, to_c = a.request(b.node_id, b"", 60), a.request(c.node_id, b"", 60)

    await b.stop()
    nodes.engine.cut(c)

    with pytest.raises(NodeGone):
        await to_b
    with pytest.raises(NodeGone):
        await to_c


# Presence.


async def test_all_nodes_see_the_same_members(nodes: Nodes) -> None:
    """Members are listed and counted alike by every node, with the node and the latest info, and no longer once untracked."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]

    assert await gatherResults([a.track("x", "a1", b"1"), a.track("x", "a2", b"2"), b.track("x", "b1", b"3")]) == [True] * 3
    await a.track("x", "a1", b"changed")
    await a.untrack("x", "a2")
    await a.untrack("x", "a2")

    for node in (a, b):
        found = [(entry.member, entry.node, entry.info) for entry in await node.members("x")]
        assert sorted(found) == [("a1", a.node_id, b"changed"), ("b1", b.node_id, b"3")]
        assert [(entry.node, entry.member) for entry in await node.members("x")] == sorted((n, m) for m, n, _ in found)
        assert await node.count("x") == 2
        assert (await node.members("y"), await node.count("y")) == ([], 0)


async def test_presence_changes_come_to_the_other_subscribers(nodes: Nodes) -> None:
    """A subscriber hears of the joins, updates and leaves of other nodes' members, and of none of its own or of no change."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x")])

    await a.track("x", "m", b"1")
    await a.track("x", "m", b"1")
    await a.track("x", "m", b"2")
    await a.untrack("x", "m")

    await until(lambda: at_b.left)
    changes = [
        (kind, entry.member, entry.node, entry.info if kind != "left" else b"")
        for _, diff in at_b.diffs
        for kind, entries in (("left", diff.left), ("joined", diff.joined), ("updated", diff.updated))
        for entry in entries
    ]
    assert changes == [("joined", "m", a.node_id, b"1"), ("updated", "m", a.node_id, b"2"), ("left", "m", a.node_id, b"")]
    assert at_a.diffs == []


async def test_topics_are_listed_by_a_pattern(nodes: Nodes) -> None:
    """Topics with members are listed with their number by a glob; one whose last member left is not."""
    (a, _), (b, _) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.track(topic, "m", b"") for topic in ("room:a", "room:b", "room:[1]", "other", "gone")])
    await b.track("room:a", "n", b"")
    await a.untrack("gone", "m")

    assert await b.topics("room:*") == {"room:a": 2, "room:b": 1, "room:[1]": 1}
    assert await b.topics("room:?") == {"room:a": 2, "room:b": 1}
    assert await b.topics("room:[^b]") == {"room:a": 2}
    assert await b.topics("room:\\[1\\]") == {"room:[1]": 1}
    assert set(await b.topics()) == {"room:a", "room:b", "room:[1]", "other"}


async def test_a_node_that_stops_takes_its_members_with_it(nodes: Nodes) -> None:
    """A node that stops leaves no member behind, and the others hear of their leaving at once."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")
    await a.track("x", "m", b"1")

    await a.stop()

    await until(lambda: at_b.left == {"m"})
    assert await b.members("x") == []
    assert await b.topics() == {}


async def test_a_node_that_is_killed_disappears_with_its_members_within_its_lease(nodes: Nodes) -> None:
    """A node that vanished without a word is in no list after its lease, its members neither, and the others hear of it."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")
    await gatherResults([a.track("x", "ghost", b"1"), b.track("x", "alive", b"2")])

    nodes.engine.cut(a)

    await until(lambda: at_b.left == {"ghost"})
    assert [entry.member for entry in await b.members("x")] == ["alive"]
    assert [each.node for each in await b.nodes()] == [b.node_id]
    assert b.counters["nodes_reaped"] == 1


async def test_a_node_that_comes_back_is_clean(nodes: Nodes) -> None:
    """A node taken for dead enters again what it tracks now, and is told that it may have missed something."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x"), a.track("x", "stays", b"1"), a.track("x", "goes", b"")])
    nodes.engine.cut(a)
    await until(lambda: at_b.left == {"stays", "goes"})
    assert a.state is BackplaneState.DOWN
    assert await a.track("x", "came", b"") is False
    await a.untrack("x", "goes")

    nodes.engine.restore(a)

    await until(lambda: at_a.interruptions and at_b.joined >= {"came", "stays"})
    assert at_a.interruptions[-1] >= {"x"}
    assert a.state is BackplaneState.UP
    assert [entry.member for entry in await b.members("x")] == ["came", "stays"]
    assert a.counters["leases_lost"] == 1
    await b.publish("x", b"hello again")
    await until(lambda: [payload for _, payload, _, _ in at_a.messages] == [b"hello again"])


async def test_presence_is_repaired_after_the_engine_lost_it(nodes: Nodes) -> None:
    """After the engine has lost everything the nodes enter themselves and their members again, and tell their receivers."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x"), a.track("x", "m", b"1"), b.track("x", "n", b"2")])

    nodes.engine.flush()

    await until(lambda: at_a.interruptions and at_b.interruptions)
    while {entry.member for entry in await a.members("x")} != {"m", "n"}:
        await until(lambda: True)
    assert len(await b.nodes()) == 2


# States.


async def test_without_its_engine_everything_fails_at_once_and_nothing_is_forgotten(nodes: Nodes) -> None:
    """A node that was cut off says so, fails what needs others without waiting, and has its subscriptions again afterwards."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    at_b.reply = lambda payload: Deferred()
    await a.subscribe("x")
    waiting = a.request(b.node_id, b"", 60)

    nodes.engine.cut(a)

    with pytest.raises(BackplaneUnavailable) as caught:
        await waiting
    assert caught.value.uncertain
    await until(lambda: a.state is BackplaneState.DOWN)
    for attempt in (
        lambda: a.publish("x", b""),
        lambda: a.send(b.node_id, b""),
        lambda: a.request(b.node_id, b"", 60),
        lambda: a.history("x", None, 1),
        lambda: a.members("x"),
        lambda: a.count("x"),
        a.topics,
        a.nodes,
    ):
        with pytest.raises(BackplaneUnavailable):
            await attempt()
    assert await a.subscribe("y") is False

    nodes.engine.restore(a)

    await until(lambda: at_a.interruptions)
    assert at_a.interruptions[-1] == {"x", "y"}
    await gatherResults([b.publish("x", b"1"), b.publish("y", b"2")])
    await until(lambda: len(at_a.messages) == 2)
    assert at_a.states[0] is BackplaneState.UP
    assert BackplaneState.DOWN in at_a.states
    assert at_a.states[-1] is BackplaneState.UP
    assert a.counters["outages"] == 1


async def test_a_stopped_node_fails_at_once_and_can_be_started_again(nodes: Nodes) -> None:
    """A node that was stopped, or not started, is DOWN and errbacks with BackplaneUnavailable; started again it works."""
    (a, at_a), (b, _) = [await nodes.start() for _ in range(2)]
    await a.subscribe("x")
    unstarted = nodes.engine.make()

    await a.stop()
    await a.stop()

    assert a.counters["outages"] == 0
    for node in (a, unstarted):
        assert node.state is BackplaneState.DOWN
        with pytest.raises(BackplaneUnavailable):
            await node.publish("x", b"")
        with pytest.raises(BackplaneUnavailable):
            await node.subscribe("x")
    await a.start(at_a, clocks())
    await a.subscribe("x")
    await b.publish("x", b"again")
    await until(lambda: at_a.messages)


async def test_a_receiver_that_raises_changes_nothing_else(nodes: Nodes, logged_failures: Any) -> None:
    """An exception of the receiver is logged and counted; the next message comes all the same."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")
    taken: list[bytes] = []

    def message_received(topic: str, payload: bytes, position: object, node: str) -> None:
        taken.append(payload)
        raise ZeroDivisionError

    at_b.message_received = message_received  # type: ignore[method-assign]
    await gatherResults([a.publish("x", b"1"), a.publish("x", b"2")])

    await until(lambda: len(taken) == 2)
    assert b.counters["receiver_failed"] == 2
    logged_failures.flush(ZeroDivisionError)
