"""Reasons for which connections end, and the steps of a client whose connection is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

__all__ = ["DisconnectReason", "DisconnectState"]


class DisconnectReason(Enum):
    """Reason for which a connection ended. The first three are upstream's and keep its numbers."""

    PEER_CLOSED = 1
    SERVER_CLOSED = 1  # noqa: PIE796 (upstream's name for it)
    ERROR = 2
    MANUAL = 3
    RESET = 4
    PROTOCOL_ERROR = 5
    HANDSHAKE_TIMEOUT = 6
    VERSION_REFUSED = 7
    SERVER_FULL = 8
    WRITE_TIMEOUT = 9
    PING_TIMEOUT = 10
    TLS_FAILED = 11
    OVERLOAD = 12
    REJECTED = 13
    AUTHENTICATION_FAILED = 14
    COMPLETED = 15
    UNANSWERED = 16
    IDLE = 17
    IDENTITY_EXPIRED = 18
    UNCLASSIFIED = 19
    EVICTED = 20
    UNREACHABLE = 21


@dataclass(frozen=True, slots=True)
class DisconnectState:
    """One step of a lost or failed connection, as ``on_disconnect`` of a client is told.

    The first has attempt 0: the connection has just been lost, or could not be made. If tries
    follow, one comes after each that failed, or whose session did not live. The last is permanent. (These are the steps of
    upstream's releases from 1.6.9 on; the earlier ones left out the first.)

    Attributes:
        permanent: no further try will be made.
        attempt: which try has just failed, 0 before the first.
        retry_max: how many there may be, None for no end.
        reason: why there is no connection: how the latest session was lost, or what happened before the first try.
        error: what happened last, for people: a SessionClosed, a HandshakeError or Twisted's error.
    """

    permanent: bool
    attempt: int
    retry_max: int | None
    reason: DisconnectReason
    error: BaseException | None = field(default=None, compare=False)
