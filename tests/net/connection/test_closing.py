"""A polite close goes on while the peer takes what is left for it, and for no longer than it may otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import formatEvent

from tests.support.faulty_line import FaultyLine
from veltix_tx.limits import Timeouts
from veltix_tx.net.clock import Timers
from veltix_tx.net.connection.closing import CloseWatch
from veltix_tx.wire.interface import Role


class Close:
    """A close that is watched: it may stand still for 5 seconds, and must take 1,000 bytes in each 30."""

    def __init__(self, left: int) -> None:
        self.clock = Clock()
        self.left = left
        self.given_up: list[float] = []
        CloseWatch(
            *(Timers(self.clock), self.clock.seconds, lambda: self.left),
            seconds=5,
            write_timeout=30,
            least=1_000,
            give_up=lambda: self.given_up.append(self.clock.seconds()),
        )

    def take(self, size: int, every: float, times: int) -> None:
        """Let the peer take so much so often."""
        for _ in range(times):
            for _ in range(10):
                self.clock.advance(every / 10)
            self.left -= size


def test_a_close_without_progress_is_given_up_in_time() -> None:
    """Where nothing is taken, the time is exactly as long as it may be."""
    close = Close(100)
    close.clock.pump([0.5] * 20)
    assert close.given_up == [5]


def test_a_close_goes_on_as_long_as_something_is_taken() -> None:
    """Each progress gives it the whole time again, and not more than one look longer."""
    close = Close(100_000)
    close.take(1_000, every=4, times=20)
    assert close.given_up == []
    close.clock.pump([0.1] * 70)
    (at,) = close.given_up
    assert 85 - 1 <= at <= 85 + 1
    assert close.clock.getDelayedCalls() == []


def test_a_close_may_not_be_dripped_on() -> None:
    """A peer that takes a byte now and then is given up after the time in which it must take more."""
    close = Close(100_000)
    close.take(1, every=4, times=10)
    assert len(close.given_up) == 1
    assert 29.9 < close.given_up[0] < 31


@pytest.mark.parametrize("who", ["this side closes", "the peer is drained"])
@pytest.mark.parametrize("then", ["takes all", "stops"])
def test_a_slow_peer_gets_what_was_queued(then: str, who: str, log_events: Any) -> None:
    """timeouts.close does not cut a peer that reads on; one that stops is cut after that time, which is logged and counted."""
    line = FaultyLine(Role.SERVER, timeouts=Timeouts(close=5))
    session = line.shake()
    line.socket.sent.clear()
    line.socket.room = 0
    size = 200_000
    session.send(line.chat, bytes(size))
    line.watch(session.disconnect() if who == "this side closes" else session.drain())
    for _ in range(6):
        line.socket.room = 20_000
        line.reactor.pump([0, 1, 1, 1, 1])
        line.reactor.turn()
        assert not line.socket.closed
    if then == "takes all":
        line.socket.room = 1 << 40
    for _ in range(20):
        line.reactor.turn()
        line.reactor.advance(0.5)
    counters = line.protocol.shared.counters
    said = [text for text in map(formatEvent, log_events) if "does not read what is left" in text]
    assert line.socket.reset is (then == "stops")
    assert (len(line.socket.sent) > size) is (then == "takes all")
    assert counters["closes_aborted"] == len(said) == (then == "stops")
    assert ("bytes of which are lost" in "".join(said)) is (then == "stops")
    line.reactor.settle()
    del session
    line.check_nothing_is_left()
