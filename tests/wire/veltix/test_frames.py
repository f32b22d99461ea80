"""Frames, with each codec."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.errors import FrameTooLarge, TooManyProtocolErrors
from veltix_tx.wire.events import FrameRejected, RejectReason
from veltix_tx.wire.freed_memory import keep_freed_memory
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W14, W15, W16, W22, W46, W62, Layout
from veltix_tx.wire.veltix.releases import RELEASES

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
NEWS = MessageType(201, "news", registry=TYPES)
ASK = MessageType(202, "ask", registry=TYPES)
LAST = MessageType(65535, "last", registry=TYPES)
UNKNOWN = MessageType(300, registry=MessageRegistry())
MS = 1_795_000_000_000
LIMIT = 2 * 1024 * 1024

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
CAPTURED = [
    pytest.param(RELEASES[release].layout, frame, id=f"{kind}-{release}-{number}")
    for kind in ("sessions", "compiled")
    for release, frames in VECTORS[kind].items()
    for number, frame in enumerate(frames)
    if "json" not in frame
]

every_layout = pytest.mark.parametrize("layout", ALL_LAYOUTS, ids=lambda layout: layout.name)
bare_layouts = pytest.mark.parametrize("layout", [W46, W62, W22, W14], ids=lambda layout: layout.name)
magic_layouts = pytest.mark.parametrize("layout", [W16, W15], ids=lambda layout: layout.name)

Seen = tuple[Any, ...]


@pytest.fixture(autouse=True, scope="module", params=codec.available())
def each_codec(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this module holds for every codec that is there."""
    before = codec.in_use()
    codec.use(request.param)
    yield
    codec.use(before)


def decoder_of(layout: Layout, limit: int = LIMIT, max_violations: int = 32) -> FrameDecoder:
    """A decoder that knows the types of this module."""
    return FrameDecoder(layout, TYPES.get, limit, max_violations)


def seen(events: Iterable[Response | FrameRejected]) -> list[Seen]:
    """Events in a form that compares equal."""
    return [
        (event.type.code, event.content, event.request_id, event.digest, event.timestamp)
        if isinstance(event, Response)
        else (event.reason, event.code)
        for event in events
    ]


def fed(decoder: FrameDecoder, chunks: Iterable[bytes]) -> list[Seen]:
    """The events of all chunks."""
    return [event for chunk in chunks for event in seen(decoder.receive_data(chunk, MS))]


def one_by_one(data: bytes) -> Iterator[bytes]:
    """The data byte by byte."""
    return (data[at : at + 1] for at in range(len(data)))


