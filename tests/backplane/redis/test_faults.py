"""Faults of a real Redis server, and of nodes in real processes."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.task import deferLater

from tests.backplane.redis_engine import Cable
from tests.backplane.test_contract import Receiver, clocks, until
from tests.support.ports import free_port
from veltix_tx import MessageRegistry, Server
from veltix_tx.app.rooms import topic_of
from veltix_tx.backplane.interface import BackplaneState, History, Position
from veltix_tx.backplane.redis.line import LineTimes
from veltix_tx.errors import BackplaneError, BackplaneUnavailable, NodeGone
from veltix_tx.net.clock import Clocks

from .conftest import LEASE

RIGHT = 3.0
"""Seconds after its return within which everything is right again."""


def turn() -> Any:
    """Wait for the reactor's next turn."""
    from twisted.internet import reactor

    return deferLater(reactor, 0)  # type: ignore[arg-type]


def up(*nodes: Any) -> bool:
    """Return True if every node is up."""
    return all(node.state is BackplaneState.UP for node in nodes)


async def test_a_killed_redis_is_noticed_at_once_and_joined_again_when_it_is_back(redis: Any, nodes: Any) -> None:
    """A kill -9 of Redis fails what is under way and what follows; at its return subscriptions, members and states are right."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x"), a.track("x", "m", b"1"), b.track("x", "n", b"2")])
    before = await a.publish("x", b"old", History())

    redis.kill()
    under_way = a.publish("x", b"lost")
    with pytest.raises(BackplaneUnavailable):
        await under_way
    await until(lambda: a.state is b.state is BackplaneState.DOWN)
    with pytest.raises(BackplaneUnavailable):
        await a.publish("x", b"lost")
    redis.start()
    back = time.monotonic()

    await until(lambda: up(a, b))
    assert time.monotonic() - back < RIGHT
    assert at_a.interruptions[-1] == at_b.interruptions[-1] == {"x"}
    assert {entry.member for entry in await a.members("x")} == {"m", "n"}
    assert (await b.history("x", before, 10)).recovered is False
    await a.publish("x", b"new")
    await until(lambda: len(at_b.messages) == 2)
    assert [payload for _, payload, _, _ in at_b.messages] == [b"old", b"new"]


async def test_a_redis_that_hangs_is_noticed_and_nothing_arrives_twice(redis: Any, nodes: Any) -> None:
    """A Redis that stops answering, for longer than a lease, fails what it does not answer; nothing is sent a second time."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x"), a.track("x", "m", b""), b.track("x", "n", b"")])

    redis.hang()
    during = [a.publish("x", b"%d" % number) for number in range(50)]
    results = await DeferredList(during, consumeErrors=True)
    assert [failure.value.uncertain for good, failure in results if not good] == [True] * 50
    await until(lambda: a.state is b.state is BackplaneState.DOWN)
    stopped = time.monotonic()
    await until(lambda: time.monotonic() - stopped > LEASE)  # the leases have ended by then
    redis.resume()
    back = time.monotonic()

    await until(lambda: up(a, b))
    assert time.monotonic() - back < RIGHT
    await a.publish("x", b"new")
    await until(lambda: (b"new") in [payload for _, payload, _, _ in at_b.messages])
    taken = [payload for _, payload, _, _ in at_b.messages]
    assert len(taken) == len(set(taken))
    assert {entry.member for entry in await a.members("x")} == {"m", "n"}
    assert len(await a.nodes()) == 2


async def test_a_short_hang_loses_nothing(redis: Any, nodes: Any) -> None:
    """What is published while Redis does not answer for less than the maximum arrives, in its order, and the state says so."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")

    redis.hang()
    published = gatherResults([a.publish("x", b"%d" % number) for number in range(10)])
    await until(lambda: a.state is BackplaneState.DEGRADED)
    redis.resume()
    await published

    await until(lambda: len(at_b.messages) == 10 and up(a, b))
    assert [int(payload) for _, payload, _, _ in at_b.messages] == list(range(10))
    assert BackplaneState.DOWN not in at_a.states


async def test_a_flush_is_repaired_by_the_nodes(redis: Any, nodes: Any) -> None:
    """After FLUSHALL every node enters its members again within a part of its lease, and histories begin anew."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x"), a.track("x", "m", b""), b.track("y", "n", b"")])
    before = await a.publish("x", b"1", History())

    redis.command("FLUSHALL")

    await until(lambda: at_a.interruptions and at_b.interruptions and up(a, b))
    assert [await a.count("x"), await a.count("y"), len(await a.nodes())] == [1, 1, 2]
    page = await b.history("x", before, 10)
    assert (page.recovered, page.top) == (False, 0)
    assert page.epoch != before.epoch


