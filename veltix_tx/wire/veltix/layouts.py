"""The six header layouts Veltix has had, as one table.

Every header is big-endian. ``size`` counts the content only; the checksum covers the content
only, never the header. The layouts are named after their header's length in bytes.

======  ===================  ==========  ==============  ==========================
layout  releases             checksum    clock           request id
======  ===================  ==========  ==============  ==========================
W46     "1.0" (paper only)   SHA-256     ms              none
W62     1.2.0 - 1.6.1        SHA-256     ms              16 bytes
W22     1.6.2 - 1.6.9        CRC-32      ms              4 bytes
W14     1.6.10               CRC-32      none            4 bytes
W16     1.7.0 - 1.9.0        CRC-32      none            4 bytes
W15     2.0.0 - 3.3.0        CRC-32      none            2 bytes
======  ===================  ==========  ==============  ==========================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError  # noqa: N812 (a class)
from typing import NamedTuple

from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.veltix.checksums import RunningChecksum, crc32, running_checksum, sha256_digest

__all__ = ["ALL_LAYOUTS", "W14", "W15", "W16", "W22", "W46", "W62", "Header", "Layout", "Queue"]


Queue = Callable[[list[bytes], int, bytes, int], int]
"""List, type code, content, request id -> bytes of the frame that was added to the list: 0 for one longer than usual, or none."""


class Header(NamedTuple):
    """The fields of one header; ``sound`` says whether it starts with the layout's magic."""

    code: int
    size: int
    digest: int | bytes
    timestamp: int
    request_id: int
    sound: bool


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One header layout. There is one object for each: it is compared, and looked up, by identity.

    A header unpacks to five fields, in one of two orders: ``code, size, digest, timestamp,
    request id``, or with a magic ``magic, code, size, digest, request id``. A field that the
    layout does not have unpacks to ``b""``.

    Attributes:
        name: ``"W"`` and the header's length.
        format: the header in ``struct`` notation.
        checksum: content -> digest, an int (CRC-32) or 32 bytes (SHA-256).
        id_size: bytes of a request id, 0 for none.
        clock: True if a header carries the sender's clock in ms.
        magic: the two bytes a header starts with, or ``b""``.
    """

    name: str
    format: str
    checksum: Callable[[bytes], int | bytes]
    id_size: int
    clock: bool = False
    magic: bytes = b""
    header: Struct = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", Struct(self.format))

    @property
    def header_size(self) -> int:
        """Bytes of a header."""
        return self.header.size

    @property
    def wide_id(self) -> bool:
        """True if the request id unpacks to bytes instead of an int."""
        return self.id_size not in (2, 4)

    def running_checksum(self) -> RunningChecksum:
        """Return what computes the checksum of a content that comes in parts."""
        return running_checksum(self.checksum)

    def packer(self, clock: Callable[[], int]) -> Callable[[int, bytes, int], bytes]:
        """Return a function that makes headers: type code, content, request id -> header.

        Made once for a connection, so that a message costs one call with everything bound. It
        raises struct.error or OverflowError for a request id that is not in the layout's range.

        Args:
            clock: gives the ms for a layout that carries them; a TurnClock those that it keeps.
        """
        pack, checksum, magic, has_clock = self.header.pack, self.checksum, self.magic, self.clock
        wide_id, id_size = self.wide_id, self.id_size

        def with_magic(code: int, content: bytes, request_id: int) -> bytes:
            return pack(magic, code, len(content), checksum(content), request_id)

        def bare(code: int, content: bytes, request_id: int) -> bytes:
            wire_id = request_id.to_bytes(id_size, "big") if wide_id else request_id
            return pack(code, len(content), checksum(content), clock() if has_clock else b"", wire_id)

        def turned(code: int, content: bytes, request_id: int) -> bytes:
            return pack(code, len(content), checksum(content), turn.ms or turn.keep(), request_id)

        def turned_wide(code: int, content: bytes, request_id: int) -> bytes:
            return pack(code, len(content), checksum(content), turn.ms or turn.keep(), request_id.to_bytes(id_size, "big"))

        if has_clock and isinstance(clock, TurnClock):
            turn = clock
            return turned_wide if wide_id else turned
        return with_magic if magic else bare

    def framer(self, clock: Callable[[], int]) -> Callable[[int, bytes, int], bytes]:
        """Return a function as :meth:`packer` does, but of the whole frame: header and content in one."""
        pack = self.packer(clock)
        return lambda code, content, request_id: pack(code, content, request_id) + content

    def queuer(self, clock: Callable[[], int], most: int) -> Queue:
        """Return a function that adds frames to a list.

        Args:
            clock: as for :meth:`packer`.
            most: maximum bytes of a content: none is added of a longer one.
        """
        pack_message, pack, checksum = self.packer(clock), self.header.pack, self.checksum
        magic, header_size = self.magic, self.header_size

        def queue(out: list[bytes], code: int, content: bytes, request_id: int) -> int:
            size = len(content)
            if size > most:
                return 0
            try:
                out.append(pack_message(code, content, request_id) + content)
            except (StructError, OverflowError):
                return 0
            return header_size + size

        def queue_with_magic(out: list[bytes], code: int, content: bytes, request_id: int) -> int:
            size = len(content)
            if size > most:
                return 0
            try:  # as pack_message() does, without its call, as for the next one
                out.append(pack(magic, code, size, checksum(content), request_id) + content)
            except StructError:
                return 0
            return header_size + size

        def queue_turned(out: list[bytes], code: int, content: bytes, request_id: int) -> int:
            size = len(content)
            if size > most:
                return 0
            try:
                out.append(pack(code, size, checksum(content), turn.ms or turn.keep(), request_id) + content)
            except StructError:
                return 0
            return header_size + size

        if self.clock and isinstance(clock, TurnClock) and not self.wide_id:
            turn = clock
            return queue_turned
        return queue_with_magic if magic else queue

    def pack(self, code: int, content: bytes, request_id: int, timestamp: int) -> bytes:
        """Return one header.

        Args:
            code: the type code, 0 to 65535.
            content: the whole content.
            request_id: cut to the layout's width.
            timestamp: ms, ignored by a layout without a clock.
        """
        return self.packer(lambda: timestamp)(code, content, request_id & ((1 << 8 * self.id_size) - 1))

    def unpack(self, data: bytes | bytearray | memoryview) -> Header:
        """Return the header at the start of ``data``, which has at least ``header_size`` bytes."""
        if self.magic:
            magic, code, size, digest, request_id = self.header.unpack_from(data)
            return Header(code, size, digest, 0, request_id, magic == self.magic)
        code, size, digest, timestamp, request_id = self.header.unpack_from(data)
        wide = int.from_bytes(request_id, "big") if self.wide_id else request_id
        return Header(code, size, digest, timestamp or 0, wide, True)


W46 = Layout("W46", ">HI32sQ0s", sha256_digest, id_size=0, clock=True)
W62 = Layout("W62", ">HI32sQ16s", sha256_digest, id_size=16, clock=True)
W22 = Layout("W22", ">HIIQI", crc32, id_size=4, clock=True)
W14 = Layout("W14", ">HII0sI", crc32, id_size=4)
W16 = Layout("W16", ">2sHIII", crc32, id_size=4, magic=b"VX")
W15 = Layout("W15", ">2sxHIIH", crc32, id_size=2, magic=b"VX")
"""The byte after the magic is a flags byte: sent as 0, any value accepted and ignored."""

ALL_LAYOUTS = (W46, W62, W22, W14, W16, W15)
