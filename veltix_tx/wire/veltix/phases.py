"""Phases of a connection: before its handshake is complete, while messages go both ways, and after its end.

A :class:`~veltix_tx.wire.veltix.connection.VeltixConnection` has one of them at a time. Each has the same attributes, so
that what is called most asks nothing about the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from veltix_tx.errors import HandshakeError
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.veltix.authentication import Reauthentication
from veltix_tx.wire.veltix.encoder import NO_ENCODER, Encoder, NoEncoder
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.handshake import Handshake
from veltix_tx.wire.veltix.layouts import W46, Queue
from veltix_tx.wire.veltix.request_ids import RequestIds

__all__ = ["Closed", "Established", "Opening", "Phase"]

_NO_IDS = RequestIds(W46, range(0), lambda _: 0)
_NO_FRAMES = FrameDecoder(W46, lambda _: None, W46.header_size)


def _queue_nothing(out: list[bytes], code: int, content: bytes, request_id: int) -> int:
    return 0


class Phase(Protocol):
    """What a connection has in every phase."""

    @property
    def encoder(self) -> Encoder | NoEncoder:
        """Encoder of messages to the peer."""

    @property
    def queue(self) -> Queue:
        """The encoder's, for messages of the usual size; where nothing can be sent, what adds none."""

    @property
    def ids(self) -> RequestIds:
        """Ids of this side's requests."""

    @property
    def decoder(self) -> FrameDecoder:
        """Decoder of the peer's frames."""

    @property
    def reauthentication(self) -> Reauthentication | None:
        """Reader of new credentials and of verdicts on them, None where none can come."""

    @property
    def beginning(self) -> bytes:
        """First bytes of what has come in part."""

    @property
    def buffered_size(self) -> int:
        """Bytes kept of what has come in part."""

    @property
    def next_timeout(self) -> float | None:
        """Seconds of silence after which a handshake goes on, None for never."""

    @property
    def fault(self) -> HandshakeError | None:
        """What is wrong with the peer's part of a handshake that goes on all the same, None for nothing."""


class Opening:
    """Phase until the handshake is complete, with what is only needed until then: a connection is small.

    Args:
        role: of the local side.
        handshake: the handshake.
        calendar_ms: see :class:`VeltixConnection`, as for the others.
        uptime_ms: see there.
        getrandbits: see there.
        types: see there.
        max_violations: frames that may be refused.
    """

    __slots__ = ("calendar_ms", "getrandbits", "handshake", "max_violations", "role", "types", "uptime_ms")

    encoder = NO_ENCODER
    queue = staticmethod(_queue_nothing)
    ids = _NO_IDS
    decoder = _NO_FRAMES
    reauthentication = None

    def __init__(
        self,
        role: Role,
        handshake: Handshake,
        calendar_ms: Callable[[], int],
        uptime_ms: Callable[[], int],
        getrandbits: Callable[[int], int],
        types: MessageRegistry,
        max_violations: float,
    ) -> None:
        self.role = role
        self.handshake = handshake
        self.calendar_ms = calendar_ms
        self.uptime_ms = uptime_ms
        self.getrandbits = getrandbits
        self.types = types
        self.max_violations = max_violations

    @property
    def beginning(self) -> bytes:
        """First bytes of the handshake's part that has come in part."""
        return self.handshake.beginning

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the handshake's part that has come in part."""
        return self.handshake.buffered_size

    @property
    def next_timeout(self) -> float | None:
        """Seconds of silence after which the handshake goes on, None for never."""
        return self.handshake.next_timeout

    @property
    def fault(self) -> HandshakeError | None:
        """What is wrong with the peer's part so far, None for nothing."""
        return self.handshake.fault


class Established:
    """Phase from the completed handshake on.

    Args:
        encoder: makes the messages to the peer.
        decoder: reads those of the peer.
        ids: of this side's requests.
        reauthentication: of a connection that agreed on it.
    """

    __slots__ = ("decoder", "encoder", "ids", "queue", "reauthentication")

    next_timeout = None
    fault = None

    def __init__(self, encoder: Encoder, decoder: FrameDecoder, ids: RequestIds, reauthentication: Reauthentication | None) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.ids = ids
        self.reauthentication = reauthentication
        self.queue = encoder.queue

    @property
    def beginning(self) -> bytes:
        """First bytes of the message that has come in part."""
        return self.decoder.beginning

    @property
    def buffered_size(self) -> int:
        """Bytes kept of the message that has come in part."""
        return self.decoder.buffered_size


class Closed:
    """Phase after a handshake that failed, or the end: nothing is read or sent. What was kept of the peer is gone.

    Args:
        before: the phase before; a message can still be encoded where it could then, for other connections.
    """

    __slots__ = ("encoder", "ids")

    queue = staticmethod(_queue_nothing)
    decoder = _NO_FRAMES
    reauthentication = None
    beginning = b""
    buffered_size = 0
    next_timeout = None
    fault = None

    def __init__(self, before: Phase) -> None:
        self.encoder = before.encoder
        self.ids = before.ids
