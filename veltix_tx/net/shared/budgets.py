"""Memory budgets: limits on the bytes that all connections of one server, or of one client, hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = [
    "MemoryBudget",
]


class MemoryBudget:
    """Maximum of the bytes that all connections together keep; beyond it the one that keeps the most is ended.

    Args:
        most: bytes.
        over: called with a connection that is to end.
        tight: called with True when less than half is free, and with False when at least half is again.

    Attributes:
        limit: bytes that may be kept; may be changed, and holds from the next charge on.
        used: bytes kept now.
        is_tight: True if less than half is free.
    """

    __slots__ = ("_charges", "_on_exceeded", "_tight", "is_tight", "limit", "used")

    def __init__(self, most: int, over: Callable[[Any], None], tight: Callable[[bool], None] = lambda _: None) -> None:
        self.used = 0
        self.is_tight = False
        self.limit = most
        self._on_exceeded = over
        self._tight = tight
        self._charges: dict[Any, int] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._charges))

    @property
    def free(self) -> float:
        """The part of it that is free, from 0 to 1."""
        return max(0.0, 1 - self.used / self.limit)

    def charge(self, connection: Any, size: int) -> None:
        """Record that a connection keeps so many bytes now; 0 for one that has ended."""
        keepers = self._charges
        self.used += size - keepers.get(connection, 0)
        if size:
            keepers[connection] = size
        else:
            keepers.pop(connection, None)
        while self.used > self.limit:
            heaviest = max(keepers, key=keepers.__getitem__)
            self.used -= keepers.pop(heaviest)
            self._on_exceeded(heaviest)
        if (self.used > self.limit / 2) is not self.is_tight:
            self.is_tight = not self.is_tight
            self._tight(self.is_tight)
