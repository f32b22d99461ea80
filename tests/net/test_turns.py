"""Turns: order, handlers that wait, handlers that fail, the end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from veltix_tx.app.router import Router
from veltix_tx.errors import RemoteError
from veltix_tx.settings import Limits
from veltix_tx.wire.connection import Declined
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import Request, Response

OLD = ["1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0"]


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


class Slow:
    """Handlers that a test finishes one by one; ``style`` says what they return."""

    def __init__(self, style: str = "deferred") -> None:
        self.style = style
        self.running: list[Deferred[Any]] = []

    def __call__(self, session: Any, message: Any) -> Any:
        """Start one more."""
        deferred: Deferred[Any] = Deferred()
        self.running.append(deferred)

        async def coroutine() -> Any:
            return await deferred

        return deferred if self.style == "deferred" else coroutine()


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
    assert line.take() == [Declined(9, b"")]


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


@pytest.mark.parametrize("which", ["connected", "disconnected"])
@pytest.mark.parametrize("how", ["raises", "errbacks"])
def test_failing_callbacks_are_logged(which: str, how: str, server_line: Any, logged_failures: Any) -> None:
    """connected() and disconnected() may fail like a handler: logged, the rest goes on."""
    line = server_line()

    def broken(*_: Any) -> Any:
        if how == "raises":
            raise ZeroDivisionError
        return fail(ZeroDivisionError())

    setattr(line.application, which, broken)
    session = line.shake()
    line.say(b"on")
    assert line.application.contents == [b"on"]
    closed = outcome(session.when_closed())
    line.lose()
    assert closed == [session.closed]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


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
    assert line.take() == [Declined(1, b"")]


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
    """What arrived before the end is handled in order, then comes disconnected(), last; answers go nowhere."""
    line = server_line()
    session = line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"1", b"2", b"3")
    closed = outcome(session.when_closed())
    line.lose()
    assert len(closed) == 1
    writes = line.transport.writes
    for number in range(3):
        assert [call[0] for call in line.application.calls].count("disconnected") == 0
        slow.running[number].callback(b"answer")
    assert line.application.contents == [b"1", b"2", b"3"]
    assert line.application.calls[-1] == ("disconnected", session.closed)
    assert line.transport.writes == writes


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
