"""The server's door: a Service made of endpoints, factories, a router and a hub; it listens, and drains when it stops."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from errno import EADDRINUSE
from functools import partial
from random import Random
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults, maybeDeferred, succeed
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx._version import __version__
from veltix_tx.app.allow import Allow
from veltix_tx.app.hub import Hub
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.app.service import RoutedService
from veltix_tx.app.signals import Signals
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.interfaces import Events, IVeltixApplication
from veltix_tx.logs import LineObserver, LoggerConfig, LogLevel
from veltix_tx.logs import Logger as VeltixLogger
from veltix_tx.net.addresses import is_local, join_address, port_of, shown
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.factory import VeltixServerFactory
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate
from veltix_tx.net.shared.handlers import IHandlerTable, handler_table
from veltix_tx.net.threads import BlockingView, at_home, from_any_thread
from veltix_tx.net.transport.accept import back_off_on_accept_error, limit_accepts
from veltix_tx.net.transport.endpoints import ListenSpec, ServerEndpoint, listen_specs, open_endpoint
from veltix_tx.net.transport.tls_errors import not_installed
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import ServerChanges, ServerConfig, ServerSettings, evolve, given_address
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import BytesLike, MessageRegistry, MessageType, R, Request, Response, T

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from veltix_tx.net.transport.tls import ServerTls

with suppress(ImportError):  # Windows has no such limits
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

__all__ = ["OTHER_FILES", "BlockingServer", "Server"]

_log = Logger()

ServerHandler = Callable[[Session, Response[T]], Answer[R]]
ServerThreadHandler = Callable[[Session, Response[T]], ThreadAnswer[R]]
H = TypeVar("H", bound=Callable[[Session, Response], object])
V = TypeVar("V")
C = TypeVar("C", bound=Callable[[Session], object])

OTHER_FILES = 64
"""File descriptors left for everything but connections."""


class Server(RoutedService):
    """A Veltix server, a ``twisted.application`` Service.

    Args:
        config: the settings, or the interface to listen on, such as ``"127.0.0.1"``, with ``:PORT`` or without.
        port: the TCP port to listen on.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to listen, in place of ``host`` and ``port``: a Twisted endpoint string
            (one that starts with a wire, such as ``"1.9.0@tcp:8090"``, speaks that one) or an
            IStreamServerEndpoint. ``endpoints`` takes several.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when listening begins.
        random: for ids.
        authenticate: a function that decides who is let in, see :meth:`set_authenticate`.
        settings: single fields of ServerConfig, such as ``max_connections=100``, in place of the config's.

    Attributes:
        config: the settings, as :meth:`configure` left them.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    config: ServerConfig

    def __init__(
        self,
        config: ServerConfig | str | None = None,
        port: int | None = None,
        *,
        application: IVeltixApplication | Application[Session] | None = None,
        endpoint: str | IStreamServerEndpoint | ServerEndpoint | None = None,
        types: MessageRegistry | None = None,
        reactor: IReactorTime | Clocks | None = None,
        random: Random | None = None,
        authenticate: Authenticate | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        self._authenticate: Authenticate | None = None
        self._hub = Hub()
        self._ports: list[IListeningPort] = []
        self._tls: list[ServerTls | None] = []
        self._closing: Deferred[Any] = succeed(None)  # the ports of the latest stop
        self._cut: Callable[[], None] = lambda: None
        self._stopping = False
        self._when_stopping: Waiters[None] = Waiters()
        self._announces = False
        given: dict[str, Any] = {**settings}
        if port is not None:
            given["port"] = port
        if isinstance(config, str):
            given |= given_address("host", config, port, settings)
            config = None
        if endpoint is not None:
            given["endpoints"] = (endpoint,)
        self.config = ServerConfig()
        self._listening: object = None  # a new one each time it begins to listen
        self._connections: AdmissionControl | None = None  # until it listens
        self._configure(config, given)
        super().__init__(Role.SERVER, application, types, reactor, random)
        if authenticate is not None:
            self.set_authenticate(authenticate)

    def __repr__(self) -> str:
        if self._ports:
            count = len(self._hub)
            return f"<Server on {', '.join(map(shown, self.addresses))}, {count} client{'' if count == 1 else 's'}>"
        config = self.config
        where = ", ".join(place.given for place in self._places if place.given) or join_address(config.host, config.port)
        return f"<Server for {where}, not listening>"

    # Public methods.

    @from_any_thread
    def set_authenticate(self, authenticate: Authenticate) -> None:
        """Let a function decide who is let in, before listening.

        It is called ``authenticate(credentials)`` with :class:`Credentials` for each connection, whatever its wire, before the
        session is there: nothing is handled or sent until it is done. It returns the identity, which is ``session.identity`` from
        then on, or None (or anything else that is false) to refuse the peer; or a Deferred or coroutine of that. It has until
        ``handshake_timeout`` and is cancelled when the connection ends. An exception refuses the peer.

        An identity that has an ``expires_at``, seconds since 1970, is one until then: the session is closed with the reason
        IDENTITY_EXPIRED unless the client has presented new credentials, for which this function is asked again.

        Raises:
            SettingsError: it cannot be called, there is one already, or the server listens.
        """
        if not callable(authenticate):
            raise SettingsError("authenticate", authenticate, "a function of credentials")
        if self._authenticate is not None or self._listening is not None:
            raise SettingsError("authenticate", authenticate, "given once, before the server listens")
        self._authenticate = authenticate

    @from_any_thread
    def configure(self, config: ServerConfig | None = None, **settings: Unpack[ServerChanges]) -> None:
        """Change settings before listening: a whole config, single fields, or both.

        Raises:
            SettingsError: a setting cannot be, or the server listens already.
        """
        self._configure(config, {**settings})

    def _configure(self, config: ServerConfig | None, settings: dict[str, Any]) -> None:
        if self._listening is not None:
            raise SettingsError("settings", sorted(settings), "given before the server listens, or after its service has stopped")
        wanted = evolve(self.config if config is None else config, settings, ServerConfig)
        self._places = listen_specs(wanted)
        self.config = wanted

    @overload
    def route(
        self,
        message_type: MessageType[T, R],
        *,
        concurrent: bool = ...,
        thread: Literal[False] = ...,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> Callable[[ServerHandler[T, R]], Callable[[Session, Response[T]], Any]]: ...
    @overload
    def route(
        self,
        message_type: MessageType[T, R],
        *,
        concurrent: bool = ...,
        thread: bool,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> Callable[[ServerThreadHandler[T, R]], Callable[[Session, Response[T]], Any]]: ...
    def route(
        self,
        message_type: MessageType,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
        allow: Allow | None = None,
    ) -> Callable[..., Any]:
        """Return a decorator: its function handles one type of message, and is called ``handler(client, message)``.

        What it returns (bytes, a value of the type's ``reply=``, a Request, or a Deferred or coroutine of one) answers the
        message. An RpcError that it raises fails the request with its words. A message whose content is not of the type's
        ``content=`` does not come here. One peer's messages are handled one after another; with ``concurrent`` the later ones
        go ahead while this handler's Deferred or coroutine is not done.

        With ``thread`` it is a plain function that may block: it runs in a thread of the reactor's
        pool, at most ``max_workers`` of them at once, its peer's messages still one after another.
        It may use sessions, servers and clients as any handler does, but for one thing: what
        returns a Deferred elsewhere blocks there, and returns or raises what the Deferred would
        (``blocking`` has these methods with their types).

        A Deferred or coroutine that is not done after ``timeout`` seconds (``timeouts.handler`` by
        default, ``math.inf`` for no end) is cancelled and counts as failed. A thread cannot be
        cancelled: it runs on, and what it returns then is dropped.

        With ``allow``, a plain function, it is called only for messages of sessions for which ``allow(client)`` is True,
        as of an identity. Another message is counted, and its sender told that it is ``forbidden``
        where the wire can tell. An exception, and anything else than True, forbids.

        Raises:
            SettingsError: the type has a route already, there is an application in place of
                routes, a coroutine function is to run in a thread or to allow, or the timeout cannot be.
            TypeError: it is used without parentheses.
        """
        return self._route(message_type, {"concurrent": concurrent, "thread": thread, "timeout": timeout, "allow": allow})

    @overload
    def register_route(
        self,
        message_type: MessageType[T, R],
        handler: ServerHandler[T, R],
        *,
        concurrent: bool = ...,
        thread: Literal[False] = ...,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> None: ...
    @overload
    def register_route(
        self,
        message_type: MessageType[T, R],
        handler: ServerThreadHandler[T, R],
        *,
        concurrent: bool = ...,
        thread: bool,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> None: ...
    def register_route(
        self,
        message_type: MessageType,
        handler: ServerHandler,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
        allow: Allow | None = None,
    ) -> None:
        """Register a function that handles one type of message; see :meth:`route`."""
        terms = {"concurrent": concurrent, "thread": thread, "timeout": timeout, "allow": allow}
        self._register(message_type, handler, terms)

    @overload
    def set_callback(self, event: OnRecv) -> Callable[[H], H]: ...
    @overload
    def set_callback(self, event: OnRecv, callback: H) -> H: ...
    @overload
    def set_callback(self, event: OnConnect | OnDisconnect) -> Callable[[C], C]: ...
    @overload
    def set_callback(self, event: OnConnect | OnDisconnect, callback: C) -> C: ...
    def set_callback(self, event: Events | str, callback: Callable[..., object] | None = None) -> Any:
        """Set the callback of an event, in place of an earlier one; without a callback, return a decorator.

        They are ``on_recv(client, message)``, ``on_connect(client)`` and ``on_disconnect(client)``. ``on_recv``
        gets the messages that have no route.

        An ``on_connect`` that raises (:class:`~veltix_tx.errors.Rejected` to refuse on purpose), or is not done within
        ``timeouts.handler``, refuses the session: it is closed with the reason REJECTED, and none of its messages is
        handled. ``on_disconnect`` is called only for sessions whose ``on_connect`` ended well.

        Raises:
            SettingsError: there is no such event, or there is an application in place of callbacks.
            TypeError: it is used without parentheses.
        """
        return self._callback(event) if callback is None else self._set_callback(event, callback)

    @property
    def authenticates(self) -> bool:
        """True if it has a function that decides who is let in; see :meth:`set_authenticate`."""
        return self._authenticate is not None

    @property
    def clients(self) -> list[Session]:
        """The sessions whose handshake is complete and ``on_connect`` done, and that are open."""
        return [session for session in self._hub if session.admitted and session.closed is None]

    @property
    def blocking(self) -> BlockingServer:
        """The server's methods for other threads than the reactor's, where they block and return plain values."""
        return BlockingServer(self)

    @property
    def counters(self) -> Counter[str]:
        """Counts of events since it began to listen by name, see :data:`~veltix_tx.net.shared.counters.COUNTERS`."""
        return Counter() if self._connections is None else Counter(self._connections.shared.counters)

    @from_any_thread
    def select(self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None) -> list[Session]:
        """Return the clients with some tags and an identity; see :meth:`Hub.select <veltix_tx.app.hub.Hub.select>`."""
        return self._hub.select(all_of, any_of, identity=identity)

    @from_any_thread
    def get_clients_by_tag(self, tag: str, value: object = None) -> list[Session]:
        """Return the clients that have a tag, with this value unless it is None."""
        return [client for client in self._hub.select([tag]) if value is None or client.get_tag(tag) == value]

    @from_any_thread
    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        to: Iterable[Session] | None = None,
        exclude: Iterable[Session] = (),
        slow: Literal["close", "drop"] = "close",
    ) -> int:
        """Send a message to all clients, or to some; see :meth:`Hub.broadcast <veltix_tx.app.hub.Hub.broadcast>`."""
        return self._hub.broadcast(message, content, to=to, exclude=exclude, slow=slow)

    @from_any_thread
    def ping_client(self, client: Session, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to a client in milliseconds; see :meth:`Session.ping`."""
        return client.ping(timeout)

    @property
    def addresses(self) -> list[IAddress]:
        """Addresses it listens on now."""
        return [port.getHost() for port in self._ports]

    @property
    def port(self) -> int:
        """The first TCP port it listens on, as the system chose it; the configured one before."""
        return next(filter(None, map(port_of, self.addresses)), self.config.port)

    @at_home
    def listen(self) -> Deferred[None]:
        """Begin to listen; starting the service does this. Where an earlier stop still closes its ports it waits for that.

        Returns:
            a Deferred that fires when every endpoint listens. It errbacks with the first
            CannotListenError; then none is left open.

        Raises:
            SettingsError: an endpoint is none, a file for TLS cannot be used, TLS is not installed, or the
                server listens already.
        """
        if self._listening is not None:
            raise SettingsError("listen", "called again", "called once until the service stops")
        clocks = self._clocks
        most, config = _affordable(self.config.max_connections), self.config
        self._connections = AdmissionControl(most, config.limits, config.timeouts, clocks)
        kept = _SessionTracking(self._application, self._hub)
        attempts = []
        endpoints = [open_endpoint(clocks, place) for place in self._places]
        self._tls = [_named(place, partial(_tls, *place.tls)) if place.tls else None for place in self._places]
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
                serve_call=self._methods.serve,
                authenticate=self._authenticate,
            )
            if tls is not None:
                factory = tls.below(factory, clocks.reactor)
            attempts.append(self._when_closed(endpoint.listen, factory).addCallback(self._opened, place, current))
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
        served = [] if self._listening is None else zip(self._places, self._tls, strict=True)
        read = [(tls, _named(place, tls.read)) for place, tls in served if tls is not None]
        for tls, context in read:
            tls.use(context)
        return len(read)

    def run(self) -> None:
        """Listen, and run the reactor until the process is told to stop: for a program that is a server and nothing else.

        It writes to stderr where it listens and, unless the program logs already, warnings and errors; with
        ``log_connections``, who comes and goes, too. The first SIGINT or SIGTERM
        lets messages already received be handled and answered, as :meth:`stopService` does, the second ends that at once.
        It returns when the reactor has stopped, whoever stopped it. Nothing else of Twisted need be known, and twistd does more.

        Raises:
            SystemExit: it cannot listen, or a setting cannot be; one line that says so is its text.
            SettingsError: the reactor runs already, or has run, or is a test's clock.
        """
        reactor: Any = self.reactor
        can_be_run = IReactorCore.providedBy(reactor) and not reactor.running
        if not can_be_run:
            raise SettingsError("reactor", reactor, "one that run() can run; where it runs already, use startService()")
        if isinstance(reactor, ReactorBase) and reactor._startedBefore:
            raise SettingsError("reactor", reactor, "one that has not run before: Twisted's runs once in a process")
        failures: list[Failure] = []

        def fail(failure: Failure) -> None:
            failures.append(failure)
            with suppress(ReactorNotRunning):  # it stops already
                reactor.stop()

        def begin() -> None:  # once signals are minded, so that none comes too early
            for address in self.addresses:
                self._announce("is", address)
            if self._listening is None:
                maybeDeferred(self.listen).addErrback(fail)
            if not failures:
                self.startService()
                reactor.addSystemEventTrigger("before", "shutdown", self._stop_running)

        _log_to_stderr(LogLevel.INFO if self.config.log_connections else LogLevel.WARNING)
        self._announces = True
        try:
            if current_thread() is main_thread():
                Signals(reactor, self.abort).run(begin)
            else:
                reactor.callWhenRunning(begin)
                reactor.run(installSignalHandlers=False)
        finally:
            self._announces = False
        for failure in failures:
            if failure.check(SettingsError, CannotListenError, OSError):
                raise SystemExit(f"veltix_tx: {_on_one_line(failure.value)}")
            failure.raiseException()

    # From twisted.application.

    @at_home
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

    @at_home
    def startService(self) -> None:
        """Begin to listen, unless that was done before; raises as :meth:`privilegedStartService` does."""
        if self._listening is None:
            self.privilegedStartService()
        super().startService()

    @from_any_thread
    def stopService(self) -> Deferred[None]:
        """Stop listening, drain every session (what has arrived is handled and answered), close.

        Returns:
            a Deferred that fires when every connection is gone and ``on_disconnect`` is done for each. What is not done
            after ``timeouts.drain`` seconds, or when :meth:`abort` is called, is cut off; then ``on_disconnect`` has
            ``timeouts.close`` seconds.
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
        self._closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        gone.append(self._closing)
        sessions = list(self._hub)
        half_open = [protocol.finish(manual) for protocol in connections.half_open()]
        drained = DeferredList([self._hub.drain(), *half_open], consumeErrors=True)

        def cut() -> None:
            drained.cancel()
            last.append(self.reactor.callLater(self.config.timeouts.close, give_up))
            for session in sessions:
                session._cancel_handlers()
            for protocol in ending:
                protocol.cancel_handlers()
            left = set(connections).intersection(ending)  # not those of a server that listens again
            lost = sum(protocol.cut_off(manual) for protocol in left)
            if lost:
                connections.shared.counters["cut_off"] += lost
                _log.warn("{count} connections were cut off: the server did not get done with them in time", count=lost)

        def give_up() -> None:
            for farewell in farewells:
                farewell.cancel()

        self._cut = cut
        last: list[IDelayedCall] = []
        late = self.reactor.callLater(self.config.timeouts.drain, cut)

        def stopped(_: object) -> None:
            for timer in (late, *last):
                if timer.active():
                    timer.cancel()

        farewells = [session.when_closed().addCallback(lambda _, each: each.when_idle(), session) for session in sessions]
        done = DeferredList([*gone, drained, *farewells], consumeErrors=True).addCallback(stopped)
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

    def _when_closed(self, listen: Callable[[IProtocolFactory], Any], factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen once the ports of an earlier stop are closed: one may be the same."""
        if self._closing.called:
            return maybeDeferred(listen, factory)
        closed: Deferred[Any] = Deferred()

        def go_on(result: Any) -> Any:
            closed.callback(None)
            return result

        self._closing.addCallback(go_on)
        return closed.addCallback(lambda _: listen(factory))

    def _tell_stopping(self) -> None:
        self._stopping = True
        self._when_stopping.fire(None)

    def _opened(self, port: IListeningPort, place: ListenSpec, current: object) -> None:
        if self._listening is not current:
            port.stopListening()  # stopped, or failed elsewhere, in the meantime
            return
        limit_accepts(port)
        self._ports.append(port)
        address = port.getHost()
        assert self._connections is not None
        may_log = partial(self._connections.shared.log_limiter.allow, shown(address))
        back_off_on_accept_error(port, self.reactor, may_log)
        wire = place.wire.describe(encrypted=place.encrypted)
        how = " over TLS" if place.encrypted else ""
        where = shown(address)
        if self._announces:
            self._announce(f"speaks {wire}{how},", address)
        _log.info("veltix_tx {version} speaks {wire}{how} on {where}", version=__version__, wire=wire, how=how, where=where)
        if not place.encrypted and not is_local(address):
            text = "anyone who reaches {where} can connect: there is neither TLS nor authentication"
            if self._authenticate is not None or place.wire.authenticates:
                text = "anyone on the way to {where} can read credentials and messages, and change them: there is no TLS"
            _log.warn(text, where=where)

    def _announce(self, speaks: str, address: IAddress) -> None:
        sys.stderr.write(f"veltix_tx {__version__} {speaks} listening on {shown(address)} (Ctrl-C stops it)\n")

    def _stop_running(self) -> Deferred[None] | None:
        return self.stopService() if self.running else None

    def _not_listening(self, reason: Failure) -> Failure:
        ports, self._ports, self._listening = self._ports, [], None
        for port in ports:
            port.stopListening()
        return reason.value.subFailure if isinstance(reason.value, FirstError) else reason


class BlockingServer(BlockingView):
    """A server's methods for threads, where they block: each returns what the Deferred of the same method fires with, or raises.

    Args:
        server: the server.
    """

    __slots__ = ("_server",)

    def __init__(self, server: Server) -> None:
        super().__init__(server._settle)
        self._server = server

    def listen(self) -> None:
        """Begin to listen, and wait until every endpoint does."""
        self._wait(self._server.listen)

    def when_stopping(self) -> None:
        """Wait until a stop begins."""
        self._wait(self._server.when_stopping)

    def stopService(self) -> None:
        """Stop, and wait until every connection is gone."""
        self._wait(self._server.stopService)

    def ping_client(self, client: Session, timeout: float | None = None) -> float:
        """Return the round trip to a client in milliseconds."""
        return self._wait(self._server.ping_client, client, timeout)


@implementer(IVeltixApplication, IHandlerTable)
class _SessionTracking:
    """An application whose sessions are kept in a hub."""

    def __init__(self, application: IVeltixApplication, hub: Hub) -> None:
        table = handler_table(application)
        self.received = application.received
        self.direct, self.handler_for = table.direct, table.handler_for
        self.disconnected = application.disconnected
        self._application = application
        self._hub = hub

    def connected(self, session: Session) -> object:
        self._hub.add(session)
        return self._application.connected(session)


def _log_to_stderr(level: LogLevel) -> None:
    """Show on standard error what is logged from a level on, unless the program has begun to log."""
    if VeltixLogger._instance is not None or globalLogBeginner._temporaryObserver is None:
        return
    observer = LineObserver(LoggerConfig(level=level, stream=sys.stderr))
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def _on_one_line(error: BaseException | None) -> str:
    said = " ".join(str(error).split())
    cause = error.socketError if isinstance(error, CannotListenError) else None
    is_taken = isinstance(cause, OSError) and cause.errno == EADDRINUSE
    remedy = " Choose another port, or end what listens there." if is_taken else ""
    return said + remedy


def _tls(*files: Any) -> ServerTls:
    try:
        from veltix_tx.net.transport.tls import ServerTls  # noqa: PLC0415 (not always installed)
    except ImportError as error:
        raise not_installed("tls_cert", files[0]) from error
    return ServerTls(*files)


def _named(place: ListenSpec, read: Callable[[], V]) -> V:
    """Return what reading the files for TLS returns; raise its error under the name of what names them."""
    try:
        return read()
    except SettingsError as error:
        raise place.name_error(error) from None


def _affordable(wanted: int) -> int:
    """Return how many connections there may be: as many as wanted, if the system gives so many file descriptors."""
    try:
        descriptors = getrlimit(RLIMIT_NOFILE)[0]
    except NameError:  # Windows
        return wanted
    most = max(1, descriptors - OTHER_FILES)
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
