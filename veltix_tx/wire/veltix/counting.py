"""A connection that counts what goes through it, for who wants to know: the others pay nothing for that."""

from __future__ import annotations

from typing import Any

from veltix_tx.wire.events import Event
from veltix_tx.wire.messages import FIRST_USER_CODE, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection

__all__ = ["CountingConnection"]


class CountingConnection(VeltixConnection):
    """One Veltix connection whose bytes and messages are counted, the handshake's bytes and those of pings among them.

    Args:
        arguments: as VeltixConnection takes them.
        settings: likewise.

    Attributes:
        bytes_in: bytes received, of Veltix (not of TLS below it).
        bytes_out: bytes given away to be sent.
        messages_in: messages received whose types are the users' own.
        messages_out: messages sent.
    """

    __slots__ = ("bytes_in", "bytes_out", "messages_in", "messages_out")

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Count once for each read, and do as any connection does."""
        events = super().receive_data(data, received_at)
        self.bytes_in += len(data)
        self.messages_in += sum(type(event) is Response for event in events)
        return events

    def send(self, message_type: MessageType, content: bytes, request_id: int | None = None) -> int:
        """Count a message that was queued."""
        size = super().send(message_type, content, request_id)
        self.messages_out += message_type.code >= FIRST_USER_CODE
        return size

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Count a message that was queued."""
        super().send_encoded(buffers)
        self.messages_out += 1

    def data_to_send(self) -> list[bytes]:
        """Count what is written."""
        out = super().data_to_send()
        self.bytes_out += sum(map(len, out))
        return out
