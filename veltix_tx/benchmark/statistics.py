"""Medians, spreads and ratios of rounds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

__all__ = ["median", "ratios", "spread"]


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
