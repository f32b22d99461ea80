"""Everything at once, for as long as you like: does the server's memory grow, and is every message accounted for?

Starts `twistd veltix` with default limits and, for the given time, all of this together: honest clients that ask
numbered requests and check each answer; numbered broadcasts of 16 KiB, 40 a second, to each of them and to clients that
read slowly; clients that leave and come back; connections that the server resets while requests are on their way; and,
in a process of their own, garbage, resets in the middle of a frame, half-open peers and connects by the hundred.

A bar is missed, and the exit status 1, when
  - a request ends in another way than exactly one right answer or one typed failure;
  - a broadcast that a client was sent, and did not miss by its own slowness (which the server counts), has not arrived,
    or has come twice or out of turn;
  - the server handles a request twice;
  - memory grows: in the last third of the time its median is more than 32 MiB above that of the second third, or,
    of 5 minutes or more, its slope in the second half is above 1 MiB a minute (the queues of the slow readers fill
    for some minutes);
  - a file descriptor, connection, session, timer or Deferred is left when all have gone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from load import ECHO, HERE, JOIN, KICK, LEAVE, MIB, NEWS, TYPES, Caller, ServerProcess, say, table, until
from storms import NICE
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater, react

from veltix_tx import Client, NotReady, RetryPolicy, SessionClosed, VeltixError

SPEAKS = 5.0
"""Seconds after which a slow reader says something: the server's ping is behind all that it has not read."""

HONEST = 20
SLOW = 3
SLOW_READ, SLOW_PAUSE = 16 * 1024, 0.1
"""A slow reader reads so many bytes and waits so many seconds: a quarter of what is broadcast."""

ENDING = 10
"""Seconds before the end at which the slow readers and the attackers begin to leave."""

STEADY = 32 * MIB
SLOPE = 1 * MIB
"""Bytes a minute."""

LONG = 300
"""Seconds from which the slope is judged."""


