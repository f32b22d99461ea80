"""Kill -9 and restart of the server under a client that reconnects: each request ends exactly once.

    python tests/programs/kills.py [--requests 10000] [--kills 5] [--window 256]

One client keeps a window of requests in flight, each with content of its own, and reconnects by itself. The server
process is killed in the middle of a burst, several times, and started again on the same port. Each request is sent
once and must end once: with its own reply, or with a typed failure. Those that fail may have been handled or not,
which nobody can know on this side; the server's own book tells here how many were.
"""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from random import Random
from typing import Any

from processes import ASK, TYPES, Ledger, ServerProcess, finish, served, sleep
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from veltix_tx import Client, RetryPolicy


async def kills(reactor: Any, requests: int, count: int, window: int, folder: Path) -> tuple[dict[str, object], list[str]]:
    """Run it; return what was seen and what was wrong."""
    book = folder / "ledger"

    holder = socket.socket()  # keeps the port from everyone but who listens, while the server is down
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = holder.getsockname()[1]

    def start() -> ServerProcess:
        return ServerProcess(reactor, "--port", str(port), "--app", "served:server", ledger=book)

    process = start()
    await process.listening
    ledger = Ledger()
    client = Client("127.0.0.1", port, types=TYPES, retry=RetryPolicy(initial_delay=0.05, max_delay=0.5))
    await client.connect()
    in_flight = [0]
    at_kills: list[int] = []
    recoveries: list[float] = []

    async def work() -> None:
        """Send one request after the other."""
        while ledger.begun < requests:
            in_flight[0] += 1
            await ledger.ask(lambda content: client.send_and_wait(ASK, content, timeout=10))
            in_flight[0] -= 1
            if not client.is_connected:
                await client.connect()

    begun = time.monotonic()
    workers = [Deferred.fromCoroutine(work()) for _ in range(window)]
    for number in range(1, count + 1):
        while ledger.begun < requests * number // (count + 1):
            await sleep(reactor, 0.0005)
        await sleep(reactor, Random(number).uniform(0, 0.02))  # not always at the same point of a burst
        process.signal(signal.SIGKILL)
        at_kills.append(in_flight[0])
        await process.exited
        process = start()
        await process.listening
        listening, replied = time.monotonic(), len(ledger.replied)
        while len(ledger.replied) == replied and ledger.begun < requests:
            await sleep(reactor, 0.001)
        recoveries.append(time.monotonic() - listening)
    await gatherResults(workers)
    took = time.monotonic() - begun
    await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    holder.close()
    ledger.check()
    began = served(book)["began"]
    faults = ledger.faults
    faults += [f"request {number} was handled {times} times" for number, times in began.items() if times != 1]
    faults += [f"request {number} has a reply and was not handled" for number in ledger.replied - set(began)]
    if max(recoveries) > 2:
        faults.append(f"the client needed {max(recoveries):.1f} s after a restart")
    if not any(at_kills):
        faults.append("no kill met a request in flight: nothing was shown")
    table: dict[str, object] = {
        "requests": ledger.begun,
        "ended with their own reply": len(ledger.replied),
        "ended with a typed failure": ", ".join(f"{name} {times}" for name, times in ledger.failures.items()) or "none",
        "of these handled all the same": len(set(began) - ledger.replied),
        "ended twice or never": sum(ledger.ends[number] != 1 for number in range(ledger.begun)),
        "in flight at each kill -9": at_kills,
        "seconds from listening to a reply": [round(each, 2) for each in recoveries],
        "seconds in all": round(took, 1),
    }
    return table, faults


async def main(reactor: Any, *arguments: str) -> None:
    """Read the arguments, run, print."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--window", type=int, default=256, help="requests in flight")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        seen = await kills(reactor, options.requests, options.kills, options.window, Path(folder))
    finish("kill -9 and restart", *seen)


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
