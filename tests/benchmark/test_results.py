"""What a run found out: kept, shown, compared, judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from veltix_tx.benchmark.bars import BARS, Bar, judged
from veltix_tx.benchmark.plot import advantages, curves
from veltix_tx.benchmark.profile import stages
from veltix_tx.benchmark.report import bars_table, between_checkouts, comparison, page, shown_interval, table
from veltix_tx.benchmark.results import Case, Outcome, Results, ResultsError
from veltix_tx.benchmark.statistics import Interval

RECEIVE, PIPELINE, LARGE = Case("receive"), Case("pipeline_64"), Case("large_1")


def results(**values: dict[str, list[float]]) -> Results:
    """Return results of workloads: for each peer a value for each round."""
    made = Results()
    for workload, peers in values.items():
        for peer, rounds in peers.items():
            for value in rounds:
                made.add(Case.parse(workload), peer, Outcome({"value": value, "lost": 0, "of": 10}))
    return made


def with_cpu(case: Case, peer: str, *rounds: tuple[float, float], into: Results, **more: float) -> None:
    """Add rounds of a value and of the server's CPU; the client takes as much."""
    for value, cpu in rounds:
        figures = {"value": value, "server_cpu": cpu, "client_cpu": cpu, "cpu": 2 * cpu, "lost": 0, "of": 10}
        into.add(case, peer, Outcome(figures | more))


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is saved is loaded again, failures, fractions and headers included."""
    saved = results(receive={"own": [1.5, 2e9], "asyncio": [3]}, latency={"own": [60.25]}, memory={"own": [1.0]})
    saved.add(RECEIVE, "pyzmq", Outcome(error='it "fell" over \u2026'))
    saved.add(Case("receive", 22), "own", Outcome({"value": 2.0, "lost": 0}))
    saved.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == saved


def test_a_file_has_the_ratios_with_their_intervals(tmp_path: Path) -> None:
    """By case, peer of this package and other peer: what others draw from it needs no second reckoning."""
    results(receive={"own": [10.0, 20.0, 30.0], "asyncio": [10.0, 10.0, 10.0]}).save(tmp_path / "results.json")
    ratio = json.loads((tmp_path / "results.json").read_text())["ratios"]["receive"]["own"]["asyncio"]
    assert ratio["wall"] == {"middle": 2.0, "low": 1.0, "high": 3.0, "rounds": 3}
    assert ratio["cpu"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 5}', '{"results": {"receive": {"own": 5}}}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    """Whatever is in it, the error names the file."""
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json"):
        Results.load(path)


@pytest.mark.parametrize("case", [Case("receive"), Case("receive", 22), Case("echo_64", 62), Case("memory", 0)])
def test_a_case_survives_as_text(case: Case) -> None:
    """The usual header goes without saying, and so does none."""
    assert Case.parse(str(case)) == case


@pytest.mark.parametrize(
    ("figure", "remark"), [("lost", "lost 3 of 20"), ("wrong", "3 of 20 arrived that were not sent")], ids=["lost", "wrong"]
)
def test_a_round_without_everything_counts_for_nothing(figure: str, remark: str) -> None:
    """How fast a peer loses or spoils messages is no figure; how many is told."""
    made = results(receive={"own": [100.0], "veltix-1.6.3": [50.0]})
    made.add(RECEIVE, "own", Outcome({"value": 200.0, "lost": 0, "of": 10}))
    made.add(RECEIVE, "veltix-1.6.3", Outcome({"value": 9000.0, "lost": 0, "of": 10} | {figure: 3}))
    assert made.values(RECEIVE, "veltix-1.6.3") == [50.0]
    assert made.rounds(RECEIVE, "veltix-1.6.3") == [50.0, None]
    assert made.trouble(RECEIVE, "veltix-1.6.3") == remark
    assert made.trouble(RECEIVE, "own") == ""
    assert any(remark in line for line in table(made))


def test_another_order_is_a_remark_and_an_error_of_ours() -> None:
    """Some peers promise no order: their figure stands, with a remark. This package does promise it."""
    made = Results()
    for peer in ("own", "veltix-3.3.0"):
        made.add(RECEIVE, peer, Outcome({"value": 5.0, "lost": 0, "of": 10, "reordered": 1}))
    assert made.values(RECEIVE, "veltix-3.3.0") == [5.0]
    assert made.trouble(RECEIVE, "veltix-3.3.0") == ""
    assert made.trouble(RECEIVE, "own") == "not in order"
    assert sum("not in order" in line for line in table(made)) == 2


def test_a_failure_is_a_row() -> None:
    """A peer that cannot be measured is in the table, with the reason."""
    made = results(receive={"own": [100.0]})
    made.add(RECEIVE, "netconduit", Outcome(error="pip cannot install it"))
    rows = list(table(made))
    assert any("netconduit" in line and line.endswith("pip cannot install it") for line in rows)


def test_the_table_has_ratios_of_rounds_with_their_interval() -> None:
    """The ratio is ours in units of the peer's, the median over rounds, and between what bounds it is."""
    rows = list(table(results(receive={"own": [10.0, 1.0, 4.0], "asyncio": [10.0, 2.0, 1.0]})))
    assert any("asyncio" in line and "1.00 [0.50-4.00]" in line for line in rows)


