"""Reasons for which a client is not connected, in upstream's three words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from veltix_tx import disconnect

__all__ = ["DisconnectReason", "DisconnectState", "as_upstream"]


class DisconnectReason(Enum):
    """Reason for which there is no connection."""

    SERVER_CLOSED = 1
    ERROR = 2
    MANUAL = 3


_REASONS = {
    disconnect.DisconnectReason.MANUAL: DisconnectReason.MANUAL,
    disconnect.DisconnectReason.PEER_CLOSED: DisconnectReason.SERVER_CLOSED,
    disconnect.DisconnectReason.RESET: DisconnectReason.SERVER_CLOSED,
    disconnect.DisconnectReason.WRITE_TIMEOUT: DisconnectReason.SERVER_CLOSED,
    disconnect.DisconnectReason.PING_TIMEOUT: DisconnectReason.SERVER_CLOSED,
    disconnect.DisconnectReason.SERVER_FULL: DisconnectReason.SERVER_CLOSED,
}
"""Every other one means that no connection could be made, which is upstream's ERROR."""


@dataclass
class DisconnectState:
    """One step of a lost or failed connection.

    Attributes:
        permanent: no further try will be made.
        attempt: which try has just failed, 0 when there was none.
        retry_max: how many there may be.
        reason: why there is no connection.
    """

    permanent: bool
    attempt: int
    retry_max: int
    reason: DisconnectReason


def as_upstream(state: disconnect.DisconnectState) -> DisconnectState | None:
    """Return a state in 1.6.3's terms, None for one it does not tell: a loss after which tries follow."""
    if not state.permanent and state.attempt == 0:
        return None
    reason = _REASONS.get(state.reason, DisconnectReason.ERROR)
    return DisconnectState(state.permanent, state.attempt, state.retry_max or 0, reason)
