"""Work of a peer's own client, for peers that live in an event loop: asyncio's or Twisted's."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from itertools import cycle, islice
from typing import Any, Protocol

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers.delivery import contents, numbered
from veltix_tx.benchmark.peers.program import clock, clock_ns, usage

__all__ = ["MOVE", "SHOT", "Link", "Work", "from_each", "shares", "timed"]

_AT_ONCE, _BYTES_AT_ONCE = 64, 4 * 2**20
"""Messages, and bytes of them, sent before there is a look at whether there is room for more."""

MOVE, SHOT = 32, 16
"""Bytes that a player sends in every tick, and in one of ten."""


class Link(Protocol):
    """One connection of a peer's own client."""

    @property
    def send(self) -> Callable[[bytes], object]:
        """Send a message."""

    @property
    def ask(self) -> Callable[[bytes], Awaitable[Any]]:
        """Send a request, and wait for the reply."""

    @property
    def ping(self) -> Callable[[], Awaitable[Any]]:
        """Send a ping, and wait for the answer."""

    @property
    def room(self) -> Callable[[], Awaitable[Any]]:
        """Wait until there is room to send more."""

    def content(self, reply: Any) -> bytes | bytearray:
        """Return a reply's content."""


class Work:
    """Connections to one server, and what is done on them.

    Args:
        connect: makes a connection to a port.
        together: waits for coroutines that run at once.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        connect: Callable[[int], Coroutine[Any, Any, Link]],
        together: Callable[[Iterable[Coroutine[Any, Any, None]]], Awaitable[Any]],
        sleep: Callable[[float], Awaitable[Any]],
    ) -> None:
        self._connect = connect
        self._together = together
        self._sleep = sleep
        self._links: list[Link] = []

    @property
    def commands(self) -> dict[str, Any]:
        """Commands that the benchmark gives a client."""
        names = ("connect", "oneway", "ask", "ping", "stress", "fps")
        return {name: getattr(self, name) for name in names}

    async def connect(self, port: int, number: int) -> None:
        """Make so many more connections, one after another."""
        for _ in range(number):
            self._links.append(await self._connect(port))

    async def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection; return when the first was sent, and the seconds until the last was."""
        messages = contents(size)
        used, begun = usage(), clock()
        await self._send(self._links[0], messages, number)
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    async def stress(self, each: int, size: int) -> dict[str, float]:
        """Send so many messages on every connection at once."""
        messages = [[numbered(stream, number, size) for number in range(each)] for stream in range(len(self._links))]
        used, begun = usage(), clock()
        await self._together(self._send(link, own, each) for link, own in zip(self._links, messages, strict=True))
        return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}

    async def ask(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; return the seconds and the times."""
        link, messages = self._links[0], contents(size)
        times, wrong = array("Q"), 0

        async def worker(first: int, each: int) -> None:
            nonlocal wrong
            ask, content_of = link.ask, link.content
            for content in from_each(messages, first, each):
                begun = clock_ns()
                reply = await ask(content)
                times.append(clock_ns() - begun)
                if content_of(reply) != content:
                    wrong += 1

        used, begun = usage(), clock()
        await self._together(worker(*share) for share in enumerate(shares(number, in_flight)))
        return timed(clock() - begun, usage() - used, number, times, wrong)

    async def ping(self, number: int) -> dict[str, Any]:
        """Ping so many times, one after another."""
        ping, times = self._links[0].ping, array("Q")
        used, begun = usage(), clock()
        for _ in range(number):
            sent_at = clock_ns()
            await ping()
            times.append(clock_ns() - sent_at)
        return timed(clock() - begun, usage() - used, number, times)

    async def fps(self, rate: int, seconds: float) -> dict[str, float]:
        """Play: every connection is a player that sends in every tick."""
        sent = [0] * len(self._links)
        ticks = late = 0
        used, begun = usage(), clock()
        while (now := clock()) - begun < seconds:
            shooting = int(now * 10) % 10
            for player, link in enumerate(self._links):
                for size in (MOVE, SHOT)[: 1 + (player % 10 == shooting)]:
                    await self._send(link, [numbered(player, sent[player], size)], 1)
                    sent[player] += 1
            ticks += 1
            left = begun + ticks / rate - clock()
            late += left < 0
            await self._sleep(max(0.0, left))
        taken = clock() - begun
        return {"sent": sum(sent), "ticks": ticks, "late": late, "begun": begun, "seconds": taken, "cpu": usage() - used}

    async def _send(self, link: Link, messages: Sequence[bytes], number: int) -> None:
        many = getattr(link, "many", None)
        following = islice(cycle(messages), number)
        if many is not None:  # whose sending is a coroutine
            await many(following)
            return
        send = link.send
        at_once = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // max(1, len(messages[0]))))
        for first in range(0, number, at_once):
            for content in islice(following, min(at_once, number - first)):
                send(content)
            await link.room()


def from_each(messages: Sequence[bytes], first: int, number: int) -> Iterable[bytes]:
    """Return so many messages of a cycle, from one of them on: who asks beside others asks for something else at the time."""
    return islice(cycle(messages), first % len(messages), first % len(messages) + number)


def shares(number: int, workers: int) -> list[int]:
    """Cut a number into so many about equal parts, none of them 0."""
    return [part for worker in range(workers) if (part := number // workers + (worker < number % workers))]


def timed(seconds: float, used: float, number: int, times: array[int], wrong: int = 0) -> dict[str, Any]:
    """Return what a client tells about times in nanoseconds."""
    histogram = Histogram()
    histogram.add(times)
    return {"seconds": seconds, "cpu": used, "lost": number - len(times), "wrong": wrong, "times": histogram.buckets}
