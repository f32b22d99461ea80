"""A well-behaved client's echoes, timed while bad peers do their worst to the same server.

Starts `twistd veltix` with default limits (sessions over UDP end soon), then one storm after another, each in a process
of its own, and all the while sends an echo every 5 ms on one connection. Shown for each storm: the percentiles of the
echoes' round trips between the storm's first connect and its last byte, and what became of the server's memory and file
descriptors. "waited" is the part of the time in which the server wanted a processor that other programs had: with more
than a few percent of it the machine is too busy for the times to say anything about the server.

A bar is missed, and the exit status 1, when
  - an echo is lost or changed;
  - the 99th percentile is 50 ms or more;
  - the server's memory grows by more than the budget of what the storm may make it keep, and 32 MiB;
  - its memory does not return to within 32 MiB of what it was before the first storm (which leaves the allocator's
    pools larger; the later ones must do with them);
  - a file descriptor, connection, session or timer is left;
  - the server does not treat the bad peers as its rules say (closes them, serves the honest ones).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from load import ECHO, HERE, MIB, Caller, ServerProcess, percentile, say, table, until
from plain_storms import PLAIN_STORMS
from storms import NICE, STORMS

INTERVAL = 0.005
P99 = 0.050
SLACK = 32 * MIB
RETURN = 32 * MIB
LOST_AFTER = 10.0
"""Seconds after a storm in which an echo may still come."""

_PEER = 16 * 1024
"""Bytes of the objects that make up a connection."""


def budget(storm: str, scale: float, limits: dict[str, int]) -> int:
    """Return the bytes that the limits allow a storm's peers to make the server keep."""
    if storm == "non-reading":
        # A broadcast is kept once for all; the handful of 128 KiB that each transport is given, and as much again
        # while it joins them, are its own.
        each = limits["write_hard"] + max(5, int(50 * scale)) * 2 * 128 * 1024
        return min(each, limits.get("send_buffers", each))
    if storm in PLAIN_STORMS:
        return 0
    peers = {"half-open": 2000, "slow-drip": 200, "connects": 1000, "garbage": 16, "resets": 40, "ping-flood": 2}[storm]
    # A reset connection may still be there when the next has come: hence 40 for 20 at a time.
    own = {"resets": 1_000_000, "ping-flood": limits["write_high"] + MIB}.get(storm, 0)
    return int(peers * (own + _PEER) * min(1.0, scale))


@dataclass
class Outcome:
    """What one storm did to the client and the server."""

    storm: str
    trips: list[float] = field(default_factory=list)
    lost: int = 0
    before: int = 0
    peak: int = 0
    after: int = 0
    budget: int = 0
    waited: float = 0
    facts: dict[str, Any] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)

    def row(self) -> list[str]:
        """Return its line of the table."""
        times = [f"{1000 * percentile(self.trips, percent):.1f}" for percent in (50, 99, 100)]
        grown, left = ((memory - self.before) / MIB for memory in (self.peak, self.after))
        memory = [f"{grown:.1f}", f"{self.budget / MIB:.0f}+32", f"{left:+.1f}"]
        held = "missed" if self.misses else "held"
        return [self.storm, f"{len(self.trips)}", *times, f"{self.waited:.0%}", str(self.lost), *memory, held]


HEAD = ("storm", "echoes", "p50 ms", "p99 ms", "max ms", "waited", "lost", "peak MiB", "allowed", "after MiB", "bars")


