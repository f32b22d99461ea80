"""Annotation of the messages of a plain wire in a recorded stream of one direction."""

from __future__ import annotations

from collections.abc import Iterator

from veltix_tx.errors import RemoteProtocolError
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.plain.options import PlainWire, Raw

__all__ = ["annotate"]


def annotate(wire: PlainWire, data: bytes) -> Iterator[Piece]:
    """Yield the messages of a stream with what frames them, up to its end or to what breaks a rule of the wire."""
    if isinstance(wire, Raw):
        yield Piece(0, data, "bytes, as they came")
        return
    framing = wire._framing(len(data) + 1)
    contents: list[bytes | None] = []
    begun = 0
    try:
        for position in range(len(data)):  # a byte at a time: where one ends is told by when it is there
            framing.feed(data[position : position + 1], contents)
            for content in contents:
                yield _piece(data, begun, position + 1, content)
                begun = position + 1
            contents.clear()
        framing.end(contents)
    except RemoteProtocolError as error:
        yield Piece(begun, data[begun:], str(error), sound=False)
        return
    for content in contents:
        yield _piece(data, begun, len(data), content)
        begun = len(data)
    if begun < len(data):
        yield Piece(begun, data[begun:], "message, the rest of which is missing", sound=False, complete=False)


def _piece(data: bytes, start: int, end: int, content: bytes | None) -> Piece:
    if content is None:
        return Piece(start, data[start:end], "garbage", sound=False)
    return Piece(start, data[start:end], "message", {"size": len(content), "text": content.decode("utf-8", "backslashreplace")})
