"""Dispatcher: order, handlers that wait, handlers that fail, the end."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import formatEvent

from tests.support.deferreds import outcome
from tests.support.handlers import Slow, deaf
from veltix_tx.app.router import Router
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import Rejected, RemoteError, SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.events import RequestFailed
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import Request, Response

OLD = ["1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0"]


# What a handler may return.


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda line: b"bytes", b"bytes"),
        (lambda line: bytearray(b"array"), b"array"),
        (lambda line: memoryview(b"view"), b"view"),
        (lambda line: succeed(b"deferred"), b"deferred"),
        (lambda line: coroutine(b"coroutine"), b"coroutine"),
        (lambda line: succeed(Request(line.chat, b"inside")), b"inside"),
    ],
)
def test_a_returned_value_answers(make: Any, expected: bytes, server_line: Any) -> None:
    """Bytes, or a Deferred or coroutine of bytes, answer with the message's type and request id."""
    line = server_line()
    line.shake()
    line.application.on_message = lambda session, message: make(line)
    line.say(b"?", request_id=9)
    (answer,) = line.take()
    assert (answer.content, answer.type, answer.request_id) == (expected, line.chat, 9)


async def coroutine(value: Any) -> Any:
    """Return or raise the value later."""
    if isinstance(value, Exception):
        raise value
    return value


def test_a_returned_request_answers_with_its_own_type(server_line: Any) -> None:
    """A Request answers with its type, and with the message's id whatever id it has."""
    line = server_line()
    line.shake()
    line.application.on_message = lambda session, message: Request(line.news, b"!", 4)
    line.say(b"?", request_id=9)
    (answer,) = line.take()
    assert (answer.content, answer.type, answer.request_id) == (b"!", line.news, 9)


@pytest.mark.parametrize("make", [lambda: None, lambda: succeed(None), lambda: coroutine(None)])
def test_none_is_no_answer(make: Any, server_line: Any) -> None:
    """None, at once or later, sends nothing; empty bytes are an answer."""
    line = server_line()
    line.shake()
    line.application.on_message = lambda session, message: make()
    line.say(b"?")
    assert line.answers() == []
    line.application.on_message = lambda session, message: b""
    line.say(b"?")
    assert line.answers() == [b""]


# Failing handlers.

FAILING = [
    pytest.param(lambda line: 1 / 0, ZeroDivisionError, id="raises"),
    pytest.param(lambda line: "text", TypeError, id="text"),
    pytest.param(lambda line: 5, TypeError, id="junk"),
    pytest.param(lambda line: succeed(object()), TypeError, id="Deferred of junk"),
    pytest.param(lambda line: fail(ZeroDivisionError("secret")), ZeroDivisionError, id="failing Deferred"),
    pytest.param(lambda line: coroutine(ZeroDivisionError("secret")), ZeroDivisionError, id="coroutine raises"),
    pytest.param(lambda line: b"x" * 2000, Exception, id="answer too large"),
]


@pytest.mark.parametrize(("make", "kind"), FAILING)
@pytest.mark.parametrize("wire", ["1.6.3", "3.3.0"])
def test_a_failing_handler_is_logged_and_the_connection_lives(
    make: Any, kind: type[Exception], wire: str, server_line: Any, logged_failures: Any
) -> None:
    """However a handler fails, it is logged once with its traceback, and the next message is handled."""
    line = server_line(wire, max_message_size=1000)
    session = line.shake()
    line.application.on_message = lambda session, message: make(line) if message.content == b"bad" else b"fine"
    line.say(b"bad", b"good", request_id=9)
    (event,) = logged_failures.flush(kind)
    assert "Traceback" in event["log_failure"].getTraceback()
    assert "chat" in event["log_format"].format(**event)
    assert session.closed is None
    answers = [event for event in line.take() if isinstance(event, Response)]
    assert answers[-1].content == b"fine"
    assert not line.transport.disconnecting


@pytest.mark.parametrize("wire", OLD)
def test_older_peers_are_told_of_a_failure(wire: str, server_line: Any, logged_failures: Any) -> None:
    """Peers up to 1.9.0 get an ERROR frame with the request's id and no internals."""
    line = server_line(wire)
    line.shake()
    line.application.on_message = lambda session, message: 1 / 0
    line.say(b"?", request_id=9)
    logged_failures.flush(ZeroDivisionError)
    assert line.take() == [RequestFailed(9, b"")]