def test_the_table_has_the_cpu_beside_every_rate() -> None:
    """Of the server, and of the client or of what drives the server in its place, and the ratio by it."""
    made = Results()
    with_cpu(RECEIVE, "own", *[(10.0, 1.5)] * 3, into=made)
    with_cpu(RECEIVE, "asyncio", *[(10.0, 4.5)] * 3, into=made)
    with_cpu(PIPELINE, "own", (10.0, 1.5), into=made)
    rows = list(table(made))
    assert any("server µs" in line and "driver µs" in line and "by CPU" in line for line in rows)
    assert any("server µs" in line and "client µs" in line for line in rows)
    assert any("asyncio" in line and "4.5" in line and "3.00 [3.00-3.00]" in line for line in rows)


def test_what_the_benchmark_costs_is_a_row_without_a_ratio() -> None:
    """The handler's and the driver's CPU, and nothing to compare."""
    made = results(receive={"own": [100.0]})
    made.add(RECEIVE, "handler", Outcome({"server_cpu": 0.07, "lost": 0, "seconds": 1.0}))
    assert any(line.split() == ["(the", "handler", "alone)", "0.07"] for line in table(made))
    assert list(made.pairs()) == []


def test_the_table_says_which_header_a_peer_of_one_speaks() -> None:
    """Beside the others, whose header is the one asked for."""
    made = results(**{"receive@22": {"own": [1.0], "veltix-3.3.0": [1.0]}})
    rows = list(table(made))
    assert any("headers of 22 bytes" in line for line in rows)
    assert any("veltix 3.3.0 (15 bytes)" in line for line in rows)
    assert not any("veltix_tx (" in line for line in rows[2:])


def test_both_codecs_are_compared_with_everybody() -> None:
    """Each of this package's peers has its own ratios, and they are compared with each other once."""
    made = results(receive={"asyncio": [2.0], "pure": [4.0], "compiled": [8.0]})
    assert [(one, than) for _, one, than in made.pairs()] == [("compiled", "pure"), ("compiled", "asyncio"), ("pure", "asyncio")]
    rows = list(table(made))
    assert any("compiled: ratio" in line and "pure: ratio" in line for line in rows)
    assert any("asyncio" in line and "4.00" in line and "2.00" in line for line in rows)


@pytest.mark.parametrize(
    ("workload", "own", "word"),
    [
        ("receive", [800.0] * 3, "reached"),
        ("receive", [799.0] * 3, "falls short"),
        ("receive", [700.0, 900.0, 900.0], "not shown"),
        ("receive", [900.0], "not shown: too few rounds"),
        ("pipeline_1", [50.0] * 3, "reached"),
        ("pipeline_1", [51.0] * 3, "falls short"),
        ("pipeline_1", [40.0, 49.0, 51.0], "not shown"),
    ],
)
def test_a_bar_is_reached_where_the_whole_interval_is(workload: str, own: list[float], word: str) -> None:
    """At least so much where more is better (8x on bursts), at most where less is (0.5x one in flight)."""
    made = results(**{workload: {"own": own, "veltix-3.3.0": [100.0] * len(own)}})
    assert [each.word for each in judged(made) if each.bar.figure == "value"] == [word]


def test_a_bar_without_figures_is_not_reached() -> None:
    """Nothing measured is nothing reached, and the table says which of the two it is."""
    made = results(receive={"own": [100.0]})
    made.add(RECEIVE, "asyncio", Outcome(error="it fell over"))
    assert [verdict.reached for verdict in judged(made)] == [False]
    assert list(bars_table(made))[-1].endswith("not measured")


