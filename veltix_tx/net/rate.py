"""Token bucket: the rate limiter of pings, violations, error replies and log lines."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TokenBucket"]


class TokenBucket:
    """Token bucket: refills at ``per_second`` tokens per second and holds at most ``burst``.

    Args:
        uptime: a clock that never jumps, in seconds.
        per_second: tokens per second.
        burst: maximum tokens, which is what it begins with.
    """

    __slots__ = ("_burst", "_per_second", "_tokens", "_updated_at", "_uptime")

    def __init__(self, uptime: Callable[[], float], per_second: float, burst: float) -> None:
        self._uptime = uptime
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._updated_at = uptime()

    def available(self) -> float:
        """Return how many tokens there are now; below 0 where more were spent."""
        self._tokens = max(self._tokens, min(self._burst, self._tokens + self._earned()))
        return self._tokens

    def spend(self, tokens: int) -> bool:
        """Take tokens, be there as many or not; return whether there were."""
        self._tokens = self.available() - tokens
        return self._tokens >= 0

    def take(self, tokens: int) -> bool:
        """Take tokens if there are as many; return whether there were."""
        if self.available() < tokens:
            return False
        self._tokens -= tokens
        return True

    def reading_resumed(self) -> None:
        """Credit the time of a pause in reading in full: what waited may come all at once."""
        self._tokens += self._earned()

    def _earned(self) -> float:
        seen, self._updated_at = self._updated_at, self._uptime()
        return (self._updated_at - seen) * self._per_second
