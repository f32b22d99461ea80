"""Log limiter: how many lines of the log peers may cause, and how what was left out is told."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from veltix_tx.net.shared.log_limiter import LogLimiter
from veltix_tx.sanitize import SanitizedFailure, escape_controls

LEFT_OUT = "more lines about"


def told(log_events: list[LogEvent]) -> list[str]:
    """Return what was told of lines left out."""
    return [text for text in map(formatEvent, log_events) if LEFT_OUT in text]


def make(per_second: float = 5, burst: float = 20) -> tuple[Clock, LogLimiter]:
    """Make one on a clock of its own."""
    clock = Clock()
    return clock, LogLimiter(clock.seconds, per_second, burst)


def test_a_source_has_a_burst_and_a_rate(log_events: list[LogEvent]) -> None:
    """Twenty lines in a row, then five per second, the lines that tell of others left out among them."""
    clock, remarks = make()
    assert sum(remarks.allow("a") for _ in range(1000)) == 20
    lines = 0
    for _ in range(1000):
        clock.advance(0.01)
        lines += remarks.allow("a")
    assert lines + len(told(log_events)) == pytest.approx(50, abs=4)


def test_what_was_left_out_is_counted_and_told_once(log_events: list[LogEvent]) -> None:
    """The next line about a source comes after one that says how many are missing; that is said once."""
    clock, remarks = make()
    for _ in range(832):
        remarks.allow("10.0.0.1")
    assert told(log_events) == []
    clock.advance(100)
    assert remarks.allow("10.0.0.1")
    assert remarks.allow("10.0.0.1")
    assert told(log_events) == ["812 more lines about 10.0.0.1 were left out"]


def test_sources_have_budgets_of_their_own() -> None:
    """One that floods takes nothing from another."""
    _, remarks = make()
    for _ in range(1000):
        remarks.allow("a")
    assert [remarks.allow("b") for _ in range(20)] == [True] * 20


def test_all_together_have_a_limit(log_events: list[LogEvent]) -> None:
    """However many sources there are, there are 200 lines per second, and the memory of sources is bounded."""
    clock, remarks = make()
    lines = 0
    for number in range(100_000):
        lines += remarks.allow(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        if number % 1000 == 0:
            clock.advance(0.01)
    assert lines + len(told(log_events)) <= 200 + 200 * 1 + 1
    assert len(remarks._sources) <= 1024
    assert len(remarks._suppressed) <= 1024


def test_a_flood_that_is_over_is_told_with_a_line_about_another(log_events: list[LogEvent]) -> None:
    """What was left out is told although that source does not come back."""
    clock, remarks = make()
    for _ in range(25):
        remarks.allow("a")
    clock.advance(11)
    assert remarks.allow("b")
    assert told(log_events) == ["5 more lines about a were left out"]
    remarks.close()
    assert len(told(log_events)) == 1


@pytest.mark.parametrize(
    ("sources", "expected"),
    [([], []), (["a"], ["5 more lines about a were left out"]), (["a", "b"], ["10 more lines about other peers were left out"])],
)
def test_the_end_tells_what_is_left(sources: list[str], expected: list[str], log_events: list[LogEvent]) -> None:
    """When the last port closes nothing stays untold."""
    _, remarks = make()
    for source in sources:
        for _ in range(25):
            remarks.allow(source)
    remarks.close()
    assert told(log_events) == expected


def test_a_burst_of_one_line_does_not_silence_a_source_for_ever(log_events: list[LogEvent]) -> None:
    """The line that tells what was left out does not cost more than a source can have."""
    clock, remarks = make(1, 1)
    assert [remarks.allow("a") for _ in range(3)] == [True, False, False]
    clock.advance(5)
    assert remarks.allow("a")
    assert told(log_events) == ["2 more lines about a were left out"]


def test_this_machine_has_a_name(log_events: list[LogEvent]) -> None:
    """Peers without an address are told as what they are."""
    _, remarks = make(1, 1)
    remarks.allow("")
    remarks.allow("")
    remarks.close()
    assert told(log_events) == ["1 more lines about this machine were left out"]


# What stands in the log.

HOSTILE = "a\r\nb\x1b[31m\x00\x7f\u2028\u202e\ud800"


def test_control_characters_are_escaped() -> None:
    """What ends a line, moves a cursor or turns the direction of text is written as escapes; all else stays."""
    assert escape_controls(HOSTILE) == r"a\r\nb\x1b[31m\x00\x7f\u2028\u202e\ud800"
    assert escape_controls("grüße {log_source} %s\t") == "grüße {log_source} %s\t"


def failed(error: BaseException) -> Failure:
    """Make a failure with a traceback."""
    try:
        raise error
    except BaseException:
        return Failure()


def test_a_traceback_cannot_be_injected_into() -> None:
    """An exception made of a peer's text has its lines escaped and cut; it is still the same failure."""
    shown = SanitizedFailure(failed(ValueError(HOSTILE + "x" * 10_000)))
    text = shown.getTraceback()
    assert r"\r" in text
    assert not set(text) & set("\r\x1b\x00\x7f\u2028\u202e\ud800")
    assert max(map(len, text.split("\n"))) <= 600
    assert shown.check(ValueError) is ValueError
    assert "raise error" in text


def test_a_recursions_traceback_is_cut() -> None:
    """A thousand frames are told as their ends."""

    def again() -> Any:
        return again()

    try:
        again()
    except RecursionError:
        text = SanitizedFailure(Failure()).getTraceback()
    assert len(text.split("\n")) <= 61
    assert "more lines ..." in text
    assert "RecursionError" in text
