"""Coroutines as tasks: they await Deferreds and awaitables alike, and are cancelled from either side."""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import alsoProvides

from veltix_tx import CannotAwait
from veltix_tx.net.awaitables import ITaskReactor, as_deferred, call
from veltix_tx.net.tasks import _running, run_task, wait


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine, in debug mode, in which asyncio is strict."""
    asyncio.run(asyncio.wait_for(main(), 5), debug=True)
    assert _running == set()


def collect(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


async def turns(number: int = 5) -> None:
    """Let tasks go on that wait for nothing else."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_it_runs_to_its_first_wait_at_once() -> None:
    """What waits for nothing is done at once, and so is what awaits Deferreds that have fired."""

    async def work() -> str:
        return await succeed("done")

    async def main() -> None:
        assert collect(run_task(work())) == ["done"]
        assert collect(run_task(fails())) == [failure]

    async def fails() -> None:
        await fail(failure)

    failure = ZeroDivisionError()
    run(main)


def test_it_awaits_both_kinds_in_one_body() -> None:
    """Deferreds and futures in turns, also inside of what it awaits; a failure of either can be caught."""
    told: list[Any] = []

    async def inner(deferred: Deferred[Any], future: asyncio.Future[Any]) -> Any:
        return [await deferred, await future]

    async def work(deferreds: list[Deferred[Any]], futures: list[asyncio.Future[Any]]) -> str:
        told.append(await inner(deferreds[0], futures[0]))
        for awaited in (deferreds[1], futures[1]):
            try:
                await awaited
            except ZeroDivisionError as error:  # noqa: PERF203
                told.append(str(error))
        await asyncio.sleep(0)
        return "done"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        deferreds, futures = [Deferred(), Deferred()], [loop.create_future(), loop.create_future()]
        outcome = collect(run_task(work(deferreds, futures)))
        deferreds[0].callback(1)
        await turns()
        futures[0].set_result(2)
        await turns()
        assert told == [[1, 2]]
        deferreds[1].errback(ZeroDivisionError("deferred"))
        futures[1].set_exception(ZeroDivisionError("future"))
        await turns()
        assert told[1:] == ["deferred", "future"]
        await turns()
        assert outcome == ["done"]

    run(main)


def test_it_is_the_current_task_from_its_first_step_on() -> None:
    """asyncio.timeout and TaskGroup look for it; whoever begins it is the current task again afterwards."""
    seen: list[Any] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async def main() -> None:
        own = asyncio.current_task()
        outcome = run_task(work())
        assert asyncio.current_task() is own
        await wait(outcome)
        assert seen[0] is seen[1] is not own
        asyncio.get_running_loop().call_soon(lambda: outcomes.append(run_task(work())))  # in no task
        await turns()
        assert seen[2] is seen[3] is not None
        assert outcomes[0].called

    outcomes: list[Deferred[Any]] = []
    run(main)


async def forever() -> None:
    """Wait without an end."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("what", [forever, Deferred, lambda: asyncio.ensure_future(forever())], ids=["future", "Deferred", "task"])
def test_cancelling_the_deferred_cancels_the_task(what: Callable[[], Any], turn: int) -> None:
    """CancelledError comes where it waits, in whatever turn, and what it waits for is cancelled, too; then the Deferred fires."""
    seen: list[Any] = []

    async def work() -> None:
        awaited = what()
        seen.append(awaited)
        try:
            await awaited
        except CancelledError as error:
            seen.append(error)
            raise

    async def main() -> None:
        outcome = run_task(work())
        fired = collect(outcome)
        await turns(turn)
        outcome.cancel()
        assert fired == []
        await turns()
        assert isinstance(seen[1], CancelledError)
        assert isinstance(fired[0], defer.CancelledError)
        if isinstance(seen[0], asyncio.Task):
            assert seen[0].cancelled()
        elif isinstance(seen[0], Deferred):
            assert seen[0].called

    run(main)


def test_who_catches_its_cancellation_has_a_result() -> None:
    """The Deferred waits for the end of the task, whatever that comes to; cancelled again, it is cancelled again."""

    async def work() -> str:
        for _ in range(2):
            try:
                await Deferred()
            except CancelledError:  # noqa: PERF203
                await asyncio.sleep(0)
        return "in spite of it"

    async def main() -> None:
        outcome = run_task(work())
        fired = collect(outcome)
        for _ in range(2):
            assert fired == []
            outcome.cancel()
            await turns()
        assert fired == ["in spite of it"]
        outcome.cancel()

    run(main)


def test_a_failure_shows_where_it_was() -> None:
    """The Failure has the user's frames, and no task complains of an exception that nobody fetched."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("there")

    async def main() -> None:
        failures: list[Any] = []
        run_task(work()).addErrback(failures.append)
        await turns()
        assert failures[0].check(ZeroDivisionError)
        assert 'raise ZeroDivisionError("there")' in failures[0].getTraceback()

    run(main)


