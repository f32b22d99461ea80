"""Options of the plain wires: names, defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from veltix_tx.errors import SettingsError
from veltix_tx.limits import Limits
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.plain.connection import PlainConnection
from veltix_tx.wire.plain.options import Delimited, EndOfStream, Fixed, Lines, PlainWire, Prefixed, Raw
from veltix_tx.wire.registry import find_wire

CONTEXT = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(), 10_000)


def begun(wire: PlainWire, role: Role = Role.SERVER) -> PlainConnection:
    """A connection that has begun."""
    connection = wire.connect(role, CONTEXT, round_trip=0.0, encrypted=False)
    connection.start()
    return connection


WRONG: list[tuple[type[PlainWire], dict[str, Any]]] = [
    (Lines, {"separator": b""}),
    (Lines, {"separator": "\n"}),
    (Lines, {"separator": b"x" * 17}),
    (Lines, {"max_line": 0}),
    (Lines, {"max_line": True}),
    (Lines, {"keep": "yes"}),
    (Lines, {"text": 1}),
    (Lines, {"encoding": "utf-9"}),
    (Lines, {"encoding": None}),
    (Lines, {"encoding": "rot13"}),
    (Lines, {"errors": "lenient"}),
    (Lines, {"errors": "xmlcharrefreplace"}),  # for what is sent only
    (Lines, {"type": "text"}),
    (Lines, {"replies": "in order"}),
    (Fixed, {"length": 0}),
    (Fixed, {"length": 2**32}),
    (Fixed, {"length": 5, "pad": b""}),
    (Fixed, {"length": 5, "pad": " "}),
    (Prefixed, {"prefix": 3}),
    (Prefixed, {"prefix": True}),
    (Prefixed, {"byteorder": "middle"}),
    (Delimited, {"start": b"ab"}),
    (Delimited, {"end": b"\x02"}),
    (Delimited, {"escape": b"\x02"}),
    (Delimited, {"start": b"x", "end": b"x", "escape": None}),
    (Raw, {"text": None}),
    (EndOfStream, {"errors": 5}),
]


@pytest.mark.parametrize(("kind", "options"), WRONG)
def test_wrong_options_are_named(kind: type[PlainWire], options: dict[str, Any]) -> None:
    """An option that cannot be raises a SettingsError with its name, where the object is made."""
    with pytest.raises(SettingsError) as caught:
        kind(**options)
    assert caught.value.name in {*options, "escape"}


def test_names_find_the_wires_with_their_defaults() -> None:
    """Each wire has a name for ``wire=`` and ``--listen``; sizes are in the names."""
    found = {name: find_wire(name) for name in ("lines", "eof", "raw", "delimited", "fixed-7", "prefixed-2")}
    assert list(found.values()) == [Lines(), EndOfStream(), Raw(), Delimited(), Fixed(7), Prefixed(2)]
    assert [wire.name for wire in found.values()] == list(found)
    for name in ("line", "fixed", "fixed-0", "fixed-x", "fixed-99999999999", "prefixed-3", "prefixed-01", "lines-5"):
        with pytest.raises(SettingsError, match="a plain wire: lines, eof, delimited, raw, fixed-LENGTH"):
            find_wire(name)


def test_a_length_that_is_no_message_is_refused() -> None:
    """A fixed length over ``max_message_size`` could carry nothing."""
    Fixed(1000).check(encrypted=False, max_message_size=1000)
    with pytest.raises(SettingsError, match="max_message_size is 999: it must be 1000 or more"):
        Fixed(1000).check(encrypted=False, max_message_size=999)


def test_equal_options_are_one_wire() -> None:
    """Connections of equal options take the same bytes, those of others need not."""
    assert begun(Lines()).encoding_key == begun(Lines()).encoding_key
    assert begun(Lines()).encoding_key != begun(Lines(separator=b"\n")).encoding_key
    assert begun(Lines(), Role.CLIENT).encoding_key == begun(Lines()).encoding_key


def test_replies_come_in_order_where_the_wire_says_so() -> None:
    """The flag is the option's; of a stream with one message the reply is the only one there can be."""
    flags = {wire: begun(wire).in_order_replies for wire in (Lines(), Lines(replies="in-order"), Raw(), EndOfStream())}
    assert list(flags.values()) == [False, True, False, True]
    assert not any(begun(wire).supports_requests for wire in flags)
