"""Annotation of Veltix's frames, and of the JSON handshake, in a recorded stream of one direction."""

from __future__ import annotations

import json
from collections.abc import Iterator

from veltix_tx.wire.annotation import HIDDEN, Piece
from veltix_tx.wire.messages import AUTHENTICATE, EXTENSION_TYPES, FIRST_USER_CODE, SYSTEM_TYPES
from veltix_tx.wire.veltix.authentication import CREDENTIALS
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, Header, Layout

__all__ = ["annotate"]

_JSON = 2
"""Bytes of the length in front of the JSON handshake's object."""

_SECRETS = ("token", "password")
"""Keys of an object of credentials whose values are not shown."""

_LONGEST = 10 * 1024 * 1024
"""Bytes of a content from which what looks like a frame that is cut off is none: most are never sent."""


def annotate(data: bytes, layout: Layout | None) -> Iterator[Piece]:
    """Yield the parts of a stream, up to its end or to what is none of its layout.

    Args:
        data: the stream.
        layout: of its frames; None to find it out for each frame, by its checksum.
    """
    position, used = 0, layout
    while position < len(data):
        hello = _hello(data, position)
        if hello is not None:
            yield hello
            position += len(hello.data)
            continue
        used = layout or _find(data, position, used) or _begun(data[position:], used)
        if used is None or position + used.header_size > len(data):
            break
        start = position + used.header_size
        header = used.unpack(data[position:start])
        if not header.sound:
            break
        content = data[start : start + header.size]
        complete = len(content) == header.size
        right = complete and used.checksum(content) == header.digest
        checksum = "right" if right else "WRONG" if complete else "of what is missing"
        yield Piece(position, data[position:start], f"{used.name} header", _fields(header, used, checksum), right, complete)
        if content:
            yield _content(start, content, header, right, complete)
        position = start + header.size
    if position < len(data):
        yield _rest(position, data[position:], used)


def _content(start: int, content: bytes, header: Header, sound: bool, complete: bool) -> Piece:
    title = "content" if complete else "content, the rest of which is missing"
    if header.code != AUTHENTICATE.code:
        return Piece(start, content, title, {}, sound, complete)
    shown, secret = _without_secrets(content)
    return Piece(start, content, title, {"object": shown}, sound, complete, secret)


def _rest(position: int, rest: bytes, layout: Layout | None) -> Piece:
    """Return the part behind the last whole one: what the stream's end cuts off, or what is nothing of the wire."""
    secret = _names_secret(rest)
    if rest[_JSON : _JSON + 1] == b"{" and int.from_bytes(rest[:_JSON], "big") > len(rest) - _JSON:
        return Piece(position, rest, "JSON handshake, the rest of which is missing", sound=False, complete=False, secret=secret)
    if layout is not None and len(rest) < layout.header_size and _may_begin(rest, layout):
        return Piece(position, rest, f"{layout.name} header, the rest of which is missing", sound=False, complete=False)
    return Piece(position, rest, "nothing of this wire", sound=False, secret=secret)


def _without_secrets(content: bytes) -> tuple[str, bool]:
    """Return a JSON object's text without the secrets of credentials, and whether there were some, or may have been."""
    text = content.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
        shown = _hidden(parsed)
    except (ValueError, RecursionError):
        return (HIDDEN, True) if _names_secret(content) else (text, False)
    return (text, False) if shown == parsed else (json.dumps(shown), True)


def _names_secret(data: bytes) -> bool:
    return any(f'"{key}"'.encode() in data for key in (CREDENTIALS, *_SECRETS))


def _hidden(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {name: HIDDEN if name in _SECRETS else _hidden(each) for name, each in value.items()}


def _fields(header: Header, layout: Layout, checksum: str) -> dict[str, object]:
    known = SYSTEM_TYPES.get(header.code) or EXTENSION_TYPES.get(header.code)
    unknown = "a program's own" if header.code >= FIRST_USER_CODE else "unknown"
    fields: dict[str, object] = {
        "type": header.code,
        "name": known.name if known is not None else unknown,
        "size": header.size,
        "request id": header.request_id,
        "checksum": checksum,
    }
    if layout.clock:
        fields["ms since 1970"] = header.timestamp
    return fields


def _hello(data: bytes, position: int) -> Piece | None:
    """Return the part of a JSON handshake that begins there, None where none does."""
    size = int.from_bytes(data[position : position + _JSON], "big")
    content = data[position + _JSON : position + _JSON + size]
    if not (content.startswith(b"{") and content.endswith(b"}") and len(content) == size):
        return None
    shown, secret = _without_secrets(content)
    return Piece(position, data[position : position + _JSON + size], "JSON handshake", {"object": shown}, secret=secret)


def _find(data: bytes, position: int, before: Layout | None) -> Layout | None:
    """Return the layout of the frame that begins there: one with a right checksum, behind which another frame begins at best.

    Of several, which a frame without content may fit, that of the frame before.
    """
    layouts = [before, *ALL_LAYOUTS] if before is not None else _with_magic(data[position:]) or ALL_LAYOUTS
    fitting = [layout for layout in layouts if _end(data, position, layout)]
    followed = [each for each in fitting if _is_followed(data, _end(data, position, each))]
    return next(iter([*followed, *fitting]), None)


def _begun(rest: bytes, before: Layout | None) -> Layout | None:
    """Return the layout of the frame that begins there and is cut off, None where none can be told.

    That of the frame before, or one with a magic: anything might be the begin of a frame of the others.
    """
    layouts = _with_magic(rest) or ([] if before is None else [before])
    likely = [layout for layout in layouts if _may_begin(rest, layout)]
    return min(likely, key=lambda layout: _padded(rest, layout).size, default=None)


def _with_magic(data: bytes) -> list[Layout]:
    """Return the layouts that have a magic, which the bytes begin with."""
    return [layout for layout in ALL_LAYOUTS if layout.magic and data.startswith(layout.magic)]


def _may_begin(rest: bytes, layout: Layout) -> bool:
    """Return True if all of the bytes may be a frame whose end is missing."""
    header = _padded(rest, layout)
    return rest.startswith(layout.magic[: len(rest)]) and len(rest) - layout.header_size < header.size <= _LONGEST


def _padded(rest: bytes, layout: Layout) -> Header:
    """Return the header that begins there, with zeros for what is missing of it."""
    return layout.unpack(rest[: layout.header_size].ljust(layout.header_size, b"\0"))


def _is_followed(data: bytes, end: int) -> bool:
    return end == len(data) or _hello(data, end) is not None or any(_end(data, end, layout) for layout in ALL_LAYOUTS)


def _end(data: bytes, position: int, layout: Layout) -> int:
    """Return where a whole frame of a layout that begins there ends; 0 where none does."""
    start = position + layout.header_size
    if start > len(data):
        return 0
    header = layout.unpack(data[position:start])
    end = start + header.size
    if not header.sound or end > len(data) or layout.checksum(data[start:end]) != header.digest:
        return 0
    return end
