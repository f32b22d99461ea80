"""Methods as discovery tells of them, as models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RPCListResponse", "RPCMethodInfo"]


class RPCMethodInfo(BaseModel):
    """A method: one of what ``client.rpc.discover()`` returns, ``RPCMethodInfo(**method)``."""

    model_config = ConfigDict(extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, str] = Field(default_factory=dict)
    return_type: str = "Any"
    requires_auth: bool = True


class RPCListResponse(BaseModel):
    """The methods of a server."""

    model_config = ConfigDict(extra="forbid")

    methods: list[RPCMethodInfo] = Field(default_factory=list)
    server_name: str = ""
    server_version: str = ""
