"""Noise: the share of the machine's processors that other programs used meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Noise", "busy_seconds", "others_share"]

_STAT = Path("/proc/stat")
_BUSY = (0, 1, 2, 5, 6, 7)
"""Fields of the first line of /proc/stat that are time a processor was not free: user, nice, system, irq, softirq, steal."""


def busy_seconds(text: str, ticks: int) -> float:
    """Return the seconds that all processors together have not been free, from the text of /proc/stat."""
    fields = text.split("\n", 1)[0].split()[1:]
    return sum(int(fields[each]) for each in _BUSY if each < len(fields)) / ticks


def others_share(busy: float, ours: float, seconds: float, processors: int) -> float:
    """Return the part of the machine's processors that others used.

    Args:
        busy: seconds that the processors were not free.
        ours: seconds of them that we used.
        seconds: of the time in question.
        processors: how many there are.
    """
    return max(0.0, busy - ours) / (seconds * processors) if seconds > 0 else 0.0


@dataclass(frozen=True)
class _Moment:
    at: float
    busy: float
    ours: float


class Noise:
    """Watches what others use of the processors while something is measured.

    Args:
        used: returns the seconds of the processors that the processes of the measurement have used.
    """

    def __init__(self, used: Callable[[], float]) -> None:
        self._used = used
        self._begun = self._now()

    def share(self) -> float | None:
        """Return the part of the machine that others have used since this was made; None where the system does not say."""
        begun, now = self._begun, self._now()
        if begun is None or now is None:
            return None
        return others_share(now.busy - begun.busy, now.ours - begun.ours, now.at - begun.at, os.cpu_count() or 1)

    def _now(self) -> _Moment | None:
        with suppress(OSError, ValueError, IndexError):
            busy = busy_seconds(_STAT.read_text(), os.sysconf("SC_CLK_TCK"))
            return _Moment(time.monotonic(), busy, self._used() + time.process_time())
        return None
