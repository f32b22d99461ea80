"""Payloads: what is packed and read, and the bounds of what a peer may make of a few bytes."""

from __future__ import annotations

import time
import tracemalloc
import zlib
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from veltix_tx.errors import InvalidContent, MalformedFrame
from veltix_tx.wire.netconduit.payloads import (
    COMPRESSION_THRESHOLD,
    FREE_INFLATE,
    INFLATE_RATIO,
    MAX_NESTING,
    Message,
    check_packed,
    deflate,
    inflate,
    pack,
    read,
    unpack,
)


def nested(depth: int) -> list[Any]:
    """Return lists in lists, so many deep."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None)
@given(VALUES)
def test_what_is_packed_is_unpacked(value: object) -> None:
    """Whatever msgpack carries with texts for keys comes back as it was, and passes the check of what a peer sends."""
    packed = pack(value)
    check_packed(packed)
    assert unpack(packed) == value


@dataclass
class Order:
    item: str
    counts: dict[int, int]


@pytest.mark.parametrize(
    "value",
    [
        {1: "one"},
        [{"a": {None: 1}}],
        {"deep": [{"x": {2.5: 0}}]},
        Order("tea", {1: 2}),
        2**64,
        [-(2**63) - 1],
        "\ud800",
        {"a": ["\udfff"]},
        nested(MAX_NESTING + 1),
        nested(100_000),
    ],
    ids=[
        "int key",
        "nil key",
        "float key",
        "object's int key",
        "huge",
        "low",
        "surrogate",
        "surrogate within",
        "deep",
        "deeper",
    ],
)
def test_what_netconduit_cannot_take_is_refused_here(value: object) -> None:
    """A value that would end the connection at a real peer raises InvalidContent, and nothing is packed."""
    with pytest.raises(InvalidContent):
        pack(value)


@pytest.mark.parametrize("value", [object(), [object()], {"a": pack}, 1j])
def test_what_msgpack_does_not_have_is_a_type_error(value: object) -> None:
    """A value of another type raises TypeError, as on every wire."""
    with pytest.raises(TypeError):
        pack(value)


def test_objects_are_packed_as_maps_and_bytes_may_be_keys() -> None:
    """Dataclasses become maps, tuples arrays; keys may be bytes, as real peers let them."""
    assert unpack(pack(Order("tea", {}))) == {"item": "tea", "counts": {}}
    assert unpack(pack((1, (2,)))) == [1, [2]]
    assert unpack(pack({b"k": 1})) == {b"k": 1}
    assert unpack(pack(nested(MAX_NESTING))) == nested(MAX_NESTING)


BROKEN = {
    "nothing": b"",
    "cut short": b"\x93\x01\x02",
    "trailing bytes": b"\x01\x02",
    "no opcode": b"\xc1",
    "no opcode within": b"\x91\xc1",
    "map of 2**32-1": b"\xdf\xff\xff\xff\xff",
    "array of 2**32-1": b"\xdd\xff\xff\xff\xff",
    "text of 2**32-1": b"\xdb\xff\xff\xff\xffx",
    "no UTF-8": b"\xa2\xff\xfe",
    "no UTF-8 within": b"\x91\xa2\xff\xfe",
    "int key": b"\x81\x01\x02",
    "int key within": b"\x91\x81\x01\x02",
    "nil key": b"\x81\xc0\x01",
    "map key": b"\x81\x80\x01",
    "deep": b"\x91" * MAX_NESTING + b"\x90",
    "100,000 deep": b"\x91" * 100_000 + b"\xc0",
    "time that cannot be": b"\xd7\xff" + b"\xff" * 8,
}


UNREAD = {name: data for name, data in BROKEN.items() if name not in ("nothing", "trailing bytes")}


@pytest.mark.parametrize("packed", UNREAD.values(), ids=UNREAD)
def test_a_peers_object_is_checked(packed: bytes) -> None:
    """An object that a real peer could not read, or that is too deep, is refused, quoting its first bytes alone."""
    with pytest.raises(MalformedFrame, match="payload") as raised:
        check_packed(packed)
    assert len(raised.value.value) <= 32


@pytest.mark.parametrize("data", [b"\x82\xa4type\xa1x\xa4data" + each for each in BROKEN.values()], ids=BROKEN)
def test_a_message_is_whole_or_refused(data: bytes) -> None:
    """What is broken inside a message's ``data`` is found: by reading the map around it, or by the check of it."""
    with pytest.raises(MalformedFrame):
        check_packed(bytes(read(Message, data, 2**18).data))  # type: ignore[union-attr]


@pytest.mark.parametrize("payload", [b"\xc0", b"\x01", b"\x90", b"\x80", b"\x81\xa4type\x01", b"\x81\x01\x02", b"\x81\xa4data\x01"])
def test_an_object_of_another_shape_is_none(payload: bytes) -> None:
    """An object that is no map with a text for its type is told from one that cannot be read."""
    assert read(Message, payload, 1000) is None


