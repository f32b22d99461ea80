"""Server whose methods are awaited in asyncio's loop."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

from veltix_tx.aio.reactor import Lease
from veltix_tx.aio.service import Allow, Service, with_view
from veltix_tx.aio.session import Session, ViewedApplication, view_of
from veltix_tx.app.plugins import Plugin
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.interfaces import Events, IVeltixPlugin
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate
from veltix_tx.net.tasks import wait
from veltix_tx.net.transport.endpoints import ServerEndpoint
from veltix_tx.server import BlockingServer
from veltix_tx.server import Server as NativeServer
from veltix_tx.settings import ServerChanges, ServerConfig, ServerSettings
from veltix_tx.wire.messages import BytesLike, MessageRegistry, MessageType, R, Request, Response, T

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Server"]

ServerHandler = Callable[[Session, Response[T]], Answer[R]]
ServerThreadHandler = Callable[[Session, Response[T]], ThreadAnswer[R]]
H = TypeVar("H", bound=Callable[[Session, Response], object])
C = TypeVar("C", bound=Callable[[Session], object])


class Server(Service):
    """A Veltix server on the running asyncio loop: :class:`veltix_tx.Server`, with methods that are awaited.

    It can be made, and its handlers registered, before a loop runs. ``async with server:`` listens and, at the end, stops.

    Handlers get :class:`veltix_tx.aio.Session`. Coroutines run as tasks, which the end of their session and
    ``timeouts.handler`` cancel; they may await Deferreds as well.

    Args:
        config: the settings, or the interface to listen on, such as ``"127.0.0.1"``, with ``:PORT`` or without.
        port: the TCP port to listen on; 0 lets the system choose.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to listen, in place of ``host`` and ``port``: a Twisted endpoint string or an endpoint.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        authenticate: as for :class:`veltix_tx.Server`; it may be a coroutine function.
        settings: single fields of ServerConfig, such as ``max_connections=100``.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    _native: NativeServer

    def __init__(
        self,
        config: ServerConfig | str | None = None,
        port: int | None = None,
        *,
        application: Application[Session] | None = None,
        endpoint: str | IStreamServerEndpoint | ServerEndpoint | None = None,
        types: MessageRegistry | None = None,
        random: Random | None = None,
        authenticate: Authenticate | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        viewed = None if application is None else ViewedApplication(application)
        self._native = NativeServer(
            *(config, port),
            application=viewed,
            endpoint=endpoint,
            types=types,
            random=random,
            authenticate=authenticate,
            **settings,
        )
        super().__init__(self._native)
        self._lease = Lease(self._native)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # Public methods.

    @property
    def config(self) -> ServerConfig:
        """The settings, as :meth:`configure` left them."""
        return self._native.config

    def set_authenticate(self, authenticate: Authenticate) -> None:
        """Make a function, or a coroutine function, decide who is let in; see :meth:`veltix_tx.Server.set_authenticate`."""
        self._native.set_authenticate(authenticate)

    @property
    def authenticates(self) -> bool:
        """True if it has a function that decides who is let in."""
        return self._native.authenticates

    def configure(self, config: ServerConfig | None = None, **settings: Unpack[ServerChanges]) -> None:
        """Change settings before listening; see :meth:`veltix_tx.Server.configure`."""
        self._native.configure(config, **settings)

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

        It is a coroutine function or a plain one; for all else see :meth:`veltix_tx.Server.route`.
        """
        self._native.router.check_type(message_type)

        def route(handler: ServerHandler) -> ServerHandler:
            self.register_route(message_type, handler, concurrent=concurrent, thread=thread, timeout=timeout, allow=allow)
            return handler

        return route

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
        viewed, allowed = with_view(handler, coroutine=not thread), with_view(allow, coroutine=False)
        self._native.register_route(message_type, viewed, concurrent=concurrent, thread=thread, timeout=timeout, allow=allowed)

    @overload
    def set_callback(self, event: OnRecv) -> Callable[[H], H]: ...
    @overload
    def set_callback(self, event: OnRecv, callback: H) -> H: ...
    @overload
    def set_callback(self, event: OnConnect | OnDisconnect) -> Callable[[C], C]: ...
    @overload
    def set_callback(self, event: OnConnect | OnDisconnect, callback: C) -> C: ...
    def set_callback(self, event: Events | str, callback: Callable[..., object] | None = None) -> Any:
        """Set the callback of an event, or return a decorator that does; see :meth:`veltix_tx.Server.set_callback`."""
        register = self._native._callback(event)

        def set_callback(callback: Callable[..., object]) -> Callable[..., object]:
            register(with_view(callback))
            return callback

        return set_callback if callback is None else set_callback(callback)

    def register_plugin(
        self, plugin: IVeltixPlugin | Plugin, *, grant: Iterable[Events | str] | None = None
    ) -> Mapping[str, MessageType]:
        """Add a plugin, which is given sessions of :class:`veltix_tx.Session`; see :meth:`veltix_tx.Server.register_plugin`."""
        return self._native.register_plugin(plugin, grant=grant)

    @property
    def clients(self) -> list[Session]:
        """The sessions whose handshake is complete and ``on_connect`` done, and that are open."""
        return list(map(view_of, self._native.clients))

    @property
    def blocking(self) -> BlockingServer:
        """The server's methods for other threads than the loop's, where they block and return plain values."""
        return self._native.blocking

    @property
    def counters(self) -> Counter[str]:
        """Counts of events since it began to listen by name."""
        return self._native.counters

    def select(self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None) -> list[Session]:
        """Return the clients with some tags and an identity; see :meth:`Hub.select <veltix_tx.app.hub.Hub.select>`."""
        return list(map(view_of, self._native.select(all_of, any_of, identity=identity)))

    def get_clients_by_tag(self, tag: str, value: object = None) -> list[Session]:
        """Return the clients that have a tag, with this value unless it is None."""
        return list(map(view_of, self._native.get_clients_by_tag(tag, value)))

    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        to: Iterable[Session] | None = None,
        exclude: Iterable[Session] = (),
        slow: Literal["close", "drop"] = "close",
    ) -> int:
        """Send a message to all clients, or to those given, but for those excluded; see :meth:`veltix_tx.Server.broadcast`."""
        to = None if to is None else _natives(to)
        return self._native.broadcast(message, content, to=to, exclude=_natives(exclude), slow=slow)

    async def ping_client(self, client: Session, timeout: float | None = None) -> float:
        """Return the round trip to a client in milliseconds."""
        return await client.ping(timeout)

    @property
    def addresses(self) -> list[IAddress]:
        """Addresses it listens on now."""
        return self._native.addresses

    @property
    def port(self) -> int:
        """The first TCP port it listens on, as the system chose it; the configured one before."""
        return self._native.port

    def reload_tls(self) -> int:
        """Read the files of its certificates again; see :meth:`veltix_tx.Server.reload_tls`."""
        return self._native.reload_tls()

    async def listen(self) -> None:
        """Begin to listen.

        Raises:
            CannotListenError: a port cannot be had; none is left open.
            SettingsError: an endpoint is none, a file for TLS cannot be used, or the server listens already.
            RuntimeError: no loop runs.
        """
        self._lease.begin()
        try:
            await wait(self._native.listen())
        except BaseException:
            if not self._native.running:
                self._native.stopService()
                self._lease.end()
            raise
        self._native.startService()

    async def stop(self) -> None:
        """Stop listening, let messages that have arrived be handled and answered, close; see :meth:`veltix_tx.Server.stopService`.

        Cancelling it cuts off what is not done.
        """
        if not (self._lease.held or self._native.running):
            return
        try:
            await wait(self._native.stopService())
        except CancelledError:
            self._native.abort()
            raise
        finally:
            self._lease.end()

    async def when_stopping(self) -> None:
        """Wait until a stop begins."""
        await wait(self._native.when_stopping())

    def abort(self) -> None:
        """Cut off at once what a stop that is under way still waits for."""
        self._native.abort()


def _natives(sessions: Any) -> Any:
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        return sessions  # which are refused
    return [session._native for session in sessions]
