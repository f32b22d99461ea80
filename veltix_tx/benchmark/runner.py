"""A run: every workload with every peer and header, interleaved, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from veltix_tx.benchmark.install import InstallError, installed
from veltix_tx.benchmark.peers import COSTS, OTHER, Peer
from veltix_tx.benchmark.processes import ProgramError
from veltix_tx.benchmark.results import Case, Outcome, Results
from veltix_tx.benchmark.stage import Sizes, Stage
from veltix_tx.benchmark.workloads import Workload

__all__ = ["Job", "jobs", "measure", "run"]


@dataclass(frozen=True)
class Job:
    """One measurement of a round.

    Attributes:
        peer: what is measured; its name is that of the results.
        header: bytes of the header that is asked for.
        headers: those for which the outcome counts: for all of them, where a peer has one of its own.
        root: the checkout it is of; None for this one.
    """

    peer: Peer
    header: int
    headers: tuple[int, ...]
    root: Path | None = None


def jobs(workload: Workload, peers: Sequence[Peer], headers: Sequence[int], other: Path | None = None) -> list[Job]:
    """Return the measurements of a round of a workload.

    Args:
        workload: what is done.
        peers: with whom; those that cannot do it are left out.
        headers: bytes of the headers to ask for, for workloads that depend on them.
        other: another checkout of this package, of which the same peers are measured.
    """
    found: dict[tuple[str, int], Job] = {}
    for header in headers if workload.headers else headers[:1]:
        for peer in peers:
            if not workload.can(peer):
                continue
            for root in (None, other) if other else (None,):
                name = f"{peer.name}{OTHER}" if root else peer.name
                key = name, peer.spoken(header)
                shared = found[key].headers if key in found else ()
                found[key] = Job(replace(peer, name=name), found[key].header if shared else header, (*shared, header), root)
    return list(found.values())


@dataclass
class _Folders:
    """Folders that peers are installed in, each when it is first asked for."""

    cache: Path
    found: dict[str, Path | InstallError | None] = field(default_factory=dict)

    def of(self, peer: Peer) -> Path | None:
        if peer.name not in self.found:
            try:
                self.found[peer.name] = installed(peer, self.cache)
            except InstallError as error:
                self.found[peer.name] = error
        folder = self.found[peer.name]
        if isinstance(folder, InstallError):
            raise folder
        return folder


def run(
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    sizes: Sizes,
    rounds: int,
    cache: Path,
    told: Callable[[str], None],
    headers: Sequence[int] = (15,),
    costs: Mapping[str, Peer] = COSTS,
    other: Path | None = None,
    results: Results | None = None,
) -> Results:
    """Measure.

    Args:
        workloads: what to do.
        peers: with whom; in each round of a workload they follow one another, in the next one the other way round.
        sizes: how much of everything.
        rounds: how often.
        cache: where peers are installed.
        told: called with what is done next, before each measurement.
        headers: bytes of the headers to measure with.
        costs: what the benchmark itself costs, to be measured as well.
        other: another checkout of this package, of which the same is measured.
        results: where the outcomes go as they come; new ones by default.
    """
    results = Results() if results is None else results
    folders = _Folders(cache)
    for number in range(rounds):
        for workload in workloads:
            planned = jobs(workload, [*peers, *costs.values()], headers, other)
            first = number // 2 % max(1, len(planned))
            for job in (planned[first:] + planned[:first])[:: -1 if number % 2 else 1]:
                told(f"{workload.name} {job.peer.name} {job.header} {number + 1}/{rounds}")
                try:
                    outcome = measure(workload, job, folders.of(job.peer), sizes)
                except InstallError as error:
                    outcome = Outcome(error=str(error))
                for header in job.headers:
                    results.add(Case(workload.name, header if workload.headers else 0), job.peer.name, outcome)
    return results


def measure(workload: Workload, job: Job, folder: Path | None, sizes: Sizes) -> Outcome:
    """Do one workload with one peer, once."""
    try:
        with Stage(job.peer, job.header, folder, sizes, workload.most, root=job.root) as stage:
            return Outcome(workload.measuring(job.peer)(stage))
    except ProgramError as error:
        return Outcome(error=str(error))
