"""What the contract of every backplane does not say of the one on Redis."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.backplane.test_contract import until
from veltix_tx.backplane.interface import BackplaneLimits, History
from veltix_tx.errors import BackplaneRefused, BackplaneUnavailable


async def test_what_is_not_ours_on_our_channels_is_counted(redis: Any, nodes: Any) -> None:
    """Frames of another version, frames on the wrong channel, cut ones and other programs' messages are counted and dropped."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    await b.subscribe("x")
    foreign = ["{}", "", "V2M\0\0\0\1n", "V1M\0\0\0\7n", "V1Q\0\0\0\1n", "V1P\0\0\0\1n\0\0\0\1j", "V1H\0\0\0\1n\0\0\0\1e\0\0\0\1?"]
    foreign.append("V1P\0\0\0\1n\0\0\0\1z\0\0\0\1m\0\0\0\1i")  # a change of a later version
    foreign += [f"V1H\0\0\0\1n\0\0\0\1e\0\0\0{chr(len(offset))}{offset}\0\0\0\1p" for offset in ("0", "-1", "1" + "0" * 30)]

    for data in foreign:
        redis.command("PUBLISH", "veltix:t:x", data)
    redis.command("PUBLISH", f"veltix:n:{b.node_id}", "V1M\0\0\0\1n")

    await until(lambda: b.counters["malformed"] == len(foreign) + 1)
    await a.publish("x", b"ours")
    await until(lambda: at_b.messages)
    assert [payload for _, payload, _, _ in at_b.messages] == [b"ours"]
    assert at_b.diffs == []
    assert b.counters["redis_failures"] == 0  # nothing was cut off by it


async def test_a_node_that_is_said_to_be_gone_is_looked_up(redis: Any, nodes: Any) -> None:
    """Whoever can publish may say that a node is gone: requests to it fail only where its lease has ended."""
    (a, _), (b, at_b) = [await nodes.start() for _ in range(2)]
    answer: Deferred[bytes] = Deferred()
    at_b.reply = lambda payload: answer
    asked = a.request(b.node_id, b"", 60)
    await a.send(b.node_id, b"behind the request")
    await until(lambda: at_b.directed)

    for _ in range(3):
        redis.command("PUBLISH", "veltix:all", f"V1G\0\0\0\x10{b.node_id}")
    await a.request(a.node_id, b"", 3)  # behind the last look-up
    answer.callback(b"yes")

    assert await asked == b"yes"
    assert a.counters["requests_failed"] == 0
    await until(lambda: not a._looking)


async def test_what_waits_for_redis_is_bounded(redis: Any, nodes: Any) -> None:
    """While Redis does not answer, more than the limits allow is refused and counted; what was taken is published."""
    a, _ = await nodes.start(limits=BackplaneLimits(publish_queue=5))
    redis.hang()
    taken = [a.publish("x", b"") for _ in range(5)]

    for refused in (a.publish("x", b""), a.send("node", b""), a.request("node", b"", 1)):
        with pytest.raises(BackplaneRefused) as caught:
            await refused
        assert caught.value.setting == "publish_queue"

    redis.resume()
    await gatherResults(taken)
    assert (a.counters["publish_refused"], a.counters["requests_refused"], a.counters["published"]) == (2, 1, 5)


async def test_one_turn_is_one_message_for_each_topic(redis: Any, nodes: Any) -> None:
    """What a turn publishes goes to Redis as one message for each topic, with a history or without."""
    a, _ = await nodes.start()
    redis.command("CONFIG", "RESETSTAT")

    await gatherResults([a.publish(f"{number % 3}", b"%d" % number) for number in range(300)])
    await gatherResults([a.publish(f"{number % 3}", b"%d" % number, History()) for number in range(300)])

    statistics = redis.command("INFO", "commandstats").decode()
    assert "cmdstat_publish:calls=6," in statistics
    assert "cmdstat_xadd:calls=300," in statistics


async def test_a_node_that_is_not_started_has_no_history(nodes: Any) -> None:
    """Whatever is asked of a node that is not started errbacks with BackplaneUnavailable."""
    node = nodes.make()

    for asked in (node.history("x", None, 1), node.track("x", "m", b""), node.topics(), node.members("x"), node.nodes()):
        with pytest.raises(BackplaneUnavailable):
            await asked
    await node.untrack("x", "m")
    await node.unsubscribe("x")
