"""What a run found out: kept, shown, compared, judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from veltix_tx.benchmark.bars import judged
from veltix_tx.benchmark.plot import curves
from veltix_tx.benchmark.profile import stages
from veltix_tx.benchmark.report import bars_table, comparison, table
from veltix_tx.benchmark.results import Outcome, Results, ResultsError


def results(**values: dict[str, list[float]]) -> Results:
    """Return results of workloads: for each peer a value for each round."""
    made = Results()
    for workload, peers in values.items():
        for peer, rounds in peers.items():
            for value in rounds:
                made.add(workload, peer, Outcome({"value": value, "lost": 0, "of": 10}))
    return made


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is saved is loaded again, failures and fractions included."""
    saved = results(receive={"own": [1.5, 2e9], "asyncio": [3]}, latency={"own": [60.25]})
    saved.add("receive", "pyzmq", Outcome(error='it "fell" over \u2026'))
    saved.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == saved


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 5}', '{"results": {"receive": {"own": 5}}}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    """Whatever is in it, the error names the file."""
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json"):
        Results.load(path)


def test_a_round_that_lost_messages_counts_for_nothing() -> None:
    """How fast a peer loses messages is no figure; how many it lost is told."""
    made = results(receive={"own": [100.0], "veltix-1.6.3": [50.0]})
    made.add("receive", "own", Outcome({"value": 200.0, "lost": 0, "of": 10}))
    made.add("receive", "veltix-1.6.3", Outcome({"value": 9000.0, "lost": 3, "of": 10}))
    assert made.values("receive", "veltix-1.6.3") == [50.0]
    assert made.rounds("receive", "veltix-1.6.3") == [50.0, None]
    assert made.trouble("receive", "veltix-1.6.3") == "lost 3 of 20"
    assert made.trouble("receive", "own") == ""
    assert any("lost 3 of 20" in line for line in table(made))


def test_a_failure_is_a_row() -> None:
    """A peer that cannot be measured is in the table, with the reason."""
    made = results(receive={"own": [100.0]})
    made.add("receive", "netconduit", Outcome(error="pip cannot install it"))
    rows = list(table(made))
    assert any("netconduit" in line and line.endswith("pip cannot install it") for line in rows)


def test_the_table_has_ratios_of_rounds() -> None:
    """The ratio is ours in units of the peer's, the median over rounds."""
    rows = list(table(results(receive={"own": [10.0, 1.0, 4.0], "asyncio": [10.0, 2.0, 1.0]})))
    assert any("asyncio" in line and "1.00x" in line for line in rows)


@pytest.mark.parametrize(
    ("workload", "own", "reached"),
    [("receive", 800.0, True), ("receive", 799.0, False), ("pipeline_1", 50.0, True), ("pipeline_1", 51.0, False)],
)
def test_a_bar_is_reached_from_its_right_side(workload: str, own: float, reached: bool) -> None:
    """At least so much where more is better (8x on bursts), at most where less is (0.5x one in flight)."""
    verdicts = [
        each for each in judged(results(**{workload: {"own": [own], "veltix-3.3.0": [100.0]}})) if each.bar.figure == "value"
    ]
    assert [each.reached for each in verdicts] == [reached]


def test_a_bar_without_figures_is_not_reached() -> None:
    """Nothing measured is nothing reached, and the table says which of the two it is."""
    made = results(receive={"own": [100.0]})
    made.add("receive", "asyncio", Outcome(error="it fell over"))
    assert [verdict.reached for verdict in judged(made)] == [False]
    assert list(bars_table(made))[-1].endswith("not measured")


def test_a_bar_may_be_between_two_workloads() -> None:
    """64 MiB may cost three times as much per byte as 1 MiB."""
    enough = results(large_1={"own": [900.0]}, large_64={"own": [301.0]})
    assert [verdict.reached for verdict in judged(enough)] == [True]
    short = results(large_1={"own": [900.0]}, large_64={"own": [299.0]})
    assert [verdict.reached for verdict in judged(short)] == [False]


@pytest.mark.parametrize(
    ("workload", "before", "after", "word"),
    [
        ("receive", 100.0, 150.0, "better"),
        ("receive", 100.0, 60.0, "worse"),
        ("receive", 100.0, 102.0, "as before"),
        ("latency", 100.0, 60.0, "better"),
        ("latency", 100.0, 150.0, "worse"),
    ],
)
def test_a_comparison_knows_what_is_better(workload: str, before: float, after: float, word: str) -> None:
    """More messages, less time; what is within the noise is as before."""
    lines = list(comparison(results(**{workload: {"own": [before]}}), results(**{workload: {"own": [after]}})))
    assert lines[-1].endswith(word)


def test_noise_is_no_change() -> None:
    """A change is one only where it is more than the rounds differ among themselves."""
    lines = list(comparison(results(receive={"own": [50.0, 100.0, 150.0]}), results(receive={"own": [60.0, 115.0, 160.0]})))
    assert lines[-1].endswith("as before")


def test_what_grows_is_drawn_in_order() -> None:
    """A curve's points are sorted by what they are of; one point is no curve."""
    made = results(growth_100={"own": [2.0], "asyncio": [1.0]}, growth_5000={"own": [3.0]}, growth_1={"own": [1.0]})
    assert curves(made)[0][2] == {"own": [(1, 1.0), (100, 2.0), (5000, 3.0)]}


def test_samples_are_put_into_stages() -> None:
    """A function belongs to its floor of the package, to Twisted, or to the standard library."""
    import json as library

    from twisted.internet import defer

    from veltix_tx.net import session
    from veltix_tx.wire import frames

    counted = stages({f"{module.__file__}:f": number for number, module in enumerate((frames, session, defer, library), 1)})
    assert [counted[stage] for stage in ("Twisted", "the standard library")] == [3, 4]
    assert sorted((number, stage.split(":")[0]) for stage, number in counted.items())[:2] == [(1, "wire"), (2, "net")]
