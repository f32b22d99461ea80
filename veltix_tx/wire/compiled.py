"""Compiled parts of the wires: whether this process uses them, and what they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veltix_tx.wire._messages import Maker

__all__ = ["CODEC_VARIABLE", "WANTED", "MakeMessages", "are_used", "message_maker", "use"]

CODEC_VARIABLE = "VELTIX_TX_CODEC"
"""Variable of the environment that chooses between compiled and Python's code, for a process."""

MakeMessages = Callable[[list[bytes | None], int], list[Any] | None]
"""Contents, ``received_at`` -> messages; None where one of the contents is None, or no ASCII and has to be."""

WANTED = os.environ.get(CODEC_VARIABLE, "")
"""Its value; empty where it is not set."""

_used = WANTED != "python"


def _built() -> type[Maker] | None:
    if not _used:
        return None
    try:
        from veltix_tx.wire._messages import Maker  # noqa: PLC0415 (not always built)
    except ImportError:
        return None
    return Maker


_maker = _built()


def are_used() -> bool:
    """Return True if new connections use the compiled parts that were built."""
    return _used


def use(used: bool) -> None:
    """Choose whether connections that begin from now on use them."""
    global _used  # noqa: PLW0603
    _used = used


def message_maker(message_class: type, fixed: dict[str, object], *, ascii_only: bool) -> MakeMessages | None:
    """Return what makes messages of contents, None where it was not built.

    Args:
        message_class: their class, with its fields in slots.
        fixed: the fields that are alike in all of them; ``content`` and ``received_at`` are the others.
        ascii_only: True to make none where a content has other bytes.
    """
    return None if _maker is None else _maker(message_class, fixed, ascii_only)