def test_a_bar_may_be_between_two_workloads() -> None:
    """64 MiB may cost three times as much per byte as 1 MiB; the CPU of a message says nothing there."""
    for large, word in ((301.0, "reached"), (299.0, "falls short")):
        made = Results()
        with_cpu(LARGE, "own", *[(900.0, 1.0)] * 3, into=made)
        with_cpu(Case("large_64"), "own", *[(large, 64.0)] * 3, into=made)
        (verdict,) = judged(made)
        assert (verdict.word, verdict.ratio.cpu) == (word, None)


def test_a_bar_of_ours_is_that_of_each_codec_and_header_measured() -> None:
    """A full run has a verdict for each."""
    peers = {"pure": [800.0] * 3, "compiled": [900.0] * 3, "asyncio": [100.0] * 3}
    made = results(receive=peers, **{"receive@22": peers})
    found = [(str(each.case), each.peer) for each in judged(made) if each.bar == Bar("receive", "asyncio", 1.2)]
    assert found == [("receive", "compiled"), ("receive", "pure"), ("receive@22", "compiled"), ("receive@22", "pure")]


def test_noisy_rounds_are_judged_by_cpu() -> None:
    """What others did to the times is no verdict; without noise it is the times that count."""
    for noisy, word, by_cpu in ((0.0, "falls short", False), (1.0, "reached", True)):
        made = Results()
        with_cpu(RECEIVE, "own", *[(100.0, 1.0)] * 3, into=made, noisy=noisy)
        with_cpu(RECEIVE, "veltix-3.3.0", *[(100.0, 9.0)] * 3, into=made)
        (verdict,) = judged(made)
        assert (verdict.word, verdict.ratio.by_cpu, verdict.ratio.noisy) == (word, by_cpu, 3 * int(noisy))
        assert list(bars_table(made))[-1].endswith(", by CPU") is by_cpu


def test_times_that_scatter_are_judged_by_cpu_if_that_does_not() -> None:
    """Also where the system does not say what others used."""
    made = Results()
    with_cpu(RECEIVE, "own", (50.0, 1.0), (100.0, 1.0), (150.0, 1.0), into=made)
    with_cpu(RECEIVE, "asyncio", *[(100.0, 2.0)] * 3, into=made)
    assert made.ratio(RECEIVE, "own", "asyncio").by_cpu


@pytest.mark.parametrize(("case", "busy"), [(RECEIVE, 2.0), (PIPELINE, 3.0), (Case("pipeline_1"), 5.0)], ids=str)
def test_the_cpu_compared_is_that_which_limits(case: Case, busy: float) -> None:
    """The server's where the raw client drives it, the busier one's where both are a peer's, of both where it is a time."""
    made = Results()
    made.add(case, "own", Outcome({"value": 1.0, "server_cpu": 2.0, "client_cpu": 3.0, "lost": 0}))
    assert made.busy(case, "own") == [busy]


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


@pytest.mark.parametrize(
    ("here", "word"),
    [
        ([1.0, 1.01, 0.99, 1.0, 1.0], "alike"),
        ([1.1, 1.12, 1.09, 1.1, 1.1], "more"),
        ([0.8, 0.81, 0.82, 0.8, 0.8], "less"),
        ([0.8, 1.2, 1.1, 0.9, 1.0], "not shown"),
        ([1.02, 1.02, 1.09, 1.02, 1.02], "not shown"),
        ([1.1, 1.1, 1.1], "not shown: too few rounds"),
    ],
)
def test_two_checkouts_are_compared_by_cpu(here: list[float], word: str) -> None:
    """This one's in units of the other's: alike within a trifle, more or less where every likely value is."""
    made = Results()
    with_cpu(RECEIVE, "pure", *[(100.0, cpu) for cpu in here], into=made)
    with_cpu(RECEIVE, "pure@other", *[(100.0, 1.0)] * len(here), into=made)
    (line,) = list(between_checkouts(made))[4:]
    assert line.split()[:2] == ["receive", "pure"]
    assert line.endswith(word)


def test_memory_of_two_checkouts_is_compared_by_its_value() -> None:
    """Where nothing takes time there is no CPU."""
    made = results(idle={"pure": [2.0] * 5, "pure@other": [2.0] * 5})
    assert list(between_checkouts(made))[-1].split() == ["idle", "pure", "2", "2", "1.00", "[1.00-1.00]", "alike"]


