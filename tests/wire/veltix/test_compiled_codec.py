"""Misuse of the compiled codec is an error, never a crash. Collected where it was built."""

from __future__ import annotations

from typing import Any

import pytest

from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.veltix._codec import Decoder, Encoder
from veltix_tx.wire.veltix.layouts import W15

TYPES = MessageRegistry()
LIMIT = 6000


def test_a_compiled_decoder_takes_nothing_it_cannot_read() -> None:
    """Wrong arguments of a call are errors."""
    decoder: Any = Decoder(15, 2, False, LIMIT, 200, TYPES.get, Response, None)
    for wrong in [
        (),
        (b"", 0, 0),
        (b"", 0, 0, [], 1),
        (bytearray(20), 0, 0, []),
        (memoryview(b""), 0, 0, []),
        (b"", 0, 0, ()),
        (b"", "", 0, []),
    ]:
        with pytest.raises(TypeError):
            decoder(*wrong)
    with pytest.raises(TypeError):
        decoder(b"", 0, 0, events=[])
    for position in (-1, 3, 2**62):
        with pytest.raises(ValueError, match="position"):
            decoder(b"VX", position, 0, [])
    with pytest.raises(OverflowError):
        decoder(b"VX", 2**64, 0, [])
    assert decoder(b"VX", 2, 0, []) == 2


@pytest.mark.parametrize("layout", [(0, 0), (15, 4), (16, 2), (13, 2), (10, 0), (2**31 - 1, 4), (-(2**31), 4), (15, -5), (62, 16)])
def test_a_compiled_codec_takes_no_layout_it_does_not_know(layout: tuple[int, int]) -> None:
    """Only the headers there are can be worked on, so that no offset leads out of them."""
    for clock in (False, True):
        with pytest.raises(ValueError, match="no such layout"):
            Decoder(*layout, clock, LIMIT, 200, TYPES.get, Response, None)
        with pytest.raises(ValueError, match="no such layout"):
            Encoder(*layout, (lambda: 0) if clock else None)


class _Loose:
    type = content = request_id = digest = received_at = timestamp = None


class _Hiding(Response):
    @property
    def content(self) -> bytes:  # type: ignore[override]
        return b""


@pytest.mark.parametrize("wrong", [_Loose, _Hiding, object, int, tuple])
def test_a_compiled_decoder_fills_only_slots_it_is_sure_of(wrong: type) -> None:
    """A class whose fields are not slots, its own or inherited, is refused when the decoder is made."""
    with pytest.raises((TypeError, AttributeError)):
        Decoder(15, 2, False, LIMIT, 200, TYPES.get, wrong, None)


def test_a_compiled_encoder_takes_bytes_alone() -> None:
    """Wrong arguments of a call are errors."""
    encode: Any = Encoder(15, 2, None)
    for wrong in [(), (200, b""), (200, b"", 1, 2), (200, "", 1), (200, bytearray(), 1)]:
        with pytest.raises(TypeError):
            encode(*wrong)
    assert encode(200, bytes(10), 1) == W15.pack(200, bytes(10), 1, 0) + bytes(10)
