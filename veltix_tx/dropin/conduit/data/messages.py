"""Payloads of netconduit's frames as models. The wire itself does without them, and takes keys that they forbid."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AuthFailure", "AuthRequest", "AuthSuccess", "MessageData", "RPCError", "RPCRequest", "RPCResponse"]


class MessageData(BaseModel):
    """Payload of a MESSAGE."""

    model_config = ConfigDict(extra="allow")

    type: str
    data: Any = None


class RPCRequest(BaseModel):
    """Payload of an RPC_REQUEST."""

    model_config = ConfigDict(extra="forbid")

    method: str
    params: dict[str, Any] = Field(default_factory=dict)


class RPCResponse(BaseModel):
    """Payload of an RPC_RESPONSE."""

    model_config = ConfigDict(extra="allow")

    success: bool = True
    result: Any = None


class RPCError(BaseModel):
    """Payload of an RPC_ERROR; the exception that calls raise is ``RPCException``."""

    model_config = ConfigDict(extra="forbid")

    success: bool = False
    error: str
    code: int | None = None
    details: dict[str, Any] | None = None


class AuthRequest(BaseModel):
    """Payload of an AUTH_REQUEST. The hash is the SHA-256 of the password, without a salt."""

    model_config = ConfigDict(extra="forbid")

    password_hash: str = Field(repr=False)
    client_info: dict[str, Any] = Field(default_factory=dict)
    protocol_version: str = "1.0"


class AuthSuccess(BaseModel):
    """Payload of an AUTH_SUCCESS."""

    model_config = ConfigDict(extra="forbid")

    session_token: str
    server_info: dict[str, Any] = Field(default_factory=dict)
    heartbeat_interval: int = 30


class AuthFailure(BaseModel):
    """Payload of an AUTH_FAILURE."""

    model_config = ConfigDict(extra="forbid")

    reason: str
    retry_allowed: bool = False
