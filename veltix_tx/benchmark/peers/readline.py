"""A server on asyncio's streams as most serve lines with them: ``readline`` in a loop, a write for each line."""

from __future__ import annotations

import asyncio

from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.program import begin, ready, serve_commands


async def main() -> None:
    """Listen."""
    task, tally = begin(), Tally(lines=True)
    take = tally.take_content

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            take(line[:-1])
        writer.close()

    server = await asyncio.start_server(sink if task["mode"] == "sink" else echo, "127.0.0.1", 0, backlog=1024)
    serve_commands(tally.commands)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
