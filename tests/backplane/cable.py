"""Cable to a server, which can be cut and mended."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.protocols.portforward import ProxyFactory, ProxyServer

__all__ = ["Cable"]


class Cable(ProxyFactory):
    """Forwards connections to a server, that at ``port`` of this machine, until it is cut.

    Attributes:
        entry: the port to connect to.
    """

    noisy = False

    def __init__(self, port: int) -> None:
        from twisted.internet import reactor

        super().__init__("127.0.0.1", port)
        self._reactor: Any = reactor
        self._open: list[ProxyServer] = []
        self._listening: IListeningPort = reactor.listenTCP(0, self, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.entry = self._listening.getHost().port  # type: ignore[attr-defined]

    def buildProtocol(self, addr: Any) -> ProxyServer:
        """Forward a new connection."""
        protocol: ProxyServer = super().buildProtocol(addr)
        protocol.reactor = self._reactor
        self._open.append(protocol)
        return protocol

    def cut(self) -> None:
        """End all connections, and take no more."""
        self._listening.stopListening()
        for protocol in self._open:
            for end in (protocol, protocol.peer):
                if end is not None and end.transport is not None:
                    end.transport.abortConnection()
        self._open.clear()

    def mend(self) -> None:
        """Take connections again."""
        self._listening = self._reactor.listenTCP(self.entry, self, interface="127.0.0.1")

    def hold(self) -> None:
        """Pass nothing on, as where one side hangs."""
        for protocol in self._open:
            protocol.transport.pauseProducing()
            protocol.peer.transport.pauseProducing()

    def release(self) -> None:
        """Pass on what comes."""
        for protocol in self._open:
            protocol.transport.resumeProducing()
            protocol.peer.transport.resumeProducing()
