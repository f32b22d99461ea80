"""Connections that break at any step and in any way: everything that waits ends once, and nothing is left."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.support.faulty_line import BROKEN, END, FaultyLine
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed, VeltixError
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.session.session import Session
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import Response

SMALL = Limits(inflight=4, write_high=200_000, write_low=50_000, write_hard=600_000)
OPEN = 1 << 40


def life(line: FaultyLine) -> Iterator[str]:
    """Live through what a connection knows, one step after the other."""
    line.connect()
    yield "connected"
    for _ in range(4):
        line.exchange()
        yield "in the handshake"
    session = line.session
    line.watch(session.when_closed())
    yield "ready"
    line.watch(session.send_and_wait(line.chat, b"a", timeout=60))
    line.watch(session.ping(60))
    yield "asked, and nothing written"
    line.exchange()
    yield "asked"
    line.say(b"b")
    yield "answered"
    line.watch(session.ping(60))
    line.witness.answer = line.handle
    line.say(b"c")
    line.watch(session.when_idle())
    yield "in a handler"
    for number in range(16 * SMALL.inflight):  # as much as may wait while this side waits for replies itself
        line.far.send(line.chat, b"%d" % number)
    line.exchange()
    assert line.protocol.flow.paused
    yield "with handlers busy and reading paused"
    line.socket.room = 1000
    for _ in range(5):
        session.send(line.chat, b"x" * 100_000)
    line.watch(session.when_writable())
    line.reactor.turn()
    assert session.write_buffer_size
    yield "with the queue full"
    line.watch(session.drain())
    yield "draining, with handlers busy"
    while line.handling:
        line.handling.pop().callback(b"d")
    assert session.closed is not None
    line.reactor.turn()
    yield "closing, with the queue full"
    line.socket.room = 150_000
    line.reactor.turn()
    yield "closing, with some room"
    line.socket.room = OPEN
    for _ in range(10):
        line.reactor.turn()
    assert line.socket.shut
    yield "closed on this side"


@pytest.mark.parametrize("chunk", [OPEN, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("way", BROKEN)
def test_a_connection_may_break_anywhere(way: str, role: Role, chunk: int) -> None:
    """However a connection ends, at whatever step: each Deferred fires once, the application is told once, no timer stays."""
    last, step = 0, ""
    while step != "closed on this side":
        line = FaultyLine(role, limits=SMALL)
        line.socket.chunk = chunk
        steps = life(line)
        for _ in range(last + 1):
            step = next(steps)
        line.break_off(way)
        line.wait_for_the_end()
        steps.close()
        line.check_nothing_is_left()
        last += 1
    assert last == 16


@pytest.mark.parametrize("role", Role)
def test_sending_may_break_after_any_byte(role: Role) -> None:
    """When sending fails in the middle of a message, what waits fails once with SessionClosed; what had a reply keeps it."""
    for sent in range(0, 378, 3):  # the request and the ping have 380 bytes
        line = FaultyLine(role)
        session = line.shake()
        line.watch(session.send_and_wait(line.chat, b"first"))
        (asked,) = [event for event in line.exchange() if isinstance(event, Response)]
        line.say(b"reply", asked.request_id)
        line.socket.breaks_after = sent
        line.watch(session.send_and_wait(line.chat, b"x" * 350))
        line.watch(session.ping())
        line.witness.answer = lambda session, message: b"y" * 350
        line.say(b"z")
        line.wait_for_the_end()
        (reply,), *failed = line.settled
        assert reply.content == b"reply"
        assert [each.value.reason for (each,) in failed] == [DisconnectReason.RESET] * 2
        assert isinstance(failed[0][0].value, SessionClosed)
        del session, reply, failed
        line.check_nothing_is_left()


def _send(line: FaultyLine, session: Session) -> None:
    session.send(line.chat, b"more")


INSIDE: dict[str, Callable[[FaultyLine, Session], object]] = {
    "nothing more": lambda line, session: None,
    "send": _send,
    "ask": lambda line, session: line.watch(session.send_and_wait(line.chat, b"more")) and None,
    "disconnect": lambda line, session: line.watch(session.disconnect()) and None,
    "drain": lambda line, session: line.watch(session.drain()) and None,
    "raise": lambda line, session: 1 / 0,
}
"""What a handler does after the connection has gone under it."""


@pytest.mark.parametrize("then", INSIDE)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("way", BROKEN)
def test_a_connection_may_break_inside_a_handler(way: str, role: Role, then: str, logged_failures: Any) -> None:
    """A handler under which the connection goes may do what it likes: the messages before it count, each end comes once."""
    line = FaultyLine(role)
    session = line.shake()
    line.watch(session.when_closed())
    line.watch(session.send_and_wait(line.chat, b"?"))

    def handler(session: Session, message: Response) -> bytes:
        if message.content == b"2":
            line.break_off(way)
            INSIDE[then](line, session)
        return message.content

    line.witness.answer = handler
    for content in (b"1", b"2", b"3"):
        line.far.send(line.chat, content)
    line.exchange()
    line.wait_for_the_end()
    assert line.witness.contents[:2] == [b"1", b"2"]
    assert all(isinstance(fired[0], (SessionClosed, type(None))) or fired[0].check(VeltixError) for fired in line.settled)
    logged = logged_failures.flush(ZeroDivisionError, SessionClosed)
    del session, handler
    line.check_nothing_is_left(logged=bool(logged))


@pytest.mark.parametrize("then", ["ask", "disconnect", "abort", "lose"])
@pytest.mark.parametrize("role", Role)
def test_a_connection_may_break_inside_what_a_reply_calls(role: Role, then: str) -> None:
    """A reply and the end in one read: who waited has the reply, and what it does next fails once, in the same way as later."""
    line = FaultyLine(role)
    line.shake()

    def go_on(reply: Response) -> bytes:
        if then == "ask":
            line.watch(line.session.send_and_wait(line.chat, b"next"))
        elif then == "disconnect":
            line.watch(line.session.disconnect())
        elif then == "abort":
            line.session._abort_slow_reader()
        else:
            line.break_off("gone at once")
            line.watch(line.session.ping())
        return reply.content

    line.watch(line.session.send_and_wait(line.chat, b"?").addCallback(go_on))
    line.watch(line.session.send_and_wait(line.chat, b"another"))
    (asked, _) = [event for event in line.exchange() if isinstance(event, Response)]
    line.far.send(line.chat, b"!", asked.request_id)
    line.socket.inbox += [b"".join(line.far.data_to_send()), END]
    line.wait_for_the_end()
    assert line.settled[0] == [b"!"]
    (other,) = line.settled[1]
    assert isinstance(other, Failure)
    assert other.check(SessionClosed)
    del other
    line.check_nothing_is_left()


class Producer:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Count."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Count."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Count."""
        self.told.append("stop")


