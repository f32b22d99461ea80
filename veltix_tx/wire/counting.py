"""Traffic counting: a proxy of a connection that counts messages and bytes, for listeners that log their connections."""

from __future__ import annotations

from typing import Any, cast

from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import FIRST_USER_CODE, NO_CODE, MessageType, Response

__all__ = ["CountingConnection", "counted"]


class CountingConnection:
    """Proxy of a WireConnection that counts what goes through it, the handshake's bytes and those of pings among them.

    Args:
        connection: the connection.

    Attributes:
        bytes_in: bytes received, of the wire (not of TLS below it).
        bytes_out: bytes handed out to be sent.
        messages_in: messages received whose types are the users' own.
        messages_out: messages sent.
    """

    def __init__(self, connection: WireConnection) -> None:
        self._connection = connection
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Count once for each read, and receive."""
        events = self._connection.receive_data(data, received_at)
        self.bytes_in += len(data)
        self.messages_in += sum(isinstance(event, Response) for event in events)
        return events

    def receive_eof(self, received_at: int) -> list[Event]:
        """Count the message that the end of the stream completes."""
        events = self._connection.receive_eof(received_at)
        self.messages_in += sum(isinstance(event, Response) for event in events)
        return events

    def send(self, message_type: MessageType, value: object, request_id: int | None = None) -> int:
        """Count a message that was queued."""
        size = self._connection.send(message_type, value, request_id)
        self.messages_out += message_type.code >= FIRST_USER_CODE or message_type.code == NO_CODE
        return size

    def send_encoded(self, buffers: list[bytes]) -> None:
        """Count a message that was queued."""
        self._connection.send_encoded(buffers)
        self.messages_out += 1

    def data_to_send(self) -> list[bytes]:
        """Count what is written."""
        out = self._connection.data_to_send()
        self.bytes_out += sum(map(len, out))
        return out


def counted(connection: WireConnection) -> WireConnection:
    """Return a connection that counts, and does as the one given in everything else."""
    return cast(WireConnection, CountingConnection(connection))
