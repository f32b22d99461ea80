"""``limits.messages``: a peer's messages are handled so often a second, in their order, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.events import Pong
from veltix_tx.wire.messages import PING, Response

Lines = Callable[..., Any]

PATIENT = Timeouts(ping_interval=10**6)


def numbers(first: int, last: int) -> list[bytes]:
    """Contents that tell their place."""
    return [b"%d" % number for number in range(first, last)]


@pytest.mark.parametrize("style", ["nothing", "bytes", "coroutine"])
def test_messages_above_the_rate_wait_in_their_order(server_line: Lines, style: str) -> None:
    """As many as the limit are handled at once, the others as time goes on; each in its order, each answered."""

    async def later(content: bytes) -> bytes:
        return content

    line = server_line(limits=Limits(messages=10), timeouts=PATIENT)
    line.application.on_message = lambda session, message: {
        "nothing": None,
        "bytes": message.content,
        "coroutine": later(message.content) if style == "coroutine" else None,
    }[style]
    line.shake()
    line.say(*numbers(0, 50))
    assert line.application.contents == numbers(0, 10)
    for second in range(1, 5):
        for _ in range(100):
            line.clock.advance(0.01)
        handled = len(line.application.contents)
        assert 10 + 10 * second - 1 <= handled <= 10 + 10 * second
    line.clock.advance(2)
    assert line.application.contents == numbers(0, 50)
    assert line.side.shared.counters["messages_throttled"] == 40
    if style != "nothing":
        assert line.answers() == numbers(0, 50)


def test_it_is_off_by_default(server_line: Lines) -> None:
    """Without the limit any number is handled at once."""
    line = server_line()
    line.shake()
    line.say(*numbers(0, 2000))
    assert line.application.contents == numbers(0, 2000)
    assert line.side.shared.counters["messages_throttled"] == 0


def test_a_peer_that_keeps_to_it_never_waits(server_line: Lines) -> None:
    """One that sends as often as it may on average, in bursts up to the limit, is never held up."""
    line = server_line(limits=Limits(messages=10), timeouts=PATIENT)
    line.shake()
    for second in range(10):
        line.say(*numbers(10 * second, 10 * second + 10))
        line.clock.advance(1)
    assert line.application.contents == numbers(0, 100)
    assert line.side.shared.counters["messages_throttled"] == 0


def test_what_waits_is_bounded_and_then_reading_pauses(server_line: Lines) -> None:
    """Beyond ``limits.inflight`` waiting messages nothing more is read until they are fewer; so a flood costs no memory."""
    line = server_line(limits=Limits(messages=100, inflight=50), timeouts=PATIENT)
    line.shake()
    line.say(*numbers(0, 149))
    assert line.transport.producerState == "producing"
    line.say(b"149")
    assert line.transport.producerState == "paused"
    for _ in range(6):
        line.clock.advance(0.05)
    assert line.transport.producerState == "producing"
    assert 100 < len(line.application.contents) < 150


def test_pings_and_replies_are_no_messages(server_line: Lines) -> None:
    """What a peer answers, and asks of the wire, goes on while its messages wait."""
    line = server_line(limits=Limits(messages=1), timeouts=PATIENT)
    session = line.shake()
    line.say(*numbers(0, 10))
    asked: list[Any] = []
    session.send_and_wait(line.chat, b"?").addCallback(asked.append)
    (question,) = line.take()
    assert isinstance(question, Response)
    line.far.send(line.chat, b"!", question.request_id)
    line.far.send(PING, b"", 7)
    line.deliver()
    assert [reply.content for reply in asked] == [b"!"]
    assert line.take() == [Pong(7)]
    assert line.application.contents == numbers(0, 1)


@pytest.mark.parametrize("end", ["peer", "drain", "close"])
def test_the_end_does_not_wait_for_the_rate(server_line: Lines, end: str) -> None:
    """What was taken is handled when the session ends, by whomever, and nothing is left behind."""
    line = server_line(limits=Limits(messages=1), timeouts=PATIENT)
    session = line.shake()
    line.say(*numbers(0, 20))
    if end == "drain":
        session.drain()
    elif end == "close":
        session.disconnect()
    else:
        line.lose()
    line.clock.advance(0)
    if end != "peer":
        line.lose()
        line.clock.advance(0)
    assert line.application.contents == numbers(0, 20)
    assert line.application.calls[-1][0] == "disconnected"
    assert line.clock.getDelayedCalls() == []


def test_one_peers_flood_is_its_own(server_line: Lines) -> None:
    """Each session has a rate of its own."""
    line, other = (server_line(limits=Limits(messages=5), timeouts=PATIENT) for _ in range(2))
    line.shake(), other.shake()
    line.say(*numbers(0, 100))
    other.say(*numbers(0, 5))
    assert other.application.contents == numbers(0, 5)


def test_a_high_rate_needs_few_timers(server_line: Lines) -> None:
    """At 100,000 a second what waits is handled a hundredth of a second's worth at a time."""
    line = server_line(limits=Limits(messages=100_000, inflight=10**6), timeouts=PATIENT)
    line.shake()
    line.say(*numbers(0, 102_000))
    line.clock.advance(0.01)
    line.clock.advance(0.0101)
    assert len(line.application.contents) == 102_000
