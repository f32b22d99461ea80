"""UDP: what the session of a peer writes to, how much is read in a turn of the reactor, and endpoints."""

from __future__ import annotations

from collections.abc import Callable
from errno import ECONNREFUSED
from os import strerror
from socket import AF_INET6, SO_ERROR, SOL_SOCKET
from typing import Any, Protocol, runtime_checkable

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from zope.interface import implementer

from veltix_tx.errors import excerpt
from veltix_tx.net.transport.connecting import is_name

__all__ = [
    "PER_TURN",
    "PORTION",
    "TURN",
    "Address",
    "Arrived",
    "ConnectedReceiver",
    "DatagramEndpoint",
    "PeerTransport",
    "UdpClientEndpoint",
    "UdpServerEndpoint",
    "read_in_portions",
]

PER_TURN = 128
"""Datagrams read from a port in one turn of the reactor, so that everything else has its turn in a flood of them."""

TURN = 0.002
"""Seconds of a turn after which it ends in any case, once a portion is handled."""

PORTION = 4 * 1024
"""Bytes of a portion, and the datagram that exceeds them: all of them may be empty lines, a message each."""

_TOGETHER = 32
"""Datagrams of a portion: each may begin a session."""

_MAX_PACKET = 65_536
"""Bytes asked of the kernel for a datagram: more than any has, so that none is cut."""

Address = tuple[str, int]
"""A host and a port, as Twisted gives the sender of a datagram."""

Arrived = tuple[bytes, Address]
"""A datagram and its sender."""


@runtime_checkable
class DatagramEndpoint(Protocol):
    """Place for a server to take datagrams."""

    def listen_datagrams(self, protocol: DatagramProtocol) -> Deferred[IListeningPort]:
        """Connect a protocol to a port; errback with CannotListenError where that cannot be had."""


class PeerTransport:
    """What the session of one peer writes to.

    It writes to the socket where it can: Twisted looks at the address before, which came from its own port.

    Args:
        port: a UDP port.
        peer: the peer's address, on a port that others share; None for one that is connected to it alone.

    Attributes:
        peer: as given.
        sendto: sends a datagram now, called with it and ``peer``; raises OSError where the system does not take it.
    """

    __slots__ = ("_port", "peer", "sendto")

    def __init__(self, port: Any, peer: Address | None = None) -> None:
        self.peer = peer
        self._port = port
        straight = port.socket if isinstance(port, Port) else None
        if peer is None:
            send = port.write if straight is None else straight.send
            self.sendto: Callable[[bytes, Any], object] = lambda datagram, _: send(datagram)
        else:
            self.sendto = port.write if straight is None else straight.sendto

    def getPeer(self) -> IAddress:
        """Return the peer's address."""
        host, port = self.peer or self._port._connectedAddr
        return _address(host, port)

    def getHost(self) -> IAddress:
        """Return the port's own address."""
        host: IAddress = self._port.getHost()
        return host

    def loseConnection(self) -> Deferred[None]:
        """Close a port that is the peer's alone; return a Deferred that fires when it is closed."""
        return succeed(None) if self.peer else maybeDeferred(self._port.stopListening)


