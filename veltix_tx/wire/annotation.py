"""Annotated bytes: what the parts of a recorded stream are, for people who look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["HIDDEN", "Piece"]

HIDDEN = "(a secret)"
"""Text in place of a secret."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a stream.

    Attributes:
        offset: where it begins.
        data: its bytes.
        title: what it is.
        fields: what it says, by name.
        sound: False for what no peer would take.
        complete: False for what the end of the stream cuts off.
        secret: True if credentials are among its bytes, which nobody is to be shown; its fields have ``HIDDEN`` in their place.
    """

    offset: int
    data: bytes
    title: str
    fields: Mapping[str, object] = field(default_factory=dict)
    sound: bool = True
    complete: bool = True
    secret: bool = False
