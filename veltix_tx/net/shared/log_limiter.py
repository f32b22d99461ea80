"""Rate limiter for the lines of the log that peers cause: a budget for each source, one for all of them together."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from threading import RLock

from twisted.logger import Logger

from veltix_tx.net.rate import TokenBucket

__all__ = ["ALL_SOURCES", "REMEMBERED", "LogLimiter"]

_log = Logger()

ALL_SOURCES = 200
"""Lines per second about all peers together."""

REMEMBERED = 1024
"""Sources whose budgets are kept; who has not been heard of for longest is forgotten."""

_QUIET = 10.0
"""Seconds without a line about a peer after which what was left out before is told with a line about another."""


class _Source:
    __slots__ = ("budget", "left_out", "seen")

    def __init__(self, budget: TokenBucket) -> None:
        self.budget = budget
        self.left_out = 0
        self.seen = 0.0


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
        self._budget_of_all = TokenBucket(uptime, ALL_SOURCES, ALL_SOURCES)
        self._evicted_left_out = 0
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._suppressed: dict[str, None] = {}
        self._lock = RLock()
        self._silent = False

    def silence(self) -> None:
        """Allow no line any more, and count none: somebody else tells what there is to tell."""
        self._silent = True

    def set_rate(self, per_second: float, burst: float) -> None:
        """Change the budget of each source, which begins anew."""
        with self._lock:
            self._per_second, self._burst = per_second, burst
            for known in self._sources.values():
                known.budget = TokenBucket(self._uptime, per_second, burst)

    def allow(self, source: str) -> bool:
        """Return whether one more line may be logged that this source causes; that line must follow.

        Args:
            source: as :func:`veltix_tx.net.addresses.source_of` gives it.
        """
        if self._silent:
            return False
        with self._lock:
            now, known = self._uptime(), self._look_up(source)
            known.seen = now
            lines = 2 if known.left_out else 1
            if known.budget.available() < min(lines, self._burst) or not self._budget_of_all.take(lines):
                known.left_out += 1
                self._counters["lines_left_out"] += 1
                self._suppressed[source] = None
                return False
            known.budget.spend(lines)
            self._report(source)
            self._report_quiet_sources(now)
            return True

    def close(self) -> None:
        """Log the number of lines that were left out, where that is not done."""
        with self._lock:
            if len(self._suppressed) > 1:
                self._evicted_left_out += sum(self._sources[source].left_out for source in self._suppressed)
                for source in self._suppressed:
                    self._sources[source].left_out = 0
                self._suppressed.clear()
            for source in list(self._suppressed):
                self._report(source)
            self._report_evicted_sources()

    def _look_up(self, source: str) -> _Source:
        known = self._sources.get(source)
        if known is not None:
            self._sources.move_to_end(source)
            return known
        if len(self._sources) >= REMEMBERED:
            oldest, forgotten = self._sources.popitem(last=False)
            self._evicted_left_out += forgotten.left_out
            self._suppressed.pop(oldest, None)
        known = self._sources[source] = _Source(TokenBucket(self._uptime, self._per_second, self._burst))
        return known

    def _report(self, source: str) -> None:
        known = self._sources[source]
        lines, known.left_out = known.left_out, 0
        self._suppressed.pop(source, None)
        if lines:
            _log.warn("{lines} more lines about {source} were left out", lines=lines, source=source or "this machine")

    def _report_quiet_sources(self, now: float) -> None:
        self._report_evicted_sources()
        source = next(iter(self._suppressed), None)
        if source is None or self._budget_of_all.available() < 1:
            return
        if now - self._sources[source].seen > _QUIET:
            self._budget_of_all.spend(1)
            self._report(source)
        else:  # another one's turn next time
            del self._suppressed[source]
            self._suppressed[source] = None

    def _report_evicted_sources(self) -> None:
        lines, self._evicted_left_out = self._evicted_left_out, 0
        if lines:
            self._budget_of_all.spend(1)
            _log.warn("{lines} more lines about other peers were left out", lines=lines)
