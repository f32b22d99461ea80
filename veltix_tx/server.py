"""The server's door: a Service made of endpoints, factories, a router and a hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx._version import __version__
from veltix_tx.app.hub import Hub
from veltix_tx.app.service import RoutedService
from veltix_tx.errors import DisconnectReason, SessionClosed, SettingsError
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.accepting import accept_in_turns, accept_patiently
from veltix_tx.net.addresses import is_local, shown
from veltix_tx.net.connections import Connections
from veltix_tx.net.endpoints import Place, open_endpoint, places
from veltix_tx.net.factory import VeltixServerFactory, check_wire, resolve_clocks
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.listeners import Listeners
from veltix_tx.net.protocol import VeltixProtocol
from veltix_tx.net.session import Session
from veltix_tx.net.threads import Home, from_any_thread
from veltix_tx.net.tls_status import not_installed
from veltix_tx.settings import ServerConfig, changed
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Request, Response
from veltix_tx.wire.releases import AUTO, SUPERSET

if TYPE_CHECKING:
    from veltix_tx.net.tls import ServerTls

with suppress(ImportError):  # Windows has no such limits
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

__all__ = ["Server"]

_log = Logger()

_OTHER_FILES = 64
"""File descriptors left for everything but connections."""


class Server(RoutedService):
    """A Veltix server, a ``twisted.application`` Service.

    Args:
        config: the settings.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to listen, in place of ``host`` and ``port``: a Twisted endpoint string
            (one that starts with a wire, such as ``"1.9.0@tcp:8090"``, speaks that one) or an
            IStreamServerEndpoint. ``endpoints`` takes several.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when listening begins.
        random: for ids.
        settings: single fields of ServerConfig, such as ``port=8080``, in place of the config's.

    Attributes:
        config: the settings, as :meth:`configure` left them.
        reactor: as given; can be changed before listening.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    config: ServerConfig

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        application: IVeltixApplication | None = None,
        endpoint: str | IStreamServerEndpoint | None = None,
        types: MessageRegistry | None = None,
        reactor: IReactorTime | Clocks | None = None,
        random: Random | None = None,
        **settings: Any,
    ) -> None:
        if endpoint is not None:
            settings["endpoints"] = (endpoint,)
        self.config = ServerConfig()
        self._listening: object = None  # a new one each time it begins to listen
        self._connections: Connections | None = None  # until it listens
        self.configure(config, **settings)
        super().__init__(Role.SERVER, application, types, reactor, random)
        self._hub = Hub()
        self._ports: list[IListeningPort] = []
        self._tls: list[ServerTls | None] = []
        self._cut: Callable[[], None] = lambda: None
        self._stopping = False
        self._when_stopping: Listeners[None] = Listeners()

    # What users say.

    def configure(self, config: ServerConfig | None = None, **settings: Any) -> None:
        """Change settings before listening: a whole config, single fields, or both.

        Raises:
            SettingsError: a setting cannot be, or the server listens already.
        """
        if self._listening is not None:
            raise SettingsError("settings", sorted(settings), "given before the server listens, or after its service has stopped")
        wanted = changed(self.config if config is None else config, settings, ServerConfig)
        check_wire(wanted.wire)
        self._places = places(wanted)
        self.config = wanted

    @property
    def clients(self) -> list[Session]:
        """The sessions whose handshake is complete and that are open."""
        return [session for session in self._hub if session.closed is None]

    @property
    def counters(self) -> Counter[str]:
        """What has happened since it began to listen: name -> how often; see :data:`~veltix_tx.net.shared.COUNTERS`."""
        return Counter() if self._connections is None else Counter(self._connections.shared.counters)

    @from_any_thread
    def select(self, all_of: Iterable[str] = (), any_of: Iterable[str] = ()) -> list[Session]:
        """Return the clients with all of some tags and any of some others; see :meth:`Hub.select`."""
        return self._hub.select(all_of, any_of)

    @from_any_thread
    def get_clients_by_tag(self, tag: str, value: object = None) -> list[Session]:
        """Return the clients that have a tag, with this value unless it is None."""
        return [client for client in self._hub.select([tag]) if value is None or client.get_tag(tag) == value]

    @from_any_thread
    def broadcast(
        self,
        message: MessageType | Request,
        content: bytes = b"",
        *,
        to: Iterable[Session] | None = None,
        exclude: Iterable[Session] = (),
        slow: Literal["close", "drop"] = "close",
    ) -> int:
        """Send a message to all clients, or to those given, but for those excluded; see :meth:`Hub.broadcast`."""
        return self._hub.broadcast(message, content, to=to, exclude=exclude, slow=slow)

    @from_any_thread
    def ping_client(self, client: Session, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to a client in milliseconds; see :meth:`Session.ping`."""
        return client.ping(timeout)

    @property
    def addresses(self) -> list[IAddress]:
        """Where it listens now."""
        return [port.getHost() for port in self._ports]

    @property
    def port(self) -> int:
        """The first TCP port it listens on, as the system chose it; the configured one before."""
        return next((host.port for host in self.addresses if hasattr(host, "port")), self.config.port)

    def listen(self) -> Deferred[None]:
        """Begin to listen; starting the service does this.

        Returns:
            a Deferred that fires when every endpoint listens. It errbacks with the first
            CannotListenError; then none is left open.

        Raises:
            SettingsError: an endpoint is none, a file for TLS cannot be used, TLS is not installed, or the
                server listens already.
        """
        if self._listening is not None:
            raise SettingsError("listen", "called again", "called once until the service stops")
        clocks = resolve_clocks(self.reactor)
        self.home = Home(clocks.reactor)
        most, config = _affordable(self.config.max_connections), self.config
        self._connections = Connections(most, config.limits, config.timeouts, clocks)
        kept = _Kept(self._application, self._hub)
        attempts = []
        endpoints = [open_endpoint(clocks, place.endpoint) for place in self._places]
        self._tls = [_tls(*place.tls) if place.tls else None for place in self._places]
        current = self._listening = object()
        self._stopping = False
        for place, endpoint, tls in zip(self._places, endpoints, self._tls, strict=True):
            factory: IProtocolFactory = VeltixServerFactory(
                kept,
                replace(self.config, wire=place.wire),
                reactor=clocks,
                types=self._types,
                random=self._random,
                connections=self._connections,
            )
            if tls is not None:
                factory = tls.below(factory, clocks.reactor)
            attempts.append(maybeDeferred(endpoint.listen, factory).addCallback(self._opened, place, current))
        opened = gatherResults(attempts, consumeErrors=True)
        return opened.addErrback(self._not_listening).addCallback(lambda _: None)

    @from_any_thread
    def reload_tls(self) -> int:
        """Read the files of its certificates again: new connections get what they hold, open ones go on as they are.

        Returns:
            how many certificates there are; those of Twisted's own TLS endpoints do not count.

        Raises:
            SettingsError: a file cannot be read or used; then every certificate stays as it was.
        """
        read = [(tls, tls.read()) for tls in self._tls if tls is not None and self._listening is not None]
        for tls, context in read:
            tls.use(context)
        return len(read)

    # From twisted.application.

    def privilegedStartService(self) -> None:
        """Begin to listen, while a low port may still be bound.

        Raises:
            CannotListenError: a port is taken. (Twisted's own service only logs that.)
        """
        super().privilegedStartService()
        failures: list[Failure] = []
        listening = self.listen().addErrback(failures.append)
        for failure in failures:
            failure.raiseException()

        def late(_: object) -> None:
            for failure in failures:
                _log.failure("could not listen", failure)

        listening.addCallback(late)

    def startService(self) -> None:
        """Begin to listen, unless that was done before; raises as :meth:`privilegedStartService` does."""
        if self._listening is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop listening, let messages that have arrived be handled and answered, close.

        Returns:
            a Deferred that fires when every connection is gone: what is not done after
            ``timeouts.drain`` seconds, or when :meth:`abort` is called, is cut off.
        """
        super().stopService()
        ports, self._ports, self._listening = self._ports, [], None
        manual = SessionClosed(DisconnectReason.MANUAL)
        connections = self._connections
        if connections is None:
            self._tell_stopping()
            return succeed(None)
        ending = list(connections)
        gone: list[Deferred[Any]] = [protocol.when_lost() for protocol in ending]
        gone += [maybeDeferred(port.stopListening) for port in ports]
        sessions = list(self._hub)
        half_open = [_finished(protocol, manual) for protocol in connections.half_open()]
        drained = DeferredList([self._hub.drain(), *half_open], consumeErrors=True)

        def cut() -> None:
            drained.cancel()
            for session in dict.fromkeys([*sessions, *(each.session for each in ending if each.session is not None)]):
                session.cut()
            left = set(connections).intersection(ending)  # not those of a server that listens again
            lost = sum(protocol.cut_off(manual) for protocol in left)
            if lost:
                connections.shared.counters["cut_off"] += lost
                _log.warn("{count} connections were cut off: the server did not get done with them in time", count=lost)

        self._cut = cut
        late = resolve_clocks(self.reactor).reactor.callLater(self.config.timeouts.drain, cut)

        def stopped(_: object) -> None:
            if late.active():
                late.cancel()

        done = DeferredList([*gone, drained]).addCallback(stopped)
        self._tell_stopping()  # last: what handlers do then finds the stop under way
        return done

    @from_any_thread
    def when_stopping(self) -> Deferred[None]:
        """Return a new Deferred that fires when a stop begins, at once while the server is stopping or has stopped.

        For handlers that wait for something, as in a long poll: they can answer then, and need not keep the stop waiting.
        Cancelling it is all that is needed to give it up.
        """
        return succeed(None) if self._stopping else self._when_stopping.wait()

    @from_any_thread
    def abort(self) -> None:
        """Cut off at once what a stop that is under way still waits for."""
        self._cut()

    # Inside.

    @property
    def _in_use(self) -> bool:
        return self._listening is not None or bool(self._connections) or len(self._hub) > 0

    def _tell_stopping(self) -> None:
        self._stopping = True
        self._when_stopping.fire(None)

    def _opened(self, port: IListeningPort, place: Place, current: object) -> None:
        if self._listening is not current:
            port.stopListening()  # stopped, or failed elsewhere, in the meantime
            return
        accept_in_turns(port)
        self._ports.append(port)
        accept_patiently(port, resolve_clocks(self.reactor).reactor)
        address = port.getHost()
        auto = f"Veltix {SUPERSET.name}" if place.encrypted else "Veltix 1.4 to 3.3 but 1.8 and 1.9"
        wire = f"{auto} (wire auto)" if place.wire == AUTO else f"Veltix {place.wire}"
        how = " over TLS" if place.encrypted else ""
        where = shown(address)
        _log.info("veltix_tx {version} speaks {wire}{how} on {where}", version=__version__, wire=wire, how=how, where=where)
        if not place.encrypted and not is_local(address):
            _log.warn("anyone who reaches {where} can connect: there is neither TLS nor authentication", where=where)

    def _not_listening(self, reason: Failure) -> Failure:
        ports, self._ports, self._listening = self._ports, [], None
        for port in ports:
            port.stopListening()
        return reason.value.subFailure if isinstance(reason.value, FirstError) else reason


@implementer(IVeltixApplication)
class _Kept:
    """An application whose sessions are kept in a hub."""

    def __init__(self, application: IVeltixApplication, hub: Hub) -> None:
        self.received = application.received
        self.direct = getattr(application, "direct", {})
        self.disconnected = application.disconnected
        self._application = application
        self._hub = hub

    def handler_of(self, message: Response) -> object:
        find = getattr(self._application, "handler_of", None)
        return self.received if find is None else find(message)

    def connected(self, session: Session) -> object:
        self._hub.add(session)
        return self._application.connected(session)


def _finished(protocol: VeltixProtocol, closed: SessionClosed) -> Deferred[Any]:
    """Finish a connection in its handshake: drop it, unless what has arrived already completes that."""

    def read(_: None) -> Deferred[None] | None:
        if protocol.session is not None:
            return protocol.session.drain()
        protocol.abort(closed)
        return None

    return protocol.read_arrived().addCallback(read)


def _tls(*files: Any) -> ServerTls:
    try:
        from veltix_tx.net.tls import ServerTls  # noqa: PLC0415 (not always installed)
    except ImportError as error:
        raise not_installed("tls_cert", files[0]) from error
    return ServerTls(*files)


def _affordable(wanted: int) -> int:
    """Return how many connections there may be: as many as wanted, if the system gives so many file descriptors."""
    try:
        descriptors = getrlimit(RLIMIT_NOFILE)[0]
    except NameError:  # Windows
        return wanted
    most = max(1, descriptors - _OTHER_FILES)
    if descriptors == RLIM_INFINITY or 0 <= wanted <= most:
        return wanted
    if wanted > 0:
        say = _log.info if wanted == ServerConfig().max_connections else _log.warn  # the default asks for much
        say(
            "max_connections {wanted} is more than the system's {files} open files allow: {most}, see ulimit -n",
            wanted=wanted,
            files=descriptors,
            most=most,
        )
    return most
