"""Client endpoints for a host name or an address, on the clock of the reactor that they are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain, zip_longest
from socket import if_nametoindex
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import excerpt

__all__ = ["HostEndpoint", "is_name", "tcp_endpoint"]

_HEAD_START = 0.25
"""Seconds that an address has before the next one is tried beside it: RFC 8305's Connection Attempt Delay."""

_MOST = 32
"""Addresses of one name that are tried."""


def tcp_endpoint(reactor: Any, host: str, port: int, timeout: float, own_address: str | None = None) -> IStreamClientEndpoint:
    """Return an endpoint for a name or an address.

    Args:
        reactor: connects, looks names up and tells the time.
        host: the name or address, an IPv6 address perhaps with its zone (``fe80::1%eth0``).
        port: the TCP port.
        timeout: seconds for each address.
        own_address: the address to connect from; the system's choice by default.
    """
    source = None if own_address is None else (own_address, 0)
    if isIPv6Address(host) and "%" in host:
        return _ZonedEndpoint(reactor, host, port, timeout, source)
    if isIPAddress(host) or isIPv6Address(host):
        return _address_endpoint(reactor, host, port, timeout, source)
    return HostEndpoint(reactor, host, port, timeout, source)


def _address_endpoint(reactor: Any, host: str, *arguments: Any) -> IStreamClientEndpoint:
    # Twisted's endpoints import all of its TLS, which takes as long as the rest of Twisted: not before one is needed.
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint  # noqa: PLC0415

    endpoint: IStreamClientEndpoint = (TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint)(reactor, host, *arguments)
    return endpoint


@implementer(IStreamClientEndpoint)
class _ZonedEndpoint:
    """An IPv6 address with a zone, whose interface is looked up at each try: it may come and go."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; errbacks with ConnectError, too, where there is no such interface."""
        reactor, host, *rest = self._arguments
        try:
            numbered = _with_number(host)
        except ConnectError:
            return fail()
        connected: Deferred[IProtocol] = _address_endpoint(reactor, numbered, *rest).connect(protocolFactory)
        return connected


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """A name, whose addresses are tried as RFC 8305 ("happy eyeballs") says.

    IPv6 and IPv4 take turns. An address that fails starts the next one at once, one that does not answer has a
    head start of a quarter of a second; the first connection wins. (Twisted's HostnameEndpoint lets the next one wait
    for its time even where the one before was refused, and a look-up cannot be given up.)

    Args:
        reactor: connects, looks the name up and tells the time.
        host: the name.
        port: the TCP port.
        timeout: seconds for each address.
        source: the address and the port to connect from.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float, source: tuple[str, int] | None = None) -> None:
        self.reactor = reactor
        self.host = host
        self.port = port
        self.timeout = timeout
        self.source = source

    def __repr__(self) -> str:
        return f"<HostEndpoint {self.host}:{self.port}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; errbacks with DNSLookupError, or with the last address's ConnectError. Can be cancelled at any time."""
        if not is_name(self.host):
            return fail(DNSLookupError(f"{excerpt(self.host)} is no host name"))
        race = _Race(self, protocolFactory)
        self.reactor.nameResolver.resolveHostName(race, self.host, portNumber=self.port)
        return race.outcome


@implementer(IResolutionReceiver)
class _Race:
    """One try: the addresses of a name, each in its turn, until one of them is connected to.

    Attributes:
        outcome: a Deferred of the protocol.
    """

    def __init__(self, endpoint: HostEndpoint, factory: IProtocolFactory) -> None:
        self.outcome: Deferred[IProtocol] = Deferred(lambda _: self._end())
        self._endpoint = endpoint
        self._factory = factory
        self._waiting: deque[IAddress] = deque()
        self._running: list[Deferred[Any]] = []
        self._timer: IDelayedCall | None = None
        self._over = False

    # From the resolver.

    def resolutionBegan(self, resolution: IHostResolution) -> None:  # noqa: N802
        """Nothing to do."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        """Keep an address."""
        self._waiting.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802
        """Begin to connect, unless the try was given up while the name was looked up."""
        if self._over:
            return
        self._waiting = deque(_in_turns(self._waiting)[:_MOST])
        if self._waiting:
            self._start_next()
        else:
            self._end()
            self.outcome.errback(DNSLookupError(f"no address was found for {excerpt(self._endpoint.host)}"))

    # Inside.

    def _start_next(self) -> None:
        self._stop_timer()
        endpoint = self._endpoint
        address: Any = self._waiting.popleft()
        host = address.host
        if isinstance(address, IPv6Address) and address.scopeID and "%" not in host:
            host = f"{host}%{address.scopeID}"
        if self._waiting:
            self._timer = endpoint.reactor.callLater(_HEAD_START, self._start_next)
        chosen = _address_endpoint(endpoint.reactor, host, address.port, endpoint.timeout, endpoint.source)
        attempt = maybeDeferred(chosen.connect, self._factory)
        self._running.append(attempt)
        attempt.addCallbacks(self._connected, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _connected(self, protocol: IProtocol, attempt: Deferred[Any]) -> None:
        self._running.remove(attempt)
        if not self._over:
            self._end()
            self.outcome.callback(protocol)

    def _failed(self, reason: Failure, attempt: Deferred[Any]) -> None:
        self._running.remove(attempt)
        if self._over:
            return
        if self._waiting:
            self._start_next()
        elif not self._running:
            self._end()
            self.outcome.errback(reason)

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        for attempt in list(self._running):
            attempt.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def is_name(host: str) -> bool:
    """Return True if a name can be looked up: Python's look-up raises UnicodeError for others, which no resolver expects."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in host


def _in_turns(addresses: Iterable[IAddress]) -> list[IAddress]:
    """Return addresses in their order, but with IPv6 and IPv4 in turns, each once."""
    families: dict[type, list[IAddress]] = {}
    for address in dict.fromkeys(addresses):
        if isinstance(address, (IPv4Address, IPv6Address)):
            families.setdefault(type(address), []).append(address)
    return [address for address in chain(*zip_longest(*families.values())) if address is not None]


def _with_number(host: str) -> str:
    """Return an IPv6 address with the number of its zone: the C library takes names for some addresses only.

    Raises:
        ConnectError: this machine has no such interface.
    """
    address, _, zone = host.partition("%")
    try:
        return host if zone.isdecimal() else f"{address}%{if_nametoindex(zone)}"
    except OSError:
        raise ConnectError(string=f"this machine has no network interface {zone!r}, of {host}") from None