@pytest.mark.parametrize("way", BROKEN)
def test_what_a_transport_says_after_the_end_changes_nothing(way: str) -> None:
    """A late resumeProducing or pauseProducing finds nothing to write, and a user's producer is stopped once."""
    line = FaultyLine(Role.SERVER, limits=SMALL)
    session = line.shake()
    producer = Producer()
    session.register_producer(producer)
    line.socket.room = 0
    for _ in range(5):
        session.send(line.chat, b"x" * 100_000)
    assert producer.told == ["pause"]
    line.break_off(way)
    line.wait_for_the_end()
    flow = line.protocol.flow
    for _ in range(2):
        flow.pauseProducing()
        flow.resumeProducing()
        flow.stopProducing()
    assert [step for step in producer.told if step == "stop"] == ["stop"]
    assert producer.told[-2:] in (["stop", "resume"], ["pause", "stop"])
    assert session.write_buffer_size == 0
    with pytest.raises(SessionClosed):
        session.register_producer(Producer())
    with pytest.raises(SessionClosed):
        session.send(line.chat, b"more")
    del session, flow, producer
    line.check_nothing_is_left()


def test_a_transport_that_is_gone_takes_no_producer() -> None:
    """A protocol connected to a transport that has ended already lives through its handshake's writes and its end."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    stopped = Producer()
    line.break_off("gone at once")
    line.transport.registerProducer(stopped, True)
    assert stopped.told == ["stop"]
    line.protocol.flow.start()
    assert not line.protocol.flow._registered
    del session
    line.check_nothing_is_left()


# Closing.


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("role", Role)
def test_this_side_closes_when_the_peer_has(role: Role, paused: bool) -> None:
    """After disconnect everything queued is sent, then FIN; what still comes is read and dropped until the peer's FIN."""
    line = FaultyLine(role)
    session = line.shake()
    if paused:
        line.transport.pauseProducing()
    session.send(line.chat, b"last")
    line.watch(session.disconnect())
    assert [event.content for event in line.exchange() if isinstance(event, Response)] == [b"last"]
    assert line.socket.shut
    line.witness.contents.clear()
    for _ in range(5):
        line.say(b"too late" * 1000)
    line.socket.inbox.append(b"\x00\xc8half")
    line.reactor.turn()
    assert line.witness.contents == []
    assert not line.socket.closed
    assert not line.socket.inbox
    assert [sorted(line.protocol.timers._calls)] == [["close"]]
    line.socket.inbox.append(END)
    line.reactor.turn()
    assert line.socket.closed
    assert not line.socket.reset
    assert line.settled[0][0].reason is DisconnectReason.MANUAL
    del session
    line.check_nothing_is_left()


