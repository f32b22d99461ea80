"""Upstream's exceptions, and the two that its first documents have.

VeltixError, MessageTypeError and RequestError are the package's own. Two names are also those of
Python's exceptions; here they are both: ``except builtins.ConnectionError`` catches them, too.
"""

from __future__ import annotations

import builtins

from veltix_tx.errors import MessageTypeError, RequestError, VeltixError

__all__ = [
    "ConnectionError",
    "MessageError",
    "MessageTypeError",
    "NetworkError",
    "RequestError",
    "SenderError",
    "TimeoutError",
    "VeltixError",
]


class SenderError(VeltixError):
    """A Sender was made without what it needs."""


class NetworkError(VeltixError):
    """Something failed below the messages."""


class ConnectionError(NetworkError, builtins.ConnectionError):  # noqa: A001 (upstream's name)
    """There is no connection to send on."""


class TimeoutError(VeltixError, builtins.TimeoutError):  # noqa: A001 (upstream's name)
    """Something took too long."""


class MessageError(VeltixError, ValueError):
    """Bytes that were to be sent are no message."""
