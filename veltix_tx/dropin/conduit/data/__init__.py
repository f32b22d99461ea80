"""Data models: descriptors, payloads, methods, connections."""

from veltix_tx.dropin.conduit.data.connection import ConnectionHealth, ConnectionInfo
from veltix_tx.dropin.conduit.data.descriptors import ClientDescriptor, ServerDescriptor
from veltix_tx.dropin.conduit.data.messages import (
    AuthFailure,
    AuthRequest,
    AuthSuccess,
    MessageData,
    RPCError,
    RPCRequest,
    RPCResponse,
)
from veltix_tx.dropin.conduit.data.rpc import RPCListResponse, RPCMethodInfo

__all__ = [
    "AuthFailure",
    "AuthRequest",
    "AuthSuccess",
    "ClientDescriptor",
    "ConnectionHealth",
    "ConnectionInfo",
    "MessageData",
    "RPCError",
    "RPCListResponse",
    "RPCMethodInfo",
    "RPCRequest",
    "RPCResponse",
    "ServerDescriptor",
]
