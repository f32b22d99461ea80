"""Turns of the reactor: a peer that makes much work takes its turn with the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.line import Line
from veltix_tx.net.connection.turns import MOST_EVENTS, Backlog
from veltix_tx.net.shared.turn_queue import TURN_SECONDS, TurnQueue

MANY = 5 * MOST_EVENTS


def flood(line: Line, number: int = MANY) -> bytes:
    """Return so many small messages in one piece."""
    for each in range(number):
        line.far.send(line.chat, each.to_bytes(2, "big"))
    return b"".join(line.far.data_to_send())


def numbers(line: Line) -> list[int]:
    """Return the numbers of the messages that were handled."""
    return [int.from_bytes(content, "big") for content in line.application.contents]


@pytest.fixture
def line(server_line: Callable[..., Line]) -> Line:
    """A server's connection that is ready."""
    made = server_line()
    made.shake()
    return made


def test_a_read_of_very_many_messages_takes_several_turns(line: Line) -> None:
    """Between two turns others have theirs; nothing is read from the peer meanwhile, and all is handled, in order."""
    done: list[int] = []

    def look() -> None:
        done.append(len(line.application.contents))
        if done[-1] < MANY:
            assert line.transport.producerState == "paused"
            line.clock.callLater(0, look)

    line.protocol.dataReceived(flood(line))
    look()
    line.clock.advance(0)

    steps = [after - before for before, after in zip([0, *done], done, strict=False)]
    assert max(steps) <= 2 * MOST_EVENTS
    assert numbers(line) == list(range(MANY))
    assert line.transport.producerState == "producing"


def test_an_ordinary_read_is_handled_at_once(line: Line) -> None:
    """A read of as many messages as one turn may have leaves nothing, and reading is never paused."""
    line.protocol.dataReceived(flood(line, MOST_EVENTS))
    assert numbers(line) == list(range(MOST_EVENTS))
    assert line.side.shared.counters["reads_paused"] == 0


def test_more_that_arrives_waits_behind_it(line: Line) -> None:
    """What comes though reading is paused, as it does below TLS, is handled behind what waits, and counts as kept."""
    read = flood(line)
    line.protocol.dataReceived(read[:100_001])
    for start in range(100_001, len(read), 10_000):
        line.protocol.dataReceived(read[start : start + 10_000])
    assert line.side.shared.receive_budget.used > len(read) // 2
    line.clock.advance(0)
    assert numbers(line) == list(range(MANY))
    assert line.side.shared.receive_budget.used == 0


def test_the_end_of_the_connection_waits_behind_it(line: Line) -> None:
    """A peer that has sent much and left is heard out before the session ends."""
    line.protocol.dataReceived(flood(line))
    line.protocol.connectionLost(Failure(ConnectionDone()))
    assert line.protocol.session.closed is None
    line.clock.advance(0)
    assert numbers(line) == list(range(MANY))
    assert line.application.calls[-1][0] == "disconnected"


@pytest.mark.parametrize("ends", ["close", "abort"])
def test_what_waits_is_dropped_with_the_session(line: Line, ends: str) -> None:
    """Once this side has ended the session, what has not been handled never is."""
    line.protocol.dataReceived(flood(line))
    handled = len(numbers(line))
    if ends == "close":
        line.protocol.session.disconnect()
    else:
        line.protocol.session._abort_slow_reader()
    line.clock.advance(0)
    assert numbers(line) == list(range(handled))
    line.protocol.connectionLost(Failure(ConnectionDone()))
    assert line.side.shared.receive_budget.used == 0


def test_a_drain_finishes_what_waits(line: Line) -> None:
    """A session that is drained has handled all that was read before it takes no more."""
    line.protocol.dataReceived(flood(line))
    line.protocol.session.drain()
    line.clock.advance(0)
    assert numbers(line) == list(range(MANY))
    line.clock.advance(1)
    assert line.protocol.session.closed is not None


def test_an_error_in_a_step_does_not_hold_up_the_next() -> None:
    """An error that nobody expects is left to the reactor to log; what waits behind it has its turn, and the end is told."""
    clock, done = Clock(), list[str]()

    def fail() -> int:
        raise ZeroDivisionError

    def succeed() -> int:
        done.append("step")
        return 1

    backlog = Backlog(TurnQueue(clock, clock.seconds), lambda: done.append("over"))
    backlog.add(fail, 5)
    backlog.add(succeed, 6)
    with pytest.raises(ZeroDivisionError):
        clock.advance(0)
    assert (backlog.size, done) == (6, [])
    clock.advance(0)
    assert (backlog.size, done) == (0, ["step", "over"])


class Turns(Clock):
    """A reactor that keeps what is to be done in a later turn."""

    def __init__(self, later: list[Callable[[], None]]) -> None:
        super().__init__()
        self._later = later

    def callLater(  # noqa: N802 (Twisted's name)
        self, when: float, what: Callable[..., object], *args: object, **kw: object
    ) -> Any:
        """Keep it."""
        self._later.append(partial(what, *args, **kw))


def test_a_turn_ends_when_all_together_have_had_their_time() -> None:
    """However many connections go on, a turn of the reactor ends after TURN_SECONDS; nobody is called twice before all others."""
    uptime, done = Clock(), list[str]()
    later: list[Callable[[], None]] = []
    queue = TurnQueue(Turns(later), uptime.seconds)

    def slow(name: str) -> None:
        uptime.advance(TURN_SECONDS * 0.6)
        done.append(name)
        queue.add(lambda: done.append(f"{name} again"))

    for name in "abc":
        queue.add(partial(slow, name))
    told = []
    while later:
        before = len(done)
        later.pop(0)()
        told.append(done[before:])
    assert told == [["a", "b"], ["c", "a again", "b again"], ["c again"]]
