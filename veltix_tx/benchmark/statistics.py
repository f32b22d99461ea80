"""Medians, spreads, ratios of rounds, and how far those can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from statistics import median, quantiles

__all__ = ["ENOUGH", "Interval", "interval", "median", "ratios", "spread"]

ENOUGH = 3
"""Values for which there is an interval; of fewer it would say nothing."""

_SEED = 20
_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A median, and between what bounds it is likely to be.

    Attributes:
        middle: the median.
        low: the lower bound; None where there are too few values.
        high: the upper bound.
        rounds: how many values there were.
    """

    middle: float
    low: float | None
    high: float | None
    rounds: int

    @property
    def shown(self) -> bool:
        """True if there were values enough for bounds."""
        return self.low is not None

    @property
    def width(self) -> float:
        """Half the distance of the bounds as a part of the median; 0 where there are none."""
        if self.low is None or self.high is None or not self.middle:
            return 0.0
        return (self.high - self.low) / 2 / abs(self.middle)


def interval(values: Sequence[float]) -> Interval | None:
    """Return the median of values and its 95 % bootstrap interval (percentiles, always the same draws); None for no values.

    So many values are drawn from the values again and again, each time with replacement; between the bounds are 95 % of
    the medians of such draws.
    """
    if not values:
        return None
    middle, number = median(values), len(values)
    if number < ENOUGH:
        return Interval(middle, None, None, number)
    medians = sorted(median([values[at] for at in draw]) for draw in _draws(number))
    edge = int(_RESAMPLES * (1 - _LEVEL) / 2)
    return Interval(middle, medians[edge], medians[-1 - edge], number)


@lru_cache(maxsize=32)
def _draws(number: int) -> list[list[int]]:
    random = Random(_SEED)
    return [random.choices(range(number), k=number) for _ in range(_RESAMPLES)]


def spread(values: Sequence[float]) -> float:
    """Return half the distance of the quartiles as a part of the median, 0 for less than two values."""
    middle = median(values) if values else 0.0
    if len(values) < 2 or not middle:
        return 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return abs((high - low) / 2 / middle)


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """Return our value in units of theirs for each round in which there are both."""
    return [our / their for our, their in zip(ours, theirs, strict=False) if our is not None and their]
