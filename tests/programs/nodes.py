"""Faults of many kinds under a room with a history on several nodes and one Redis: what everybody got is the publishers' log.

    python tests/programs/nodes.py [--seconds 60] [--seed 1] [--nodes 3] [--readers 4]

Server processes share a Redis server, readers are in the room on any of them, and a publisher numbers its messages. Meanwhile
nodes are killed (kill -9) and hang (SIGSTOP), Redis is killed, hangs, is flushed and drops its subscribers, and readers lose
their connections, in an order that the seed decides. Each reader's positions must go on one by one, or by a gap that tells what is
missing; nothing may come twice; and in the end everybody is where the log is, and the members are right within a lease.

It needs ``redis-server``, on the PATH or as REDIS_SERVER.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from processes import TYPES, ServerProcess, finish, sleep
from room_server import NEWS, PUBLISH
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import react
from zope.interface import implementer

from veltix_tx import BackplaneError, Client, Gap, Position, RetryPolicy, RoomMessage, Timeouts, VeltixError
from veltix_tx.backplane.registry import backplane_from_url
from veltix_tx.backplane.visit import visit
from veltix_tx.net.clock import Clocks

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

LEASE = 2.0
RIGHT = 3.0
"""Seconds after Redis's return within which everything is right again."""


@implementer(IStreamClientEndpoint)
class AnyNode:
    """An endpoint that tries the next node each time."""

    def __init__(self, reactor: Any, ports: list[int], first: int) -> None:
        order = ports[first:] + ports[:first]
        self._endpoints = cycle([TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=1) for port in order])

    def connect(self, protocolFactory: Any) -> Any:
        """Connect to the next one."""
        return next(self._endpoints).connect(protocolFactory)


class Reader:
    """A client in the room, and all that it got."""

    def __init__(self, reactor: Any, ports: list[int], first: int) -> None:
        self.got: list[RoomMessage[bytes] | Gap] = []
        retry, timeouts = RetryPolicy(initial_delay=0.05, max_delay=0.3), Timeouts(ping_interval=0.5, ping_timeout=0.5)
        endpoint = AnyNode(reactor, ports, first)
        self.client = Client(endpoint=endpoint, types=TYPES, retry=retry, timeouts=timeouts, connect_timeout=1, handshake_timeout=1)
        self.client.route(NEWS)(self.got.append)
        self.client.on_gap(self.got.append)

    def note(self, log: dict[Position, bytes]) -> list[str]:
        """Add to the log what it got; return what is another content there."""
        placed = [(each.position, each.content) for each in self.got if isinstance(each, RoomMessage) and each.position is not None]
        return [
            f"{position} is {content!r} here, and {log[position]!r} elsewhere"
            for position, content in placed
            if log.setdefault(position, content) != content
        ]

    def faults(self, log: dict[Position, bytes]) -> list[str]:
        """Return what is wrong with what it got, by a log of all places.

        A message that came without a place, as Redis did not answer, has one all the same where Redis had taken it: that of the
        log, or one that nobody knows.
        """
        faults, here = [], None
        contents = [each.content for each in self.got if isinstance(each, RoomMessage)]
        unplaced = {each.content for each in self.got if isinstance(each, RoomMessage) and each.position is None}
        unknown = len(unplaced - set(log.values()))
        for each in self.got:
            if isinstance(each, Gap):
                if here not in (None, each.since):
                    faults.append(f"a gap from {each.since} where {here} was the last")
                here = each.until
            elif each.position is not None:
                at = here if here is not None and here.epoch == each.position.epoch else None
                if here is not None and at is None:
                    faults.append(f"{each.position} follows {here}, and no gap says so")
                between = range(each.position.offset if at is None else at.offset + 1, each.position.offset)
                contents_of = {number: log.get(Position(each.position.epoch, number)) for number in between}
                unknown -= sum(content is None for content in contents_of.values())
                missing = [number for number, content in contents_of.items() if content is not None and content not in unplaced]
                faults += [f"{number} is missing before {each.position}" for number in missing]
                here = each.position
        if unknown < 0:
            faults.append(f"{-unknown} messages that nobody knows are missing")
        return faults + [f"{content!r} came {times} times" for content, times in Counter(contents).items() if times > 1]


