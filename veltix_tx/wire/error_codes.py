"""Codes of error replies that wires carry: what each means."""

from __future__ import annotations

__all__ = [
    "CANCELLED",
    "ERROR_CODES",
    "FORBIDDEN",
    "HANDLER_FAILED",
    "INVALID_ARGUMENTS",
    "INVALID_CONTENT",
    "MALFORMED_CALL",
    "METHOD_NOT_FOUND",
    "NO_ROUTE",
    "UNKNOWN_TYPE",
]

HANDLER_FAILED, NO_ROUTE, UNKNOWN_TYPE, INVALID_CONTENT = "handler_failed", "no_route", "unknown_type", "invalid_content"
FORBIDDEN = "forbidden"
METHOD_NOT_FOUND, INVALID_ARGUMENTS = "method_not_found", "invalid_arguments"
CANCELLED, MALFORMED_CALL = "cancelled", "malformed_call"

ERROR_CODES = {
    HANDLER_FAILED: "the handler raised, returned what is no answer, or was not done in time",
    NO_ROUTE: "no handler is registered for the message's type",
    UNKNOWN_TYPE: "the message's type is not registered at all",
    FORBIDDEN: "the message's route does not allow it to the session",
    INVALID_CONTENT: "the content does not fit the type that its message type names",
    METHOD_NOT_FOUND: "no method has the name that is called; `details` has the name",
    INVALID_ARGUMENTS: "the arguments do not fit the method; `details` has the `path` of the wrong one and the `rule`",
    CANCELLED: "the caller has cancelled the call",
    MALFORMED_CALL: "the call is not a call, or over a limit",
}
"""The codes this version sends of its own accord: what each means. A handler's RpcError brings its own."""
