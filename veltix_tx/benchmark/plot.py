"""Pictures of a run: how this package compares with each peer, what each reached, and how figures grow. Needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from veltix_tx.benchmark.peers import COSTS, ours, title
from veltix_tx.benchmark.results import Case, Results
from veltix_tx.benchmark.statistics import interval, median

__all__ = ["Advantage", "Curve", "PlotError", "advantages", "check_drawing", "curves", "draw"]

_COLUMNS = 4
_LOADS = "pipeline_"
_GROWTH = "growth_"
_TICKS = [number * 10**power for power in range(-3, 5) for number in (1, 2, 5)]

Curve = dict[str, list[tuple[int, float]]]
"""For each peer the points of a line."""

Advantage = tuple[str, str, tuple[float, float, float], bool]
"""Of a case and a peer of this package: how many times it is ahead, with its bounds; whether by CPU."""


class PlotError(Exception):
    """There is nothing to draw with, or nothing to draw."""


def check_drawing() -> None:
    """Check that there is something to draw with.

    Raises:
        PlotError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PlotError("drawing needs matplotlib: pip install 'veltix-tx[bench]'")


def draw(results: Results, path: Path) -> None:
    """Draw a run's results into a file.

    Raises:
        PlotError: matplotlib is not installed, or there are no results.
    """
    check_drawing()
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    peers = list(dict.fromkeys(peer for case in results.outcomes for peer in results.peers(case) if peer not in COSTS))
    colours = {peer: pyplot.get_cmap("tab20")(number % 20) for number, peer in enumerate(peers)}
    bars = [case for case in results.outcomes if not case.workload.startswith(_GROWTH)]
    lines = [each for each in curves(results) if each[2]]
    compared = advantages(results)
    total = len(bars) + len(lines)
    if not total:
        raise PlotError("there are no results to draw")
    above, rows = -(-len(compared) // _COLUMNS), -(-total // _COLUMNS)
    tall = 1 + 0.22 * max((len({case for case, *_ in each}) for each in compared.values()), default=0)
    figure = pyplot.figure(figsize=(5 * _COLUMNS, tall * above + 3.2 * rows), layout="constrained")
    grid = figure.add_gridspec(above + rows, _COLUMNS, height_ratios=[tall] * above + [3.2] * rows)
    for number, (than, found) in enumerate(compared.items()):
        _points(figure.add_subplot(grid[number // _COLUMNS, number % _COLUMNS]), than, found, colours)
    for number in range(total):
        axis = figure.add_subplot(grid[above + number // _COLUMNS, number % _COLUMNS])
        if number < len(bars):
            _bars(axis, results, bars[number], colours)
        else:
            _lines(axis, *lines[number - len(bars)], colours)
    figure.suptitle(
        f"veltix_tx {results.version}, {results.timestamp}, {results.system.get('python')}; whiskers are 95 % bootstrap intervals"
    )
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def advantages(results: Results) -> dict[str, list[Advantage]]:
    """Return by how much this package is ahead of each peer: by time, or by CPU where the times are noisy; 1 is level."""
    found: dict[str, list[Advantage]] = {}
    for case, one, than in results.pairs():
        ratio = results.ratio(case, one, than)
        judged = ratio.judged
        if judged is None or ours(than) or judged.middle <= 0:
            continue
        low, high = (judged.middle if edge is None else edge for edge in (judged.low, judged.high))
        three = low, judged.middle, high
        if case.what.falls:
            three = high, judged.middle, low
            three = tuple(1 / each if each else 0.0 for each in three)  # type: ignore[assignment]
        found.setdefault(than, []).append((str(case), one, three, ratio.by_cpu))
    return found


def curves(results: Results) -> list[tuple[str, str, Curve]]:
    """Return what grows: each with its title, what its points are of, and the points."""
    return [
        ("echo throughput, msg/s", "connections", _curve(results, _GROWTH, "value")),
        ("server CPU per message, µs", "connections", _curve(results, _GROWTH, "server_cpu")),
        ("server memory per connection, KiB", "connections", _curve(results, _GROWTH, "memory")),
        ("send_and_wait p50, µs", "in flight", _curve(results, _LOADS, "p50")),
        ("send_and_wait p99, µs", "in flight", _curve(results, _LOADS, "p99")),
    ]


def _curve(results: Results, prefix: str, figure: str) -> Curve:
    curve: Curve = {}
    for case in results.outcomes:
        if case.workload.startswith(prefix) and case.header == 15:
            for peer in results.peers(case):
                values = results.values(case, peer, figure)
                if values and median(values) > 0 and peer not in COSTS:  # what is drawn to a logarithmic scale
                    curve.setdefault(peer, []).append((int(case.workload.removeprefix(prefix)), median(values)))
    return {peer: sorted(points) for peer, points in curve.items() if len(points) > 1}


def _points(axis: Any, than: str, found: list[Advantage], colours: dict[str, Any]) -> None:
    cases = list(dict.fromkeys(case for case, _, _, _ in found))
    here = list(dict.fromkeys(one for _, one, _, _ in found))
    for case, one, (low, middle, high), by_cpu in found:
        at = -cases.index(case) - 0.25 * (here.index(one) - (len(here) - 1) / 2)
        reach = [[middle - low], [high - middle]]
        axis.errorbar(*([middle], [at]), xerr=reach, color=colours[one], marker="s" if by_cpu else "o", markersize=4, capsize=2)
    for one in here:
        axis.plot([], [], color=colours[one], marker="o", markersize=4, label=title(one))
    axis.plot([], [], color="grey", marker="s", markersize=4, linestyle="none", label="by CPU: the times are noisy")
    axis.axvline(1, color="grey", linewidth=0.8)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    shown = [tick for tick in _TICKS if low <= tick <= high]
    axis.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axis.set_xticks([], minor=True)
    axis.set_yticks([-number for number in range(len(cases))], cases)
    axis.set_title(f"times ahead of {title(than)}", fontsize=9)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6)


def _bars(axis: Any, results: Results, case: Case, colours: dict[str, Any]) -> None:
    found = {peer: interval(values) for peer in results.peers(case) if peer in colours and (values := results.values(case, peer))}
    names, what = list(reversed(found)), case.what
    middles, reach = list[float](), [list[float](), list[float]()]
    for peer in names:
        bounds = found[peer]
        assert bounds is not None
        middles.append(bounds.middle)
        reach[0].append(0.0 if bounds.low is None else bounds.middle - bounds.low)
        reach[1].append(0.0 if bounds.high is None else bounds.high - bounds.middle)
    edges = ["black" if ours(peer) else "none" for peer in names]
    labels = [title(peer, case.header) for peer in names]
    axis.barh(labels, middles, xerr=reach, color=[colours[peer] for peer in names], edgecolor=edges)
    axis.set_title(f"{case}: {what.title}\n{what.unit}{', less is better' if what.falls else ''}", fontsize=9)
    axis.tick_params(labelsize=7)


def _lines(axis: Any, text: str, label: str, curve: Curve, colours: dict[str, Any]) -> None:
    for peer, points in curve.items():
        axis.plot(*zip(*points, strict=True), marker="o", color=colours[peer], label=title(peer))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(text, fontsize=9)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6)
