"""The time in a message's header: that of the turn it was sent in, and read once for all that leaves together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.line import NOW
from veltix_tx.limits import Timeouts
from veltix_tx.wire.messages import Response
from veltix_tx.wire.veltix import codec

WIRES = pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.6.9"])


@pytest.fixture(params=codec.available(), autouse=True)
def _each_codec(request: Any) -> Iterator[None]:
    """Run each test with each codec."""
    before = codec.in_use()
    codec.use(request.param)
    yield
    codec.use(before)


class Watch:
    """The clocks of a line's side, counted: how often each was read since it was last asked."""

    def __init__(self, line: Any, wire: str) -> None:
        self.line, self.name = line, "uptime" if wire == "1.6.9" else "calendar"
        self.read = 0
        original: Callable[[], float] = getattr(line.clocks, self.name)

        def count() -> float:
            self.read += 1
            return original()

        # The side has its clocks already, and reads through them.
        side_clock = line.side.uptime_ms if wire == "1.6.9" else line.side.calendar_ms
        side_clock.read = lambda: int(count() * 1000)
        self.start = 0.0 if wire == "1.6.9" else NOW

    @property
    def now(self) -> int:
        """The time as a message must carry it."""
        return int((self.start + self.line.clock.seconds()) * 1000)


def stamps(line: Any) -> list[int | None]:
    """The times of the messages said since."""
    return [event.timestamp for event in line.take() if isinstance(event, Response)]


@pytest.fixture(params=["server", "client"])
def watched(request: Any, server_line: Any, client_line: Any) -> Callable[[str], tuple[Any, Any, Watch]]:
    """Make a line in both roles, ready, with its clock counted."""

    def make(wire: str) -> tuple[Any, Any, Watch]:
        line = (server_line if request.param == "server" else client_line)(wire, timeouts=Timeouts(ping_interval=1_000_000))
        line.clock.advance(1000)
        watch = Watch(line, wire)  # before the handshake, at whose end each connection takes the clock
        session = line.shake()
        line.clock.advance(1)
        watch.read = 0
        return line, session, watch

    return make


@WIRES
def test_what_is_sent_in_one_turn_has_one_time(wire: str, watched: Any) -> None:
    """A hundred messages of one turn carry its time, for which the clock is read once; the next turn has its own."""
    line, session, watch = watched(wire)
    for _ in range(3):
        for _ in range(100):
            session.send(line.chat, b"x")
        expected = watch.now
        assert watch.read == 1
        assert stamps(line) == [expected] * 100
        watch.read = 0
        line.clock.advance(0.25)


@WIRES
def test_what_answers_one_read_has_its_time(wire: str, watched: Any) -> None:
    """A hundred answers and what else a read causes carry the time of that read."""
    line, _, watch = watched(wire)

    def answer(session: Any, message: Any) -> bytes:
        session.send(line.news, b"also")
        return bytes(message.content)

    line.application.on_message = answer
    line.say(*[b"x"] * 50, request_id=7)
    line.clock.advance(3)
    watch.read = 0
    for _ in range(50):
        line.far.send(line.chat, b"x", 7)
    before = watch.now
    line.take()
    line.deliver()
    assert watch.read == 1
    assert stamps(line) == [before] * 100


@WIRES
def test_a_later_answer_has_its_own_time(wire: str, watched: Any) -> None:
    """What a handler brings after a while carries the time of then, not that of the read, whatever else was sent meanwhile."""
    line, session, watch = watched(wire)
    results: list[Deferred[bytes]] = []

    def later(session: Any, message: Any) -> Deferred[bytes]:
        results.append(Deferred())
        return results[-1]

    line.application.on_message = later
    line.say(b"?", request_id=7)
    line.take()
    for seconds in (5, 7):
        line.clock.advance(seconds)
        session.send(line.chat, b"meanwhile")
        assert stamps(line) == [watch.now]
    line.clock.advance(2)
    results[0].callback(b"!")
    assert stamps(line) == [watch.now]


@WIRES
def test_an_encoded_message_has_the_time_of_its_making(wire: str, watched: Any) -> None:
    """encode(), which any thread may call and nothing need follow, reads the clock each time and keeps nothing."""
    line, session, watch = watched(wire)
    for read in range(1, 4):
        line.clock.advance(10)
        expected = watch.now
        buffers = session._encode(line.chat, b"x")
        assert watch.read == read
        session._send_encoded(buffers)
        assert stamps(line) == [expected]
    session.send(line.chat, b"x")
    assert watch.read == 4
    line.clock.advance(0)
    session._encode(line.chat, b"never sent")
    line.take()
    line.clock.advance(10)
    session.send(line.chat, b"x")
    assert stamps(line) == [watch.now]


@WIRES
def test_a_long_turn_does_not_keep_its_time_for_what_is_written_before_its_end(wire: str, watched: Any) -> None:
    """Where so much is sent in a turn that a part is written at once, what follows is stamped anew."""
    line, session, watch = watched(wire)
    for _ in range(10):
        session.send(line.chat, bytes(30_000))
    assert watch.read > 1
    assert len(stamps(line)) == 10