class Ledger(Counter[str]):
    """What was sent, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []


class Asker:
    """An honest client: numbered requests, every broadcast in turn.

    Args:
        reactor: the reactor.
        port: the server's.
        number: which it is.
        ledger: where it counts.
    """

    def __init__(self, reactor: Any, port: int, number: int, ledger: Ledger) -> None:
        self.client = Client("127.0.0.1", port, types=TYPES, reactor=reactor, retry=RetryPolicy(max_delay=1.0))
        self.client.set_callback("on_recv", self._heard)
        self.going = True
        self.done: Deferred[None] = Deferred()
        self._reactor = reactor
        self._number = number
        self._random = Random(number)
        self._ledger = ledger
        self._asked = 0
        self._got = 0
        self._last = 0
        self._open = 0

    def _heard(self, message: Any) -> None:
        if message.type is not NEWS:
            self._ledger.wrong.append(f"client {self._number} was sent {message.type}")
            return
        number = int.from_bytes(message.content[:8], "big")
        if number <= self._last:
            self._ledger.wrong.append(f"client {self._number} heard broadcast {number} after {self._last}")
        self._last = number
        self._got += 1
        self._ledger["broadcasts heard"] += 1

    async def _request(self) -> None:
        self._asked += 1
        self._ledger["requests"] += 1
        self._open += 1
        head = self._number.to_bytes(4, "big") + self._asked.to_bytes(8, "big")
        content = head + self._random.randbytes(self._random.choice((0, 50, 1000, 20_000)))
        try:
            reply = await self.client.send_and_wait(ECHO, content, timeout=20)
        except VeltixError as error:
            self._ledger["failed: " + type(error).__name__] += 1
        except BaseException as error:
            self._ledger.wrong.append(f"a request failed with {error!r}")
        else:
            self._ledger["answered"] += 1
            if reply.content != content:
                self._ledger.wrong.append(f"client {self._number} got another answer to request {self._asked}")
        self._open -= 1

    async def live(self) -> None:
        """Come, ask, and leave in one way or another; again and again until told otherwise."""
        try:
            while self.going:
                await self._visit()
        finally:
            await self.client.disconnect()
            self.done.callback(None)

    async def _visit(self) -> None:
        random = self._random
        try:
            await self.client.connect()
            self._got = self._last = 0
            session = self.client.session
            await self.client.send_and_wait(JOIN, timeout=20)
            for _ in range(random.randrange(5, 60)):
                if not self.going:
                    break
                await DeferredList([Deferred.fromCoroutine(self._request()) for _ in range(random.randrange(1, 20))])
                await deferLater(self._reactor, random.random() * 0.2)
            if random.random() < 0.3 and self.going:
                burst = [Deferred.fromCoroutine(self._request()) for _ in range(20)]
                self.client.send(KICK)
                await DeferredList(burst)
                self._ledger["resets by the server"] += 1
            elif self.client.session is session:
                sent, missed = json.loads((await self.client.send_and_wait(LEAVE, timeout=20)).content)
                self._ledger["visits accounted for"] += 1
                self._ledger["broadcasts sent"] += sent
                self._ledger["broadcasts missed"] += missed
                self._ledger["broadcasts accounted for"] += self._got
                if sent != self._got:
                    self._ledger.wrong.append(f"client {self._number} was sent {sent} broadcasts and heard {self._got}")
            if random.random() < 0.5:
                await self.client.disconnect()
        except (SessionClosed, NotReady):
            self._ledger["visits cut off"] += 1
        while self._open:
            await deferLater(self._reactor, 0.01)


def read_slowly(port: int, seconds: float) -> dict[str, int]:
    """Join, read a quarter of what comes for so long, then leave and read the rest; return what came, and what the server says."""
    caller = Caller(port)
    connection = caller.connection
    joined, left = connection.allocate_id(()), None
    connection.send(JOIN, b"", joined)
    caller.write()
    end = time.monotonic() + seconds
    got = last = wrong = 0
    spoke = time.monotonic()
    while True:
        if time.monotonic() > spoke + SPEAKS and left is None:
            spoke = time.monotonic()
            connection.send(ECHO, b"I am here")
            caller.write()
        for message in caller.read(SLOW_READ):
            if message.type is NEWS:
                number = int.from_bytes(message.content[:8], "big")
                wrong += number <= last
                last = number
                got += 1
            elif message.request_id == left:
                caller.close()
                sent, missed = json.loads(message.content)
                return {"sent": sent, "missed": missed, "got": got, "wrong": wrong}
        if time.monotonic() < end:
            time.sleep(SLOW_PAUSE)
        elif left is None:
            left = connection.allocate_id((joined,))
            connection.send(LEAVE, b"", left)
            caller.write()


def slope(values: list[float], gap: float) -> float:
    """Return by how much the values grow in a minute, by linear regression; they are ``gap`` seconds apart."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression([index * gap / 60 for index in range(len(values))], values).slope


async def soak(reactor: Any, server: ServerProcess, seconds: float, ledger: Ledger, memory: list[float]) -> None:
    """Let the honest clients live for so long, and write down the server's memory each second."""
    askers = [Asker(reactor, server.port, number, ledger) for number in range(HONEST)]
    lives = [Deferred.fromCoroutine(asker.live()) for asker in askers]
    end = reactor.seconds() + seconds
    shown = 0.0
    while reactor.seconds() < end:
        memory.append(server.memory)
        if reactor.seconds() - shown >= 10:
            shown = reactor.seconds()
            say(f"{end - shown:5.0f} s to go, {memory[-1] / MIB:.1f} MiB, {server.descriptors} descriptors, ", end="")
            say(f"{ledger['requests']} requests, {ledger['broadcasts heard']} broadcasts, {len(ledger.wrong)} wrong")
        await deferLater(reactor, 1.0)
    for asker in askers:
        asker.going = False
    for life in lives:
        await life


