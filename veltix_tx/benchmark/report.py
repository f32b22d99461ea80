"""Tables: what a run found out, how it compares with another, and which bars were reached."""

from __future__ import annotations

from collections.abc import Iterator

from veltix_tx.benchmark.bars import judged
from veltix_tx.benchmark.peers import OWN, PEERS
from veltix_tx.benchmark.results import Results
from veltix_tx.benchmark.statistics import median, ratios, spread
from veltix_tx.benchmark.workloads import WORKLOADS

__all__ = ["bars_table", "comparison", "table"]

_DETAILS = {
    "p50": "p50 µs",
    "p99": "p99 µs",
    "server_cpu": "server CPU µs",
    "client_cpu": "client CPU µs",
    "sent": "sent/s",
    "memory": "KiB each",
    "client": "KiB a client",
    "connection": "KiB a connection",
    "ticks": "ticks/s",
}
"""Further figures, where a workload has them, and what they are called."""


def table(results: Results) -> Iterator[str]:
    """Return lines: for each workload each peer's median, its spread, and our value in units of its."""
    for name, peers in results.outcomes.items():
        workload = WORKLOADS[name]
        rounds = max(map(len, peers.values()))
        better = "less is better" if workload.falls else "more is better"
        yield f"{name}: {workload.title} ({workload.unit}, {better}, {rounds} round{'s' * (rounds > 1)})"
        for peer in peers:
            values = results.values(name, peer)
            trouble = results.trouble(name, peer)
            line = f"  {PEERS[peer].title:<26}"
            if values:
                found = ratios(results.rounds(name, OWN), results.rounds(name, peer)) if peer != OWN else []
                ratio = f"{median(found):8.2f}x" if found else " " * 9
                line += f"{shown(median(values)):>12} ±{spread(values):4.0%} {ratio}"
                line += "".join(
                    f"  {title} {shown(median(each))}"
                    for figure, title in _DETAILS.items()
                    if (each := results.values(name, peer, figure)) and (figure, workload.wants) != ("sent", "raw")
                )
            yield f"{line}  {trouble}".rstrip()
        yield ""


def bars_table(results: Results) -> Iterator[str]:
    """Return lines: for each bar the ratio to reach, the one found, and whether that reaches it."""
    yield f"{'workload':<16}{'who':<8}{'compared with':<28}{'bar':>9}{'ratio':>9}"
    for verdict in judged(results):
        bar = verdict.bar
        than = PEERS[bar.than].title if not bar.than_workload else bar.than_workload
        sign = "<=" if bar.falls else ">="
        name = bar.workload if bar.figure == "value" else f"{bar.workload} {bar.figure.replace('_', ' ')}"
        ratio = "-" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        word = "reached" if verdict.reached else "falls short" if verdict.ratio is not None else "not measured"
        yield f"{name:<24}{bar.peer:<8}{than:<20}{sign:>4}{bar.ratio:5.2f}{ratio:>9}  {word}"


def comparison(before: Results, after: Results) -> Iterator[str]:
    """Return lines: for each workload and peer that two runs share, both medians and their ratio."""
    yield f"before: veltix_tx {before.version}, {before.timestamp}, {before.system.get('python')}"
    yield f"after:  veltix_tx {after.version}, {after.timestamp}, {after.system.get('python')}"
    yield ""
    yield f"{'workload':<16}{'peer':<26}{'before':>12}{'after':>12}{'ratio':>9}"
    for name, peers in after.outcomes.items():
        for peer in peers:
            old, new = before.values(name, peer), after.values(name, peer)
            if not old or not new:
                continue
            ratio = median(new) / median(old) if median(old) else 0.0
            noise = max(spread(old), spread(new))
            change = (1 / ratio if WORKLOADS[name].falls else ratio) - 1 if ratio else 0.0
            word = "as before" if abs(change) <= max(noise, 0.05) else "better" if change > 0 else "worse"
            title = PEERS[peer].title
            yield f"{name:<16}{title:<26}{shown(median(old)):>12}{shown(median(new)):>12}{ratio:8.2f}x  {word}"


def shown(value: float) -> str:
    """Return a number with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
