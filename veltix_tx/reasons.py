"""Why connections end."""

from __future__ import annotations

from enum import Enum

__all__ = ["DisconnectReason"]


class DisconnectReason(Enum):
    """Why a connection ended. The first three are upstream's and keep its numbers."""

    PEER_CLOSED = 1
    SERVER_CLOSED = 1  # noqa: PIE796 (upstream's name for it)
    ERROR = 2
    MANUAL = 3
    RESET = 4
    PROTOCOL_ERROR = 5
    HANDSHAKE_TIMEOUT = 6
    VERSION_REFUSED = 7
    SERVER_FULL = 8
    STALLED = 9
    SILENT = 10
    TLS_FAILED = 11
    OVERLOAD = 12
    REJECTED = 13