def judge(ledger: Ledger, memory: list[float], seconds: float) -> list[str]:
    """Return what was missed."""
    failed = sum(count for what, count in ledger.items() if what.startswith("failed"))
    third = len(memory) // 3
    growth = statistics.median(memory[2 * third :]) - statistics.median(memory[third : 2 * third])
    minute = slope(memory[len(memory) // 2 : -2 * ENDING], 1.0)
    ledger["memory at the end, KiB"] = int(memory[-1] / 1024)
    ledger["memory's slope, KiB a minute"] = int(minute / 1024)
    missed = ledger.wrong[:10]
    if ledger["requests"] != ledger["answered"] + failed:
        missed.append(f"{ledger['requests']} requests, {ledger['answered']} answered, {failed} failed: they do not add up")
    if growth > STEADY:
        missed.append(f"memory has grown by {growth / MIB:.1f} MiB from the second third of the time to the last")
    if seconds >= LONG and minute > SLOPE:
        missed.append(f"memory grows by {minute / MIB:.2f} MiB a minute")
    return missed


def left(server: ServerProcess, caller: Caller, before: dict[str, Any], descriptors: int) -> list[str]:
    """Return what the server still holds and did not hold before."""
    now = caller.report()
    pairs = {what: (before[what], now[what]) for what in ("clients", "connections", "timers")}
    pairs |= {what: (count, now["objects"][what]) for what, count in before["objects"].items() if what != "DelayedCall"}
    pairs["descriptors"] = (descriptors, server.descriptors)
    return [f"{was} {what} before, {has} after" for what, (was, has) in pairs.items() if has > was]


def main() -> int:
    """Soak, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, 60 by default, 30 at least; 600 is what is promised")
    parser.add_argument("--slow", nargs=2, type=float, metavar=("PORT", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.slow:
        say(json.dumps(read_slowly(int(options.slow[0]), options.slow[1])))
        return 0
    if options.seconds < 3 * ENDING:
        parser.error(f"--seconds {options.seconds:g}: it must be {3 * ENDING} or more")
    server = ServerProcess()
    ledger, memory, missed = Ledger(), list[float](), list[str]()
    others: list[subprocess.Popen[bytes]] = []
    try:
        caller = Caller(server.port)
        before, descriptors = caller.report(), server.descriptors
        caller.close()  # who is silent for long is closed
        say(f"server {server.pid}, attackers at nice {NICE}, {os.cpu_count()} processors, {options.seconds:.0f} s")
        slow = [sys.executable, str(Path(__file__).resolve()), "--slow", str(server.port), str(options.seconds - ENDING)]
        others += [subprocess.Popen(slow, stdout=subprocess.PIPE) for _ in range(SLOW)]
        mixed = [sys.executable, str(HERE / "storms.py"), "mixed", str(server.port), "--seconds", str(options.seconds - ENDING)]
        others.append(subprocess.Popen(mixed, stdout=subprocess.PIPE))
        try:
            react(lambda reactor: Deferred.fromCoroutine(soak(reactor, server, options.seconds, ledger, memory)))
        except SystemExit as status:
            if status.code:
                missed.append("the honest clients have failed, see above")
        for each in others:
            said, _ = each.communicate(timeout=60)
            facts = json.loads(said) if said else {}
            if each.returncode or not facts.get("ok", True) or not facts:
                missed.append(f"{each.args!r} has ended with status {each.returncode}: {facts}")
            elif "got" in facts:
                ledger["broadcasts sent to slow readers"] += facts["sent"]
                ledger["broadcasts missed by them"] += facts["missed"]
                if facts["sent"] != facts["got"] or facts["wrong"]:
                    missed.append(f"a slow reader's broadcasts do not add up: {facts}")
            else:
                ledger.update({f"attack: {what}": count for what, count in facts.items() if what not in ("began", "ended", "ok")})
        missed += judge(ledger, memory, options.seconds)
        caller = Caller(server.port)
        until(lambda: not left(server, caller, before, descriptors), 15, gap=0.5)
        missed += left(server, caller, before, descriptors)
        report = caller.report()
        cut, heard = report.get("news cut off", 0), ledger["broadcasts heard"] - ledger["broadcasts accounted for"]
        ledger["broadcasts lost with connections that were reset"] = cut - heard
        if not 0 <= heard <= cut:
            missed.append(f"{heard} broadcasts were heard on connections that were reset, and {cut} sent")
        if repeated := report.get("repeated"):
            missed.append(f"{repeated} requests reached the server twice or out of turn")
        ledger["memory when all have gone, KiB"] = server.memory // 1024
        caller.close()
    finally:
        for each in others:
            each.kill()
            each.wait()
        server.stop()
    say("\n" + table(("what", "count"), [[what, str(ledger[what])] for what in sorted(ledger)]))
    for miss in missed:
        say(f"missed: {miss}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
