"""Results of a run, as an object and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from veltix_tx._version import __version__
from veltix_tx.benchmark.peers import COSTS, OTHER, PEERS, ours
from veltix_tx.benchmark.statistics import Interval, interval, ratios
from veltix_tx.benchmark.workloads import WORKLOADS, Workload
from veltix_tx.wire.veltix import codec

__all__ = ["Case", "Outcome", "Ratio", "Results", "ResultsError"]

_ORDER = {name: number for number, name in enumerate([*PEERS, *COSTS])}

_WIDE = 0.1
"""Half an interval of times as a part of its median, from which on the times are too noisy to judge by."""


class ResultsError(Exception):
    """A file is none of results."""


def _system() -> dict[str, Any]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "codec": codec.description(),
    }


@dataclass(frozen=True, order=True)
class Case:
    """A workload with a header, as results have it.

    Attributes:
        workload: the workload's name.
        header: bytes of the header; 0 where that makes no difference.
    """

    workload: str
    header: int = 15

    def __str__(self) -> str:
        return self.workload if self.header in (0, 15) else f"{self.workload}@{self.header}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that a text stands for."""
        name, _, header = text.partition("@")
        known = WORKLOADS.get(name)
        return cls(name, int(header) if header else 15 if known is None or known.headers else 0)

    @property
    def what(self) -> Workload:
        """The workload."""
        return WORKLOADS[self.workload]


@dataclass(frozen=True)
class Outcome:
    """One measurement: figures, or why there are none."""

    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def lost(self) -> int:
        """Messages that did not arrive."""
        return int(self.figures.get("lost", 0))

    @property
    def wrong(self) -> int:
        """Messages that arrived and were not sent."""
        return int(self.figures.get("wrong", 0))

    @property
    def reordered(self) -> bool:
        """True if some arrived in another order than they were sent."""
        return bool(self.figures.get("reordered", 0))

    @property
    def noisy(self) -> bool:
        """True if others used the machine meanwhile, and would not stop."""
        return bool(self.figures.get("noisy", 0))

    def get(self, figure: str) -> float | None:
        """Return a figure, None where there is none, or a message was lost or wrong."""
        return None if self.error or self.lost or self.wrong else self.figures.get(figure)


@dataclass(frozen=True)
class Ratio:
    """Ratio of one peer to another in a case, round by round.

    Attributes:
        wall: their value in units of each other: the first one's in the second one's.
        cpu: the same of the CPU of a message, such that more is better where the value is a rate: the second one's in
            the first one's. None where it is not measured.
        noisy: in how many rounds others used the machine.
    """

    wall: Interval | None
    cpu: Interval | None
    noisy: int = 0

    @property
    def by_cpu(self) -> bool:
        """True if it is to be judged by CPU: times are noisy, and CPU is known."""
        if self.cpu is None or not self.cpu.shown:
            return False
        return self.wall is None or self.noisy > 0 or (self.wall.width > _WIDE and self.cpu.width < self.wall.width)

    @property
    def judged(self) -> Interval | None:
        """Interval it is judged by."""
        return self.cpu if self.by_cpu else self.wall


