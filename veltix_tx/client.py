"""The client's door: a Service made of an endpoint, a reconnecting factory and a router."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Concatenate, Literal, NoReturn, ParamSpec, TypeVar, overload

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.app.opened import Opened
from veltix_tx.app.room_follower import Gap, RoomFollower
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.app.service import RoutedService
from veltix_tx.backplane.interface import Position
from veltix_tx.disconnect import DisconnectState
from veltix_tx.errors import LocalProtocolError, NotReady, SessionClosed, SettingsError, VeltixError
from veltix_tx.interfaces import Events, IVeltixApplication
from veltix_tx.net.addresses import join_address
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.reconnect import EndpointConnector, VeltixClientFactory
from veltix_tx.net.session.calls import proxy
from veltix_tx.net.session.requests import checked_seconds
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.setting_up import keep_context, sets_up
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import CredentialsSource, check_source, checked
from veltix_tx.net.shared.context import SharedState
from veltix_tx.net.threads import BlockingView, at_home, from_any_thread
from veltix_tx.net.transport.connecting import tcp_endpoint
from veltix_tx.net.transport.endpoints import ClientEndpoint, is_udp, open_client_endpoint
from veltix_tx.net.transport.tls_errors import not_installed
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import ClientChanges, ClientConfig, ClientSettings, evolve, given_address
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import BytesLike, MessageRegistry, MessageType, R, Request, Response, T
from veltix_tx.wire.registry import find_datagram_wire, find_wire
from veltix_tx.wire.rpc import MethodInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BlockingClient", "Client"]

_log = Logger()

_NOT_CONNECTED = "the client is not connected: call connect(), or startService(), first"
_CONNECTING = "the client is not connected yet: wait for connect(), or when_connected()"
_SETTING_UP = (
    "on_connect is not done, and until then only it may send: wait for connect(), or use client.session, taken in on_connect"
)

ClientHandler = Callable[[Response[T]], Answer[R]]
ClientThreadHandler = Callable[[Response[T]], ThreadAnswer[R]]
H = TypeVar("H", bound=Callable[[Response], object])
C = TypeVar("C", bound=Callable[[], object])
D = TypeVar("D", bound=Callable[[DisconnectState], object])
G = TypeVar("G", bound=Callable[[Gap], object])
P = ParamSpec("P")
V = TypeVar("V")


class Client(RoutedService):
    """A Veltix client, a ``twisted.application`` Service.

    Routes and callbacks belong to the client, not to one connection: they outlive reconnects.

    Args:
        server: the server's name or address, with ``:PORT`` or without, or a whole ClientConfig.
        port: the server's TCP port.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to connect, in place of name and port: a Twisted client endpoint string or
            an IStreamClientEndpoint.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when first connecting.
        random: for ids.
        credentials: what to present to a server that asks who this is: a Token, a Password, or a function that returns one, or a
            Deferred or coroutine of one, for each connection. A server that does not ask is sent nothing. Without TLS they are
            presented to a server on this machine only, unless ``allow_plaintext_credentials``.
        settings: single fields of ClientConfig, such as ``retry=RetryPolicy()``.

    Attributes:
        config: the settings, as :meth:`configure` left them.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    config: ClientConfig
    _noisy = True  # False where whoever uses it tells of tries and ends itself

    def __init__(
        self,
        server: str | ClientConfig | None = None,
        port: int | None = None,
        *,
        application: IVeltixApplication | Application[Session] | None = None,
        endpoint: str | IStreamClientEndpoint | ClientEndpoint | None = None,
        types: MessageRegistry | None = None,
        reactor: IReactorTime | Clocks | None = None,
        random: Random | None = None,
        credentials: CredentialsSource | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        check_source(credentials)
        self._credentials = credentials
        self._presenting: Deferred[None] | None = None
        given: dict[str, Any] = {**settings}
        if port is not None:
            given["port"] = port
        if isinstance(server, str):
            given |= given_address("server_addr", server, port, settings)
            server = None
        if endpoint is not None:
            given["endpoint"] = endpoint
        self.config = ClientConfig()
        self._factory: VeltixClientFactory | None = None
        self._first_session: Waiters[Session] = Waiters()  # until it first connects
        self._leaving: set[VeltixClientFactory] = set()  # whose last connections are still closing
        self._counters: Counter[str] = Counter()
        self._configure(server, given)
        super().__init__(Role.CLIENT, application, types, reactor, random)
        self._follower = RoomFollower(lambda: self.config.limits.rooms_per_session, self._types, self._counters)

    def __repr__(self) -> str:
        factory = self._factory
        tries = factory is not None and not factory.finished
        return f"<Client of {self._target}, {'connected' if self.is_connected else 'connecting' if tries else 'not connected'}>"

    # Public methods.

    @from_any_thread
    def configure(self, config: ClientConfig | None = None, **settings: Unpack[ClientChanges]) -> None:
        """Change settings before connecting: a whole config, single fields, or both.

        Raises:
            SettingsError: a setting cannot be, or the client is connected.
        """
        self._configure(config, {**settings})

    def _configure(self, config: ClientConfig | None, settings: dict[str, Any]) -> None:
        if self._factory is not None and not self._factory.finished:
            raise SettingsError("settings", sorted(settings), "given before the client connects, or after disconnect()")
        wanted = evolve(self.config if config is None else config, settings, ClientConfig)
        if is_udp(wanted.endpoint):
            find_datagram_wire(wanted.wire).check_datagrams(wanted.max_message_size)
        else:
            encrypted = wanted.tls or (isinstance(wanted.endpoint, str) and wanted.endpoint.startswith(("tls:", "ssl:")))
            find_wire(wanted.wire).check(encrypted=encrypted, max_message_size=wanted.max_message_size)
        self.config = wanted

    @overload
    def route(
        self, message_type: MessageType[T, R], *, concurrent: bool = ..., thread: Literal[False] = ..., timeout: float | None = ...
    ) -> Callable[[ClientHandler[T, R]], Callable[[Response[T]], Any]]: ...
    @overload
    def route(
        self, message_type: MessageType[T, R], *, concurrent: bool = ..., thread: bool, timeout: float | None = ...
    ) -> Callable[[ClientThreadHandler[T, R]], Callable[[Response[T]], Any]]: ...
    def route(
        self, message_type: MessageType, *, concurrent: bool = False, thread: bool = False, timeout: float | None = None
    ) -> Callable[..., Any]:
        """Return a decorator: its function handles one type of message, and is called ``handler(message)``.

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

        Raises:
            SettingsError: the type has a route already, there is an application in place of
                routes, a coroutine function is to run in a thread, or the timeout cannot be.
            TypeError: it is used without parentheses.
        """
        return self._route(message_type, {"concurrent": concurrent, "thread": thread, "timeout": timeout})

    @overload
    def register_route(
        self,
        message_type: MessageType[T, R],
        handler: ClientHandler[T, R],
        *,
        concurrent: bool = ...,
        thread: Literal[False] = ...,
        timeout: float | None = ...,
    ) -> None: ...
    @overload
    def register_route(
        self,
        message_type: MessageType[T, R],
        handler: ClientThreadHandler[T, R],
        *,
        concurrent: bool = ...,
        thread: bool,
        timeout: float | None = ...,
    ) -> None: ...
    def register_route(
        self,
        message_type: MessageType,
        handler: ClientHandler,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Register a function that handles one type of message; see :meth:`route`."""
        self._register(message_type, handler, {"concurrent": concurrent, "thread": thread, "timeout": timeout})

    @overload
    def set_callback(self, event: OnRecv) -> Callable[[H], H]: ...
    @overload
    def set_callback(self, event: OnRecv, callback: H) -> H: ...
    @overload
    def set_callback(self, event: OnConnect) -> Callable[[C], C]: ...
    @overload
    def set_callback(self, event: OnConnect, callback: C) -> C: ...
    @overload
    def set_callback(self, event: OnDisconnect) -> Callable[[D], D]: ...
    @overload
    def set_callback(self, event: OnDisconnect, callback: D) -> D: ...
    def set_callback(self, event: Events | str, callback: Callable[..., object] | None = None) -> Any:
        """Set the callback of an event, in place of an earlier one; without a callback, return a decorator.

        They are ``on_recv(message)``, ``on_connect()`` and ``on_disconnect(state)``, called with a DisconnectState
        when the connection is lost or could not be made, and after each further try that fails. ``on_recv``
        gets the messages that have no route.

        An ``on_connect`` that raises (:class:`~veltix_tx.errors.Rejected` to refuse on purpose), or is not done within
        ``timeouts.handler``, refuses the session: it is closed with the reason REJECTED, and none of its messages is
        handled.

        Raises:
            SettingsError: there is no such event, or there is an application in place of callbacks.
            TypeError: it is used without parentheses.
        """
        return self._callback(event) if callback is None else self._set_callback(event, callback)

    @property
    def session(self) -> Session | None:
        """The session while there is an open one, for others than ``on_connect`` once that is done."""
        session = (self._factory.session if self._factory else None) or self._own_session
        return session if session is not None and session.closed is None else None

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent now."""
        return self.session is not None

    @property
    def blocking(self) -> BlockingClient:
        """The client's methods for other threads than the reactor's, where they block and return plain values."""
        return BlockingClient(self)

    @property
    def counters(self) -> Counter[str]:
        """Counts of events on all its connections by name, see :data:`~veltix_tx.net.shared.counters.COUNTERS`."""
        return Counter(self._counters)

    @at_home
    def connect(self, timeout: float | None = None) -> Deferred[Session]:
        """Connect, unless that is done or under way.

        Args:
            timeout: seconds for all tries together, after which no further one is made; as long as they take by default.

        Returns:
            a Deferred of the session, ready to use, ``on_connect`` being done. It errbacks with Twisted's TimeoutError, which is a
            ConnectError, after ``timeout``. It errbacks when no further try will be made
            (``config.retry``: by default after the first): with the handshake's error
            (VersionRefused, TlsFailed, AuthenticationFailed, HandshakeTimeout, ServerFull, …), with PlaintextCredentials or
            CredentialsUnavailable, with SessionClosed, with Twisted's ConnectError or DNSLookupError, or with what
            ``on_connect`` raised. Cancelling it gives up, for everyone who waits.

        Raises:
            SettingsError: the endpoint is none, a file for TLS cannot be used, or TLS is not installed.
            ValueError: the timeout is no number above 0.
        """
        seconds = math.inf if timeout is None else checked_seconds(timeout)
        if self._factory is not None and self._factory.finished:
            self._leave(self._factory)
            self._factory.conclude()  # who is told may connect, too
        if self._factory is None or self._factory.finished:
            clocks = self._clocks
            endpoint = self._endpoint(clocks)
            shared = SharedState(clocks, self.config.limits, self.config.timeouts, self._counters)
            if not self._noisy:
                shared.log_limiter.silence()
            told = None
            if self._router is not None:
                may_log = partial(shared.log_limiter.allow, self._target)
                told = partial(self._router.lost, reactor=clocks.reactor, may_log=may_log)
            self._follower.follow(self._application)
            self._factory = VeltixClientFactory(
                Opened(self._application, self._follower.opened),
                self.config,
                retry=self.config.retry_policy,
                reactor=clocks,
                types=self._types,
                random=self._random,
                on_disconnect=told,
                shared=shared,
                serve_call=self._methods.serve,
                rooms=self._follower,
                credentials=self._credentials,
                before_send=self._before_send,
            )
            self._factory.when_ready().addBoth(self._first_session.fire)
            EndpointConnector(endpoint, self._factory, self._target).connect()
        factory = self._factory
        own = self._own_session
        if own is not None:
            return succeed(own)  # on_connect would wait for itself
        waiting = factory.when_ready()

        def give_up(_: Deferred[Session]) -> None:
            waiting.cancel()
            factory.stop()

        def late(result: object, _: float) -> NoReturn:
            failed = factory.last_error
            why = "" if failed is None else f", and the last try failed: {failed}"
            raise ConnectTimeout(string=f"no session within {seconds:g} s{why}") from failed

        ready: Deferred[Session] = Deferred(give_up)
        waiting.chainDeferred(ready)
        return ready if seconds == math.inf else ready.addTimeout(seconds, self._clocks.reactor, late)

    @from_any_thread
    def when_connected(self, timeout: float | None = None) -> Deferred[Session]:
        """Wait for the session: the present one, or the next. It begins no connection and ends no tries.

        Args:
            timeout: seconds to wait; as long as it takes by default.

        Returns:
            a Deferred of what :meth:`connect` gives. It errbacks with Twisted's TimeoutError, which is a ConnectError,
            after ``timeout``, and as :meth:`connect` does when no further try will be made (at once, where that is so
            already). Before the first :meth:`connect` it waits for that. Cancelling it gives up this wait alone.

        Raises:
            ValueError: the timeout is no number above 0.
        """
        seconds = math.inf if timeout is None else checked_seconds(timeout)
        own = self._own_session
        if own is not None:
            return succeed(own)
        waiting = self._first_session.wait() if self._factory is None else self._factory.when_ready()
        if seconds < math.inf:

            def late(result: object, _: float) -> NoReturn:
                raise ConnectTimeout(string=f"no session within {seconds:g} s")

            waiting.addTimeout(seconds, self._clocks.reactor, late)
        return waiting

    @from_any_thread
    def stop_retry(self) -> None:
        """Try no more: end the waiting for the next try, or make the present connection the last one.

        ``on_disconnect`` is told, and ``connect()`` errbacks, as when the last try has failed.
        """
        if self._factory is not None:
            self._factory.stop_retry()

    @at_home
    def retry(self, max_: int | None = None) -> Deferred[Session]:
        """Try at once, be it before the next try is due or after the last, and count the tries from 0.

        Args:
            max_: how many further tries may follow from now on, in place of the configured number.

        Returns:
            what :meth:`connect` returns, the present session where the client is connected already.

        Raises:
            SettingsError: ``max_`` is not a whole number from 0.
        """
        policy = self.config.retry_policy
        if max_ is not None:
            policy = replace(policy, max_retries=max_)
        self.config = replace(self.config, retry=policy)
        if self._factory is not None and not self._factory.finished:
            self._factory.retry_now(policy)
        return self.connect()

    @from_any_thread
    def disconnect(self) -> Deferred[None]:
        """Close politely and try no more. It can be connected again.

        Returns:
            a Deferred that fires when the connection is gone, and an earlier one, which was closing still, as well.
        """
        stopped = [factory.stop() for factory in (self._factory, *self._leaving) if factory is not None]
        return gatherResults(stopped, consumeErrors=True).addCallback(lambda _: None)

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> Awaitable[None]:
        """Send a message; see :meth:`Session.send`.

        While ``on_connect`` is not done only that may send: what it calls, the coroutines it begins, and the callbacks
        of what this client's methods return there. A thread, a timer or another Deferred's callback that is to
        send for it needs ``client.session``, taken in ``on_connect`` itself.

        Raises:
            NotReady: the client has not been connected yet, or its ``on_connect`` is not done; nothing was sent.
            SessionClosed: it is connected no more; nothing was sent.
        """
        session = self._factory.session if self._factory is not None else None
        if session is None:
            session = self._present()
        return session.send(message, content, request_id=request_id)

    def send_and_wait(
        self, message: MessageType[T, R] | Request[T, R], content: T | BytesLike = b"", *, timeout: float | None = None
    ) -> Deferred[Response[R]]:
        """Send a request and wait for its reply; see :meth:`Session.send_and_wait`. Errbacks with NotReady as :meth:`send`."""
        session = self._factory.session if self._factory is not None else None
        if session is None:
            return self._ask(Session.send_and_wait, message, content, timeout=timeout)
        return session.send_and_wait(message, content, timeout=timeout)

    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: type[T],
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Deferred[T]: ...
    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Deferred[Any]: ...
    def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Deferred[Any]:
        """Call a method of the server; see :meth:`Session.call`. Errbacks with NotReady as :meth:`send`."""
        session = self._factory.session if self._factory is not None else None
        if session is None:
            return self._ask(Session._invoke, method, args, kwargs, timeout, metadata, returns)
        return session._invoke(method, args, kwargs, timeout, metadata, returns)

    @from_any_thread
    def methods(self, timeout: float | None = None) -> Deferred[list[MethodInfo]]:
        """Ask the server which methods it serves; see :meth:`Session.methods`. Errbacks with NotReady, too."""
        return self._ask(Session.methods, timeout)

    @from_any_thread
    def service(self, service: Callable[..., T], *, prefix: str = "", timeout: float | None = None) -> T:
        """Return an object whose methods call the server's, on whatever session there is then; see :meth:`Session.service`."""
        return proxy(service, self._invoke, prefix, timeout)

    @from_any_thread
    def on_gap(self, callback: G) -> G:
        """Call a function with each :class:`Gap` in the messages of a room with a history; a decorator.

        It may be a coroutine function. A failure is logged.

        Raises:
            SettingsError: it cannot be called.
        """
        self._follower.gap_callbacks.add(callback)
        return callback

    @property
    def room_positions(self) -> dict[str, Position]:
        """Places of the last messages that it has got of rooms with a history, which it presents when it connects again."""
        return self._follower.positions

    @from_any_thread
    def reauthenticate(self, credentials: Token | Password | None = None, *, timeout: float | None = None) -> Deferred[None]:
        """Present credentials on the open session anew, such as before the identity that the server has of this client expires.

        Args:
            credentials: new ones, which later connections present, too, once they are accepted; by default those of the client,
                from its function where they come from one.
            timeout: seconds to wait for the verdict; ``timeouts.request`` by default.

        Returns:
            a Deferred that fires with None when the server has accepted them. It errbacks with AuthenticationFailed when the server
            refuses them: the session goes on with the identity it has. It errbacks with LocalProtocolError, nothing having been
            sent, where the server did not ask for credentials in the handshake, there are none, or some are being presented
            already; with CredentialsUnavailable; and as :meth:`send_and_wait` does. Cancelling it gives up the wait: the server
            may have accepted them all the same.
        """
        if self._presenting is not None:
            return fail(LocalProtocolError("the client presents credentials already: wait for the verdict on them"))

        def presented(result: object) -> object:
            self._presenting = None
            return result

        self._presenting = Deferred.fromCoroutine(self._present_anew(credentials, timeout))
        return self._presenting.addBoth(presented)

    async def _present_anew(self, credentials: Token | Password | None, timeout: float | None) -> None:
        session = self._present()
        given = None if credentials is None else checked(credentials)
        if given is None and self._factory is not None:
            given = await self._factory.context.obtain_credentials()
        if given is None:
            raise LocalProtocolError("the client has no credentials to present: give it some")
        await session._reauthenticate(given, timeout)
        if credentials is not None:
            self._credentials = credentials
            if self._factory is not None:
                self._factory.context.credentials = credentials

    @from_any_thread
    def ping_server(self, timeout: float | None = None) -> Deferred[float]:
        """Measure the round trip to the server in milliseconds; see :meth:`Session.ping`. Errbacks with NotReady, too."""
        return self._ask(Session.ping, timeout)

    # From twisted.application.

    @at_home
    def startService(self) -> None:
        """Connect; a failure is logged."""
        super().startService()
        self.connect().addErrback(self._not_connected)

    @from_any_thread
    def stopService(self) -> Deferred[None]:
        """Close politely."""
        super().stopService()
        return self.disconnect()

    # Inside.

    @property
    def _in_use(self) -> bool:
        return self._factory is not None and (self._factory.connected or not self._factory.finished or bool(self._leaving))

    def _leave(self, factory: VeltixClientFactory) -> None:
        if factory.connected:
            self._leaving.add(factory)
            factory.when_gone().addCallback(lambda _: self._leaving.discard(factory))

    def _not_connected(self, reason: Failure) -> None:
        if self.running:
            _log.failure("could not connect to {server}", reason, server=self._target)

    @property
    def _target(self) -> str:
        config = self.config
        return join_address(config.server_addr, config.port) if config.endpoint is None else str(config.endpoint)

    @property
    def _own_session(self) -> Session | None:
        """The session that is being set up, where it is its ``on_connect`` that asks."""
        session = self._factory.setting_up if self._factory is not None else None
        return session if session is not None and sets_up(session) else None

    @from_any_thread
    def _present(self) -> Session:
        """Return the session, for ``on_connect`` the one that is being set up; raise why there is none."""
        session = self._factory.session if self._factory is not None else None
        if session is None:
            session = self._own_session
        if session is not None:
            return session
        if self._factory is not None and self._factory.setting_up is not None:
            raise NotReady(_SETTING_UP)
        ended = self._factory.closed if self._factory is not None else None
        if ended is None:
            raise NotReady(_NOT_CONNECTED if self._factory is None else _CONNECTING)
        raise SessionClosed(ended.reason, ended.cause)

    @from_any_thread
    def _ask(self, question: Callable[Concatenate[Session, P], Deferred[V]], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[V]:
        """Ask the server something on the session; fail with why there is none."""
        try:
            session = self._present()
        except VeltixError as error:
            return fail(error)
        answer = question(session, *args, **kwargs)
        return answer if session is not self._own_session else keep_context(answer)  # on_connect goes on where it is

    def _invoke(self, method: str, args: tuple[object, ...], kwargs: Mapping[str, object], *options: Any) -> Deferred[Any]:
        session = self._factory.session if self._factory is not None else None
        if session is None:
            return self._ask(Session._invoke, method, args, kwargs, *options)
        return session._invoke(method, args, kwargs, *options)

    def _endpoint(self, clocks: Clocks) -> IStreamClientEndpoint:
        plain, config = self._plain_endpoint(clocks), self.config
        if not config.tls:
            return plain
        try:
            from veltix_tx.net.transport.tls import ClientTls, TlsEndpoint  # noqa: PLC0415 (not always installed)
        except ImportError as error:
            raise not_installed("tls", True) from error
        name = config.tls_name or config.server_addr
        make = partial(ClientTls, name, config.tls_ca, config.tls_cert, config.tls_key)
        make()  # tells at once of files that cannot be used
        return TlsEndpoint(make, plain, clocks.reactor)

    def _plain_endpoint(self, clocks: Clocks) -> IStreamClientEndpoint:
        config = self.config
        if config.endpoint is None:
            return tcp_endpoint(clocks.reactor, config.server_addr, config.port, config.connect_timeout)
        if not isinstance(config.endpoint, str):
            endpoint: IStreamClientEndpoint = config.endpoint
            if not isinstance(endpoint, ClientEndpoint):
                raise SettingsError("endpoint", endpoint, "one endpoint: a Twisted client endpoint, or the text of one")
            return endpoint
        return open_client_endpoint(clocks, config.endpoint)


class BlockingClient(BlockingView):
    """A client's methods for threads, where they block: each returns what the Deferred of the same method fires with, or raises.

    Args:
        client: the client.
    """

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        super().__init__(client._settle)
        self._client = client

    def connect(self, timeout: float | None = None) -> Session:
        """Connect, unless that is done or under way; return the session."""
        return self._wait(self._client.connect, timeout)

    def when_connected(self, timeout: float | None = None) -> Session:
        """Wait for a session, without trying; return it."""
        return self._wait(self._client.when_connected, timeout)

    def retry(self, max_: int | None = None) -> Session:
        """Try at once; return the session."""
        return self._wait(self._client.retry, max_)

    def disconnect(self) -> None:
        """Close gracefully and try no more."""
        self._wait(self._client.disconnect)

    def stopService(self) -> None:
        """Close gracefully."""
        self._wait(self._client.stopService)

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> None:
        """Send a message, and wait until there is room for more."""

        def send() -> Deferred[None]:
            session = self._client._present()
            session.send(message, content, request_id=request_id)
            return session.when_writable()

        self._wait(send)

    def send_and_wait(
        self, message: MessageType[T, R] | Request[T, R], content: T | BytesLike = b"", *, timeout: float | None = None
    ) -> Response[R]:
        """Send a request and return its reply."""
        return self._wait(self._client.send_and_wait, message, content, timeout=timeout)

    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: type[T],
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> T: ...
    @overload
    def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Any: ...
    def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Any:
        """Call a method of the server and return its result."""
        return self._wait(partial(self._client.call, method, *args, timeout=timeout, metadata=metadata, returns=returns, **kwargs))

    def methods(self, timeout: float | None = None) -> list[MethodInfo]:
        """Return which methods the server serves."""
        return self._wait(self._client.methods, timeout)

    def reauthenticate(self, credentials: Token | Password | None = None, *, timeout: float | None = None) -> None:
        """Present credentials on the open session anew, and wait until they are accepted."""
        self._wait(self._client.reauthenticate, credentials, timeout=timeout)

    def ping_server(self, timeout: float | None = None) -> float:
        """Return the round trip to the server in milliseconds."""
        return self._wait(self._client.ping_server, timeout)
