"""Sampling profiler: the function that runs, looked up some hundred times for each second of CPU."""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from types import FrameType

__all__ = ["samples", "start"]

_EVERY = 0.001
_taken: Counter[str] = Counter()
_collecting = {"begun": 0.0, "seconds": 0.0}


def start() -> None:
    """Begin; in the main thread, on systems that have such a timer."""
    gc.callbacks.append(_collect)
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)


def samples() -> dict[str, int]:
    """Return how often each function of each file was the one that ran, and as often as it would have been the collector."""
    seconds = _collecting["seconds"]
    others = time.process_time() - seconds
    return {**_taken, "collector:": round(_taken.total() * seconds / others)}


def _collect(phase: str, info: dict[str, int]) -> None:
    now = time.process_time()
    if phase == "start":
        _collecting["begun"] = now
    else:
        _collecting["seconds"] += now - _collecting["begun"]


def _sample(number: int, frame: FrameType | None) -> None:
    if frame is not None:
        code = frame.f_code
        _taken[f"{code.co_filename}:{code.co_name}"] += 1