def test_a_peer_that_does_not_close_is_not_waited_for() -> None:
    """The peer has two seconds after our FIN; then the kernel is left to bring it what is sent, and nothing is reset."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    line.watch(session.disconnect())
    line.reactor.turn()
    line.reactor.advance(1.9)
    assert not line.socket.closed
    line.reactor.advance(0.2)
    line.reactor.turn()
    assert line.socket.closed
    assert not line.socket.reset
    del session
    line.check_nothing_is_left()


@pytest.mark.parametrize("gathers", [True, False])
def test_what_is_queued_leaves_in_order_piece_by_piece(gathers: bool) -> None:
    """However little the socket takes at a time, and where it takes but one buffer in a call, as on Windows."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    if not gathers:
        line.socket.sendmsg = None
    line.socket.room = 0
    sent = [bytes([number]) * size for number, size in enumerate((70_000, 10, 200_000, 1, 300_000, 5000))]
    for content in sent:
        session.send(line.chat, content)
        line.reactor.turn()
    while len(line.socket.sent) < sum(map(len, sent)):
        line.socket.room = 33_333
        line.reactor.turn()
    line.socket.room = 1 << 40
    line.reactor.settle()
    left = bytes(line.socket.sent)
    for content in sent:
        header, left = left[:15], left[15:]
        assert (header[:2], left[: len(content)]) == (b"VX", content)
        left = left[len(content) :]
    assert left == b""
    line.watch(session.disconnect())
    line.socket.inbox.append(END)
    line.reactor.settle()
    del session
    line.check_nothing_is_left()


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("closing", [False, True])
def test_a_peer_that_ends_its_half_gets_what_is_queued(size: int, closing: bool) -> None:
    """Its FIN keeps nothing from it that waits in the transport or the queue; then the connection ends at once."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    line.socket.room = 10
    session.send(line.chat, b"x" * size)
    line.reactor.turn()
    if closing:
        line.watch(session.disconnect())
    line.socket.inbox.append(END)
    line.reactor.turn()
    assert not line.socket.closed
    line.socket.room = 1 << 40
    line.reactor.settle()
    assert len(line.socket.sent) == session.peer.layout.header_size + size
    assert (line.socket.closed, line.socket.reset) == (True, False)
    assert session.closed.reason is (DisconnectReason.MANUAL if closing else DisconnectReason.PEER_CLOSED)
    del session
    line.check_nothing_is_left()


def test_what_was_sent_in_the_turn_of_the_peers_end_is_written() -> None:
    """What is gathered until the end of the turn is not lost where the peer ends its half in that turn."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    session.send(line.chat, b"last")
    line.transport.readConnectionLost(Failure(ConnectionDone()))
    line.reactor.settle()
    assert len(line.socket.sent) == session.peer.layout.header_size + 4
    assert line.socket.closed
    del session
    line.check_nothing_is_left()


