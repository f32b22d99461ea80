"""Failures of methods as netconduit's maps, and their numbers."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

__all__ = ["Error", "ErrorCode"]


class ErrorCode(IntEnum):
    """Number of a failure."""

    UNKNOWN = 1000
    INTERNAL = 1001
    TIMEOUT = 1002
    CANCELLED = 1003
    VALIDATION = 2000
    MISSING_FIELD = 2001
    INVALID_TYPE = 2002
    INVALID_VALUE = 2003
    AUTH_REQUIRED = 3000
    AUTH_FAILED = 3001
    AUTH_EXPIRED = 3002
    PERMISSION_DENIED = 3003
    METHOD_NOT_FOUND = 4000
    INVALID_PARAMS = 4001
    EXECUTION_ERROR = 4002
    CONNECTION_ERROR = 5000
    DISCONNECTED = 5001
    RECONNECTING = 5002
    RATE_LIMITED = 6000
    QUOTA_EXCEEDED = 6001


class Error:
    """Makes what a method returns to fail its call: the caller's ``rpc.call`` raises RPCError."""

    def __call__(self, message: str, code: int | None = None, details: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failure.

        Args:
            message: what happened, for people.
            code: the same for programs, such as an ErrorCode.
            details: more of it, of JSON's kinds, at most 2 KiB.
        """
        failure: dict[str, Any] = {"success": False, "error": message}
        if code is not None:
            failure["code"] = int(code)
        if details:
            failure["details"] = details
        return failure

    def validation(
        self, message: str, field: str | None = None, expected: str | None = None, received: object = None
    ) -> dict[str, Any]:
        """Return the failure of a value that does not fit (2000)."""
        said = {"field": field, "expected": expected, "received": None if received is None else str(received)}
        return self(message, ErrorCode.VALIDATION, {name: text for name, text in said.items() if text})

    def not_found(self, resource: str, identifier: object = None) -> dict[str, Any]:
        """Return the failure of something that is not there (4000)."""
        message = f"{resource} not found" + ("" if identifier is None else f": {identifier}")
        return self(message, ErrorCode.METHOD_NOT_FOUND)

    def permission_denied(self, action: str = "") -> dict[str, Any]:
        """Return the failure of something that the caller may not do (3003)."""
        return self(_about("Permission denied", action), ErrorCode.PERMISSION_DENIED)

    def internal(self, message: str = "Internal server error") -> dict[str, Any]:
        """Return the failure of the server itself (1001)."""
        return self(message, ErrorCode.INTERNAL)

    def timeout(self, operation: str = "") -> dict[str, Any]:
        """Return the failure of something that took too long (1002)."""
        return self(_about("Operation timed out", operation), ErrorCode.TIMEOUT)

    def rate_limited(self, retry_after: int | None = None) -> dict[str, Any]:
        """Return the failure of a caller who asks too often (6000)."""
        return self("Rate limit exceeded", ErrorCode.RATE_LIMITED, {"retry_after": retry_after} if retry_after else None)


def _about(message: str, subject: str) -> str:
    return f"{message}: {subject}" if subject else message
