"""A bad link: loss, delay, corruption, partitions and silent peers between a real server and a client that reconnects.

    python tests/programs/link.py [--link namespaces|proxy] [--silence 3.5] [--pong 3.5] [--seconds 6] [--seed 1]

The server and the client are in two network namespaces, and a process in user space moves the packets between them;
that needs Linux and root. With ``--link proxy`` they are on loopback with a proxy in between, which has no packets to
lose. A client keeps requests in flight all the time, each with content of its own. In every phase each request must end
once; a dead peer must be noticed by both sides within silence and pong; and the client must be back by itself within
three seconds after the link is whole again.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from impaired import CLEAR, LINKS, Impairment, Unavailable
from processes import ASK, TYPES, Ledger, ServerProcess, finish, sleep
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from veltix_tx import Client, RetryPolicy, Timeouts

SLACK = 1.0
"""Seconds by which something may be late on a busy machine."""

RECOVERY = 3.0
"""Seconds after which the client must be served again."""

LOSSY = {
    "clear": CLEAR,
    "delay 50 ms, jitter 20 ms": Impairment(delay=0.05, jitter=0.02),
    "loss 5 %": Impairment(delay=0.005, loss=0.05),
    "repeated 5 %, reordered 10 %, corrupt 2 %": Impairment(delay=0.005, duplicate=0.05, reorder=0.1, corrupt=0.02),
    "all of these": Impairment(0.02, 0.01, 0.03, 0.03, 0.05, 0.01),
    "64 KiB/s": Impairment(delay=0.01, rate=65536),
}
"""Phases in which everything gets through in the end."""

WORKERS = 8


class Run:
    """One server, one client, one link, and what became of the requests of each phase."""

    def __init__(self, reactor: Any, link: Any, silence: float, pong: float) -> None:
        self.reactor, self.link = reactor, link
        self.limit = silence + pong
        self.timeouts = Timeouts(ping_interval=silence, ping_timeout=pong)
        self.ledger = Ledger()
        self.ended: list[float] = []
        self.reasons: list[str] = []
        self.last_reply = 0.0
        self.working = True
        self.rows: dict[str, object] = {}
        self.faults = self.ledger.faults

    async def start(self, folder: Path) -> None:
        """Start the server and the client."""
        link, times = self.link, self.timeouts
        self.server = ServerProcess(
            *(self.reactor, "--port", "0", "--app", "served:server"),
            ledger=folder / "ledger",
            host=link.server_host,
            python=link.server_python,
            fds=link.server_fds,
            environment={"SILENCE": str(times.ping_interval), "PONG": str(times.ping_timeout)},
        )
        host, port = await link.open(await self.server.listening)
        retry = RetryPolicy(initial_delay=0.1, max_delay=0.5)
        settings: dict[str, Any] = {"timeouts": times, "retry": retry, "connect_timeout": 1.0, "handshake_timeout": 1.5}
        self.client = Client(host, port, types=TYPES, **settings)
        self.client.set_callback("on_disconnect", self._disconnected)
        await self.client.connect()
        self.workers = [Deferred.fromCoroutine(self._work()) for _ in range(WORKERS)]

    def _disconnected(self, state: Any) -> None:
        if state.attempt == 0:
            self.ended.append(time.monotonic())
            self.reasons.append(state.reason.name)

    async def _work(self) -> None:
        while self.working:
            replied = len(self.ledger.replied)
            await self.ledger.ask(lambda content: self.client.send_and_wait(ASK, content, timeout=4 * self.limit), 200)
            if len(self.ledger.replied) > replied:
                self.last_reply = time.monotonic()
            if not self.client.is_connected:
                await self.client.connect()
            await sleep(self.reactor, 0.005)

    async def _phase(self, name: str, happen: Any) -> None:
        ledger = self.ledger
        replied, failed, ended = len(ledger.replied), ledger.failures.copy(), len(self.ended)
        extra = await happen()
        failures = ledger.failures - failed
        row = [f"{len(ledger.replied) - replied} replies"]
        row += [f"{count} {kind}" for kind, count in failures.items()]
        row += [f"{count} ended by {reason}" for reason, count in Counter(self.reasons[ended:]).items()]
        self.rows[name] = ", ".join([*row, *extra])
        if not extra and (failures or len(self.ended) > ended):
            self.faults.append(f"{name}: the connection ended, or a request failed: {self.rows[name]}")

    async def lossy(self, name: str, impairment: Impairment, seconds: float) -> None:
        """Let the link be bad for a while: everything gets through."""

        async def happen() -> list[str]:
            self.link.impairment = impairment
            await sleep(self.reactor, seconds)
            self.link.impairment = CLEAR
            await self._served_again(name)
            return []

        await self._phase(name, happen)

    async def stopped(self, name: str, seconds: float) -> None:
        """Stop the server's process for a while that is too short to be taken for dead: nothing is lost."""

        async def happen() -> list[str]:
            self.server.signal(signal.SIGSTOP)
            await sleep(self.reactor, seconds)
            self.server.signal(signal.SIGCONT)
            await self._served_again(name)
            return []

        await self._phase(name, happen)

    async def dead(self, name: str, begin: Any, end: Any, *, server_lives: bool = True) -> None:
        """Let the peer be dead until both sides have noticed, then alive again."""

        async def happen() -> list[str]:
            ended, gone = len(self.ended), len(self.server.gone)
            began = time.monotonic()
            begin()
            sides = {"client": (self.ended, ended), "server": (self.server.gone, gone)}
            if not server_lives:
                del sides["server"]
            while any(len(seen) == before for seen, before in sides.values()) and time.monotonic() < began + self.limit + SLACK:
                await sleep(self.reactor, 0.01)
            noticed = {side: [at - began for at in seen[before:]] for side, (seen, before) in sides.items()}
            for side, found in noticed.items():
                if not found:
                    self.faults.append(f"{name}: the {side} did not notice within {self.limit + SLACK:g} s")
            end()
            recovered = await self._served_again(name)
            return [f"noticed by the {side} after {found[0]:.1f} s" for side, found in noticed.items() if found] + [
                f"served again after {recovered:.1f} s"
            ]

        await self._phase(name, happen)

    async def _served_again(self, name: str) -> float:
        began = time.monotonic()
        while self.last_reply < began and time.monotonic() < began + 20:
            await sleep(self.reactor, 0.01)
        took = time.monotonic() - began
        if took > RECOVERY + SLACK:
            self.faults.append(f"{name}: the client was served again after {took:.1f} s only")
        return took

    def cut(self, which: str) -> None:
        """Let nothing pass."""
        self.link.impairment = Impairment(cut=which)

    def heal(self) -> None:
        """Let everything pass."""
        self.link.impairment = CLEAR

    async def finish(self) -> None:
        """Let the requests in flight end, then both sides."""
        self.working = False
        await gatherResults(self.workers)
        await self.client.disconnect()
        self.server.signal(signal.SIGTERM)
        await self.server.exited
        self.ledger.check()
        if b"Traceback" in self.server.log:
            self.faults.append(self.server.log.decode(errors="replace"))


