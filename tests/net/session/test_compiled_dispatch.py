"""Misuse of the compiled dispatch is an error, never a crash. Collected where it was built."""

from __future__ import annotations

import gc
import sys
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from veltix_tx.net.session._dispatch import call_handlers
from veltix_tx.net.session.dispatcher import Mode
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response

TYPES = MessageRegistry()
FAST = Mode.FAST


def messages(*codes: int) -> list[Any]:
    """Messages of these types."""
    return [Response(TYPES.get(code) or MessageType(code, registry=TYPES), b"%d" % at, at, 0, 0) for at, code in enumerate(codes)]


def test_compiled_calls_go_to_each_messages_handler_in_order() -> None:
    """That of its type, looked up for each, so that a handler may change the routes; else that of the others."""
    seen: list[Any] = []
    handlers = {300: lambda *given: seen.append((300, *given)), 301: lambda *given: handlers.pop(300) and None}
    events = messages(300, 302, 301, 300)
    assert (
        call_handlers(
            events, "session", handlers, lambda *given: seen.append((0, *given)), SimpleNamespace(mode=FAST), Response, FAST
        )
        == 4
    )
    assert seen == [(300, "session", events[0]), (0, "session", events[1]), (0, "session", events[3])]


def test_compiled_calls_stop_where_python_goes_on() -> None:
    """In front of an event that is no message, and as soon as the dispatcher is in another mode."""
    turns = SimpleNamespace(mode=FAST)
    for stop in (object(), None):
        assert call_handlers([*messages(300, 300), stop, *messages(300)], None, {}, lambda *_: None, turns, Response, FAST) == 2
    assert call_handlers([], None, {}, lambda *_: None, turns, Response, FAST) == 0

    def change(_: object, message: Response) -> None:
        turns.mode = FAST if message.request_id < 2 else Mode.CHECKED

    assert call_handlers(messages(*[300] * 5), None, {}, change, turns, Response, FAST) == 3
    assert call_handlers(messages(300), None, {}, change, turns, Response, FAST) == 0
    with pytest.raises(AttributeError, match="mode"):
        call_handlers(messages(300), None, {}, change, object(), Response, FAST)


def test_compiled_calls_tell_what_a_handler_returned_or_raised() -> None:
    """Behind the message it was called with; an error has its traceback."""
    turns = SimpleNamespace(mode=FAST)
    returned = call_handlers(messages(300, 301, 300), None, {301: lambda *_: b"answer"}, lambda *_: None, turns, Response, FAST)
    assert returned == (2, b"answer", None)

    def fails(*_: object) -> None:
        raise KeyboardInterrupt("stop")

    handled, result, error = call_handlers(messages(300, 301), None, {300: fails}, lambda *_: None, turns, Response, FAST)
    assert (handled, result, type(error)) == (1, None, KeyboardInterrupt)
    assert traceback.extract_tb(error.__traceback__)[-1].name == "fails"
    assert sys.exc_info()[0] is None


def test_compiled_calls_find_attributes_wherever_a_class_keeps_them() -> None:
    """A message's type and a dispatcher's mode, in a slot, in a dict, or made by a property; a slot that is empty is an error."""
    (plain,), seen = messages(300), []
    given = [plain.type]

    class Keeps(Response):
        @property
        def type(self) -> MessageType:  # type: ignore[override]
            (found,) = given or (self.missing,)  # type: ignore[attr-defined]
            return found

    class Slotted:
        __slots__ = ("mode",)

    kept, turns = Keeps(plain.type, b"", 0, 0, 0), Slotted()
    turns.mode = FAST  # type: ignore[attr-defined]
    events = [plain, kept, plain, plain, kept, kept]
    handlers = {300: lambda _, message: seen.append(message)}
    assert call_handlers(events, None, handlers, lambda *_: None, turns, Response, FAST) == 6
    assert seen == events
    given.clear()
    for lacks, dispatcher in ((kept, turns), (plain, Slotted())):
        with pytest.raises(AttributeError):
            call_handlers([lacks], None, handlers, lambda *_: None, dispatcher, Response, FAST)


def test_compiled_calls_survive_a_list_that_changes() -> None:
    """A handler that gets hold of the events themselves and empties them ends the calls."""
    events = messages(*[300] * 10)
    seen: list[Any] = []

    def empties(_: object, message: Response) -> None:
        seen.append(message)
        if len(seen) == 3:
            events.clear()

    assert call_handlers(events, None, {}, empties, SimpleNamespace(mode=FAST), Response, FAST) == 3
    assert [message.request_id for message in seen] == [0, 1, 2]


def test_compiled_calls_keep_nothing() -> None:
    """Neither messages nor results nor handlers are kept, however a call ends."""

    def returns(*_: object) -> object:
        return object()

    def raises(*_: object) -> None:
        raise ValueError

    turns = SimpleNamespace(mode=FAST)
    for handler in (returns, raises, lambda *_: None):
        events = messages(300)
        before = [sys.getrefcount(each) for each in (handler, events[0], turns)]
        for _ in range(50):
            call_handlers(events, None, {300: handler}, handler, turns, Response, FAST)
        gc.collect()
        assert [sys.getrefcount(each) for each in (handler, events[0], turns)] == before


def test_compiled_calls_take_nothing_else() -> None:
    """Wrong arguments are errors."""
    right: list[Any] = [[], None, {}, print, SimpleNamespace(mode=FAST), Response, FAST]
    for at, wrong in ((0, ()), (2, SimpleNamespace()), (5, "Response")):
        with pytest.raises(TypeError):
            call_handlers(*right[:at], wrong, *right[at + 1 :])
    for count in (0, 6):
        with pytest.raises(TypeError):
            call_handlers(*right[:count])
