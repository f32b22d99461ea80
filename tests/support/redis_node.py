"""A node in a process of its own: ``python redis_node.py URL TOPIC MEMBER``. It says its id when it has joined."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, succeed

from veltix_tx.backplane.interface import BackplaneState, NodeStatus, PresenceDiff
from veltix_tx.backplane.redis.backplane import RedisBackplane
from veltix_tx.backplane.redis.url import parse_redis_url
from veltix_tx.net.clock import Clocks


class _Receiver:
    """Receiver that answers requests with what they ask."""

    def message_received(self, *message: object) -> None:
        """Ignore it."""

    def directed_received(self, payload: bytes, node: str) -> None:
        """Ignore it."""

    def request_received(self, payload: bytes, node: str) -> Deferred[bytes]:
        """Answer, but for one that says ``hang``."""
        return Deferred() if payload == b"hang" else succeed(payload)

    def presence_changed(self, topic: str, diff: PresenceDiff) -> None:
        """Ignore it."""

    def interrupted(self, topics: frozenset[str]) -> None:
        """Ignore it."""

    def state_changed(self, state: BackplaneState) -> None:
        """Ignore it."""

    def status(self) -> NodeStatus:
        """Return nothing of interest."""
        return NodeStatus()


async def _main(reactor: Any) -> None:
    url, topic, member = sys.argv[1:]
    node = RedisBackplane(parse_redis_url(url, {}))
    await node.start(_Receiver(), Clocks(reactor))
    await node.subscribe(topic)
    await node.track(topic, member, b"")
    sys.stdout.write(f"{node.node_id}\n")
    sys.stdout.flush()
    await Deferred()


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(_main(reactor)))
