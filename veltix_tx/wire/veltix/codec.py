"""Choice of the codec (the compiled one where it was built, else Python's) and of the CRC-32.

The compiled codec decodes the ordinary frames of the CRC-32 layouts and encodes theirs; everything out of
the ordinary, and with it every rule, is Python's in :mod:`veltix_tx.wire.veltix.frames` for both. What one makes
is what the other makes.

``VELTIX_TX_CODEC=python`` in the environment leaves the compiled codec out, ``VELTIX_TX_CODEC=c`` insists
on it; :func:`use` chooses while the program runs. The CRC-32 is that of the ``isal`` package where it is
installed, else the compiled codec's, else zlib's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET

from veltix_tx.errors import SettingsError
from veltix_tx.wire import compiled
from veltix_tx.wire.compiled import CODEC_VARIABLE, WANTED
from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.veltix.checksums import crc32

if TYPE_CHECKING:
    from veltix_tx.wire.messages import MessageType
    from veltix_tx.wire.veltix.layouts import Layout

__all__ = [
    "Decode",
    "available",
    "compiled_decoder",
    "compiled_encoder",
    "description",
    "in_use",
    "use",
]

_MOST_CONTENT = 0xFFFF_FFFF
"""Bytes of the largest content that a header can declare."""

Decode = Callable[[bytes, int, int, list[Any]], int]
"""Data, position, time of arrival, events to add to -> the position behind the last ordinary frame."""


class Encode(Protocol):
    """Compiled encoder of frames."""

    def __call__(self, code: int, content: bytes, request_id: int, /) -> bytes:
        """Return the frame."""

    def queue(self, out: list[bytes], code: int, content: bytes, request_id: int, /) -> int:
        """Add the frame to a list; return its bytes, 0 where it is longer than usual, or none."""


def _built() -> tuple[Callable[..., Decode], Callable[..., Encode]] | None:
    if WANTED == "python":
        return None
    try:
        from veltix_tx.wire.veltix._codec import Decoder, Encoder  # noqa: PLC0415
    except ImportError:
        if WANTED:
            raise SettingsError(CODEC_VARIABLE, WANTED, "python, or not set: the compiled codec was not built here") from None
        return None
    if WANTED not in ("", "c"):
        raise SettingsError(CODEC_VARIABLE, WANTED, "c, python, or not set")
    return lru_cache(maxsize=64)(Decoder), lru_cache(maxsize=64)(Encoder)  # all connections that are alike share one


_compiled = _built()


def available() -> tuple[str, ...]:
    """Return the names of the codecs that can be used."""
    return ("python",) if _compiled is None else ("c", "python")


def in_use() -> str:
    """Return the name of the codec of new connections."""
    return "c" if _chosen() is not None else "python"


def use(name: str) -> None:
    """Choose the codec of the connections whose handshake completes from now on.

    Args:
        name: ``"c"`` or ``"python"``.

    Raises:
        SettingsError: there is no such codec, or it was not built here.
    """
    if name not in available():
        raise SettingsError("codec", name, " or ".join(available()))
    compiled.use(name == "c")


def _chosen() -> tuple[Callable[..., Decode], Callable[..., Encode]] | None:
    return _compiled if compiled.are_used() else None


def description() -> str:
    """Return what is in use in words for people."""
    owner = "own" if crc32.__module__.startswith("veltix_tx") else crc32.__module__.partition(".")[0]
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
    chosen = _chosen()
    if chosen is None or layout.checksum is not crc32:
        return None
    decoder, _ = chosen
    most = min(max_content, _MOST_CONTENT)
    return decoder(layout.header_size, layout.id_size, layout.clock, most, first_code, lookup, message_class, UNSET)


def compiled_encoder(layout: Layout, clock: Callable[[], int], most: int = _MOST_CONTENT) -> Encode | None:
    """Return what encodes frames of a layout, None where Python does.

    Args:
        layout: the layout.
        clock: gives the ms for a layout that carries them; a TurnClock those that it keeps.
        most: maximum bytes of a content that its ``queue`` is for.
    """
    chosen = _chosen()
    if chosen is None or layout.checksum is not crc32:
        return None
    _, encoder = chosen
    return encoder(layout.header_size, layout.id_size, clock if layout.clock else None, isinstance(clock, TurnClock), most)
