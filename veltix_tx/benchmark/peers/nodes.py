"""This package over several nodes: one that publishes, one whose client is in the rooms, that client; and rooms of one node."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread

from veltix_tx import BackplaneState, Client, Limits, MessageRegistry, MessageType, Server, Session
from veltix_tx.benchmark.peers.crossing import Crossings, paced, published
from veltix_tx.benchmark.peers.program import CODE, begin, clock, ready, serve_commands, usage
from veltix_tx.benchmark.peers.twisting import reactor

TYPES = MessageRegistry()
MESSAGE = MessageType(CODE, "benchmark", registry=TYPES)

_AHEAD = 8
"""Lots of messages that are published before the answer to the first is waited for."""

_ROOMS = 100
"""Rooms that a session joins and leaves."""


class Node:
    """A server on a backplane, with so many rooms that each client is in.

    Args:
        backplane: the backplane's URL; None for none.
        rooms: how many.
    """

    def __init__(self, backplane: str | None, rooms: int) -> None:
        limits = Limits(rooms_per_session=max(100, rooms))
        self.server = Server("127.0.0.1", 0, types=TYPES, backplane=backplane, limits=limits)
        self._rooms = [self.server.room(f"r{number}") for number in range(rooms)]
        self._sent: deque[Deferred[Any]] = deque()
        self.session: Session | None = None
        self.joined = False
        self.server.set_callback("on_connect", self._connected)
        self.server.startService()

    async def up(self) -> None:
        """Wait until the backplane is up."""
        while self.server.backplane.state is not BackplaneState.UP:
            await deferLater(reactor(), 0.01)

    async def members(self) -> None:
        """Wait until the client is in all rooms."""
        while not self.joined:
            await deferLater(reactor(), 0.01)

    def _connected(self, session: Session) -> None:
        self.session = session
        gatherResults([room.join(session) for room in self._rooms]).addCallback(lambda _: setattr(self, "joined", True))

    async def publish(self, number: int, rooms: int, size: int) -> dict[str, float]:
        """Publish as fast as it goes."""
        return await published(number, rooms, size, self._publish)

    async def paced(self, rate: float, number: int, rooms: int, size: int) -> dict[str, float]:
        """Publish so many a second."""
        return await paced(rate, number, rooms, size, self._publish, lambda seconds: deferLater(reactor(), seconds))

    async def _publish(self, first: int, contents: list[bytes]) -> None:
        rooms, count = self._rooms, len(self._rooms)
        for number, content in enumerate(contents, first):
            sent = rooms[number % count].broadcast(MESSAGE, content)
        self._sent.append(sent)
        if len(self._sent) > _AHEAD:
            delivery = await self._sent.popleft()
            if delivery.error is not None:
                raise delivery.error

    async def join_leave(self, number: int) -> dict[str, float]:
        """Let the session join rooms and leave them, so many times in all."""
        assert self.session is not None
        rooms, session = self._rooms, self.session
        used, begun = usage(), clock()
        for _ in range(-(-number // len(rooms))):
            await gatherResults([room.join(session) for room in rooms])
            for room in rooms:
                room.leave(session)
        await self.server.nodes()  # behind the last leave
        return {"seconds": clock() - begun, "cpu": usage() - used}


async def _start(task: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """Be what the task says; return the port and the commands."""
    if task["role"] == "client":
        crossings = Crossings()

        async def connect(port: int, number: int) -> None:
            client = Client("127.0.0.1", port, types=TYPES)
            client.register_route(MESSAGE, lambda message: crossings.take(message.content))
            await client.connect()

        return None, crossings.commands | {"connect": connect}
    joins = task["role"] == "joins"
    node = Node(task.get("backplane"), _ROOMS if joins else task["rooms"])
    if joins:
        await Client("127.0.0.1", node.server.port, types=TYPES).connect()
    await node.up()
    names = ("members", "publish", "paced", "join_leave")
    return node.server.port, {name: getattr(node, name) for name in names}


def main() -> None:
    """Be what the task asks for."""
    task, default = begin(), reactor()

    def waited(result: Any) -> Any:
        return blockingCallFromThread(default, Deferred.fromCoroutine, result) if hasattr(result, "send") else result

    def started(found: tuple[int | None, dict[str, Any]]) -> None:
        serve_commands(found[1], waited)
        ready(found[0])

    default.callWhenRunning(lambda: Deferred.fromCoroutine(_start(task)).addCallback(started))
    default.run()


if __name__ == "__main__":
    main()
