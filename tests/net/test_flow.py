"""Flow: peers that do not read, and reading that pauses."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from veltix_tx.errors import DisconnectReason
from veltix_tx.net.flow import Flow
from veltix_tx.net.keepalive import Deadlines
from veltix_tx.settings import Timeouts

MIB = 1024 * 1024


class Transport:
    """Writes down what a Flow does to it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


def make() -> tuple[Transport, Clock, Flow, list[str]]:
    """Make what is tested, on a clock."""
    transport, clock, stalled = Transport(), Clock(), list[str]()
    flow = Flow(transport, Deadlines(clock), 30, lambda: stalled.append("stalled"))
    flow.start()
    transport.calls.clear()
    return transport, clock, flow, stalled


def test_reading_resumes_when_the_last_reason_is_gone() -> None:
    """Two reasons pause once; only without both does reading resume; taking back what is not set does nothing."""
    transport, _, flow, _ = make()
    flow.resume("a")
    flow.pause("a")
    flow.pause("b")
    flow.pause("a")
    flow.resume("a")
    assert flow.paused
    assert transport.calls == ["pauseProducing"]
    flow.resume("b")
    assert not flow.paused
    assert transport.calls == ["pauseProducing", "resumeProducing"]


def test_replies_count_only_while_writing_is_blocked() -> None:
    """Replies into a buffer that is not full pause nothing."""
    _, clock, flow, _ = make()
    flow.owe(10 * MIB)
    assert not flow.paused
    flow.pauseProducing()
    flow.owe(MIB)
    assert not flow.paused
    flow.owe(1)
    assert flow.paused
    assert len(clock.getDelayedCalls()) == 1


def test_a_peer_that_reads_again_is_read_again() -> None:
    """When the buffer is drained, reading resumes, the timer is gone and counting starts anew."""
    _, clock, flow, stalled = make()
    for _ in range(2):
        flow.pauseProducing()
        flow.owe(MIB)
        assert not flow.paused
        flow.owe(1)
        assert flow.paused
        flow.resumeProducing()
        assert not flow.paused
        assert clock.getDelayedCalls() == []
    clock.advance(1000)
    assert stalled == []


def test_a_stalled_peer_is_given_up() -> None:
    """A peer that reads none of its replies is given up after the stall time and what its bytes may take."""
    _, clock, flow, stalled = make()
    flow.pauseProducing()
    flow.owe(2 * MIB)
    clock.advance(30 + 2 * MIB / 65536 - 0.01)
    assert stalled == []
    clock.advance(0.01)
    assert stalled == ["stalled"]


def test_stopping_lets_go_of_the_transport_once() -> None:
    """stop() unregisters the producer, once, and not after the transport is gone."""
    transport, _, flow, _ = make()
    flow.stop()
    flow.stop()
    assert transport.calls == ["unregisterProducer"]
    transport, _, flow, _ = make()
    flow.stopProducing()
    flow.stop()
    assert transport.calls == []


def test_unread_replies_pause_reading_and_then_abort(server_line: Any, log_events: list[Any]) -> None:
    """A peer that asks and does not read its replies is not read any more, and aborted and logged when it stalls."""
    line = server_line(timeouts=Timeouts(stall=5.0))
    session = line.shake()
    line.application.on_message = lambda session, message: b"x" * (600 * 1024)
    line.transport.producer.pauseProducing()
    line.say(b"1")
    assert line.transport.producerState == "producing"
    line.say(b"2")
    assert line.transport.producerState == "paused"
    line.clock.advance(5 + 1200 * 1024 / 65536 - 0.1)
    assert line.transport.aborted == 0
    line.clock.advance(0.2)
    assert line.transport.aborted == 1
    assert session.closed.reason is DisconnectReason.STALLED
    assert "does not read" in next(each for each in log_events if each["log_level"].name == "warn")["log_format"]
    line.lose()
    assert line.clock.getDelayedCalls() == []


def test_drained_replies_resume_reading(server_line: Any) -> None:
    """When the peer has read its replies, it is read again and nothing is pending."""
    line = server_line()
    line.shake()
    line.application.on_message = lambda session, message: b"x" * (600 * 1024)
    line.transport.producer.pauseProducing()
    line.say(b"1", b"2")
    assert line.transport.producerState == "paused"
    line.transport.producer.resumeProducing()
    assert line.transport.producerState == "producing"
    line.clock.advance(1000)
    assert not line.transport.disconnecting


def test_own_sends_never_pause_reading(server_line: Any) -> None:
    """What this side sends of its own accord does not stop it from reading, however much it is."""
    line = server_line()
    session = line.shake()
    line.transport.producer.pauseProducing()
    for _ in range(30):
        session.send(line.chat, b"x" * 100_000)
    assert line.transport.producerState == "producing"
    line.say(b"still read")
    assert line.application.contents == [b"still read"]
    line.clock.advance(1000)
    assert not line.transport.disconnecting


@pytest.mark.parametrize("how", ["lost", "disconnect"])
def test_a_pause_does_not_outlive_the_connection(how: str, server_line: Any) -> None:
    """A connection that ends while reading is paused leaves no timer and no producer."""
    line = server_line()
    session = line.shake()
    line.application.on_message = lambda session, message: b"x" * (2 * MIB)
    line.transport.producer.pauseProducing()
    line.say(b"1")
    if how == "disconnect":
        session.disconnect()
        assert line.transport.producer is None
    line.lose()
    assert line.clock.getDelayedCalls() == []
    assert line.application.calls[-1][0] == "disconnected"
