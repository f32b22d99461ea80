"""Loops of asyncio's, in which a test's coroutine runs to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.support.aio.ends import LOOPS
from veltix_tx.aio import reactor
from veltix_tx.net import tasks

SECONDS = 10.0
"""Time that a test has; nothing takes that long unless it hangs."""


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Make a loop of one kind; a test with it is run with each."""
    if request.param == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop  # type: ignore[no-any-return]


@pytest.fixture
def run(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine in a new loop, as ``asyncio.run`` does; nothing may be left of the package in it."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        loop = make_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda loop, context: problems.append(context))
        try:
            result = loop.run_until_complete(asyncio.wait_for(main, SECONDS))
            left = asyncio.all_tasks(loop)
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        assert left == set()
        assert problems == []
        return result

    yield run
    assert reactor._reactors == {}
    assert tasks._running == set()
