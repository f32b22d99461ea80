"""Sessions: sending, closing, back-pressure."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.support.deferreds import outcome
from tests.support.source import Source
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import MessageTooLarge, NotReady, QueueFull, SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.messages import Request, Response
from veltix_tx.wire.veltix.layouts import W22

BOTH = pytest.mark.parametrize("role", ["server", "client"])


@pytest.fixture
def either(server_line: Any, client_line: Any) -> Any:
    """Make a line in the role that a test names."""
    return lambda role, *args, **kwargs: (server_line if role == "server" else client_line)(*args, **kwargs)


def asked(line: Any) -> list[Response]:
    """Messages said since."""
    return [event for event in line.take() if isinstance(event, Response)]


# Sending.


@BOTH
def test_nothing_is_sent_before_the_handshake(role: str, either: Any) -> None:
    """There is no session before the handshake, and the wire refuses to send or to number anything."""
    line = either(role, "1.6.3")
    line.connect()
    assert line.protocol.session is None
    before = line.transport.value()
    for attempt in (
        lambda: line.protocol.connection.send(line.chat, b"x"),
        lambda: line.protocol.connection.allocate_id(()),
    ):
        with pytest.raises(NotReady, match="handshake is not complete"):
            attempt()
    assert line.transport.value() == before


@BOTH
def test_nothing_is_sent_after_the_close(role: str, either: Any) -> None:
    """After a close, before and after the connection is gone, every way of sending raises SessionClosed and writes nothing."""
    line = either(role)
    session = line.shake()
    session.disconnect()
    for gone in (False, True):
        if gone:
            line.lose()
        with pytest.raises(SessionClosed) as caught:
            session.send(line.chat, b"x")
        assert caught.value.reason is DisconnectReason.MANUAL
        assert caught.value is not session.closed
        with pytest.raises(SessionClosed):
            session._send_encoded([b"bytes"])
        assert isinstance(outcome(session.send_and_wait(line.chat, b"x"))[0], SessionClosed)
        assert isinstance(outcome(session.ping())[0], SessionClosed)
        assert line.transport.writes == 0
    assert line.clock.getDelayedCalls() == []


@BOTH
def test_a_message_may_be_a_type_and_content_or_a_request(role: str, either: Any) -> None:
    """send() takes a type with bytes-like content, or a Request, and keeps the request id that is answered."""
    line = either(role)
    session = line.shake()
    session.send(line.chat, bytearray(b"1"))
    session.send(line.chat, memoryview(b"2"), request_id=7)
    session.send(Request(line.news, b"3", 8))
    one, two, three = asked(line)
    assert [each.content for each in (one, two, three)] == [b"1", b"2", b"3"]
    assert [each.type for each in (one, two, three)] == [line.chat, line.chat, line.news]
    assert (two.request_id, three.request_id) == (7, 8)


@pytest.mark.parametrize(("message", "content"), [("chat", b""), (200, b""), (None, "text"), (None, 5)])
def test_what_is_no_message_is_refused(message: Any, content: Any, server_line: Any) -> None:
    """Text as content and anything but a type or a Request raise TypeError; nothing is written."""
    line = server_line()
    session = line.shake()
    with pytest.raises(TypeError):
        session.send(message or line.chat, content)
    assert line.transport.writes == 0


@BOTH
def test_a_message_over_the_limit_is_refused_before_a_byte_leaves(role: str, either: Any) -> None:
    """A message that the peer would refuse raises MessageTooLarge locally; one byte less is sent."""
    line = either(role, max_message_size=1000)
    session = line.shake()
    with pytest.raises(MessageTooLarge, match="1001 bytes"):
        session.send(line.chat, b"x" * 986)
    assert isinstance(outcome(session.send_and_wait(line.chat, b"x" * 986))[0], MessageTooLarge)
    assert session.pending_requests == 0
    assert line.transport.writes == 0
    session.send(line.chat, b"x" * 985)
    assert line.answers() == [b"x" * 985]


def test_large_content_is_not_joined_to_its_header(server_line: Any) -> None:
    """A large message is one write all the same, header and content in order; a very large one goes by handfuls."""
    line = server_line()
    session = line.shake()
    session.send(line.chat, b"x" * 100_000)
    assert line.transport.writes == 1
    assert line.answers() == [b"x" * 100_000]
    content = bytes(range(256)) * 1000
    session.send(line.chat, content)
    assert line.transport.writes == 3
    assert line.answers() == [content]


# Closing, and what a session tells.


def test_when_closed_gives_a_new_deferred_each_time(server_line: Any) -> None:
    """Each caller of when_closed has a Deferred of its own; cancelling one does not touch the others."""
    line = server_line()
    session = line.shake()
    deferreds = [session.when_closed() for _ in range(3)]
    assert len(set(map(id, deferreds))) == 3
    results = [outcome(each) for each in deferreds]
    deferreds[0].cancel()
    line.lose()
    assert isinstance(results[0][0], CancelledError)
    assert results[1] == results[2] == [session.closed]
    assert outcome(session.when_closed()) == [session.closed]


def test_disconnect_fires_when_the_connection_is_gone(server_line: Any) -> None:
    """disconnect() fires with the reason only once the transport is gone, and may be called again."""
    line = server_line()
    session = line.shake()
    first, second = outcome(session.disconnect()), outcome(session.disconnect())
    assert (first, second, line.transport.lost) == ([], [], 1)
    line.lose()
    assert first == second == outcome(session.disconnect()) == [session.closed]
    assert session.closed.reason is DisconnectReason.MANUAL


def test_a_session_shows_its_peer(server_line: Any) -> None:
    """ip, port and repr tell who the peer is and whether the session is closed."""
    line = server_line("3.3.0")
    session = line.shake()
    assert (session.ip, session.port, session.peer.version) == ("127.0.0.1", 54321, "3.3.0")
    assert "3.3.0" in repr(session)
    line.lose()
    assert "closed" in repr(session)


def test_the_same_bytes_serve_sessions_of_the_same_encoding(server_line: Any) -> None:
    """encode() and send_encoded() carry a message to every session with an equal encoding."""
    one, two, old = server_line("3.3.0"), server_line("3.0.0"), server_line("1.6.3")
    sessions = [line.shake() for line in (one, two, old)]
    assert sessions[0]._encoding_key == sessions[1]._encoding_key != sessions[2]._encoding_key
    buffers = sessions[0]._encode(one.chat, b"all")
    for session in sessions[:2]:
        session._send_encoded(buffers)
    assert one.answers() == two.answers() == [b"all"]


def test_the_clock_in_a_header_is_the_one_the_peer_expects(server_line: Any) -> None:
    """1.6.9 is sent the uptime's milliseconds, every other release with a clock the calendar's."""
    stamps = {}
    for wire in ("1.6.8", "1.6.9"):
        line = server_line(wire)
        session = line.shake()
        session.send(line.chat, b"")
        line.clock.advance(0)
        stamps[wire] = W22.unpack(line.transport.value()).timestamp
    assert stamps == {"1.6.8": 1_700_000_000_000, "1.6.9": 0}


# Back-pressure: what a sender is told. How the queue works is tested with the flow.

NARROW = Limits(write_high=100_000, write_low=10_000, write_hard=200_000)


def blocked(server_line: Any) -> tuple[Any, Any]:
    """Make a session whose peer reads nothing."""
    line = server_line(limits=NARROW, timeouts=Timeouts(ping_interval=10_000, write=1000))
    session = line.shake()
    line.transport.producer.pauseProducing()
    return line, session


def test_a_full_queue_takes_nothing_more(server_line: Any) -> None:
    """Beyond write_hard every kind of send says QueueFull, nothing having been queued; when there is room all go on."""
    line, session = blocked(server_line)
    session.send(line.chat, b"x" * 150_000)
    assert session.write_buffer_size == 150_015
    with pytest.raises(QueueFull) as caught:
        session.send(line.chat, b"x" * 50_000)
    assert (caught.value.queued, caught.value.limit) == (150_015, 200_000)
    assert "150015 bytes wait" in str(caught.value)
    with pytest.raises(QueueFull):
        session._send_encoded([b"x" * 50_000])
    (failed,) = outcome(session.send_and_wait(line.chat, b"x" * 50_000))
    assert isinstance(failed, QueueFull)
    assert (session.write_buffer_size, session.pending_requests) == (150_015, 0)
    session.send(line.chat, b"x" * 40_000)
    line.transport.producer.resumeProducing()
    assert session.write_buffer_size == 0
    session.send(line.chat, b"x" * 50_000)
    assert [len(each) for each in line.answers()] == [150_000, 40_000, 50_000]


def test_one_message_is_always_taken(server_line: Any) -> None:
    """A message longer than write_hard can be sent while nothing waits."""
    line, session = blocked(server_line)
    session.send(line.chat, b"x" * 300_000)
    assert session.write_buffer_size == 300_015
    with pytest.raises(QueueFull):
        session.send(line.chat)


def test_a_sender_can_wait(server_line: Any) -> None:
    """Awaiting send(), or when_writable(), waits while more than write_high is queued, and not otherwise."""
    line, session = blocked(server_line)
    done: list[int] = []

    async def work() -> None:
        for number in range(7):
            await session.send(line.chat, b"x" * 30_000)
            done.append(number)

    Deferred.fromCoroutine(work())
    assert done == [0, 1, 2]
    waiting = outcome(session.when_writable())
    assert waiting == []
    line.transport.producer.resumeProducing()
    assert waiting == [None]
    assert done == list(range(7))
    assert outcome(session.when_writable()) == [None]
    assert len(line.answers()) == 7


@pytest.mark.parametrize("how", ["disconnect", "lose"])
def test_who_waits_to_send_hears_of_the_end(how: str, server_line: Any) -> None:
    """When the session ends, who waits goes on and meets SessionClosed at the next send; a producer is stopped."""
    line, session = blocked(server_line)
    failures: list[Exception] = []
    source = Source()
    session.register_producer(source)

    async def work() -> None:
        try:
            while True:
                await session.send(line.chat, b"x" * 30_000)
        except SessionClosed as error:
            failures.append(error)

    Deferred.fromCoroutine(work())
    assert (failures, source.steps) == ([], ["pause"])
    session.disconnect() if how == "disconnect" else line.lose()
    assert len(failures) == 1
    assert source.steps == ["pause", "stop"]
    with pytest.raises(SessionClosed):
        session.register_producer(Source())
    if how == "disconnect":
        line.transport.producer.resumeProducing()
        assert len(line.answers()) == 4
        line.lose()
    assert session.write_buffer_size == 0


def test_a_producer_is_paused_and_resumed(server_line: Any) -> None:
    """A producer that sends on the session is paused above write_high, resumed at write_low, and can be taken back."""
    line, session = blocked(server_line)
    source = Source()
    session.register_producer(source)
    with pytest.raises(RuntimeError):
        session.register_producer(Source())
    session.send(line.chat, b"x" * 100_001)
    assert source.steps == ["pause"]
    line.transport.producer.resumeProducing()
    assert source.steps == ["pause", "resume"]
    session.unregister_producer()
    session.disconnect()
    line.lose()
    assert source.steps == ["pause", "resume"]
