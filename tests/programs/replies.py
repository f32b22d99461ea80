"""Every reply reaches the request it answers, and no other: requests, pings and messages both ways, much of it late.

    python tests/programs/replies.py [--requests 1000000] [--seed 1]

For each header layout with request ids a server and a client, of the same release, in memory and on a clock of their
own. Both ask at once: requests and pings with timeouts drawn at random, many of them cancelled, and messages that ask
nothing, some of which are answered all the same; each side also sends heartbeats' pings. Wide ids are drawn from few, so
that they would meet all the time but for the rules. What is sent passes frame by frame through a network that lets one
overtake the other, or holds it back for so long that its id has come round again once or twice, or loses it. What is
wrong is told by the contents, and for a PONG, which has none, by which PING's it is.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from processes import finish
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import RequestTimeout, SessionClosed, TooManyRequests
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.messages import PING, PONG, MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.request_ids import CLIENT_IDS
from veltix_tx.wire.veltix.wire import Auto

PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "15 bytes": ({"wire": "3.3.0"}, {"wire": "3.3.0"}, 3),
    "15 bytes, 2.0.3": ({"wire": "2.0.3"}, {"wire": "2.0.3"}, 2),
    "16 bytes": ({"wire": "1.7.5"}, {"wire": "1.7.5"}, 1),
    "14 bytes": ({"wire": "1.6.10"}, {"wire": "1.6.10"}, 1),
    "22 bytes": ({"wire": "1.6.3"}, {"wire": "1.6.3"}, 1),
    "22 bytes, long headers": ({}, {"wire": Auto(long_headers=True)}, 1),
    "62 bytes": ({"wire": "1.6.1"}, {"wire": "1.6.1"}, 1),
}
"""The settings of a server and a client, and their share of the requests: those whose ids come round get more."""

STEP = 0.01
"""Seconds of the clock from one step to the next."""

MOST_A_STEP = 40
"""Questions of one side in one step."""

MOST_LOST = 300
"""Frames of one direction that are lost: an id that is never answered is never used again."""

TYPES = MessageRegistry()
KIND = MessageType(200, "kind", registry=TYPES)
WAITS, REPLIED, GIVEN_UP, REFUSED = range(4)


class Transport(StringTransport):
    """Keeps what is written in pieces."""

    def __init__(self) -> None:
        super().__init__(lenient=True)
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.pieces.append(data)

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Keep it."""
        self.pieces += data

    def taken(self) -> bytes:
        """Return what was written since."""
        written = b"".join(self.pieces)
        self.pieces.clear()
        return written


class LoadedDice(Random):
    """Draws ids of so few bits that, but for the rules, the sides' and the old and the new ones would meet all the time."""

    def getrandbits(self, bits: int, /) -> int:
        """Return a number of 14 bits."""
        return super().getrandbits(min(bits, 14))


class Watched(VeltixProtocol):
    """A protocol whose heartbeat's pings are written down."""

    def __init__(self, side: ConnectionContext, ping_frames: deque[int | None]) -> None:
        super().__init__(side)
        self.ping_frames = ping_frames

    def send_probe(self) -> None:
        """Write it down, and send it."""
        self.ping_frames.append(None)
        super().send_probe()


