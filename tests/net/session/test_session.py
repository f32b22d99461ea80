"""Sessions: sending, requests and their ends, pings, closing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    LocalProtocolError,
    MessageTooLarge,
    NotReady,
    QueueFull,
    RemoteError,
    RequestTimeout,
    SessionClosed,
    TooManyRequests,
)
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.messages import ERROR, INVALID_REQUEST, PONG, Request, Response
from veltix_tx.wire.veltix.layouts import W22

from .test_flow import Source

BOTH = pytest.mark.parametrize("role", ["server", "client"])


@pytest.fixture
def either(server_line: Any, client_line: Any) -> Any:
    """Make a line in the role that a test names."""
    return lambda role, *args, **kwargs: (server_line if role == "server" else client_line)(*args, **kwargs)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """What a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


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


# Requests.


@BOTH
@pytest.mark.parametrize("wire", ["1.4.0", "1.6.3", "1.7.5", "3.3.0"])
def test_a_reply_settles_its_request(role: str, wire: str, either: Any) -> None:
    """Replies find their requests by id, in whatever order they come, and never reach the application."""
    line = either(role, wire)
    session = line.shake()
    first = outcome(session.send_and_wait(line.chat, b"1"))
    second = outcome(session.send_and_wait(Request(line.chat, b"2", 99)))
    one, two = asked(line)
    assert one.request_id != two.request_id
    assert session.pending_requests == 2
    line.say(b"re 2", request_id=two.request_id, message_type=line.news)
    line.say(b"re 1", request_id=one.request_id)
    assert (first[0].content, second[0].content) == (b"re 1", b"re 2")
    assert second[0].type is line.news
    assert session.pending_requests == 0
    assert line.application.contents == []


def test_a_second_reply_is_an_ordinary_message(server_line: Any) -> None:
    """A request is settled once: a second message with its id is no reply any more."""
    line = server_line()
    session = line.shake()
    reply = outcome(session.send_and_wait(line.chat, b"?"))
    (question,) = asked(line)
    line.say(b"1", b"2", request_id=question.request_id)
    assert [each.content for each in reply] == [b"1"]
    assert line.application.contents == [b"2"]


def test_a_reply_counts_only_from_the_connection_that_asked(server_line: Any) -> None:
    """Another peer's message with the same id does not settle the request."""
    asking, other = server_line(), server_line()
    session = asking.shake()
    other.shake()
    reply = outcome(session.send_and_wait(asking.chat, b"?"))
    (question,) = asked(asking)
    other.say(b"forged", request_id=question.request_id)
    assert reply == []
    assert other.application.contents == [b"forged"]
    asking.say(b"true", request_id=question.request_id)
    assert reply[0].content == b"true"


@BOTH
def test_a_request_times_out_at_exactly_its_time(role: str, either: Any) -> None:
    """RequestTimeout comes at the request's own time, not before; its late reply is dropped and counted once."""
    line = either(role)
    session = line.shake()
    reply = outcome(session.send_and_wait(line.chat, b"?", timeout=2.5))
    (question,) = asked(line)
    line.clock.advance(2.499)
    assert reply == []
    line.clock.advance(0.001)
    assert isinstance(reply[0], RequestTimeout)
    assert reply[0].seconds == 2.5
    assert session.pending_requests == 0
    line.say(b"late", request_id=question.request_id)
    assert session.late_replies == 1
    assert line.application.contents == []
    assert len(reply) == 1


def test_each_of_several_requests_has_its_own_time(server_line: Any) -> None:
    """Requests with different timeouts end each at its own time, whatever the order they were made in."""
    line = server_line(timeouts=Timeouts(request=3.0))
    session = line.shake()
    ends: dict[float, float] = {}
    for seconds in (4.0, 1.0, None, 2.0, 1.0, 0.5):
        waiting = session.send_and_wait(line.chat, b"?", timeout=seconds)
        waiting.addErrback(lambda failure: ends.setdefault(failure.value.seconds, line.clock.seconds()))
    for _ in range(20):
        line.clock.advance(0.25)
    assert ends == {s: s for s in (0.5, 1.0, 2.0, 3.0, 4.0)}
    assert len(line.clock.getDelayedCalls()) == 1  # the heartbeat's


