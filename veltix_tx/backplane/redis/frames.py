"""Frames: what nodes send to each other on Redis's channels.

A frame is ``V``, the version ``1``, a letter for its kind, the sender's node, and its items, each text or payload behind its length
in 4 bytes. A frame of another version is none of ours: counted by who reads it, and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from struct import Struct
from typing import NamedTuple

__all__ = ["Frame", "Kind", "MalformedFrame", "decode", "frame", "header", "numbered", "split_number"]

_MARK = b"V1"
_LENGTH = Struct(">I")
_NUMBER_SIZE = 8


class Kind(bytes, Enum):
    """Kind of a frame."""

    MESSAGES = b"M"
    """Payloads of messages without a history."""
    HISTORY = b"H"
    """An epoch, the offset of the first, and payloads of messages with a history; made by a script."""
    PRESENCE = b"P"
    """Changes of presence: ``j``, ``u`` or ``l``, member and info of each; made by a script."""
    DIRECTED = b"D"
    """Payloads of messages to one node."""
    REQUEST = b"Q"
    """A number, and a request's payload."""
    REPLY = b"A"
    """A request's number, and a reply's payload."""
    GONE = b"G"
    """A node that is gone."""


class MalformedFrame(ValueError):
    """What came is no frame of this version."""


class Frame(NamedTuple):
    """A frame, read.

    Attributes:
        kind: its kind.
        node: who sent it.
        items: what is in it.
    """

    kind: Kind
    node: str
    items: list[bytes]


def _item(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def header(kind: Kind, node: str) -> bytes:
    """Return a frame's beginning, behind which the items go."""
    return _MARK + kind.value + _item(node.encode())


def frame(beginning: bytes, items: Iterable[bytes]) -> bytes:
    """Return a frame of its :func:`header` and items."""
    parts = [beginning]
    for each in items:
        parts.append(_LENGTH.pack(len(each)))
        parts.append(each)
    return b"".join(parts)


def decode(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        MalformedFrame: it is none of this version, or cut short.
    """
    if data[:2] != _MARK:
        raise MalformedFrame(data[:16])
    items, at, end = [], 3, len(data)
    while at < end:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        if start > end or at > end:
            raise MalformedFrame(data[:16])
        items.append(data[start:at])
    try:
        return Frame(Kind(data[2:3]), items.pop(0).decode(), items)
    except (IndexError, ValueError):
        raise MalformedFrame(data[:16]) from None


def numbered(number: int, payload: bytes) -> bytes:
    """Return a request's or a reply's payload behind its number."""
    return number.to_bytes(_NUMBER_SIZE, "big") + payload


def split_number(data: bytes) -> tuple[int, bytes]:
    """Return the number and the payload of a request or a reply."""
    return int.from_bytes(data[:_NUMBER_SIZE], "big"), data[_NUMBER_SIZE:]
