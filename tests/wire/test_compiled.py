"""Messages made in one call by compiled code: the same as Python's, and misuse is an error. Collected where it was built."""

from __future__ import annotations

import gc
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.limits import Limits
from veltix_tx.wire import compiled
from veltix_tx.wire._messages import Maker
from veltix_tx.wire.interface import Role, Wire, WireContext
from veltix_tx.wire.messages import TEXT, MessageRegistry, Response
from veltix_tx.wire.plain.connection import TextMessage
from veltix_tx.wire.plain.options import Lines

WIRES = [Lines(), Lines(text=False), Lines(encoding="latin-1"), Lines(errors="replace"), Lines(encoding="ascii")]


CONTEXT = WireContext(lambda: 5, lambda: 5, lambda bits: 0, MessageRegistry(), Limits(), max_message_size=1000)


def received(wire: Wire, data: bytes, *, used: bool) -> list[Any]:
    """What a connection makes of these bytes, with compiled code or without, as values."""
    before = compiled.are_used()
    compiled.use(used)
    try:
        connection: Any = wire.connect(Role.SERVER, CONTEXT, round_trip=0, encrypted=False)
    finally:
        compiled.use(before)
    connection.start()
    assert connection.compiled == (used and compiled._maker is not None and wire != Lines(encoding="latin-1"))
    return [(type(event), shown(event)) for event in connection.receive_data(data, 5)]


def shown(event: object) -> object:
    """Return the fields of an event."""
    return [getattr(event, each.name, "unset") for each in fields(event)] + [getattr(event, "value", None)]  # type: ignore[arg-type]


@pytest.mark.parametrize("wire", WIRES, ids=repr)
@given(st.lists(st.sampled_from([b"", b"a", b"a line", "gr\u00fc\u00df".encode(), b"\xff", b"\0", b"\r", b"x" * 300]), max_size=20))
def test_compiled_code_makes_the_messages_that_python_makes(wire: Wire, lines: list[bytes]) -> None:
    """Class, fields and values are the same for every content: text, ASCII or not, bytes, and what is rejected."""
    data = b"".join(line + b"\n" for line in lines)
    assert received(wire, data, used=True) == received(wire, data, used=False)


def test_what_is_no_content_is_left_to_python() -> None:
    """None in place of a content, or a byte beyond ASCII where it has to be, makes no message at all."""
    fixed = {"type": TEXT, "request_id": 0, "digest": 0, "timestamp": None}
    texts, contents = Maker(TextMessage, fixed, True), Maker(Response, fixed, False)
    assert [each.content for each in texts([b"a", b""], 1) or ()] == [b"a", b""]
    assert texts([b"a", b"\x80"], 1) is texts([b"a", None], 1) is contents([None], 1) is None
    assert len(contents([b"\x80"], 1) or ()) == 1
    assert contents([], 1) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (Response,),
        (Response, {"nothing": 1}, False),
        (Response, {"value": 1}, False),
        (Response, {1: 1}, False),
        (int, {}, False),
    ],
    ids=repr,
)
def test_a_maker_is_made_of_slots(arguments: Any) -> None:
    """A name that is no slot of the class is an error when the maker is made."""
    with pytest.raises((TypeError, AttributeError)):
        Maker(*arguments)


@pytest.mark.parametrize("arguments", [(), ([],), ((b"a",), 1), ([b"a"], 1, 2)], ids=repr)
def test_a_maker_is_called_with_a_list_and_a_time(arguments: Any) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError):
        Maker(Response, {}, False)(*arguments)


def test_a_maker_holds_what_it_gives_and_no_more() -> None:
    """Its messages live on without it, and a cycle through what it holds is found by the collector."""
    kept: list[Any] = []
    maker = Maker(Response, {"digest": kept}, False)
    kept.append(maker)
    (message,) = maker([b"a"], 7) or ()
    assert gc.is_tracked(maker)
    assert any(each is maker for each in gc.get_referrers(kept))
    del maker
    kept.clear()
    assert (message.content, message.received_at, message.digest) == (b"a", 7, [])
    with pytest.raises(AttributeError):
        _ = message.timestamp
