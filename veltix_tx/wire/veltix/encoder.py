"""Encoder of one kind of peer: what all connections whose peers take the same bytes for the same message share."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from veltix_tx.errors import LocalProtocolError, MessageTooLarge, NotReady
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import NO_CODE, MessageType
from veltix_tx.wire.turn_clock import TurnClock
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.layouts import Layout, Queue

__all__ = ["NO_ENCODER", "Encoder", "NoEncoder", "encoder_for", "framer"]

_UNCOPIED = 65536
"""Content longer than this (bytes) is sent as it is, behind its header, instead of joined to it."""


def framer(layout: Layout, clock: Callable[[], int]) -> Callable[[int, bytes, int], bytes]:
    """Return :meth:`Layout.framer`'s function, or the compiled codec's.

    Args:
        layout: the header layout.
        clock: gives the ms for a layout that carries them; a TurnClock those that it keeps.
    """
    return codec.compiled_encoder(layout, clock) or layout.framer(clock)


def _queuer(layout: Layout, clock: Callable[[], int], most: int) -> Queue:
    """Return what adds frames with contents up to so many bytes to a list."""
    compiled = codec.compiled_encoder(layout, clock, most)
    return layout.queuer(clock, most) if compiled is None else compiled.queue


class Encoder:
    """Makes messages for one kind of peer.

    Args:
        layout: the header layout.
        clock: gives the ms for a layout that carries them.
        max_message_size: maximum bytes of a message, header included.
        key: equal for two encoders that make the same bytes of the same message.

    Attributes:
        key: as given.
        overhead: bytes of a header.
        queue: adds the frame of a message of the usual size to a list.
    """

    __slots__ = ("_frame_now", "_max_joined", "_max_message_size", "_pack", "key", "overhead", "queue")

    def __init__(self, layout: Layout, clock: Callable[[], int], max_message_size: int, key: object) -> None:
        self.key = key
        self.overhead = layout.header_size
        self._max_joined = min(max_message_size - layout.header_size, _UNCOPIED)
        self.queue = _queuer(layout, clock, self._max_joined)
        # encode() may be called in any thread, and no turn need end behind it: no time is kept for it.
        now = clock.read if isinstance(clock, TurnClock) else clock
        self._pack, self._frame_now = layout.packer(now), framer(layout, now)
        self._max_message_size = max_message_size

    def encode(self, message_type: MessageType, content: bytes, request_id: int) -> list[bytes]:
        """Return a message as the buffers to write.

        Raises:
            MessageTooLarge: the peer would have to refuse it.
            LocalProtocolError: the type has no code, or the request id does not fit the wire.
        """
        size = self.overhead + len(content)
        if size > self._max_message_size:
            raise MessageTooLarge(size, self._max_message_size)
        try:
            if len(content) <= self._max_joined:
                return [self._frame_now(message_type.code, content, request_id)]
            return [self._pack(message_type.code, content, request_id), content]
        except (struct.error, OverflowError):
            raise _unencodable(message_type, request_id) from None


class NoEncoder:
    """Encoder of a connection whose handshake is not complete: nothing can be sent."""

    key = None
    overhead = 0

    def encode(self, message_type: MessageType, content: bytes, request_id: int) -> list[bytes]:
        """Raise NotReady."""
        raise NotReady()


NO_ENCODER = NoEncoder()


def encoder_for(role: Role, layout: Layout, monotonic: bool, clock: Callable[[], int], max_message_size: int) -> Encoder:
    """Return the encoder of connections that are alike.

    Args:
        role: of the local side.
        layout: the header layout agreed on.
        monotonic: whether the peer's headers carry a clock that is no calendar's.
        clock: gives the ms for a layout that carries them.
        max_message_size: maximum bytes of a message, header included.
    """
    return _shared_encoder(role, layout, monotonic, clock, max_message_size, codec.in_use())


@lru_cache(maxsize=64)
def _shared_encoder(
    role: Role, layout: Layout, monotonic: bool, clock: Callable[[], int], max_message_size: int, codec_name: str
) -> Encoder:
    return Encoder(layout, clock, max_message_size, f"{role.name} {layout.name} {monotonic}")


def _unencodable(message_type: MessageType, request_id: int) -> LocalProtocolError:
    """Return the error for a message that no header can carry."""
    if message_type.code == NO_CODE:
        return LocalProtocolError(f"the message type {message_type.name!r} has no code, which every Veltix wire needs")
    return LocalProtocolError(f"request id {request_id} is not one of this wire's")
