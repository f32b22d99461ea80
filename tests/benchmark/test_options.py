"""The command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from veltix_tx.benchmark.bars import BARS
from veltix_tx.benchmark.options import main, parse
from veltix_tx.benchmark.peers import COMPILED, OWN, PEERS, PURE
from veltix_tx.benchmark.results import Case, Outcome, Results
from veltix_tx.benchmark.workloads import COMPARED, GROUPS, WORKLOADS
from veltix_tx.wire.veltix import codec

UPSTREAM = {
    "latency_iterations": 2000,
    "fps_players": 64,
    "fps_tick_rate": 64,
    "fps_duration": 5.0,
    "fps2_players": 128,
    "fps2_tick_rate": 20,
    "burst_count": 10_000,
    "burst_payload": 64,
    "stress_clients": 100,
    "stress_msgs": 100,
}


def names(things: list[object]) -> list[str]:
    """Return the names of workloads or peers."""
    return [thing.name for thing in things]  # type: ignore[attr-defined]


def test_without_options_it_is_upstreams_benchmark_of_this_package() -> None:
    """Upstream's five workloads with its sizes, and nobody else."""
    options = parse([])
    assert names(options.workloads) == ["memory", "latency", "fps_1", "fps_2", "burst", "stress"]
    assert names(options.peers) == [OWN]
    assert options.rounds == 1
    assert {name: getattr(options.sizes, name) for name in UPSTREAM} == UPSTREAM


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstreams_sizes_have_upstreams_names(name: str) -> None:
    """``--latency-iterations 7`` and the others mean here what they mean there."""
    assert getattr(parse([f"--{name.replace('_', '-')}", "7"]).sizes, name) == 7


@pytest.mark.parametrize("option", ["--save", "--json"])
def test_results_go_where_either_name_says(option: str) -> None:
    """Upstream's ``--save`` and ``--json`` are one option."""
    assert parse([option, "results.json"]).save.name == "results.json"


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_all_its_workloads(group: str) -> None:
    """A group stands for workloads that there are, in the order of the table."""
    assert names(parse(["--only", group]).workloads) == list(GROUPS[group])
    assert GROUPS[group]


def test_workloads_come_once_and_in_order() -> None:
    """However often and in whatever order they are named."""
    assert names(parse(["--only", "receive", "burst", "receive"]).workloads) == ["burst", "receive"]


def test_this_package_is_always_measured_first() -> None:
    """The others are compared with it."""
    assert names(parse(["--peers", "asyncio", "own", "veltix-3.3.0"]).peers) == [OWN, "asyncio", "veltix-3.3.0"]


def test_a_codec_named_stands_for_this_package() -> None:
    """Who asks for one codec or both gets them first, and not the one in use a second time."""
    assert names(parse(["--peers", "asyncio", "pure", "compiled"]).peers) == [PURE, COMPILED, "asyncio"]
    assert names(parse(["--peers", "pure", "own"]).peers) == [PURE, OWN]


def test_the_usual_header_is_that_of_the_latest_release() -> None:
    """15 bytes; others, or several, where they are asked for."""
    assert parse([]).headers == [15]
    assert parse(["--wire", "22"]).headers == [22]
    assert parse(["--wire", "15", "22", "62"]).headers == [15, 22, 62]


def test_a_window_is_half_a_second_and_noise_a_twentieth() -> None:
    """Unless the command line says otherwise."""
    sizes = parse([]).sizes
    assert (sizes.window, sizes.noise, sizes.repeats) == (0.5, 0.05, 2)
    sizes = parse(["--window", "2", "--noise", "0.2", "--repeats", "0", "--scale", "0.5"]).sizes
    assert (sizes.window, sizes.noise, sizes.repeats, sizes.seconds) == (2.0, 0.2, 0, 1.0)


def test_another_checkout_brings_what_is_compared() -> None:
    """Both codecs where they are there, two headers, several rounds, this package alone."""
    options = parse(["--compare", "elsewhere", "--peers", "asyncio", "pure"])
    assert names(options.workloads) == [name for name in WORKLOADS if name in COMPARED]
    assert names(options.peers) == [PURE]
    assert (options.headers, options.rounds) == ([15, 22], 5)
    both = names(parse(["--compare", "elsewhere"]).peers)
    assert both == ([COMPILED, PURE] if "c" in codec.available() else [PURE])


def test_bars_bring_their_workloads_and_peers() -> None:
    """One option measures everything that there is something to reach for, several times."""
    options = parse(["--bars"])
    assert {bar.workload for bar in BARS} <= set(names(options.workloads))
    assert {bar.than for bar in BARS if bar.than} <= set(names(options.peers))
    assert (COMPILED in names(options.peers)) == ("c" in codec.available())
    assert options.rounds == 5


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--only", "nothing"], "choose from"),
        (["--peers", "nobody"], "choose from"),
        (["--rounds", "0"], "--rounds"),
        (["--scale", "0"], "--scale"),
        (["--burst-count", "-1"], "--burst-count"),
        (["--wire", "16"], "--wire"),
        (["--window", "0"], "--window"),
        (["--repeats", "-1"], "--repeats"),
        (["--compare", "one", "two", "three"], "one checkout, or two files"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(arguments: list[str], remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the last line of stderr says what could be."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert remedy in capsys.readouterr().err.splitlines()[-1]


def test_help_names_every_workload() -> None:
    """Whoever asks for help learns what there is."""
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0


def test_a_file_that_is_none_of_results_is_named(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Comparing what cannot be compared ends with status 1 and a line."""
    assert main(["--compare", "missing.json", "missing.json"]) == 1
    assert "missing.json" in capsys.readouterr().err


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and a line that says what is not there, before anything is measured."""
    assert main(["--compare", str(tmp_path)]) == 1
    assert "no veltix_tx in it" in capsys.readouterr().err


def test_the_method_page_names_every_peer_and_size() -> None:
    """Whoever reads it knows what there is to be measured, and with what."""
    method = (Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "method.md").read_text(encoding="utf-8")
    assert [name for name in PEERS if f"`{name}`" not in method] == []
    assert [name for name in (*GROUPS, *WORKLOADS) if name not in method and name.rpartition("_")[0] not in method] == []
    assert [name for name in ("window", "noise", "repeats", "scale", "wire", "page") if f"--{name}" not in method] == []


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """As with other tools of the command line: no traceback, and the page is written."""
    saved, written = tmp_path / "results.json", tmp_path / "page.md"
    made = Results()
    for workload in WORKLOADS:
        made.add(Case.parse(workload), OWN, Outcome({"value": 1.0, "lost": 0}))
    made.save(saved)
    command = [sys.executable, "-m", "veltix_tx.benchmark", "--show", str(saved), "--page", str(written)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == -signal.SIGPIPE
    assert written.read_text().startswith("# A full run")


def test_an_interrupt_ends_it_with_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 130, as a shell expects."""

    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("veltix_tx.benchmark.options.run", interrupted)
    assert main(["--only", "idle"]) == 130
    assert capsys.readouterr().out == "interrupted\n"


def test_every_bar_is_of_workloads_and_peers_there_are() -> None:
    """The table of bars names nothing else."""
    for bar in BARS:
        than = [name for name in (bar.than, bar.peer) if name]
        parse(["--only", bar.workload, *([bar.than_workload] if bar.than_workload else []), "--peers", *than])
        assert WORKLOADS[bar.workload]
