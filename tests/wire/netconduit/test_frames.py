"""The decoder of frames: what it refuses, and how much it keeps."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from tests.support.netconduit import NOW_MS, frame
from veltix_tx.errors import FrameTooLarge, MalformedFrame
from veltix_tx.wire.netconduit.frames import HEADER_SIZE, Frame, FrameDecoder, FrameType


def header(*, magic: bytes = b"CNDT", version: int = 256, kind: int = 1, reserved: int = 0, size: int = 0) -> bytes:
    """Return a header with one field wrong, or none."""
    return struct.pack(">4sHHHHIQQ", magic, version, kind, 0, reserved, size, 0, NOW_MS)


def decoded(decoder: FrameDecoder, data: bytes, step: int) -> list[Frame]:
    """Return the frames in bytes given piece by piece."""
    return [found for at in range(0, len(data), step) for found in decoder.receive_data(data[at : at + step])]


@pytest.mark.parametrize("step", [1, 31, 33, 1000, 20_000, 10**6])
def test_frames_are_the_same_in_pieces_of_any_size(step: int) -> None:
    """A stream of short, empty and long frames comes to the same frames, however it is cut."""
    payloads = [b"", b"x", b"y" * 5000, b"z" * 70_000, b"", b"last"]
    decoder = FrameDecoder(100_000)
    found = decoded(decoder, b"".join(frame(1, raw=each, correlation=n) for n, each in enumerate(payloads)), step)
    assert [(payload, correlation) for _, _, correlation, _, payload in found] == [(each, n) for n, each in enumerate(payloads)]
    assert (decoder.error, decoder.incoming_size, decoder.buffered_size) == (None, 0, 0)


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    ("data", "part", "value"),
    [
        (header(magic=b"CNDX"), "magic", b"CNDX"),
        (header(version=0x0101), "version", 0x0101),
        (header(version=1), "version", 1),
        (header(kind=0), "type", 0),
        (header(kind=0x11), "type", 0x11),
        (header(kind=0xFFFF), "type", 0xFFFF),
    ],
)
def test_a_header_that_is_none_ends_the_stream(data: bytes, part: str, value: object, step: int) -> None:
    """A wrong magic, version or type is named with its value; the frames before it count, nothing behind it is read."""
    decoder = FrameDecoder(1000)
    found = decoded(decoder, frame(1, raw=b"before") + data + frame(1, raw=b"behind"), step)
    assert [payload for *_, payload in found] == [b"before"]
    assert isinstance(decoder.error, MalformedFrame)
    assert (decoder.error.part, decoder.error.value) == (part, value)
    assert decoded(decoder, frame(1, raw=b"later"), step) == []


@pytest.mark.parametrize("data", [b"GET ", b"CNDY", b"\x16\x03\x01\x02", bytes(4)])
def test_another_magic_is_told_before_a_whole_header_has_come(data: bytes) -> None:
    """Four bytes that no frame begins with are refused as soon as they are there: no more may come."""
    decoder = FrameDecoder(1000)
    assert decoded(decoder, data, 1) == []
    assert isinstance(decoder.error, MalformedFrame)
    assert decoder.error.part == "magic"


def test_the_reserved_field_is_ignored() -> None:
    """A reserved field of any value is taken, as real peers take it."""
    assert len(decoded(FrameDecoder(10), header(reserved=0xFFFF), 1000)) == 1


@pytest.mark.parametrize("size", [1001, 100 * 2**20, 2**32 - 1])
def test_a_declared_size_over_the_limit_ends_the_stream(size: int) -> None:
    """A payload over the limit is refused by its header, with both sizes, and none of it is kept."""
    decoder = FrameDecoder(1000)
    assert decoded(decoder, header(size=size), 1000) == []
    assert isinstance(decoder.error, FrameTooLarge)
    assert (decoder.error.size, decoder.error.limit) == (size + HEADER_SIZE, 1000 + HEADER_SIZE)
    assert decoder.buffered_size == 0


def test_a_declared_size_reserves_nothing() -> None:
    """A long frame takes the memory of what has come of it, not of what it declares."""
    decoder = FrameDecoder(100 * 2**20)
    tracemalloc.start()
    try:
        decoded(decoder, header(size=100 * 2**20) + b"x" * 100_000, 10**6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert (decoder.buffered_size, decoder.incoming_size) == (100_000, 100 * 2**20)


def test_what_has_come_in_part_is_told() -> None:
    """An unfinished frame's bytes, and how many it declares, are known to who polices peers."""
    decoder = FrameDecoder(100_000)
    decoded(decoder, frame(1, raw=b"x" * 50)[:40], 1000)
    assert (decoder.buffered_size, decoder.beginning) == (40, frame(1, raw=b"x" * 50)[:32])
    decoded(decoder, frame(1, raw=b"x" * 50)[40:] + frame(1, raw=b"y" * 50_000)[:132], 1000)
    assert (decoder.buffered_size, decoder.incoming_size) == (100, 50_000)


def test_the_types_are_those_of_the_releases() -> None:
    """The sixteen types have their codes, one after another."""
    assert [int(each) for each in FrameType] == list(range(1, 17))