def test_a_task_that_nobody_refers_to_lives_on() -> None:
    """It is not collected while it waits, though a loop refers to its tasks weakly."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await Deferred()
        finally:
            ended.append("ended")

    async def main() -> None:
        run_task(work()).addErrback(lambda failure: None)
        await turns()
        gc.collect()
        assert ended == []
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "work" in repr(task):
                task.cancel()
        await turns()
        assert ended == ["ended"]

    run(main)


def test_its_variables_are_its_own() -> None:
    """It begins with those of its maker and keeps what it sets from step to step."""
    variable: ContextVar[str] = ContextVar("variable", default="")
    seen: list[str] = []

    async def work() -> None:
        seen.append(variable.get())
        variable.set("own")
        await asyncio.sleep(0)
        seen.append(variable.get())
        deferred: Deferred[None] = Deferred()
        asyncio.get_running_loop().call_soon(deferred.callback, None)
        await deferred
        seen.append(variable.get())

    async def main() -> None:
        variable.set("maker's")
        outcome = run_task(work())
        assert variable.get() == "maker's"
        await wait(outcome)

    run(main)
    assert seen == ["maker's", "own", "own"]


def test_the_task_shows_the_users_code() -> None:
    """Its repr and its stack name the coroutine that it runs."""

    async def work() -> None:
        await forever()

    async def main() -> None:
        outcome = run_task(work())
        await turns()
        (task,) = asyncio.all_tasks() - {asyncio.current_task()} - others
        assert "work() running at" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["work"]
        outcome.addErrback(lambda failure: failure.trap(defer.CancelledError)).cancel()
        await turns()

    others: set[Any] = set()

    async def beside() -> None:
        others.update(asyncio.all_tasks())
        await main()

    run(beside)


if sys.version_info >= (3, 12):

    def test_an_eager_loop_is_none_the_worse() -> None:
        """Where the loop begins its tasks eagerly, they are begun once."""
        told: list[str] = []

        async def work() -> str:
            told.append("begun")
            await asyncio.sleep(0)
            return "done"

        async def at_once() -> str:
            return "at once"

        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            assert collect(run_task(at_once())) == ["at once"]
            assert await wait(run_task(work())) == "done"
            outcome = run_task(work())
            fired = collect(outcome)
            outcome.cancel()
            await turns()
            assert isinstance(fired[0], defer.CancelledError)
            assert told == ["begun"] * 2

        run(main)


# Waiting for a Deferred in a task.


def test_wait_gives_what_the_deferred_fires_with() -> None:
    """Its result, or its failure raised; one that has fired takes no turn."""

    async def main() -> None:
        deferred: Deferred[int] = Deferred()
        asyncio.get_running_loop().call_soon(deferred.callback, 1)
        assert await wait(deferred) == 1
        with pytest.raises(ZeroDivisionError):
            await wait(fail(ZeroDivisionError()))
        with pytest.raises(StopIteration) as caught:
            wait(succeed(2)).send(None)
        assert caught.value.value == 2

    run(main)


@pytest.mark.parametrize("fires", ["never", "after it", "fails after it"])
def test_cancelling_the_task_cancels_what_it_waits_for(fires: str) -> None:
    """The Deferred is cancelled, and whatever it comes to then is nobody's."""
    cancelled: list[Deferred[Any]] = []

    async def main() -> None:
        deferred: Deferred[int] = Deferred(cancelled.append)
        waiting = asyncio.ensure_future(wait(deferred))
        await turns()
        waiting.cancel()
        if fires != "never":
            deferred.callback(1) if fires == "after it" else deferred.errback(ZeroDivisionError())
        with pytest.raises(CancelledError):
            await waiting
        assert cancelled == ([deferred] if fires == "never" else [])

    run(main)


# Which reactors have tasks.


def loop_clock() -> Clock:
    """Return a clock that works in the running loop."""
    clock = Clock()
    alsoProvides(clock, ITaskReactor)
    return clock


def test_a_future_is_a_result_where_the_reactor_is_asyncios() -> None:
    """What a function returns may be a future or a task there; elsewhere it is taken as it is."""

    async def main() -> None:
        for reactor, waits in ((loop_clock(), True), (Clock(), False)):
            future = asyncio.get_running_loop().create_future()
            fired = collect(as_deferred(future, reactor))
            assert fired == ([] if waits else [future])
            future.set_result(1)
            await turns()
            assert fired == [1 if waits else future]

    run(main)


async def sleep() -> None:
    """Need a running loop."""
    await asyncio.sleep(1)


async def future_of_a_loop() -> None:
    """Need a task."""
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize("work", [sleep, future_of_a_loop])
def test_elsewhere_the_error_says_what_to_do(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Without a loop of asyncio's, awaiting something of it fails with words of ours, and with the place in the user's code."""
    failures: list[Any] = []
    as_deferred(work(), Clock()).addErrback(failures.append)
    (failure,) = failures
    assert failure.check(CannotAwait)
    assert "twistd --reactor asyncio" in str(failure.value)
    assert work.__name__ in failure.getTraceback()
    assert isinstance(failure.value.__cause__, RuntimeError)


def test_other_errors_are_left_as_they_are() -> None:
    """A RuntimeError of the user's own stays one, and Deferreds are awaited on any reactor."""

    async def work() -> None:
        raise RuntimeError(await succeed("own"))

    (error,) = collect(as_deferred(work(), Clock()))
    assert (type(error), str(error)) == (RuntimeError, "own")


def test_a_clock_in_a_running_loop_has_no_tasks() -> None:
    """Only the reactor decides: in a test that is a coroutine itself, a clock's handlers run when the clock is moved."""

    async def work(deferred: Deferred[int]) -> int:
        return await deferred + 1

    async def main() -> None:
        deferred: Deferred[int] = Deferred()
        fired = collect(call(Clock(), work, deferred))
        deferred.callback(1)
        assert fired == [2]

    run(main)


def test_what_a_call_raises_is_a_failure() -> None:
    """A function of the user's that raises is as one that returns a Deferred which fails."""
    (error,) = collect(call(Clock(), lambda: 1 / 0))
    assert isinstance(error, ZeroDivisionError)
    assert collect(call(Clock(), lambda value: value, 3)) == [3]
