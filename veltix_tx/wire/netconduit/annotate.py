"""Annotation of netconduit's frames in a recorded stream of one direction."""

from __future__ import annotations

from collections.abc import Iterator, Set

import msgspec

from veltix_tx.errors import ProtocolError
from veltix_tx.wire.annotation import HIDDEN, Piece
from veltix_tx.wire.netconduit.frames import HEADER, HEADER_SIZE, MAGIC, MAX_PAYLOAD, VERSION, FrameFlags, FrameType
from veltix_tx.wire.netconduit.payloads import inflate

__all__ = ["annotate"]

_SECRETS = {"password_hash", "session_token"}
"""Keys of the handshake's payloads whose values are not shown: a password's hash lets in whoever has it."""


def annotate(data: bytes) -> Iterator[Piece]:
    """Yield the parts of a stream, up to its end or to what is no frame."""
    position = 0
    while position + HEADER_SIZE <= len(data):
        magic, version, kind, flags, _, size, correlation, sent_at = HEADER.unpack_from(data, position)
        if magic != MAGIC:
            break
        start, end = position + HEADER_SIZE, position + HEADER_SIZE + size
        payload = data[start:end]
        known = kind in FrameType._value2member_map_
        fields: dict[str, object] = {
            "type": kind,
            "name": FrameType(kind).name if known else "unknown",
            "flags": " ".join(each.name or "" for each in FrameFlags if flags & each) or "none",
            "size": size,
            "correlation id": correlation,
            "ms since 1970": sent_at,
        }
        if version != VERSION:
            fields["version"] = version
        sound = known and version == VERSION and size <= MAX_PAYLOAD and end <= len(data)
        complete = end <= len(data)
        yield Piece(position, data[position:start], "netconduit header", fields, sound, complete)
        if payload:
            secret = kind in (FrameType.AUTH_REQUEST, FrameType.AUTH_SUCCESS)
            value = _value(payload, bool(flags & FrameFlags.COMPRESSED), _SECRETS if secret else frozenset())
            title = "payload" if complete else "payload, the rest of which is missing"
            said = {} if value is None else {"value": value}
            yield Piece(start, payload, title, said, value is not None and sound, complete, secret)
        position = end
    if position < len(data):
        rest = data[position:]
        begun = len(rest) < HEADER_SIZE and rest.startswith(MAGIC[: len(rest)])
        title = "netconduit header, the rest of which is missing" if begun else "nothing of this wire"
        yield Piece(position, rest, title, sound=False, complete=not begun, secret=any(key.encode() in rest for key in _SECRETS))


def _value(payload: bytes, compressed: bool, secrets: Set[str]) -> str | None:
    """Return what a payload holds, as JSON where that has it, without the values of secret keys; None for what is none."""
    try:
        packed = inflate(payload, MAX_PAYLOAD) if compressed else payload
        value = msgspec.msgpack.decode(packed)
    except (ProtocolError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if secrets:
        value = {name: HIDDEN if name in secrets else each for name, each in value.items()} if isinstance(value, dict) else HIDDEN
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, msgspec.MsgspecError, ValueError):
        return repr(value)
