"""Profile of this package: shares of the CPU by stage and by function, in the server and in the client."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from veltix_tx.benchmark.peers import OWN, PEERS
from veltix_tx.benchmark.processes import ProgramError
from veltix_tx.benchmark.stage import Sizes, Stage
from veltix_tx.benchmark.workloads import Workload

__all__ = ["profile", "stages"]

_SHOWN = 12

_LONGER = 6
"""Factor by which a profiled window is longer: a process is sampled too seldom for less."""

_SYSTEM = "system calls and the kernel"

_STAGES = tuple(
    (re.compile(pattern), title)
    for pattern, title in (
        ("^collector:", "garbage collector"),
        (
            r"/sockets\.py:write_straight$|/(tcp|udp|unix)\.py:(doRead|doWrite|writeSomeData)$|reactor\.py:doPoll$",
            "system calls and the kernel",
        ),
        (r"/veltix_tx/wire/.*((encoder|layouts|request_ids)\.py:|:(send|encode|frame|pack|allocate_id|data_to_send))", "encode"),
        ("/veltix_tx/wire/", "decode"),
        ("/veltix_tx/(net/session|app)/", "dispatch: sessions, routes, requests"),
        ("/veltix_tx/net/", "connections and their flow"),
        ("/veltix_tx/benchmark/", "handlers, and the benchmark's loops"),
        ("/veltix_tx/", "doors and the rest of the package"),
        ("/twisted/", "Twisted"),
        ("", "the standard library"),
    )
)
"""Files and functions, and what is done in them: the first that fits."""


def profile(workloads: Sequence[Workload], sizes: Sizes, header: int = 15) -> Iterator[str]:
    """Do workloads with this package; return lines that say where the time went: in ns of each message, which add up to its CPU.

    What C functions take (checksums, system calls) counts for the Python function that called them.
    """
    sizes = replace(sizes, window=sizes.window * _LONGER, repeats=0)
    for workload in workloads:
        try:
            with Stage(PEERS[OWN], header, None, sizes, workload.most, profiled=True) as stage:
                figures = workload.measure(stage)
                found = {each.role: each.call("samples") for each in stage.programs}
        except ProgramError as error:
            yield f"{workload.name}: {error}"
            continue
        for role, samples in found.items():
            each = figures.get(f"{role}_cpu")
            cost = "" if each is None else f", {each * 1000:,.0f} ns a message"
            yield f"{workload.name}, {role}: {sum(samples.values()):,} samples{cost}"
            yield from _shares(stages(samples), each)
            yield "  of these"
            yield from _shares(Counter({_short(where): number for where, number in samples.items()}), each, _SHOWN)
            yield ""


def stages(samples: Mapping[str, int]) -> Counter[str]:
    """Return the samples of each stage."""
    counted: Counter[str] = Counter()
    for where, number in samples.items():
        counted[next(title for pattern, title in _STAGES if pattern.search(where))] += number
    return counted


def _shares(counted: Counter[str], each: float | None, most: int | None = None) -> Iterator[str]:
    """Yield a line for each: its share, and what that is of the microseconds of a message, in nanoseconds."""
    whole = sum(counted.values()) or 1
    for what, number in counted.most_common(most):
        part = "" if each is None else f"{number / whole * each * 1000:9,.0f} ns"
        yield f"  {number / whole:6.1%}{part}  {what}"


def _short(where: str) -> str:
    file, _, function = where.rpartition(":")
    return f"{'/'.join(Path(file).parts[-3:])} {function}"
