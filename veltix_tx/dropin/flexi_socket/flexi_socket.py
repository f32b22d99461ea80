"""FlexiSocket: a server, or a client, whose peers send text in any simple framing."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.error import CannotListenError, ConnectError

from veltix_tx.aio import Client, Server, Session
from veltix_tx.dropin.flexi_socket.client_classifier import ClientClassifier
from veltix_tx.dropin.flexi_socket.connection import Connection
from veltix_tx.dropin.flexi_socket.constraints import Mode, Protocol
from veltix_tx.dropin.flexi_socket.conversation import Conversation
from veltix_tx.dropin.flexi_socket.handlers import Handler, Handlers
from veltix_tx.dropin.flexi_socket.message_packaging import EOFStrategy, MessageStrategy, RawStrategy
from veltix_tx.errors import QueueFull, SessionClosed, SettingsError, StreamEnded, UnvalidatedAddress
from veltix_tx.limits import Timeouts, check_whole
from veltix_tx.wire.messages import Response

__all__ = ["FlexiSocket", "Listener", "State"]

F = TypeVar("F", bound=Handler)

_TIMEOUTS = Timeouts(handler=math.inf, frame=3600)
"""Upstream has none. A message that is typed by hand, up to the end of its stream, takes its time."""

_LAST_HANDLERS = 5.0
"""Seconds that handlers have to end by themselves once their connections are gone because the socket stops."""


class Listener(Enum):
    """Event that a handler is for."""

    ON_CONNECT = 0
    ON_DISCONNECT = 1
    ON_MESSAGE = 2
    AFTER_RECEIVE = 3
    BEFORE_SEND = 4


class State(Enum):
    """State of a socket."""

    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3


class FlexiSocket:
    """A server that listens, or a client that connects, with handlers for what happens.

    Handlers are coroutine functions or plain ones. Those of one connection are called one after another, in the order of what
    happened; connections do not wait for each other. One that raises is logged, and ends nothing.

    Args:
        mode: the role.
        protocol: TCP or UDP.
        message_strategy: what tells one message from the next; the end of the stream by default or, with a
            ``read_buffer_size``, the end of a read.
        host: the interface to listen on, or the server's name or address.
        port: the port, which must be given; a server with 0 lets the system choose.
        classifier: names the type of each peer by its first message.
        read_buffer_size: maximum bytes of a read, each of which is a message; -1 for no such messages. Without effect
            beside a ``message_strategy``, and over UDP.
        as_bytes: give handlers bytes in place of text. Either can be sent in any case.

    Attributes:
        state: what it is doing.
        mode: the role.
        protocol: TCP or UDP.
        message_strategy: what tells its messages apart.
        classifier: names the types of peers.

    Raises:
        ValueError: there is no port, or a setting cannot be (SettingsError, which is one).
    """

    def __init__(
        self,
        mode: Mode = Mode.SERVER,
        protocol: Protocol = Protocol.TCP,
        message_strategy: MessageStrategy | None = None,
        host: str = "0.0.0.0",
        port: int | None = None,
        classifier: ClientClassifier | None = None,
        read_buffer_size: int = -1,
        as_bytes: bool = False,
    ) -> None:
        if not isinstance(mode, Mode):
            raise SettingsError("mode", mode, "a Mode")
        if not isinstance(protocol, Protocol):
            raise SettingsError("protocol", protocol, "a Protocol")
        if port is None:
            raise SettingsError("port", port, "a number")
        check_whole("port", port, 0 if mode is Mode.SERVER else 1, 65535)
        if message_strategy is None:
            by_reads = read_buffer_size != -1 and protocol is Protocol.TCP
            message_strategy = RawStrategy(read_buffer_size) if by_reads else EOFStrategy()
        self.mode = mode
        self.protocol = protocol
        self.message_strategy = message_strategy
        self.host = host
        self._port = port
        self.classifier = ClientClassifier() if classifier is None else classifier
        self.state = State.STOPPED
        self._as_bytes = as_bytes
        self._handlers = Handlers()
        self._conversations: dict[Session, Conversation] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None
        self._over = asyncio.Event()  # as a client's connection is
        self._stopped = asyncio.Event()
        self._connected: asyncio.Future[Connection] | None = None
        self._native = self._make_native()

    def __str__(self) -> str:
        return f"FlexiSocket: {self.mode}, {self.protocol}, {self.host}:{self.port}"

    # Handlers.

    def on_connect(self) -> Callable[[F], F]:
        """Return a decorator: its function is called with each new connection, before any of its messages."""

        def register(handler: F) -> F:
            self._handlers.on_connect = handler
            return handler

        return register

    def on_disconnect(self) -> Callable[[F], F]:
        """Return a decorator: its function is called with each connection that has ended, once and last."""

        def register(handler: F) -> F:
            self._handlers.on_disconnect = handler
            return handler

        return register

    def on_message(self, *client_types: Hashable) -> Callable[[F], F]:
        """Return a decorator: its function is called with a connection and each message.

        Args:
            client_types: the types of peers whose messages these are; the default type, without any. Peers of a type for which
                there is no handler have that of the default type.
        """
        return _register(self._handlers.on_message, client_types)

    def after_receive(self, *client_types: Hashable) -> Callable[[F], F]:
        """Return a decorator: its function is called with a connection and each message that has come.

        What it returns is what ``on_message`` gets; None for the message as it came.

        Args:
            client_types: the types of peers whose messages these are; the default type, without any.
        """
        return _register(self._handlers.after_receive, client_types)

    def before_send(self, *client_types: Hashable) -> Callable[[F], F]:
        """Return a decorator: its function is called with a connection and each message that is sent, from the first on.

        What it returns, text or bytes, is sent; None for the message as it is.

        Args:
            client_types: the types of peers that these messages are for; the default type, without any, which a peer has until its
                first message.
        """
        return _register(self._handlers.before_send, client_types)

    def add_listener(self, listener: Listener, handler: Handler) -> None:
        """Set the handler of an event, for peers of the default type.

        Raises:
            ValueError: there is no such event.
        """
        decorators: dict[object, Callable[[], Callable[[Handler], Handler]]] = {
            Listener.ON_CONNECT: self.on_connect,
            Listener.ON_DISCONNECT: self.on_disconnect,
            Listener.ON_MESSAGE: self.on_message,
            Listener.AFTER_RECEIVE: self.after_receive,
            Listener.BEFORE_SEND: self.before_send,
        }
        if listener not in decorators:
            raise SettingsError("listener", listener, "a Listener")
        decorators[listener]()(handler)

    @property
    def handlers(self) -> dict[Hashable, Handler]:
        """The functions of :meth:`on_message`, by type of peer."""
        return self._handlers.on_message

    # Connections.

    @property
    def port(self) -> int:
        """The port; that which the system chose, once a server listens."""
        return self._native.port if isinstance(self._native, Server) and self._native.addresses else self._port

    @property
    def connections(self) -> list[Connection]:
        """The connections that are there; one is until its ``on_disconnect`` has ended."""
        return [each.connection for each in self._conversations.values()]

    async def send(self, message: str | bytes) -> int:
        """Send a message: a client to its server, as soon as it is connected, a server to each of its connections.

        A client waits until there is room for more, a server for nobody: a connection that has no room for it is left out, and so
        is one over UDP whose address may not be sent so much.

        Returns:
            how many connections it was sent on.

        Raises:
            ConnectionError: a client is not connected, nor about to be.
            OSError: as :meth:`start_async`, where that fails meanwhile.
            StreamEnded, QueueFull: as :meth:`Connection.send`, on a client alone.
            MessageTooLarge, TypeError: as :meth:`Connection.send`.
        """
        if self.mode is Mode.CLIENT:
            await (await self._connection()).send(message)
            return 1
        sent = await asyncio.gather(
            *[each._send(message) for each in self.connections if each.is_connected], return_exceptions=True
        )
        errors = [each for each in sent if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, (ConnectionError, StreamEnded, QueueFull, UnvalidatedAddress)):
                raise error
        return len(sent) - len(errors)

    async def _connection(self) -> Connection:
        """Return a client's connection, waiting for it while the client starts."""
        await asyncio.sleep(0)  # a start_async() that has been made a task of may begin
        if self._connected is None:
            raise ConnectionError("not connected: the socket has not been started")
        return await asyncio.shield(self._connected)

    # Beginning and end.

    def start(self) -> None:
        """Run in a loop of its own until it is stopped; see :meth:`start_async`."""
        asyncio.run(self.start_async())

    async def start_async(self) -> None:
        """Listen, or connect, and return when the socket has been stopped, or a client's connection has ended.

        Does nothing where it runs already. Cancelling it stops the socket.

        Raises:
            OSError: a server cannot listen there; a client cannot connect (ConnectionRefusedError where nobody listens).
        """
        if self.state is not State.STOPPED:
            return
        self.state = State.STARTING
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._stopped = asyncio.Event()
        self._connected = self._loop.create_future()
        self._running = self._loop.create_task(self._run())
        try:
            await self._running
        except asyncio.CancelledError:
            if self.state is not State.STOPPING:  # by stop()
                raise
        except OSError as error:
            self._fail_waiting(error)
            raise
        finally:
            self.state = State.STOPPING
            try:
                await self._close()
            finally:
                self._fail_waiting(ConnectionError("not connected: the socket has been stopped"))
                self._connected = self._running = None
                self.state = State.STOPPED
                self._stopped.set()

    def stop(self) -> None:
        """Stop, and do not wait for that; may be called in any thread.

        A server listens no more, messages that have arrived are handled, and every connection is closed, with ``on_disconnect``.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    async def stop_async(self) -> None:
        """Stop, and return when that is done; at once in a handler, for which it would have to wait."""
        self._stop()
        own = [each.task for each in self._conversations.values()]
        if self.state is not State.STOPPED and asyncio.current_task() not in own:
            await self._stopped.wait()

    def _stop(self) -> None:
        if self._running is not None and self.state in (State.STARTING, State.RUNNING):
            self.state = State.STOPPING
            self._running.cancel()

    async def _run(self) -> None:
        """Listen or connect, and wait for the end."""
        await self._open()
        self.state = State.RUNNING
        await self._over.wait()

    def _fail_waiting(self, error: OSError) -> None:
        """Let :meth:`send` of a client fail where it waits for the connection."""
        if self._connected is not None and not self._connected.done():
            self._connected.set_exception(error)
            self._connected.exception()  # nobody need wait

    async def _open(self) -> None:
        try:
            await (self._native.listen() if isinstance(self._native, Server) else self._native.connect())
        except CannotListenError as error:
            raise error.socketError from error
        except ConnectError as error:
            number = error.osError
            raise (ConnectionError(str(error)) if number is None else OSError(number, os.strerror(number))) from error

    async def _close(self) -> None:
        await (self._native.stop() if isinstance(self._native, Server) else self._native.disconnect())
        await self._conversations_end()
        for conversation in self._conversations.values():
            conversation.cut_off()
        await self._conversations_end()

    async def _conversations_end(self) -> None:
        """Wait until the last handlers of all connections have ended, but not for ever."""
        tasks = [each.task for each in self._conversations.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_HANDLERS)

    def _make_native(self) -> Server | Client:
        strategy, in_datagrams = self.message_strategy, self.protocol is Protocol.UDP
        settings: dict[str, Any] = {
            "wire": strategy.datagram_wire(self._as_bytes) if in_datagrams else strategy.wire(self._as_bytes),
            "max_message_size": max(128, strategy.max_message_size),
            "application": _Application(self._begin, self._conversations),
            "timeouts": _TIMEOUTS,
        }
        host, port, quoted = self.host, self._port, quoteStringArgument(self.host)
        if self.mode is Mode.SERVER:
            if in_datagrams:
                return Server(endpoint=f"udp:{port}:interface={quoted}", **settings)
            return Server(host=host, port=port, **settings)
        if in_datagrams:
            return Client(endpoint=f"udp:{quoted}:{port}", **settings)
        return Client(host, port, **settings)

    def _begin(self, session: Session) -> None:
        """Begin the conversation of a new session."""
        connection = Connection(session, self.message_strategy, self._handlers)

        def end() -> None:
            del self._conversations[session]
            if self.mode is Mode.CLIENT:
                self._over.set()

        conversation = Conversation(connection, session, self._handlers, self.classifier, self._as_bytes, end)
        self._conversations[session] = conversation
        if self.mode is Mode.CLIENT and self._connected is not None:
            self._connected.set_result(connection)


class _Application:
    """Application of a socket's sessions: each has a conversation, which takes its messages.

    ``connected`` does not wait for the program's ``on_connect``, which may go on for as long as the connection does.

    Args:
        begin: begins the conversation of a session.
        conversations: those that have begun, by session. One that a loop which ends has cancelled is there no more.
    """

    def __init__(self, begin: Callable[[Session], None], conversations: dict[Session, Conversation]) -> None:
        self._conversations = conversations
        self.connected = begin

    def received(self, session: Session, message: Response) -> Deferred[None] | None:
        """Pass on a message; later ones wait until it has been handled."""
        conversation = self._conversations.get(session)
        return None if conversation is None else conversation.received(message.content)

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Pass on that a session is gone."""
        conversation = self._conversations.get(session)
        if conversation is not None:
            conversation.ended()


def _register(table: dict[Hashable, Handler], client_types: tuple[Hashable, ...]) -> Callable[[F], F]:
    if any(callable(each) for each in client_types):
        raise TypeError("a decorator of a socket has parentheses: write @socket.on_message()")

    def register(handler: F) -> F:
        for client_type in client_types or (ClientClassifier.DEFAULT,):
            table[client_type] = handler
        return handler

    return register
