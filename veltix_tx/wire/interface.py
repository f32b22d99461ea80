"""What a session needs of a wire, whichever it is."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Protocol

from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import MessageType
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds

__all__ = ["Role", "WireConnection"]


class WireConnection(Protocol):
    """What a session needs of a wire, whichever it is."""

    @property
    def next_timeout(self) -> float | None:
        """Seconds of silence after which :meth:`handle_timeout` wants to be called, None for never."""

    @property
    def max_message_size(self) -> int:
        """The most bytes of a message, header included."""

    @property
    def encoding_key(self) -> object:
        """Equal for two connections whose peers take the same bytes for the same message."""

    def start(self) -> list[Event]:
        """Begin the handshake; may be all there is to it."""

    def handle_timeout(self) -> None:
        """Go on after ``wake_after`` seconds of silence."""

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Take the peer's bytes, with this side's clock in ms."""

    def connection_lost(self) -> None:
        """Take note that the connection is closed; nothing more is read or sent."""

    def data_to_send(self) -> list[bytes]:
        """Return what is to be written now, in order, and forget it."""

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> int:
        """Return a request id that is neither taken nor given up, the wanted one if it can be had."""

    @property
    def buffered_size(self) -> int:
        """Bytes that have come of the message of which only a part has."""

    def encode(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> list[bytes]:
        """Return a message as the buffers to write; it answers the request with that id, if any."""

    def send(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> int:
        """Queue a message, which answers the request with that id, if any; return how many bytes it takes."""

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Queue what :meth:`encode` of a connection with an equal ``encoding`` returned."""

    def send_ping(self, request_id: int | None) -> None:
        """Queue a ping; without an id, one of which only that it is answered matters."""

    def send_failure(self, request_id: int, code: str = ..., message: str = ...) -> bool:
        """Queue word that a request failed, with a code and a message where the wire carries them; False where it has none."""


class Role(Enum):
    """Which side of a connection this is."""

    SERVER = "server"
    CLIENT = "client"

    __hash__ = object.__hash__  # by identity: an Enum's own hash is that of its name, and a handshake has many look-ups
