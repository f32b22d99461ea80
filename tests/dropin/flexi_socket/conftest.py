"""Loops of asyncio's, in which a test's coroutine runs to its end."""

from tests.aio.conftest import make_loop, run  # noqa: F401 (fixtures)
