"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from veltix_tx._version import __version__
from veltix_tx.benchmark.bars import BARS
from veltix_tx.benchmark.install import cache_folder
from veltix_tx.benchmark.peers import COMPILED, OWN, PEERS, find_peers
from veltix_tx.benchmark.plot import PlotError, check_drawing, draw
from veltix_tx.benchmark.profile import profile
from veltix_tx.benchmark.progress import shown_progress
from veltix_tx.benchmark.report import bars_table, comparison, table
from veltix_tx.benchmark.results import Results, ResultsError
from veltix_tx.benchmark.runner import run
from veltix_tx.benchmark.stage import Sizes
from veltix_tx.benchmark.workloads import GROUPS, WORKLOADS, find_workloads
from veltix_tx.stdio import INTERRUPTED
from veltix_tx.wire import codec

__all__ = ["main", "parse"]

_DEFAULT = ["memory", "latency", "fps", "burst", "stress"]
"""Upstream's workloads."""


_PROFILED = ["receive", "oneway", "echo_64", "pipeline_64", "clients_1000", "broadcast_50", "churn"]
"""What shows where the time goes."""


def parse(arguments: Sequence[str] | None = None, prog: str = "python -m veltix_tx.benchmark") -> argparse.Namespace:
    """Return the options; exits with status 2 and one line if they cannot be."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure veltix_tx and its peers, server and client each in a process of its own.",
        epilog=f"Workloads: {', '.join([*WORKLOADS])}. Several at once: {', '.join(GROUPS)}. Peers: {', '.join(PEERS)}.",
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="WORKLOAD", help=f"only these workloads ({' '.join(_DEFAULT)})")
    add("--peers", nargs="+", metavar="PEER", default=[], help="measure these, too, in the same rounds; pip installs them")
    add("--bars", action="store_true", help="the workloads and peers with something to reach, and whether it is reached")
    add("--rounds", type=_positive, default=None, metavar="N", help="how often (1; 5 with --bars)")
    add("--save", "--json", dest="save", type=Path, metavar="FILE", help="save the results as JSON")
    add("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="measure nothing; compare two such files")
    add("--show", dest="shown", type=Path, metavar="FILE", help="measure nothing; show such a file")
    add("--plot", type=Path, metavar="FILE.png", help="draw the results (needs matplotlib)")
    add("--profile", action="store_true", help="measure nothing else; show where this package's time goes")
    add("--cache", type=Path, default=cache_folder(), metavar="DIR", help="where peers are installed (%(default)s)")
    sizes = parser.add_argument_group("how much of everything")
    for field in fields(Sizes):
        kind = _part if isinstance(field.default, float) else _positive
        sizes.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, metavar="N", help="%(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s (veltix_tx) {__version__}")
    options = parser.parse_args(arguments)
    reached = list(dict.fromkeys(name for bar in BARS for name in (bar.workload, bar.than_workload) if name))
    here = {bar for bar in BARS if bar.peer != COMPILED or "c" in codec.available()}
    compared = list(dict.fromkeys(name for bar in BARS if bar in here for name in (bar.peer, bar.than)))
    try:
        options.workloads = find_workloads(
            options.only or (reached if options.bars else _PROFILED if options.profile else _DEFAULT)
        )
        options.peers = find_peers(options.peers or (compared if options.bars else []))
    except ValueError as error:
        parser.error(str(error))
    options.rounds = options.rounds or (5 if options.bars else 1)
    options.sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    return options


def main(arguments: Sequence[str] | None = None, prog: str = "python -m veltix_tx.benchmark") -> int:
    """Do what the command line says; return the exit status: 1 if anything of ours failed or was lost."""
    options = parse(arguments, prog)
    try:
        return _do(options)
    except (ResultsError, PlotError) as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return 1


def _do(options: argparse.Namespace) -> int:
    if options.compare:
        before, after = map(Results.load, options.compare)
        _print(comparison(before, after))
        return 0
    if options.shown:
        return _show(Results.load(options.shown), options)
    if options.profile:
        _print(profile(options.workloads, options.sizes))
        return 0
    if options.plot:
        check_drawing()
    pairs = [(workload, peer) for workload in options.workloads for peer in options.peers if workload.can(peer)]
    results = Results()
    try:
        with shown_progress(len(pairs) * options.rounds) as told:
            run(options.workloads, options.peers, options.sizes, options.rounds, options.cache, told, results)
    except KeyboardInterrupt:
        if results.outcomes:
            _print(["interrupted; until then:", *table(results)])
        return INTERRUPTED
    if options.save:
        results.save(options.save)
    return _show(results, options)


def _show(results: Results, options: argparse.Namespace) -> int:
    _print(table(results))
    if options.bars:
        _print(bars_table(results))
    if options.plot:
        draw(results, options.plot)
    return int(any(results.trouble(workload, OWN) for workload in results.outcomes))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _part(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1000:
        raise ValueError(text)
    return number
