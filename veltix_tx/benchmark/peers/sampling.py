"""Sampling profiler: the function that runs, looked up some hundred times for each second of CPU."""

from __future__ import annotations

import signal
from collections import Counter
from types import FrameType

__all__ = ["samples", "start"]

_EVERY = 0.001
_taken: Counter[str] = Counter()


def start() -> None:
    """Begin; in the main thread, on systems that have such a timer."""
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)


def samples() -> dict[str, int]:
    """Return how often each function of each file was the one that ran."""
    return dict(_taken)


def _sample(number: int, frame: FrameType | None) -> None:
    if frame is not None:
        code = frame.f_code
        _taken[f"{code.co_filename}:{code.co_name}"] += 1
