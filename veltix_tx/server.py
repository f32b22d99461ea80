"""The server's door: a Service made of endpoints, factories, a router and a hub; it listens, and drains when it stops."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EADDRINUSE
from functools import partial
from random import Random
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

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

from veltix_tx._version import __version__
from veltix_tx.app.addressing import Addressing
from veltix_tx.app.allow import Allow
from veltix_tx.app.call_timing import CallTimer
from veltix_tx.app.hub import Hub, Slow
from veltix_tx.app.kinds import Classifier, check_classifier, classified
from veltix_tx.app.node import Node
from veltix_tx.app.opened import Opened
from veltix_tx.app.presence import PresenceChange
from veltix_tx.app.rooms import Delivery, Room, Rooms
from veltix_tx.app.router import Answer, OnConnect, OnDisconnect, OnRecv, ThreadAnswer
from veltix_tx.app.rpc import Methods
from veltix_tx.app.service import RoutedService
from veltix_tx.app.signals import Signals
from veltix_tx.backplane.interface import Backplane, BackplaneState, History, NodeInfo, NodeStatus
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.backplane.registry import backplane_from_url
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.interfaces import Events, IVeltixApplication
from veltix_tx.limits import Limits
from veltix_tx.logs import LineObserver, LoggerConfig, LogLevel
from veltix_tx.logs import Logger as VeltixLogger
from veltix_tx.net.addresses import is_local, join_address, port_of, shown
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.datagram import DrainedPort, VeltixDatagramProtocol
from veltix_tx.net.connection.factory import VeltixServerFactory
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate
from veltix_tx.net.shared.meter import Meter
from veltix_tx.net.threads import BlockingView, at_home, from_any_thread
from veltix_tx.net.transport.accept import back_off_on_accept_error, limit_accepts
from veltix_tx.net.transport.endpoints import ListenSpec, ServerEndpoint, listen_specs, open_endpoint
from veltix_tx.net.transport.inherited import InheritedEndpoint, check_inheritable
from veltix_tx.net.transport.sockets import set_options_of_accepted
from veltix_tx.net.transport.tls_errors import not_installed
from veltix_tx.net.transport.udp import DatagramEndpoint
from veltix_tx.net.waiters import Waiters
from veltix_tx.passwords import hide_password
from veltix_tx.settings import ServerChanges, ServerConfig, ServerSettings, evolve, given_address
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import BytesLike, MessageRegistry, MessageType, R, Request, Response, T

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from veltix_tx.net.transport.tls import ServerTls

with suppress(ImportError):  # Windows has no such limits
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

__all__ = ["OTHER_FILES", "BlockingServer", "Listener", "Server"]

_log = Logger()

ServerHandler = Callable[[Session, Response[T]], Answer[R]]
ServerThreadHandler = Callable[[Session, Response[T]], ThreadAnswer[R]]
H = TypeVar("H", bound=Callable[[Session, Response], object])
V = TypeVar("V")
B = TypeVar("B", bound=Callable[[BackplaneState], object])
C = TypeVar("C", bound=Callable[[Session], object])

OTHER_FILES = 64
"""File descriptors left for everything but connections."""


class Listener(NamedTuple):
    """Place that a server listens in.

    Attributes:
        where: the place as it was given.
        address: its address.
        wire: name of what is spoken there.
        encrypted: True with TLS.
    """

    where: str
    address: IAddress
    wire: str
    encrypted: bool


class Server(RoutedService):
    """A Veltix server, a ``twisted.application`` Service.

    Args:
        config: the settings, or the interface to listen on, such as ``"127.0.0.1"``, with ``:PORT`` or without.
        port: the TCP port to listen on; 0 lets the system choose, and :attr:`port` says which one.
        application: what happens with the messages, in place of routes and callbacks.
        endpoint: where to listen, in place of ``host`` and ``port``: a Twisted endpoint string
            (one that starts with a wire, such as ``"1.9.0@tcp:8090"``, speaks that one) or an
            IStreamServerEndpoint. ``endpoints`` takes several.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when listening begins.
        random: for ids.
        authenticate: a function that decides who is let in, see :meth:`set_authenticate`.
        classifier: a function that names each session's kind, called ``classifier(session, message)`` with its first message
            (replies and calls of methods are none), or a :class:`ByConnection`. It returns the kind's name, which is
            ``session.kind`` and a tag of the session from then on, :class:`Consumed` of the name where no handler is to get that
            message, or None for no kind; or a Deferred or coroutine of that, for which later messages wait. An exception
            (:class:`~veltix_tx.errors.Rejected` to refuse on purpose), and not being done within ``timeouts.classifier``, closes
            the session with the reason UNCLASSIFIED, and none of its messages is handled.
        backplane: what it shares with other servers, as one of their nodes: a Backplane, or a URL such as
            ``"redis://localhost"``. By default a MemoryBackplane of its own.
        backplane_key: secret of all nodes, at least 16 bytes: messages and requests of other nodes are taken only if they were made
            with that. It does not cover who is listed as a member.
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
        classifier: Classifier[Session] | None = None,
        backplane: Backplane | str | None = None,
        backplane_key: bytes | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        check_classifier(classifier)
        self._classifier = classifier
        self._authenticate: Authenticate | None = None
        self._hub = Hub()
        self._ports: list[IListeningPort] = []
        self._tls: list[ServerTls | None] = []
        self._factories: list[VeltixServerFactory] = []
        self._datagram_ports: list[VeltixDatagramProtocol] = []
        self._make_meter: Callable[[str, str], Meter] | None = None
        self._closing: Deferred[Any] = succeed(None)  # the ports that were open
        self._cut: Callable[[], None] = lambda: None
        self._stopping = False
        self._when_stopping: Waiters[None] = Waiters()
        self._announces = False
        self._serves_clients = True  # False for one that a BackplaneServer is made of
        self._inherited: tuple[int, ...] | None = None
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
        joined = backplane_from_url(backplane) if isinstance(backplane, str) else backplane or MemoryBackplane()
        self._node = Node(joined, Counter(), self._node_status, backplane_key)
        self._rooms = Rooms(self._node, lambda: self.config, self._types, lambda: self._clocks, lambda: self._owner_thread)
        self._addressing = Addressing(self._node, self._hub, self._types, lambda: self.config.timeouts.request)
        if authenticate is not None:
            self.set_authenticate(authenticate)

    def __repr__(self) -> str:
        if self._ports:
            count = len(self._hub)
            return f"<Server on {', '.join(map(shown, self.addresses))}, {count} client{'' if count == 1 else 's'}>"
        return f"<Server for {', '.join(map(self._where, self._places))}, not listening>"

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

    @from_any_thread
    def inherit(self, descriptors: Sequence[int]) -> None:
        """Listen on sockets that another process made, such as a supervisor, in place of opening any; once, before listening.

        Args:
            descriptors: file descriptors of listening sockets, one for each endpoint of the settings, in their order. They belong
                to the server from now on, which closes them.

        Raises:
            SettingsError: they are not as many as the endpoints, an endpoint cannot be inherited, or the server listens already.
        """
        if self._listening is not None:
            raise SettingsError("inherit", list(descriptors), "called before the server listens")
        if len(descriptors) != len(self._places):
            raise SettingsError("inherit", list(descriptors), f"one descriptor for each of {len(self._places)} endpoints")
        for place in self._places:
            check_inheritable(place)
        self._inherited = tuple(descriptors)

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

        With ``kind`` it handles the messages of sessions of that kind, as the server's ``classifier`` names it. Those of other
        kinds, and of none, go to the type's route without a kind, else to ``on_recv``.

        Raises:
            SettingsError: the type has such a route already, the kind is no text, there is an application in place of
                routes, a coroutine function is to run in a thread or to allow, or the timeout cannot be.
            TypeError: it is used without parentheses.
        """
        terms = {"concurrent": concurrent, "thread": thread, "timeout": timeout, "allow": allow, "kind": kind}
        return self._route(message_type, terms)

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
        terms = {"concurrent": concurrent, "thread": thread, "timeout": timeout, "allow": allow, "kind": kind}
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
        """Counts of events since it began to listen by name, see :data:`~veltix_tx.net.shared.counters.COUNTERS`.

        Those of the backplane are among them as ``backplane_`` and their names in
        :data:`veltix_tx.backplane.interface.COUNTERS`.
        """
        if self._connections is None:
            return Counter()
        backplane = {f"backplane_{name}": count for name, count in self._node.backplane.counters.items()}
        return Counter(self._connections.shared.counters) + self._node.counters + Counter(backplane)

    @from_any_thread
    def select(self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None) -> list[Session]:
        """Return the clients with some tags and an identity; see :meth:`Hub.select <veltix_tx.app.hub.Hub.select>`."""
        return self._hub.select(all_of, any_of, identity=identity)

    @from_any_thread
    def get_clients_by_tag(self, tag: str, value: object = None) -> list[Session]:
        """Return the clients that have a tag, with this value unless it is None."""
        return [client for client in self._hub.select([tag]) if value is None or client.get_tag(tag) == value]

    @overload
    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = ...,
        *,
        to: Iterable[Session] | None = ...,
        exclude: Iterable[Session] = ...,
        slow: Slow = ...,
        everywhere: Literal[False] = ...,
    ) -> int: ...
    @overload
    def broadcast(
        self,
        message: MessageType[T, Any] | Request[T, Any],
        content: T | BytesLike = ...,
        *,
        exclude: Iterable[Session] = ...,
        slow: Slow = ...,
        everywhere: Literal[True],
    ) -> Deferred[Delivery]: ...
    @from_any_thread  # type: ignore[misc]  # a decorated function does not take all that the overloads do
    def broadcast(
        self,
        message: MessageType[Any, Any] | Request[Any, Any],
        content: Any = b"",
        *,
        to: Iterable[Session] | None = None,
        exclude: Iterable[Session] = (),
        slow: Slow = "close",
        everywhere: bool = False,
    ) -> int | Deferred[Delivery]:
        """Send a message to all clients, or to some; see :meth:`Hub.broadcast <veltix_tx.app.hub.Hub.broadcast>`.

        With ``everywhere`` it goes to the clients of all nodes, those of this server first, and a Deferred of what became of it
        is returned, as :meth:`Room.broadcast` does.
        """
        if not everywhere:
            return self._hub.broadcast(message, content, to=to, exclude=exclude, slow=slow)
        if to is not None:
            raise SettingsError("to", to, "left out with everywhere=True: use a room, or send_to")
        return self._addressing.broadcast(message, content, exclude, slow)

    # Rooms, and the other nodes.

    @from_any_thread
    def room(self, name: str, *, history: History | None = None, presence: MessageType[PresenceChange, Any] | None = None) -> Room:
        """Return the room of a name; there is one as soon as somebody asks for it.

        A room with settings is kept until :meth:`Room.close`; every node gives the same ones. Any other is forgotten when it is
        empty and nobody holds it.

        Args:
            name: its name, 1 to 128 bytes.
            history: how much is kept of its messages, for clients that connect again. It is given before the first joins.
            presence: a type with ``content=PresenceChange``: its members are sent who comes and goes, and not who was there before
                them. Identities that are neither texts nor numbers are left out.

        Raises:
            RoomError: the name cannot be one, there are too many rooms, or it is in use and has no history.
            SettingsError: ``presence`` is no such type.
        """
        return self._rooms.room(name, history, presence)

    @from_any_thread
    def rooms(self, pattern: str = "*") -> Deferred[dict[str, int]]:
        """List the rooms that have members, on any node.

        Args:
            pattern: of their names: ``*`` is any text, ``?`` any character, ``[ab]`` one of these.

        Returns:
            a Deferred of how many members each has. It errbacks with BackplaneUnavailable.

        Raises:
            SettingsError: the pattern is no text, or longer than 256 characters.
        """
        return self._rooms.listed(pattern)

    @property
    def local_rooms(self) -> dict[str, int]:
        """Rooms that have members on this server, and how many they are, also while the backplane is down."""
        return self._rooms.here

    @from_any_thread
    def rooms_of(self, client: Session) -> list[Room]:
        """Return the rooms that a client of this server is in."""
        return self._rooms.of(client)

    @from_any_thread
    def set_backplane(self, backplane: Backplane | str, *, key: bytes | None = None) -> None:
        """Share a backplane with other servers, in place of what the server was made with.

        Args:
            backplane: a Backplane that is not started, or a URL such as ``"redis://localhost"``.
            key: secret of all nodes, in place of what the server was made with; None for the same as before.

        Raises:
            SettingsError: it is no such URL, what it needs is not installed, the key is too short, or the server is in use.
        """
        if self._in_use:
            raise SettingsError("backplane", hide_password(str(backplane)), "given before the server listens")
        if key is not None:
            self._node.use_key(key)
        self._node.backplane = backplane_from_url(backplane) if isinstance(backplane, str) else backplane

    @property
    def backplane(self) -> Backplane:
        """Backplane that it shares with other servers, with its state and its counters."""
        return self._node.backplane

    @from_any_thread
    def on_backplane_state(self, callback: B) -> B:
        """Call a function with each new BackplaneState; a decorator.

        It may be a coroutine function. A failure is logged.

        Raises:
            SettingsError: it cannot be called.
        """
        self._node.state_callbacks.add(callback)
        return callback

    @from_any_thread
    def nodes(self) -> Deferred[list[NodeInfo]]:
        """Return a Deferred of the nodes that share the backplane, this one among them. It errbacks with BackplaneUnavailable."""
        return self._node.backplane.nodes()

    @from_any_thread
    def send_to(
        self, connection_id: str, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b""
    ) -> Deferred[None]:
        """Send a message to a client by its connection id (:attr:`Session.id`), on whichever node it is.

        Returns:
            a Deferred that fires when its node has sent it. It errbacks with NoSuchSession at once where there is none; with
            NodeGone and RequestTimeout where its node did not answer, and may have sent it; with BackplaneUnavailable; with
            RemoteError where it could not be sent there. Cancelling it only ends the wait.

        Raises:
            InvalidContent, TypeError, MessageTooLarge, QueueFull: as :meth:`Session.send`, for a client of this server.
            SettingsError: the id is no text.
        """
        return self._addressing.send_to(connection_id, message, content)

    @from_any_thread
    def call_to(
        self,
        connection_id: str,
        method: str,
        /,
        *args: object,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        returns: Any = Any,
        **kwargs: object,
    ) -> Deferred[Any]:
        """Call a method of a client by its connection id, on whichever node it is; see :meth:`Session.call`.

        Returns:
            a Deferred of the result. It errbacks as :meth:`Session.call` and :meth:`send_to` do. Cancelling it ends the method only
            where the client is this server's.
        """
        return self._addressing.call_to(connection_id, method, args, kwargs, timeout, metadata, returns)

    @from_any_thread
    def disconnect(self, connection_id: str) -> Deferred[None]:
        """Close a client politely by its connection id, on whichever node it is.

        Returns:
            a Deferred that fires when that has begun; it errbacks as :meth:`send_to` does.
        """
        return self._addressing.disconnect(connection_id)

    @from_any_thread
    def select_everywhere(
        self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None
    ) -> Deferred[list[str]]:
        """Find the clients of all nodes with some tags and an identity; see :meth:`select`.

        Returns:
            a Deferred of their connection ids, at most 10,000 of each node, those of this server first. It errbacks with
            BackplaneUnavailable, and with RequestTimeout where a node did not answer.

        Raises:
            SettingsError: as :meth:`select`.
        """
        return self._addressing.select(all_of, any_of, identity)

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
        application = self._application
        if self._classifier is not None:
            application = classified(application, self._classifier, config.timeouts.classifier)
        kept = Opened(application, self._session_opened)
        self._connections.shared.node = self._node.id
        self._node.start(clocks)
        self._addressing.start()
        attempts = []
        inherited, self._inherited = self._inherited, None
        if inherited is None:
            endpoints = [open_endpoint(clocks, place) for place in self._places]
        else:
            endpoints = [InheritedEndpoint(clocks.reactor, descriptor) for descriptor in inherited]
        self._tls = self._read_tls()
        current = self._listening = object()
        self._stopping, self._factories, self._datagram_ports = False, [], []
        for place, endpoint, tls in zip(self._places, endpoints, self._tls, strict=True):
            if isinstance(endpoint, DatagramEndpoint):
                taking = partial(self._take_datagrams, place, endpoint, kept)
                attempts.append(self._when_closed(taking).addCallback(self._opened, place, current))
                continue
            veltix = VeltixServerFactory(
                kept,
                replace(self.config, wire=place.wire),
                reactor=clocks,
                types=self._types,
                random=self._random,
                connections=self._connections,
                serve_call=self._methods.serve,
                rooms=self._rooms,
                authenticate=self._authenticate,
                meter=None if self._make_meter is None else self._make_meter(self._where(place), place.wire.name),
                before_send=self._before_send,
            )
            self._factories.append(veltix)
            factory: IProtocolFactory = veltix if tls is None else tls.below(veltix, clocks.reactor)
            attempts.append(self._when_closed(partial(endpoint.listen, factory)).addCallback(self._opened, place, current))
        opened = gatherResults(attempts, consumeErrors=True)
        return opened.addErrback(self._not_listening).addCallback(lambda _: None)

    # For what administers and measures it.

    @property
    def clocks(self) -> Clocks:
        """Sources of time, those of its reactor as it is by now."""
        return self._clocks

    @property
    def types(self) -> MessageRegistry:
        """Message types that it knows."""
        return self._types

    @property
    def methods(self) -> Methods:
        """Methods that it serves, to iterate over."""
        return self._methods

    @property
    def sessions(self) -> Collection[Session]:
        """Sessions, those among them that are not admitted yet, are being closed, or have their last messages handled."""
        return self._hub

    @property
    def half_open(self) -> Mapping[Any, float]:
        """Connections still in their handshake, the oldest first, with the uptime at which each came."""
        return {} if self._connections is None else self._connections.half_open_since

    @property
    def stopping(self) -> bool:
        """True if a stop has begun, or is done."""
        return self._stopping

    @property
    def handler_failures(self) -> Mapping[str, int]:
        """Failures of handlers since it began to listen, by ``route`` or ``method`` and its name."""
        return {} if self._connections is None else self._connections.shared.failures

    @property
    def listeners(self) -> list[Listener]:
        """Places it listens in now."""
        return [
            Listener(self._where(place), address, place.wire.name, place.encrypted)
            for place, address in zip(self._places, self.addresses, strict=False)
        ]

    @property
    def meters(self) -> list[Meter]:
        """Meters of the listeners; none where it is not measured."""
        return [factory.meter for factory in self._factories if factory.meter is not None]

    def timed_handlers(self, timer: CallTimer) -> list[Callable[[], None]]:
        """Return a function for each route and method that has its next call timed; all other calls cost what they ever did."""
        routes = [] if self._router is None else self._router.timed_handlers(timer)
        return [*routes, *self._methods.timed_handlers(timer)]

    @property
    def routed_types(self) -> Mapping[Hashable, MessageType]:
        """Types that have a route, by their keys; none where there is an application in place of routes."""
        return {} if self._router is None else self._router.types

    def measure(self, make_meter: Callable[[str, str], Meter]) -> None:
        """Have the traffic of listeners counted from the next time on that it listens.

        Args:
            make_meter: makes the meter of a listener, of where that is and the name of its wire.

        Raises:
            SettingsError: it listens, or is measured already.
        """
        if self._listening is not None or self._make_meter is not None:
            raise SettingsError("metrics", make_meter, "given once, before the server listens")
        self._make_meter = make_meter

    @property
    def limits_in_use(self) -> dict[str, tuple[int, int]]:
        """Use of the limits that all connections share, and each limit; -1 for none."""
        connections, limits = self._connections, self.config.limits
        if connections is None:
            return {}
        shared = connections.shared
        return {
            "max_connections": (len(connections), connections.limit),
            "limits.half_open": (len(connections.half_open()), limits.half_open),
            "limits.receive_buffers": (shared.receive_budget.used, limits.receive_buffers),
            "limits.send_buffers": (shared.send_budget.used, limits.send_buffers),
            "limits.rooms": (self._rooms.kept, limits.rooms),
        }

    def _where(self, place: ListenSpec) -> str:
        """Return where a place to listen in is, as it was given."""
        return place.given or join_address(self.config.host, self.config.port)

    def _check(self) -> None:
        """Check what listening would need, and do not listen; raises SettingsError."""
        for place in self._places:
            open_endpoint(self._clocks, place)
        self._read_tls()

    def _read_tls(self) -> list[ServerTls | None]:
        """Return the certificate of each place to listen in, None where it has no TLS; raises SettingsError."""
        return [_named(place, partial(_tls, *place.tls)) if place.tls else None for place in self._places]

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

    @from_any_thread
    def set_limits(self, limits: Limits) -> None:
        """Change the limits, while it listens, too: nobody is closed for that alone.

        Those that a connection takes with it when it begins (``hello_size``, ``json_hello_size``, ``values``, ``messages``,
        ``pending``, ``pings``, ``ping_burst``) hold for new ones, all others at once.

        Raises:
            SettingsError: they are none.
        """
        self.config = replace(self.config, limits=limits)
        if self._connections is not None:
            self._connections.use_limits(limits)
        for factory in self._factories:
            factory.use_limits(limits)
        for port in self._datagram_ports:
            port.use_limits(limits)

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
        self._listening = None
        manual = SessionClosed(DisconnectReason.MANUAL)
        closing = self._close_ports()
        connections = self._connections
        if connections is None:
            self._tell_stopping()
            return self._node.stop()
        ending = list(connections)
        gone: list[Deferred[Any]] = [protocol.when_lost() for protocol in ending]
        gone.append(closing)
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

        def stopped(_: object) -> Deferred[None] | None:
            for timer in (late, *last):
                if timer.active():
                    timer.cancel()
            return self._node.stop() if self._listening is None else None  # unless it listens again

        farewells = [session.when_closed().addCallback(lambda _, each: each.when_idle(), session) for session in sessions]
        done: Deferred[Any] = DeferredList([*gone, drained, *farewells], consumeErrors=True).addCallback(stopped)
        self._tell_stopping()  # last: what handlers do then finds the stop under way
        return done

    @from_any_thread
    def stop_listening(self) -> Deferred[None]:
        """Close the ports, and go on with the connections there are, for a server that another one takes over from.

        Returns:
            a Deferred that fires when the ports are closed.
        """
        closed: Deferred[None] = Deferred()
        self._close_ports().addCallback(lambda _: closed.callback(None))
        return closed

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

    def _session_opened(self, session: Session) -> None:
        self._hub.add(session)
        self._rooms.opened(session)

    def _node_status(self) -> NodeStatus:
        return NodeStatus(len(self._hub), self._stopping)

    @property
    def _in_use(self) -> bool:
        return self._listening is not None or bool(self._connections) or len(self._hub) > 0

    def _close_ports(self) -> Deferred[Any]:
        ports, self._ports = self._ports, []
        self._closing = DeferredList([self._closing, *(maybeDeferred(port.stopListening) for port in ports)], consumeErrors=True)
        return self._closing

    def _take_datagrams(self, place: ListenSpec, endpoint: DatagramEndpoint, kept: Opened) -> Deferred[IListeningPort]:
        if self._authenticate is not None:
            given = place.given or str(endpoint)
            raise SettingsError("endpoint", given, "one over TCP where there is authenticate: datagrams prove no address")
        config = replace(self.config, wire=place.wire)
        protocol = VeltixDatagramProtocol(
            kept,
            config,
            reactor=self._clocks,
            types=self._types,
            connections=self._connections,
            before_send=self._before_send,
        )
        self._datagram_ports.append(protocol)
        return endpoint.listen_datagrams(protocol).addCallback(DrainedPort, protocol)

    def _when_closed(self, listen: Callable[[], Any]) -> Deferred[IListeningPort]:
        """Listen once the ports of an earlier stop are closed: one may be the same."""
        if self._closing.called:
            return maybeDeferred(listen)
        closed: Deferred[Any] = Deferred()

        def go_on(result: Any) -> Any:
            closed.callback(None)
            return result

        self._closing.addCallback(go_on)
        return closed.addCallback(lambda _: listen())

    def _tell_stopping(self) -> None:
        self._stopping = True
        self._when_stopping.fire(None)

    def _opened(self, port: IListeningPort, place: ListenSpec, current: object) -> None:
        if self._listening is not current:
            port.stopListening()  # stopped, or failed elsewhere, in the meantime
            return
        self._ports.append(port)
        address = port.getHost()
        if not place.in_datagrams:
            limit_accepts(port)
            set_options_of_accepted(port, self.config.timeouts.ping_interval, self.config.timeouts.ping_timeout)
            assert self._connections is not None
            may_log = partial(self._connections.shared.log_limiter.allow, shown(address))
            back_off_on_accept_error(port, self.reactor, may_log)
        wire = place.wire.describe(encrypted=place.encrypted)
        how = " over UDP" if place.in_datagrams else " over TLS" if place.encrypted else ""
        where = shown(address)
        if self._announces:
            self._announce(f"speaks {wire}{how},", address)
        if self._serves_clients:
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

    def stop_listening(self) -> None:
        """Close the ports, and wait until they are closed."""
        self._wait(self._server.stop_listening)

    def when_stopping(self) -> None:
        """Wait until a stop begins."""
        self._wait(self._server.when_stopping)

    def stopService(self) -> None:
        """Stop, and wait until every connection is gone."""
        self._wait(self._server.stopService)

    def nodes(self) -> list[NodeInfo]:
        """Return the nodes that share the backplane."""
        return self._wait(self._server.nodes)

    def rooms(self, pattern: str = "*") -> dict[str, int]:
        """Return the rooms that have members, and how many."""
        return self._wait(self._server.rooms, pattern)

    def send_to(self, connection_id: str, message: MessageType[T, Any] | Request[T, Any], content: T | BytesLike = b"") -> None:
        """Send a message to a client, and wait until its node has sent it."""
        self._wait(self._server.send_to, connection_id, message, content)

    def call_to(
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
        """Call a method of a client and return its result."""
        options: dict[str, Any] = {"timeout": timeout, "metadata": metadata, "returns": returns, **kwargs}
        return self._wait(partial(self._server.call_to, connection_id, method, *args, **options))

    def disconnect(self, connection_id: str) -> None:
        """Close a client."""
        self._wait(self._server.disconnect, connection_id)

    def select_everywhere(self, all_of: Iterable[str] = (), any_of: Iterable[str] = (), *, identity: object = None) -> list[str]:
        """Return the connection ids of the clients with some tags and an identity."""
        return self._wait(partial(self._server.select_everywhere, all_of, any_of, identity=identity))

    def ping_client(self, client: Session, timeout: float | None = None) -> float:
        """Return the round trip to a client in milliseconds."""
        return self._wait(self._server.ping_client, client, timeout)


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