def test_a_page_has_the_command_the_tables_and_the_picture(tmp_path: Path) -> None:
    """In Markdown, with a link to the method, and no path but the picture's name."""
    made = results(receive={"own": [900.0] * 3, "veltix-3.3.0": [100.0] * 3})
    lines = list(page(made, "veltix bench --bars", tmp_path / "run.png"))
    assert "veltix bench --bars" in lines
    assert any("(run.png)" in line for line in lines)
    assert set(table(made)) | set(bars_table(made)) <= set(lines)
    assert (lines.count("```sh"), lines.count("```text")) == (1, 2)
    assert not any(str(tmp_path) in line for line in lines)


def test_a_page_keeps_the_notes_written_by_hand() -> None:
    """A new run changes the figures, not what somebody wrote about them."""
    made = results(receive={"own": [900.0], "veltix-3.3.0": [100.0]})
    first = "\n".join([*page(made, "veltix bench", None), "", "## Notes", "", "- mind the gap", ""])
    again = "\n".join([*page(made, "veltix bench --rounds 3", None, first), ""])
    assert again == first.replace("veltix bench", "veltix bench --rounds 3")


def test_an_interval_is_shown_only_if_there_is_one() -> None:
    """Of too few rounds there is a median, of none nothing."""
    assert shown_interval(Interval(1.5, 1.0, 2.0, 3)) == "1.50 [1.00-2.00]"
    assert shown_interval(Interval(1.5, None, None, 2)) == "1.50"
    assert shown_interval(None) == ""


def test_what_grows_is_drawn_in_order() -> None:
    """A curve's points are sorted by what they are of; one point is no curve."""
    made = results(growth_100={"own": [2.0], "asyncio": [1.0]}, growth_5000={"own": [3.0]}, growth_1={"own": [1.0]})
    assert curves(made)[0][2] == {"own": [(1, 1.0), (100, 2.0), (5000, 3.0)]}


def test_being_ahead_is_more_than_one_whatever_is_better() -> None:
    """Twice the rate and half the time are both twice as good, each with its bounds on the right side."""
    made = results(receive={"own": [2.0, 2.0, 4.0], "asyncio": [1.0] * 3}, latency={"own": [1.0, 1.0, 0.5], "asyncio": [2.0] * 3})
    assert [(case, three) for case, _, three, _ in advantages(made)["asyncio"]] == [
        ("receive", (2.0, 2.0, 4.0)),
        ("latency", (2.0, 2.0, 4.0)),
    ]


def test_samples_are_put_into_stages() -> None:
    """A function belongs to its floor of the package, to Twisted, or to the standard library."""
    import json as library

    from twisted.internet import defer

    from veltix_tx.net.session import session
    from veltix_tx.wire.veltix import frames

    counted = stages({f"{module.__file__}:f": number for number, module in enumerate((frames, session, defer, library), 1)})
    assert sorted((number, stage.split(":")[0]) for stage, number in counted.items()) == [
        (1, "decode"),
        (2, "dispatch"),
        (3, "Twisted"),
        (4, "the standard library"),
    ]
    system_calls = stages({"/x/twisted/internet/tcp.py:doRead": 1, "/x/veltix_tx/net/transport/sockets.py:write_straight": 2})
    assert system_calls == {"system calls and the kernel": 3}
    assert stages({"/x/veltix_tx/wire/veltix/connection.py:send": 1, "collector:": 2}) == {"encode": 1, "garbage collector": 2}


def test_every_bar_is_one() -> None:
    """No bar is there twice, and each says what is to be reached."""
    assert len(set(BARS)) == len(BARS)
    assert all(bar.ratio > 0 for bar in BARS)


@pytest.mark.parametrize(("reached", "word"), [(51_000.0, "reached"), (49_000.0, "falls short")])
def test_a_bar_may_be_a_figure(reached: float, word: str) -> None:
    """Such a bar is compared with nobody; of times less is better."""
    made = Results()
    for _ in range(3):
        made.add(Case.parse("cross_node_1"), "own", Outcome({"value": reached, "p99": 2e8 / reached, "lost": 0}))
    assert [(each.bar.figure, each.word) for each in judged(made)] == [
        ("value", word),
        ("p99", "reached" if reached > 20_000 else "falls short"),
    ]
    assert any(line.startswith("cross_node_1 ") and line.endswith(word) for line in bars_table(made))
