"""Types, and the two ends of a connection that speak them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any

from veltix_tx import MessageRegistry, MessageType
from veltix_tx.aio import Client, Server

__all__ = ["CHAT", "LOOPS", "NEWS", "OTHER", "TYPES", "Run", "make_client", "make_server"]

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
NEWS = MessageType(201, "news", registry=TYPES)
OTHER = MessageType(202, "other", registry=TYPES)

LOOPS = ["asyncio", *(["uvloop"] if find_spec("uvloop") else [])]
"""Kinds of loops; there is no uvloop for Windows and PyPy."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def make_server(**settings: Any) -> Server:
    """Make a server for a port of the system's, that does not listen yet."""
    return Server(**{"host": "127.0.0.1", "port": 0, "types": TYPES} | settings)


def make_client(server: Server, **settings: Any) -> Client:
    """Make a client of a server that listens."""
    return Client("127.0.0.1", server.port, types=TYPES, **settings)
