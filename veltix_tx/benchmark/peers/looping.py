"""Programs in asyncio's event loop, or in uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from typing import Any

from veltix_tx.benchmark.peers.program import begin, ready, serve_commands
from veltix_tx.benchmark.peers.working import Link, Work

__all__ = ["run"]


def run(serve: Callable[[dict[str, Any]], Awaitable[Any]], connect: Callable[[dict[str, Any]], Coroutine[Any, Any, Link]]) -> None:
    """Be the server or the client that the task asks for.

    Args:
        serve: listens; returns the port, and the commands that the server knows.
        connect: makes a client's connection.
    """
    task = begin()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def waited(result: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(result, loop).result() if asyncio.iscoroutine(result) else result

        if task["role"] == "server":
            port, commands = await serve(task)
            serve_commands(commands)
            ready(port)
        else:
            work = Work(lambda port: connect(task | {"port": port}), lambda coroutines: asyncio.gather(*coroutines), asyncio.sleep)
            serve_commands(work.commands, waited)
            ready()
        await loop.create_future()

    if task.get("uvloop"):
        import_module("uvloop").install()
    asyncio.run(main())
