"""Ports for what is to listen later, or never."""

from __future__ import annotations

import secrets
import socket

_FIRST, _LAST = 10_000, 30_000
"""Below the ports of which a system gives one to whoever asks for any: so nobody else is given one of these meanwhile."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    for _ in range(1000):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"there is no free port from {_FIRST} to {_LAST}")


def accepts(port: int) -> bool:
    """Return True if somebody listens on a port of this machine."""
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0