def test_a_request_may_wait_for_ever(server_line: Any) -> None:
    """math.inf as timeout means no end and no timer."""
    line = server_line(timeouts=Timeouts(ping_interval=1_000_000))
    session = line.shake()
    heartbeat = line.clock.getDelayedCalls()
    assert len(heartbeat) == 1
    reply = outcome(session.send_and_wait(line.chat, b"?", timeout=math.inf))
    assert line.clock.getDelayedCalls() == heartbeat
    brief = outcome(session.send_and_wait(line.chat, b"?", timeout=1))
    line.clock.advance(1000)
    assert reply == []
    assert isinstance(brief[0], RequestTimeout)
    assert line.clock.getDelayedCalls() == heartbeat
    line.lose()


@pytest.mark.parametrize("seconds", [0, -1, "5", math.nan])
def test_a_timeout_that_is_none_is_refused(seconds: Any, server_line: Any) -> None:
    """A timeout that is not a number above 0 raises ValueError; nothing is sent."""
    line = server_line()
    session = line.shake()
    with pytest.raises(ValueError, match="timeout"):
        session.send_and_wait(line.chat, b"?", timeout=seconds)
    assert line.transport.writes == 0


def test_a_cancelled_request_is_given_up(server_line: Any) -> None:
    """Cancelling errbacks CancelledError at once; the late reply is dropped and counted."""
    line = server_line()
    session = line.shake()
    waiting = session.send_and_wait(line.chat, b"?")
    reply = outcome(waiting)
    (question,) = asked(line)
    waiting.cancel()
    assert isinstance(reply[0], CancelledError)
    assert session.pending_requests == 0
    line.say(b"late", request_id=question.request_id)
    assert (session.late_replies, line.application.contents) == (1, [])
    line.clock.advance(10)
    assert len(reply) == 1


@BOTH
@pytest.mark.parametrize("how", ["disconnect", "lost"])
def test_what_waits_fails_at_once_when_the_connection_goes(role: str, how: str, either: Any) -> None:
    """Every waiting request and ping fails at once, each with a SessionClosed of its own, and only once."""
    line = either(role)
    session = line.shake()
    waiting = [outcome(session.send_and_wait(line.chat, b"?")), outcome(session.send_and_wait(line.chat, b"?"))]
    waiting.append(outcome(session.ping()))
    if how == "disconnect":
        session.disconnect()
    else:
        line.lose(ConnectionLost())
    errors = [each[0] for each in waiting]
    assert {type(error) for error in errors} == {SessionClosed}
    assert len(set(map(id, [*errors, session.closed]))) == 4
    assert {error.reason for error in errors} == {DisconnectReason.MANUAL if how == "disconnect" else DisconnectReason.RESET}
    if how == "disconnect":
        line.lose()
    assert [len(each) for each in waiting] == [1, 1, 1]
    line.clock.advance(0)
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["lost", "timeout"])
def test_a_failing_request_may_cancel_the_others(how: str, server_line: Any) -> None:
    """When one request's errback cancels another that fails in the same moment, each is settled once and nothing breaks."""
    line = server_line()
    session = line.shake()
    first, second, third = (session.send_and_wait(line.chat, b"?", timeout=1) for _ in range(3))
    first.addErrback(lambda failure: (second.cancel(), failure)[1])
    results = [outcome(each) for each in (first, second, third)]
    if how == "lost":
        line.lose()
        assert line.application.calls[-1][0] == "disconnected"
    else:
        line.clock.advance(1)
    assert [len(each) for each in results] == [1, 1, 1]
    assert isinstance(results[1][0], CancelledError)
    assert type(results[2][0]) is type(results[0][0])


def test_no_more_requests_wait_than_allowed(server_line: Any) -> None:
    """The request (or ping) over limits.pending errbacks TooManyRequests; nothing of it is sent."""
    line = server_line(limits=Limits(pending=2))
    session = line.shake()
    waiting = [outcome(session.send_and_wait(line.chat, b"?")), outcome(session.ping())]
    writes = line.transport.writes
    for refused in (session.send_and_wait(line.chat, b"?"), session.ping()):
        error = outcome(refused)[0]
        assert isinstance(error, TooManyRequests)
        assert error.limit == 2
    assert line.transport.writes == writes
    assert waiting == [[], []]
    asked_ = next(event for event in line.take() if isinstance(event, Response) and event.type is line.chat)
    line.say(b"!", request_id=asked_.request_id)
    assert outcome(session.send_and_wait(line.chat, b"?")) == []
    line.lose()


def test_the_wire_without_ids_has_no_requests(server_line: Any) -> None:
    """On the 46-byte format requests and pings errback LocalProtocolError, and plain messages work."""
    line = server_line("1.0")
    session = line.shake()
    for waiting in (session.send_and_wait(line.chat, b"?"), session.ping()):
        assert isinstance(outcome(waiting)[0], LocalProtocolError)
    session.send(line.chat, b"plain")
    assert line.answers() == [b"plain"]