@pytest.mark.parametrize("wire", ["2.0.0", "3.3.0"])
def test_newer_peers_hear_nothing_of_a_failure(wire: str, server_line: Any, logged_failures: Any) -> None:
    """Peers from 2.0.0 on, which know no ERROR, are sent nothing."""
    line = server_line(wire)
    line.shake()
    line.application.on_message = lambda session, message: 1 / 0
    line.say(b"?", request_id=9)
    logged_failures.flush(ZeroDivisionError)
    assert line.transport.value() == b""


def test_our_own_requests_hear_of_the_peers_failure(client_line: Any, server_line: Any, logged_failures: Any) -> None:
    """Between two of ours on an older wire, a failing handler errbacks RemoteError at the asking side."""
    server, client = server_line("1.9.0"), client_line("1.9.0")
    server.application.on_message = lambda session, message: 1 / 0
    server.protocol.makeConnection(server.transport)
    client.protocol.makeConnection(client.transport)

    def exchange() -> None:
        for _ in range(4):
            for one, other in ((server, client), (client, server)):
                one.clock.advance(0)
                said = one.transport.value()
                one.transport.clear()
                if said:
                    other.protocol.dataReceived(said)

    exchange()
    reply = outcome(client.protocol.session.send_and_wait(client.chat, b"?"))
    exchange()
    logged_failures.flush(ZeroDivisionError)
    assert isinstance(reply[0], RemoteError)


@pytest.mark.parametrize("how", ["raises", "errbacks"])
def test_a_failing_disconnected_is_logged(how: str, server_line: Any, logged_failures: Any) -> None:
    """disconnected() may fail like a handler: logged, the rest goes on."""
    line = server_line()

    def broken(*_: Any) -> Any:
        if how == "raises":
            raise ZeroDivisionError
        return fail(ZeroDivisionError())

    line.application.disconnected = broken
    session = line.shake()
    closed = outcome(session.when_closed())
    line.lose()
    assert closed == [session.closed]
    (event,) = logged_failures.flush(ZeroDivisionError)
    assert event["step"] == "disconnected"


# Refusing a session.


@pytest.mark.parametrize("how", ["raises", "errbacks", "later", "coroutine"])
@pytest.mark.parametrize("error", [ZeroDivisionError("of the user's"), Rejected("banned"), SystemExit(3)])
def test_a_session_whose_connected_fails_is_closed(
    how: str, error: BaseException, server_line: Any, logged_failures: Any, log_events: Any
) -> None:
    """It fails closed: REJECTED with the error, counted, one line; none of its messages is handled, and its end is not told."""
    line = server_line()
    moment: Deferred[None] = Deferred()

    async def coroutine() -> None:
        await moment
        raise error

    def broken(session: Any) -> Any:
        if how == "raises":
            raise error
        return {"errbacks": lambda: fail(error), "later": lambda: moment, "coroutine": coroutine}[how]()

    line.application.on_connected = broken
    session = line.shake()
    line.say(b"early")
    if how == "later":
        moment.errback(error)
    elif how == "coroutine":
        moment.callback(None)
    line.say(b"late")
    assert (session.closed.reason, session.closed.cause) == (DisconnectReason.REJECTED, error)
    assert not session.admitted
    assert line.transport.disconnecting or line.transport.lost
    line.lose()
    assert line.application.calls == [("connected",)]
    assert line.side.shared.counters["sessions_rejected"] == line.side.shared.counters["closed_rejected"] == 1
    assert line.protocol.session._inbox_bytes == 0
    (event,) = [event for event in log_events if event["log_namespace"] == "veltix_tx.net.session.handler_log"]
    if isinstance(error, Rejected):
        assert formatEvent(event).endswith("(3.3.0)>: banned") or formatEvent(event).endswith("(closed)>: banned")
        assert "log_failure" not in event
    else:
        assert event["log_failure"].value is error
        assert event["step"] == "connected"
        assert formatEvent(event).endswith(": it is closed")
        logged_failures.flush()
    assert line.clock.getDelayedCalls() == []


def test_what_a_refused_peer_said_stays_on_one_line(server_line: Any, log_events: Any) -> None:
    """The reason may quote the peer: it is escaped and cut."""
    line = server_line()

    def refuse(session: Any) -> None:
        raise Rejected("unknown user a\nb" + "x" * 10_000)

    line.application.on_connected = refuse
    line.shake()
    (event,) = [event for event in log_events if event["log_namespace"] == "veltix_tx.net.session.handler_log"]
    text = formatEvent(event)
    assert "unknown user a\\nb" in text
    assert len(text) < 600


