"""Names of the plain wires."""

from __future__ import annotations

import re

from veltix_tx.errors import SettingsError
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.plain.annotate import annotate
from veltix_tx.wire.plain.options import Delimited, EndOfStream, Fixed, Lines, PlainWire, Prefixed, Raw

__all__ = ["NAMES", "RULE", "annotate_stream", "build_description", "find"]

_WIRES: dict[str, PlainWire] = {wire.name: wire for wire in (Lines(), EndOfStream(), Delimited(), Raw())}

NAMES = (*_WIRES, "fixed-1024", "prefixed-1", "prefixed-2", "prefixed-4")
"""Names of the plain wires, with one of those of a fixed length."""

RULE = f"a plain wire: {', '.join(_WIRES)}, fixed-LENGTH, prefixed-1, prefixed-2, prefixed-4"
"""The same, as a part of a sentence."""

_SIZED = re.compile(r"(fixed|prefixed)-([1-9][0-9]{0,9})")


def find(name: str) -> PlainWire | None:
    """Return the wire with a name, with default options; None for another name."""
    sized = _SIZED.fullmatch(name)
    if sized is None:
        return _WIRES.get(name)
    try:
        return Fixed(int(sized[2])) if sized[1] == "fixed" else Prefixed(int(sized[2]))
    except SettingsError:
        return None


def annotate_stream(wire: PlainWire, data: bytes) -> list[Piece]:
    """Return the parts of a recorded stream of one direction."""
    return list(annotate(wire, data))


def build_description() -> str:
    """Return nothing: no part is compiled."""
    return ""
