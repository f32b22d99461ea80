"""A client's connection, as its server sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from veltix_tx.aio.session import Session
from veltix_tx.dropin.conduit.data.connection import ConnectionState
from veltix_tx.dropin.conduit.exceptions import NotConnectedError, ProtocolError
from veltix_tx.errors import MessageTooLarge, QueueFull, SessionClosed
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.messages import MessageRegistry, MessageType

__all__ = ["Connection", "ConnectionStats", "named_type", "send"]


@dataclass(frozen=True)
class ConnectionStats:
    """Counts of a connection.

    Attributes:
        connected_at: when it was ready, seconds since 1970.
        messages_sent: messages to the client.
        messages_received: messages and calls of the client.
        bytes_sent: bytes to the client, all of them.
        bytes_received: bytes of the client.
        errors: frames of the client that were refused.
    """

    connected_at: float
    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0


class Connection:
    """A client's connection: handlers of a server get it.

    Args:
        session: the session.
        types: the server's message types.
    """

    def __init__(self, session: Session, types: MessageRegistry) -> None:
        self._session = session
        self._types = types
        self._id = str(uuid4())
        self._connected_at = time.time()

    def __repr__(self) -> str:
        return f"<Connection {self._id} from {self._session.ip}:{self._session.port} ({self.state.value})>"

    @property
    def id(self) -> str:
        """Its id, a UUID, as ``exclude`` of a broadcast takes it."""
        return self._id

    @property
    def state(self) -> ConnectionState:
        """ACTIVE, CLOSING, or DISCONNECTED when it is gone."""
        if self._session.closed is None:
            return ConnectionState.ACTIVE
        return ConnectionState.DISCONNECTED if self._session.is_gone else ConnectionState.CLOSING

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent."""
        return self._session.closed is None

    @property
    def is_authenticated(self) -> bool:
        """True, because who does not know the password has no Connection."""
        return True

    @property
    def remote_address(self) -> tuple[str, int]:
        """The client's address and port."""
        return self._session.ip, self._session.port

    @property
    def stats(self) -> ConnectionStats:
        """Counts so far."""
        counts = cast(CountingConnection, self._session._native._connection)
        return ConnectionStats(
            *(self._connected_at, counts.messages_out, counts.messages_in, counts.bytes_out, counts.bytes_in),
            self._session.frames_rejected,
        )

    async def send_message(self, message_type: str, data: Any) -> None:
        """Send a message; wait while too much is queued.

        Args:
            message_type: its type.
            data: what it says: what msgpack holds, with keys of text.

        Raises:
            NotConnectedError: the connection is closed.
            ProtocolError: the message is over ``max_message_size``.
            ValueError: it has a part that netconduit cannot take, such as a number for a key; also pydantic's and msgspec's.
            TypeError: msgpack does not hold it.
        """
        await send(self._session, named_type(self._types, message_type), data)

    async def stop(self) -> None:
        """Close: what is queued is written first."""
        await self._session.disconnect()


async def send(session: Session, message_type: MessageType, data: Any) -> None:
    """Send a message on a session; see :meth:`Connection.send_message`."""
    while True:
        try:
            room = session.send(message_type, data)
        except SessionClosed as closed:  # noqa: PERF203 (few are tried twice)
            raise NotConnectedError(f"Not connected: {closed}") from closed
        except MessageTooLarge as error:
            raise ProtocolError(str(error)) from error
        except QueueFull:
            await session.when_writable()
        else:
            break
    if session.write_buffer_size:
        await room


def named_type(types: MessageRegistry, name: str) -> MessageType:
    """Return the type of a name, new or not."""
    return types.named(name) or MessageType(name=name, registry=types)
