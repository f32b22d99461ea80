"""Connection ids: ``<node>-<counter>``, unique among all connections of a node, for its logs and its operators."""

from __future__ import annotations

from itertools import count
from os import getpid

__all__ = ["connection_id", "draw_number", "this_process"]

_numbers = count(1)


def draw_number() -> int:
    """Return a number that no other connection of this process has."""
    return next(_numbers)


def this_process() -> str:
    """Return the node of what has joined no other nodes: the process."""
    return str(getpid())


def connection_id(number: int, node: str) -> str:
    """Return the id of the connection with a number on a node."""
    return f"{node}-{number}"
