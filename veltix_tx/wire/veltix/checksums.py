"""Checksums of contents: CRC-32 of the fastest library at hand, SHA-256, and both over contents that come in parts."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["RunningChecksum", "crc32", "running_checksum", "sha256_digest"]


def sha256_digest(content: bytes) -> bytes:
    """Return the SHA-256 of a content."""
    return sha256(content).digest()


class RunningChecksum(Protocol):
    """A checksum on the way."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def digest(self) -> int | bytes:
        """Return the checksum of all bytes so far."""


class _Crc32:
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = crc32(data, self._value)

    def digest(self) -> int:
        return self._value


def running_checksum(checksum: Callable[[bytes], int | bytes]) -> RunningChecksum:
    """Return the running form of a checksum function of this module."""
    return sha256() if checksum is sha256_digest else _Crc32()
