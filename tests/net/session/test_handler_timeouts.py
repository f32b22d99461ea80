"""Handlers that are never done: each has its time, then it is cancelled."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import formatEvent

from tests.support.handlers import Slow, deaf
from veltix_tx.app.router import Router
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.limits import Timeouts
from veltix_tx.wire.events import RequestFailed
from veltix_tx.wire.interface import Role


@pytest.mark.parametrize("style", ["deferred", "coroutine"])
def test_a_handler_that_is_never_done_is_cancelled(style: str, server_line: Any, logged_failures: Any) -> None:
    """After timeouts.handler it is cancelled and logged where it was, the peer is told, and the next message is handled."""
    line = server_line("1.6.3", timeouts=Timeouts(handler=30))
    line.shake()
    line.application.on_message = slow = Slow(style)
    line.say(b"1", b"2", request_id=9)
    line.clock.advance(29.9)
    assert line.application.contents == [b"1"]
    line.clock.advance(0.2)
    (event,) = logged_failures.flush(CancelledError)
    assert "was not done after 30 s" in formatEvent(event)
    assert "the handler Recorder.received of chat" in formatEvent(event)
    assert ("await deferred" in event["log_failure"].getTraceback()) is (style == "coroutine")
    assert line.take() == [RequestFailed(9, b"")]
    assert line.application.contents == [b"1", b"2"]
    slow.running[1].callback(b"fine")
    assert line.answers() == [b"fine"]


def test_a_handler_that_ignores_its_cancellation_holds_up_nothing(server_line: Any, logged_failures: Any, log_events: Any) -> None:
    """It is given up all the same; what it brings later is dropped, counted and logged, once each."""
    line = server_line("1.6.3", timeouts=Timeouts(ping_interval=1000))
    session = line.shake()
    running = [deaf(), deaf()]
    line.application.on_message = lambda session, message: running[len(line.application.contents) - 1]
    line.say(b"1", b"2", request_id=9)
    line.clock.advance(31)
    line.clock.advance(31)
    assert len(logged_failures.flush()) == 2
    assert line.take() == [RequestFailed(9, b""), RequestFailed(9, b"")]
    running[0].callback(b"late")
    running[1].errback(ZeroDivisionError())
    assert line.transport.value() == b""
    assert session._dispatcher._handler_log.late_results == 2
    assert [formatEvent(event) for event in log_events].count(
        f"a handler that had been given up is done after all, for {session}"
    ) == 1
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_canceller_that_raises_is_the_handlers_failure(server_line: Any, logged_failures: Any) -> None:
    """What the user's canceller raises is logged, and the next message is handled."""
    line = server_line()
    line.shake()
    line.application.on_message = lambda session, message: Deferred(lambda _: 1 / 0) if message.content == b"1" else b"fine"
    line.say(b"1", b"2")
    line.clock.advance(31)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert line.answers() == [b"fine"]


def test_handlers_have_no_end_where_none_is_wanted(server_line: Any) -> None:
    """With math.inf nothing is cancelled, and no timer is set."""
    line = server_line(timeouts=Timeouts(handler=math.inf, ping_interval=10**6))
    line.shake()
    line.application.on_message = slow = Slow()
    line.say(b"1")
    assert len(line.clock.getDelayedCalls()) == 1
    line.clock.advance(10**5)
    slow.running[0].callback(b"at last")
    assert line.answers() == [b"at last"]


def test_one_timer_serves_all_handlers(server_line: Any, logged_failures: Any) -> None:
    """However many handlers of one connection run, they have one timer, and each has the whole of its time."""
    router = Router(Role.SERVER)
    line = server_line("1.6.3", application=router)
    router.register_route(line.chat, lambda session, message: Deferred(), concurrent=True)
    router.register_route(line.news, lambda session, message: Deferred(), concurrent=True, timeout=2)
    line.shake()
    before = len(line.clock.getDelayedCalls())
    for number in range(10):
        line.say(b"", request_id=number)
        line.clock.advance(1)
    line.say(b"", request_id=99, message_type=line.news)
    assert len(line.clock.getDelayedCalls()) == before + 1
    line.clock.advance(2.01)
    assert line.take() == [RequestFailed(99, b"")]
    declined = []
    for _ in range(40):
        line.clock.advance(0.5)
        declined += line.take()
    line.clock.advance(10)
    assert declined + line.take() == [RequestFailed(number, b"") for number in range(10)]
    logged_failures.flush(CancelledError)


def test_connected_is_bounded_too(server_line: Any, logged_failures: Any) -> None:
    """A connected() that is never done is cancelled when a handler would be, and the session is closed."""
    line = server_line()
    line.application.on_connected = lambda session: Deferred()
    session = line.shake()
    line.say(b"1")
    line.clock.advance(31)
    line.lose()
    assert line.application.calls == [("connected",)]
    assert session.closed.reason is DisconnectReason.REJECTED
    assert str(session.closed) == "on_connect refused the session: on_connect was not done after 30 s (timeouts.handler)"
    (event,) = logged_failures.flush(CancelledError)
    assert event["step"] == "connected"


@pytest.mark.parametrize("when", ["at once", "late"])
def test_a_connected_that_ignores_its_cancellation_admits_nobody(when: str, server_line: Any, logged_failures: Any) -> None:
    """One that ends well when it is cancelled, or later, is too late: the session stays closed, and its end is not told."""
    line = server_line()
    moment: Deferred[None] = Deferred()

    async def stubborn(session: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            await (succeed(None) if when == "at once" else moment)

    line.application.on_connected = stubborn
    session = line.shake()
    line.clock.advance(31)
    moment.callback(None)
    line.lose()
    assert len(logged_failures.flush()) == 1
    assert session.closed.reason is DisconnectReason.REJECTED
    assert line.application.calls == [("connected",)]
    assert not session.admitted


def test_a_connected_that_is_cut_off_admits_nobody(server_line: Any, logged_failures: Any) -> None:
    """A stop that is at its end gives up what still runs: a session is not let in by that."""
    line = server_line()
    line.application.on_connected = lambda session: Deferred()
    session = line.shake()
    session._cancel_handlers()
    line.lose()
    assert (session.closed.reason, session.admitted) == (DisconnectReason.MANUAL, False)
    assert line.application.calls == [("connected",)]
    assert logged_failures.flush() == []
