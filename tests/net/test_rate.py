"""Token buckets: how often a peer may do what it does."""

from __future__ import annotations

from twisted.internet.task import Clock

from veltix_tx.net.rate import TokenBucket


def test_pings_at_the_rate_are_served_for_ever_and_a_burst_once() -> None:
    """So many in a row and so many per second are within the budget; one more is not."""
    clock = Clock()
    budget = TokenBucket(clock.seconds, 50, 200)
    assert budget.spend(200)
    for _ in range(1000):
        clock.advance(0.125)
        assert budget.spend(6)
    clock.advance(1000)
    assert budget.spend(200)
    assert not budget.spend(1)


def test_pings_that_waited_while_reading_was_paused_may_come_at_once() -> None:
    """What the time of a pause allows is added to the budget; it does not come back after it is spent."""
    clock = Clock()
    budget = TokenBucket(clock.seconds, 50, 200)
    clock.advance(60)
    budget.reading_resumed()
    assert budget.spend(3200)
    assert not budget.spend(1)
    clock.advance(1000)
    assert budget.spend(200)
    assert not budget.spend(1)