def read_in_portions(
    port: Any, take: Callable[[list[Arrived]], None], failed: Callable[[OSError], None], uptime: Callable[[], float]
) -> None:
    """Let a UDP port read no more in a turn of the reactor than leaves everything else its turn, and each datagram whole.

    Twisted reads on until there are 256 KiB, be it a quarter of a million datagrams, or any number of empty ones, and cuts those
    of more than 8 KiB where nothing else was asked for. Here a portion is read before it is handled: code that the kernel's
    does not interrupt runs faster.

    Args:
        port: the port. One that is not Twisted's own, such as a test's, is left as it is.
        take: called with what has arrived.
        failed: called with an error that the kernel has in place of a datagram, such as an ICMP error on a connected port.
        uptime: a clock that never jumps, in seconds.
    """
    if not isinstance(port, Port):
        return
    receive, is_ipv6 = port.socket.recvfrom, port.addressFamily == AF_INET6

    def read() -> None:
        end = uptime() + TURN
        for _ in range(PER_TURN // _TOGETHER):
            arrived, size, error = list[Arrived](), PORTION, None
            try:
                while size > 0 and len(arrived) < _TOGETHER:
                    one = receive(_MAX_PACKET)
                    arrived.append(one)
                    size -= len(one[0])
            except OSError as caught:
                error = caught
            if arrived:
                take([(datagram, sender[:2]) for datagram, sender in arrived] if is_ipv6 else arrived)
            if error is not None and not isinstance(error, BlockingIOError):
                failed(error)
            if error is not None or uptime() > end or not port.connected:
                return

    port.doRead = read  # type: ignore[method-assign]


class UdpServerEndpoint:
    """A UDP port of this machine.

    Args:
        reactor: listens.
        port: its number, 0 for the system's choice.
        interface: the address to bind to; all of IPv4 by default.
    """

    def __init__(self, reactor: Any, port: int, interface: str = "") -> None:
        self._reactor = reactor
        self._port = port
        self._interface = interface

    def listen_datagrams(self, protocol: DatagramProtocol) -> Deferred[IListeningPort]:
        """Connect a protocol to the port."""
        return maybeDeferred(self._reactor.listenUDP, self._port, protocol, self._interface, _MAX_PACKET)


class ConnectedReceiver(DatagramProtocol):
    """Datagrams of the one peer that a port is connected to.

    Args:
        connection: takes them.
    """

    noisy = False
    transport: Any

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def startProtocol(self) -> None:
        """The port is bound."""
        self._bound = self.transport
        connection = self._connection
        read_in_portions(self.transport, self._take, connection.unreachable, connection.clocks.uptime)

    def _take(self, arrived: list[Arrived]) -> None:
        clocks = self._connection.clocks
        datagrams = [datagram for datagram, _ in arrived]
        self._connection.datagrams_received(datagrams, clocks.calendar_ms(), clocks.uptime())

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Take one datagram."""
        self._take([(datagram, addr)])

    def connectionRefused(self) -> None:
        """End the session: nobody listens there."""
        self._connection.unreachable(_error(ECONNREFUSED))

    def stopProtocol(self) -> None:
        """End the session: reactors that poll take an ICMP error for the end of the port."""
        number = self._bound.socket.getsockopt(SOL_SOCKET, SO_ERROR)
        self._connection.unreachable(_error(number or ECONNREFUSED))


@implementer(IStreamClientEndpoint)
class UdpClientEndpoint:
    """A server's UDP port, for a client. It connects without a datagram: whether anybody is there shows later.

    Args:
        reactor: binds a port of its own, and looks names up.
        host: the server's name or address. Of a name's addresses the first of IPv4 is taken, where there is one.
        port: its UDP port.
        own_address: the address to bind to; the system's choice by default.
    """

    def __init__(self, reactor: Any, host: str, port: int, own_address: str = "") -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._own_address = own_address

    def __repr__(self) -> str:
        return f"<UdpClientEndpoint {self._host}:{self._port}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Return a Deferred of the connection; it errbacks with DNSLookupError or ConnectError. It can be cancelled."""
        if isIPAddress(self._host) or isIPv6Address(self._host):
            return maybeDeferred(self._connect, self._host, protocolFactory)
        if not is_name(self._host):
            return fail(DNSLookupError(f"{excerpt(self._host)} is no host name"))
        lookup = _Lookup(isIPv6Address(self._own_address))
        self._reactor.nameResolver.resolveHostName(lookup, self._host, portNumber=self._port, transportSemantics="UDP")
        return lookup.found.addCallback(self._connect, protocolFactory)

    def _connect(self, host: str, factory: IProtocolFactory) -> Any:
        connection: Any = factory.buildProtocol(_address(host, self._port))
        if connection is None:
            raise ConnectError(string="the try was given up")
        interface = self._own_address or ("::" if isIPv6Address(host) else "")
        port = self._reactor.listenUDP(0, ConnectedReceiver(connection), interface, _MAX_PACKET)
        try:
            port.connect(host, self._port)
        except OSError as error:
            port.stopListening()
            raise ConnectError(string=f"{host}: {error.strerror or error}") from error
        connection.makeConnection(PeerTransport(port))
        return connection


@implementer(IResolutionReceiver)
class _Lookup:
    """Look-up of a name, of whose addresses nothing tells which is served: one of IPv4 is taken where there is one.

    Args:
        prefers_ipv6: take one of IPv6 instead.

    Attributes:
        found: a Deferred of the address.
    """

    def __init__(self, prefers_ipv6: bool) -> None:
        self.found: Deferred[str] = Deferred()
        self._prefers_ipv6 = prefers_ipv6
        self._hosts: list[str] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:  # noqa: N802
        """Nothing to do."""

    def addressResolved(self, address: Any) -> None:  # noqa: N802
        """Keep an address."""
        self._hosts.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802
        """Choose one."""
        hosts = sorted(self._hosts, key=lambda host: (":" in host) is not self._prefers_ipv6)
        if hosts:
            self.found.callback(hosts[0])
        else:
            self.found.errback(DNSLookupError("no address was found for it"))


def _error(number: int) -> OSError:
    return OSError(number, strerror(number))


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("UDP", host, port) if ":" in host else IPv4Address("UDP", host, port)
