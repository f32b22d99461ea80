"""Codes of error replies that wires carry: what each means."""

from __future__ import annotations

__all__ = ["ERROR_CODES", "FORBIDDEN", "HANDLER_FAILED", "NO_ROUTE", "UNKNOWN_TYPE"]

HANDLER_FAILED, NO_ROUTE, UNKNOWN_TYPE, FORBIDDEN = "handler_failed", "no_route", "unknown_type", "forbidden"

ERROR_CODES = {
    HANDLER_FAILED: "the handler raised, returned what is no answer, or was not done in time",
    NO_ROUTE: "no handler is registered for the message's type",
    UNKNOWN_TYPE: "the message's type is not registered at all",
    FORBIDDEN: "the message's route does not allow it to the session",
}
"""The codes this version sends: what each means."""
