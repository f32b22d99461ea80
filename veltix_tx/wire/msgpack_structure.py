"""Structure of MessagePack, checked without making a value of it.

A decoder makes the whole value first: a million empty arrays take a second and 70 times their bytes, and a map whose keys are
arrays, which become tuples with hashes that anybody can make collide, takes the square of its size.
"""

from __future__ import annotations

__all__ = ["CONTAINERS", "MAX_VALUES", "StructureError", "check_structure", "has_few_containers"]

MAX_VALUES = 65_536
"""Maximum number of values, keys among them, in a content that may hold anything."""

_FEW = 64
"""Arrays and maps that cost nothing, however they are made."""

CONTAINERS = frozenset([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""First bytes of arrays and maps."""

_NO_CONTAINERS = bytes(set(range(256)) - CONTAINERS)
_MAPS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_LENGTHS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""First byte of an array or a map -> bytes of its length behind that; the others have it in the first."""


class StructureError(ValueError):
    """A packed value is nested too deep, has too many values in it, or a map with a key that is an array or a map."""


def has_few_containers(packed: bytes) -> bool:
    """Return True if packed values hold so few arrays and maps that there is nothing to check. No Python code runs for a byte."""
    return len(packed) <= _FEW or len(packed.translate(None, _NO_CONTAINERS)) <= _FEW


def check_structure(packed: bytes, max_depth: int, max_values: int = MAX_VALUES) -> None:
    """Raise StructureError for a packed value that costs more to decode than its bytes say.

    Args:
        packed: the value. What is no MessagePack is left to the decoder to refuse.
        max_depth: maximum depth to which arrays and maps are nested.
        max_values: maximum number of values, keys among them.
    """
    position, end, count = 0, len(packed), 0
    left, in_map = 1, False  # values still to come of the innermost array or map; in a map those at an even number are keys
    outer: list[tuple[int, bool]] = []
    while position < end:
        count += 1
        if count > max_values:
            raise StructureError(f"it has over {max_values} values")
        first = packed[position]
        is_key = in_map and not left & 1
        left -= 1
        if first in CONTAINERS:
            if is_key:
                raise StructureError("a key of a map is an array or a map")
            told = _LENGTHS.get(first, 0)
            size = int.from_bytes(packed[position + 1 : position + 1 + told], "big") if told else first & 15
            position += 1 + told
            outer.append((left, in_map))
            if len(outer) > max_depth:
                raise StructureError(f"it is nested more than {max_depth} deep")
            in_map = first in _MAPS
            left = 2 * size if in_map else size
        else:
            width = _WIDTHS[first]
            if width > 0:
                position += width
            else:
                start = position + 1
                told = -width & 7
                position = start + told + int.from_bytes(packed[start : start + told], "big") + (-width >> 3)
        while not left and outer:
            left, in_map = outer.pop()


def _widths() -> list[int]:
    """Return, for each first byte of a value that is no array or map, its bytes.

    A negative one is -n where n bytes behind it tell how many follow, -8 - n where one more follows those (an ext type).
    """
    widths = [1] * 256
    for length in range(32):
        widths[0xA0 + length] = 1 + length
    for first, width in ((0xCA, 5), (0xCB, 9)):
        widths[first] = width
    for power in range(4):
        widths[0xCC + power] = widths[0xD0 + power] = 1 + 2**power
    for power in range(5):
        widths[0xD4 + power] = 2 + 2**power
    for power in range(3):
        widths[0xC4 + power] = widths[0xD9 + power] = -(2**power)
        widths[0xC7 + power] = -8 - 2**power
    return widths


_WIDTHS = _widths()