async def test_a_repair_tells_no_change_twice(redis: Any, nodes: Any) -> None:
    """A room's ``on_presence`` is told of another node's member once, though that is entered again after a flush."""
    node, _ = await nodes.start()
    server = Server(port=0, host="127.0.0.1", types=MessageRegistry(), backplane=nodes.make())
    told: list[Any] = []
    server.room("lobby").on_presence(told.append)
    server.startService()
    await node.track(topic_of("lobby"), "m", b"")
    await until(lambda: told and up(server.backplane))

    redis.command("FLUSHALL")
    await until(lambda: node.counters["leases_lost"] and server.backplane.counters["leases_lost"] and up(node, server.backplane))
    await node.track(topic_of("lobby"), "last", b"")
    await until(lambda: any(member.id == "last" for change in told for member in change.joined))

    assert [member.id for change in told for member in change.joined] == ["m", "last"]
    assert not any(change.left or change.updated for change in told)
    await server.stopService()


async def test_histories_begin_anew_with_a_redis_that_kept_a_part(tmp_path: Any, redis: Any, nodes: Any) -> None:
    """A Redis that is back with older data, as from a snapshot, gives no offset twice within an epoch."""
    a, _ = await nodes.start()
    first = await a.publish("x", b"1", History())
    redis.command("SAVE")
    second = await a.publish("x", b"2", History())

    redis.kill()
    await until(lambda: a.state is BackplaneState.DOWN)
    redis.start()
    await until(lambda: up(a))
    third = await a.publish("x", b"3", History())

    assert (first.offset, second.offset) == (1, 2)
    assert third == Position(third.epoch, 1)
    assert third.epoch != first.epoch
    assert (await a.history("x", second, 10)).recovered is False


async def test_a_redis_that_takes_no_writes_is_no_backplane(redis: Any, nodes: Any) -> None:
    """A master that a failover makes a replica is left for what the address leads to then; one that takes writes is joined."""
    a, _ = await nodes.start()
    await gatherResults([a.subscribe("x"), a.track("x", "m", b"")])

    redis.command("REPLICAOF", "127.0.0.1", str(free_port()))
    await until(lambda: a.state is BackplaneState.DOWN)
    await until(lambda: a.counters["redis_failures"] > 2)
    with pytest.raises(BackplaneUnavailable) as caught:
        await a.publish("x", b"", History())
    redis.command("REPLICAOF", "NO", "ONE")
    back = time.monotonic()

    await until(lambda: up(a))
    assert time.monotonic() - back < RIGHT
    assert "READONLY" in str(caught.value)
    assert await a.count("x") == 1


async def test_both_connections_lead_to_the_same_server(redis: Any, other_redis: Any, nodes: Any) -> None:
    """Where an address leads to another server, as after a failover, a node that lost one connection moves the other, too."""
    cable = Cable(redis.port)
    a, at_a = await nodes.start(f"redis://127.0.0.1:{cable.entry}")
    b, _ = await nodes.start(other_redis.url)
    await gatherResults([a.subscribe("x"), a.track("x", "m", b"")])

    cable.port = other_redis.port
    redis.command("CLIENT", "KILL", "TYPE", "normal")

    await until(lambda: at_a.interruptions and up(a))
    await b.publish("x", b"hello")
    await until(lambda: at_a.messages)
    assert await b.count("x") == 1
    await gatherResults([node.stop() for node in (a, b)])
    cable.cut()


async def test_a_node_that_reads_too_slowly_is_dropped_back_at_once_and_told(redis: Any, nodes: Any) -> None:
    """A node that takes too little is dropped by Redis, subscribes again at once, and is told what it may have missed."""
    redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    (a, _), (b, at_b) = [await nodes.start(times=LineTimes()) for _ in range(2)]
    await gatherResults([b.subscribe("x"), b.subscribe("y")])

    b._link._pushes.connection.transport.pauseProducing()
    for _ in range(40):
        await a.publish("x", bytes(500_000))
    b._link._pushes.connection.transport.resumeProducing()

    await until(lambda: at_b.interruptions)
    assert at_b.interruptions == [{"x", "y"}]
    assert len(at_b.messages) < 40
    assert BackplaneState.DOWN not in at_b.states
    await until(lambda: up(a, b))
    await a.publish("y", b"new")
    await until(lambda: at_b.messages[-1][0] == "y")