async def main(reactor: Any, *arguments: str) -> None:
    """Read the arguments, run, print."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--link", choices=LINKS, default="namespaces")
    parser.add_argument("--silence", type=float, default=3.5, help="both sides' timeouts.ping_interval, seconds")
    parser.add_argument("--pong", type=float, default=3.5, help="both sides' timeouts.ping_timeout, seconds")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each phase that loses nothing")
    parser.add_argument("--seed", type=int, default=1, help="of the link's chance")
    parser.add_argument("--available", action="store_true", help="only tell whether there can be such a link here")
    options = parser.parse_args(arguments)
    try:
        link = LINKS[options.link](reactor, Random(options.seed))
    except Unavailable as error:
        raise SystemExit(f"link.py: {error}") from None
    if options.available:
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Run(reactor, link, options.silence, options.pong)
        await run.start(Path(folder))
        for name, impairment in LOSSY.items():
            if link.name == "namespaces" or not (impairment.loss or impairment.corrupt):
                await run.lossy(name, impairment, options.seconds)
        limit = run.limit
        await run.stopped(f"server stopped (SIGSTOP) for {0.6 * limit:.1f} s", 0.6 * limit)
        await run.dead("partition", lambda: run.cut("both"), run.heal)
        await run.dead("cut from client to server", lambda: run.cut("to server"), run.heal)
        await run.dead("cut from server to client", lambda: run.cut("to client"), run.heal)
        stop, go_on = (lambda: run.server.signal(signal.SIGSTOP)), (lambda: run.server.signal(signal.SIGCONT))
        await run.dead("silent server (SIGSTOP)", stop, go_on, server_lives=False)
        await run.finish()
    counts = ", ".join(f"{count} {what}" for what, count in link.counts.items())
    table = {
        "dead after": f"{limit:g} s (silence and pong)",
        **run.rows,
        "requests in all": run.ledger.begun,
        "with their own reply": len(run.ledger.replied),
        "with a typed failure": ", ".join(f"{kind} {count}" for kind, count in run.ledger.failures.items()),
        "ended twice or never": sum(run.ledger.ends[number] != 1 for number in range(run.ledger.begun)),
    }
    finish(f"bad link ({link.name})", table | ({"packets": counts} if counts else {}), run.faults)


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
