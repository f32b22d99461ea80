"""Waiters: one event, a Deferred for each who waits."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from veltix_tx.net.waiters import Waiters


def outcome(deferred: Deferred[str]) -> list[object]:
    """What a Deferred has fired with so far, failures as their errors."""
    seen: list[object] = []
    deferred.addBoth(lambda result: seen.append(result.value if isinstance(result, Failure) else result))
    return seen


def test_everyone_who_waits_is_told_once() -> None:
    """Each caller has a Deferred of its own, and one who comes later waits for the next time."""
    listeners: Waiters[str] = Waiters()
    first, second = listeners.wait(), listeners.wait()
    assert first is not second
    seen = [outcome(first), outcome(second)]
    listeners.fire("now")
    late = outcome(listeners.wait())
    assert seen == [["now"], ["now"]]
    assert late == []


def test_a_failure_reaches_everyone() -> None:
    """Firing with a Failure errbacks."""
    listeners: Waiters[str] = Waiters()
    error = ValueError("no")
    seen = outcome(listeners.wait())
    listeners.fire(Failure(error))
    assert seen == [error]


def test_cancelling_one_leaves_the_others() -> None:
    """A cancelled Deferred errbacks with CancelledError and is not fired any more."""
    listeners: Waiters[str] = Waiters()
    cancelled, other = listeners.wait(), listeners.wait()
    seen = [outcome(cancelled), outcome(other)]
    cancelled.cancel()
    listeners.fire("now")
    assert isinstance(seen[0][0], CancelledError)
    assert seen[1] == ["now"]


def test_one_listener_may_cancel_another_while_they_are_told() -> None:
    """The Deferred cancelled in the middle is skipped, and those behind it are told."""
    listeners: Waiters[str] = Waiters()
    first, second, third = listeners.wait(), listeners.wait(), listeners.wait()
    first.addCallback(lambda _: second.cancel())
    seen = [outcome(second), outcome(third)]
    listeners.fire("now")
    assert isinstance(seen[0][0], CancelledError)
    assert seen[1] == ["now"]
