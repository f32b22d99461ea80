"""Flow control: peers that do not read, and reading that pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support.source import Source
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import QueueFull
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.shared.context import SharedState
from veltix_tx.net.transport.flow_control import FlowControl

MIB = 1024 * 1024


class Transport:
    """Writes down what a FlowControl does to it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


class Link:
    """A connection as its flow sees it; what it is told is written down."""

    def __init__(self, transport: Any, limits: Limits) -> None:
        self.clock = Clock()
        self.transport = transport
        self.limits = limits
        self.timeouts = Timeouts(write=30)
        self.timers = Timers(self.clock)
        self.shared = SharedState(Clocks(self.clock, self.clock.seconds, self.clock.seconds), limits, self.timeouts)
        self.awaiting_replies, self.most_unread_replies, self.unwritten = False, 0, 0
        self.told: list[str] = []

    def _may_log(self) -> bool:
        """Let everything be logged."""
        return True

    def log_fields(self) -> dict[str, str]:
        """Be named."""
        return {"peer": "192.0.2.1:1", "connection": "1-1"}

    def abort_slow_reader(self) -> None:
        """Take note."""
        self.told.append("stalled")

    def reading_resumed(self) -> None:
        """Take note."""
        self.told.append("resumed")

    def resume_handling(self) -> None:
        """Take note."""
        self.told.append("room")


def make() -> tuple[Transport, Clock, FlowControl, list[str]]:
    """Make what is tested, on a clock."""
    link = Link(transport := Transport(), Limits())
    flow = FlowControl(link)
    flow.start()
    transport.calls.clear()
    return transport, link.clock, flow, link.told


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
    """Replies into a buffer that is not full pause nothing; above the mark reading pauses and the stall timer runs."""
    _, clock, flow, _ = make()
    for _ in range(100):
        flow.write([b"x" * 100_000], 100_000, 100_000)
    assert not flow.paused
    flow.pauseProducing()
    flow.write([b"x" * MIB], MIB, MIB)
    assert not flow.paused
    flow.write([b"x"], 1, 1)
    assert flow.paused
    assert flow.backlogged
    assert len(clock.getDelayedCalls()) == 1


def test_a_peer_that_reads_again_is_read_again() -> None:
    """When the queue is written, reading resumes, requests are handled, the timer is gone and counting starts anew."""
    _, clock, flow, told = make()
    for _ in range(2):
        flow.pauseProducing()
        flow.write([b"x" * MIB], MIB, MIB)
        assert not flow.paused
        flow.write([b"x"], 1, 1)
        assert flow.paused
        flow.resumeProducing()
        assert not flow.paused
        assert not flow.backlogged
        assert flow.queued == 0
        assert clock.getDelayedCalls() == []
    assert told == ["resumed", "room"] * 2
    clock.advance(1000)
    assert told == ["resumed", "room"] * 2


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
    line = server_line(timeouts=Timeouts(write=5.0))
    session = line.shake()
    line.application.on_message = lambda session, message: b"x" * (600 * 1024)
    line.transport.producer.pauseProducing()
    line.say(b"1")
    assert line.transport.producerState == "producing"
    line.say(b"2")
    assert line.transport.producerState == "paused"
    line.clock.advance(4.9)
    assert line.transport.aborted == 0
    line.clock.advance(0.2)
    assert line.transport.aborted == 1
    assert session.closed.reason is DisconnectReason.WRITE_TIMEOUT
    assert "does not read" in next(each for each in log_events if each["log_level"].name == "warn")["log_format"]
    line.lose()
    assert line.clock.getDelayedCalls() == []


def test_drained_replies_resume_reading(server_line: Any) -> None:
    """When the peer has read its replies, it is read again and nothing is pending."""
    line = server_line(timeouts=Timeouts(ping_interval=10_000))
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
    for _ in range(100_000):
        session.send(line.chat)  # nothing but headers
    assert line.transport.producerState == "producing"


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
        assert line.transport.producer is not None
        line.transport.producer.resumeProducing()
        assert line.transport.producer is None
    line.lose()
    assert line.clock.getDelayedCalls() == []
    assert line.application.calls[-1][0] == "disconnected"


