"""Fast path: many ordinary frames of one size, or a single one, in one go where the compiled codec is not in use.

What it leaves, it leaves to the decoder: every rule about frames is in :mod:`veltix_tx.wire.veltix.frames`. A frame is
ordinary when nothing is wrong with it, its type is known, and it is none of the system's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any

from veltix_tx.wire.messages import FIRST_USER_CODE, MessageType, Response
from veltix_tx.wire.veltix.codec import Decode
from veltix_tx.wire.veltix.layouts import Layout

__all__ = ["batch_decoder"]

_LONGEST = 4096
"""Content longer than this (bytes) gains nothing."""

_FEWEST = 4
"""Frames of one size for which it is worth it."""


@lru_cache(maxsize=64)
def batch_decoder(
    layout: Layout, lookup: Callable[[int], MessageType | None], max_content: int, first_plain: int = FIRST_USER_CODE
) -> Decode | None:
    """Return what decodes runs of equal frames of a layout, None for one whose ids are bytes.

    Args:
        layout: the layout.
        lookup: type code -> message type, None for an unknown one.
        max_content: the most bytes of a content.
        first_plain: the first type code of messages that are passed on as they are.
    """
    if layout.wide_id:
        return None
    longest = min(max_content, _LONGEST)
    checksum, magic, header_size = layout.checksum, layout.magic, layout.header_size
    behind_size = layout.format.index("I") + 1
    head_size = Struct(layout.format[:behind_size]).size
    begins = f">{head_size}s{layout.format[behind_size:]}" if layout.clock else f">{head_size}sI0s{layout.format[-1]}"
    units: dict[int, Struct] = {}

    def known(head: bytes, declared: bytes) -> MessageType | None:
        """Return the type of the frames that begin so, None where they are none of the ordinary ones."""
        code = int.from_bytes(head[-6:-4], "big")
        ordinary = head.startswith(magic) and head[-4:] == declared and code >= first_plain
        return lookup(code) if ordinary else None

    def run(data: bytes, position: int, received_at: int, events: list[Any]) -> int:
        left = len(data) - position
        if left < header_size:
            return position
        begin = position + head_size - 4
        declared = data[begin : begin + 4]
        size = int.from_bytes(declared, "big")
        step = header_size + size
        count = left // step
        if size > longest:
            return position
        if left != step:  # a read of one message is worth it, too
            begin += (_FEWEST - 1) * step
            if count < _FEWEST or data[begin : begin + 4] != declared:
                return position
        unit = units.get(size)
        if unit is None:
            unit = units[size] = Struct(f"{begins}{size}s")
        last, message_type, before = b"", None, len(events)
        frames = unit.iter_unpack(memoryview(data)[position : position + count * step])
        for head, digest, timestamp, request_id, content in frames:
            if head != last:  # magic, type and size in one comparison
                last, message_type = head, known(head, declared)
            if message_type is None or checksum(content) != digest:
                break
            events.append(Response(message_type, content, request_id, digest, received_at, timestamp or None))
        return position + (len(events) - before) * step

    return run