class Canary:
    """Sends an echo every 5 ms, whether or not the last one is back, and times each.

    Args:
        server: whose memory is watched meanwhile.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.caller = Caller(server.port)
        self.peak = 0
        self._server = server
        self._sent: dict[int, tuple[float, bytes]] = {}
        self._trips: list[tuple[float, float]] = []
        self._wrong = 0
        self._count = 0

    def during(self, process: subprocess.Popen[bytes]) -> None:
        """Go on until a process has ended and every echo is back."""
        self._trips, self._sent, self._wrong, self.peak = [], {}, 0, 0
        due = looked = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            if now >= due:
                self._send(now)
                due = max(due + INTERVAL, now)
            if now >= looked:
                looked = now + 0.02
                self.peak = max(self.peak, self._server.memory)
            self._read(max(0.0, due - time.monotonic()))
        end = time.monotonic() + LOST_AFTER
        while self._sent and time.monotonic() < end:
            self._read(0.1)

    def _send(self, now: float) -> None:
        connection = self.caller.connection
        request_id = connection.allocate_id(self._sent)
        self._count += 1
        content = self._count.to_bytes(8, "big") * 8
        connection.send(ECHO, content, request_id)
        self._sent[request_id] = (now, content)
        self.caller.write()

    def _read(self, seconds: float) -> None:
        if not select.select([self.caller.socket], [], [], seconds)[0]:
            return
        messages = self.caller.read()
        now = time.monotonic()
        for message in messages:
            if message.type is ECHO:
                sent_at, content = self._sent.pop(message.request_id)
                self._trips.append((sent_at, now - sent_at))
                self._wrong += message.content != content

    def trips(self, began: float, ended: float) -> list[float]:
        """Return the seconds that the echoes sent between these two times took."""
        return [seconds for sent_at, seconds in self._trips if began <= sent_at <= ended]

    @property
    def lost(self) -> int:
        """Echoes that did not come back, or came back changed."""
        return len(self._sent) + self._wrong


def weather(name: str, server: ServerProcess, canary: Canary, scale: float, calm: int) -> Outcome:
    """Let one storm pass and judge it; ``calm`` is the server's memory before the first."""
    outcome = Outcome(name)
    held = canary.caller.report()
    descriptors, outcome.before = server.descriptors, server.memory
    outcome.budget = budget(name, scale, held["limits"])
    waited, begun = server.waited, time.monotonic()
    command = [sys.executable, str(HERE / "storms.py"), name, str(server.port), "--scale", str(scale)]
    command += ["--lines", str(server.lines), "--udp", str(server.udp)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            canary.during(process)
        finally:
            process.kill()
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the attackers of {name} have failed, see above; the machine may allow too few open files (ulimit -n)")
    outcome.waited = (server.waited - waited) / (time.monotonic() - begun)
    facts = outcome.facts = json.loads(said)
    outcome.trips, outcome.lost, outcome.peak = canary.trips(facts["began"], facts["ended"]), canary.lost, canary.peak

    def left() -> dict[str, str]:
        now = canary.caller.report()
        open_now = server.descriptors
        pairs = {name: (held[name], now[name]) for name in ("clients", "connections", "timers")}
        pairs |= {name: (held["objects"][name], now["objects"][name]) for name in ("Session", "VeltixProtocol", "Deferred")}
        pairs["descriptors"] = (descriptors, open_now)
        return {what: f"{had} {what} before, {has} after" for what, (had, has) in pairs.items() if has > had}

    until(lambda: not left(), 10, gap=0.2)
    outcome.after = server.memory
    report = canary.caller.report()
    facts["refused by the server"] = report.get("refused", 0) - held.get("refused", 0)
    checks = {
        f"{outcome.lost} echoes lost or changed": not outcome.lost,
        f"the bad peers were not treated by the rules: {facts}": facts["ok"],
        f"{facts['refused by the server']} frames refused": "some refused" in facts
        or facts["refused by the server"] == facts.get("refused", 0),
        "memory above the budget": outcome.peak - outcome.before <= outcome.budget + SLACK,
        "memory did not return": outcome.after - calm <= RETURN,
        **dict.fromkeys(left().values(), False),
    }
    outcome.misses = [text for text, kept in checks.items() if not kept]
    return outcome


def main() -> int:
    """Run the storms; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="storms:\n" + "\n".join(f"  {name:12} {(storm.__doc__ or '').splitlines()[0]}" for name, storm in STORMS.items()),
    )
    parser.add_argument(
        "--storm", nargs="+", choices=STORMS, default=list(STORMS), metavar="NAME", help="only these, in this order"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each storm, 1 for all of it (default)")
    parser.add_argument("--untimed", action="store_true", help="do not judge the 99th percentile: for a busy machine")
    options = parser.parse_args()
    server = ServerProcess(plain=True)
    outcomes = []
    try:
        canary = Canary(server)
        canary.caller.report()
        calm = server.memory
        say(f"server {server.pid}, attackers in processes of their own at nice {NICE}, {os.cpu_count()} processors")
        for name in options.storm:
            say(f"{name} ...", end=" ")
            outcome = weather(name, server, canary, options.scale, calm)
            if not options.untimed and percentile(outcome.trips, 99) >= P99:
                outcome.misses.append(
                    f"99th percentile of {len(outcome.trips)} echoes {1000 * percentile(outcome.trips, 99):.1f} ms"
                )
            shown = {key: value for key, value in outcome.facts.items() if key not in ("began", "ended", "ok")}
            seconds = outcome.facts["ended"] - outcome.facts["began"]
            say(f"{seconds:.1f} s: " + ", ".join(f"{value} {key}" for key, value in shown.items()))
            outcomes.append(outcome)
        say("\n" + table(HEAD, [outcome.row() for outcome in outcomes]))
        canary.caller.close()
    finally:
        status = server.stop()
    missed = [f"{outcome.storm}: {miss}" for outcome in outcomes for miss in outcome.misses]
    missed += [f"the server has ended with status {status}"] if status not in (0, -signal.SIGTERM) else []
    for miss in missed:
        say(f"missed: {miss}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
