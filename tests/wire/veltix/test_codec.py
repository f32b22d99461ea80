"""The compiled codec against Python's, and how one of them is chosen. Where it was not built, Python's stands for both."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.errors import SettingsError
from veltix_tx.wire.compiled import CODEC_VARIABLE
from veltix_tx.wire.events import FrameRejected
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.checksums import crc32
from veltix_tx.wire.veltix.encoder import framer
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W15, W22, Layout

TYPES = MessageRegistry()
for _code in (200, 201, 208, 65535):
    MessageType(_code, registry=TYPES)
MS = 1_795_000_000_000
LIMIT = 6000

every_layout = pytest.mark.parametrize("layout", ALL_LAYOUTS, ids=lambda layout: layout.name)


@contextmanager
def using(name: str) -> Iterator[None]:
    """A codec, for what is made inside."""
    before = codec.in_use()
    codec.use(name)
    try:
        yield
    finally:
        codec.use(before)


def decoded(name: str, layout: Layout, chunks: list[bytes]) -> list[Any]:
    """All that a decoder says of the chunks, with each field of each message."""
    told: list[Any] = []
    with using(name):
        decoder = FrameDecoder(layout, TYPES.get, LIMIT, 4)
    for chunk in chunks:
        for event in decoder.receive_data(chunk, MS + len(chunk)):
            if isinstance(event, FrameRejected):
                told.append(event)
                continue
            assert type(event) is Response
            values = [event.type, event.content, event.request_id, event.digest, event.received_at, event.timestamp]
            told += [[(type(value), value) for value in values], event.hash, event.latency]
        told.append((decoder.buffered_size, decoder.incoming_size, decoder.system_seen, decoder.violations, str(decoder.error)))
    return told


@st.composite
def streams(draw: st.DrawFn) -> tuple[Layout, bytes]:
    """A stream of frames of every kind, some of it hurt."""
    layout = draw(st.sampled_from(ALL_LAYOUTS))

    def frame() -> bytes:
        content = draw(st.one_of(st.binary(max_size=70), st.integers(0, 5900).map(lambda size: Random(size).randbytes(size))))
        code = draw(st.sampled_from([200, 200, 200, 201, 208, 65535, 0, 1, 10, 199, 300]))
        request_id = draw(st.integers(0, (1 << 8 * layout.id_size) - 1))
        return layout.pack(code, content, request_id, draw(st.sampled_from([0, 1, MS, 2**64 - 1]))) + content

    data = bytearray().join(frame() for _ in range(draw(st.integers(0, 8))))
    for _ in range(draw(st.integers(0, 2)) if data else 0):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return layout, bytes(data)


@settings(max_examples=600, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(0, 20_000), max_size=12))
def test_both_decode_alike(stream: tuple[Layout, bytes], cuts: list[int]) -> None:
    """On any bytes in any pieces both say the same after each piece: events, each field and its type, errors, state."""
    layout, data = stream
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[start:stop] for start, stop in pairwise(places)]
    first, *others = [decoded(name, layout, chunks) for name in codec.available()]
    assert all(other == first for other in others)


@settings(max_examples=300, deadline=None)
@given(
    layout=st.sampled_from(ALL_LAYOUTS),
    code=st.integers(-1, 65536),
    content=st.one_of(st.binary(max_size=100), st.integers(65500, 65600).map(bytes)),
    request_id=st.one_of(st.integers(-1, 2**17), st.integers(2**31, 2**32), st.just(2**70), st.just(True), st.none()),
    ms=st.sampled_from([0, MS, 2**64 - 1, 2**64, -1]),
)
def test_both_encode_alike(layout: Layout, code: int, content: bytes, request_id: Any, ms: int) -> None:
    """Both make the same frames, and refuse the same type codes, ids and clocks."""
    made = []
    for name in codec.available():
        with using(name):
            encode = framer(layout, lambda: ms)
        try:
            made.append(encode(code, content, request_id))
        except (struct.error, OverflowError):
            made.append(None)
        except AttributeError:
            assert layout.wide_id
            assert request_id is None
            made.append(None)
    assert all(other == made[0] for other in made)


@pytest.mark.parametrize("name", codec.available())
def test_the_checksum_is_that_of_zlib_for_every_size(name: str) -> None:
    """A content has zlib's CRC-32, whatever is left of it behind whole blocks of 16 and of 64 bytes, and wherever it begins."""
    with using(name):
        encode = framer(W15, lambda: MS)
    content = Random(1).randbytes(400)
    for size in range(300):
        for start in (0, 1, 7):
            part = content[start : start + size]
            assert W15.unpack(encode(200, part, 0)).digest == zlib.crc32(part), size


