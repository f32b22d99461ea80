"""Server whose methods are awaited in asyncio's loop."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

from veltix_tx.aio.reactor import Lease
from veltix_tx.aio.rooms import Begun, Room
from veltix_tx.aio.service import Allow, Service, with_view
from veltix_tx.aio.session import Session, ViewedApplication, natives, view_of
from veltix_tx.app.hub import Slow
from veltix_tx.app.kinds import ByConnection, Classifier
from veltix_tx.app.plugins import Plugin
from veltix_tx.app.presence import PresenceChange
from veltix_tx.app.rooms import Delivery
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.backplane.interface import Backplane, BackplaneState, History, NodeInfo
from veltix_tx.interfaces import Events, IVeltixPlugin
from veltix_tx.limits import Limits
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
B = TypeVar("B", bound=Callable[[BackplaneState], object])
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
        classifier: as for :class:`veltix_tx.Server`; it may be a coroutine function.
        backplane: as for :class:`veltix_tx.Server`.
        backplane_key: as for :class:`veltix_tx.Server`.
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
        classifier: Classifier[Session] | None = None,
        backplane: Backplane | str | None = None,
        backplane_key: bytes | None = None,
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
            classifier=_with_view(classifier),
            backplane=backplane,
            backplane_key=backplane_key,
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
        kind: str | None = ...,
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
        kind: str | None = ...,
    ) -> Callable[[ServerThreadHandler[T, R]], Callable[[Session, Response[T]], Any]]: ...
    def route(
        self,
        message_type: MessageType,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
        allow: Allow | None = None,
        kind: str | None = None,
    ) -> Callable[..., Any]:
        """Return a decorator: its function handles one type of message, and is called ``handler(client, message)``.

        It is a coroutine function or a plain one; for all else see :meth:`veltix_tx.Server.route`.
        """
        self._native.router.check_type(message_type, kind)

        def route(handler: ServerHandler) -> ServerHandler:
            terms: dict[str, Any] = {"concurrent": concurrent, "thread": thread, "timeout": timeout, "allow": allow, "kind": kind}
            self.register_route(message_type, handler, **terms)
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
        kind: str | None = ...,
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
        kind: str | None = ...,
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
        kind: str | None = None,
    ) -> None:
        """Register a function that handles one type of message; see :meth:`route`."""
        terms: dict[str, Any] = {"concurrent": concurrent, "thread": thread, "timeout": timeout, "kind": kind}
        viewed, allowed = with_view(handler, coroutine=not thread), with_view(allow, coroutine=False)
        self._native.register_route(message_type, viewed, allow=allowed, **terms)

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
        slow: Slow = "close",
    ) -> int:
        """Send a message to all clients, or to those given, but for those excluded; see :meth:`veltix_tx.Server.broadcast`."""
        to = None if to is None else natives(to)
        return self._native.broadcast(message, content, to=to, exclude=natives(exclude), slow=slow)

    def broadcast_everywhere(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = b"",
        *,
        exclude: Iterable[Session] = (),
        slow: Slow = "close",
    ) -> Begun[Delivery]:
        """Send a message to the clients of all nodes, at once; awaited, it tells what became of it.

        See :meth:`veltix_tx.Server.broadcast` with ``everywhere=True``.
        """
        return Begun(self._native.broadcast(message, content, exclude=natives(exclude), slow=slow, everywhere=True))

    def room(self, name: str, *, history: History | None = None, presence: MessageType[PresenceChange, Any] | None = None) -> Room:
        """Return the room of a name; see :meth:`veltix_tx.Server.room`."""
        return Room(self._native.room(name, history=history, presence=presence))

    async def rooms(self, pattern: str = "*") -> dict[str, int]:
        """List the rooms that have members; see :meth:`veltix_tx.Server.rooms`."""
        return await wait(self._native.rooms(pattern))

    @property
    def local_rooms(self) -> dict[str, int]:
        """Rooms that have members on this server; see :attr:`veltix_tx.Server.local_rooms`."""
        return self._native.local_rooms

    def rooms_of(self, client: Session) -> list[Room]:
        """Return the rooms that a client of this server is in."""
        (native,) = natives([client])
        return list(map(Room, self._native.rooms_of(native)))

    @property
    def backplane(self) -> Backplane:
        """Backplane that it shares with other servers, with its state and its counters."""
        return self._native.backplane

    def on_backplane_state(self, callback: B) -> B:
        """Call a function with each new BackplaneState; a decorator. It may be a coroutine function."""
        return self._native.on_backplane_state(callback)

    async def nodes(self) -> list[NodeInfo]:
        """Return the nodes that share the backplane; see :meth:`veltix_tx.Server.nodes`."""
        return await wait(self._native.nodes())

    async def send_to(
        self, connection_id: str, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b""
    ) -> None:
        """Send a message to a client by its connection id; see :meth:`veltix_tx.Server.send_to`."""
        await wait(self._native.send_to(connection_id, message, content))

    async def call_to(
        self,
        connection_id: str,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Any:
        """Call a method of a client by its connection id; see :meth:`veltix_tx.Server.call_to`."""
        options: dict[str, Any] = {"timeout": timeout, "metadata": metadata, "returns": returns, **kwargs}
        return await wait(self._native.call_to(connection_id, method, *args, **options))

    async def disconnect(self, connection_id: str) -> None:
        """Close a client by its connection id; see :meth:`veltix_tx.Server.disconnect`."""
        await wait(self._native.disconnect(connection_id))

    async def select_everywhere(
        self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None
    ) -> list[str]:
        """Find the clients of all nodes; see :meth:`veltix_tx.Server.select_everywhere`."""
        return await wait(self._native.select_everywhere(all_of, any_of, identity=identity))

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

    def set_limits(self, limits: Limits) -> None:
        """Change the limits while it listens; see :meth:`veltix_tx.Server.set_limits`."""
        self._native.set_limits(limits)

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

    async def stop_listening(self) -> None:
        """Close the ports, and go on with the connections there are; see :meth:`veltix_tx.Server.stop_listening`."""
        await wait(self._native.stop_listening())

    def inherit(self, descriptors: Sequence[int]) -> None:
        """Listen on sockets that another process made; see :meth:`veltix_tx.Server.inherit`."""
        self._native.inherit(descriptors)

    async def when_stopping(self) -> None:
        """Wait until a stop begins."""
        await wait(self._native.when_stopping())

    def abort(self) -> None:
        """Cut off at once what a stop that is under way still waits for."""
        self._native.abort()


def _with_view(classifier: Classifier[Session] | None) -> Any:
    """Return a classifier of sessions that calls another with their views."""
    if isinstance(classifier, ByConnection):
        return ByConnection(with_view(classifier.function))
    return with_view(classifier)
