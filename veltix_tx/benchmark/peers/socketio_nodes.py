"""python-socketio over nodes with its manager for Redis: one that publishes, one whose client is in the rooms, that client."""

from __future__ import annotations

import asyncio
from typing import Any

from veltix_tx.benchmark.peers.crossing import Crossings, paced, published
from veltix_tx.benchmark.peers.program import begin, ready, serve_commands

_EVENT = "m"


async def _serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Serve a node."""
    import socketio  # noqa: PLC0415 (installed for the benchmark)
    from aiohttp import web  # noqa: PLC0415

    server = socketio.AsyncServer(async_mode="aiohttp", client_manager=socketio.AsyncRedisManager(task["backplane"]))
    joined = asyncio.Event()

    async def connect(sid: str, environment: object) -> None:
        for number in range(task["rooms"]):
            await server.enter_room(sid, f"r{number}")
        joined.set()

    async def members() -> None:
        await joined.wait()
        await asyncio.sleep(0.5)  # it says nowhere whether it listens to Redis

    server.on("connect", connect)
    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner.addresses[0][1], {"members": members}


async def _publish(task: dict[str, Any]) -> dict[str, Any]:
    """Publish, as a process without clients."""
    import socketio  # noqa: PLC0415

    manager = socketio.AsyncRedisManager(task["backplane"], write_only=True)
    rooms = task["rooms"]

    async def publish(first: int, contents: list[bytes]) -> None:
        for number, content in enumerate(contents, first):
            await manager.emit(_EVENT, content, room=f"r{number % rooms}")

    async def burst(number: int, rooms: int, size: int) -> dict[str, float]:
        return await published(number, rooms, size, publish)

    async def steady(rate: float, number: int, rooms: int, size: int) -> dict[str, float]:
        return await paced(rate, number, rooms, size, publish)

    return {"publish": burst, "paced": steady}


def _listen() -> dict[str, Any]:
    """Be the client."""
    import socketio  # noqa: PLC0415

    crossings, client = Crossings(), socketio.AsyncClient()
    client.on(_EVENT, crossings.take)

    async def connect(port: int, number: int) -> None:
        await client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])

    return crossings.commands | {"connect": connect}


async def _main(task: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()

    def waited(result: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(result, loop).result() if asyncio.iscoroutine(result) else result

    port, commands = None, dict[str, Any]()
    if task["role"] == "server":
        port, commands = await _serve(task)
    else:
        commands = _listen() if task["role"] == "client" else await _publish(task)
    serve_commands(commands, waited)
    ready(port)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(_main(begin()))