def test_what_was_said_to_a_peer_before_it_was_refused_is_sent(server_line: Any) -> None:
    """A session is closed politely: words of farewell arrive."""
    line = server_line()

    def refuse(session: Any) -> None:
        session.send(line.chat, b"we are closed")
        raise Rejected

    line.application.on_connected = refuse
    line.connect()
    for _ in range(6):
        line.deliver()
        said = line.answers()
        if said:
            break
    assert said == [b"we are closed"]


@pytest.mark.parametrize("error", [SessionClosed(DisconnectReason.PEER_CLOSED), Rejected("too late"), ZeroDivisionError()])
def test_a_connected_that_fails_after_the_peer_has_left(error: Exception, server_line: Any, logged_failures: Any) -> None:
    """The connection keeps its own reason and nothing is counted; only a failure of the program's own is logged."""
    line = server_line()
    moment: Deferred[None] = Deferred()
    line.application.on_connected = lambda session: moment
    session = line.shake()
    line.say(b"1")
    line.lose()
    idle = outcome(session.when_idle())
    moment.errback(error)
    assert idle == [None]
    assert line.application.calls == [("connected",)]
    assert session.closed.reason is DisconnectReason.PEER_CLOSED
    assert line.side.shared.counters["sessions_rejected"] == 0
    assert len(logged_failures.flush()) == isinstance(error, ZeroDivisionError)


# Order.


@pytest.mark.parametrize("style", ["deferred", "coroutine"])
def test_later_messages_wait_for_a_handler(style: str, server_line: Any) -> None:
    """While a handler is not done, the later messages of its connection wait; then they go on in their order."""
    line = server_line()
    line.shake()
    line.application.on_message = slow = Slow(style)
    line.say(b"1", b"2")
    line.say(b"3")
    assert line.application.contents == [b"1"]
    slow.running[0].callback(b"re 1")
    assert line.application.contents == [b"1", b"2"]
    slow.running[1].callback(b"re 2")
    slow.running[2].callback(b"re 3")
    assert line.answers() == [b"re 1", b"re 2", b"re 3"]


def test_another_connection_does_not_wait(server_line: Any) -> None:
    """A busy handler delays its own connection only."""
    busy, free = server_line(), server_line()
    busy.shake()
    free.shake()
    busy.application.on_message = Slow()
    busy.say(b"1", b"2")
    free.say(b"3")
    assert (busy.application.contents, free.application.contents) == ([b"1"], [b"3"])


def test_messages_wait_for_connected(server_line: Any) -> None:
    """A Deferred returned by connected() holds back the session's messages."""
    line = server_line()
    done: Deferred[None] = Deferred()
    line.application.on_connected = lambda session: done
    line.shake()
    line.say(b"1")
    assert line.application.calls == [("connected",)]
    done.callback(None)
    assert line.application.contents == [b"1"]


def test_replies_and_pongs_pass_a_busy_handler(server_line: Any) -> None:
    """Replies to own requests, pongs and the answers to the peer's pings never wait for a handler."""
    line = server_line()
    session = line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"busy")
    reply, trip = outcome(session.send_and_wait(line.chat, b"?")), outcome(session.ping())
    question = next(event for event in line.take() if isinstance(event, Response))
    line.far.send_ping(3)
    line.say(b"!", request_id=question.request_id)
    assert reply[0].content == b"!"
    assert len(trip) == 1
    assert len(line.take()) == 1
    slow.running[0].callback(None)


def test_a_concurrent_route_lets_later_messages_ahead(server_line: Any) -> None:
    """With concurrent=True several handlers of one connection run at once and answer as they finish."""
    router = Router(Role.SERVER)
    line = server_line(application=router)
    slow = Slow()
    router.register_route(line.chat, slow, concurrent=True)
    router.register_route(line.news, lambda session, message: b"news")
    session = line.shake()
    idle = outcome(session.when_idle())
    assert idle == [None]
    line.say(b"1", request_id=1)
    line.say(b"2", request_id=2)
    line.say(b"3", request_id=3, message_type=line.news)
    assert len(slow.running) == 2
    idle = outcome(session.when_idle())
    slow.running[1].callback(b"second")
    slow.running[0].callback(b"first")
    assert [(each.content, each.request_id) for each in line.take()] == [(b"news", 3), (b"second", 2), (b"first", 1)]
    assert idle == [None]


