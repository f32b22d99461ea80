"""Rate limiter for the lines of the log that peers cause: a budget for each source, one for all of them together."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from threading import RLock

from twisted.logger import Logger

__all__ = ["ALL_SOURCES", "REMEMBERED", "LogLimiter"]

_log = Logger()

ALL_SOURCES = 200
"""Lines per second about all peers together."""

REMEMBERED = 1024
"""Sources whose budgets are kept; who has not been heard of for longest is forgotten."""

_QUIET = 10.0
"""Seconds without a line about a peer after which what was left out before is told with a line about another."""


class _Budget:
    __slots__ = ("burst", "left", "left_out", "per_second", "seen")

    def __init__(self, now: float, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self.left = burst
        self.left_out = 0
        self.seen = now

    def grow(self, now: float) -> None:
        self.left = min(self.burst, self.left + (now - self.seen) * self.per_second)
        self.seen = now


class LogLimiter:
    """Rate limiter for the log lines that peers cause, for one server or client, over all their connections.

    Each source has a budget, and there is one for all together. What is left out is counted, and
    told before the next line about that source, or when it has been quiet for a while. May be
    used from any thread.

    Args:
        uptime: a clock that never jumps, in seconds.
        per_second: lines about one source per second, on average.
        burst: lines about one source in a row.
        counters: where what is left out is counted, as ``lines_left_out``.
    """

    def __init__(self, uptime: Callable[[], float], per_second: float, burst: float, counters: Counter[str] | None = None) -> None:
        self._counters = Counter() if counters is None else counters
        self._uptime = uptime
        self._per_second = per_second
        self._burst = burst
        self._all_sources = _Budget(uptime(), ALL_SOURCES, ALL_SOURCES)
        self._sources: OrderedDict[str, _Budget] = OrderedDict()
        self._suppressed: dict[str, None] = {}
        self._lock = RLock()

    def allow(self, source: str) -> bool:
        """Return whether one more line may be logged that this source causes; that line must follow.

        Args:
            source: as :func:`veltix_tx.net.addresses.source_of` gives it.
        """
        with self._lock:
            now, everyone = self._uptime(), self._all_sources
            budget = self._budget(source, now)
            everyone.grow(now)
            lines = 2 if budget.left_out else 1
            if budget.left < min(lines, budget.burst) or everyone.left < lines:
                budget.left_out += 1
                self._counters["lines_left_out"] += 1
                self._suppressed[source] = None
                return False
            budget.left -= lines
            everyone.left -= lines
            self._report(source)
            self._report_quiet_sources(now)
            return True

    def close(self) -> None:
        """Log the number of lines that were left out, where that is not done."""
        with self._lock:
            if len(self._suppressed) > 1:
                self._all_sources.left_out += sum(self._sources[source].left_out for source in self._suppressed)
                for source in self._suppressed:
                    self._sources[source].left_out = 0
                self._suppressed.clear()
            for source in list(self._suppressed):
                self._report(source)
            self._report_evicted_sources()

    def _budget(self, source: str, now: float) -> _Budget:
        budget = self._sources.get(source)
        if budget is not None:
            self._sources.move_to_end(source)
            budget.grow(now)
            return budget
        if len(self._sources) >= REMEMBERED:
            oldest, forgotten = self._sources.popitem(last=False)
            self._all_sources.left_out += forgotten.left_out
            self._suppressed.pop(oldest, None)
        budget = self._sources[source] = _Budget(now, self._per_second, self._burst)
        return budget

    def _report(self, source: str) -> None:
        budget = self._sources[source]
        lines, budget.left_out = budget.left_out, 0
        self._suppressed.pop(source, None)
        if lines:
            _log.warn("{lines} more lines about {source} were left out", lines=lines, source=source or "this machine")

    def _report_quiet_sources(self, now: float) -> None:
        self._report_evicted_sources()
        source = next(iter(self._suppressed), None)
        if source is None or self._all_sources.left < 1:
            return
        if now - self._sources[source].seen > _QUIET:
            self._all_sources.left -= 1
            self._report(source)
        else:  # another one's turn next time
            del self._suppressed[source]
            self._suppressed[source] = None

    def _report_evicted_sources(self) -> None:
        lines, self._all_sources.left_out = self._all_sources.left_out, 0
        if lines:
            self._all_sources.left -= 1
            _log.warn("{lines} more lines about other peers were left out", lines=lines)
