"""The cyclic garbage collector of a server process stops it seldom."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from veltix_tx.gc_tuning import GcTuner
from veltix_tx.net.clock import Clocks


class Looks:
    """A collector on a clock, and when it looked at all objects."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.took = 0.0
        self.at: list[float] = []
        self.collector = GcTuner(Clocks(self.clock, self.clock.seconds, self._uptime))
        self._uptimes = 0

    def _uptime(self) -> float:
        self._uptimes += 1
        return self.clock.seconds() + self.took * (self._uptimes % 2 == 0)

    def look(self, phase: str, info: dict[str, Any]) -> None:
        """Take note of a look at all objects."""
        if phase == "start" and info["generation"] == 2:
            self.at.append(self.clock.seconds())


@pytest.fixture
def looks() -> Iterator[Looks]:
    """Begin, and end behind the test."""
    made = Looks()
    gc.callbacks.append(made.look)
    made.collector.start()
    made.at.clear()
    yield made
    made.collector.stop()
    gc.callbacks.remove(made.look)


def test_a_process_looks_at_all_objects_each_half_minute(looks: Looks) -> None:
    """Reference cycles are found within 30 seconds, by a timer."""
    looks.clock.pump([1] * 65)
    assert looks.at == [30, 60]


def test_looks_that_take_long_come_seldom(looks: Looks) -> None:
    """The process spends at most a 200th of its time on them."""
    looks.took = 1.0
    looks.clock.pump([1] * 240)
    assert looks.at == [30, 230]


def test_the_number_of_connections_brings_no_look(looks: Looks) -> None:
    """A quarter of a million new objects are no reason to look at all of them."""
    held = [[] for _ in range(250_000)]
    assert (len(held), looks.at) == (250_000, [])


def test_in_the_end_all_is_as_it_was() -> None:
    """Stopping restores the process's thresholds and leaves no timer, once or twice."""
    usual, looks = gc.get_threshold(), Looks()
    looks.collector.start()
    assert gc.get_threshold() != usual
    looks.collector.stop()
    looks.collector.stop()
    assert gc.get_threshold() == usual
    assert looks.clock.getDelayedCalls() == []
