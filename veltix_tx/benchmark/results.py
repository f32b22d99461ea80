"""What a run found out, as an object and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from veltix_tx._version import __version__

__all__ = ["Outcome", "Results", "ResultsError"]


class ResultsError(Exception):
    """A file is none of results."""


def _system() -> dict[str, Any]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


@dataclass(frozen=True)
class Outcome:
    """One measurement: figures, or why there are none."""

    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def lost(self) -> int:
        """How many messages did not arrive."""
        return int(self.figures.get("lost", 0))

    def get(self, figure: str) -> float | None:
        """Return a figure, None where there is none or a message was lost."""
        return None if self.error or self.lost else self.figures.get(figure)


@dataclass
class Results:
    """The outcomes of a run, by workload and peer, one for each round."""

    outcomes: dict[str, dict[str, list[Outcome]]] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=_system)
    version: str = __version__
    timestamp: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def add(self, workload: str, peer: str, outcome: Outcome) -> None:
        """Take the outcome of one more round."""
        self.outcomes.setdefault(workload, {}).setdefault(peer, []).append(outcome)

    def rounds(self, workload: str, peer: str, figure: str = "value") -> list[float | None]:
        """Return a figure for each round, None where there is none."""
        return [outcome.get(figure) for outcome in self.outcomes.get(workload, {}).get(peer, [])]

    def values(self, workload: str, peer: str, figure: str = "value") -> list[float]:
        """Return a figure for each round that has one."""
        return [value for value in self.rounds(workload, peer, figure) if value is not None]

    def trouble(self, workload: str, peer: str) -> str:
        """Say what went wrong with a peer, ``""`` if nothing."""
        outcomes = self.outcomes.get(workload, {}).get(peer, [])
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if errors:
            return errors[0]
        lost = sum(outcome.lost for outcome in outcomes)
        return f"lost {lost:,} of {sum(int(outcome.figures.get('of', 0)) for outcome in outcomes):,}" if lost else ""

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        found = {
            workload: {peer: [_plain(outcome) for outcome in outcomes] for peer, outcomes in peers.items()}
            for workload, peers in self.outcomes.items()
        }
        whole = {"veltix_tx_version": self.version, "timestamp": self.timestamp, "system": self.system, "results": found}
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what :meth:`save` has written.

        Raises:
            ResultsError: the file is not that.
        """
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
            found = {
                workload: {peer: [_outcome(each) for each in outcomes] for peer, outcomes in peers.items()}
                for workload, peers in whole["results"].items()
            }
            return cls(found, whole["system"], whole["veltix_tx_version"], whole["timestamp"])
        except OSError as error:
            raise ResultsError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ResultsError(f"{path}: not what --json of this benchmark writes") from None


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {"error": outcome.error} if outcome.error else dict(outcome.figures)


def _outcome(plain: dict[str, Any]) -> Outcome:
    return Outcome(error=plain["error"]) if "error" in plain else Outcome(plain)
