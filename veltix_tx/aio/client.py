"""Client whose methods are awaited in asyncio's loop."""

from __future__ import annotations

from asyncio import wait_for
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from veltix_tx.aio.messages import Messages
from veltix_tx.aio.reactor import Lease
from veltix_tx.aio.service import Service
from veltix_tx.aio.session import Room, Session, ViewedApplication, ask, view_of
from veltix_tx.app.plugins import Plugin
from veltix_tx.app.room_follower import Gap
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.backplane.interface import Position
from veltix_tx.client import BlockingClient
from veltix_tx.client import Client as NativeClient
from veltix_tx.disconnect import DisconnectState
from veltix_tx.interfaces import Events, IVeltixPlugin
from veltix_tx.limits import check_seconds
from veltix_tx.net.session.calls import proxy
from veltix_tx.net.session.session import Session as NativeSession
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import CredentialsSource
from veltix_tx.net.tasks import wait
from veltix_tx.net.transport.endpoints import ClientEndpoint
from veltix_tx.settings import ClientChanges, ClientConfig, ClientSettings
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.messages import BytesLike, MessageRegistry, MessageType, R, Request, Response, T
from veltix_tx.wire.rpc import MethodInfo

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Client"]

ClientHandler = Callable[[Response[T]], Answer[R]]
ClientThreadHandler = Callable[[Response[T]], ThreadAnswer[R]]
H = TypeVar("H", bound=Callable[[Response], object])
C = TypeVar("C", bound=Callable[[], object])
G = TypeVar("G", bound=Callable[[Gap], object])
D = TypeVar("D", bound=Callable[[DisconnectState], object])


