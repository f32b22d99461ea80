"""Nodes on a Redis server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from tests.backplane.test_contract import Receiver, clocks
from tests.support.redis_server import RedisServer
from veltix_tx.backplane.redis.backplane import RedisBackplane
from veltix_tx.backplane.redis.line import LineTimes
from veltix_tx.backplane.redis.url import parse_redis_url
from veltix_tx.net.clock import Clocks

LEASE = 2.0

QUICK = LineTimes(connect=1, ping=0.1, reply=1.5)
"""Times that let a test notice soon what takes five seconds by default."""


@pytest.fixture
def other_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start another server, as that which takes over from the first."""
    folder = tmp_path / "other"
    folder.mkdir()
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Nodes:
    """Nodes in this process, which are stopped when the test is over."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[RedisBackplane] = []

    def make(self, url: str | None = None, **settings: Any) -> RedisBackplane:
        """Make a node."""
        parsed = replace(parse_redis_url(url or self.url, {}), lease=LEASE)
        node = RedisBackplane(parsed, **{"times": QUICK} | settings)
        self.made.append(node)
        return node

    async def start(self, url: str | None = None, *, at: Clocks | None = None, **settings: Any) -> tuple[RedisBackplane, Receiver]:
        """Start a node; return it with its receiver once it has joined."""
        node, receiver = self.make(url, **settings), Receiver()
        await node.start(receiver, at or clocks())
        return node, receiver


@pytest.fixture
def nodes(redis: RedisServer, clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Nodes]:
    """Make nodes on the test's server."""
    made = Nodes(redis.url)
    yield made
    finish(gatherResults([node.stop() for node in made.made]))


class NodeProcess:
    """A node in a process of its own.

    Attributes:
        node_id: its id.
    """

    def __init__(self, url: str, topic: str, member: str) -> None:
        program = Path(__file__).parents[2] / "support" / "redis_node.py"
        command = [sys.executable, str(program), f"{url}?lease={LEASE}", topic, member]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.process.stdout is not None
        self.node_id = self.process.stdout.readline().strip()
        assert self.node_id, "it ended"


@pytest.fixture
def node_process(redis: RedisServer) -> Iterator[Callable[[str, str], NodeProcess]]:
    """Start a node with a member on a topic; it is killed, by its id, when the test is over."""
    started: list[NodeProcess] = []

    def start(topic: str, member: str) -> NodeProcess:
        started.append(NodeProcess(redis.url, topic, member))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        assert each.process.stdout is not None
        each.process.stdout.close()
