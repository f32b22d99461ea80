"""Connections by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from veltix_tx.dropin.conduit.connection.connection import Connection

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """Connections by their ids: those of a server, or a program's own choice of them, such as a room's.

    Args:
        max_connections: maximum number of them.
    """

    def __init__(self, max_connections: int = 100) -> None:
        self._max_connections = max_connections
        self._connections: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection_id: str) -> bool:
        return connection_id in self._connections

    async def add(self, connection: Connection) -> bool:
        """Add a connection; return False where there are as many as may be."""
        if self.is_full:
            return False
        self._connections[connection.id] = connection
        return True

    async def remove(self, connection_id: str) -> bool:
        """Take a connection out; return whether it was there."""
        return self._connections.pop(connection_id, None) is not None

    def get(self, connection_id: str) -> Connection | None:
        """Return a connection by its id, None where it is not there."""
        return self._connections.get(connection_id)

    def get_all(self) -> list[Connection]:
        """Return every connection."""
        return list(self._connections.values())

    def get_authenticated(self) -> list[Connection]:
        """Return those whose client knows the password: every connection."""
        return self.get_all()

    async def broadcast(self, message_type: str, data: Any, exclude: Collection[str] | None = None) -> int:
        """Send a message to each connection.

        Args:
            message_type: its type.
            data: what it says.
            exclude: ids of connections to leave out.

        Returns:
            how many it was sent to. One that cannot be sent to is left out.
        """
        wanted = [each for each in self.get_all() if each.id not in (exclude or ()) and each.is_connected]
        sent = await asyncio.gather(*(each.send_message(message_type, data) for each in wanted), return_exceptions=True)
        return sum(each is None for each in sent)

    async def close_all(self) -> None:
        """Close every connection."""
        connections = self.get_all()
        self._connections.clear()
        await asyncio.gather(*(each.stop() for each in connections))

    @property
    def count(self) -> int:
        """Number of connections."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """True if there are as many as may be."""
        return self.available_slots <= 0

    @property
    def available_slots(self) -> int:
        """Number of connections that there is room for."""
        return self._max_connections - len(self._connections)
