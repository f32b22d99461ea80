"""Roles and protocols of a socket."""

from enum import Enum

__all__ = ["Mode", "Protocol"]


class Mode(Enum):
    """Role of a socket."""

    SERVER = 0
    CLIENT = 1


class Protocol(Enum):
    """Protocol of a socket."""

    TCP = 0
    UDP = 1
