"""A UDP port on a clock, whose peers are addresses that a test makes up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from tests.support.line import Recorder
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.datagram import DatagramConnection, VeltixDatagramProtocol
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import MessageRegistry

Address = tuple[str, int]

NEAR: Address = ("10.0.0.1", 1000)
FAR: Address = ("10.0.0.2", 2000)


class UdpPort:
    """What a protocol writes to.

    Attributes:
        sent: datagrams and their addresses.
        fails: what writing raises, None for nothing.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.fails: OSError | None = None

    def write(self, datagram: bytes, addr: Address) -> None:
        """Keep a datagram."""
        if self.fails is not None:
            raise self.fails
        self.sent.append((datagram, addr))

    def getHost(self) -> IPv4Address:
        """Return its address."""
        return IPv4Address("UDP", "127.0.0.1", 7001)


class Datagrams:
    """A protocol of a server's UDP port.

    Args:
        application: what happens with messages; one that writes them down by default.
        wire: what is spoken.
        timeouts: the settings.
        limits: others of the settings.
    """

    def __init__(self, application: Any = None, wire: Any = "lines", timeouts: Timeouts | None = None, **limits: Any) -> None:
        self.clock = Clock()
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        self.application = application or Recorder()
        config = ServerConfig(wire=wire, limits=Limits(**limits), timeouts=timeouts or Timeouts())
        self.connections = AdmissionControl(-1, config.limits, config.timeouts, clocks)
        self.protocol = VeltixDatagramProtocol(
            self.application, config, reactor=clocks, types=MessageRegistry(), connections=self.connections
        )
        self.port = UdpPort()
        self.protocol.makeConnection(self.port)  # type: ignore[arg-type]

    def come(self, datagram: bytes, sender: Address = NEAR) -> None:
        """Let a datagram come."""
        self.protocol.datagramReceived(datagram, sender)

    def session(self, sender: Address = NEAR) -> Session:
        """Return the session of a peer."""
        found = self.peer(sender).session
        assert found is not None
        return found

    def peer(self, sender: Address = NEAR) -> DatagramConnection:
        """Return what is below that."""
        return self.protocol._peers[sender]

    def sent(self, to: Address = NEAR) -> list[bytes]:
        """Return the datagrams sent to an address."""
        return [datagram for datagram, address in self.port.sent if address == to]

    @property
    def counters(self) -> Counter[str]:
        """What has happened."""
        return self.connections.shared.counters