@dataclass
class Results:
    """The outcomes of a run, by case and peer, one for each round."""

    outcomes: dict[Case, dict[str, list[Outcome]]] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=_system)
    version: str = __version__
    timestamp: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def add(self, case: Case, peer: str, outcome: Outcome) -> None:
        """Take the outcome of one more round."""
        self.outcomes.setdefault(case, {}).setdefault(peer, []).append(outcome)

    def peers(self, case: Case) -> list[str]:
        """Return those that were measured in a case, in the order of the table of peers."""
        return sorted(self.outcomes.get(case, {}), key=lambda name: (_ORDER.get(name.removesuffix(OTHER), len(_ORDER)), name))

    def rounds(self, case: Case, peer: str, figure: str = "value") -> list[float | None]:
        """Return a figure for each round, None where there is none."""
        return [outcome.get(figure) for outcome in self.outcomes.get(case, {}).get(peer, [])]

    def values(self, case: Case, peer: str, figure: str = "value") -> list[float]:
        """Return a figure for each round that has one."""
        return [value for value in self.rounds(case, peer, figure) if value is not None]

    def noisy(self, case: Case, peer: str) -> int:
        """Return in how many rounds others used the machine."""
        return sum(outcome.noisy for outcome in self.outcomes.get(case, {}).get(peer, []))

    def trouble(self, case: Case, peer: str) -> str:
        """Say what went wrong with a peer, ``""`` if nothing."""
        outcomes = self.outcomes.get(case, {}).get(peer, [])
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if errors:
            return errors[0]
        of = sum(int(outcome.figures.get("of", 0)) for outcome in outcomes)
        lost = sum(outcome.lost for outcome in outcomes)
        if lost:
            return f"lost {lost:,} of {of:,}"
        wrong = sum(outcome.wrong for outcome in outcomes)
        if wrong:
            return f"{wrong:,} of {of:,} arrived that were not sent"
        # Some peers promise no order; this package does.
        return "not in order" if ours(peer.removesuffix(OTHER)) and any(outcome.reordered for outcome in outcomes) else ""

    def busy(self, case: Case, peer: str) -> list[float | None]:
        """Return the CPU of a message by which peers are compared, for each round.

        Where the client is a peer's own: of server and client the busier one's, or of both where the value is a time.
        Else the server's.
        """
        server = self.rounds(case, peer, "server_cpu")
        if not case.what.by_own_client:
            return server
        client = self.rounds(case, peer, "client_cpu")
        joined: list[float | None] = []
        for pair in zip(server, client, strict=True):
            both = [each for each in pair if each is not None]
            joined.append((sum(both) if case.what.falls else max(both)) if len(both) == 2 else None)
        return joined

    def ratio(self, case: Case, one: str, than: str, figure: str = "value", than_case: Case | None = None) -> Ratio:
        """Compare two peers.

        Args:
            case: what was done.
            one: the peer whose ratio it is.
            than: the one it is compared with.
            figure: the figure to compare.
            than_case: where the other's figure is of another case.
        """
        other = than_case or case
        wall = ratios(self.rounds(case, one, figure), self.rounds(other, than, figure))
        pair = self.busy(case, one), self.busy(other, than)
        cpu = ratios(*pair if case.what.falls else pair[::-1]) if figure == "value" and other == case else []
        return Ratio(interval(wall), interval(cpu), self.noisy(case, one) + self.noisy(other, than))

    def alone(self, case: Case, peer: str, figure: str = "value") -> Ratio:
        """Return a figure of a peer as its ratio to 1."""
        return Ratio(interval(self.values(case, peer, figure)), None, self.noisy(case, peer))

    def pairs(self) -> Iterator[tuple[Case, str, str]]:
        """Return what is worth comparing: in each case each of this package's peers with all that stand behind it."""
        for case in self.outcomes:
            names = [name for name in self.peers(case) if self.values(case, name) and name not in COSTS]
            for number, one in enumerate(names):
                if ours(one):
                    yield from ((case, one, than) for than in names[number + 1 :])

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        found = {
            str(case): {peer: [_plain(outcome) for outcome in outcomes] for peer, outcomes in peers.items()}
            for case, peers in self.outcomes.items()
        }
        compared: dict[str, dict[str, dict[str, Any]]] = {}
        for case, one, than in self.pairs():
            compared.setdefault(str(case), {}).setdefault(one, {})[than] = asdict(self.ratio(case, one, than))
        whole = {
            "veltix_tx_version": self.version,
            "timestamp": self.timestamp,
            "system": self.system,
            "results": found,
            "ratios": compared,
        }
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
                Case.parse(case): {peer: [_outcome(each) for each in outcomes] for peer, outcomes in peers.items()}
                for case, peers in whole["results"].items()
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
