"""Real servers and clients on loopback, ended with the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from veltix_tx import Client, MessageRegistry, MessageType, Server


class Raw(Protocol):
    """A bare peer: what it receives, and when it is gone."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.made: Deferred[None] = Deferred()
        self.gone: Deferred[Any] = Deferred()
        self._wanted: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        """Tell of the connection."""
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes."""
        self.received += data
        for wanted in [each for each in self._wanted if len(self.received) >= each[0]]:
            self._wanted.remove(wanted)
            wanted[1].callback(bytes(self.received))

    def connectionLost(self, reason: Any = None) -> None:
        """Tell of the end."""
        self.gone.callback(reason.value)

    def some(self, size: int = 1) -> Deferred[bytes]:
        """Return a Deferred that fires when at least so many bytes are there."""
        deferred: Deferred[bytes] = Deferred()
        self._wanted.append((size, deferred))
        self.dataReceived(b"")
        return deferred


class Loopback:
    """Makes servers and clients with types of their own; stops them when the test is over."""

    def __init__(self) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.news = MessageType(201, "news", registry=self.types)
        self._ends: list[Callable[[], Any]] = []

    async def server(self, **settings: Any) -> Server:
        """Start a server on a port of the system's, with an echo route for chat."""
        server = self.made_server(**settings)
        server.route(self.chat)(lambda client, message: message.content)
        server.startService()
        return server

    def made_server(self, **settings: Any) -> Server:
        """Make a server that does not listen yet."""
        if "endpoint" not in settings and "endpoints" not in settings:
            settings = {"port": 0, "host": "127.0.0.1"} | settings
        server = Server(types=self.types, **settings)
        self._ends.append(lambda: server.stopService() if server.running else None)
        return server

    def client(self, port: int = 1, **settings: Any) -> Client:
        """Make a client that does not connect yet."""
        client = Client(settings.pop("server_addr", "127.0.0.1"), port, types=self.types, **settings)
        self._ends.append(client.disconnect)
        return client

    async def raw(self, port: int) -> Raw:
        """Connect a bare peer."""
        from twisted.internet import reactor

        raw = Raw()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), raw)
        self._ends.append(lambda: raw.transport.abortConnection() if not raw.gone.called else None)
        return raw

    async def raw_server(self, made: Callable[[], Protocol] = Raw) -> IListeningPort:
        """Listen with a bare protocol."""
        from twisted.internet import reactor

        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(made))
        self._ends.append(port.stopListening)
        return port

    async def end(self) -> None:
        """Stop everything, the latest first."""
        for end in reversed(self._ends):
            done = end()
            if isinstance(done, Deferred):
                await done
