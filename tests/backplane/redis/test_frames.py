"""Frames between nodes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.backplane.redis.frames import Kind, MalformedFrame, decode, frame, header


@given(st.sampled_from(Kind), st.text(max_size=20), st.lists(st.binary(max_size=30), max_size=5))
def test_a_frame_is_read_as_it_was_made(kind: Kind, node: str, items: list[bytes]) -> None:
    """Kind, node and items come out as they went in."""
    assert decode(frame(header(kind, node), items)) == (kind, node, items)


@given(st.sampled_from(Kind), st.lists(st.binary(max_size=30), min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_short_is_refused(kind: Kind, items: list[bytes], data: st.DataObject) -> None:
    """A beginning of a frame is either refused, or the frame of its first items."""
    whole = frame(header(kind, "node"), items)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found = decode(cut)
    except MalformedFrame:
        return
    assert found.items == items[: len(found.items)]


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    """What is no frame raises MalformedFrame and nothing else."""
    with suppress(MalformedFrame):
        decode(data)


@pytest.mark.parametrize(
    "data", [b"", b"V", b"V1", b"V2M\x00\x00\x00\x01n", b"V1?\x00\x00\x00\x01n", b"V1M\x00\x00\x00\x01\xff", b"{}"]
)
def test_frames_of_others_are_refused(data: bytes) -> None:
    """Another version's, an unknown kind's, or what other programs publish."""
    with pytest.raises(MalformedFrame):
        decode(data)
