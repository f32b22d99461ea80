"""Codes of error replies that wires carry: what each means."""

from __future__ import annotations

__all__ = ["ERROR_CODES", "HANDLER_FAILED", "INVALID_CONTENT", "NO_ROUTE", "UNKNOWN_TYPE"]

HANDLER_FAILED, NO_ROUTE, UNKNOWN_TYPE, INVALID_CONTENT = "handler_failed", "no_route", "unknown_type", "invalid_content"

ERROR_CODES = {
    HANDLER_FAILED: "the handler raised, returned what is no answer, or was not done in time",
    NO_ROUTE: "no handler is registered for the message's type",
    UNKNOWN_TYPE: "the message's type is not registered at all",
    INVALID_CONTENT: "the content does not fit the type that its message type names",
}
"""The codes this version sends of its own accord: what each means. A handler's RpcError brings its own."""