def test_a_failing_concurrent_handler_is_logged(server_line: Any, logged_failures: Any) -> None:
    """A concurrent handler fails like any other."""
    router = Router(Role.SERVER)
    line = server_line("1.6.3", application=router)
    router.register_route(line.chat, lambda session, message: fail(ZeroDivisionError()), concurrent=True)
    line.shake()
    line.say(b"1", request_id=1)
    logged_failures.flush(ZeroDivisionError)
    assert line.take() == [RequestFailed(1, b"")]


def test_concurrent_handlers_are_bounded(server_line: Any) -> None:
    """Running handlers of concurrent routes count for limits.inflight: reading pauses when there are that many."""
    router = Router(Role.SERVER)
    line = server_line(application=router, limits=Limits(inflight=4))
    slow = Slow()
    router.register_route(line.chat, slow, concurrent=True)
    line.shake()
    for number in range(20):
        if line.transport.producerState == "producing":
            line.say(b"%d" % number)
    running = len(slow.running)
    assert line.transport.producerState == "paused"
    assert running < 20
    for deferred in slow.running:
        deferred.callback(None)
    assert line.transport.producerState == "producing"


def test_a_long_queue_does_not_overflow_the_stack(server_line: Any) -> None:
    """10,000 messages waiting behind one Deferred, each with a Deferred of its own, are handled without recursion."""
    line = server_line(limits=Limits(inflight=100_000))
    line.shake()
    gate: Deferred[None] = Deferred()
    line.application.on_message = lambda session, message: gate if message.content == b"first" else succeed(b"y")
    line.say(b"first", *[b"x"] * 10_000)
    line.clock.advance(0)
    assert len(line.application.contents) == 1
    gate.callback(None)
    assert len(line.application.contents) == 10_001
    assert len(line.answers()) == 10_000


# The end.


def test_a_handler_that_disconnects_ends_its_batch(server_line: Any) -> None:
    """Later messages of the same read are not handled once a handler has disconnected."""
    line = server_line()
    session = line.shake()
    line.application.on_message = lambda session, message: session.disconnect() and None
    line.say(b"1", b"2", b"3")
    line.say(b"4")
    assert line.application.contents == [b"1"]
    line.lose()
    assert [call[0] for call in line.application.calls] == ["connected", "received", "disconnected"]
    assert session.closed is not None


def test_messages_received_before_the_peer_closes_are_all_handled(server_line: Any) -> None:
    """What arrived before the end is handled in order, behind a handler that the end cancels, then comes disconnected(), last."""
    line = server_line()
    session = line.shake()
    line.application.on_message = lambda session, message: Deferred() if message.content == b"1" else b"answer"
    line.say(b"1", b"2", b"3")
    closed = outcome(session.when_closed())
    line.lose()
    assert len(closed) == 1
    writes = line.transport.writes
    line.clock.advance(0)
    assert line.application.contents == [b"1", b"2", b"3"]
    assert [call[0] for call in line.application.calls][1:] == ["received"] * 3 + ["disconnected"]
    assert line.application.calls[-1] == ("disconnected", session.closed)
    assert line.transport.writes == writes


@pytest.mark.parametrize("seconds", [30, math.inf])
@pytest.mark.parametrize("style", ["deferred", "coroutine"])
def test_the_end_cancels_the_handlers(style: str, seconds: float, server_line: Any, log_events: Any) -> None:
    """Whatever time a handler has, the end of its connection cancels it, which is no failure; disconnected() comes after it."""
    line = server_line(timeouts=Timeouts(handler=seconds))
    session = line.shake()
    line.application.on_message = slow = Slow(style)
    line.say(b"1", b"2")
    idle = outcome(session.when_idle())
    line.lose()
    assert [call[0] for call in line.application.calls] == ["connected", "received"]
    line.clock.advance(0)
    assert all(deferred.called for deferred in slow.running)  # the second began when the first had ended, and ended, too
    assert line.application.calls[-2:] == [("received", b"2"), ("disconnected", session.closed)]
    assert idle == [None]
    assert line.side.shared.counters["handlers_failed"] == line.side.shared.counters["handlers_late"] == 0
    assert not [event for event in log_events if event["log_level"].name in ("warn", "error", "critical")]
    assert line.clock.getDelayedCalls() == []


