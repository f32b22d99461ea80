"""A reactor in memory whose look-ups and connections a test moves by hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer


def addresses(*hosts: str) -> list[Any]:
    """Return addresses on port 8080."""
    return [(IPv6Address if ":" in host else IPv4Address)("TCP", host, 8080) for host in hosts]


@implementer(IHostnameResolver)
class Reactor(MemoryReactorClock):
    """A reactor in memory that is its own resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups: list[tuple[str, Any]] = []
        self.nameResolver = self

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any, **__: Any) -> Any:  # noqa: N802, N803
        """Keep the question."""
        assert portNumber == 8080
        self.lookups.append((hostName, receiver))
        receiver.resolutionBegan(None)

    def answer(self, *hosts: str, lookup: int = -1) -> None:
        """Answer a question."""
        receiver = self.lookups[lookup][1]
        for address in addresses(*hosts):
            receiver.addressResolved(address)
        receiver.resolutionComplete()

    @property
    def tried(self) -> list[str]:
        """The addresses that were tried, in their order."""
        return [client[0] for client in self.tcpClients]

    def refuse(self, number: int, error: Exception | None = None) -> None:
        """Let one of the tries fail."""
        self.tcpClients[number][2].clientConnectionFailed(self.connectors[number], Failure(error or Refused()))

    def accept(self, number: int) -> Any:
        """Let one of the tries succeed; return its protocol."""
        protocol = self.tcpClients[number][2].buildProtocol(addresses(self.tried[number])[0])
        if protocol is not None:
            protocol.makeConnection(StringTransport())
        return protocol

    @property
    def stopped(self) -> list[int]:
        """Which tries were given up."""
        return [number for number, connector in enumerate(self.connectors) if connector.stoppedConnecting]