def chopped(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data cut at the given places."""
    return [data[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(data)])]


def frame(layout: Layout, content: bytes = b"", message_type: MessageType = CHAT, request_id: int = 7) -> bytes:
    """A message as a frame."""
    return layout.pack(message_type.code, content, request_id, MS) + content


def spoiled(data: bytes, layout: Layout) -> bytes:
    """The frame with a bit of its checksum flipped."""
    at = {W46: 6, W62: 6, W22: 6, W14: 6, W16: 8, W15: 9}[layout]
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def contents(events: Iterable[Seen]) -> list[Any]:
    """The contents of the messages among the events."""
    return [event[1] for event in events if not isinstance(event[0], RejectReason)]


def refusals(events: Iterable[Seen]) -> list[Any]:
    """The refusals among the events."""
    return [event for event in events if isinstance(event[0], RejectReason)]


# Captured frames


@pytest.mark.parametrize(("layout", "captured"), CAPTURED)
def test_a_captured_frame_decodes_to_its_recorded_fields(layout: Layout, captured: dict[str, Any]) -> None:
    """A frame of a real release decodes alike whole, byte by byte and with a following one behind it."""
    data = bytes.fromhex(captured["hex"])
    expected = [
        (
            captured["code"],
            bytes.fromhex(captured["content"]),
            int(captured["id"], 16),
            layout.unpack(data).digest,
            captured.get("ms"),
        )
    ]
    assert fed(decoder_of(layout), [data]) == expected
    assert fed(decoder_of(layout), one_by_one(data)) == expected
    behind = decoder_of(layout)
    trailing = frame(layout, b"behind")
    assert fed(behind, [data + trailing[:-1]]) == expected
    assert behind.buffered_size == len(trailing) - 1
    assert contents(fed(behind, [trailing[-1:]])) == [b"behind"]
    assert behind.buffered_size == 0


@pytest.mark.parametrize(("layout", "captured"), CAPTURED)
def test_compiling_reproduces_a_captured_frame(layout: Layout, captured: dict[str, Any]) -> None:
    """The same fields give the bytes a real release made of them."""
    known = TYPES.get(captured["code"])
    assert known is not None
    content = bytes.fromhex(captured["content"])
    assert (layout.pack(known.code, content, int(captured["id"], 16), captured.get("ms", 0)) + content).hex() == captured["hex"]


@pytest.mark.parametrize("release", VECTORS["sessions"])
def test_a_captured_session_decodes_in_order(release: str) -> None:
    """All frames of one direction of a recorded session come out in order, whatever the chunking."""
    layout = RELEASES[release].layout
    for side in ("server", "client"):
        frames = [each for each in VECTORS["sessions"][release] if "json" not in each and each["from"] == side]
        data = b"".join(bytes.fromhex(each["hex"]) for each in frames)
        for chunks in ([data], one_by_one(data)):
            events = fed(decoder_of(layout), chunks)
            assert [(code, content.hex()) for code, content, *_ in events] == [(each["code"], each["content"]) for each in frames]


# What is accepted


@every_layout
def test_a_message_carries_what_its_frame_did(layout: Layout) -> None:
    """A response has the frame's type, content, id, checksum and clock, and this side's time of arrival."""
    (event,) = decoder_of(layout).receive_data(frame(layout, b"hi", NEWS, 0x1234), 99)
    assert isinstance(event, Response)
    assert event.type is NEWS
    assert event.content == b"hi"
    assert type(event.content) is bytes
    assert event.request_id == (0x1234 if layout.id_size else 0)
    assert event.digest == layout.checksum(b"hi")
    assert event.timestamp == (MS if layout.clock else None)
    assert event.received_at == 99


@every_layout
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65536, 1024 * 1024])
def test_content_of_any_size_arrives_whole(layout: Layout, size: int) -> None:
    """Small content waits in the tail, large content is filled in place: both come out as sent, however chopped."""
    dice = Random(size)
    content = dice.randbytes(size)
    data = frame(layout, b"before") + frame(layout, content) + frame(layout, b"after") + frame(layout, b"last")
    header = layout.header_size
    edges = [header, header + 6, 2 * header + 5, 2 * header + 6, 2 * header + 7, 2 * header + 6 + size]
    choppings = [[], [edge for edge in edges if edge < len(data)], [len(data) - 1]]
    choppings += [dice.sample(range(len(data)), min(len(data), dice.choice([1, 2, 7, 40]))) for _ in range(12)]
    for cuts in choppings:
        decoder = decoder_of(layout)
        events = []
        for chunk in chopped(data, cuts):
            events += fed(decoder, [chunk])
            assert decoder.buffered_size <= header + size + header
        assert contents(events) == [b"before", content, b"after", b"last"]
        assert decoder.buffered_size == 0
        assert decoder.error is None


@every_layout
def test_large_content_arrives_in_the_smallest_steps(layout: Layout) -> None:
    """Content filled in place may come one byte at a time, with the next frame glued to its last byte."""
    content = Random(1).randbytes(5000)
    data = frame(layout, content)
    decoder = decoder_of(layout)
    assert fed(decoder, one_by_one(data[:-1])) == []
    assert contents(fed(decoder, [data[-1:] + frame(layout, b"next")])) == [content, b"next"]


@every_layout
def test_two_large_frames_in_a_row_do_not_mix(layout: Layout) -> None:
    """A frame that is filled in place leaves nothing of itself in the next."""
    first, second = Random(2).randbytes(9000), Random(3).randbytes(7000)
    data = frame(layout, first, CHAT, 1) + frame(layout, second, NEWS, 2)
    events = fed(decoder_of(layout), chopped(data, [100, 8000, 9100 + layout.header_size]))
    ids = [1, 2] if layout.id_size else [0, 0]
    assert [event[:3] for event in events] == [(200, first, ids[0]), (201, second, ids[1])]


@every_layout
def test_system_seen_speaks_of_the_last_batch(layout: Layout) -> None:
    """A batch says whether it holds a message with a system code."""
    ping = layout.pack(0, b"", 5, 0)
    decoder = decoder_of(layout)
    decoder.receive_data(frame(layout) + ping + frame(layout), MS)
    assert decoder.system_seen
    decoder.receive_data(frame(layout), MS)
    assert not decoder.system_seen


@magic_layouts
def test_a_message_type_can_be_registered_later(layout: Layout) -> None:
    """Whether a type is known is asked when its frame arrives."""
    types = MessageRegistry()
    decoder = FrameDecoder(layout, types.get, LIMIT)
    assert fed(decoder, [frame(layout)]) == [(RejectReason.UNKNOWN_TYPE, 200)]
    MessageType(200, registry=types)
    assert contents(fed(decoder, [frame(layout, b"x")])) == [b"x"]


# What is refused


@every_layout
@pytest.mark.parametrize("size", [1, 10, 5000])
def test_a_bad_checksum_drops_the_frame_whole_and_counts_a_strike(layout: Layout, size: int) -> None:
    """A frame with a bad checksum is dropped whole, the peer gets a strike, the next frame counts."""
    bad = spoiled(frame(layout, bytes(size)), layout)
    for chunks in ([bad + frame(layout, b"next")], one_by_one(bad + frame(layout, b"next"))):
        decoder = decoder_of(layout, max_violations=2)
        events = fed(decoder, chunks)
        assert events[0] == (RejectReason.BAD_CHECKSUM, 200)
        assert contents(events) == [b"next"]
        assert decoder.error is None
        assert refusals(fed(decoder, [bad])) == [(RejectReason.BAD_CHECKSUM, 200)]
        assert isinstance(decoder.error, TooManyProtocolErrors)
        assert decoder.error.count == 2


@every_layout
@pytest.mark.parametrize("size", [0, 10, 5000])
def test_an_unknown_type_drops_the_frame_whole_without_a_strike(layout: Layout, size: int) -> None:
    """A frame of an unknown type is dropped whole and told of; it is no strike."""
    data = frame(layout, bytes(size), UNKNOWN) + frame(layout, b"next")
    for chunks in ([data], one_by_one(data)):
        decoder = decoder_of(layout, max_violations=1)
        events = fed(decoder, chunks)
        assert events[0] == (RejectReason.UNKNOWN_TYPE, 300)
        assert contents(events) == [b"next"]
        assert decoder.error is None


@every_layout
def test_a_bad_checksum_of_an_unknown_type_is_a_strike(layout: Layout) -> None:
    """What the checksum does not vouch for is refused for that, whatever type it claims."""
    decoder = decoder_of(layout, max_violations=1)
    assert fed(decoder, [spoiled(frame(layout, b"x", UNKNOWN), layout)]) == [(RejectReason.BAD_CHECKSUM, 300)]
    assert isinstance(decoder.error, TooManyProtocolErrors)


@every_layout
def test_the_last_strike_ends_the_stream(layout: Layout) -> None:
    """Nothing behind the strike that was one too many is decoded, in the same read or a later one."""
    bad = spoiled(frame(layout, b"bad"), layout)
    data = bad + frame(layout, b"between") + bad + bad + frame(layout, b"behind")
    for chunks in ([data], one_by_one(data)):
        decoder = decoder_of(layout, max_violations=3)
        events = fed(decoder, chunks)
        assert contents(events) == [b"between"]
        assert len(refusals(events)) == 3
        assert isinstance(decoder.error, TooManyProtocolErrors)
        assert fed(decoder, [frame(layout, b"later")]) == []


@every_layout
@pytest.mark.parametrize("pad", [0, 3, 5000])
def test_a_frame_inside_a_refused_frame_is_never_delivered(layout: Layout, pad: int) -> None:
    """No message can be smuggled in the content of a frame that is refused (real releases resynchronise into it)."""
    hidden = bytes(pad) + frame(layout, b"smuggled") + bytes(pad)
    for outer in (spoiled(frame(layout, hidden), layout), frame(layout, hidden, UNKNOWN)):
        data = outer + frame(layout, b"honest")
        for chunks in ([data], one_by_one(data), chopped(data, [layout.header_size + pad]), chopped(data, [len(outer)])):
            assert contents(fed(decoder_of(layout), chunks)) == [b"honest"]


@every_layout
def test_a_frame_over_the_limit_ends_the_stream_before_it_is_buffered(layout: Layout) -> None:
    """A declared size over the limit is refused on the header alone, and nothing is decoded after it."""
    fits = frame(layout, bytes(1000 - layout.header_size))
    decoder = decoder_of(layout, 1000)
    assert contents(fed(decoder, [fits])) == [bytes(1000 - layout.header_size)]
    over = frame(layout, bytes(1001 - layout.header_size))
    events = fed(decoder, [frame(layout, b"before") + over + frame(layout, b"after")])
    assert contents(events) == [b"before"]
    assert isinstance(decoder.error, FrameTooLarge)
    assert (decoder.error.size, decoder.error.limit) == (1001, 1000)
    assert decoder.buffered_size == 0
    assert fed(decoder, [frame(layout, b"later")]) == []
    assert decoder.buffered_size == 0


@every_layout
def test_a_header_over_the_limit_is_refused_as_soon_as_it_is_there(layout: Layout) -> None:
    """The refusal of a too large frame waits for no byte of its content, even of 4 GiB."""
    at = 4 if layout is W16 else 5 if layout is W15 else 2
    packed = layout.pack(200, b"", 1, 0)
    huge = packed[:at] + b"\xff\xff\xff\xff" + packed[at + 4 :]
    decoder = decoder_of(layout)
    assert fed(decoder, [huge[:-1]]) == []
    assert decoder.error is None
    assert fed(decoder, [huge[-1:]]) == []
    assert isinstance(decoder.error, FrameTooLarge)
    assert decoder.error.size == layout.header_size + 2**32 - 1


@every_layout
def test_a_declared_size_costs_no_memory(layout: Layout) -> None:
    """A header that declares 1 GiB takes up what has arrived of it, not what it declares."""
    at = 4 if layout is W16 else 5 if layout is W15 else 2
    packed = layout.pack(200, b"", 1, 0)
    header = packed[:at] + (2**30).to_bytes(4, "big") + packed[at + 4 :]
    decoder = decoder_of(layout, 2**31)
    before = _resident()
    decoder.receive_data(header + bytes(100), MS)
    assert decoder.buffered_size == 100
    assert _resident() - before < 2**26


def _resident() -> int:
    """Bytes of this process in memory."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * 4096


@every_layout
def test_a_long_message_in_single_bytes_takes_up_its_own_size(layout: Layout) -> None:
    """A peer that sends a declared message byte by byte makes this side keep little more than these bytes."""
    data = frame(layout, bytes(20_000))
    chunks = [data[: layout.header_size + 1], *(data[at : at + 1] for at in range(layout.header_size + 1, len(data) - 1))]
    decoder = decoder_of(layout)
    tracemalloc.start()
    try:
        for chunk in chunks:
            decoder.receive_data(chunk, MS)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 40_000
    assert contents(fed(decoder, [data[-1:]])) == [bytes(20_000)]


@every_layout
def test_a_declared_size_is_not_allocated(layout: Layout) -> None:
    """What is kept grows with the bytes that arrive, whatever the allocator has left from earlier messages."""
    data = frame(layout, bytes(1024 * 1024))
    decoder = decoder_of(layout)
    tracemalloc.start()
    try:
        decoder.receive_data(data[:8192], MS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32_768


@every_layout
def test_filling_in_place_copies_nothing_it_need_not(layout: Layout) -> None:
    """A large message takes up its own size while it arrives, not twice that."""
    content = bytes(1024 * 1024)
    data = frame(layout, content)
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    decoder = decoder_of(layout)
    keep_freed_memory()  # once in a process, for a moment
    tracemalloc.start()
    try:
        events = [event for chunk in chunks for event in decoder.receive_data(chunk, MS)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(events) == 1
    assert peak < 1.5 * len(content)


# Garbage


@magic_layouts
@pytest.mark.parametrize(
    "garbage", [b"x" * 40, b"V" * 40, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", bytes(5000), b"VVVVVVVVVVVVVVVVVVXV"]
)
def test_garbage_is_scanned_to_the_next_magic(layout: Layout, garbage: bytes) -> None:
    """One refusal and one strike for a whole run of garbage; the frame behind it is delivered."""
    data = frame(layout, b"before") + garbage.replace(b"VX", b"") + frame(layout, b"after")
    for chunks in ([data], one_by_one(data), chopped(data, range(0, len(data), 7))):
        decoder = decoder_of(layout, max_violations=2)
        events = fed(decoder, chunks)
        assert contents(events) == [b"before", b"after"]
        assert refusals(events) == [(RejectReason.GARBAGE, -1)]
        assert decoder.error is None


@magic_layouts
def test_each_run_of_garbage_is_a_strike(layout: Layout) -> None:
    """Garbage before and after a sound frame is two runs, and two strikes."""
    data = b"#" * 50 + frame(layout, b"1") + b"#" * 50 + frame(layout, b"2")
    assert contents(fed(decoder_of(layout, max_violations=3), [data])) == [b"1", b"2"]
    decoder = decoder_of(layout, max_violations=2)
    assert contents(fed(decoder, [data])) == [b"1"]
    assert isinstance(decoder.error, TooManyProtocolErrors)


@magic_layouts
def test_a_run_of_garbage_ends_with_the_read_that_brings_a_sound_frame(layout: Layout) -> None:
    """Whether a whole frame comes in a read of its own or not, garbage behind it is another run."""
    decoder = decoder_of(layout)
    chunks = [b"#" * 50, frame(layout, b"1"), b"#" * 50, b"#" * 50, frame(layout, b"2") + frame(layout, b"3")[:-1], b"#" * 51]
    assert refusals(fed(decoder, chunks)) == [(RejectReason.GARBAGE, -1)] * 2 + [
        (RejectReason.BAD_CHECKSUM, 200),
        (RejectReason.GARBAGE, -1),
    ]
    assert decoder.violations == 4


@magic_layouts
def test_a_lone_v_at_the_end_of_a_read_is_not_lost(layout: Layout) -> None:
    """The first byte of a magic that ends a read of garbage begins the next frame (real releases lose it)."""
    data = frame(layout, b"hi")
    decoder = decoder_of(layout)
    assert fed(decoder, [b"#" * 50 + data[:1]]) == [(RejectReason.GARBAGE, -1)]
    assert decoder.buffered_size == 1
    assert contents(fed(decoder, [data[1:]])) == [b"hi"]


@magic_layouts
def test_garbage_is_not_kept(layout: Layout) -> None:
    """Endless garbage takes up no memory and makes one event."""
    decoder = decoder_of(layout)
    events = fed(decoder, [b"#" * 10000] * 100)
    assert events == [(RejectReason.GARBAGE, -1)]
    assert decoder.buffered_size < layout.header_size


@bare_layouts
def test_without_a_magic_nothing_is_resynchronised(layout: Layout) -> None:
    """On layouts without a magic garbage is read as a header: a size over the limit ends the stream."""
    decoder = decoder_of(layout)
    assert fed(decoder, [b"GET / HTTP/1.1\r\n" * 10 + frame(layout, b"after")]) == []
    assert isinstance(decoder.error, FrameTooLarge)
    assert decoder.error.size == layout.header_size + int.from_bytes(b"T / ", "big")


# Whatever comes


LAYOUTS = st.sampled_from(ALL_LAYOUTS)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Layout, bytes]:
    """Bytes between nonsense and a sound stream."""
    layout = draw(LAYOUTS)
    piece = st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=80).map(lambda content: frame(layout, content)),
        st.binary(max_size=80).map(lambda content: frame(layout, content, UNKNOWN)),
        st.binary(min_size=1, max_size=80).map(lambda content: spoiled(frame(layout, content), layout)),
        st.integers(4090, 4200).map(lambda size: frame(layout, bytes(size))),
        st.integers(0, 40).map(lambda size: frame(layout, b"cut")[:size]),
        st.sampled_from([b"V", b"X", b"VX", bytes(64), b"\xff" * 64]),
    )
    return layout, b"".join(draw(st.lists(piece, max_size=8)))


@settings(max_examples=400, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_any_bytes_are_events_and_the_chunking_does_not_matter(stream: tuple[Layout, bytes], cuts: list[int]) -> None:
    """Any bytes make events or end the stream, never another exception, the same however they arrive, within the limit."""
    layout, data = stream
    limit = 6000
    whole, parts = decoder_of(layout, limit, 4), decoder_of(layout, limit, 4)
    expected = fed(whole, [data])
    events: list[Seen] = []
    for chunk in chopped(data, (cut for cut in cuts if cut < len(data))):
        events += fed(parts, [chunk])
        assert parts.buffered_size <= limit
    assert events == expected
    assert str(parts.error) == str(whole.error)


@settings(max_examples=200, deadline=None)
@given(layout=LAYOUTS, data=st.binary(max_size=600), limit=st.integers(128, 700))
def test_plain_noise_stays_within_the_limit(layout: Layout, data: bytes, limit: int) -> None:
    """Noise, one byte at a time, is never kept beyond the limit and gives the same events as in one piece."""
    decoder = decoder_of(layout, limit)
    events = []
    for byte in one_by_one(data):
        events += fed(decoder, [byte])
        assert decoder.buffered_size <= limit
    assert events == fed(decoder_of(layout, limit), [data])


@settings(max_examples=150, deadline=None)
@given(layout=st.sampled_from([W16, W15]), runs=st.lists(st.binary(max_size=60), max_size=6))
def test_garbage_is_one_event_for_each_run(layout: Layout, runs: list[bytes]) -> None:
    """Between two sound frames there is one GARBAGE at most."""
    data = b"".join(run + frame(layout, b"mark") for run in runs)
    events = fed(decoder_of(layout), [data])
    for (kind, _), group in groupby(event[:2] for event in events):
        if kind is RejectReason.GARBAGE:
            assert len(list(group)) == 1


def test_a_session_is_the_same_for_every_split() -> None:
    """40 messages of up to 70000 bytes decode alike for every cut in the first 600 bytes and 300 random choppings."""
    dice = Random(20261121)
    sizes = [0, 1, 2, 15, 100, 4095, 4096, 4097, 70000] + [int(2 ** dice.uniform(0, 14)) for _ in range(31)]
    messages = [dice.randbytes(size) for size in sizes]
    for layout in (W15, W16, W14, W22, W62, W46):
        data = b"".join(frame(layout, content, request_id=number) for number, content in enumerate(messages))
        for cut in range(600):
            decoder = decoder_of(layout)
            assert contents(fed(decoder, chopped(data, [cut]))) == messages
        for _ in range(50):
            cuts = accumulate(int(2 ** dice.uniform(0, 15)) for _ in range(200))
            decoder = decoder_of(layout)
            assert contents(fed(decoder, chopped(data, [cut for cut in cuts if cut < len(data)]))) == messages


def test_splits_of_a_sampled_stream_that_needs_every_rule() -> None:
    """Sound, spoiled, unknown and garbage in one stream: each cut in two gives the same events."""
    for layout in ALL_LAYOUTS:
        data = frame(layout, b"1") + spoiled(frame(layout, b"2"), layout) + frame(layout, b"3", UNKNOWN) + frame(layout, b"4", LAST)
        data += (b"garbage V" if layout.magic else b"") + frame(layout, b"5", ASK) + frame(layout, bytes(LIMIT))[:100]
        expected = fed(decoder_of(layout), [data])
        assert contents(expected) == [b"1", b"4", b"5"]
        for cut in range(400):
            assert fed(decoder_of(layout), chopped(data, [cut])) == expected


@pytest.mark.parametrize("size", [100, 5000, 70_000])
@pytest.mark.parametrize("unsent", [9, 12, 16, 200, 250])
@pytest.mark.parametrize("step", [7, 4096, 10**6])
def test_a_message_sent_again_after_a_part_of_it_arrives(size: int, unsent: int, step: int) -> None:
    """Releases 1.7.0 to 3.0.0 repeat a message from its start after a partial send: it is delivered once, without a strike."""
    for layout in (W16, W15):
        content = bytes(range(256)) * (size // 256 + 1)
        frame = layout.pack(200, content, 7, 0) + content
        after = layout.pack(201, b"after", 8, 0) + b"after"
        part = frame[:-unsent]
        stream = part + part + frame + after
        decoder = FrameDecoder(layout, MessageRegistry(open=True).get, 10**6)
        events = [event for start in range(0, len(stream), step) for event in decoder.receive_data(stream[start : start + step], 0)]
        assert [event.content for event in events if isinstance(event, Response)] == [content, b"after"]
        assert decoder.violations == 0


def test_a_frame_that_begins_again_without_end_is_given_up() -> None:
    """A peer cannot have the same bytes checked over and over: a frame begins again a few times, then it is refused."""
    header = W15.pack(200, bytes(60_000), 7, 0)
    decoder = FrameDecoder(W15, MessageRegistry(open=True).get, 10**6, 3)
    stream = (header + b"x" * 45) * 5000
    events = decoder.receive_data(stream, 0)
    again = [event for event in events if isinstance(event, FrameRejected) and event.reason is RejectReason.REPEATED]
    assert len(again) <= 16 * 3
    assert not any(isinstance(event, Response) for event in events)


def test_garbage_without_end_is_more_than_one_strike() -> None:
    """Each max_message_size of one run of garbage is a strike, so that it comes to an end."""
    decoder = FrameDecoder(W15, MessageRegistry(open=True).get, 10_000, 4)
    for _ in range(100):
        decoder.receive_data(b"z" * 1000, 0)
    assert isinstance(decoder.error, TooManyProtocolErrors)


def test_the_strikes_of_garbage_do_not_depend_on_the_chunking() -> None:
    """A run costs a strike, and one more for each max_message_size of it, whether it comes in one read or in many."""
    dice = Random(5)
    for layout in (W16, W15):
        for length in (1, 2, layout.header_size, 99, 100, 101, 300, 301):
            for run in (b"z" * length, b"V" * length, bytes(dice.choice(b"Vz") for _ in range(length))):
                stream = frame(layout) + run + frame(layout)
                results = []
                for step in (1, 2, 7, 99, len(stream)):
                    decoder = decoder_of(layout, 100, 3)
                    events = fed(decoder, (stream[at : at + step] for at in range(0, len(stream), step)))
                    results.append((events, decoder.violations, decoder.buffered_size, str(decoder.error)))
                assert results.count(results[0]) == len(results)
                assert results[0][1] == min(3, 1 + (length - 1) // 100)


class Weighed(bytes):
    """Bytes that count what is copied of them and of what is made of them."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        Weighed.copied += len(found)
        return Weighed(found)

    def __add__(self, other: bytes) -> Weighed:
        joined = Weighed(super().__add__(other))
        Weighed.copied += len(joined)
        return joined


def test_frames_that_begin_again_cost_no_copy_of_the_read() -> None:
    """However many frames of a read begin again, all copies together stay below a few times its length."""
    header = W15.pack(200, bytes(15), 5, 0)
    stream = (header + header + bytes(15)) * 2000
    for before in (b"", W15.pack(200, bytes(5000), 5, 0) + bytes(9)):
        decoder = FrameDecoder(W15, MessageRegistry(open=True).get, LIMIT)
        decoder.receive_data(before, 0)
        Weighed.copied = 0
        events = decoder.receive_data(Weighed(stream), 0)
        assert sum(isinstance(event, Response) for event in events) > 1800
        assert Weighed.copied < 4 * len(stream)
