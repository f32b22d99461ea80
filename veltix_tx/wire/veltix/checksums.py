"""Checksums of contents: CRC-32 of the fastest library at hand, SHA-256, and both over contents that come in parts."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from veltix_tx.wire.compiled import WANTED

__all__ = ["RunningChecksum", "crc32", "running_checksum", "sha256_digest"]


def _fastest_crc32() -> Callable[..., int]:
    try:
        from isal.isal_zlib import crc32  # noqa: PLC0415 (an extra)
    except ImportError:
        pass
    else:
        return crc32  # type: ignore[no-any-return]
    if WANTED == "python":
        return zlib.crc32
    try:
        from veltix_tx.wire.veltix._codec import crc32 as compiled  # noqa: PLC0415 (not always built)
    except ImportError:
        return zlib.crc32
    return compiled


crc32 = _fastest_crc32()
"""CRC-32 of bytes, and of bytes after others of which it is given."""


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
