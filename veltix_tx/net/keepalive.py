"""Clocks, and the deadlines of one connection on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Clocks", "Deadlines"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from; a test gives one clock for all three.

    Attributes:
        reactor: calls later.
        calendar: seconds since 1970, for message headers.
        uptime: seconds that never jump, for round trips and deadlines (``reactor.seconds`` is
            the calendar's and does jump).
    """

    reactor: IReactorTime
    calendar: Callable[[], float] = time.time
    uptime: Callable[[], float] = time.monotonic

    def calendar_ms(self) -> int:
        """Return the calendar's ms."""
        return int(self.calendar() * 1000)

    def uptime_ms(self) -> int:
        """Return the uptime's ms."""
        return int(self.uptime() * 1000)


class Deadlines:
    """Named one-shot timers: setting one again replaces it, clearing is always allowed.

    Args:
        clock: what they run on.
    """

    __slots__ = ("_calls", "_clock")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: dict[str, IDelayedCall] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._calls

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` in ``seconds`` unless cleared or set again before."""
        self.clear(name)

        def due() -> None:
            del self._calls[name]
            act()

        self._calls[name] = self._clock.callLater(seconds, due)

    def clear(self, name: str) -> None:
        """Take a timer back."""
        call = self._calls.pop(name, None)
        if call is not None:
            call.cancel()

    def clear_all(self) -> None:
        """Take every timer back."""
        for name in list(self._calls):
            self.clear(name)
