"""netconduit's exceptions. Those that it has and never raises are raised here."""

from __future__ import annotations

import builtins
from typing import Any

__all__ = [
    "AlreadyConnectedError",
    "AuthenticationError",
    "BackpressureError",
    "ClientError",
    "ConduitError",
    "ConnectionError",
    "NotConnectedError",
    "ProtocolError",
    "QueueFullError",
    "RPCError",
    "ServerError",
    "TimeoutError",
    "ValidationError",
]


class ConduitError(Exception):
    """Base of all that the drop-in raises."""


class ConnectionError(ConduitError, builtins.ConnectionError):  # noqa: A001 (netconduit's name)
    """There is no connection, or it was lost. Python's own, too, which netconduit raises."""


class NotConnectedError(ConnectionError):
    """Nothing can be sent: there is no connection."""


class AlreadyConnectedError(ConnectionError):
    """Never raised: connecting twice is no error."""


class AuthenticationError(ConduitError):
    """Never raised: ``connect()`` returns False for a wrong password."""


class ProtocolError(ConduitError):
    """Something cannot be sent: it is too large, or msgpack cannot hold it."""


class TimeoutError(ConduitError, builtins.TimeoutError):  # noqa: A001 (netconduit's name)
    """Something took too long. Python's own, too."""


class RPCError(ConduitError):
    """A call failed. In ``veltix_tx.dropin.conduit`` itself, as in netconduit, its name is ``RPCException``.

    Attributes:
        message: what happened, for people.
        code: the same for programs: a number, mostly one of ErrorCode; None where the server gave none.
        details: more of it; empty for nothing.
    """

    def __init__(self, message: str, code: int | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details or {}

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}" if self.code else self.message


class ValidationError(ConduitError):
    """Never raised: descriptors raise pydantic's, and a call's arguments that do not fit are an RPCError with the code 2000.

    Attributes:
        field: what does not fit.
        errors: how.
    """

    def __init__(self, message: str, field: str | None = None, errors: list[Any] | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.errors = errors or []


class BackpressureError(ConduitError):
    """Base of QueueFullError."""


class QueueFullError(BackpressureError):
    """Never raised: sending waits until there is room."""


class ServerError(ConduitError):
    """Never raised."""


class ClientError(ConduitError):
    """Never raised."""
