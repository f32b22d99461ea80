"""What the kernel knows of a TCP connection, where it tells."""

from __future__ import annotations

import socket
import struct
from typing import Any

__all__ = ["accept_in_turns", "acknowledged", "round_trip"]

_ROUND_TRIP = 68
_ACKNOWLEDGED = 120
"""Offsets in Linux's ``struct tcp_info``."""


_ACCEPTS = 10
"""Connections taken from a port in one turn of the reactor. Their handshakes come together, too, a few turns later."""


def accept_in_turns(port: Any) -> None:
    """Let a listening port take few connections at a time, so that those who are connected need not wait for all of them.

    Twisted's ports take more and more of them in one turn, the more there are.
    """
    if not hasattr(port, "numberAccepts"):
        return  # not one of Twisted's own
    accept = port.doRead

    def doRead() -> None:  # noqa: N802
        port.numberAccepts = min(port.numberAccepts, _ACCEPTS)
        accept()

    port.doRead = doRead


def round_trip(transport: object) -> float:
    """Return the round trip of a fresh TCP connection in seconds as the kernel measured it, 0 where it does not say.

    A server that finds out must not send its second hello before the answer to its first can
    have come: a 2.x or 3.x client would take it for the next step of its handshake.
    """
    measured = _tcp_info(transport, "I", _ROUND_TRIP)
    return 0.0 if measured is None else measured / 1e6


def acknowledged(transport: object) -> int | None:
    """Return how many bytes the peer's kernel has taken since the connection began, None where ours does not say."""
    return _tcp_info(transport, "Q", _ACKNOWLEDGED)


def _tcp_info(transport: Any, kind: str, offset: int) -> int | None:
    below_tls = getattr(transport, "transport", transport)
    try:
        raw = below_tls.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, offset + struct.calcsize(kind))
        found: int = struct.unpack_from(kind, raw, offset)[0]
    except (AttributeError, OSError, struct.error):
        return None
    return found
