"""A real ``twistd -n veltix`` process to end, stop and start again, and the ledger of what became of each request."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from veltix_tx import MessageRegistry, MessageType, VeltixError

HERE = Path(__file__).parent
TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)
SLEEP = MessageType(201, "sleep", registry=TYPES)


class ServerProcess(ProcessProtocol):
    """A server process.

    Args:
        reactor: starts it.
        options: of ``twistd veltix``.
        ledger: where ``served.py`` writes down what it does.
        host: the address it listens on.
        python: Python code to run in the process before twistd does.
        fds: descriptors it gets, by their numbers there.
        environment: further environment variables.

    Attributes:
        listening: fires with the port.
        exited: fires with the exit status, or the negative number of the signal that ended it.
        log: all it has said.
        gone: when ``served.py`` told of the end of a connection.
    """

    def __init__(
        self,
        reactor: Any,
        *options: str,
        ledger: Path | None = None,
        host: str = "127.0.0.1",
        python: str = "",
        fds: dict[int, int] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.listening: Deferred[int] = Deferred()
        self.exited: Deferred[int] = Deferred()
        self.log = b""
        self.gone: list[float] = []
        start = f"{python}\nfrom twisted.scripts.twistd import run; import sys; sys.argv[0] = 'twistd'; run()"
        command = [sys.executable, "-c", start, "-n", "--pidfile=", "veltix", "--interface", host, *options]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **(environment or {})}
        if ledger is not None:
            env["LEDGER"] = str(ledger)
        child_fds: dict[int, Any] = {0: "w", 1: "r", 2: "r", **(fds or {})}
        reactor.spawnProcess(self, command[0], command, env=env, path=str(HERE), childFDs=child_fds)

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self.transport.pid)  # type: ignore[union-attr]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def cpu_seconds(self) -> float:
        """CPU time it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        """Keep what it says; look for the port."""
        self.log += data
        self.gone += [time.monotonic()] * data.count(b"gone: ")
        if not self.listening.called:
            found = re.search(rb"speaks .* on \S+:(\d+)\s", self.log)
            if found is not None:
                self.listening.callback(int(found.group(1)))

    errReceived = outReceived  # noqa: N815

    def processEnded(self, reason: Failure) -> None:
        """Tell of the end."""
        ended: Any = reason.value
        if not self.listening.called:
            self.listening.errback(AssertionError(f"the server did not start: {self.log.decode(errors='replace')}"))
        self.exited.callback(-ended.signal if ended.exitCode is None else ended.exitCode)


class Ledger:
    """What became of each numbered request: each must end exactly once, with its own reply or a typed failure."""

    def __init__(self) -> None:
        self.begun = 0
        self.ends: Counter[int] = Counter()
        self.replied: set[int] = set()
        self.failures: Counter[str] = Counter()
        self.faults: list[str] = []
        globalLogPublisher.addObserver(self._observe)

    def ask(self, make: Callable[[bytes], Deferred[Any]], pad: int = 0) -> Deferred[None]:
        """Send the next request by ``make(content)`` and write down its end."""
        number = self.begun
        self.begun += 1
        content = b"%d %s" % (number, os.urandom(8).hex().encode()) + b"." * pad

        def end(result: Any) -> None:
            self.ends[number] += 1
            if not isinstance(result, Failure):
                if result.content == content:
                    self.replied.add(number)
                else:
                    self.faults.append(f"request {number} has the reply {result.content[:40]!r}")
            elif result.check(VeltixError):
                self.failures[result.type.__name__] += 1
            else:
                self.faults.append(f"request {number} failed with {result.value!r}")

        return make(content).addBoth(end)

    def check(self) -> None:
        """Write down as faults the requests that did not end exactly once."""
        self.faults += [
            f"request {number} ended {self.ends[number]} times" for number in range(self.begun) if self.ends[number] != 1
        ]
        globalLogPublisher.removeObserver(self._observe)

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_level") == LogLevel.critical:
            failure = event.get("log_failure")
            self.faults.append(f"an error nobody handled: {failure.value!r}" if failure else str(event.get("log_format")))


def served(ledger: Path) -> dict[str, Counter[int]]:
    """Return how many times ``served.py`` began and answered each number."""
    counts: dict[str, Counter[int]] = {"began": Counter(), "answered": Counter()}
    for line in ledger.read_text().splitlines():
        step, number = line.split()
        counts[step][int(number)] += 1
    return counts


def sleep(reactor: Any, seconds: float) -> Deferred[None]:
    """Return a Deferred that fires later."""
    return deferLater(reactor, seconds, lambda: None)


def finish(name: str, table: dict[str, object], faults: list[str]) -> None:
    """Print what was seen, and end with status 1 where something is wrong."""
    width = max(map(len, table))
    lines = [name, *(f"  {key:<{width}}  {value}" for key, value in table.items())]
    lines += [f"  FAULT: {fault}" for fault in faults[:20]]
    lines.append("  held" if not faults else f"  {len(faults)} faults")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    if faults:
        raise SystemExit(1)
