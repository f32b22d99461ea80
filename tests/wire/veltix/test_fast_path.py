"""Runs of equal frames: what takes them in one go says what the decoder says of each by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.errors import FrameTooLarge
from veltix_tx.wire.events import FrameRejected
from veltix_tx.wire.messages import PING, MessageRegistry, MessageType
from veltix_tx.wire.veltix.fast_path import batch_decoder
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W14, W15, W16, W22, Layout

TYPES = MessageRegistry()
KNOWN = MessageType(200, registry=TYPES)
OTHER = MessageType(201, registry=TYPES)
RUNNING = [W14, W15, W16, W22]


def decoded(layout: Layout, chunks: list[bytes], *, runs: bool, limit: int = 6000) -> list[Any]:
    """All that a decoder says of the chunks, with or without runs."""
    decoder = FrameDecoder(layout, TYPES.get, limit, 4)
    decoder._run = batch_decoder(layout, TYPES.get, limit - layout.header_size) if runs else None
    told: list[Any] = []
    for number, chunk in enumerate(chunks):
        for event in decoder.receive_data(chunk, number):
            if isinstance(event, FrameRejected):
                told.append(event)
            else:
                told.append((event.type, event.content, event.request_id, event.digest, event.received_at, event.timestamp))
        told.append(decoder.system_seen)
    return [*told, type(decoder.error), decoder.violations, decoder.buffered_size]


@st.composite
def streams(draw: st.DrawFn) -> tuple[Layout, bytes]:
    """Draw runs of frames of one size, odd frames between them, a byte changed here and there."""
    layout = draw(st.sampled_from(RUNNING))
    stream = bytearray()
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from([0, 1, 64, 5000]))
        for number in range(draw(st.integers(1, 9))):
            code = draw(st.sampled_from([KNOWN.code] * 8 + [OTHER.code, PING.code, 999]))
            content = bytes([number]) * size
            stream += layout.pack(code, content, number, 7) + content
    for _ in range(draw(st.integers(0, 2))):
        stream[draw(st.integers(0, len(stream) - 1))] ^= draw(st.integers(1, 255))
    return layout, bytes(stream)


@given(streams(), st.lists(st.integers(1, 3000), max_size=6))
def test_a_run_says_what_its_frames_say(stream: tuple[Layout, bytes], cuts: list[int]) -> None:
    """Whatever the stream and its chunks: the same events, fields and errors with runs and without."""
    layout, data = stream
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(data[at : at + cut])
        at += cut
    chunks.append(data[at:])
    chunks = [chunk for chunk in chunks if chunk]
    assert decoded(layout, chunks, runs=True) == decoded(layout, chunks, runs=False)


@pytest.mark.parametrize("layout", RUNNING, ids=lambda layout: layout.name)
def test_equal_frames_are_taken_in_one_go(layout: Layout) -> None:
    """A single frame, and from four equal ones on the whole run, is taken, up to the first that is out of the ordinary."""
    run = batch_decoder(layout, TYPES.get, 1000)
    assert run is not None
    frame = layout.pack(200, b"x" * 64, 1, 0) + b"x" * 64
    for count in range(9):
        events: list[Any] = []
        taken = count if count == 1 or count >= 4 else 0
        assert run(b"junk" + frame * count, 4, 0, events) == 4 + len(frame) * taken
        assert len(events) == taken
    odd = layout.pack(999, b"x" * 64, 1, 0) + b"x" * 64
    assert run(frame * 5 + odd + frame, 0, 0, []) == len(frame) * 5


@pytest.mark.parametrize("layout", RUNNING, ids=lambda layout: layout.name)
def test_a_run_of_too_large_frames_is_refused(layout: Layout) -> None:
    """The limit holds for runs as for single frames."""
    frame = layout.pack(200, b"x" * 500, 1, 0) + b"x" * 500
    told = decoded(layout, [frame * 6], runs=True, limit=400)
    assert FrameTooLarge in told
    assert len(told) == 4


def test_layouts_with_wide_ids_have_no_runs() -> None:
    """Where an id is bytes, frames are taken one by one."""
    assert {layout for layout in ALL_LAYOUTS if batch_decoder(layout, TYPES.get, 1000) is not None} == set(RUNNING)