# The queue.


class Narrow:
    """A transport that is blocked when it has more than ``most`` bytes, until it is told to let some go."""

    def __init__(self, most: int = 65536) -> None:
        self.most = most
        self.buffer = bytearray()
        self.written = bytearray()
        self.given: list[bytes] = []
        self.reading = True
        self.closable = False
        self.producer: Any = None
        self.blocked = False

    def writeSequence(self, buffers: list[bytes]) -> None:  # noqa: N802
        """Keep, and pause the producer when it is too much."""
        assert all(isinstance(each, bytes) for each in buffers)
        self.given += buffers
        self.buffer += b"".join(buffers)
        if len(self.buffer) > self.most:
            self.blocked = True
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Have a producer."""
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        """Have none."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read."""
        self.reading = True

    def drain(self) -> bool:
        """Let the peer read what is here; return whether there was any, or more may come."""
        some = bool(self.buffer) or self.blocked
        self.written += self.buffer
        self.buffer.clear()
        if self.blocked and self.producer is not None:
            self.blocked = False
            self.producer.resumeProducing()
        return some


def narrow(
    high: int = MIB, low: int = 256 * 1024, acknowledged: Callable[[Any], int | None] = lambda _: None, **limits: Any
) -> tuple[Narrow, Clock, FlowControl, list[str]]:
    """Make a flow on a narrow transport."""
    link = Link(transport := Narrow(), Limits(write_high=high, write_low=min(low, high), **limits))
    flow = FlowControl(link, acknowledged=acknowledged)
    flow.start()
    return transport, link.clock, flow, link.told


def test_the_order_is_kept_whatever_is_blocked_in_between() -> None:
    """Small and large writes, before, while and after the transport is blocked, arrive whole and in order."""
    transport, _, flow, _ = narrow()
    sent = bytearray()
    for number in range(300):
        content = bytes([number % 256]) * (1 + number * 7919 % 400_000)
        sent += content
        flow.write([content[:10], content[10:]], len(content), 0)
        if number % 7 == 0:
            transport.drain()
    while transport.drain():
        pass
    assert transport.written == sent
    assert flow.queued == 0


def test_the_transport_is_never_given_more_than_a_handful_too_much() -> None:
    """However long a message is, the transport's own copy of it is a handful; what waits is counted."""
    transport, _, flow, _ = narrow()
    flow.write([b"head", b"x" * 10 * MIB], 10 * MIB + 4, 0)
    assert len(transport.buffer) <= 65536 + 131072
    assert flow.queued == 10 * MIB + 4 - len(transport.buffer)
    most = 0
    while transport.buffer:
        most = max(most, len(transport.buffer))
        transport.drain()
    assert most <= 65536 + 131072
    assert len(transport.written) == 10 * MIB + 4


def test_what_waits_is_shared() -> None:
    """The bytes of a message that waits in several queues are there once, and given to the transport as they are."""
    flows = [narrow() for _ in range(3)]
    content = b"x" * 100_000
    for transport, _, flow, _ in flows:
        flow.pauseProducing()
        flow.write([content], len(content), 0)
        transport.blocked = True
    for transport, _, flow, _ in flows:
        assert flow.queued == len(content)
        transport.drain()
        assert transport.given[0] is content


def test_a_user_that_writes_when_there_is_room_keeps_the_order() -> None:
    """What is written from inside when_low, or a producer's resumeProducing, comes after what waited."""
    transport, _, flow, _ = narrow(high=300_000, low=300_000)
    flow.pauseProducing()
    transport.blocked = True
    flow.write([b"1" * 400_000], 400_000, 400_000)
    flow.when_low().addCallback(lambda _: flow.write([b"2" * 10], 10, 0))
    flow.when_low().addCallback(lambda _: flow.write([b"3" * 200_000], 200_000, 0))
    while transport.drain():
        pass
    assert transport.written == b"1" * 400_000 + b"2" * 10 + b"3" * 200_000


