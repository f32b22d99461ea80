"""The peer that is asyncio at its best: what it does with bytes, without a network."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.benchmark.peers.headers import HEADERS
from veltix_tx.benchmark.peers.minimal import Decoder, Message

LARGE = 300_000
CONTENTS = st.lists(st.sampled_from([b"", b"a" * 64, b"b" * 5000, b"c" * LARGE, b"d" * 70_000]), max_size=6)


def stream_of(size: int, contents: list[bytes]) -> bytes:
    """Return messages with these contents and the ids 1, 2, 3 ..."""
    return b"".join(HEADERS[size].frame(content, 200, number) for number, content in enumerate(contents, 1))


def decoded(size: int, stream: bytes, reads: list[int]) -> tuple[list[Message], int]:
    """Return what is received of a stream in reads of at most so many bytes, over and over; and the bytes read into place."""
    messages = list[Message]()
    decoder = Decoder(HEADERS[size], messages.append)
    at = number = in_place = 0
    while at < len(stream):
        room = reads[number % len(reads)]
        number += 1
        if decoder.target is not None:
            piece = stream[at : at + min(room, len(decoder.target))]
            decoder.target[: len(piece)] = piece
            in_place += len(piece)
            decoder.fill(len(piece))
        else:
            piece = stream[at : at + (min(room, decoder.missing) if decoder.after_large else room)]
            decoder.feed(piece)
        at += len(piece)
    return messages, in_place


@settings(deadline=None)
@given(
    st.sampled_from([15, 22, 62]),
    CONTENTS,
    st.lists(st.integers(1, 200_000), min_size=1, max_size=5).filter(lambda x: max(x) > 999),
)
def test_contents_of_any_size_arrive_in_any_reads(size: int, contents: list[bytes], reads: list[int]) -> None:
    """Small ones, large ones, and those in between, in order, with their ids."""
    messages, _ = decoded(size, stream_of(size, contents), reads)
    assert [(message.code, bytes(message.content), message.request_id) for message in messages] == [
        (200, content, number) for number, content in enumerate(contents, 1)
    ]


def test_a_large_content_is_received_into_place() -> None:
    """All but what came with its header, and that is nothing where large ones follow one another."""
    read = 64 * 1024
    _, in_place = decoded(15, stream_of(15, [b"c" * LARGE] * 4), [read])
    assert in_place == 4 * LARGE - (read - 15)


@pytest.mark.parametrize("content", [b"a" * 64, b"c" * LARGE])
def test_a_changed_byte_is_refused(content: bytes) -> None:
    """By the checksum, as with every peer that has one."""
    stream = bytearray(stream_of(15, [content]))
    stream[-1] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        decoded(15, bytes(stream), [4096])
