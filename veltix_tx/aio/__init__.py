"""Veltix for asyncio: the same servers and clients, with methods that are awaited, on the running loop.

::

    async with Server(port=0) as server, Client("127.0.0.1", server.port) as client:
        reply = await client.send_and_wait(CHAT, b"hello")

No thread and no second loop is started. Everything else of the package is what it is elsewhere.
"""

from __future__ import annotations

from veltix_tx.aio.client import Client
from veltix_tx.aio.messages import Messages
from veltix_tx.aio.rooms import Room
from veltix_tx.aio.server import Server
from veltix_tx.aio.service import CallContext
from veltix_tx.aio.session import Session

__all__ = ["CallContext", "Client", "Messages", "Room", "Server", "Session"]
