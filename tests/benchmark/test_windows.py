"""How long is measured, and what becomes of a measurement that others disturbed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from veltix_tx.benchmark import noise, stage
from veltix_tx.benchmark.noise import Noise, busy_seconds, others_share
from veltix_tx.benchmark.peers import OWN, PEERS
from veltix_tx.benchmark.stage import Figures, Sizes, Stage

STAT = "cpu  100 20 30 1000 5 6 7 8 50 60\ncpu0 50 10 15 500 2 3 3 4 25 30\n"


class Watched:
    """Stands for Noise: tells one share after another."""

    def __init__(self, shares: Sequence[float | None]) -> None:
        self.left = list(shares)

    def __call__(self, used: Callable[[], float]) -> Watched:
        """Be the one that is made."""
        return self

    def share(self) -> float | None:
        """Tell the next share, the last one again and again."""
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def measured(monkeypatch: pytest.MonkeyPatch, rate: float, shares: Sequence[float | None] = (0.0,), **sizes: float) -> list[int]:
    """Measure something that does so many in a second; return the numbers asked for, the accepted figures last."""
    asked: list[int] = []
    monkeypatch.setattr(stage, "Noise", Watched(shares))

    def run(number: int) -> Figures:
        asked.append(number)
        return {"value": rate, "seconds": number / rate, "lost": 0, "number": number, "run": len(asked)}

    figures = Stage(PEERS[OWN], 15, None, Sizes(**sizes)).window(run, 10)  # type: ignore[arg-type]
    return [*asked, int(figures["run"])]


@pytest.mark.parametrize("rate", [20.0, 1000.0, 5e6])
def test_a_window_is_long_enough_whatever_the_rate(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of messages follows from the rate that the warm-up found."""
    *numbers, accepted = measured(monkeypatch, rate, window=0.5)
    assert accepted == len(numbers)
    assert numbers[-1] / rate >= 0.5
    assert sum(numbers[:-1]) / rate >= 0.1  # the warm-up


def test_a_window_that_came_out_too_short_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm-up may be slower than what follows it."""
    monkeypatch.setattr(stage, "Noise", Watched([0.0]))
    rates = iter([100.0, 100.0, 1000.0, 1000.0, 1000.0])

    def run(number: int) -> Figures:
        rate = next(rates)
        return {"value": rate, "seconds": number / rate, "lost": 0}

    figures = Stage(PEERS[OWN], 15, None, Sizes(window=1.0)).window(run, 10)
    assert figures["seconds"] >= 1.0
    assert figures["value"] == 1000.0


def test_a_disturbed_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until others leave the machine alone."""
    *numbers, accepted = measured(monkeypatch, 1000.0, [0.3, 0.2, 0.01], noise=0.05, repeats=5)
    assert accepted == len(numbers)
    assert numbers[-3:] == [numbers[-1]] * 3


def test_repeating_has_an_end_and_the_quietest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is marked as noisy, and says how much others used."""
    monkeypatch.setattr(stage, "Noise", Watched([0.3, 0.1, 0.2]))
    runs = iter(range(100))

    def run(number: int) -> Figures:
        return {"value": 1.0, "seconds": number / 1000, "lost": 0, "run": next(runs)}

    figures = Stage(PEERS[OWN], 15, None, Sizes(noise=0.05, repeats=2)).window(run, 1000)
    assert (figures["run"], figures["others"], figures["noisy"], figures["repeats"]) == (2, 0.1, 1.0, 2)


def test_a_quiet_measurement_is_not_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one on a system that does not tell what others use."""
    for share in (0.04, None):
        monkeypatch.setattr(stage, "Noise", Watched([share]))
        figures = Stage(PEERS[OWN], 15, None, Sizes(noise=0.05)).window(
            lambda number: {"value": 1.0, "seconds": number / 10, "lost": 0}, 10
        )
        assert not figures.get("noisy")


@pytest.mark.parametrize("trouble", ["lost", "wrong"])
def test_a_loss_ends_a_measurement(trouble: str) -> None:
    """In the warm-up as well: there is nothing to repeat, and it is told."""
    figures = Stage(PEERS[OWN], 15, None, Sizes()).window(lambda number: {"value": 1.0, "seconds": 1.0, "lost": 0, trouble: 3}, 10)
    assert figures[trouble] == 3


def test_busy_is_everything_but_idle_and_waiting() -> None:
    """User, nice, system, interrupts and what a neighbour stole; a guest's time is in the user's already."""
    assert busy_seconds(STAT, 100) == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / 100)
    assert busy_seconds("cpu  100 20 30 1000\n", 100) == pytest.approx(1.5)


def test_others_have_what_is_left() -> None:
    """As a part of all processors; never less than nothing, where the clocks disagree."""
    assert others_share(1.5, 1.0, 0.5, 2) == pytest.approx(0.5)
    assert others_share(0.9, 1.0, 0.5, 2) == 0.0


def test_noise_is_what_happened_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at the system's counters and at our own."""
    stat, used = tmp_path / "stat", iter([1.0, 1.25])
    moments = iter([10.0, 11.0])
    monkeypatch.setattr(noise, "_STAT", stat)
    monkeypatch.setattr(noise.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(noise.time, "process_time", lambda: 0.0)
    monkeypatch.setattr(noise.os, "cpu_count", lambda: 2)
    ticks = noise.os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {5 * ticks} 0 0 0\n")
    watched = Noise(lambda: next(used))
    stat.write_text(f"cpu  {6 * ticks} 0 0 0\n")
    assert watched.share() == pytest.approx((1.0 - 0.25) / 2)


def test_a_system_without_counters_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no error, and no share."""
    monkeypatch.setattr(noise, "_STAT", tmp_path / "missing")
    assert Noise(lambda: 0.0).share() is None