def test_the_end_cancels_concurrent_handlers(server_line: Any) -> None:
    """Every handler of a concurrent route is cancelled as well, and disconnected() waits for the last of them."""
    router = Router(Role.SERVER)
    line = server_line(application=router)
    ended: list[bytes] = []
    running: list[Deferred[None]] = []

    async def wait(session: Any, message: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            running.append(Deferred())
            await running[-1]
            ended.append(message.content)

    router.register_route(line.chat, wait, concurrent=True, timeout=math.inf)
    router.set_callback("on_disconnect", lambda session: ended.append(b"gone"))
    line.shake()
    for content in (b"1", b"2"):
        line.say(content)
    line.lose()
    line.clock.advance(0)
    assert ended == []
    running[1].callback(None)
    running[0].callback(None)
    assert ended == [b"2", b"1", b"gone"]
    assert line.clock.getDelayedCalls() == []


def test_a_handler_that_ignores_the_end_is_waited_for_no_longer_than_a_close_may_take(server_line: Any, log_events: Any) -> None:
    """After timeouts.close disconnected() comes without it; what it brings later is dropped, counted and logged."""
    line = server_line(timeouts=Timeouts(handler=math.inf, close=5))
    session = line.shake()
    running = deaf()
    line.application.on_message = lambda session, message: running if message.content == b"1" else None
    line.say(b"1", b"2")
    line.lose()
    line.clock.advance(4.9)
    assert line.application.calls[-1] == ("received", b"1")
    line.clock.advance(0.2)
    assert line.application.calls[-2:] == [("received", b"1"), ("disconnected", session.closed)]  # nothing begins beside it
    assert line.clock.getDelayedCalls() == []
    running.callback(b"late")
    assert line.side.shared.counters["handlers_late"] == 1
    assert line.side.shared.counters["handlers_failed"] == 0
    assert [text for text in map(formatEvent, log_events) if "given up" in text] == [
        f"a handler that had been given up is done after all, for {session}"
    ]


def test_what_a_handler_raises_when_it_is_cancelled_is_a_failure(server_line: Any, logged_failures: Any) -> None:
    """Only the cancellation itself is nobody's fault: another error is counted and logged."""
    line = server_line()
    line.shake()

    async def clumsy(session: Any, message: Any) -> None:
        try:
            await Deferred()
        finally:
            1 / 0  # noqa: B018

    line.application.on_message = lambda session, message: (
        clumsy(session, message) if message.content == b"1" else Deferred(lambda _: 1 / 0)
    )
    line.say(b"1", b"2")
    line.lose()
    line.clock.advance(0)
    line.clock.advance(0)
    assert line.application.calls[-1][0] == "disconnected"
    assert len(logged_failures.flush(ZeroDivisionError)) == 2
    assert line.side.shared.counters["handlers_failed"] == 2


def test_who_waits_for_the_end_goes_on_before_it_is_cancelled(server_line: Any) -> None:
    """A handler that closes its own session and waits for that is not cancelled while it does what is left to do at once."""
    line = server_line()
    line.shake()
    done: list[str] = []

    async def leave(session: Any, message: Any) -> None:
        await session.disconnect()
        done.append("left")

    line.application.on_message = leave
    line.say(b"1")
    line.lose()
    line.clock.advance(0)
    assert done == ["left"]
    assert line.application.calls[-1][0] == "disconnected"


@pytest.mark.parametrize("way", ["done", "fails", "never"])
def test_the_end_leaves_connected_as_long_as_a_close_may_take(way: str, server_line: Any, logged_failures: Any) -> None:
    """What was sent before the peer left waits for connected(), and is handled only if that comes to a good end in time."""
    line = server_line(timeouts=Timeouts(handler=math.inf, close=5))
    ready: Deferred[None] = Deferred()
    line.application.on_connected = lambda session: ready
    line.shake()
    line.say(b"1")
    line.lose()
    line.clock.advance(4.9)
    assert line.application.calls == [("connected",)]
    if way == "done":
        ready.callback(None)
    elif way == "fails":
        ready.errback(ZeroDivisionError())
    else:
        line.clock.advance(0.2)
    assert line.application.contents == ([b"1"] if way == "done" else [])
    assert line.application.calls[-1][0] == ("disconnected" if way == "done" else "connected")
    assert len(logged_failures.flush(ZeroDivisionError)) == (way == "fails")
    assert line.clock.getDelayedCalls() == []


def test_disconnected_has_the_time_of_a_handler(server_line: Any, logged_failures: Any) -> None:
    """What disconnected() returns is not cancelled for the end it tells of, but after timeouts.handler."""
    line = server_line(timeouts=Timeouts(handler=30))
    router = Router(Role.SERVER)
    line.side.application = router
    farewell: Deferred[None] = Deferred()
    router.set_callback("on_disconnect", lambda session: farewell)
    session = line.shake()
    line.lose()
    idle = outcome(session.when_idle())
    line.clock.advance(29)
    assert (farewell.called, idle) == (False, [])
    line.clock.advance(1.1)
    assert (farewell.called, idle) == (True, [None])
    assert len(logged_failures.flush(CancelledError)) == 1


def test_on_disconnect_has_its_time_whatever_was_handled_before(server_line: Any, logged_failures: Any) -> None:
    """A handler that was done in time leaves nothing behind: ``disconnected`` is given up ``timeouts.handler`` after it began."""
    line = server_line(timeouts=Timeouts(handler=30))
    line.shake()
    first: Deferred[None] = Deferred()
    line.application.on_message = lambda *_: first
    line.say(b"1")
    first.callback(None)
    line.clock.advance(10)
    without_end: Deferred[None] = Deferred()
    line.application.disconnected = lambda *_: without_end
    line.lose()
    line.clock.advance(31)
    assert without_end.called
    assert len(logged_failures.flush(CancelledError)) == 1
    assert line.clock.getDelayedCalls() == []


def test_a_session_that_drains_inside_a_handler_waits_for_it(server_line: Any) -> None:
    """drain() called by a handler, such as one that stops the server, lets that handler answer first."""
    line = server_line()
    session = line.shake()
    later: Deferred[bytes] = Deferred()
    drained: list[Any] = []

    def stop(session: Any, message: Any) -> Any:
        drained.append(outcome(session.drain()))
        return later

    line.application.on_message = stop
    line.say(b"stop")
    for _ in range(3):
        line.clock.advance(0.3)
    assert session.closed is None
    later.callback(b"bye")
    assert line.answers() == [b"bye"]
    assert session.closed is not None
    line.lose()
    line.clock.advance(0)
    assert drained == [[None]]


def test_when_idle_waits_for_what_was_received(server_line: Any) -> None:
    """when_idle() fires once every message received so far is handled, also for a closed session."""
    line = server_line()
    session = line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"1", b"2")
    first, second = session.when_idle(), session.when_idle()
    results = [outcome(first), outcome(second)]
    first.cancel()
    slow.running[0].callback(b"")
    assert results[1] == []
    slow.running[1].callback(b"")
    assert results[1] == [None]
    assert outcome(session.when_idle()) == [None]


