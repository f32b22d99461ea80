"""Connection ids: ``<node>-<counter>``, unique among all connections of a node, for its logs and its operators."""

from __future__ import annotations

from itertools import count
from os import getpid

__all__ = ["connection_id", "draw_number"]

_numbers = count(1)


def draw_number() -> int:
    """Return a number that no other connection of this process has."""
    return next(_numbers)


def connection_id(number: int) -> str:
    """Return the id of the connection with a number. The node is the process."""
    return f"{getpid()}-{number}"
