"""A server with one room, for ``nodes.py``: who connects is in it, and what is published there says where it has got to."""

from __future__ import annotations

from typing import Any

from processes import TYPES

from veltix_tx import History, MessageType, Server

__all__ = ["NEWS", "PUBLISH", "server"]

PUBLISH = MessageType(210, "publish", registry=TYPES)
NEWS = MessageType(211, "news", registry=TYPES)

server = Server(types=TYPES)
room = server.room("room", history=History(size=200, ttl=60))
server.set_callback("on_connect", room.join)


@server.route(PUBLISH)
async def publish(client: Any, message: Any) -> bytes:
    """Publish a content; answer with its place, or with nothing where it got none."""
    position = (await room.broadcast(NEWS, message.content)).position
    return b"" if position is None else f"{position.epoch} {position.offset}".encode()