def test_answers_that_come_later_leave_at_once(server_line: Any) -> None:
    """An answer made outside of a read is written when it is made."""
    line = server_line()
    line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"1")
    slow.running[0].callback(b"later")
    assert line.transport.writes == 1
    assert line.answers() == [b"later"]


# Pausing.


def test_reading_pauses_while_too_much_waits(server_line: Any) -> None:
    """Reading pauses at limits.inflight messages that wait or are handled, not before, and resumes at half of it."""
    line = server_line(limits=Limits(inflight=4))
    line.shake()
    line.application.on_message = slow = Slow()
    line.say(*[b"x"] * 3)
    assert line.transport.producerState == "producing"
    line.say(b"x", b"x")
    assert line.transport.producerState == "paused"
    slow.running[0].callback(None)
    assert line.transport.producerState == "paused"
    slow.running[1].callback(None)
    slow.running[2].callback(None)
    assert line.transport.producerState == "producing"
    slow.running[3].callback(None)
    slow.running[4].callback(None)
    assert len(line.application.contents) == 5


def test_waiting_bytes_count_as_well(server_line: Any) -> None:
    """Reading pauses when the waiting content reaches max_message_size, however few messages it is."""
    line = server_line(max_message_size=1000)
    line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"x" * 900, b"x" * 900)
    assert line.transport.producerState == "producing"
    line.say(b"x" * 900)
    assert line.transport.producerState == "paused"
    for number in range(3):
        slow.running[number].callback(None)
    assert line.transport.producerState == "producing"