@implementer(IVeltixApplication)
class End:
    """One end: it asks, answers, and writes down what became of each question.

    Args:
        config: its settings.
        clock: what it runs on.
        random: draws ids.
        faults: where to write down what is wrong.
    """

    def __init__(self, config: ServerConfig | ClientConfig, clock: Clock, random: Random, faults: list[str]) -> None:
        clocks = Clocks(clock, clock.seconds, clock.seconds)
        self.faults = faults
        self.ping_frames: deque[int | None] = deque()
        self.protocol = Watched(ConnectionContext(self, config, clocks, types=TYPES, random=random), self.ping_frames)
        self.transport = Transport()
        self.session: Session | None = None
        self.asked: list[int] = []
        self.pinged: list[int] = []
        self.said = 0
        self.handled: Counter[bytes] = Counter()
        self.ends: Counter[str] = Counter()
        self.arriving: tuple[str, object] = ("nothing", None)
        self.late = 0

    # Asking.

    def ask(self, timeout: float) -> Any:
        """Send a request."""
        number = len(self.asked)
        self.asked.append(WAITS)
        assert self.session is not None
        waiting = self.session.send_and_wait(KIND, b"Q%d" % number, timeout=timeout)
        return waiting.addBoth(partial(self.ended, "reply", self.asked, number))

    def ping(self, timeout: float) -> Any:
        """Send a ping."""
        number = len(self.pinged)
        self.pinged.append(WAITS)
        assert self.session is not None
        waiting = self.session.ping(timeout=timeout).addBoth(partial(self.ended, "pong", self.pinged, number))
        if self.pinged[number] != REFUSED:
            self.ping_frames.append(number)
        return waiting

    def say(self) -> None:
        """Send a message that asks nothing."""
        assert self.session is not None
        self.session.send(KIND, b"P%d" % self.said)
        self.said += 1

    def ended(self, kind: str, table: list[int], number: int, result: Any) -> None:
        """Write down the end of a question; a reply must be its own, and have just come."""
        if table[number] != WAITS:
            self.faults.append(f"{kind} {number} ended twice")
        if isinstance(result, Failure):
            if not result.check(RequestTimeout, CancelledError, TooManyRequests):
                self.faults.append(f"{kind} {number} failed: {result.value}")
            table[number] = REFUSED if result.check(TooManyRequests) else GIVEN_UP
            self.ends[result.type.__name__] += 1
            return
        table[number] = REPLIED
        self.ends[kind] += 1
        content = b"A%d" % number
        if self.arriving != (kind, number) or (kind == "reply" and result.content != content):
            self.faults.append(f"{kind} {number} settled by {self.arriving}: {result!r}")

    # Being asked.

    def connected(self, session: Session) -> None:
        """Keep the session."""
        self.session = session

    def received(self, session: Session, message: Response) -> bytes | None:
        """Answer a request, and some messages; a reply must not come here."""
        content = message.content
        self.handled[content] += 1
        if content.startswith(b"Q"):
            return b"A" + content[1:]
        if content.startswith(b"P"):
            return b"N" + content[1:] if content.endswith(b"7") else None
        if not content.startswith(b"N"):
            self.faults.append(f"{content!r} was taken for a message")
        return None

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Never called: the transport stays."""

    # From the network.

    def arrives(self, frame: bytes, code: int, content: bytes, ping: int | None) -> None:
        """Take one frame."""
        if code == PONG.code:
            self.arriving = ("pong", ping)
            self.late += ping is not None and self.pinged[ping] == GIVEN_UP
        elif content.startswith(b"A"):
            number = int(content[1:])
            self.arriving = ("reply", number)
            self.late += self.asked[number] == GIVEN_UP
        self.protocol.dataReceived(frame)
        self.arriving = ("nothing", None)


class Direction:
    """The way from one end to the other."""

    def __init__(self, sender: End, receiver: End, random: Random, longest: int) -> None:
        self.sender, self.receiver = sender, receiver
        self.random = random
        self.longest = longest
        self.passed: Counter[str] = Counter()
        self.answered: int | None = None
        self.back: Direction | None = None
        self._held: list[tuple[int, int, tuple[bytes, int, bytes, int | None]]] = []
        self._count = 0

    def take(self, step: int) -> None:
        """Take what the sender has written, frame by frame, and let it through now, later, or never."""
        written = self.sender.transport.taken()
        session = self.sender.session
        assert session is not None
        layout, position = session.peer.layout, 0
        while position < len(written):
            header = layout.unpack(written[position : position + layout.header_size])
            end = position + layout.header_size + header.size
            frame, content = written[position:end], written[end - header.size : end]
            position = end
            ping = None
            if header.code == PING.code:
                ping = self.sender.ping_frames.popleft()
            elif header.code == PONG.code:
                ping = self.answered
            self._count += 1
            heappush(self._held, (step + self._delay(), self._count, (frame, header.code, content, ping)))

    def _delay(self) -> int:
        drawn = self.random.random()
        if drawn < 0.93:
            self.passed["at once"] += 1
            return 0
        if drawn < 0.985:
            self.passed["late"] += 1
            return self.random.randrange(1, 300)
        if drawn < 0.995:
            self.passed["very late"] += 1
            return self.random.randrange(300, self.longest)
        if self.passed["lost"] < MOST_LOST:
            self.passed["lost"] += 1
            return sys.maxsize
        return 0

    def deliver(self, step: int) -> bool:
        """Deliver what is due, a frame at a time; return whether anything was."""
        assert self.back is not None
        delivered = False
        while self._held and self._held[0][0] <= step:
            _, _, (frame, code, content, ping) = heappop(self._held)
            self.back.answered = ping if code == PING.code else None
            self.receiver.arrives(frame, code, content, ping)
            self.back.take(step)
            delivered = True
        return delivered

    def last_step(self) -> int:
        """Return when the last frame that is not lost is due."""
        return max((due for due, _, _ in self._held if due < sys.maxsize), default=0)


def converse(settings: tuple[dict[str, Any], dict[str, Any]], requests: int, seed: str, faults: list[str]) -> Counter[str]:
    """Let a server and a client ask each other so many requests and pings; return what was seen."""
    random, clock = Random(seed), Clock()
    dice = LoadedDice(f"{seed} ids")
    server = End(ServerConfig(**settings[0]), clock, dice, faults)
    client = End(ClientConfig(**settings[1]), clock, dice, faults)
    ends = (server, client)
    longest = max(1000, 3 * len(CLIENT_IDS) * 2 // MOST_A_STEP)
    there, back = Direction(client, server, random, longest), Direction(server, client, random, longest)
    there.back, back.back = back, there
    for end in ends:
        end.protocol.makeConnection(end.transport)
    while server.session is None or client.session is None:
        for sender, receiver in (ends, ends[::-1]):
            if sender.transport.pieces:
                receiver.protocol.dataReceived(sender.transport.taken())
        clock.advance(STEP)
    step, cancels = 0, dict[int, list[Any]]()
    most_held = 0

    def ask(end: End) -> None:
        """Ask something."""
        make: Callable[[float], Any] = end.ping if random.random() < 0.15 else end.ask
        waiting = make(random.choice((0.05, 0.5, 3.0)) * random.random())
        if random.random() < 0.3:
            cancels.setdefault(step + random.randrange(50), []).append(waiting)

    def go_on() -> None:
        """Deliver what is due, and let time pass."""
        for waiting in cancels.pop(step, ()):
            waiting.cancel()
        clock.advance(STEP)
        there.take(step)
        back.take(step)
        while there.deliver(step) or back.deliver(step):
            pass

    sessions = (server.session, client.session)
    while sum(len(end.asked) + len(end.pinged) for end in ends) < requests:
        if any(session.closed for session in sessions):
            faults.append(f"a connection ended: {[session.closed for session in sessions]}")
            return Counter()
        for end in ends:
            for _ in range(random.randrange(MOST_A_STEP)):
                ask(end)
            for _ in range(random.randrange(3)):
                end.say()
            if random.random() < 0.1:
                end.protocol.send_probe()
        go_on()
        step += 1
        if step % 64 == 0:
            questions = [session._requests for session in sessions if session._requests is not None]
            most_held = max(most_held, *(len(each.requests.given_up) + len(each.pings.given_up) for each in questions))
    end_of_all = max(there.last_step(), back.last_step()) + 400
    while step < end_of_all or max(there.last_step(), back.last_step()) > step:
        go_on()
        step += 1
    seen: Counter[str] = Counter()
    for end, other, way in ((server, client, back), (client, server, there)):
        assert end.session is not None
        faults += [f"a question never ended: {number}" for number, state in enumerate(end.asked + end.pinged) if state == WAITS]
        twice = [content for content, times in other.handled.items() if times != 1]
        faults += [f"{content!r} was handled {other.handled[content]} times" for content in twice]
        handled = sum(not content.startswith(b"N") for content in other.handled)
        expected = len(end.asked) - end.asked.count(REFUSED) + end.said
        if not expected - way.passed["lost"] <= handled <= expected:
            faults.append(f"{handled} of {expected} requests and messages were handled")
        if end.session.late_replies != end.late:
            faults.append(f"{end.session.late_replies} late replies were counted, {end.late} came")
        if end.session.pending_requests:
            faults.append(f"{end.session.pending_requests} questions still wait")
        seen += end.ends
        seen.update(asked=len(end.asked) + len(end.pinged), said=end.said, late=end.late, lost=way.passed["lost"])
        seen["very late"] += way.passed["very late"]
    seen["held"] = most_held
    return seen


def main() -> None:
    """Run it for every layout and print what was seen."""
    parser = ArgumentParser(description="Every reply reaches the request it answers.")
    parser.add_argument("--requests", type=int, default=1_000_000, help="requests and pings in all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    faults: list[str] = []
    table: dict[str, object] = {}
    total: Counter[str] = Counter()
    shares = sum(share for _, _, share in PAIRS.values())
    for name, (server, client, share) in PAIRS.items():
        found: list[str] = []
        seen = converse((server, client), options.requests * share // shares, f"{options.seed} {name}", found)
        faults += [f"{name}: {fault}" for fault in found]
        table[name] = (
            f"{seen['asked']} asked, {seen['reply']} replies, {seen['pong']} pongs, {seen['RequestTimeout']} timed out, "
            f"{seen['CancelledError']} cancelled, {seen['TooManyRequests']} refused, {seen['late']} late, {seen['lost']} lost; "
            f"{seen['held']} ids held back at most"
        )
        total += seen
    table["requests and pings in all"] = total["asked"]
    table["with their own reply"] = total["reply"] + total["pong"]
    table["late replies, dropped"] = total["late"]
    table["wrong"] = len(faults)
    finish("replies", table, faults)


if __name__ == "__main__":
    main()
