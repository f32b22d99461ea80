"""Choice of the codec (the compiled one where it was built, else Python's) and of the CRC-32.

The compiled codec decodes the ordinary frames of the CRC-32 layouts and encodes theirs; everything out of
the ordinary, and with it every rule, is Python's in :mod:`veltix_tx.wire.veltix.frames` for both. What one makes
is what the other makes.

``VELTIX_TX_CODEC=python`` in the environment leaves the compiled codec out, ``VELTIX_TX_CODEC=c`` insists
on it; :func:`use` chooses while the program runs. The CRC-32 is that of the ``isal`` package where it is
installed, else zlib's; the compiled codec brings its own for contents up to 64 KiB.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from veltix_tx.errors import SettingsError
from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.veltix.checksums import crc32

if TYPE_CHECKING:
    from veltix_tx.wire.messages import MessageType
    from veltix_tx.wire.veltix.layouts import Layout

__all__ = [
    "ENVIRONMENT",
    "Decode",
    "available",
    "compiled_decoder",
    "compiled_encoder",
    "description",
    "in_use",
    "use",
]

ENVIRONMENT = "VELTIX_TX_CODEC"
"""The environment variable that chooses the codec of a process."""

_MOST_CONTENT = 0xFFFF_FFFF
"""Bytes of the largest content that a header can declare."""

Decode = Callable[[bytes, int, int, list[Any]], int]
"""Data, position, time of arrival, events to add to -> the position behind the last ordinary frame."""

Encode = Callable[[int, bytes, int], bytes]
"""Type code, content, request id -> the frame."""


def _built() -> tuple[Callable[..., Decode], Callable[..., Encode]] | None:
    wanted = os.environ.get(ENVIRONMENT, "")
    if wanted == "python":
        return None
    try:
        from veltix_tx.wire.veltix._codec import Decoder, Encoder  # noqa: PLC0415
    except ImportError:
        if wanted:
            raise SettingsError(ENVIRONMENT, wanted, "python, or not set: the compiled codec was not built here") from None
        return None
    if wanted not in ("", "c"):
        raise SettingsError(ENVIRONMENT, wanted, "c, python, or not set")
    return lru_cache(maxsize=64)(Decoder), lru_cache(maxsize=64)(Encoder)  # all connections that are alike share one


_compiled = _built()
_chosen = _compiled


def available() -> tuple[str, ...]:
    """Return the names of the codecs that can be used."""
    return ("python",) if _compiled is None else ("c", "python")


def in_use() -> str:
    """Return the name of the codec of new connections."""
    return "python" if _chosen is None else "c"


def use(name: str) -> None:
    """Choose the codec of the connections whose handshake completes from now on.

    Args:
        name: ``"c"`` or ``"python"``.

    Raises:
        SettingsError: there is no such codec, or it was not built here.
    """
    global _chosen  # noqa: PLW0603
    if name not in available():
        raise SettingsError("codec", name, " or ".join(available()))
    _chosen = _compiled if name == "c" else None


def description() -> str:
    """Return what is in use in words for people."""
    owner = "isal" if crc32.__module__.startswith("isal") else "zlib"
    return f"codec: {in_use()}, CRC-32: {owner}"


def compiled_decoder(
    layout: Layout,
    lookup: Callable[[int], MessageType | None],
    max_content: int,
    first_code: int,
    message_class: type,
) -> Decode | None:
    """Return what decodes the ordinary frames of a layout, None where Python does.

    Args:
        layout: the layout.
        lookup: type code -> message type, None for an unknown one.
        max_content: the most bytes of a content.
        first_code: a frame with a code below it is none of the ordinary ones.
        message_class: the class of what it makes, with its fields in slots.
    """
    if _chosen is None or layout.checksum is not crc32:
        return None
    decoder, _ = _chosen
    most = min(max_content, _MOST_CONTENT)
    return decoder(layout.header_size, layout.id_size, layout.clock, most, first_code, lookup, message_class)


def compiled_encoder(layout: Layout, clock: Callable[[], int]) -> Encode | None:
    """Return what encodes frames of a layout, None where Python does.

    Args:
        layout: the layout.
        clock: gives the ms for a layout that carries them; a TurnClock those that it keeps.
    """
    if _chosen is None or layout.checksum is not crc32:
        return None
    _, encoder = _chosen
    return encoder(layout.header_size, layout.id_size, clock if layout.clock else None, isinstance(clock, TurnClock))
