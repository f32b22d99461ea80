"""Messages of rooms with a history, between two of this package that agreed on them.

A server sends a kept message as ROOM, which has its place in the history with it. A client that connects again presents the places
of what it got last (RESUME), and gets what it missed. Where a place begins, and where something is missing, the server says
ROOM_POSITION; ROOM_LEFT ends it. Each is an array in MessagePack, at whose end later versions may add fields.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from veltix_tx.errors import InvalidContent

__all__ = [
    "RESUMES",
    "ROOMS",
    "Presented",
    "RoomContent",
    "RoomLeft",
    "RoomPosition",
    "decode_resume",
    "decode_room_content",
    "decode_room_left",
    "decode_room_position",
    "encode_room",
]

ROOMS = "rooms"
"""Feature of a client that understands ROOM, ROOM_POSITION and ROOM_LEFT."""

RESUMES = "resume"
"""Feature of a client that begins with a RESUME on this connection."""


_Name = Annotated[str, msgspec.Meta(max_length=256)]
_Short = Annotated[str, msgspec.Meta(max_length=128)]
_Offset = Annotated[int, msgspec.Meta(ge=0)]


class RoomContent(msgspec.Struct, array_like=True, frozen=True):
    """Message of a room.

    Attributes:
        room: the room's name.
        epoch: epoch of its place; empty for a message that has none, because the history could not be reached.
        offset: its number in the epoch.
        id: its id, by which a message that was sent without a place is known again when it comes with one.
        key: the code of its type.
        content: its content.
    """

    room: _Name
    epoch: _Short
    offset: _Offset
    id: _Short
    key: int
    content: bytes


class RoomPosition(msgspec.Struct, array_like=True, frozen=True):
    """Place up to which a session has a room's messages.

    Attributes:
        room: the room's name.
        epoch: the epoch.
        offset: number of the last message.
        member: the session's connection id, which the client presents with the place.
        gap: why messages before it are missing; empty where none is.
    """

    room: _Name
    epoch: _Short
    offset: _Offset
    member: _Short
    gap: _Short = ""


class RoomLeft(msgspec.Struct, array_like=True, frozen=True):
    """End of a session's membership in a room."""

    room: _Name


class Presented(msgspec.Struct, array_like=True, frozen=True):
    """Place that a client presents: the last message that it got of a room, and its connection id then."""

    room: _Name
    epoch: _Short
    offset: _Offset
    member: _Short


encode_room = msgspec.msgpack.Encoder().encode

_content = msgspec.msgpack.Decoder(RoomContent).decode
_position = msgspec.msgpack.Decoder(RoomPosition).decode
_left = msgspec.msgpack.Decoder(RoomLeft).decode
_resume = msgspec.msgpack.Decoder(list[Presented]).decode


def decode_room_content(content: bytes) -> RoomContent:
    """Return what a ROOM says; raises InvalidContent."""
    try:
        return _content(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidContent(content, "a room's message") from None


def decode_room_position(content: bytes) -> RoomPosition:
    """Return what a ROOM_POSITION says; raises InvalidContent."""
    try:
        return _position(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidContent(content, "a room's position") from None


def decode_room_left(content: bytes) -> RoomLeft:
    """Return what a ROOM_LEFT says; raises InvalidContent."""
    try:
        return _left(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidContent(content, "a room that was left") from None


def decode_resume(content: bytes) -> list[Presented]:
    """Return what a RESUME says; raises InvalidContent."""
    try:
        return _resume(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidContent(content, "an array of positions in rooms") from None