async def test_a_killed_node_disappears_within_its_lease(nodes: Any, node_process: Any) -> None:
    """A node killed by kill -9 is gone with its member within one lease, and who waits for it is told."""
    other = node_process("x", "ghost")
    a, at_a = await nodes.start()
    await a.subscribe("x")
    assert [entry.member for entry in await a.members("x")] == ["ghost"]
    waiting = a.request(other.node_id, b"hang", 60)
    assert await a.request(other.node_id, b"taken", 3) == b"taken"

    other.process.kill()
    killed = time.monotonic()

    with pytest.raises(NodeGone):
        await waiting
    await until(lambda: at_a.left == {"ghost"})
    assert time.monotonic() - killed < LEASE + 1  # for a busy machine
    assert await a.members("x") == []
    assert [each.node for each in await a.nodes()] == [a.node_id]


async def test_a_node_that_hangs_disappears_and_comes_back_clean(nodes: Any, node_process: Any) -> None:
    """A node stopped for longer than its lease is taken for dead; when it goes on it enters its member again by itself."""
    other = node_process("x", "ghost")
    a, at_a = await nodes.start()
    await a.subscribe("x")

    other.process.send_signal(signal.SIGSTOP)
    await until(lambda: at_a.left == {"ghost"})
    gone = await a.members("x")
    other.process.send_signal(signal.SIGCONT)
    back = time.monotonic()

    await until(lambda: at_a.joined == {"ghost"})
    assert time.monotonic() - back < RIGHT
    assert gone == []
    assert [(entry.member, entry.node) for entry in await a.members("x")] == [("ghost", other.node_id)]
    assert await a.request(other.node_id, b"hello", 3) == b"hello"


async def test_what_comes_and_goes_while_a_node_joins_is_right_afterwards(nodes: Any) -> None:
    """A member that is taken out while the node enters what it tracks does not stay; one that comes meanwhile is entered."""
    node = nodes.make()
    joining = node.start(Receiver(), clocks())
    member = 0
    while not joining.called:
        await node.untrack("x", f"m{member}")
        member += 1
        await node.track("x", f"m{member}", b"")
        await turn()

    await until(lambda: up(node))
    await node.track("x", "late", b"")
    assert [entry.member for entry in await node.members("x")] == ["late", f"m{member}"]


async def test_a_calendar_an_hour_off_changes_nothing(nodes: Any) -> None:
    """Nodes whose calendars differ by an hour see the same members, keep their leases, and histories expire as they should."""
    from twisted.internet import reactor

    (a, _), (b, at_b) = [
        await nodes.start(at=Clocks(reactor, calendar=lambda late=late: time.time() + late)) for late in (-3600, 3600)
    ]
    await gatherResults([a.track("x", "m", b""), b.track("x", "n", b""), b.subscribe("x")])
    kept = await a.publish("x", b"1", History(ttl=60))
    began = time.monotonic()

    await until(lambda: time.monotonic() - began > LEASE)

    assert {entry.member for entry in await b.members("x")} == {"m", "n"}
    assert at_b.left == set()
    assert [item.offset for item in (await b.history("x", None, 10)).items] == [kept.offset]


async def test_ten_thousand_join_at_once(nodes: Any) -> None:
    """10,000 members tracked in one turn are all entered, and each is told to the others once."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")

    results = await gatherResults([a.track("x", f"m{number}", b"") for number in range(10_000)])

    assert all(results)
    await until(lambda: len(at_b.joined) == 10_000)
    assert sum(len(diff.joined) for _, diff in at_b.diffs) == 10_000
    assert await b.count("x") == 10_000


async def test_forgotten_scripts_are_loaded_again_and_the_order_stays(redis: Any, nodes: Any) -> None:
    """After SCRIPT FLUSH what did not run is run, once and in its order, with what came meanwhile behind it; nobody notices."""
    (a, at_a), (b, at_b) = [await nodes.start() for _ in range(2)]
    await gatherResults([a.subscribe("x"), b.subscribe("x")])

    redis.command("SCRIPT", "FLUSH")
    published = []
    for number in range(20):
        published += [a.publish("x", b"%d" % number, History()), a.publish("y", b"")]
        await turn()
    places = [place for place in await gatherResults([*published, a.track("x", "m", b"")]) if isinstance(place, Position)]

    assert [place.offset for place in places] == list(range(1, 21))
    await until(lambda: len(at_b.messages) == 20)
    assert [int(payload) for _, payload, _, _ in at_b.messages] == list(range(20))
    assert [entry.member for entry in await b.members("x")] == ["m"]
    assert at_a.states == at_b.states == [BackplaneState.UP]


async def test_a_member_that_a_full_redis_refused_is_entered_when_it_has_room(redis: Any, nodes: Any) -> None:
    """An entry that errbacks because Redis is out of memory is entered by itself once there is room again."""
    a, _ = await nodes.start()
    redis.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackplaneError):
        await a.track("x", "m", b"")

    redis.command("CONFIG", "SET", "maxmemory", "0")

    await until(lambda: up(a))
    assert [entry.member for entry in await a.members("x")] == ["m"]
