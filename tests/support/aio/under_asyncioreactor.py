"""Twisted's Server and Client with its asyncio reactor installed: ``python under_asyncioreactor.py LOOP``.

Every function of the user's, whoever calls it, awaits Deferreds and awaitables of asyncio's in one body.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from veltix_tx import Client, MessageType, Plugin, Response, Server, Session, SessionClosed

if sys.argv[1] == "uvloop":
    import uvloop

    loop = uvloop.new_event_loop()
else:
    loop = asyncio.new_event_loop()
asyncioreactor.install(loop)

CHAT = MessageType(200, "chat")
SLOW = MessageType(201, "slow")
told: list[str] = []


async def both(reactor: Any, name: str) -> None:
    """Await both kinds."""
    await deferLater(reactor, 0.001)
    await asyncio.sleep(0.001)
    await deferLater(reactor, 0.001)
    told.append(name)


class Watching(Plugin):
    """Sees all there is."""

    name = "watching"
    events = ("on_connect", "on_recv", "on_disconnect")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def connected(self, session: Session) -> None:
        """Be told of a session."""
        await both(self._reactor, "plugin connected")

    async def observed(self, session: Session, message: Response) -> None:
        """See a message."""
        if message.type == CHAT:
            await both(self._reactor, "plugin observed")

    async def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Be told of its end."""
        await both(self._reactor, "plugin disconnected")


async def main(reactor: Any) -> None:
    """Let each be called."""
    server = Server(host="127.0.0.1", port=0)
    server.register_plugin(Watching(reactor))
    gone: Deferred[None] = Deferred()

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> bytes:
        await both(reactor, "route")
        return (await client.send_and_wait(CHAT, message.content)).content

    @server.route(SLOW)
    async def on_slow(client: Session, message: Response) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    @server.set_callback("on_connect")
    async def on_connect(client: Session) -> None:
        await both(reactor, "server's on_connect")

    @server.set_callback("on_disconnect")
    async def on_disconnect(client: Session) -> None:
        await both(reactor, "server's on_disconnect")

    await server.listen()
    client = Client("127.0.0.1", server.port)

    @client.set_callback("on_connect")
    async def begun() -> None:
        await both(reactor, "client's on_connect")
        assert await client.ping_server() > 0

    @client.route(CHAT)
    async def on_question(message: Response) -> bytes:
        await both(reactor, "client's route")
        return message.content

    @client.set_callback("on_disconnect")
    async def lost(state: Any) -> None:
        await both(reactor, "client's on_disconnect")
        gone.callback(None)

    await client.connect()
    assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
    client.send(SLOW)
    await client.ping_server()
    await client.disconnect()
    await gone
    await server.stopService()


with suppress(SystemExit):
    react(main)
loop.close()
wanted = {f"{who}'s {what}" for who in ("server", "client") for what in ("on_connect", "on_disconnect")}
wanted |= {f"plugin {what}" for what in ("connected", "observed", "disconnected")} | {"route", "client's route", "cancelled"}
assert set(told) == wanted, told
