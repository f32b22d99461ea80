"""Servers and clients in memory, and sessions that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, MessageType, Server, Session
from veltix_tx.testing import MemoryNetwork, ScriptedPeer
from veltix_tx.wire.veltix.layouts import W22


class Town:
    """A memory network with one server and a set of types of its own."""

    def __init__(self, **server_settings: Any) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.news = MessageType(201, "news", registry=self.types)
        self.network = MemoryNetwork()
        if "application" not in server_settings:
            server_settings["types"] = self.types
        self.server = Server(**server_settings)
        self.network.serve(self.server)
        self.heard: dict[str, list[bytes]] = {}

    def client(self, name: str, **settings: Any) -> tuple[Client, Session]:
        """Connect a client; what it hears is kept under its name."""
        client = Client(types=self.types, **settings)
        heard = self.heard[name] = []
        client.set_callback("on_recv", lambda message: heard.append(message.content))
        return client, self.network.connect(client)

    def old_peer(self) -> ScriptedPeer:
        """Connect a scripted client of 1.6.6, whose messages have another layout."""
        peer = self.network.dial()
        hello = peer.received
        while W22.pack(10, b"\0\x051.6.6", 0, 0)[:10] not in hello:
            hello.clear()
            self.network.advance(0.05)
        hello = W22.unpack(peer.received)
        version = b"\0\x051.6.6"
        peer.send(W22.pack(11, version, hello.request_id, 0) + version)
        peer.received.clear()
        return peer


@pytest.fixture
def town() -> Callable[..., Town]:
    """Make a memory network with a server on it."""
    return Town
