"""Ports for what is to listen later, or never."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import cycle, islice
from random import SystemRandom

_FIRST, _LAST = 10_000, 30_000
"""Below the ports of which a system gives one to whoever asks for any: so nobody else is given one of these meanwhile."""


def _own_ports() -> Iterator[int]:
    """Return, in any order and again and again, the ports that no other worker of the test run is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = list(range(_FIRST + worker, _LAST, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    SystemRandom().shuffle(own)
    return cycle(own)


_ports = _own_ports()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that nobody else of the test run will."""
    for port in islice(_ports, 1000):
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
