"""Reply waiters: one timer for many Deferreds, each settled once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.task import Clock

from veltix_tx.errors import RequestTimeout
from veltix_tx.net.clock import Timers
from veltix_tx.net.session.reply_waiters import ReplyWaiters


def make() -> tuple[Clock, ReplyWaiters]:
    """Make what is tested, on a clock."""
    clock = Clock()
    return clock, ReplyWaiters(clock.seconds, Timers(clock), "requests", Counter())


def collect(deferred: Any) -> list[Any]:
    """Collect what a Deferred fires with."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def test_one_timer_serves_all() -> None:
    """However many wait, there is one delayed call, at the earliest deadline."""
    clock, waiting = make()
    results = [collect(waiting.add(number, seconds)) for number, seconds in enumerate((5, 3, 4, 3))]
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 3
    clock.advance(3)
    assert [len(each) for each in results] == [0, 1, 0, 1]
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 4
    clock.pump([1, 1])
    assert [len(each) for each in results] == [1, 1, 1, 1]
    assert clock.getDelayedCalls() == []


def test_settling_is_told_once() -> None:
    """settle() says whether anyone waited, and nobody does twice."""
    clock, waiting = make()
    result = collect(waiting.add(1, 5))
    assert waiting.settle(1, "reply")
    assert not waiting.settle(1, "again")
    assert not waiting.settle(2, "nobody")
    assert result == ["reply"]
    clock.advance(5)
    assert clock.getDelayedCalls() == []


def test_deadlines_that_are_close_are_swept_together() -> None:
    """Two sweeps are at least 10 ms apart; nothing ends early for it."""
    clock, waiting = make()
    results = [collect(waiting.add(number, 1 + number / 1000)) for number in range(5)]
    clock.advance(1)
    assert [len(each) for each in results] == [1, 0, 0, 0, 0]
    clock.advance(0.01)
    assert [len(each) for each in results] == [1, 1, 1, 1, 1]


def test_a_request_made_while_others_time_out_has_its_own_time() -> None:
    """An errback that asks again starts a new wait with its full time."""
    clock, waiting = make()
    again: list[Any] = []
    waiting.add(1, 1).addErrback(lambda _: again.append(collect(waiting.add(2, 1))))
    clock.advance(1)
    assert again == [[]]
    clock.advance(0.999)
    assert again == [[]]
    clock.advance(0.001)
    assert isinstance(again[0][0], RequestTimeout)


def test_a_cancelled_request_holds_its_id_back() -> None:
    """The id of a request that was cancelled stays out of use until its late reply came, which is one."""
    _, waiting = make()
    waiting.add(1, 5).addErrback(lambda _: None).cancel()
    assert list(waiting.given_up.ids) == [1]
    assert not waiting.settle(1, "reply")
    assert waiting.came_late(1)
    assert not waiting.came_late(1)
    assert not waiting.given_up.ids


def test_failing_all_leaves_no_timer() -> None:
    """fail_all gives each its own error and clears the timer."""
    clock, waiting = make()
    results = [collect(waiting.add(number, 5)) for number in range(2)]
    waiting.fail_all(RuntimeError)
    assert results[0][0] is not results[1][0]
    assert clock.getDelayedCalls() == []
    assert not waiting.entries
