"""Times in a histogram: any number of them in little memory, percentiles within one part in 64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Histogram"]

_BITS = 6
"""Each doubling is cut into two to the power of this."""


class Histogram:
    """Counts of nanoseconds in buckets that grow with the value.

    Args:
        buckets: as :attr:`buckets` of another gave them, the keys as text or not.
    """

    def __init__(self, buckets: Mapping[str, int] | Mapping[int, int] | None = None) -> None:
        self.buckets: Counter[int] = Counter({int(bucket): number for bucket, number in (buckets or {}).items()})

    def __len__(self) -> int:
        return sum(self.buckets.values())

    def add(self, times: Iterable[int]) -> None:
        """Count times in nanoseconds."""
        self.buckets.update(map(_bucket, times))

    def merge(self, other: Histogram) -> None:
        """Count everything another has counted."""
        self.buckets.update(other.buckets)

    def percentile(self, percent: float) -> float:
        """Return the nanoseconds that so many percent of the times do not exceed, 0 where there are none."""
        wanted = len(self) * percent / 100
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return _middle(bucket)
        return 0.0


def _bucket(time: int) -> int:
    shift = max(0, time.bit_length() - _BITS - 1)
    return (shift << _BITS + 1) + (time >> shift)


def _middle(bucket: int) -> float:
    shift, top = bucket >> _BITS + 1, bucket & (2 << _BITS) - 1
    return ((top << shift) + ((1 << shift) - 1) / 2) if shift else float(top)
