"""Histograms, medians, ratios and their intervals."""

from __future__ import annotations

import json
import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.benchmark.histogram import Histogram
from veltix_tx.benchmark.statistics import ENOUGH, Interval, interval, ratios, spread

TIMES = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)
VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=20)
ENOUGH_VALUES = st.lists(st.floats(0.1, 1e6), min_size=ENOUGH, max_size=12)


def histogram(times: list[int]) -> Histogram:
    """Return a histogram of times."""
    made = Histogram()
    made.add(times)
    return made


def bounds(values: list[float]) -> tuple[float, float]:
    """Return the bounds of values that are enough for some."""
    found = interval(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@settings(deadline=None)
@given(TIMES, st.sampled_from([50, 95, 99, 99.9, 100]))
def test_a_percentile_is_within_one_part_in_64_of_the_true_one(times: list[int], percent: float) -> None:
    """What so many percent of the times do not exceed is found but for the width of a bucket."""
    wanted = len(times) * percent / 100
    true = next(time for number, time in enumerate(sorted(times), 1) if number >= wanted)
    assert abs(histogram(times).percentile(percent) - true) <= true / 64


@settings(deadline=None)
@given(TIMES, TIMES)
def test_merging_is_counting_all(some: list[int], others: list[int]) -> None:
    """Two histograms in one are the histogram of both."""
    merged = histogram(some)
    merged.merge(histogram(others))
    assert merged.buckets == histogram(some + others).buckets
    assert len(merged) == len(some) + len(others)


@settings(deadline=None)
@given(TIMES)
def test_a_histogram_survives_json(times: list[int]) -> None:
    """What a program of a peer tells as JSON is the histogram it had."""
    made = histogram(times)
    assert Histogram(json.loads(json.dumps(made.buckets))).buckets == made.buckets


def test_an_empty_histogram_has_percentiles_of_zero() -> None:
    """Where nothing was measured there is no error."""
    assert Histogram().percentile(99) == 0


@settings(deadline=None)
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


@settings(deadline=None)
@given(VALUES)
def test_a_spread_does_not_depend_on_the_unit(values: list[float]) -> None:
    """It is a part of the median, never negative."""
    assert spread(values) >= 0
    assert abs(spread([value * 1000 for value in values]) - spread(values)) < 1e-6


def test_equal_values_have_no_spread() -> None:
    """Nor have one value or none."""
    assert spread([5.0, 5.0, 5.0]) == spread([5.0]) == spread([]) == 0


@settings(deadline=None)
@given(ENOUGH_VALUES)
def test_an_interval_is_within_the_values_and_round_their_median(values: list[float]) -> None:
    """Resampling invents nothing: the bounds are among what was measured, the median between them."""
    low, high = bounds(values)
    assert min(values) <= low <= median(values) <= high <= max(values)


@settings(deadline=None)
@given(ENOUGH_VALUES, st.randoms(use_true_random=False))
def test_an_interval_is_always_the_same(values: list[float], shuffle: random.Random) -> None:
    """The same values have the same interval in every process, whatever was drawn before."""
    first = interval(values)
    random.random()
    shuffle.random()
    assert interval(list(values)) == first


def test_an_interval_narrows_with_the_rounds() -> None:
    """More rounds of the same noise say more."""
    noise = random.Random(7)
    few, many = ([noise.gauss(10, 1) for _ in range(number)] for number in (5, 60))
    assert bounds(many)[1] - bounds(many)[0] < bounds(few)[1] - bounds(few)[0]


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of intervals of nine values each, with a known median, nine in ten and more have it between their bounds."""
    noise = random.Random(11)
    covered = 0
    for _ in range(200):
        low, high = bounds([noise.gauss(10, 1) for _ in range(9)])
        covered += low <= 10 <= high
    assert covered >= 180


@pytest.mark.parametrize("number", range(1, ENOUGH))
def test_few_values_have_a_median_and_no_bounds(number: int) -> None:
    """Of one round or two nothing can be said about the next."""
    assert interval([4.0] * number) == Interval(4.0, None, None, number)


def test_no_values_have_no_interval() -> None:
    """Nothing measured is nothing shown."""
    assert interval([]) is None
