"""Tables: what a run found out, how it compares with another, and which bars were reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from veltix_tx.benchmark.bars import judged
from veltix_tx.benchmark.peers import COSTS, OTHER, ours, title
from veltix_tx.benchmark.results import Case, Ratio, Results
from veltix_tx.benchmark.statistics import Interval, median, spread

__all__ = ["bars_table", "between_checkouts", "comparison", "page", "shown", "shown_interval", "table"]

_DETAILS = {
    "p50": "p50 µs",
    "p99": "p99 µs",
    "memory": "KiB each",
    "client": "KiB a client",
    "connection": "KiB a connection",
    "ticks": "ticks/s",
}
"""Further figures, where a workload has them, and what they are called."""

_NOTES = "## Notes"
"""First line of the part of a page that is written by hand."""

_SAME = 0.03
"""The part by which two checkouts may differ and still be said to be alike."""

_ENOUGH_TO_DIFFER = 5
"""Rounds from which on two checkouts may be said to differ: three of the same come out alike by chance in one of four."""

_NAME, _VALUE, _CPU, _RATIO = 34, 18, 10, 20
"""Widths of columns."""


def table(results: Results) -> Iterator[str]:
    """Return lines: for each case what each peer reached, the CPU of a message, and how this package compares with it."""
    yield f"veltix_tx {results.version} ({results.system.get('codec')}), {results.system.get('python')}, {results.timestamp}"
    yield "Delivery was verified in every row without a remark: count, order and bytes of the messages."
    yield ""
    for case in results.outcomes:
        yield from _section(results, case)
        yield ""


def _section(results: Results, case: Case) -> Iterator[str]:
    what, names = case.what, results.peers(case)
    rounds = max(len(results.outcomes[case][name]) for name in names)
    header = f", headers of {case.header} bytes" if case.header else ""
    better = "less is better" if what.falls else "more is better"
    yield f"{case}: {what.title}{header} ({what.unit}, {better}, {rounds} round{'s' * (rounds > 1)})"
    here = [name for name in names if ours(name)] if len(names) > 1 else []
    columns = [f"{'driver' if what.wants == 'raw' else 'client'} µs"]
    columns = ["server µs", *columns] if any(results.values(case, name, "server_cpu") for name in names) else []
    compared = [text for one in here for text in (f"{one}: ratio", *(["by CPU"] if columns else []))]
    yield "".join(
        (
            *(f"{'':<{_NAME}}{what.unit:>{_VALUE - 6}}{'':6}",),
            *(f"{text:>{_CPU}}" for text in columns),
            *(f"{text:>{_RATIO}}" for text in compared),
        )
    ).rstrip()
    for name in names:
        yield _row(results, case, name, here, bool(columns))


def _row(results: Results, case: Case, name: str, here: list[str], with_cpu: bool) -> str:
    values = results.values(case, name)
    line = f"  {title(name, case.header):<{_NAME - 2}}"
    if values or name in COSTS:
        line += f"{shown(median(values)) if values else '':>{_VALUE - 6}}"
        line += f" ±{spread(values):4.0%}" if len(values) > 1 else " " * 6
        for figure in ("server_cpu", "client_cpu") if with_cpu else ():
            found = results.values(case, name, figure)
            line += f"{shown(median(found)) if found else '':>{_CPU}}"
        for one in here:
            told = name != one and name not in COSTS and not (ours(name) and here.index(name) < here.index(one))
            ratio = results.ratio(case, one, name) if told else Ratio(None, None)
            line += f"{shown_interval(ratio.wall):>{_RATIO}}"
            line += f"{shown_interval(ratio.cpu):>{_RATIO}}" if with_cpu else ""
        line += "".join(
            f"  {text} {shown(median(found))}" for figure, text in _DETAILS.items() if (found := results.values(case, name, figure))
        )
    noisy = results.noisy(case, name)
    reordered = sum(outcome.reordered for outcome in results.outcomes[case][name])
    trouble = results.trouble(case, name)
    remarks = [trouble, f"noisy: {noisy}" if noisy else "", "not in order" if reordered and not trouble else ""]
    return f"{line}  {', '.join(filter(None, remarks))}".rstrip()


def bars_table(results: Results) -> Iterator[str]:
    """Return lines: for each bar the ratio to reach, the one found with its interval, and whether that shows it reached."""
    yield f"{'workload':<26}{'who':<12}{'compared with':<26}{'bar':>9}{'ratio':>{_RATIO}}{'by CPU':>{_RATIO}}  verdict"
    for verdict in judged(results):
        bar, ratio = verdict.bar, verdict.ratio
        than = bar.than_workload or (title(bar.than, verdict.case.header) if bar.than else "")
        sign = "<=" if bar.falls else ">="
        name = str(verdict.case) if bar.figure == "value" else f"{verdict.case} {bar.figure.replace('_', ' ')}"
        line = f"{name:<26}{verdict.peer:<12}{than:<26}{sign:>4}{_ratio(bar.ratio):>5}"
        line += f"{shown_interval(ratio.wall):>{_RATIO}}{shown_interval(ratio.cpu):>{_RATIO}}  {verdict.word}"
        yield line + (", by CPU" if ratio.by_cpu else "")


def comparison(before: Results, after: Results) -> Iterator[str]:
    """Return lines: for each case and peer that two runs share, both medians and their ratio."""
    yield f"before: veltix_tx {before.version}, {before.timestamp}, {before.system.get('python')}"
    yield f"after:  veltix_tx {after.version}, {after.timestamp}, {after.system.get('python')}"
    yield ""
    yield f"{'workload':<20}{'peer':<36}{'before':>12}{'after':>12}{'ratio':>9}"
    for case in after.outcomes:
        for peer in after.peers(case):
            old, new = before.values(case, peer), after.values(case, peer)
            if not old or not new or peer in COSTS:
                continue
            ratio = median(new) / median(old) if median(old) else 0.0
            noise = max(spread(old), spread(new))
            change = (1 / ratio if case.what.falls else ratio) - 1 if ratio else 0.0
            word = "as before" if abs(change) <= max(noise, 0.05) else "better" if change > 0 else "worse"
            who = title(peer, case.header)
            yield f"{case!s:<20}{who:<36}{shown(median(old)):>12}{shown(median(new)):>12}{ratio:8.2f}x  {word}"


def between_checkouts(results: Results) -> Iterator[str]:
    """Return lines: for each case and peer of a run with another checkout the CPU of both, and the ratios of the rounds.

    A ratio is this checkout's in units of the other's: of the CPU, or of the value itself where that is no time.
    """
    yield f"this checkout against the other one: veltix_tx {results.version}, {results.system.get('python')}, {results.timestamp}"
    yield "Ratios are this one's in units of the other's, with 95 % intervals; CPU is that of server and client, µs a message."
    yield ""
    head = f"{'workload':<20}{'codec':<10}{'other':>11}{'this':>11}{'ratio by CPU':>{_RATIO}}{'ratio of the value':>{_RATIO}}"
    yield head
    for case in results.outcomes:
        for peer in results.peers(case):
            other = f"{peer}{OTHER}"
            if other not in results.outcomes[case]:
                continue
            figure = "cpu" if case.what.by_own_client or case.what.wants == "package" else "server_cpu"
            if not results.values(case, peer, figure):
                figure = "value"
            old, new = results.rounds(case, other, figure), results.rounds(case, peer, figure)
            found = results.ratio(case, peer, other, figure)
            trouble = results.trouble(case, peer) or results.trouble(case, other)
            if found.wall is None:
                yield f"{case!s:<20}{peer:<10}  {trouble}"
                continue
            medians = [median([each for each in rounds if each is not None]) for rounds in (old, new)]
            line = f"{case!s:<20}{peer:<10}" + "".join(f"{shown(each):>11}" for each in medians)
            line += f"{shown_interval(found.wall) if figure != 'value' else '':>{_RATIO}}"
            line += f"{shown_interval(results.ratio(case, peer, other).wall):>{_RATIO}}"
            noisy = f", noisy: {found.noisy}" if found.noisy else ""
            yield f"{line}  {_change(found.wall)}{noisy}" + (f", {trouble}" if trouble else "")


def _change(found: Interval) -> str:
    """Say what an interval of ratios shows: ``more`` and ``less`` are only said of what is more than a trifle."""
    if found.low is None or found.high is None or found.rounds < _ENOUGH_TO_DIFFER:
        return "not shown: too few rounds"
    if found.low >= 1 - _SAME and found.high <= 1 + _SAME:
        return "alike"
    if found.low > 1 and found.middle > 1 + _SAME:
        return "more"
    return "less" if found.high < 1 and found.middle < 1 - _SAME else "not shown"


def page(results: Results, command: str, picture: Path | None, old: str = "") -> Iterator[str]:
    """Return the lines of a page in Markdown with a run's tables.

    Args:
        results: what was found out.
        command: by which it was.
        picture: of it, in the same folder.
        old: the page as it was: the notes at its end, which are written by hand, are kept.
    """
    system = results.system
    yield "# A full run"
    yield ""
    yield f"Made on {system.get('os')}, {system.get('cpus')} processors. [The method](method.md) says how to read it."
    yield ""
    yield from ("```sh", command, "```", "")
    if picture is not None:
        yield f"![rates and ratios of each workload, with their intervals]({picture.name})"
        yield ""
    yield from ("```text", *table(results), "```", "")
    yield "The bars, and what the run shows of them:"
    yield ""
    yield from ("```text", *bars_table(results), "```")
    _, notes, written = old.partition(f"\n{_NOTES}\n")
    if notes:
        yield from ("", _NOTES, *written.rstrip("\n").split("\n"))


def shown(value: float) -> str:
    """Return a number with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown_interval(found: Interval | None) -> str:
    """Return a median and its bounds."""
    if found is None:
        return ""
    bounds = "" if found.low is None or found.high is None else f" [{_ratio(found.low)}-{_ratio(found.high)}]"
    return f"{_ratio(found.middle)}{bounds}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