@pytest.mark.parametrize("name", codec.available())
@every_layout
def test_a_clock_is_called_for_each_frame(name: str, layout: Layout) -> None:
    """A clock that is just called gives each frame its time, in the layouts that carry one."""
    times = iter(range(MS, MS + 5))
    with using(name):
        encode = framer(layout, lambda: next(times))
    stamps = [layout.unpack(encode(200, b"x", 0)).timestamp for _ in range(5)]
    assert stamps == (list(range(MS, MS + 5)) if layout.clock else [0] * 5)


@pytest.mark.parametrize("name", codec.available())
@every_layout
def test_a_turn_clock_is_read_once_a_turn(name: str, layout: Layout) -> None:
    """All frames until the turn's end carry the time of the first, or one kept before; those of the next turn are later."""
    times = iter(range(MS, MS + 100))
    clock = TurnClock(lambda: next(times))
    with using(name):
        encode = framer(layout, clock)

    def stamps() -> set[int]:
        return {layout.unpack(encode(200, b"x" * size, 0)).timestamp for size in range(5)}

    def read() -> set[int]:
        return {next(times) - 1} if layout.clock else {0}

    assert stamps() == ({MS} if layout.clock else {0})
    for _ in range(3):
        clock.ms = None
        assert stamps() == read()
    clock.ms = None
    kept = clock.keep()
    assert stamps() == ({kept} if layout.clock else {0})
    assert clock() > kept
    assert stamps() == ({kept} if layout.clock else {0})


@pytest.mark.parametrize("name", codec.available())
@pytest.mark.parametrize("broken", [-1, 2**64, "now", None, 1.5])
def test_a_turn_clock_that_is_broken_is_no_frames_time(name: str, broken: Any) -> None:
    """What cannot be a time is refused by both codecs, kept or not, and the clock goes on when it is well again."""
    told: list[Any] = [broken]
    clock = TurnClock(lambda: told[0])
    with using(name):
        encode = framer(W22, clock)
    for _ in range(2):
        with pytest.raises((struct.error, OverflowError)):
            encode(200, b"x", 0)
    told[0], clock.ms = MS, None
    assert W22.unpack(encode(200, b"x", 0)).timestamp == MS


@every_layout
def test_the_checksum_is_right_for_every_length(layout: Layout) -> None:
    """A content of any length up to 600 bytes, and some longer, has the checksum that zlib or hashlib gives it, both ways."""
    dice = Random(1)
    expected: Callable[[bytes], int | bytes] = zlib.crc32 if layout.checksum(b"") == 0 else layout.checksum
    for size in [*range(600), 1023, 1024, 4095, 4096, 65535, 65536, 65537]:
        content = dice.randbytes(size)
        data = framer(layout, lambda: MS)(200, content, 3 if layout.id_size else 0)
        assert layout.unpack(data).digest == expected(content)
        (message,) = FrameDecoder(layout, TYPES.get, 100_000).receive_data(data, MS)
        assert isinstance(message, Response)
        assert message.content == content


def test_a_lookup_that_fails_fails_the_same_way() -> None:
    """What a lookup raises comes out of both."""

    def lookup(code: int) -> None:
        raise LookupError(f"no {code}")

    for name in codec.available():
        with using(name):
            decoder = FrameDecoder(W15, lookup, LIMIT)
        with pytest.raises(LookupError, match="no 200"):
            decoder.receive_data(W15.pack(200, b"", 1, 0), MS)


def test_a_decoder_keeps_the_codec_it_was_made_with() -> None:
    """A choice is for what is made afterwards; connections in the middle of a frame are left alone."""
    data = W15.pack(200, b"hi", 1, 0) + b"hi"
    for name in codec.available():
        with using(name):
            decoder = FrameDecoder(W15, TYPES.get, LIMIT)
            assert decoder.receive_data(data[:-1], MS) == []
        with using("python"):
            assert len(decoder.receive_data(data[-1:] + data, MS)) == 2


