"""Turns of the reactor: what one connection has read makes so much work in a turn, and the rest of it waits for the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from veltix_tx.net.shared.turn_queue import TurnQueue

__all__ = ["MOST_EVENTS", "Backlog"]

MOST_EVENTS = 2048
"""Events of one connection that are handled in one turn of the reactor: 10 ms of small messages that are answered."""


class Backlog:
    """What a connection has read, and what has happened to its transport since, in order: handled in later turns of the reactor.

    It is made when a turn leaves something, and is over when nothing is left.

    Args:
        turns: gives it its turns.
        over: called when nothing is left.

    Attributes:
        size: bytes kept.
    """

    __slots__ = ("_over", "_turns", "_waiting", "size")

    def __init__(self, turns: TurnQueue, over: Callable[[], None]) -> None:
        self._turns = turns
        self._over = over
        self._waiting: deque[tuple[Callable[[], int], int]] = deque()
        self.size = 0
        turns.add(self._go_on)

    def add(self, step: Callable[[], int], size: int = 0) -> None:
        """Do something when all that waits has been done.

        Args:
            step: does it, and returns how many events it has handled; may add to what waits, in front of all that was there.
            size: bytes it keeps.
        """
        self._waiting.append((step, size))
        self.size += size

    def _go_on(self) -> None:
        handled = 0
        try:
            while self._waiting and handled < MOST_EVENTS:
                handled += self._take()
        finally:
            if self._waiting:
                self._turns.add(self._go_on)
            else:
                self._over()

    def _take(self) -> int:
        """Do the next step; return the events it has handled, :data:`MOST_EVENTS` where it has left something."""
        (step, size), rest = self._waiting.popleft(), self._waiting
        self._waiting = deque()
        self.size -= size
        try:
            handled = step()
            return MOST_EVENTS if self._waiting else handled
        finally:
            self._waiting += rest
