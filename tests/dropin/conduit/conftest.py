"""Loops of asyncio's, in which a test's coroutine runs to its end, and ends that are connected in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from veltix_tx.aio import reactor
from veltix_tx.net import tasks

SECONDS = 10.0
"""Time that a test has; nothing takes that long unless it hangs."""


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine in a new loop, as ``asyncio.run`` does; nothing may be left of the package in it."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        loop = asyncio.new_event_loop()
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