class Service:
    """Redis, nodes and readers, and the faults they are given."""

    def __init__(self, reactor: Any, folder: Path, nodes: int, readers: int, random: Random) -> None:
        self.reactor, self.random = reactor, random
        self.redis = RedisServer(folder)
        self.redis.start()
        self.url = f"{self.redis.url}?lease={LEASE}"
        self.ports = [free_port() for _ in range(nodes)]
        self.nodes = [self.start(port) for port in self.ports]
        self.readers = [Reader(reactor, self.ports, number % nodes) for number in range(readers)]

    def start(self, port: int) -> ServerProcess:
        """Start a node."""
        return ServerProcess(self.reactor, "--port", str(port), "--app", "room_server:server", "--backplane", self.url)

    async def kill_node(self) -> None:
        """Kill a node, and start another one in its place."""
        number = self.random.randrange(len(self.nodes))
        self.nodes[number].signal(signal.SIGKILL)
        await self.nodes[number].exited
        await sleep(self.reactor, self.random.uniform(0, 1))
        self.nodes[number] = self.start(self.ports[number])
        await self.nodes[number].listening

    async def hang_node(self) -> None:
        """Let a node hang, for longer than its lease at times."""
        node = self.random.choice(self.nodes)
        node.signal(signal.SIGSTOP)
        await sleep(self.reactor, self.random.choice([0.3, LEASE * 1.5]))
        node.signal(signal.SIGCONT)

    async def kill_redis(self) -> None:
        """Kill Redis; it comes back with nothing."""
        self.redis.kill()
        await sleep(self.reactor, self.random.uniform(0, 1.5))
        self.redis.start()

    async def hang_redis(self) -> None:
        """Let Redis hang, for longer than a node waits for it at times."""
        self.redis.hang()
        await sleep(self.reactor, self.random.choice([0.3, 0.3, 7]))
        self.redis.resume()

    async def flush(self) -> None:
        """Have Redis lose everything."""
        self.redis.command("FLUSHALL")

    async def drop_subscribers(self) -> None:
        """Have Redis end the nodes' subscriptions."""
        self.redis.command("CLIENT", "KILL", "TYPE", "pubsub")

    async def cut_reader(self) -> None:
        """End a reader's connection."""
        session = self.random.choice(self.readers).client.session
        if session is not None:
            session._transport.transport.abortConnection()

    async def end(self) -> None:
        """End everything."""
        for reader in self.readers:
            await reader.client.disconnect()
        for node in self.nodes:
            node.signal(signal.SIGKILL)
            await node.exited
        self.redis.kill()


async def run(reactor: Any, options: Namespace, folder: Path) -> tuple[dict[str, object], list[str]]:
    """Run it; return what was seen and what was wrong."""
    random = Random(options.seed)
    service = Service(reactor, folder, options.nodes, options.readers, random)
    publisher = Reader(reactor, service.ports, 0)
    service.readers.append(publisher)
    log: dict[Position, bytes] = {}
    counts: Counter[str] = Counter()
    over = False

    async def publish() -> None:
        number = 0
        while not over:
            number += 1
            content = b"%d" % number
            try:
                place = (await publisher.client.send_and_wait(PUBLISH, content, timeout=3)).content
            except VeltixError:
                counts["without an answer"] += 1
                await sleep(reactor, 0.05)
                continue
            counts["with a place" if place else "without a place"] += 1
            if place:
                epoch, offset = place.decode().split()
                log[Position(epoch, int(offset))] = content
            await sleep(reactor, 0.01)

    try:
        for node in service.nodes:
            await node.listening
        for reader in service.readers:
            await reader.client.connect()
        publishing = Deferred.fromCoroutine(publish())
        began = time.monotonic()
        kinds = [service.kill_node, service.hang_node, service.kill_redis, service.hang_redis, service.flush]
        kinds += [service.drop_subscribers, service.cut_reader, service.cut_reader]
        while time.monotonic() - began < options.seconds:
            fault = random.choice(kinds)
            counts[fault.__name__.replace("_", " ")] += 1
            await fault()
            await sleep(reactor, random.uniform(0.2, 2))
        over = True
        await publishing
        faults = await settle(reactor, service, publisher)
    finally:
        await service.end()
    for reader in service.readers:
        faults += reader.note(log)
    for number, reader in enumerate(service.readers):
        faults += [f"reader {number}: {fault}" for fault in reader.faults(log)]
    gaps = Counter(each.reason for reader in service.readers for each in reader.got if isinstance(each, Gap))
    table: dict[str, object] = {
        **dict(sorted(counts.items())),
        "messages that readers got": sum(isinstance(each, RoomMessage) for reader in service.readers for each in reader.got),
        "gaps that readers were told": ", ".join(f"{reason} {times}" for reason, times in gaps.items()) or "none",
    }
    return table, faults


async def settle(reactor: Any, service: Service, publisher: Reader) -> list[str]:
    """Wait until everybody is connected and where a last message is, and the members are right; return what is not."""
    end = time.monotonic() + RIGHT + LEASE + 2
    for reader in service.readers:
        await reader.client.when_connected(timeout=10)
    last = 0
    while time.monotonic() < end:
        await sleep(reactor, 0.1)
        last += 1
        try:
            place = (await publisher.client.send_and_wait(PUBLISH, b"last %d" % last, timeout=3)).content.decode()
        except VeltixError:
            continue
        await sleep(reactor, 0.3)
        places = {reader.client.room_positions.get("room") for reader in service.readers}
        if not place or len(places) != 1:
            continue
        try:
            members = await visit(backplane_from_url(service.url), Clocks(reactor), 3, _members)
        except BackplaneError:
            continue
        if len(members) == len(service.readers):
            return []
    positions = [reader.client.room_positions.get("room") for reader in service.readers]
    return [f"at the end the readers are at {positions}, and the members are not right"]


async def _members(backplane: Any) -> list[Any]:
    found: list[Any] = await backplane.members("room:room")
    return found


async def main(reactor: Any, *arguments: str) -> None:
    """Read the arguments, run, print."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--readers", type=int, default=4)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        seen = await run(reactor, options, Path(folder))
    finish("faults of nodes and of Redis", *seen)


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