def test_replies_that_were_written_are_not_owed_any_more() -> None:
    """Reading goes on when the replies themselves are written, also when other messages never let the queue get empty."""
    transport, _, flow, _ = narrow()
    flow.pauseProducing()
    transport.blocked = True
    flow.write([b"r" * (2 * MIB)], 2 * MIB, 2 * MIB)
    assert not transport.reading
    while not transport.reading:
        flow.write([b"b" * 131072], 131072, 0)
        assert transport.drain()
        assert len(transport.written) < 3 * MIB
    assert flow.queued > MIB


# Who is to wait.


def test_senders_wait_between_the_marks() -> None:
    """Above the high mark when_low() waits and the producer is paused, once; at the low mark both go on."""
    transport, _, flow, _ = narrow(high=500_000, low=200_000)
    source, fired = Source(), list[Any]()
    flow.set_producer(source)
    flow.pauseProducing()
    transport.blocked = True
    flow.write([b"x" * 500_000], 500_000, 0)
    flow.when_low().addCallback(fired.append)
    assert (fired, source.steps) == ([None], [])
    flow.write([b"x"], 1, 0)
    flow.write([b"x"], 1, 0)
    flow.when_low().addCallback(fired.append)
    Deferred.fromCoroutine(_wait(flow)).addCallback(fired.append)
    assert (fired, source.steps) == ([None], ["pause"])
    while flow.queued > 200_000:
        assert fired == [None]
        transport.drain()
    assert (fired, source.steps) == ([None] * 3, ["pause", "resume"])
    assert flow.queued > 0


async def _wait(flow: FlowControl) -> None:
    await flow


def test_a_producer_registered_late_is_paused_at_once() -> None:
    """A producer that comes when too much is queued already is paused; a second one is refused; none is needed."""
    _, _, flow, _ = narrow(high=1000)
    flow.pauseProducing()
    flow.write([b"x" * 1001], 1001, 0)
    source = Source()
    flow.set_producer(source)
    assert source.steps == ["pause"]
    with pytest.raises(RuntimeError):
        flow.set_producer(Source())
    flow.set_producer(None)
    flow.resumeProducing()
    assert source.steps == ["pause"]


@pytest.mark.parametrize("how", ["stop", "end"])
def test_the_end_stops_the_producer_and_tells_who_waits(how: str, logged_failures: Any) -> None:
    """At the end a producer is stopped, not resumed before; when_low() fires; what it raises is logged and changes nothing."""

    def fail(step: str) -> None:
        raise RuntimeError(step)

    _, _, flow, _ = narrow(high=1000)
    source, fired = Source(fail), list[Any]()
    flow.set_producer(source)
    flow.pauseProducing()
    flow.write([b"x" * 1001], 1001, 0)
    flow.when_low().addCallback(fired.append)
    getattr(flow, how)()
    assert source.steps == ["pause", "stop"]
    assert fired == [None]
    assert len(logged_failures.flush(RuntimeError)) == 2
    flow.when_low().addCallback(fired.append)
    assert fired == [None, None]


# Peers that are too slow.


def test_a_peer_that_reads_slowly_but_steadily_is_kept() -> None:
    """What counts is what the peer took since the last look, not how much is left; then nothing for a while is the end."""
    transport, clock, flow, stalled = narrow()
    flow.pauseProducing()
    transport.blocked = True
    flow.write([b"x" * (10 * MIB)], 10 * MIB, 10 * MIB)
    for _ in range(30):
        clock.advance(29)
        transport.drain()
        transport.drain()
    assert stalled == []
    assert flow.queued > MIB
    clock.pump([30] * 3)
    assert stalled == ["stalled"]


