"""A run: every workload with every peer, interleaved, round after round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from veltix_tx.benchmark.install import InstallError, installed
from veltix_tx.benchmark.peers import Peer
from veltix_tx.benchmark.processes import ProgramError
from veltix_tx.benchmark.results import Outcome, Results
from veltix_tx.benchmark.stage import Sizes, Stage
from veltix_tx.benchmark.workloads import Workload

__all__ = ["run"]


def run(
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    sizes: Sizes,
    rounds: int,
    cache: Path,
    told: Callable[[str], None],
    results: Results | None = None,
) -> Results:
    """Measure.

    Args:
        workloads: what to do.
        peers: with whom; in each round of a workload they follow one another, another one first each time.
        sizes: how much of everything.
        rounds: how often.
        cache: where peers are installed.
        told: called with what is done next, before each measurement.
        results: where the outcomes go as they come; new ones by default.
    """
    results = Results() if results is None else results
    folders: dict[str, Path | None] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            folders[peer.name] = installed(peer, cache)
        except InstallError as error:  # noqa: PERF203
            missing[peer.name] = str(error)
    for number in range(rounds):
        for workload in workloads:
            able = [peer for peer in peers if workload.can(peer)]
            first = number % max(1, len(able))
            for peer in able[first:] + able[:first]:
                told(f"{workload.name} {peer.name} {number + 1}/{rounds}")
                if peer.name in missing:
                    outcome = Outcome(error=missing[peer.name])
                else:
                    outcome = measure(workload, peer, folders[peer.name], sizes)
                results.add(workload.name, peer.name, outcome)
    return results


def measure(workload: Workload, peer: Peer, folder: Path | None, sizes: Sizes) -> Outcome:
    """Do one workload with one peer, once."""
    try:
        with Stage(peer, folder, sizes, workload.most) as stage:
            return Outcome(workload.measure(stage))
    except ProgramError as error:
        return Outcome(error=str(error))