@pytest.mark.parametrize("who", ["this side closes", "the peer ends its half"])
def test_a_peer_that_does_not_read_is_not_waited_for(who: str) -> None:
    """What cannot be sent within timeouts.close is given up, whoever began the end."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    line.socket.room = 10
    session.send(line.chat, b"x" * 1000)
    if who == "this side closes":
        line.watch(session.disconnect())
    else:
        line.reactor.turn()
        line.socket.inbox.append(END)
    line.reactor.turn()
    line.reactor.advance(4.9)
    assert not line.socket.closed
    line.reactor.advance(0.2)
    line.reactor.turn()
    assert line.socket.reset
    del session
    line.check_nothing_is_left()


def test_a_peer_that_breaks_a_rule_is_not_read_from_any_more() -> None:
    """A protocol error ends the connection without waiting for the peer's end."""
    line = FaultyLine(Role.SERVER)
    line.connect()
    line.socket.inbox.append(b"\xff" * 5000)
    line.reactor.settle()
    assert line.socket.closed
    line.check_nothing_is_left(logged=True)


# A clock that is set.

DAY = 86_400.0


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("days", [1, -1, 3650, -3650])
def test_a_clock_that_is_set_ends_no_connection(days: int, role: Role) -> None:
    """A live peer is kept, and a request answered, when the calendar (and the reactor's clock with it) is set."""
    line = FaultyLine(role)
    session = line.shake()
    line.watch(session.send_and_wait(line.chat, b"?"))
    (asked,) = [event for event in line.exchange() if isinstance(event, Response)]
    line.jump(days * DAY)
    line.reactor.turn()
    for _ in range(100):
        line.exchange()
        line.reactor.advance(0.5)
    assert session.closed is None
    if days < 0:
        assert line.settled == [[]]
        line.say(b"!", asked.request_id)
        assert line.settled[0][0].content == b"!"
    assert weakref.ref(session)() is line.protocol.session
    line.break_off("reset")
    line.wait_for_the_end()
    del session
    line.check_nothing_is_left()


@pytest.mark.parametrize("days", [1, 3650])
def test_deadlines_of_requests_and_frames_do_not_run_out_when_the_clock_is_set_forward(days: int) -> None:
    """A request, a message half arrived and a peer's silence are measured on the clock that does not jump."""
    line = FaultyLine(Role.SERVER)
    session = line.shake()
    line.watch(session.send_and_wait(line.chat, b"?", timeout=5))
    line.exchange()
    line.far.send(line.chat, b"x" * 1000)
    whole = b"".join(line.far.data_to_send())
    line.socket.inbox.append(whole[:500])
    line.reactor.turn()
    line.jump(days * DAY)
    line.reactor.settle()
    assert session.closed is None
    assert line.settled == [[]]
    line.socket.inbox.append(whole[500:])
    line.reactor.settle()
    assert line.witness.contents == [b"x" * 1000]
    for _ in range(12):
        line.reactor.advance(0.5)
    assert [failure.type.__name__ for (failure,) in line.settled] == ["RequestTimeout"]
    line.break_off("reset")
    line.wait_for_the_end()
    del session
    line.check_nothing_is_left()


@pytest.mark.parametrize("role", Role)
def test_no_deadline_runs_out_when_the_clock_is_set_forward(role: Role) -> None:
    """A handshake, an answer to a ping, a slow reader and a close have as much time as without the jump, and no more."""
    times = Timeouts(ping_interval=20, ping_timeout=20, write=30, close=5)

    def jumping(line: FaultyLine) -> FaultyLine:
        line.jump(DAY)
        line.reactor.settle()
        assert not line.socket.closed
        return line

    def ended_after(line: FaultyLine, seconds: float) -> None:
        line.reactor.advance(seconds - 0.2)
        line.reactor.turn()
        assert not line.socket.closed
        line.reactor.advance(0.3)
        line.reactor.settle()
        assert line.socket.closed
        line.wait_for_the_end()
        line.check_nothing_is_left()

    line = FaultyLine(role, timeouts=times)
    line.connect()
    ended_after(jumping(line), 5)

    line = FaultyLine(role, timeouts=times)
    line.shake()
    line.reactor.advance(20)
    ended_after(jumping(line), 20)

    line = FaultyLine(role, timeouts=times, limits=SMALL)
    line.shake()
    line.socket.room = 0
    for _ in range(5):
        line.session.send(line.chat, b"x" * 100_000)
    ended_after(jumping(line), 30)

    line = FaultyLine(role, timeouts=times)
    line.shake()
    line.socket.room = 0
    line.session.send(line.chat, b"last")
    line.session.disconnect()
    ended_after(jumping(line), 5)
