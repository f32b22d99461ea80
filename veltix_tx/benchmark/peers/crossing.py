"""Messages that cross from one node to another: each with its room, its number there and the time, and checked by all of these."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Any

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.peers.program import clock, clock_ns, usage

__all__ = ["Crossings", "paced", "published", "stamped"]

_STAMP = Struct(">IIQ")

_TICK = 0.002
"""Seconds between two looks of a paced publisher at how many messages are due."""


def stamped(number: int, rooms: int, size: int) -> bytes:
    """Return the content of a message, which goes to the room of its number modulo the rooms."""
    return _STAMP.pack(number % rooms, number // rooms, clock_ns()) + b"x" * (size - _STAMP.size)


class Crossings:
    """Checks the contents that arrive, and takes their times."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.expect(0)

    @property
    def commands(self) -> dict[str, Callable[..., Any]]:
        """Commands that the benchmark gives a listener."""
        return {"expect": self.expect, "wait": self.wait}

    def expect(self, number: int) -> None:
        """Begin to count."""
        self._done.clear()
        self._next: dict[int, int] = {}
        self._times = array("Q")
        self._wrong = self._reordered = 0
        self._target = number
        self._at = self._used = 0.0
        self._used_before = usage()

    def take(self, content: bytes) -> None:
        """Take a content."""
        now = clock_ns()
        room, number, sent = _STAMP.unpack_from(content)
        if number != self._next.get(room, 0):
            self._reordered += 1
        self._next[room] = number + 1
        if content[-1:] != b"x":
            self._wrong += 1
        self._times.append(now - sent)
        if len(self._times) == self._target:
            self._at, self._used = clock(), usage() - self._used_before
            self._done.set()

    def wait(self, seconds: float) -> dict[str, Any]:
        """Wait until all have come; return how many have, what is wrong with them, when the last came, the CPU and the times."""
        self._done.wait(seconds)
        histogram = Histogram()
        histogram.add(self._times)
        told = {"got": len(self._times), "wrong": self._wrong, "reordered": self._reordered, "at": self._at or clock()}
        return told | {"cpu": self._used, "times": histogram.buckets}


async def published(number: int, rooms: int, size: int, publish: Callable[[int, list[bytes]], Awaitable[None]]) -> dict[str, float]:
    """Publish so many messages as fast as they go; return when the first left, and the CPU.

    Args:
        number: how many.
        rooms: to how many rooms in turn.
        size: bytes of each.
        publish: publishes contents, the first of which is of a number; returns when more may be published.
    """
    used, begun = usage(), clock()
    for first in range(0, number, _AT_ONCE):
        await publish(first, [stamped(each, rooms, size) for each in range(first, min(first + _AT_ONCE, number))])
    return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}


_AT_ONCE = 250


async def paced(
    rate: float,
    number: int,
    rooms: int,
    size: int,
    publish: Callable[[int, list[bytes]], Awaitable[None]],
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> dict[str, float]:
    """Publish so many messages, so many a second."""
    used, begun = usage(), clock()
    done = 0
    while done < number:
        due = min(number, int((clock() - begun) * rate) + 1)
        if due > done:
            await publish(done, [stamped(each, rooms, size) for each in range(done, due)])
            done = due
        await sleep(_TICK)
    return {"begun": begun, "sent": clock() - begun, "cpu": usage() - used}
