"""The client's door: a Service made of an endpoint, a reconnecting factory and a router."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.app.service import RoutedService
from veltix_tx.errors import NotReady, SessionClosed, SettingsError, VeltixError
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.factory import check_wire, resolve_clocks
from veltix_tx.net.flow import Flow
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.reconnect import EndpointConnector, VeltixClientFactory
from veltix_tx.net.session import Session
from veltix_tx.net.shared import Shared
from veltix_tx.net.threads import Home, from_any_thread
from veltix_tx.net.tls_status import not_installed
from veltix_tx.settings import ClientConfig, changed
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Request, Response

__all__ = ["Client"]

_log = Logger()


class Client(RoutedService):
    """A Veltix client, a ``twisted.application`` Service.

    Routes and callbacks belong to the client, not to one connection: they outlive reconnects.

    Args:
        server: the server's name or address, or a whole ClientConfig.
        port: the server's TCP port.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to connect, in place of name and port: a Twisted client endpoint string or
            an IStreamClientEndpoint.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when first connecting.
        random: for ids.
        settings: single fields of ClientConfig, such as ``retry=RetryPolicy()``.

    Attributes:
        config: the settings, as :meth:`configure` left them.
        reactor: as given; can be changed before connecting.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    config: ClientConfig

    def __init__(
        self,
        server: str | ClientConfig | None = None,
        port: int | None = None,
        *,
        application: IVeltixApplication | None = None,
        endpoint: str | IStreamClientEndpoint | None = None,
        types: MessageRegistry | None = None,
        reactor: IReactorTime | Clocks | None = None,
        random: Random | None = None,
        **settings: Any,
    ) -> None:
        config = None if isinstance(server, str) else server
        given = {"server_addr": server if config is None else None, "port": port, "endpoint": endpoint}
        settings |= {name: value for name, value in given.items() if value is not None}
        self.config = ClientConfig()
        self._factory: VeltixClientFactory | None = None
        self._counters: Counter[str] = Counter()
        self.configure(config, **settings)
        super().__init__(Role.CLIENT, application, types, reactor, random)

    # What users say.

    def configure(self, config: ClientConfig | None = None, **settings: Any) -> None:
        """Change settings before connecting: a whole config, single fields, or both.

        Raises:
            SettingsError: a setting cannot be, or the client is connected.
        """
        if self._factory is not None and not self._factory.finished:
            raise SettingsError("settings", sorted(settings), "given before the client connects, or after disconnect()")
        wanted = changed(self.config if config is None else config, settings, ClientConfig)
        check_wire(wanted.wire)
        self.config = wanted

    @property
    def session(self) -> Session | None:
        """The session while there is an open one."""
        session = self._factory.session if self._factory else None
        return session if session is not None and session.closed is None else None

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self.session is not None

    @property
    def counters(self) -> Counter[str]:
        """What has happened on all its connections: name -> how often; see :data:`~veltix_tx.net.shared.COUNTERS`."""
        return Counter(self._counters)

    @from_any_thread
    def connect(self) -> Deferred[Session]:
        """Connect, unless that is done or under way.

        Returns:
            a Deferred of the session, ready to use. It errbacks when no further try will be made
            (``config.retry``: by default after the first): with the handshake's error
            (VersionRefused, TlsFailed, HandshakeTimeout, ServerFull, …), with SessionClosed, or with
            Twisted's ConnectError. Cancelling it gives up, for everyone who waits.

        Raises:
            SettingsError: the endpoint is none, a file for TLS cannot be used, or TLS is not installed.
        """
        if self._factory is not None and self._factory.finished:
            self._factory.tell_all()  # who is told may connect, too
        if self._factory is None or self._factory.finished:
            clocks = resolve_clocks(self.reactor)
            self.home = Home(clocks.reactor)
            endpoint = self._endpoint(clocks)
            shared = Shared(clocks, self.config.limits, self.config.timeouts, self._counters)
            may_log = partial(shared.remarks.may_log, self._target)
            self._factory = VeltixClientFactory(
                self._application,
                self.config,
                retry=self.config.retry_policy,
                reactor=clocks,
                types=self._types,
                random=self._random,
                told=partial(self._router.lost, may_log=may_log) if self._router is not None else None,
                shared=shared,
            )
            EndpointConnector(endpoint, self._factory, self._target).connect()
        factory = self._factory
        waiting = factory.when_ready()

        def give_up(_: Deferred[Session]) -> None:
            waiting.cancel()
            factory.stop()

        ready: Deferred[Session] = Deferred(give_up)
        waiting.chainDeferred(ready)
        return ready

    @from_any_thread
    def stop_retry(self) -> None:
        """Try no more: end the waiting for the next try, or make the present connection the last one.

        ``on_disconnect`` is told, and ``connect()`` errbacks, as when the last try has failed.
        """
        if self._factory is not None:
            self._factory.stop_retry()

    @from_any_thread
    def retry(self, max_: int | None = None) -> Deferred[Session]:
        """Try at once, be it before the next try is due or after the last, and count the tries from 0.

        Args:
            max_: how many further tries may follow from now on, in place of the configured number.

        Returns:
            what :meth:`connect` returns: of a client that is connected already, its session.

        Raises:
            SettingsError: ``max_`` is not a whole number from 0.
        """
        policy = self.config.retry_policy
        if max_ is not None:
            policy = replace(policy, max_retries=max_)
        self.config = replace(self.config, retry=policy)
        if self._factory is not None and not self._factory.finished:
            self._factory.try_now(policy)
        return self.connect()

    @from_any_thread
    def disconnect(self) -> Deferred[None]:
        """Close politely and try no more. It can be connected again.

        Returns:
            a Deferred that fires when the connection is gone.
        """
        return self._factory.stop() if self._factory else succeed(None)

    def send(self, message: MessageType | Request, content: bytes = b"", *, request_id: int | None = None) -> Flow:
        """Send a message; see :meth:`Session.send`.

        Raises:
            NotReady: the client has not been connected yet; nothing was sent.
            SessionClosed: it is connected no more; nothing was sent.
        """
        session = self._factory.session if self._factory is not None else None
        if session is None:
            raise self._absent()
        return session.send(message, content, request_id=request_id)

    def send_and_wait(
        self, message: MessageType | Request, content: bytes = b"", *, timeout: float | None = None
    ) -> Deferred[Response]:
        """Send a request and wait for its reply; see :meth:`Session.send_and_wait`. Errbacks with NotReady, too."""
        session = self._factory.session if self._factory is not None else None
        if session is None:
            return fail(self._absent())
        return session.send_and_wait(message, content, timeout=timeout)

    @from_any_thread
    def ping_server(self, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to the server in milliseconds; see :meth:`Session.ping`. Errbacks with NotReady, too."""
        session = self._factory.session if self._factory is not None else None
        return fail(self._absent()) if session is None else session.ping(timeout)

    # From twisted.application.

    def startService(self) -> None:
        """Connect; a failure is logged."""
        super().startService()
        self.connect().addErrback(self._not_connected)

    def stopService(self) -> Deferred[None]:
        """Close politely."""
        super().stopService()
        return self.disconnect()

    # Inside.

    @property
    def _in_use(self) -> bool:
        return self._factory is not None and (self._factory.connected or not self._factory.finished)

    def _not_connected(self, reason: Failure) -> None:
        if self.running:
            _log.failure("could not connect to {server}", reason, server=self._target)

    @property
    def _target(self) -> str:
        config = self.config
        return f"{config.server_addr}:{config.port}" if config.endpoint is None else str(config.endpoint)

    def _absent(self) -> VeltixError:
        """Return why there is no session."""
        ended = self._factory.closed if self._factory is not None else None
        return NotReady() if ended is None else SessionClosed(ended.reason, ended.cause)

    def _endpoint(self, clocks: Clocks) -> IStreamClientEndpoint:
        plain, config = self._plain_endpoint(clocks), self.config
        if not config.tls:
            return plain
        try:
            from veltix_tx.net.tls import ClientTls, TlsEndpoint  # noqa: PLC0415 (not always installed)
        except ImportError as error:
            raise not_installed("tls", True) from error
        name = config.tls_name or config.server_addr
        make = partial(ClientTls, name, config.tls_ca, config.tls_cert, config.tls_key)
        make()  # tells at once of files that cannot be used
        return TlsEndpoint(make, plain, clocks.reactor)

    def _plain_endpoint(self, clocks: Clocks) -> IStreamClientEndpoint:
        config = self.config
        if config.endpoint is None:
            return _tcp_endpoint(clocks.reactor, config.server_addr, config.port, config.connect_timeout)
        if not isinstance(config.endpoint, str):
            endpoint: IStreamClientEndpoint = config.endpoint
            return endpoint
        try:
            endpoint = clientFromString(clocks.reactor, config.endpoint)
        except Exception as error:
            raise SettingsError("endpoint", config.endpoint, f"a Twisted client endpoint ({error})") from error
        return endpoint


def _tcp_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """Return an endpoint for a name or an address; a HostnameEndpoint takes 0.3 s to say that an address refuses."""
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout)
    return HostnameEndpoint(reactor, host, port, timeout)
