"""Structure of MessagePack: what would cost more to decode than its bytes say is refused before a value is made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.wire.msgpack_structure import StructureError, check_structure, has_few_containers

pack = msgspec.msgpack.encode

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=300)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20), max_leaves=40
)


def depth_of(value: Any) -> int:
    """Return how deep a value is nested."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def count_of(value: Any) -> int:
    """Return how many values a value is, keys among them."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count_of, value.values()))
    return 1 + sum(map(count_of, value)) if isinstance(value, list) else 1


@given(VALUES)
def test_depth_and_number_are_counted_exactly(value: Any) -> None:
    """A value passes with its own depth and number, and is refused with one less of either."""
    packed, depth, count = pack(value), depth_of(value), count_of(value)
    check_structure(packed, depth, count)
    if depth:
        with pytest.raises(StructureError, match="nested"):
            check_structure(packed, depth - 1, count)
    with pytest.raises(StructureError, match="values"):
        check_structure(packed, depth, count - 1)


@given(VALUES, st.integers(0, 5000))
def test_what_is_cut_short_is_left_to_the_decoder(value: Any, cut: int) -> None:
    """The beginning of a value passes: only a decoder says that the rest is missing."""
    check_structure(pack(value)[:cut], 100)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_else(packed: bytes) -> None:
    """Any bytes pass or are a StructureError."""
    try:
        check_structure(packed, 64)
    except StructureError as error:
        assert str(error)  # noqa: PT017 (it may also pass)


@pytest.mark.parametrize("key", [[1, 2], [], {}, {"a": 1}])
def test_a_key_that_is_an_array_or_a_map_is_refused(key: Any) -> None:
    """Arrays as keys become tuples, whose hashes collide as anybody likes; as values they are as good as others."""
    for before in (b"", pack("a") + pack(1)):
        entries = before + pack(key) + pack(2)
        packed = bytes([0x81 + bool(before)]) + entries
        with pytest.raises(StructureError, match="key"):
            check_structure(packed, 64)
    check_structure(pack({"a": key, "b": [key, key]}), 64)


def test_few_containers_are_told_by_their_bytes() -> None:
    """Text without bytes of containers, however long, and a few containers need no look."""
    assert has_few_containers(pack("x" * 1_000_000))
    assert has_few_containers(pack([[]] * 60))
    assert not has_few_containers(pack([[]] * 70))