def test_unknown_keys_are_ignored_and_data_may_be_missing() -> None:
    """A message's map may have more keys, or no ``data``, which then is nil."""
    found = read(Message, msgpack.encode({"x": [1], "type": "chat"}), 1000)
    assert found is not None
    assert (found.type, bytes(found.data)) == ("chat", b"\xc0")


MANY = {
    "maps": b"\xdd\x00\x10\x00\x00" + b"\x80" * 2**20,
    "texts": b"\xdc\xff\xff" + b"\xa1x" * 0xFFFF,
    "numbers": b"\x91" + msgpack.encode([0.5] * 50_000),
}


@pytest.mark.parametrize("payload", MANY.values(), ids=MANY)
def test_objects_that_would_be_too_many_are_not_made(payload: bytes) -> None:
    """A payload with more values than ``limits.values`` is refused before one of them is made, and soon."""
    payload = b"\x82\xa4type\xa1x\xa4data" + payload
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        with pytest.raises(MalformedFrame, match=r"at most 40000 values \(limits\.values\)"):
            read(Message, payload, 40_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert time.perf_counter() - begun < 1


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_count(key) + _count(each) for key, each in value.items())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


LONG = st.sampled_from(
    [
        *("", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 70_000, b"", b"x" * 255, b"x" * 256, b"x" * 70_000),
        *(127, 128, 255, 256, 65535, 65536, 2**32, 2**63, -32, -33, -128, -129, -32769, -(2**31) - 1, 1.5, None, True),
        *(msgpack.Ext(5, b"x" * size) for size in (0, 1, 2, 3, 4, 8, 16, 17, 256, 70_000)),
        *([0] * 16, [0] * 70_000, {str(number): 0 for number in range(16)}, {str(number): 0 for number in range(70_000)}),
    ]
)


KEYS = st.text(max_size=3)
NESTED = st.recursive(LONG, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=3), max_leaves=4)


@settings(deadline=None)
@given(NESTED)
def test_values_are_counted_exactly(value: object) -> None:
    """The count of the values in a payload, which no decoder makes, is right for every form that msgpack has."""
    payload, count = msgpack.encode(["padding" * 1000, value]), 2 + _count(value)
    if len(payload) <= count:
        return
    assert read(Message, payload, count) is None
    with pytest.raises(MalformedFrame, match=r"limits\.values"):
        read(Message, payload, count - 1)


@pytest.mark.parametrize("size", [0, COMPRESSION_THRESHOLD])
def test_short_payloads_are_not_compressed(size: int) -> None:
    """A payload of 1,024 bytes stays as it is, one of a byte more is compressed."""
    assert deflate(b"x" * size) == b"x" * size
    longer = b"x" * (COMPRESSION_THRESHOLD + 1)
    assert zlib.decompress(deflate(longer)) == longer
    assert len(deflate(longer)) < 50


def test_what_does_not_shrink_is_not_compressed() -> None:
    """A payload that zlib makes longer stays as it is."""
    noise = Random(1).randbytes(5000)
    assert deflate(noise) == noise


@pytest.mark.parametrize("size", [0, 1, 5000, FREE_INFLATE])
def test_a_compressed_payload_comes_back(size: int) -> None:
    """What inflates to at most a MiB does, whatever its ratio."""
    assert inflate(zlib.compress(b"x" * size), 10 * 2**20) == b"x" * size


def test_a_large_payload_may_shrink_a_hundredfold() -> None:
    """Above a MiB the ratio is bounded: text passes, a bomb does not."""
    text = b"".join(b"%d: the quick brown fox\n" % (number * 7919) for number in range(100_000))
    assert len(text) > 2 * FREE_INFLATE
    assert inflate(zlib.compress(text), len(text)) == text
    bomb = zlib.compress(bytes(2 * FREE_INFLATE))
    assert len(bomb) * INFLATE_RATIO < FREE_INFLATE
    with pytest.raises(MalformedFrame, match=f"at most {FREE_INFLATE} bytes"):
        inflate(bomb, 100 * 2**20)


@pytest.mark.parametrize("most", [4096, FREE_INFLATE, 10 * 2**20])
def test_a_bomb_takes_no_more_than_it_may(most: int) -> None:
    """60 MiB in 60 KB are refused with the memory of what was allowed."""
    bomb = zlib.compress(bytes(60 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFrame, match="inflates to at most"):
            inflate(bomb, most)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * most + 150_000


@pytest.mark.parametrize(
    "payload",
    [b"", b"plain", zlib.compress(b"x")[:-1], zlib.compress(b"x") + b"y", zlib.compress(b"x") * 2, zlib.compress(b"x" * 99)[2:]],
    ids=["nothing", "no zlib", "cut short", "bytes behind it", "two", "raw deflate"],
)
def test_a_compressed_payload_is_one_whole_stream(payload: bytes) -> None:
    """Anything but exactly one zlib stream is refused."""
    with pytest.raises(MalformedFrame, match="zlib stream"):
        inflate(payload, 1000)
