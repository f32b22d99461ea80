"""Pictures of a run: bars against peers, and how figures grow with connections and load. Needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from veltix_tx.benchmark.peers import OWN, PEERS
from veltix_tx.benchmark.results import Results
from veltix_tx.benchmark.statistics import median
from veltix_tx.benchmark.workloads import WORKLOADS

__all__ = ["Curve", "PlotError", "check_drawing", "curves", "draw"]

_COLUMNS = 4
_LOADS = "pipeline_"
_GROWTH = "growth_"

Curve = dict[str, list[tuple[int, float]]]
"""For each peer the points of a line."""


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
    peers = list(dict.fromkeys(peer for found in results.outcomes.values() for peer in found))
    colours = {peer: pyplot.get_cmap("tab20")(number % 20) for number, peer in enumerate(peers)}
    bars = [name for name in results.outcomes if not name.startswith(_GROWTH)]
    lines = [each for each in curves(results) if each[2]]
    total = len(bars) + len(lines)
    if not total:
        raise PlotError("there are no results to draw")
    rows = -(-total // _COLUMNS)
    figure, grid = pyplot.subplots(rows, _COLUMNS, figsize=(5 * _COLUMNS, 3.2 * rows), squeeze=False, layout="constrained")
    axes = list(grid.flat)
    for axis, name in zip(axes, bars, strict=False):
        _bars(axis, results, name, colours)
    for axis, (title, label, curve) in zip(axes[len(bars) :], lines, strict=False):
        _lines(axis, title, label, curve, colours)
    for axis in axes[total:]:
        axis.set_visible(False)
    figure.suptitle(f"veltix_tx {results.version}, {results.timestamp}, {results.system.get('python')}")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


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
    for name, peers in results.outcomes.items():
        if name.startswith(prefix):
            for peer in peers:
                values = results.values(name, peer, figure)
                if values and median(values) > 0:  # what is drawn to a logarithmic scale
                    curve.setdefault(peer, []).append((int(name.removeprefix(prefix)), median(values)))
    return {peer: sorted(points) for peer, points in curve.items() if len(points) > 1}


def _bars(axis: Any, results: Results, name: str, colours: dict[str, Any]) -> None:
    found = {peer: values for peer in results.outcomes[name] if (values := results.values(name, peer))}
    names = list(reversed(found))
    middles = [median(found[peer]) for peer in names]
    reach = [[middle - min(found[peer]) for peer, middle in zip(names, middles, strict=True)]]
    reach.append([max(found[peer]) - middle for peer, middle in zip(names, middles, strict=True)])
    edges = ["black" if peer == OWN else "none" for peer in names]
    axis.barh([PEERS[peer].title for peer in names], middles, xerr=reach, color=[colours[peer] for peer in names], edgecolor=edges)
    workload = WORKLOADS[name]
    axis.set_title(f"{workload.title}\n{workload.unit}{', less is better' if workload.falls else ''}", fontsize=9)
    axis.tick_params(labelsize=7)


def _lines(axis: Any, title: str, label: str, curve: Curve, colours: dict[str, Any]) -> None:
    for peer, points in curve.items():
        axis.plot(*zip(*points, strict=True), marker="o", color=colours[peer], label=PEERS[peer].title)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6)
