"""Contents of messages as JSON and as text, and sizes for people."""

from __future__ import annotations

import json
from typing import Any

from veltix_tx.errors import InvalidContent

__all__ = ["decode_json", "decode_utf8", "encode_json", "encode_utf8", "format_bytes"]

_UNITS = ("KB", "MB", "GB", "TB")


def encode_json(data: object) -> bytes:
    """Return a value as JSON, in ASCII, as upstream writes it.

    Raises:
        InvalidContent: JSON cannot hold it: it is none of JSON's kinds, NaN or infinite, or nested too deep or in itself.
    """
    try:
        return json.dumps(data, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidContent(data, "something JSON can hold") from error


def decode_json(data: bytes) -> Any:
    """Return the value of a message's JSON.

    NaN and infinities are accepted, which upstream writes.

    Raises:
        InvalidContent: it is not UTF-8 or not JSON, has a number of too many digits, or is nested too deep.
    """
    text = decode_utf8(data)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidContent(data, "JSON") from error


def encode_utf8(data: str | bytes) -> bytes:
    """Return a text as UTF-8; bytes are returned as they are.

    Raises:
        InvalidContent: it has lone surrogates, or is neither text nor bytes.
    """
    if isinstance(data, bytes):
        return data
    try:
        return data.encode("utf-8")
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidContent(data, "a text UTF-8 can hold") from error


def decode_utf8(data: bytes | str) -> str:
    """Return the text of UTF-8 bytes; a text is returned as it is.

    Raises:
        InvalidContent: it is not UTF-8, or neither bytes nor text.
    """
    if isinstance(data, str):
        return data
    try:
        return str(data, "utf-8")
    except (TypeError, UnicodeDecodeError) as error:
        raise InvalidContent(data, "UTF-8") from error


def format_bytes(size: float) -> str:
    """Return a size for people: ``"0 B"``, ``"144.5 KB"``, ``"2.86 MB"``.

    A unit is 1024 of the one before, TB the last. Below 10 there are two decimals, above it one, and
    zeros at the end are left out. Parts of a byte are rounded.
    """
    whole = round(size)
    sign, whole = "-" if whole < 0 else "", abs(whole)
    if whole < 1024:
        return f"{sign}{whole} B"
    power = 1
    while (shown := _hundredths(whole, 1024**power)) >= 1024 * 100 and power < len(_UNITS):
        power += 1
    number = f"{shown // 100}.{shown % 100:02}".rstrip("0").rstrip(".")
    return f"{sign}{number} {_UNITS[power - 1]}"


def _hundredths(whole: int, scale: int) -> int:
    exact = (whole * 200 + scale) // (scale * 2)
    return exact if exact < 10 * 100 else (whole * 20 + scale) // (scale * 2) * 10
