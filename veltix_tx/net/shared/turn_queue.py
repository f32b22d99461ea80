"""Turn queue: what connections have put off, done in later turns of the reactor, for a bounded time of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

__all__ = ["TURN_SECONDS", "TurnQueue"]

TURN_SECONDS = 0.01
"""Seconds of a turn of the reactor after which no further connection goes on with what it has put off."""


class TurnQueue:
    """Steps of the connections of one server or client, a step of each in its turn.

    However many connections have more to do than a turn is for, a turn ends when they have had TURN_SECONDS together: reads of the
    others are not held up for longer.

    Args:
        reactor: calls in its next turn.
        uptime: a clock that never jumps, in seconds.
    """

    __slots__ = ("_reactor", "_scheduled", "_uptime", "_waiting")

    def __init__(self, reactor: IReactorTime, uptime: Callable[[], float]) -> None:
        self._reactor = reactor
        self._uptime = uptime
        self._waiting: deque[Callable[[], object]] = deque()
        self._scheduled = False

    def add(self, step: Callable[[], object]) -> None:
        """Call a function in a later turn, behind those that wait."""
        self._waiting.append(step)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        self._scheduled = False
        end = self._uptime() + TURN_SECONDS
        try:
            for _ in range(len(self._waiting)):
                self._waiting.popleft()()
                if self._uptime() >= end:
                    break
        finally:
            if self._waiting:
                self._schedule()
