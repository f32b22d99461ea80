"""Requests and pings: each is answered or failed once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost

from tests.support.deferreds import outcome
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import LocalProtocolError, RemoteError, RequestTimeout, SessionClosed, TooManyRequests
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.messages import ERROR, INVALID_REQUEST, PONG, Request, Response

BOTH = pytest.mark.parametrize("role", ["server", "client"])


@pytest.fixture
def either(server_line: Any, client_line: Any) -> Any:
    """Make a line in the role that a test names."""
    return lambda role, *args, **kwargs: (server_line if role == "server" else client_line)(*args, **kwargs)


def asked(line: Any) -> list[Response]:
    """Messages said since."""
    return [event for event in line.take() if isinstance(event, Response)]


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


@pytest.mark.parametrize(("replies", "ahead"), [(64, 64), (65, 33), (200, 100)])
def test_the_peer_has_the_next_requests_while_replies_are_settled(replies: int, ahead: int, client_line: Any) -> None:
    """What over 64 replies of one read cause is written when half of these are settled, and with the last one; no write more."""
    line = client_line()
    session = line.shake()
    written: list[int] = []

    def ask_again(reply: Response) -> None:
        written.append(line.transport.writes)
        session.send_and_wait(line.chat, b"next")

    for _ in range(replies):
        session.send_and_wait(line.chat, b"first").addCallback(ask_again)
    for question in asked(line):
        line.far.send(line.chat, b"!", question.request_id)
    line.transport.writes = 0

    line.deliver()

    assert written == [0] * ahead + [1] * (replies - ahead)
    assert line.transport.writes == (1 if replies == ahead else 2)
    assert len(asked(line)) == replies


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
