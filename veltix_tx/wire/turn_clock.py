"""Clock of message headers: read once for all messages that leave together."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TurnClock"]


class TurnClock:
    """Clock in ms that is read once a turn: what is made in a turn of the reactor leaves in one write, with one time.

    Calling it reads the clock behind it; :meth:`keep` does, and keeps the time until :attr:`ms` is set to None, which the
    thread of the reactor does at the end of each turn.

    Args:
        read: reads the clock behind it, ms.

    Attributes:
        ms: the time kept; None where none is.
        read: as given; keeps nothing.
    """

    __slots__ = ("ms", "read")

    def __init__(self, read: Callable[[], int]) -> None:
        self.read = read
        self.ms: int | None = None

    def __call__(self) -> int:
        """Return the time, read now."""
        return self.read()

    def keep(self) -> int:
        """Return the time, read now, and keep it for the turn."""
        self.ms = ms = self.read()
        return ms
