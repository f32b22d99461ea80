"""Histograms, medians and ratios."""

from __future__ import annotations

import json
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.statistics import ratios, spread

TIMES = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)
VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=20)


def histogram(times: list[int]) -> Histogram:
    """Return a histogram of times."""
    made = Histogram()
    made.add(times)
    return made


@given(TIMES, st.sampled_from([50, 95, 99, 99.9, 100]))
def test_a_percentile_is_within_one_part_in_64_of_the_true_one(times: list[int], percent: float) -> None:
    """What so many percent of the times do not exceed is found but for the width of a bucket."""
    wanted = len(times) * percent / 100
    true = next(time for number, time in enumerate(sorted(times), 1) if number >= wanted)
    assert abs(histogram(times).percentile(percent) - true) <= true / 64


@given(TIMES, TIMES)
def test_merging_is_counting_all(some: list[int], others: list[int]) -> None:
    """Two histograms in one are the histogram of both."""
    merged = histogram(some)
    merged.merge(histogram(others))
    assert merged.buckets == histogram(some + others).buckets
    assert len(merged) == len(some) + len(others)


@given(TIMES)
def test_a_histogram_survives_json(times: list[int]) -> None:
    """What a program of a peer tells as JSON is the histogram it had."""
    made = histogram(times)
    assert Histogram(json.loads(json.dumps(made.buckets))).buckets == made.buckets


def test_an_empty_histogram_has_percentiles_of_zero() -> None:
    """Where nothing was measured there is no error."""
    assert Histogram().percentile(99) == 0


@given(VALUES, st.floats(0.1, 100))
def test_a_constant_ratio_is_found_in_any_noise(values: list[float], ratio: float) -> None:
    """Ratios are of the same round: what slows both sides of a round down changes nothing."""
    found = ratios([value * ratio for value in values], values)
    assert all(abs(each / ratio - 1) < 1e-9 for each in found)
    assert abs(median(found) / ratio - 1) < 1e-9


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    """Each round counts by itself."""
    assert median(ratios([10, 1, 4], [10, 2, 1])) == 1.0


def test_a_round_without_both_values_has_no_ratio() -> None:
    """A failed measurement spoils its own round only."""
    assert ratios([1.0, None, 3.0, 4.0], [2.0, 2.0, None]) == [0.5]


@given(VALUES)
def test_a_spread_does_not_depend_on_the_unit(values: list[float]) -> None:
    """It is a part of the median, never negative."""
    assert spread(values) >= 0
    assert abs(spread([value * 1000 for value in values]) - spread(values)) < 1e-6


def test_equal_values_have_no_spread() -> None:
    """Nor have one value or none."""
    assert spread([5.0, 5.0, 5.0]) == spread([5.0]) == spread([]) == 0