def test_the_kernels_word_is_taken_for_what_a_peer_has_read() -> None:
    """Where the kernel tells what the peer took, that counts, though the transport has not been drained meanwhile."""
    taken = [0]
    _, clock, flow, stalled = narrow(acknowledged=lambda _: taken[0])
    flow.pauseProducing()
    flow.write([b"x" * (2 * MIB)], 2 * MIB, 0)
    for _ in range(10):
        taken[0] += 300_000
        clock.advance(30)
    assert stalled == []
    taken[0] += 8192
    clock.advance(30)
    assert stalled == ["stalled"]


def test_a_peer_that_is_not_read_must_read() -> None:
    """While reading is paused for any reason, a peer that lets the transport be blocked is given up after the stall time."""
    _, clock, flow, stalled = narrow()
    flow.pause("handlers busy")
    flow.pauseProducing()
    flow.write([b"x"], 1, 0)
    clock.advance(30)
    assert stalled == ["stalled"]
    _, clock, flow, stalled = narrow()
    flow.pauseProducing()
    flow.write([b"x"], 1, 0)
    clock.advance(30)
    assert stalled == []


# The end.


def test_a_close_writes_what_waits_by_handfuls() -> None:
    """A close with a full queue lets go of the transport only when it has been given everything, never much at once."""
    transport, _, flow, _ = narrow()
    flow.write([b"x" * (4 * MIB)], 4 * MIB, 4 * MIB)
    assert not transport.reading
    flow.stop()
    assert transport.reading
    assert transport.producer is flow
    while transport.producer is not None:
        assert len(transport.buffer) <= 65536 + 131072
        transport.drain()
    transport.drain()
    assert len(transport.written) == 4 * MIB


def test_nothing_is_kept_after_the_end() -> None:
    """When the connection is gone the queue is empty, and what is written then is not kept."""
    transport, _, flow, _ = narrow()
    flow.write([b"x" * (4 * MIB)], 4 * MIB, 0)
    flow.stopProducing()
    flow.end()
    transport.most = 10**9
    flow.write([b"x" * 1000], 1000, 0)
    assert flow.queued == 0
    assert not flow._queue


@pytest.mark.parametrize("apart", [False, True])
def test_requests_wait_while_replies_are_unread(apart: bool, server_line: Any) -> None:
    """Requests that came in one read are not all handled when their replies are large: at most a megabyte and one are owed.

    So it is where they are answered apart from their turns, as those of concurrent routes are.
    """
    line = server_line(timeouts=Timeouts(ping_interval=10_000))
    line.shake()

    def answer(session: Any, message: Any) -> bytes | None:
        result = message.content + b"x" * (300 * 1024)
        return (session.reply(message, result), None)[1] if apart else result

    line.application.on_message = answer
    line.transport.producer.pauseProducing()
    contents = [b"%03d" % number for number in range(50)]
    line.say(*contents)
    assert len(line.application.contents) == 4
    assert line.transport.producerState == "paused"
    answered = []
    for _ in range(200):
        line.transport.producer.resumeProducing()
        answered += [each[:3] for each in line.answers()]
    assert answered == contents
    assert line.transport.producerState == "producing"


def test_own_sends_of_one_read_are_written_before_it_ends(server_line: Any) -> None:
    """A handler that sends very much meets QueueFull: what it sends does not pile up until the read has been handled."""
    line = server_line(limits=Limits(write_high=100_000, write_low=1000, write_hard=500_000))
    line.shake()
    sent, refused = [], []

    def flood(session: Any, message: Any) -> None:
        for _ in range(1000):
            try:
                session.send(line.news, b"x" * 10_000)
                sent.append(1)
            except QueueFull as error:  # noqa: PERF203 (each is counted)
                refused.append(error)

    line.application.on_message = flood
    line.transport.producer.pauseProducing()
    line.say(b"go")
    assert 49 <= len(sent) <= 56
    assert len(sent) + len(refused) == 1000
    assert refused[0].limit == 500_000
