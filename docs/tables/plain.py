"""The options of the plain wires."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields

from veltix_tx.wire.messages import MessageType
from veltix_tx.wire.plain import options

from .markdown import attributes, first_sentence, table

_TITLES = {options.PlainWire: "All of them", options.ReplyingWire: "Lines, Fixed, Prefixed, Delimited"}
"""Classes whose options several wires have."""

_WIRES = (options.Lines, options.EndOfStream, options.Fixed, options.Prefixed, options.Delimited, options.Raw)


def plain_options() -> str:
    """The options of the plain wires, those of all of them first."""
    blocks = []
    seen: set[str] = set()
    for thing in (*_TITLES, *_WIRES):
        described = attributes(thing)
        own = [each for each in fields(thing) if each.name not in seen]
        words = "" if thing in _TITLES else f"{first_sentence(thing)}\n\n"
        if thing in _TITLES:
            seen |= {each.name for each in own}
        rows = [[f"`{each.name}`", _default(each.default), described[each.name]] for each in own]
        listed = table(["option", "default", "meaning"], rows) if rows else "No options of its own."
        blocks.append(f"## {_TITLES.get(thing, thing.__name__)}\n\n{words}{listed}")
    return "\n\n".join(blocks)


def _default(value: object) -> str:
    if value is MISSING:
        return "none"
    return f"`{value.name.upper() if isinstance(value, MessageType) else repr(value)}`"


BLOCKS: dict[str, Callable[[], str]] = {"plain options": plain_options}
