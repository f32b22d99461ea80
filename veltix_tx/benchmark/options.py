"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from veltix_tx._version import __version__
from veltix_tx.benchmark.bars import BARS
from veltix_tx.benchmark.compare import CheckoutError, prepared
from veltix_tx.benchmark.install import cache_folder
from veltix_tx.benchmark.peers import COMPILED, COSTS, HEADERS, OTHER, PEERS, PURE, find_peers, ours
from veltix_tx.benchmark.plot import PlotError, check_drawing, draw
from veltix_tx.benchmark.profile import profile
from veltix_tx.benchmark.progress import shown_progress
from veltix_tx.benchmark.report import bars_table, between_checkouts, comparison, page, table
from veltix_tx.benchmark.results import Results, ResultsError
from veltix_tx.benchmark.runner import jobs, run
from veltix_tx.benchmark.stage import Sizes
from veltix_tx.benchmark.workloads import COMPARED, GROUPS, WORKLOADS, find_workloads
from veltix_tx.stdio import INTERRUPTED
from veltix_tx.wire.veltix import codec

__all__ = ["main", "parse"]

_DEFAULT = ["memory", "latency", "fps", "burst", "stress"]
"""Upstream's workloads."""


_PROFILED = ["receive", "oneway", "echo_64", "pipeline_64", "clients_1000", "broadcast_50", "churn"]
"""Workloads of ``--profile``."""

_ROUNDS = 5
"""Rounds of a run that is to show something."""


def parse(arguments: Sequence[str] | None = None, prog: str = "python -m veltix_tx.benchmark") -> argparse.Namespace:
    """Return the options; exits with status 2 and one line if they cannot be."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure veltix_tx and its peers, server and client each in a process of its own.",
        epilog=f"Examples: {prog} --only echo_64, {prog} --bars. Workloads: {', '.join([*WORKLOADS])}. "
        f"Several at once: {', '.join(GROUPS)}. Peers: {', '.join(PEERS)}.",
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="WORKLOAD", help=f"only these workloads ({' '.join(_DEFAULT)})")
    add("--peers", nargs="+", metavar="PEER", default=[], help="measure these, too, in the same rounds; pip installs them")
    wires = "bytes of a header, of those that have the choice: 15, 22 or 62, or several of these (15)"
    add("--wire", dest="headers", nargs="+", type=int, choices=HEADERS, metavar="BYTES", default=[], help=wires)
    add("--bars", action="store_true", help="the workloads and peers with something to reach, and whether it is shown")
    add("--rounds", type=_positive, default=None, metavar="N", help=f"how often (1; {_ROUNDS} with --bars or --compare)")
    add("--save", "--json", dest="save", type=Path, metavar="FILE", help="save the results as JSON")
    add("--page", type=Path, metavar="FILE.md", help="write the tables as a page, with the picture of --plot; keep its notes")
    compared = "measure another checkout in the same rounds; or, of two files of results, compare these"
    add("--compare", nargs="+", type=Path, metavar="CHECKOUT", help=compared)
    add("--show", dest="shown", type=Path, metavar="FILE", help="measure nothing; show such a file")
    add("--plot", type=Path, metavar="FILE.png", help="draw the results (needs matplotlib)")
    add("--profile", action="store_true", help="measure nothing else; show where this package's time goes")
    add("--cache", type=Path, default=cache_folder(), metavar="DIR", help="where peers are installed (%(default)s)")
    sizes = parser.add_argument_group("how much of everything")
    for field in fields(Sizes):
        kind = _part if isinstance(field.default, float) else _from_zero if field.name == "repeats" else _positive
        sizes.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, metavar="N", help="%(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s (veltix_tx) {__version__}")
    options = parser.parse_args(arguments)
    if options.compare and len(options.compare) > 2:
        parser.error("argument --compare: one checkout, or two files of results")
    try:
        _choose(options)
    except ValueError as error:
        parser.error(str(error))
    options.sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    return options


def _choose(options: argparse.Namespace) -> None:
    """Fill in what is measured where the command line does not say it."""
    compiled = "c" in codec.available()
    between = bool(options.compare) and len(options.compare) == 1
    wanted, peers = list(_DEFAULT), list[str]()
    if between:
        wanted, peers = list(COMPARED), [COMPILED, PURE] if compiled else [PURE]
    elif options.bars:
        here = [bar for bar in BARS if bar.peer != COMPILED or compiled]
        wanted = list(dict.fromkeys(name for bar in here for name in (bar.workload, bar.than_workload) if name))
        peers = list(dict.fromkeys(name for bar in here for name in (bar.peer, bar.than) if name))
    elif options.profile:
        wanted = list(_PROFILED)
    options.workloads = find_workloads(options.only or wanted)
    options.peers = find_peers(options.peers or peers)
    if between:
        options.peers = [peer for peer in options.peers if peer.ours]
    options.headers = options.headers or ([15, 22] if between else [15])
    options.rounds = options.rounds or (_ROUNDS if options.bars or between else 1)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m veltix_tx.benchmark") -> int:
    """Do what the command line says; return the exit status: 1 if anything of ours failed, was lost or wrong.

    130 after an interrupt.
    """
    options = parse(arguments, prog)
    options.command = " ".join([prog, *(sys.argv[1:] if arguments is None else arguments)])
    try:
        return _do(options)
    except (ResultsError, PlotError, CheckoutError) as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return 1


def _do(options: argparse.Namespace) -> int:
    if options.compare and len(options.compare) == 2:
        before, after = map(Results.load, options.compare)
        _print(comparison(before, after))
        return 0
    if options.shown:
        return _show(Results.load(options.shown), options)
    if options.profile:
        _print(profile(options.workloads, options.sizes, options.headers[0]))
        return 0
    if options.plot:
        check_drawing()
    results = Results()
    try:
        if not options.compare:
            _measure(options, results)
        else:
            with tempfile.TemporaryDirectory(prefix="veltix_tx.") as scratch:
                other, remark = prepared(options.compare[0], Path(scratch))
                if remark:
                    _print([remark])
                _measure(options, results, other)
    except KeyboardInterrupt:
        _print(["interrupted; until then:", *table(results)] if results.outcomes else ["interrupted"])
        return INTERRUPTED
    return _show(results, options)


def _measure(options: argparse.Namespace, results: Results, other: Path | None = None) -> None:
    costs = {} if other else COSTS
    peers = [*options.peers, *costs.values()]
    steps = sum(len(jobs(workload, peers, options.headers, other)) for workload in options.workloads)
    with shown_progress(steps * options.rounds) as told:
        run(
            *(options.workloads, options.peers, options.sizes, options.rounds, options.cache, told),
            *(options.headers, costs, other),
            results=results,
        )
    if options.save:
        results.save(options.save)


def _show(results: Results, options: argparse.Namespace) -> int:
    if options.plot:
        draw(results, options.plot)
    if options.page:
        old = options.page.read_text(encoding="utf-8") if options.page.exists() else ""
        options.page.write_text("\n".join([*page(results, options.command, options.plot, old), ""]), encoding="utf-8")
    compared = any(name.endswith(OTHER) for peers in results.outcomes.values() for name in peers)
    _print(between_checkouts(results) if compared else table(results))
    if options.bars:
        _print(bars_table(results))
    return int(any(results.trouble(case, name) for case, peers in results.outcomes.items() for name in peers if ours(name)))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _from_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _part(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1000:
        raise ValueError(text)
    return number