@pytest.mark.parametrize("name", codec.available())
@pytest.mark.parametrize("layout", [W15, W22], ids=lambda layout: layout.name)
def test_many_messages_leave_nothing_behind(name: str, layout: Layout) -> None:
    """However many messages, refusals and errors go through, no object is left over and no reference is lost."""

    def failing(code: int) -> None:
        raise LookupError

    with using(name):
        decoder, broken = FrameDecoder(layout, TYPES.get, LIMIT), FrameDecoder(layout, failing, LIMIT)
        encode = framer(layout, lambda: MS)
        clock = TurnClock(iter(range(MS, 2 * MS)).__next__)
        turned = framer(layout, clock)
    sound = b"".join(encode(200 + number % 2, b"x" * (number % 90), 40_000 + number) for number in range(1000))
    unknown = encode(300, b"x" * 70_000, 9)[: layout.header_size] + b"VX"
    many = 200_000 if name == "c" else 50_000

    def go(rounds: int) -> tuple[int, int]:
        for _ in range(rounds):
            decoder.receive_data(sound, MS)
        for _ in range(1000):
            with pytest.raises(LookupError):
                broken.receive_data(sound, MS)
            with pytest.raises((struct.error, OverflowError)):
                encode(200, b"", -1)
            FrameDecoder(layout, TYPES.get, LIMIT).receive_data(unknown, MS)
            framer(layout, lambda: MS)(201, b"y", 1)
            for _ in range(3):
                decoder.receive_data(turned(201, b"y", 1) + turned(201, b"z", 1), MS)
            clock.ms = None
        gc.collect()
        return sys.getallocatedblocks(), sum(sys.getrefcount(known) for known in TYPES) + sys.getrefcount(Response)

    go(20)
    blocks, references = go(1)
    blocks_later, references_later = go(many // 1000)
    assert references_later == references
    assert blocks_later - blocks < 900  # each path ran a thousand times and more


# The choice.


def test_a_codec_that_is_not_there_cannot_be_used() -> None:
    """The error names the codecs there are."""
    with pytest.raises(SettingsError, match=r"codec is 'rust': it must be .*python"):
        codec.use("rust")


def said(code: str, *, isal: Path | None = None, **environment: str) -> str:
    """The last line of a fresh Python that runs the code, or of its traceback."""
    inherited = {name: value for name, value in os.environ.items() if name != CODEC_VARIABLE}
    head = f"import sys; sys.path.insert(0, {str(isal)!r})\n" if isal else "import sys; sys.modules['isal'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        cwd=Path(__file__).parent,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


SHOW = (
    "from veltix_tx.wire.veltix import codec; "
    "print(codec.description(), codec.available(), 'veltix_tx.wire.veltix._codec' in sys.modules)"
)
NOT_BUILT = "sys.modules['veltix_tx.wire.veltix._codec'] = None\n"


def test_the_compiled_codec_is_used_where_it_is() -> None:
    """Without a word of the user the fastest codec there is works."""
    there = find_spec("veltix_tx.wire.veltix._codec") is not None
    expected = "codec: c, CRC-32: own ('c', 'python') True" if there else "codec: python, CRC-32: zlib ('python',) False"
    assert said(SHOW) == expected
    assert said(SHOW, VELTIX_TX_CODEC="") == said(SHOW)


@pytest.mark.parametrize("size", [*range(70), 1000, *range(1020, 1100), *range(1264, 1364), 65535, 65536, 1_000_003])
def test_the_crc_in_use_is_that_of_zlib(size: int) -> None:
    """Of any bytes, at any alignment, whole or in parts, whoever computes it."""
    data = Random(size).randbytes(size + 3)
    for start in range(4):
        part = memoryview(data)[start : start + size]
        assert crc32(part) == zlib.crc32(part)
        for cut in {size // 3, size // 2, max(0, size - 1)}:
            assert crc32(part[cut:], crc32(part[:cut])) == zlib.crc32(part)


def test_the_environment_turns_the_compiled_codec_off() -> None:
    """It is then not even loaded."""
    assert said(SHOW, VELTIX_TX_CODEC="python") == "codec: python, CRC-32: zlib ('python',) False"


def test_without_the_compiled_codec_everything_works() -> None:
    """Where it was not built Python's codec works by itself; to insist on it is an error."""
    assert said(NOT_BUILT + SHOW) == "codec: python, CRC-32: zlib ('python',) True"
    assert "VELTIX_TX_CODEC is 'c': it must be python, or not set" in said(NOT_BUILT + SHOW, VELTIX_TX_CODEC="c")


def test_a_wrong_word_in_the_environment_is_an_error() -> None:
    """It says what can stand there, whether the compiled codec is there or not."""
    for head in ("", NOT_BUILT):
        assert "VELTIX_TX_CODEC is 'fast': it must be" in said(head + SHOW, VELTIX_TX_CODEC="fast")


def test_the_crc_of_isal_is_picked_up_by_itself(tmp_path: Path) -> None:
    """Where isal is installed its CRC-32 is the one that the layouts take."""
    (tmp_path / "isal").mkdir()
    (tmp_path / "isal" / "__init__.py").touch()
    (tmp_path / "isal" / "isal_zlib.py").write_text("def crc32(data): return 7\n")
    show = SHOW.replace("codec.description()", "codec.description(), W15.checksum(b'x')")
    assert said("from veltix_tx.wire.veltix.layouts import W15;" + show, isal=tmp_path, VELTIX_TX_CODEC="python") == (
        "codec: python, CRC-32: isal 7 ('python',) False"
    )