def test_an_own_request_may_be_answered_through_a_pause(server_line: Any) -> None:
    """A handler that asks the peer while reading is paused gets its reply: more may wait meanwhile."""
    line = server_line(limits=Limits(inflight=2))
    session = line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"x", b"x", b"x")
    assert line.transport.producerState == "paused"
    reply = outcome(session.send_and_wait(line.chat, b"?"))
    assert line.transport.producerState == "producing"
    (question,) = [event for event in line.take() if isinstance(event, Response)]
    line.say(b"!", request_id=question.request_id)
    assert reply[0].content == b"!"
    assert slow.running


def test_an_answer_given_up_by_who_waits_is_cancelled(server_line: Any, logged_failures: Any) -> None:
    """Cancelling what answer() returned cancels the handler's Deferred."""
    line = server_line()
    session = line.shake()
    kept: list[Any] = []
    line.application.on_message = lambda session, message: kept.append(message)
    line.say(b"?")
    result: Deferred[Any] = Deferred()
    done = session.reply(kept[0], result)
    done.cancel()
    logged_failures.flush(CancelledError)
    assert outcome(done) == [None]
    assert result.called


# One Deferred for several messages.


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_one_deferred_answers_every_message_that_it_is_returned_for(when: str, server_line: Any) -> None:
    """Messages for which a handler returns the same Deferred are all answered, on one connection and on several."""
    router, shared = Router(Role.SERVER), Deferred()
    lines = [server_line(application=router) for _ in range(2)]
    router.register_route(lines[0].chat, lambda session, message: shared, concurrent=True)
    router.register_route(lines[0].news, lambda session, message: shared)
    for line in lines:
        line.shake()
    if when == "before":
        shared.callback(b"for all")
    lines[0].say(b"1", b"2", b"3")
    lines[0].say(b"4", b"5", message_type=lines[0].news)
    if when == "between":
        shared.callback(b"for all")
    lines[1].say(b"1", b"2", b"3")
    if when == "after":
        shared.callback(b"for all")
    assert [line.answers() for line in lines] == [[b"for all"] * 5, [b"for all"] * 3]
    assert outcome(shared) == [b"for all"]


def test_one_deferred_that_fails_fails_every_message(server_line: Any, logged_failures: Any) -> None:
    """Its failure is told for each message, also for one that comes later, and is nobody's unhandled error."""
    router, shared = Router(Role.SERVER), [Deferred()]
    line = server_line("1.6.3", application=router)
    router.register_route(line.chat, lambda session, message: shared[0], concurrent=True)
    line.shake()
    for request_id in (1, 2):
        line.say(b"", request_id=request_id)
    shared[0].errback(ZeroDivisionError())
    line.say(b"", request_id=3)
    assert line.take() == [RequestFailed(1, b""), RequestFailed(2, b""), RequestFailed(3, b"")]
    shared.clear()
    gc.collect()
    assert [event["type"] for event in logged_failures.flush(ZeroDivisionError)] == ["chat"] * 3


def test_a_message_given_up_leaves_the_deferred_to_the_others(server_line: Any, logged_failures: Any) -> None:
    """When one message's time is over, the Deferred goes on for the others; with the last of them it is cancelled."""
    router, cancelled = Router(Role.SERVER), []
    shared: Deferred[Any] = Deferred(cancelled.append)
    lines = [server_line("1.6.3", application=router, timeouts=Timeouts(handler=30, ping_interval=1000)) for _ in range(2)]
    router.register_route(lines[0].chat, lambda session, message: shared)
    for line in lines:
        line.shake()
    lines[0].say(b"", request_id=1)
    lines[0].clock.advance(20)
    lines[1].say(b"", request_id=2)
    lines[0].clock.advance(10.1)
    assert lines[0].take() == [RequestFailed(1, b"")]
    assert cancelled == []
    assert lines[1].take() == []
    lines[1].clock.advance(30.1)
    assert lines[1].take() == [RequestFailed(2, b"")]
    assert cancelled == [shared]
    assert len(logged_failures.flush(CancelledError)) == 2


def test_what_others_do_with_the_deferred_is_theirs(server_line: Any) -> None:
    """The program may go on to use a Deferred that it has returned: it gets the result as if nobody had looked at it."""
    line = server_line()
    line.shake()
    shared: Deferred[Any] = Deferred()
    line.application.on_message = lambda session, message: shared
    line.say(b"?")
    seen = outcome(shared)
    shared.callback(b"both")
    assert line.answers() == [b"both"]
    assert seen == [b"both"]
