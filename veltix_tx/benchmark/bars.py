"""Bars: the table of ratios that this package is to reach, and the verdict of a run on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from veltix_tx.benchmark.peers import COMPILED, OWN, PURE, ours
from veltix_tx.benchmark.results import Case, Ratio, Results
from veltix_tx.benchmark.workloads import WORKLOADS

__all__ = ["BARS", "Bar", "Verdict", "judged"]


@dataclass(frozen=True)
class Bar:
    """A ratio to reach.

    Attributes:
        workload: what is measured.
        than: the peer it is compared with; empty where ``ratio`` is the figure itself.
        ratio: at least this, or at most where less is better.
        figure: which of the workload's figures; CPU is such that less is better.
        peer: who is to reach it.
        than_workload: where the other figure is from another workload.
    """

    workload: str
    than: str
    ratio: float
    figure: str = "value"
    peer: str = OWN
    than_workload: str = ""

    @property
    def falls(self) -> bool:
        """True if less is better."""
        return WORKLOADS[self.workload].falls if self.figure == "value" else self.figure.endswith("cpu") or self.figure == "p99"


@dataclass(frozen=True)
class Verdict:
    """Outcome of a bar.

    Attributes:
        case: where: the bar's workload, with one of the headers measured.
        peer: who was to reach it.
        ratio: how it compares.
    """

    bar: Bar
    case: Case
    peer: str
    ratio: Ratio

    @property
    def word(self) -> str:
        """``reached`` or ``falls short`` where the whole interval is on that side of the bar; ``not shown`` otherwise."""
        found = self.ratio.judged
        if found is None:
            return "not measured"
        if found.low is None or found.high is None:
            return "not shown: too few rounds"
        if self.reached:
            return "reached"
        short = found.low > self.bar.ratio if self.bar.falls else found.high < self.bar.ratio
        return "falls short" if short else "not shown"

    @property
    def reached(self) -> bool:
        """True if the whole interval is on the right side of the bar, or on it."""
        found = self.ratio.judged
        if found is None or found.low is None or found.high is None:
            return False
        return found.high <= self.bar.ratio if self.bar.falls else found.low >= self.bar.ratio


def _than(workload: str, v330: float = 0, minimal: float = 0, v163: float = 0, **more: str) -> tuple[Bar, ...]:
    peers = {"veltix-3.3.0": v330, "veltix-1.6.3": v163, "asyncio": minimal}
    return tuple(Bar(workload, peer, ratio, **more) for peer, ratio in peers.items() if ratio)


def _by_codec(workload: str, than: str, pure: float, compiled: float, figure: str = "cpu") -> tuple[Bar, ...]:
    """Bars of CPU per message, as how many times less each codec is to take."""
    return tuple(Bar(workload, than, 1 / ratio, figure, peer) for peer, ratio in ((PURE, pure), (COMPILED, compiled)) if ratio)


_SECOND_ROUND = (
    *_by_codec("receive", "asyncio", 1.5, 0, "server_cpu"),
    *_by_codec("receive", "floor", 0, 0.8, "server_cpu"),
    *_by_codec("oneway", "asyncio", 1.2, 2),
    *_by_codec("pipeline_64", "asyncio", 1, 1.5),
    *_by_codec("pipeline_256", "asyncio", 1, 1.5),
    *_by_codec("echo_64", "asyncio", 1.2, 1.8, "server_cpu"),
    *_by_codec("clients_100", "asyncio", 1.2, 2.2, "server_cpu"),
    *_by_codec("clients_1000", "asyncio", 1.2, 2.2, "server_cpu"),
    *_by_codec("large_1", "veltix-3.3.0", 3, 3),
    *_by_codec("large_1", "asyncio", 1.2, 1.2),
    *_by_codec("large_1_echo", "veltix-3.3.0", 3, 3),
    *_by_codec("large_1_echo", "asyncio", 2, 2),
    *_by_codec("churn", "veltix-3.3.0", 4, 4),
    *_by_codec("churn", "asyncio", 0.8, 0.8),
    *_by_codec("broadcast_1", "veltix-3.3.0", 1.5, 1.5, "server_cpu"),
    *_by_codec("broadcast_1", "asyncio", 1, 1, "server_cpu"),
    *_by_codec("broadcast_50", "veltix-3.3.0", 18, 18, "server_cpu"),
    Bar("idle", "", 2.2),
)
"""Bars set after a measurement by a program that is not ours: CPU per message in both codecs."""

BARS = (
    *_than("receive", 8, 1.2, 20),
    *_than("oneway", 8, 1),
    *_than("echo_64", 8, 1),
    *_than("pipeline_64", 12, 0.9),
    Bar("aio_pipeline_64", OWN, 1.25, "cpu", than_workload="pipeline_64"),
    Bar("pipeline_64", OWN, 1.25, "cpu", peer="aio-uvloop"),
    Bar("rpc_64", OWN, 1.3, "cpu", than_workload="pipeline_64"),
    Bar("rpc_100", "netconduit", 5),
    *_than("pipeline_1", 0.5, 1),
    *_than("pipeline_1", 0.4, figure="cpu"),
    Bar("lines", "readline", 1 / 1.5, "server_cpu"),
    Bar("lines", "linereceiver", 1 / 2, "server_cpu"),
    Bar("udp", "datagrams", 1.3, "server_cpu"),
    *_than("clients_100", 16, 1),
    *_than("clients_1000", 16, 1),
    Bar("workers_2", OWN, 1.7, than_workload="workers_1"),
    Bar("workers_echo_2", OWN, 1.1, "server_cpu", than_workload="workers_echo_1"),
    *_than("large_1", 3, 1),
    *_than("large_1_echo", 2.5, 2),
    Bar("large_64", OWN, 1 / 3, than_workload="large_1"),
    Bar("large_64_echo", OWN, 1 / 3, than_workload="large_1_echo"),
    *_than("broadcast_1", 1.5, 0.8),
    *_than("broadcast_50", 15),
    Bar("broadcast_50", "streams", 8),
    Bar("rooms_1000", OWN, 1 / 0.95, "server_cpu", than_workload="broadcast_1"),
    *(Bar(f"cross_node_{rooms}", than, ratio) for rooms in (1, 1000) for than, ratio in (("", 50_000), ("socketio", 10))),
    *(Bar(f"cross_node_{rooms}", "", 10_000, "p99") for rooms in (1, 1000)),
    Bar("join_leave", "", 20_000),
    Bar("join_leave_redis", "", 2_000),
    *_than("churn", 4),
    *_than("idle", 1),
    Bar("conduit_rpc_100", "netconduit", 6),
    Bar("conduit_rpc_1", "netconduit", 0.75),
    Bar("conduit_oneway", "netconduit", 8),
    Bar("conduit_1m", "netconduit", 1.3),
    *(Bar(f"growth_{clients}", OWN, 1.5, "server_cpu", than_workload="growth_1") for clients in (10, 100, 1000, 5000)),
    *(
        Bar(workload, "veltix-3.3.0", ratio, peer=COMPILED)
        for workload, ratio in (("receive", 30), ("oneway", 15), ("clients_100", 40), ("pipeline_64", 18))
    ),
    *(Bar(workload, "veltix-1.6.3", 2, peer="dropin") for workload in ("burst", "stress")),
    Bar("latency", "veltix-1.6.3", 1, peer="dropin"),
    *_SECOND_ROUND,
)
"""The bars."""


def judged(results: Results) -> Iterator[Verdict]:
    """Say of each bar whose workload was run, and with the peers it needs, whether it was reached.

    This package's bars are those of each of its codecs that was measured.
    """
    for bar in BARS:
        for case in results.outcomes:
            if case.workload != bar.workload:
                continue
            than_case = replace(case, workload=bar.than_workload) if bar.than_workload else case
            here = [name for name in results.peers(case) if ours(name)] if bar.peer == OWN else [bar.peer]
            for peer in here:
                if not bar.than:
                    yield Verdict(bar, case, peer, results.alone(case, peer, bar.figure))
                    continue
                than = _ours_or(bar.than, peer, results.peers(than_case))
                if peer in results.peers(case) and than in results.peers(than_case):
                    yield Verdict(bar, case, peer, results.ratio(case, peer, than, bar.figure, than_case))


def _ours_or(than: str, peer: str, measured: Iterable[str]) -> str:
    """Return whom a peer is compared with: itself where that is this package and so is the peer, else what was measured of it."""
    if than != OWN or ours(peer):
        return peer if than == OWN else than
    return next(filter(ours, measured), OWN)
