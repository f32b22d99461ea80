from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W14, W15, W16, W22, W46, W62, Layout
from veltix_tx.wire.veltix.releases import RELEASES

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
CAPTURED = [
    pytest.param(RELEASES[release].layout, frame, id=f"{kind}-{release}-{number}")
    for kind in ("sessions", "compiled")
    for release, frames in {**VECTORS[kind]}.items()
    for number, frame in enumerate(frames)
    if "json" not in frame
]

every_layout = pytest.mark.parametrize("layout", ALL_LAYOUTS, ids=lambda layout: layout.name)


@every_layout
def test_a_layout_is_named_after_its_header(layout: Layout) -> None:
    """A layout's name is the header's length in bytes."""
    assert layout.name == f"W{layout.header_size}"


@pytest.mark.parametrize(
    ("layout", "id_size", "clock", "magic", "digest"),
    [
        (W46, 0, True, b"", sha256(b"x").digest()),
        (W62, 16, True, b"", sha256(b"x").digest()),
        (W22, 4, True, b"", crc32(b"x")),
        (W14, 4, False, b"", crc32(b"x")),
        (W16, 4, False, b"VX", crc32(b"x")),
        (W15, 2, False, b"VX", crc32(b"x")),
    ],
)
def test_a_layout_has_the_fields_of_its_generation(
    layout: Layout, id_size: int, clock: bool, magic: bytes, digest: int | bytes
) -> None:
    """Each generation has its own checksum, clock, magic and width of request ids."""
    assert (layout.id_size, layout.clock, layout.magic, layout.checksum(b"x")) == (id_size, clock, magic, digest)


def test_every_layout_with_a_real_release_is_covered_by_captured_frames() -> None:
    """No generation that was ever published goes without vectors."""
    assert {layout.name for layout, _ in (param.values for param in CAPTURED)} == {"W62", "W22", "W14", "W16", "W15"}  # type: ignore[union-attr]
    assert len(VECTORS["sessions"]) == 17


@pytest.mark.parametrize(("layout", "frame"), CAPTURED)
def test_packing_reproduces_a_captured_header(layout: Layout, frame: dict[str, Any]) -> None:
    """From the recorded fields a header comes out as the real release put it on the wire, bit for bit."""
    content = bytes.fromhex(frame["content"])
    packed = layout.pack(frame["code"], content, int(frame["id"], 16), frame.get("ms", 0))
    assert (packed + content).hex() == frame["hex"]


@pytest.mark.parametrize(("layout", "frame"), CAPTURED)
def test_unpacking_returns_the_recorded_fields(layout: Layout, frame: dict[str, Any]) -> None:
    """A captured header unpacks to the fields that were recorded with it."""
    header = layout.unpack(bytes.fromhex(frame["hex"]))
    digest = header.digest.hex() if isinstance(header.digest, bytes) else f"{header.digest:08x}"
    assert header.sound
    assert (header.code, header.size) == (frame["code"], len(frame["content"]) // 2)
    assert (header.timestamp, header.request_id) == (frame.get("ms", 0), int(frame["id"], 16))
    if "digest" in frame:
        assert digest == frame["digest"]


@given(
    layout=st.sampled_from(ALL_LAYOUTS),
    code=st.integers(0, 65535),
    content=st.binary(max_size=64),
    request_id=st.integers(0, 2**128 - 1),
    ms=st.integers(0, 2**64 - 1),
)
def test_what_is_packed_unpacks_to_the_same(layout: Layout, code: int, content: bytes, request_id: int, ms: int) -> None:
    """Every header unpacks to what was packed, the request id cut to the layout's width."""
    header = layout.unpack(bytearray(layout.pack(code, content, request_id, ms)))
    assert header == (
        code,
        len(content),
        layout.checksum(content),
        ms if layout.clock else 0,
        request_id % 256**layout.id_size,
        True,
    )


@pytest.mark.parametrize("layout", [W16, W15], ids=lambda layout: layout.name)
def test_a_header_without_its_magic_is_not_sound(layout: Layout) -> None:
    """A header that does not start with VX is told apart."""
    packed = layout.pack(200, b"", 1, 0)
    assert layout.unpack(packed).sound
    assert not layout.unpack(b"VY" + packed[2:]).sound


@pytest.mark.parametrize("flags", range(256))
def test_any_flags_byte_is_accepted(flags: int) -> None:
    """The 15-byte header's flags are sent as 0 and ignored on receipt."""
    packed = W15.pack(200, b"hi", 7, 0)
    assert packed[2] == 0
    assert W15.unpack(packed[:2] + bytes([flags]) + packed[3:]) == W15.unpack(packed)
