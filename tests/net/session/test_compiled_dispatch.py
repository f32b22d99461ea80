"""Misuse of the compiled dispatch is an error, never a crash. Collected where it was built."""

from __future__ import annotations

import gc
import sys
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from veltix_tx.net.session._dispatch import call_each
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response

TYPES = MessageRegistry()


def messages(*codes: int) -> list[Any]:
    """Messages of these types."""
    return [Response(TYPES.get(code) or MessageType(code, registry=TYPES), b"%d" % at, at, 0, 0) for at, code in enumerate(codes)]


def test_compiled_calls_go_to_each_messages_handler_in_order() -> None:
    """That of its type, looked up for each, so that a handler may change the routes; else that of the others."""
    seen: list[Any] = []
    handlers = {300: lambda *given: seen.append((300, *given)), 301: lambda *given: handlers.pop(300) and None}
    events = messages(300, 302, 301, 300)
    assert (
        call_each(events, "session", handlers, lambda *given: seen.append((0, *given)), SimpleNamespace(fast_path=True), Response)
        == 4
    )
    assert seen == [(300, "session", events[0]), (0, "session", events[1]), (0, "session", events[3])]


def test_compiled_calls_stop_where_python_goes_on() -> None:
    """In front of an event that is no message, and as soon as ``plain`` is not True."""
    turns = SimpleNamespace(fast_path=True)
    for stop in (object(), None):
        assert call_each([*messages(300, 300), stop, *messages(300)], None, {}, lambda *_: None, turns, Response) == 2
    assert call_each([], None, {}, lambda *_: None, turns, Response) == 0

    def change(_: object, message: Response) -> None:
        turns.fast_path = message.request_id < 2

    assert call_each(messages(*[300] * 5), None, {}, change, turns, Response) == 3
    assert call_each(messages(300), None, {}, change, turns, Response) == 0
    with pytest.raises(AttributeError, match="fast_path"):
        call_each(messages(300), None, {}, change, object(), Response)


def test_compiled_calls_tell_what_a_handler_returned_or_raised() -> None:
    """Behind the message it was called with; an error has its traceback."""
    turns = SimpleNamespace(fast_path=True)
    returned = call_each(messages(300, 301, 300), None, {301: lambda *_: b"answer"}, lambda *_: None, turns, Response)
    assert returned == (2, b"answer", None)

    def fails(*_: object) -> None:
        raise KeyboardInterrupt("stop")

    handled, result, error = call_each(messages(300, 301), None, {300: fails}, lambda *_: None, turns, Response)
    assert (handled, result, type(error)) == (1, None, KeyboardInterrupt)
    assert traceback.extract_tb(error.__traceback__)[-1].name == "fails"
    assert sys.exc_info()[0] is None


def test_compiled_calls_survive_a_list_that_changes() -> None:
    """A handler that gets hold of the events themselves and empties them ends the calls."""
    events = messages(*[300] * 10)
    seen: list[Any] = []

    def empties(_: object, message: Response) -> None:
        seen.append(message)
        if len(seen) == 3:
            events.clear()

    assert call_each(events, None, {}, empties, SimpleNamespace(fast_path=True), Response) == 3
    assert [message.request_id for message in seen] == [0, 1, 2]


def test_compiled_calls_keep_nothing() -> None:
    """Neither messages nor results nor handlers are kept, however a call ends."""

    def returns(*_: object) -> object:
        return object()

    def raises(*_: object) -> None:
        raise ValueError

    turns = SimpleNamespace(fast_path=True)
    for handler in (returns, raises, lambda *_: None):
        events = messages(300)
        before = [sys.getrefcount(each) for each in (handler, events[0], turns)]
        for _ in range(50):
            call_each(events, None, {300: handler}, handler, turns, Response)
        gc.collect()
        assert [sys.getrefcount(each) for each in (handler, events[0], turns)] == before


def test_compiled_calls_take_nothing_else() -> None:
    """Wrong arguments are errors."""
    right: list[Any] = [[], None, {}, print, SimpleNamespace(fast_path=True), Response]
    for at, wrong in ((0, ()), (2, SimpleNamespace()), (5, "Response")):
        with pytest.raises(TypeError):
            call_each(*right[:at], wrong, *right[at + 1 :])
    for count in (0, 5):
        with pytest.raises(TypeError):
            call_each(*right[:count])
