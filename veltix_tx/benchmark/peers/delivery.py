"""Contents of every measurement, and the check in every server's handler that all of them arrived.

Contents are agreed between client and server (they are part of the line protocol, see
:mod:`~veltix_tx.benchmark.peers.program`): message *i* of a size begins with *i* modulo the cycle as four bytes,
and ``x`` fills the rest. A handler compares each content, whole, with the one that must come next: that checks count,
order and bytes, and costs about as much as counting. From the first one that is not the next, each is looked for among
those that are still to come: then the bytes are right or wrong whatever the order.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import count, repeat
from operator import length_hint
from struct import Struct
from time import perf_counter
from typing import Any

__all__ = ["CYCLE", "SMALL", "Tally", "contents", "laps", "numbered", "unbroken"]

CYCLE = 256
"""Contents that differ, one after another, before the first one comes again."""

SMALL = 65536
"""Bytes of the largest content of which there are so many; of larger ones there are two."""

_STREAM = Struct(">II")
_FILLERS = [b"x" * size for size in range(65)]


def contents(size: int) -> list[bytes]:
    """Return the cycle of contents of a size."""
    return [(number.to_bytes(4, "big") + b"x" * size)[:size] for number in range(CYCLE if size <= SMALL else 2)]


def unbroken(content: bytes) -> bytes:
    """Return a content that can be a line: in place of the end of one it has another byte."""
    return content.replace(b"\n", b"N")


def numbered(stream: int, number: int, size: int) -> bytes:
    """Return a content of one of many connections: its number, the message's number on it, ``x``; of 8 to 72 bytes."""
    return _STREAM.pack(stream, number) + _FILLERS[size - 8]


def laps(cycle: list[bytes], number: int) -> Counter[bytes]:
    """Return how often each content is among so many of a cycle."""
    whole, rest = divmod(number, len(cycle))
    counted: Counter[bytes] = Counter()
    for at, content in enumerate(cycle):
        counted[content] += whole + (at < rest)
    return counted


class Tally:
    """Checks the messages that a server's handler is given, in whatever threads.

    Four handlers do the same work: for messages with a ``content`` and for contents, of one connection (each content
    is compared with the next of the cycle) and of many (each carries its connection's number and its own).

    Args:
        lines: contents come as lines, :func:`unbroken`.
    """

    def __init__(self, *, lines: bool = False) -> None:
        self._lines = lines
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.expect(0)

    @property
    def commands(self) -> dict[str, Callable[..., Any]]:
        """Commands that the benchmark gives a server."""
        return {"expect": self.expect, "wait": self.wait}

    def take(self, _client: object, message: Any) -> None:
        """Handle a message of the one connection."""
        if message.content != (wanted := next(self._wanted)):
            self._differs(message.content, wanted)

    def take_content(self, content: bytes) -> None:
        """Handle a content of the one connection."""
        if content != (wanted := next(self._wanted)):
            self._differs(content, wanted)

    def take_stream(self, _client: object, message: Any) -> None:
        """Handle a message of one of many connections."""
        self.take_stream_content(message.content)

    def take_stream_content(self, content: bytes) -> None:
        """Handle a content of one of many connections."""
        stream, number = _STREAM.unpack_from(content)
        if number != next(self._streams[stream]):
            self._reordered += 1
        if content[8:] != _FILLERS[len(content) - 8]:
            self._wrong += 1
        if next(self._numbers) == self._target:
            self._finish()

    def expect(self, number: int, size: int = 0) -> None:
        """Begin to count: of the one connection so many contents of a size, or of many connections with no size.

        The number of many connections may be given with ``wait`` only.
        """
        self._done.clear()
        self._at = 0.0
        self._wrong = self._reordered = 0
        self._target = number
        self._numbers = count(1)
        self._streams: defaultdict[int, Iterator[int]] = defaultdict(count)
        self._comparing = bool(size and number)
        self._to_come: Counter[bytes] = Counter()
        self._wanted: Iterator[object] = repeat(...)
        if self._comparing:
            self._cycle = cycle = list(map(unbroken, contents(size))) if self._lines else contents(size)
            wanted: list[bytes | None] = [*cycle * (number // len(cycle)), *cycle[: number % len(cycle)]]
            self._last = wanted[-1]
            wanted[-1] = None  # no content is equal to it: what is compared with it is looked at more closely
            self._wanted = iter(wanted)

    def wait(self, number: int, seconds: float) -> dict[str, float]:
        """Wait until so many have come; return how many have, what is wrong with them, and when the last one came.

        ``wrong`` counts contents that were not sent, or not so often; ``reordered`` is more than 0 where some came in
        another order than they were sent.
        """
        if self._target != number:
            self._target = number
            if self._got >= number:
                return self._found(perf_counter())
        arrived = self._done.wait(seconds)
        return self._found(self._at if arrived else perf_counter())

    def _found(self, at: float) -> dict[str, float]:
        return {"got": self._got, "wrong": self._wrong, "reordered": self._reordered, "at": at}

    def _differs(self, content: bytes, wanted: object) -> None:
        """Handle the last message, one that is not the next, and all behind these."""
        with self._lock:
            if self._comparing:
                so_far = self._compared
                self._comparing = False
                self._wanted = repeat(...)
                self._numbers = count(so_far + 1)
                if wanted is None and content == self._last:
                    self._finish()
                    return
                self._to_come = laps(self._cycle, self._target) - laps(self._cycle, so_far)
            came = bytes(content)
            if wanted is ...:
                so_far = next(self._numbers)
            else:  # it was compared with one that is still to come, and counted
                so_far = self._got
                self._reordered += 1
                self._to_come[self._last if wanted is None else wanted] += 1  # type: ignore[index]
            if self._to_come[came] > 0:
                self._to_come[came] -= 1
            else:
                self._wrong += 1
            if so_far == self._target:
                self._finish()

    def _finish(self) -> None:
        self._at = perf_counter()
        self._done.set()

    @property
    def _compared(self) -> int:
        return self._target - length_hint(self._wanted)

    @property
    def _got(self) -> int:
        return self._compared if self._comparing else int(repr(self._numbers)[len("count(") : -1]) - 1
