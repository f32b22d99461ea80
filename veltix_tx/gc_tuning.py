"""Tuning of the cyclic garbage collector: seldom, because a collection stops the whole server."""

from __future__ import annotations

import gc

from twisted.internet.interfaces import IDelayedCall

from veltix_tx.net.clock import Clocks

__all__ = ["GcTuner"]

_THRESHOLDS = (2000, 5, 100)
"""For ``gc.set_threshold``: young objects are looked at some 10,000 at a time, all of them when a million have come."""

_PAUSE = 30.0
"""Seconds between two looks at all objects."""

_SHARE = 0.005
"""The part of its time that the process may spend on these."""


class GcTuner:
    """Lets Python's cyclic garbage collector stop the process seldom while it runs.

    A look at all objects takes about a tenth of a second for a thousand connections, and by default there is one
    each time their number has grown by a quarter: when many peers connect, everyone waits for it again and again.
    What was there before (the libraries) is left out altogether.

    Args:
        clocks: what its timer runs on, and what measures the looks.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._usual = gc.get_threshold()
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        self._usual = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        self._schedule(_PAUSE)

    def stop(self) -> None:
        """Leave the looks to Python again; what was left out stays so."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
            gc.set_threshold(*self._usual)

    def _schedule(self, seconds: float) -> None:
        self._next = self._clocks.reactor.callLater(seconds, self._check)

    def _check(self) -> None:
        begun = self._clocks.uptime()
        gc.collect()
        self._schedule(max(_PAUSE, (self._clocks.uptime() - begun) / _SHARE))
