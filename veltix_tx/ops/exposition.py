"""Expositions of several processes as one, in the text that Prometheus reads: each sample gets its worker as a label."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["merge_expositions"]

_UP = b"# HELP veltix_worker_up True if a worker has told its metrics; 0 while it does not answer.\n# TYPE veltix_worker_up gauge\n"


def merge_expositions(expositions: Mapping[str, bytes | None]) -> bytes:
    """Return one exposition of several, and a gauge ``veltix_worker_up`` of who has one.

    Args:
        expositions: what prometheus-client writes, by the workers' labels; None for a worker that does not answer.
    """
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for worker, text in expositions.items():
        label = b'worker="%b"' % worker.encode()
        family = b""
        for line in (text or b"").splitlines():
            if line.startswith(b"# HELP "):
                family = line.split(b" ", 3)[2]
                if family not in heads:
                    heads[family], samples[family] = [line], []
            elif line.startswith(b"# TYPE "):
                if len(heads[family]) == 1:
                    heads[family].append(line)
            elif line:
                samples[family].append(_labelled(line, label))
    lines = [line for family, head in heads.items() for line in (*head, *samples[family])]
    up = [b'veltix_worker_up{worker="%b"} %d.0' % (worker.encode(), text is not None) for worker, text in expositions.items()]
    return b"".join(line + b"\n" for line in lines) + _UP + b"".join(line + b"\n" for line in up)


def _labelled(sample: bytes, label: bytes) -> bytes:
    """Return a sample with one label more, in front of its own."""
    name, brace, rest = sample.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, label, rest)
    name, _, value = sample.partition(b" ")
    return b"%b{%b} %b" % (name, label, value)
