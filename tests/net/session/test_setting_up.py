"""The right to use a session that is being set up goes with the context."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from veltix_tx.net.session.setting_up import begin_set_up, keep_context, sets_up


def test_the_right_is_the_calls_alone() -> None:
    """It holds in the call and in a coroutine that this returns, for that session, and nowhere after."""
    one, other, turn = object(), object(), Deferred()  # type: ignore[var-annotated]
    seen: list[bool] = []

    async def work(session: object) -> None:
        seen.extend([sets_up(one), sets_up(other)])
        await turn
        seen.append(sets_up(session))

    done: Any = begin_set_up(work, one, None)
    assert not sets_up(one)
    turn.callback(None)
    assert done.called
    assert seen == [True, False, True]


def test_the_right_ends_with_a_call_that_fails() -> None:
    """A function that raises leaves no right behind."""
    session = object()
    with pytest.raises(ZeroDivisionError):
        begin_set_up(lambda _: 1 / 0, session, None)
    assert not sets_up(session)


@pytest.mark.parametrize("fails", [False, True])
def test_a_kept_context_is_that_of_the_callbacks(fails: bool) -> None:
    """The callbacks and errbacks of what keep_context returns have the right, whoever fires the Deferred."""
    session, source, seen = object(), Deferred(), []  # type: ignore[var-annotated]

    def chain(_: object) -> Deferred[Any]:
        return keep_context(source).addBoth(lambda result: seen.append((type(result).__name__, sets_up(session))))

    begin_set_up(chain, session, None)
    source.errback(ZeroDivisionError()) if fails else source.callback(1)
    assert seen == [("Failure" if fails else "int", True)]
    assert not sets_up(session)


def test_cancelling_what_is_kept_cancels_its_source() -> None:
    """Who gives up the kept Deferred gives up what it waits for."""
    given_up: list[Any] = []
    kept = keep_context(Deferred(given_up.append))
    errors: list[Any] = []
    kept.addErrback(lambda failure: errors.append(failure.value))
    kept.cancel()
    assert len(given_up) == 1
    assert isinstance(errors[0], CancelledError)


def test_what_is_no_deferred_is_returned_as_it_is() -> None:
    """A thread gets results, not Deferreds."""
    result = object()
    assert keep_context(result) is result
