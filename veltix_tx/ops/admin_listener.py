"""Listener of the administration: a site of its own, bounded against slow, large and many requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from veltix_tx.errors import SettingsError
from veltix_tx.net.addresses import is_local, shown
from veltix_tx.net.clock import Clocks
from veltix_tx.net.transport.endpoints import ListenSpec, open_endpoint
from veltix_tx.net.transport.private import Guard, private_place
from veltix_tx.net.transport.tls_errors import not_installed
from veltix_tx.net.transport.udp import DatagramEndpoint
from veltix_tx.ops.admin import MOST_BODY
from veltix_tx.settings import ServerConfig

__all__ = ["LIFETIME", "MOST_CONNECTIONS", "AdminListener", "admin_place"]

MOST_CONNECTIONS = 64
"""Connections at once; the oldest gives way to one more."""

LIFETIME = 60.0
"""Seconds that a connection lives at most, however slowly it sends or reads; who has more to ask makes another."""

_IDLE = 15
"""Seconds in which a connection may send nothing."""

_log = Logger()

V = TypeVar("V")


def admin_place(endpoint: str, config: ServerConfig, clocks: Clocks, *, has_tokens: bool, plaintext: bool) -> ListenSpec:
    """Return where the administration listens: on this machine's own address, where the endpoint names none.

    Args:
        endpoint: a Twisted endpoint's description.
        config: the server's settings, whose certificate ``tls:PORT`` uses.
        clocks: where time comes from.
        has_tokens: True if only who has a token is let in.
        plaintext: True if it may be asked from elsewhere without TLS.

    Raises:
        SettingsError: it is none, or others on the network could use it, or read what goes to it.
    """
    files = {name: getattr(config, name) for name in ("tls_cert", "tls_key", "tls_client_ca")}
    return private_place(endpoint, clocks, files, Guard("admin", "admin_tokens", has_tokens, "admin_plaintext", plaintext))


class AdminListener(Service):
    """Service that serves the administration over HTTP.

    Args:
        place: where, see :func:`admin_place`.
        resource: what it serves.
        clocks: where time comes from.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """

    def __init__(self, place: ListenSpec, resource: IResource, clocks: Clocks) -> None:
        self._place = place
        self._clocks = clocks
        reactor: Any = clocks.reactor
        site = _BoundedSite(resource, requestFactory=_BoundedRequest, timeout=_IDLE, reactor=reactor)
        factory: IProtocolFactory = _Bounded(site, reactor)
        self._tls = None
        if place.tls is not None:
            try:
                from veltix_tx.net.transport.tls import ServerTls  # noqa: PLC0415 (not always installed)
            except ImportError as error:
                raise not_installed("admin", place.given) from error
            self._tls = _named(place, partial(ServerTls, *place.tls))
            factory = self._tls.below(factory, reactor)
        self._factory = factory
        self._port: IListeningPort | None = None
        endpoint = open_endpoint(clocks, place)
        assert not isinstance(endpoint, DatagramEndpoint)  # Veltix's own wire, which the place has, is for streams
        self._endpoint = endpoint

    @property
    def address(self) -> IAddress | None:
        """Address it listens on."""
        return None if self._port is None else self._port.getHost()

    def prepare_reload(self) -> Callable[[], None]:
        """Read the files of its certificate again; return what serves new connections with them, which cannot fail.

        Raises:
            SettingsError: a file cannot be used.
        """
        tls = self._tls
        return (lambda: None) if tls is None else partial(tls.use, _named(self._place, tls.read))

    def privilegedStartService(self) -> None:
        """Begin to listen; raises CannotListenError."""
        super().privilegedStartService()
        failures: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._opened, failures.append)
        for failure in failures:
            failure.raiseException()

    def startService(self) -> None:
        """Begin to listen, unless that was done before."""
        if self._port is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop to listen."""
        super().stopService()
        port, self._port = self._port, None
        return succeed(None) if port is None else port.stopListening() or succeed(None)

    def _opened(self, port: IListeningPort) -> None:
        self._port = port
        address = port.getHost()
        _log.info("the administration is on {where}", where=shown(address))
        if not self._place.encrypted and not is_local(address):
            _log.warn("anyone on the way to {where} can read its tokens: there is no TLS", where=shown(address))


def _named(place: ListenSpec, read: Callable[[], V]) -> V:
    """Return what reading the files for TLS returns; raise its error under the name of the setting that names them."""
    try:
        return read()
    except SettingsError as error:
        raise SettingsError("admin", place.given, place.name_error(error).rule) from None


class _BoundedSite(Site):
    """A site that logs no line for each request, which whoever asks could cause without end."""

    noisy = False

    def log(self, request: Any) -> None:
        """Log nothing."""


class _BoundedRequest(Request):
    """A request whose body is kept in memory, and bounded; more of it ends its connection."""

    _size = 0

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """Refuse a body that says it is too long, before any of it comes."""
        super().gotLength(0)  # in memory, whatever it says
        if length is not None and length > MOST_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep a part of the body."""
        self._size += len(data)
        if self._size > MOST_BODY:
            self._refuse()
        else:
            super().handleContentChunk(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Begin an answer that goes on, which whoever gives it bounds."""
        connection: Any = self.channel.transport
        connection.outlive()
        super().registerProducer(producer, streaming)

    def _refuse(self) -> None:
        transport: Any = self.channel.transport
        transport.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        transport.loseConnection()


class _Connection(ProtocolWrapper):
    """A connection with an end."""

    factory: _Bounded

    def __init__(self, factory: Any, protocol: Protocol) -> None:
        super().__init__(factory, protocol)
        self._end: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        """Begin its lifetime."""
        self._end = self.factory.reactor.callLater(LIFETIME, transport.abortConnection)
        super().makeConnection(transport)

    def outlive(self) -> None:
        """Live on, and give way to nobody."""
        self._forget_end()
        self.factory.unregisterProtocol(self)

    def _forget_end(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget its end."""
        self._forget_end()
        super().connectionLost(reason)


class _Bounded(WrappingFactory):
    """A factory of a bounded number of connections."""

    protocol = _Connection
    noisy = False

    def __init__(self, site: Site, reactor: Any) -> None:
        super().__init__(site)
        self.reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of a new connection; the oldest one gives way where there are too many."""
        if len(self.protocols) >= MOST_CONNECTIONS:
            oldest = next(iter(self.protocols))
            self.unregisterProtocol(oldest)  # at once: it is lost only in a later turn, and several may come in this one
            oldest.abortConnection()
        return super().buildProtocol(addr)

    def unregisterProtocol(self, p: Any) -> None:  # noqa: N802
        """Forget a connection, which may have given way before."""
        self.protocols.pop(p, None)
