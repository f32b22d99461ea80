"""Values of the measurements of typed contents: one of five fields for each content of the cycle."""

from __future__ import annotations

import msgspec

from veltix_tx.benchmark.peers.delivery import CYCLE, contents

__all__ = ["SIZE", "Fields", "Values"]

SIZE = 100
"""Bytes of the contents that values stand for, and, about, of the values in JSON."""


class Fields(msgspec.Struct):
    """A value of five fields, of about 100 bytes in JSON."""

    number: int
    name: str
    price: float
    tags: list[str]
    there: bool


class Values:
    """The cycle's values."""

    def __init__(self) -> None:
        self._contents = contents(SIZE)
        self._values = [Fields(number, f"item {number}", number / 4, ["red", "round"], True) for number in range(CYCLE)]

    def of(self, content: bytes) -> Fields:
        """Return the value that stands for a content."""
        return self._values[content[3]]

    def content(self, value: Fields) -> bytes:
        """Return the content that a value stands for, nothing for a value that is none of them."""
        return self._contents[value.number] if value == self._values[value.number] else b""
