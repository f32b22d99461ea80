"""Profile of this package: shares of the CPU by stage and by function, in the server and in the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from veltix_tx.benchmark.peers import OWN, PEERS
from veltix_tx.benchmark.processes import ProgramError
from veltix_tx.benchmark.stage import Sizes, Stage
from veltix_tx.benchmark.workloads import Workload

__all__ = ["profile", "stages"]

_PACKAGE = Path(__file__).parents[1]
_SHOWN = 12

_LONGER = 6
"""Factor by which a profiled window is longer: a process is sampled too seldom for less."""

_STAGES = (
    ("wire", "wire: bytes and messages"),
    ("net", "net: protocol, sessions, flow"),
    ("app", "app: routes, hub"),
    ("benchmark", "the benchmark's own handlers and loops"),
    ("", "doors and the rest of the package"),
)
"""Folders of the package, and what is done in them."""


def profile(workloads: Sequence[Workload], sizes: Sizes, header: int = 15) -> Iterator[str]:
    """Do workloads with this package; return lines that say where the time went.

    What C functions take (checksums, system calls) counts for the Python function that called them.
    """
    sizes = replace(sizes, window=sizes.window * _LONGER, repeats=0)
    for workload in workloads:
        try:
            with Stage(PEERS[OWN], header, None, sizes, workload.most, profiled=True) as stage:
                workload.measure(stage)
                found = {each.role: each.call("samples") for each in stage.programs}
        except ProgramError as error:
            yield f"{workload.name}: {error}"
            continue
        for role, samples in found.items():
            yield f"{workload.name}, {role}: {sum(samples.values()):,} samples"
            yield from _shares(stages(samples))
            yield "  of these"
            yield from _shares(Counter({_short(where): number for where, number in samples.items()}), _SHOWN)
            yield ""


def stages(samples: Mapping[str, int]) -> Counter[str]:
    """Return the samples of each stage."""
    counted: Counter[str] = Counter()
    for where, number in samples.items():
        counted[_stage(where.rpartition(":")[0])] += number
    return counted


def _stage(file: str) -> str:
    path = Path(file)
    if path.is_relative_to(_PACKAGE):
        inside = path.relative_to(_PACKAGE).parts
        return next(title for folder, title in _STAGES if folder in ("", inside[0]))
    return "Twisted" if "twisted" in path.parts else "the standard library"


def _shares(counted: Counter[str], most: int | None = None) -> Iterator[str]:
    whole = sum(counted.values()) or 1
    for what, number in counted.most_common(most):
        yield f"  {number / whole:6.1%}  {what}"


def _short(where: str) -> str:
    file, _, function = where.rpartition(":")
    return f"{'/'.join(Path(file).parts[-3:])} {function}"
