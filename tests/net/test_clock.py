"""Clocks, and the named timers of a connection."""

from __future__ import annotations

from twisted.internet.task import Clock

from veltix_tx.net.clock import Clocks, Timers


def test_a_deadline_acts_once_at_its_time() -> None:
    """A deadline acts at its time, once, and is gone then."""
    clock, acts = Clock(), []
    deadlines = Timers(clock)
    deadlines.set("a", 2, lambda: acts.append("a" in deadlines))
    clock.advance(1.999)
    assert acts == []
    assert "a" in deadlines
    clock.advance(1)
    clock.advance(10)
    assert acts == [False]


def test_setting_a_deadline_again_replaces_it() -> None:
    """A deadline set again acts at the new time only; another name is not touched."""
    clock, acts = Clock(), []
    deadlines = Timers(clock)
    deadlines.set("a", 1, lambda: acts.append("old"))
    deadlines.set("b", 1, lambda: acts.append("b"))
    deadlines.set("a", 2, lambda: acts.append("new"))
    clock.advance(1)
    clock.advance(1)
    assert acts == ["b", "new"]


def test_clearing_is_always_allowed() -> None:
    """A cleared deadline does not act; clearing what is not set does nothing; clear_all clears all."""
    clock = Clock()
    deadlines = Timers(clock)
    deadlines.clear("a")
    for name in "abc":
        deadlines.set(name, 1, lambda: 1 / 0)
    deadlines.clear("a")
    deadlines.clear("a")
    assert len(clock.getDelayedCalls()) == 2
    deadlines.clear_all()
    assert clock.getDelayedCalls() == []


def test_a_deadline_may_set_itself_again() -> None:
    """Acting may set the same name anew."""
    clock, acts = Clock(), []
    deadlines = Timers(clock)

    def act() -> None:
        acts.append(clock.seconds())
        if len(acts) < 3:
            deadlines.set("a", 1, act)

    deadlines.set("a", 1, act)
    clock.pump([1] * 5)
    assert acts == [1, 2, 3]


def test_clocks_tell_whole_milliseconds() -> None:
    """Both clocks are told in whole milliseconds, and by default come from the system."""
    clocks = Clocks(Clock(), lambda: 1.2345, lambda: 6.789)
    assert (clocks.calendar_ms(), clocks.uptime_ms()) == (1234, 6789)
    usual = Clocks(Clock())
    assert usual.calendar_ms() > 1_500_000_000_000
    assert usual.uptime_ms() >= 0


def test_a_deadline_that_is_late_lets_what_has_arrived_be_read_first() -> None:
    """When the process was held up, a deadline waits for one turn of the reactor, in which it can be cleared or set again."""

    class Held(Clock):
        """A reactor that reads between two turns."""

        def turn(self, seconds: float) -> None:
            """Be held up, then make one turn: timers, then reading."""
            self.rightNow += seconds
            due = [call for call in self.calls if call.getTime() <= self.rightNow]
            for call in due:
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    clock, acts = Held(), []
    deadlines = Timers(clock)
    deadlines.set("a", 1, lambda: acts.append("a"))
    deadlines.set("b", 1, lambda: acts.append("b"))
    clock.turn(60)
    assert acts == []
    deadlines.clear("a")
    clock.turn(0)
    assert acts == ["b"]
    assert clock.getDelayedCalls() == []
    deadlines.set("c", 1, lambda: acts.append("c"))
    clock.turn(1.05)
    assert acts == ["b", "c"]