def test_a_request_from_inside_a_handler_is_answered_while_it_waits(server_line: Any) -> None:
    """A handler may await the peer's reply: it is not queued behind the handler."""
    line = server_line()
    session = line.shake()

    async def ask(session: Any, message: Any) -> bytes:
        reply = await session.send_and_wait(line.news, b"which?")
        return b"so " + bytes(reply.content)

    line.application.on_message = ask
    line.say(b"do", request_id=3)
    (question,) = asked(line)
    line.say(b"that", request_id=question.request_id)
    (answer,) = asked(line)
    assert (answer.content, answer.request_id) == (b"so that", 3)
    assert session.pending_requests == 0


@pytest.mark.parametrize(("detail", "said"), [(b"", "could not answer"), (b"because", "because")])
def test_an_error_frame_fails_the_request(detail: bytes, said: str, client_line: Any) -> None:
    """An ERROR with the request's id errbacks RemoteError with the peer's words."""
    line = client_line("1.6.3")
    session = line.shake()
    reply = outcome(session.send_and_wait(line.chat, b"?"))
    (question,) = asked(line)
    line.say(detail, request_id=question.request_id, message_type=ERROR)
    assert isinstance(reply[0], RemoteError)
    assert reply[0].detail == detail
    assert said in str(reply[0])
    line.say(detail, request_id=question.request_id, message_type=ERROR)
    assert (len(reply), session.late_replies, line.application.calls) == (1, 1, [("connected",)])


def test_other_system_messages_never_reach_the_application(client_line: Any) -> None:
    """A system message that is neither ping, pong nor error is dropped and counted, even with a waiting id."""
    line = client_line("1.6.3")
    session = line.shake()
    reply = outcome(session.send_and_wait(line.chat, b"?"))
    (question,) = asked(line)
    line.say(b"", request_id=question.request_id, message_type=INVALID_REQUEST)
    assert (reply, session.frames_rejected, line.application.contents) == ([], 1, [])
    line.lose()


# Pings.


@BOTH
@pytest.mark.parametrize("wire", ["1.3.0", "1.6.3", "1.7.5", "3.3.0"])
def test_a_ping_is_a_true_round_trip(role: str, wire: str, either: Any) -> None:
    """Each role's ping fires with the milliseconds between sending and answer on the uptime clock, as a float."""
    line = either(role, wire)
    session = line.shake()
    line.clock.advance(1000)
    trip = outcome(session.ping())
    line.take()
    line.clock.advance(0.0425)
    line.deliver()
    assert trip == [pytest.approx(42.5)]
    assert isinstance(trip[0], float)


def test_the_calendar_does_not_count_for_a_ping(server_line: Any) -> None:
    """A jump of the calendar's clock changes no round trip."""
    line = server_line("1.6.3")
    calendar = iter(range(2_000_000_000, 0, -86_400))
    object.__setattr__(line.clocks, "calendar", lambda: float(next(calendar)))
    session = line.shake()
    trip = outcome(session.ping())
    line.take()
    line.clock.advance(0.01)
    line.deliver()
    assert trip == [pytest.approx(10)]


@BOTH
def test_the_peers_pings_are_answered_by_themselves(role: str, either: Any) -> None:
    """A PING is answered with its id, unseen by the application."""
    line = either(role)
    line.shake()
    line.far.send_ping(77)
    line.deliver()
    assert [getattr(event, "request_id", None) for event in line.take()] == [77]
    assert line.application.contents == []


def test_a_ping_times_out_and_its_pong_is_late(server_line: Any) -> None:
    """A ping without answer errbacks RequestTimeout; the late pong is counted, and so is one nobody asked for."""
    line = server_line()
    session = line.shake()
    trip = outcome(session.ping(timeout=1))
    line.clock.advance(1)
    assert isinstance(trip[0], RequestTimeout)
    line.take()
    line.deliver()
    assert session.late_replies == 1
    line.say(b"", request_id=5, message_type=PONG)
    assert session.late_replies == 2


def test_a_message_with_a_pings_id_is_not_its_pong(server_line: Any) -> None:
    """Only a PONG answers a ping."""
    line = server_line()
    session = line.shake()
    trip = outcome(session.ping())
    line.say(b"x", request_id=0x8000)
    assert trip == []
    assert line.application.contents == [b"x"]
    line.lose()


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
