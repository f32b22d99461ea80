"""Lines of the log about handlers that block or fail, and how many of them a peer can cause."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from veltix_tx.app.router import Router
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.wire.interface import Role


def blocking(line: Any, seconds: float) -> Any:
    """Make a handler that takes so long by the line's clock, and answers."""

    def on_message(session: Any, message: Any) -> bytes:
        line.clock.rightNow += seconds if message.content == b"slow" else 0.001
        return b"done"

    return on_message


def warnings(log_events: Any) -> list[str]:
    """Return what was said of handlers that block."""
    return [text for text in map(formatEvent, log_events) if "blocked" in text]


@pytest.mark.parametrize(("seconds", "expected"), [(0.09, 0), (0.11, 1)])
def test_a_handler_that_blocks_is_named(seconds: float, expected: int, server_line: Any, log_events: Any) -> None:
    """One that takes longer than timeouts.slow_handler is named, with its type and how long it took."""
    line = server_line()
    session = line.shake()
    line.application.on_message = blocking(line, seconds)
    line.say(b"slow")
    said = f"the handler Recorder.received of chat blocked everything for 0.11 s, for {session}"
    assert warnings(log_events) == [said] * expected
    assert line.answers() == [b"done"]


def test_a_coroutine_that_blocks_before_it_waits_is_named(server_line: Any, log_events: Any) -> None:
    """What a coroutine does before its first await blocks as a plain function does; its waiting does not."""
    line = server_line()
    line.shake()
    gate: Deferred[bytes] = Deferred()

    async def on_message(session: Any, message: Any) -> bytes:
        line.clock.rightNow += 0.2 if message.content == b"slow" else 0
        return await gate

    line.application.on_message = on_message
    line.say(b"slow")
    line.clock.advance(10)
    gate.callback(b"done")
    assert len(warnings(log_events)) == 1
    line.say(b"quick")
    assert len(warnings(log_events)) == 1


def test_one_of_many_messages_is_named_from_the_second_time_on(server_line: Any, log_events: Any) -> None:
    """The first read that takes too long is named as a whole, its handlers with it; from then on each message by itself."""
    router = Router(Role.SERVER)
    line = server_line(application=router)

    def on_chat(session: Any, message: Any) -> None:
        line.clock.rightNow += 0.2

    def on_news(session: Any, message: Any) -> None:
        """Quick."""

    router.register_route(line.chat, on_chat)
    router.register_route(line.news, on_news)
    line.shake()
    for _ in range(2):
        line.far.send(line.news, b"")
        line.far.send(line.chat, b"")
        line.deliver()
    first, second = warnings(log_events)
    assert first.startswith("handling 2 messages (the handler ")
    assert "on_news of news, the handler " in first
    assert "on_chat of chat" in second
    assert "on_news" not in second


def test_messages_that_waited_are_timed_as_well(server_line: Any, log_events: Any) -> None:
    """A handler that blocks when its turn comes later is named."""
    line = server_line()
    line.shake()
    gate: Deferred[None] = Deferred()
    block = blocking(line, 0.3)
    line.application.on_message = lambda session, message: gate if message.content == b"gate" else block(session, message)
    line.say(b"gate", b"slow")
    gate.callback(None)
    assert len(warnings(log_events)) == 1


def test_a_connected_that_blocks_is_named(server_line: Any, log_events: Any) -> None:
    """connected() is timed by itself."""
    line = server_line()

    def connected(session: Any) -> None:
        line.clock.rightNow += 1

    line.application.on_connected = connected
    line.shake()
    assert len(warnings(log_events)) == 1
    assert "connected blocked everything for 1.00 s" in warnings(log_events)[0]


def test_no_warning_where_none_is_wanted(server_line: Any, log_events: Any) -> None:
    """With math.inf a handler may block as long as it likes."""
    line = server_line(timeouts=Timeouts(slow_handler=math.inf))
    line.shake()
    line.application.on_message = blocking(line, 20)
    line.say(b"slow")
    assert warnings(log_events) == []


# How much is logged.


@pytest.mark.parametrize("how", ["raises", "blocks"])
def test_a_peer_cannot_flood_the_log_with_a_handlers_failures(
    how: str, server_line: Any, logged_failures: Any, log_events: Any
) -> None:
    """However often a peer makes a handler fail or block, limits.log_burst lines come of it; each request is answered."""
    line = server_line("1.6.3", limits=Limits(log_lines=1, log_burst=5))
    line.shake()
    line.application.on_message = (lambda session, message: 1 / 0) if how == "raises" else blocking(line, 0.10001)
    for _ in range(20):
        line.say(*[b"slow"], request_id=9)
    assert len(logged_failures.flush(ZeroDivisionError)) == (5 if how == "raises" else 0)
    if how == "blocks":
        assert 5 <= len(warnings(log_events)) <= 7
    assert len(line.take()) == 20


def test_what_a_peer_said_is_not_logged(server_line: Any, logged_failures: Any, log_events: Any) -> None:
    """Junk that a handler returns is logged as its kind, not as what it holds."""
    line = server_line("1.6.3")
    line.shake()
    line.application.on_message = lambda session, message: message.content.decode()
    line.say(b"my password\r\n\x1b[31m")
    (event,) = logged_failures.flush(TypeError)
    assert "bytes, not str" in event["log_failure"].getTraceback()
    assert "password" not in formatEvent(event) + event["log_failure"].getTraceback()


def test_a_handler_whose_peer_has_left_has_not_failed(server_line: Any, log_events: list[Any]) -> None:
    """What waited for its own peer ends with SessionClosed: that is neither counted nor logged."""
    line = server_line()
    session = line.shake()

    async def ask(session: Any, message: Any) -> bytes:
        await session.send_and_wait(line.chat, b"?")
        return b"never"

    line.application.on_message = ask
    line.say(b"1")
    line.lose()
    assert session.closed is not None
    assert line.side.shared.counters["handlers_failed"] == 0
    assert not [event for event in log_events if "failed" in str(event.get("log_format"))]
