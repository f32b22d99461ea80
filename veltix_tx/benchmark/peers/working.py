"""What a peer's own client does, for peers that live in an event loop: asyncio's or Twisted's."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers.program import clock, clock_ns

__all__ = ["Link", "Work"]

_AT_ONCE = 64
"""Messages sent before there is a look at whether there is room for more."""

MOVE, SHOT = b"\0" * 32, b"\0" * 16
"""What a player sends in every tick, and in one of ten."""


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

    def content(self, reply: Any) -> bytes:
        """Return a reply's content."""


class Work:
    """Connections to one server, and what is done on them.

    Args:
        connect: makes a connection.
        together: waits for coroutines that run at once.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Link]],
        together: Callable[[Iterable[Coroutine[Any, Any, None]]], Awaitable[Any]],
        sleep: Callable[[float], Awaitable[Any]],
    ) -> None:
        self._connect = connect
        self._together = together
        self._sleep = sleep
        self._links: list[Link] = []

    @property
    def commands(self) -> dict[str, Any]:
        """What the benchmark asks of a client."""
        names = ("connect", "oneway", "ask", "ping", "stress", "fps")
        return {name: getattr(self, name) for name in names}

    async def connect(self, number: int) -> None:
        """Make so many more connections, one after another."""
        for _ in range(number):
            self._links.append(await self._connect())

    async def oneway(self, number: int, size: int) -> dict[str, float]:
        """Send so many messages on one connection; return when the first was sent, and the seconds until the last was."""
        begun = clock()
        await self._send(self._links[0], number, b"x" * size)
        return {"begun": begun, "sent": clock() - begun}

    async def stress(self, each: int, size: int) -> dict[str, float]:
        """Send so many messages on every connection at once."""
        content = b"\0" * size
        begun = clock()
        await self._together(self._send(link, each, content) for link in self._links)
        return {"begun": begun, "sent": clock() - begun}

    async def ask(self, number: int, in_flight: int, size: int) -> dict[str, Any]:
        """Ask so many times on one connection, so many at once; return the seconds and the times."""
        link, content = self._links[0], b"x" * size
        if link.content(await link.ask(content)) != content:
            raise ValueError("the reply is not what was sent")
        times = array("Q")

        async def worker(each: int) -> None:
            ask = link.ask
            for _ in range(each):
                begun = clock_ns()
                await ask(content)
                times.append(clock_ns() - begun)

        begun = clock()
        await self._together(worker(each) for each in shares(number, in_flight))
        return timed(clock() - begun, number, times)

    async def ping(self, number: int) -> dict[str, Any]:
        """Ping so many times, one after another."""
        ping, times = self._links[0].ping, array("Q")
        begun = clock()
        for _ in range(number):
            sent_at = clock_ns()
            await ping()
            times.append(clock_ns() - sent_at)
        return timed(clock() - begun, number, times)

    async def fps(self, rate: int, seconds: float) -> dict[str, float]:
        """Play: every connection is a player that sends in every tick."""
        sent = ticks = late = 0
        begun = clock()
        while (now := clock()) - begun < seconds:
            shooting = int(now * 10) % 10
            for number, link in enumerate(self._links):
                await self._send(link, 1, MOVE)
                if number % 10 == shooting:
                    await self._send(link, 1, SHOT)
                    sent += 1
            sent += len(self._links)
            ticks += 1
            left = begun + ticks / rate - clock()
            late += left < 0
            await self._sleep(max(0.0, left))
        return {"sent": sent, "ticks": ticks, "late": late, "begun": begun, "seconds": clock() - begun}

    async def _send(self, link: Link, number: int, content: bytes) -> None:
        many = getattr(link, "many", None)
        if many is not None:  # whose sending is a coroutine
            await many(content, number)
            return
        send = link.send
        for first in range(0, number, _AT_ONCE):
            for _ in range(min(_AT_ONCE, number - first)):
                send(content)
            await link.room()


def shares(number: int, workers: int) -> list[int]:
    """Cut a number into so many about equal parts, none of them 0."""
    return [part for worker in range(workers) if (part := number // workers + (worker < number % workers))]


def timed(seconds: float, number: int, times: array[int]) -> dict[str, Any]:
    """Return what a client tells about times in nanoseconds."""
    histogram = Histogram()
    histogram.add(times)
    return {"seconds": seconds, "lost": number - len(times), "times": histogram.buckets}
