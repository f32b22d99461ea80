"""UNIX sockets of servers, also where a process that was killed has left its own behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

__all__ = ["UnixServerEndpoint", "remove_abandoned"]

_FRESH = 1.0
"""Seconds in which a socket that nobody listens on may be one that is being made."""


@implementer(IStreamServerEndpoint)
class UnixServerEndpoint:
    """Endpoint of Twisted's on a UNIX socket that takes the place of one that was left behind.

    Twisted's lock beside the socket names a process. While there is one with that number, be it another one by now or one
    that nobody has waited for, the lock holds.

    Args:
        endpoint: Twisted's.
        path: path of the socket.
        calendar: a clock, in seconds since 1970, that of files.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, path: str, calendar: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._path = path
        self._calendar = calendar

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; errbacks with CannotListenError where another process does."""
        remove_abandoned(self._path, self._calendar())
        return self._endpoint.listen(protocolFactory)


def remove_abandoned(path: str, now: float) -> None:
    """Remove a UNIX socket on which nobody listens, and Twisted's lock beside it."""
    try:
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode) or now - found.st_mtime < _FRESH or not _refuses(path):
            return
    except OSError:
        return  # there is none, or it is not for us
    with suppress(OSError):
        os.remove(path)
        os.remove(path + ".lock")


def _refuses(path: str) -> bool:
    """Return True if nobody listens on a UNIX socket; raises OSError where that cannot be told."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False
