"""Names of netconduit that are not here, each with what to use in its place."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["IN_PLACE", "refuse"]

_FILES = "call a method for each part of the file, up to max_message_size bytes"
_STREAMS = "use server.broadcast() and client.on(), or messages() of veltix_tx.aio.Client, an asynchronous iterator"
_POOL = "make a Client for each server"
_METRICS = "look at the counters of veltix_tx.Server"
_RATE = "give ServerDescriptor rate_limit_enabled=True, which works here"
_TLS = "give the descriptors ssl_enabled=True and the files, which works here"
_INSIDE = "it is a part of netconduit's inside: use Server and Client"

IN_PLACE = {
    **dict.fromkeys(("FileTransfer", "FileTransferHandler", "TransferProgress"), _FILES),
    **dict.fromkeys(("Stream", "BidirectionalStream", "StreamManager", "ClientStreamConsumer"), _STREAMS),
    **dict.fromkeys(("ClientPool", "PoolStats"), _POOL),
    **dict.fromkeys(("Metrics", "get_metrics", "set_metrics"), _METRICS),
    **dict.fromkeys(("RateLimiter", "RateLimitConfig"), _RATE),
    **dict.fromkeys(("TLSConfig", "create_server_ssl_context", "create_client_ssl_context"), _TLS),
    **dict.fromkeys(("MessageRouter", "MessageQueue", "RPCRegistry", "RPCDispatcher"), _INSIDE),
    **dict.fromkeys(
        ("TCPSocket", "TCPServer", "ConnectionStateMachine", "AuthHandler", "hash_password", "verify_password"), _INSIDE
    ),
}
"""Name -> what to use in its place."""


def refuse(name: str) -> NoReturn:
    """Stand for ``__getattr__`` of a module in which netconduit has some of these names.

    Raises:
        ImportError: it is one of them; the message says what to use.
        AttributeError: it is none.
    """
    if name in IN_PLACE:
        raise ImportError(f"{name} of netconduit is not in veltix_tx.dropin.conduit: {IN_PLACE[name]}")
    raise AttributeError(f"veltix_tx.dropin.conduit has no {name!r} here")
