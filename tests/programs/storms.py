"""The attackers: each storm is one process full of bad peers, away from the client whose echoes are timed.

``canary.py`` and ``soak.py`` start it. It prints one line of JSON: when the storm began and ended (seconds of the
machine's monotonic clock), what was done, and what did not go by the rules.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from random import Random
from typing import Any
from zlib import crc32

from load import ECHO, STORM, Caller, Crowd, RawPeer, say, until
from plain_storms import PLAIN_STORMS

from veltix_tx.wire.messages import PING, Response
from veltix_tx.wire.veltix.layouts import W15

NICE = 10
"""Attackers give way to the server and the client by so much: on two cores they would be measured as well."""

GOOD_CODE, UNKNOWN_CODE = ECHO.code, 9999
Facts = dict[str, Any]


def sources(number: int) -> list[str]:
    """Return so many addresses of this machine."""
    return [f"127.0.{index // 250 + 1}.{index % 250 + 1}" for index in range(number)]


def half_open(crowd: Crowd, scale: float) -> Facts:
    """2,000 peers that connect and say nothing, from 100 addresses: the server must close them all."""
    wanted = max(20, int(2000 * scale))
    addresses = sources(max(1, wanted // 20))
    for index in range(wanted):
        RawPeer(crowd, addresses[index % len(addresses)], quiet=True)
        if index % 50 == 49:
            crowd.turn(0)
    gone = crowd.run(lambda: crowd.peers)
    return {"peers": wanted, "closed": wanted - len(crowd.peers), "ok": gone}


class Dripper(RawPeer):
    """Sends a handshake of 4,000 bytes, one by one."""

    def drip(self) -> None:
        """Send the next byte."""
        self.write(b"\x0f" if self.crowd.peers else b"")


def slow_drip(crowd: Crowd, scale: float) -> Facts:
    """200 peers that send a long handshake, a byte in 0.1 s: the server must close them all."""
    wanted = max(10, int(200 * scale))
    peers = [Dripper(crowd, source, quiet=True) for source in sources(wanted)]
    next_drip = time.monotonic()

    def go_on() -> object:
        nonlocal next_drip
        if time.monotonic() >= next_drip:
            next_drip += 0.1
            for peer in peers:
                peer.drip()
        return crowd.peers

    gone = crowd.run(go_on)
    return {"peers": wanted, "closed": wanted - len(crowd.peers), "ok": gone}


class Guest(RawPeer):
    """Comes, asks once and waits for the others."""

    served = 0

    def ready(self) -> None:
        """Ask."""
        self.connection.send(ECHO, b"hello", self.connection.allocate_id(()))

    def received(self, message: Response) -> None:
        """Count the answer."""
        self.served += message.content == b"hello"


def connects(crowd: Crowd, scale: float) -> Facts:
    """1,000 simultaneous connects, from 4 addresses: each must be served, and all stay until all are.

    A guest that was too slow for its handshake comes again, and is counted.
    """
    wanted = max(20, int(1000 * scale))
    addresses = sources(4)
    guests: list[Guest] = []
    for index in range(wanted):
        guests.append(Guest(crowd, addresses[index % 4]))
        crowd.turn(0)
    again = 0

    def go_on() -> bool:
        nonlocal again
        for index, guest in enumerate(guests):
            if (guest.failed or (guest.lost and guest.connection.peer is None)) and again < wanted:
                again += 1
                guests[index] = Guest(crowd, addresses[index % 4])
        return any(not guest.served and not guest.lost for guest in guests)

    done = crowd.run(go_on)
    count = sum(guest.served for guest in guests)
    return {"peers": wanted, "served": count, "came again": again, "ok": done and count == wanted}


def _frame(content: bytes, *, code: int = GOOD_CODE, wrong: int = 0) -> bytes:
    return W15.header.pack(b"VX", code, len(content), crc32(content) ^ wrong, 0) + content


def _rubbish(strikes: int, random: Random) -> bytes:
    """Return frames to refuse: so many that count as strikes (wrong checksums, garbage), and one of an unknown type before each."""
    frames = []
    for index in range(strikes):
        frames.append(_frame(random.randbytes(random.randrange(200)), code=UNKNOWN_CODE))
        if index % 2:
            frames.append(_frame(random.randbytes(random.randrange(200)), wrong=1))
        else:
            frames.append(b"\xff" * random.randrange(20, 200))
    return b"".join(frames)


STRIKES = 32
"""The default of ``limits.protocol_errors``."""


def garbage(crowd: Crowd, scale: float) -> Facts:
    """100,000 frames of wrong checksums, unknown types and no frames at all, over 16 connections at a time.

    Each connection must be closed at its 32nd strike.
    """
    each = 2 * STRIKES
    wanted = max(10, round(100_000 * scale / each))
    rubbish = _rubbish(STRIKES, Random(1))
    address = cycle(sources(250))
    closed = 0

    class Vandal(RawPeer):
        def ready(self) -> None:
            self.write(rubbish)

        def ended(self) -> None:
            nonlocal closed
            closed += 1

    def go_on() -> bool:
        while len(crowd.peers) < min(16, wanted - closed):
            Vandal(crowd, next(address))
        return closed < wanted

    done = crowd.run(go_on, 120)
    return {"frames": closed * each, "peers": wanted, "closed": closed, "refused": closed * each, "ok": done}


class Vanisher(RawPeer):
    """Resets its connection when it has sent a part of a frame."""

    vanished = False

    def ready(self) -> None:
        """Send the first 100 KB of what it says is 1 MB."""
        self.write(_frame(bytes(1_000_000))[:100_000])

    def written(self) -> None:
        """Vanish."""
        if self.connection.peer is not None:
            self.vanished = True
            self.reset()


def resets(crowd: Crowd, scale: float) -> Facts:
    """500 connections that are reset by the peer in the middle of a frame, 20 at a time."""
    wanted = max(10, int(500 * scale))
    address = cycle(sources(250))
    vanishers: list[Vanisher] = []

    def go_on() -> bool:
        vanished = sum(each.vanished for each in vanishers)
        while len(crowd.peers) < min(20, wanted - vanished):
            vanishers.append(Vanisher(crowd, next(address)))
        return vanished < wanted

    done = crowd.run(go_on)
    return {"peers": wanted, "ok": done and not any(each.lost for each in vanishers)}


class Flooder(RawPeer):
    """Sends pings as fast as they are taken."""

    pings = W15.pack(PING.code, b"", 7, 0) * 4096
    sent = answered = 0
    wanted = True

    def ready(self) -> None:
        """Begin."""
        self.written()

    def written(self) -> None:
        """Send more."""
        if self.wanted and self.connection.peer is not None:
            self.sent += 4096
            self.write(self.pings)

    def read_bytes(self, data: bytes) -> None:
        """Count the answers by their bytes; to decode them would slow the flood down."""
        if self.connection.peer is None:
            super().read_bytes(data)
        else:
            self.answered += len(data)

    @property
    def pongs(self) -> int:
        """Pings answered."""
        return self.answered // W15.header_size


def ping_flood(crowd: Crowd, scale: float) -> Facts:
    """Two peers that send pings as fast as they can for 10 s, and come back when they are closed.

    Each ping must be answered, or its peer closed.
    """
    flooders: list[Flooder] = []
    address = cycle(sources(250))
    end = time.monotonic() + max(1.0, 10 * scale)

    def go_on() -> bool:
        going = time.monotonic() < end
        while going and len(crowd.peers) < 2:
            flooders.append(Flooder(crowd, next(address)))
        return going

    crowd.run(go_on)
    for flooder in crowd.peers:
        flooder.wanted = False  # type: ignore[attr-defined]
    done = crowd.run(lambda: any(each.pongs < each.sent for each in crowd.peers))  # type: ignore[attr-defined]
    count = Counter(lost=sum(each.lost for each in flooders), pings=sum(each.sent for each in flooders))
    return {"pings": count["pings"], "answered": sum(each.pongs for each in flooders), "closed": count["lost"], "ok": done}


class Deaf(RawPeer):
    """Completes its handshake and reads no more."""

    settled = False

    def ready(self) -> None:
        """Stop reading: its end alone is noticed."""
        self.settled = True

    def written(self) -> None:
        """See that nothing is read."""
        if self.settled:
            self.crowd.watch(self, read=False)

    def read_bytes(self, data: bytes) -> None:
        """Read up to the end of the handshake."""
        super().read_bytes(data)
        if self in self.crowd.peers:
            self.written()


def deaf(crowd: Crowd, scale: float) -> Facts:
    """50 peers that do not read, while 64 KiB are broadcast every 10 ms, 25 MiB in all: the server must close them."""
    wanted = max(5, int(50 * scale))
    address = cycle(sources(250))

    def gather() -> bool:
        while len(crowd.peers) < wanted:
            Deaf(crowd, next(address))
        return not all(peer.settled for peer in crowd.peers)  # type: ignore[attr-defined]

    ready = crowd.run(gather)
    trigger = Caller(crowd.port)
    trigger.connection.send(STORM, json.dumps({"count": 400, "size": 65536, "gap": 0.01}).encode())
    trigger.write()
    heard = 0

    def go_on() -> bool:
        nonlocal heard
        heard += len(trigger.read())
        crowd.turn(0)
        return heard < 400

    until(lambda: not go_on(), gap=0)
    gone = crowd.run(lambda: crowd.peers, 10)
    trigger.close()
    return {"peers": wanted, "closed": wanted - len(crowd.peers), "ok": ready and heard == 400 and gone}


STORMS: dict[str, Callable[[Crowd, float], Facts]] = {
    "half-open": half_open,
    "slow-drip": slow_drip,
    "connects": connects,
    "garbage": garbage,
    "resets": resets,
    "ping-flood": ping_flood,
    "non-reading": deaf,
    **PLAIN_STORMS,
}


def mixed(crowd: Crowd, seconds: float) -> Facts:
    """All that is quick, a little of each, again and again for some seconds."""
    end, total, rounds = time.monotonic() + seconds, Counter[str](), 0
    while time.monotonic() < end:
        for name, scale in (("garbage", 0.01), ("resets", 0.04), ("connects", 0.1), ("half-open", 0.02)):
            facts = STORMS[name](crowd, scale)
            total[f"{name} peers"] += facts["peers"]
            total[f"{name} not by the rules"] += not facts["ok"]
            crowd.clear()
        rounds += 1
    return {"rounds": rounds, "ok": not any(count for what, count in total.items() if "not by" in what), **total}


def main() -> None:
    """Run one storm and print what it did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storm", choices=[*STORMS, "mixed"])
    parser.add_argument("port", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="for mixed")
    parser.add_argument("--lines", type=int, default=0, help="the server's port of lines")
    parser.add_argument("--udp", type=int, default=0, help="its port of lines over UDP")
    options = parser.parse_args()
    os.nice(NICE)
    crowd = Crowd(options.port, options.lines, options.udp)
    began = time.monotonic()
    facts = mixed(crowd, options.seconds) if options.storm == "mixed" else STORMS[options.storm](crowd, options.scale)
    ended = time.monotonic()
    crowd.close()
    say(json.dumps({"began": began, "ended": ended, **facts}))


if __name__ == "__main__":
    main()
