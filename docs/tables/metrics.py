"""Metrics that are exported beside the counters."""

from __future__ import annotations

from collections.abc import Callable

from veltix_tx import Server
from veltix_tx.net.shared.counters import COUNTERS
from veltix_tx.ops.metrics import Metrics

from .markdown import table


def metrics() -> str:
    """Every metric with its kind, labels and meaning."""
    server = Server()
    rows = []
    for each in Metrics(server).collect():
        if each.name.removeprefix("veltix_") not in COUNTERS:
            name = f"{each.name}_total" if each.type == "counter" else each.name
            rows.append([f"`{name}`", each.type, each.documentation])
    return table(["metric", "kind", "meaning"], rows)


BLOCKS: dict[str, Callable[[], str]] = {"metrics": metrics}
