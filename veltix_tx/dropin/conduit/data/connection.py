"""A connection's state, and models that describe one."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ConnectionHealth", "ConnectionInfo", "ConnectionState"]


class ConnectionState(str, Enum):
    """State of a client, or of a connection of a server."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    CONNECTED = "connected"
    ACTIVE = "active"
    PAUSED = "paused"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class ConnectionInfo(BaseModel):
    """A connection, described."""

    model_config = ConfigDict(extra="allow")

    client_id: str
    address: str
    port: int
    connected_at: datetime = Field(default_factory=datetime.now)
    authenticated: bool = False
    session_token: str | None = None
    client_name: str = ""
    client_version: str = ""


class ConnectionHealth(BaseModel):
    """Health of a connection."""

    model_config = ConfigDict(extra="allow")

    state: ConnectionState = ConnectionState.DISCONNECTED
    connected: bool = False
    authenticated: bool = False
    connected_at: datetime | None = None
    last_heartbeat_sent: datetime | None = None
    last_heartbeat_received: datetime | None = None
    last_message_sent: datetime | None = None
    last_message_received: datetime | None = None
    latency_ms: float = 0
    avg_latency_ms: float = 0
    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0
    reconnect_count: int = 0
    send_queue_size: int = 0
    receive_queue_size: int = 0
    is_paused: bool = False

    def is_healthy(self) -> bool:
        """Return True if it is active, authenticated and not paused."""
        return self.connected and self.authenticated and self.state is ConnectionState.ACTIVE and not self.is_paused
