"""Costs of the benchmark itself in a peer's processes: the handler's check, and the loops of a client that sends.

The loops are those of the clients that live in an event loop, round a client that does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle, islice
from typing import Any

from veltix_tx.benchmark.peers.delivery import Tally, contents, numbered
from veltix_tx.benchmark.peers.program import begin, clock, obey, ready, usage
from veltix_tx.benchmark.peers.working import Work


class _Given:
    """A message, made beforehand."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class _Nothing:
    """A client's connection that sends nothing, and has every reply at once."""

    def __init__(self) -> None:
        self._replies: dict[bytes, bytes] = {}

    def send(self, content: bytes) -> None:
        """Do nothing."""

    async def ask(self, content: bytes) -> bytes:
        """Return a reply: bytes of its own, as one that has come from somewhere."""
        reply = self._replies.get(content)
        if reply is None:
            reply = self._replies[content] = bytes(bytearray(content))
        return reply

    async def ping(self) -> None:
        """Do nothing."""

    async def room(self) -> None:
        """Do nothing."""

    def content(self, reply: bytes) -> bytes:
        """Return a reply's content."""
        return reply


def handle(number: int, size: int, streams: int = 0) -> dict[str, float]:
    """Handle so many messages: of one connection, or of so many."""
    tally = Tally()
    take: Callable[[object, Any], None] = tally.take_stream if streams else tally.take
    each = number // streams if streams else number
    messages: Iterable[bytes] = islice(cycle(contents(size)), number)
    if streams:
        messages = (numbered(stream, own, size) for own in range(each) for stream in range(streams))
    given = list(map(_Given, messages))
    tally.expect(len(given), 0 if streams else size)
    used, begun = usage(), clock()
    for message in given:
        take(None, message)
    used, seconds = usage() - used, clock() - begun
    came = tally.wait(len(given), 0)
    return {"seconds": seconds, "cpu": used, "lost": len(given) - came["got"], "wrong": came["wrong"]}


def main() -> None:
    """Be what the task asks for."""
    begin()

    async def together(coroutines: Any) -> None:
        for each in coroutines:
            await each

    async def connected(port: int) -> _Nothing:
        return _Nothing()

    work = Work(connected, together, asyncio.sleep)

    def timed(command: str, *arguments: Any) -> dict[str, Any]:
        told: dict[str, Any] = asyncio.run(getattr(work, command)(*arguments))
        return told | {"seconds": told.get("seconds", told.get("sent"))}

    commands: dict[str, Callable[..., Any]] = {command: partial(timed, command) for command in ("oneway", "stress", "ask", "ping")}
    commands["handle"] = handle
    commands["connect"] = lambda port, number: asyncio.run(work.connect(port, number))
    ready()
    obey(commands)


if __name__ == "__main__":
    main()
