"""Presence: who is in a room, on any node, and how that changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from veltix_tx.backplane.interface import PresenceDiff, PresenceEntry
from veltix_tx.errors import InvalidContent, RoomError
from veltix_tx.wire.contents import pack

__all__ = ["Member", "PresenceChange", "change_of", "member_of", "members_of", "pack_identity", "pack_info", "public_change"]

_MAX_IDENTITY = 1024
"""Maximum bytes of an identity as it is told to other nodes; of a longer one, only the beginning of its text."""


@dataclass(frozen=True, slots=True)
class Member:
    """Member of a room.

    Attributes:
        id: its connection id, for ``server.send_to`` and the like.
        node: the node on which it lives.
        identity: its session's identity, as builtin types; one that MessagePack cannot hold is its text.
        since: seconds since 1970 when it joined, by its node's clock.
        state: what it says of itself.
    """

    id: str
    node: str
    identity: Any = None
    since: float = 0.0
    state: Any = None


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """Change of who is in a room.

    Attributes:
        room: the room's name.
        joined: members that are new.
        updated: members whose state is another one.
        left: members that are gone.
    """

    room: str
    joined: tuple[Member, ...] = ()
    updated: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.joined or self.updated or self.left)


class _Info(msgspec.Struct, array_like=True):
    """Member of a room as its node describes it to the others."""

    since: float
    identity: msgspec.Raw
    state: msgspec.Raw


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Info).decode
_decode_any = msgspec.msgpack.Decoder().decode


def pack_identity(identity: object) -> bytes:
    """Return an identity as MessagePack: equal ones are packed alike on every node."""
    try:
        packed = pack(identity)
    except InvalidContent:
        packed = b""
    return packed if 0 < len(packed) <= _MAX_IDENTITY else pack(str(identity)[: _MAX_IDENTITY // 4])


def pack_info(room: str, since: float, identity: object, state: object, limit: int) -> bytes:
    """Return what is said of a member.

    Raises:
        RoomError: its state is too large.
        InvalidContent: MessagePack cannot hold it.
    """
    packed = pack(state)
    if len(packed) > limit:
        raise RoomError(room, f"a state of {len(packed)} bytes is too large", limit)
    return _encode(_Info(since, msgspec.Raw(pack_identity(identity)), msgspec.Raw(packed)))


def member_of(entry: PresenceEntry) -> Member:
    """Return the member that an entry stands for; of info that cannot be read, only what the entry itself says."""
    try:
        info = _decode(entry.info)
        return Member(entry.member, entry.node, _decode_any(info.identity), info.since, _decode_any(info.state))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Member(entry.member, entry.node)


def members_of(entries: Iterable[PresenceEntry]) -> tuple[Member, ...]:
    """Return the members that entries stand for."""
    return tuple(map(member_of, entries))


def public_change(change: PresenceChange) -> PresenceChange:
    """Return a change as peers may see it: of identities only those that are texts or numbers."""

    def public(members: tuple[Member, ...]) -> tuple[Member, ...]:
        return tuple(each if isinstance(each.identity, (str, int)) else replace(each, identity=None) for each in members)

    return PresenceChange(change.room, public(change.joined), public(change.updated), public(change.left))


def change_of(room: str, diff: PresenceDiff) -> PresenceChange:
    """Return a diff of entries as one of members."""
    return PresenceChange(room, members_of(diff.joined), members_of(diff.updated), members_of(diff.left))