class Client(Service):
    """A Veltix client on the running asyncio loop: :class:`veltix_tx.Client`, with methods that are awaited.

    It can be made, and its handlers registered, before a loop runs. ``async with client:`` connects, for as long as
    ``start_timeout``, and, at the end, disconnects.

    Coroutines that handle messages run as tasks, which the end of the session and ``timeouts.handler`` cancel; they may
    await Deferreds as well.

    Args:
        server: the server's name or address, with ``:PORT`` or without, or a whole ClientConfig.
        port: the server's TCP port.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to connect, in place of name and port: a Twisted client endpoint string or an endpoint.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        credentials: as for :class:`veltix_tx.Client`; a function that returns them may be a coroutine function.
        start_timeout: seconds that ``async with`` waits for the first session, all tries of ``retry=`` together: it is given to
            :meth:`connect`. ``math.inf`` for no end.
        settings: single fields of ClientConfig, such as ``retry=RetryPolicy()``.

    Raises:
        SettingsError: a setting cannot be; the message names it and what it must be.
    """

    _native: NativeClient

    def __init__(
        self,
        server: str | ClientConfig | None = None,
        port: int | None = None,
        *,
        application: Application[Session] | None = None,
        endpoint: str | IStreamClientEndpoint | ClientEndpoint | None = None,
        types: MessageRegistry | None = None,
        random: Random | None = None,
        credentials: CredentialsSource | None = None,
        start_timeout: float = 30.0,
        **settings: Unpack[ClientSettings],
    ) -> None:
        check_seconds("start_timeout", start_timeout, endless=True)
        self._start_timeout = start_timeout
        viewed = None if application is None else ViewedApplication(application)
        self._native = NativeClient(
            server, port, application=viewed, endpoint=endpoint, types=types, random=random, credentials=credentials, **settings
        )
        super().__init__(self._native)
        self._lease = Lease(self._native)

    async def __aenter__(self) -> Self:
        await self.connect(self._start_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    @property
    def config(self) -> ClientConfig:
        """The settings, as :meth:`configure` left them."""
        return self._native.config

    def configure(self, config: ClientConfig | None = None, **settings: Unpack[ClientChanges]) -> None:
        """Change settings before connecting; see :meth:`veltix_tx.Client.configure`."""
        self._native.configure(config, **settings)

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

        It is a coroutine function or a plain one; for all else see :meth:`veltix_tx.Client.route`.
        """
        return self._native.route(message_type, concurrent=concurrent, thread=thread, timeout=timeout)

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
        handler: Callable[..., Any],
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Register a function that handles one type of message; see :meth:`route`."""
        self._native.register_route(message_type, handler, concurrent=concurrent, thread=thread, timeout=timeout)

    def messages(self, message_type: MessageType[T, Any], *, maxsize: int = 64) -> Messages[T]:
        """Return an asynchronous iterator over the messages of one type: ``async for message in client.messages(NEWS)``.

        It takes messages from this call on: call it before connecting, and none is missed. It ends with the session, the
        present one or the next, after its last message. While ``maxsize`` messages wait here, the session's later messages
        wait as behind any handler, and soon nothing more is read from the server. Replies go on.

        Args:
            message_type: the type, which must have no route.
            maxsize: messages that may wait for the iterator.

        Raises:
            SettingsError: the type has a route, or the size is not a whole number from 1. The iterator itself raises what
                :meth:`connect` does where there comes no session.
        """
        return Messages(self._native, message_type, maxsize)

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
        """Set the callback of an event, or return a decorator that does; see :meth:`veltix_tx.Client.set_callback`."""
        register = self._native._callback(event)
        return register if callback is None else register(callback)

    def register_plugin(
        self, plugin: IVeltixPlugin | Plugin, *, grant: Iterable[Events | str] | None = None
    ) -> Mapping[str, MessageType]:
        """Add a plugin, which is given :class:`veltix_tx.Session`; see :meth:`veltix_tx.Client.register_plugin`."""
        return self._native.register_plugin(plugin, grant=grant)

    @property
    def session(self) -> Session | None:
        """The session while there is an open one, for others than ``on_connect`` once that is done."""
        native = self._native.session
        return None if native is None else view_of(native)

    @property
    def is_connected(self) -> bool:
        """True if messages can be sent now."""
        return self._native.is_connected

    @property
    def blocking(self) -> BlockingClient:
        """The client's methods for other threads than the loop's, where they block and return plain values."""
        return self._native.blocking

    @property
    def counters(self) -> Counter[str]:
        """Counts of events on all its connections by name."""
        return self._native.counters

    async def connect(self, timeout: float | None = None) -> Session:
        """Connect, unless that is done or under way; return the session, ready to use.

        Cancelling it gives up, for everyone who waits.

        Args:
            timeout: seconds for all tries together, after which no further one is made; as long as they take by default.

        Raises:
            twisted.internet.error.TimeoutError: which is a ConnectError, after ``timeout``; its ``__cause__`` is the last try's.
            VeltixError: as :meth:`veltix_tx.Client.connect` errbacks with, once no further try will be made.
            twisted.internet.error.ConnectError: the same; DNSLookupError for a name that has no address.
            SettingsError: the endpoint is none, a file for TLS cannot be used, or TLS is not installed.
            RuntimeError: no loop runs.
        """
        return await self._begin(lambda: self._native.connect(timeout))

    async def retry(self, max_: int | None = None) -> Session:
        """Try at once, and count the tries from 0; see :meth:`veltix_tx.Client.retry`. Returns and raises as :meth:`connect`."""
        return await self._begin(lambda: self._native.retry(max_))

    async def when_connected(self, timeout: float | None = None) -> Session:
        """Wait for the session, the present one or the next, without a try to connect; return it.

        Raises:
            TimeoutError: there was none within so many seconds; ``asyncio.TimeoutError`` before Python 3.11.
            VeltixError: as :meth:`connect`, and what else that raises, when no further try will be made.
        """
        return view_of(await wait_for(wait(self._native.when_connected()), timeout))

    def stop_retry(self) -> None:
        """Try no more; see :meth:`veltix_tx.Client.stop_retry`."""
        self._native.stop_retry()

    async def disconnect(self) -> None:
        """Close gracefully and try no more; return when the connection is gone. It can be connected again.

        Cancelling it ends the waiting. The connection is cut off then, unless others of this package are left in the loop.
        """
        try:
            await wait(self._native.disconnect())
        finally:
            self._lease.end()

    def send(
        self, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"", *, request_id: int | None = None
    ) -> Awaitable[None]:
        """Send a message at once; see :meth:`veltix_tx.Client.send`, which it raises as.

        Returns:
            an awaitable for senders of much, which waits until there is room for more. It need not be awaited.
        """
        return Room(self._native.send(message, content, request_id=request_id))

    async def send_and_wait(
        self, message: MessageType[T, R] | Request[T, R], content: T | BytesLike = b"", *, timeout: float | None = None
    ) -> Response[R]:
        """Send a request and return its reply; see :meth:`veltix_tx.Client.send_and_wait`. Cancelling gives the request up."""
        factory = self._native._factory
        session = None if factory is None else factory.session
        if session is None:  # on_connect may have one, and all others are told why there is none
            return await wait(self._native.send_and_wait(message, content, timeout=timeout))
        return await ask(session, message, content, timeout)

    @overload
    async def call(
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
    async def call(
        self,
        method: str,
        /,
        *args: object,
        returns: Any = ...,
        timeout: float | None = ...,
        metadata: Mapping[str, str] | None = ...,
        **kwargs: object,
    ) -> Any: ...
    async def call(
        self,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Any:
        """Call a method of the server; see :meth:`veltix_tx.Client.call`. Cancelling cancels what serves it, too."""
        return await self._invoke(method, args, kwargs, timeout, metadata, returns)

    def service(self, service: Callable[..., T], *, prefix: str = "", timeout: float | None = None) -> T:
        """Return an object whose methods call the server's, and are awaited; see :meth:`veltix_tx.Client.service`."""
        return proxy(service, self._invoke, prefix, timeout)

    async def methods(self, timeout: float | None = None) -> list[MethodInfo]:
        """Return which methods the server serves; see :meth:`veltix_tx.Client.methods`."""
        return await wait(self._native.methods(timeout))

    def on_gap(self, callback: G) -> G:
        """Call a function, or a coroutine function, with each :class:`veltix_tx.Gap` in the messages of rooms; a decorator."""
        return self._native.on_gap(callback)

    @property
    def room_positions(self) -> dict[str, Position]:
        """Places of the last messages that it has got of rooms with a history; see :attr:`veltix_tx.Client.room_positions`."""
        return self._native.room_positions

    async def reauthenticate(self, credentials: Token | Password | None = None, *, timeout: float | None = None) -> None:
        """Present credentials on the open session anew; see :meth:`veltix_tx.Client.reauthenticate`, which it raises as.

        Cancelling it gives up the wait: the server may have accepted them all the same.
        """
        await wait(self._native.reauthenticate(credentials, timeout=timeout))

    async def ping(self, timeout: float | None = None) -> float:
        """Return the round trip to the server in milliseconds."""
        return await wait(self._native.ping_server(timeout))

    ping_server = ping

    async def _invoke(self, *request: Any) -> Any:
        return await wait(self._native._invoke(*request))

    async def _begin(self, connect: Callable[[], Deferred[NativeSession]]) -> Session:
        self._lease.begin()
        try:
            return view_of(await wait(connect()))
        except BaseException:
            self._lease.end()
            raise
