"""The server, with netconduit's methods, on the running asyncio loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection
from inspect import isawaitable
from typing import Any, TypeVar, overload

from twisted.internet.error import CannotListenError

from veltix_tx.aio.server import Server as NativeServer
from veltix_tx.aio.session import Session
from veltix_tx.dropin.conduit.connection.connection import Connection, named_type
from veltix_tx.dropin.conduit.data.descriptors import ServerDescriptor
from veltix_tx.dropin.conduit.exceptions import ProtocolError
from veltix_tx.dropin.conduit.handlers import call_in_turn
from veltix_tx.dropin.conduit.response import Error, Response
from veltix_tx.dropin.conduit.rpc.method import RPCMethod
from veltix_tx.dropin.conduit.settings import server_settings
from veltix_tx.errors import MessageTooLarge
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.messages import Response as Received

__all__ = ["Server"]

_log = logging.getLogger("conduit.server")

H = TypeVar("H", bound=Callable[[Connection, Any], object])
S = TypeVar("S", bound="Callable[[Server], object]")
C = TypeVar("C", bound=Callable[[Connection], object])
F = TypeVar("F", bound=Callable[..., object])


class Server:
    """A server. Handlers, methods and hooks may be coroutine functions or plain ones.

    Args:
        config: its settings.

    Raises:
        SettingsError: a setting cannot be.
    """

    def __init__(self, config: ServerDescriptor) -> None:
        self._config = config
        self._types = MessageRegistry(open=True)
        self._native = NativeServer(types=self._types, **server_settings(config))
        self._handlers: dict[str, list[Callable[..., object]]] = {}
        self._sessions: dict[Session, Connection] = {}
        self._stopped = asyncio.Event()  # a new one for each stop
        self._startup: list[Callable[..., object]] = []
        self._shutdown: list[Callable[..., object]] = []
        self._connected: list[Callable[..., object]] = []
        self._disconnected: list[Callable[..., object]] = []
        self._stopped.set()
        self._running = False
        self._native.set_callback("on_connect", self._welcome)
        self._native.set_callback("on_disconnect", self._part)
        self._native.set_callback("on_recv", _unhandled)

    # Decorators.

    def on(self, message_type: str, requires_auth: bool = True) -> Callable[[H], H]:
        """Return a decorator: its function handles one type of message, and is called ``handler(connection, data)``.

        What it returns answers the message, as a message of the type ``<type>_response``; None does not. A type may have several:
        all are called in their order, and the last one's result counts. A client's messages are handled one after another.

        Args:
            message_type: the type.
            requires_auth: no effect: nobody else is handled.
        """

        def register(handler: H) -> H:
            handlers = self._handlers.setdefault(message_type, [])
            handlers.append(handler)
            if len(handlers) == 1:
                self._native.register_route(named_type(self._types, message_type), self._take(handlers))
            return handler

        return register

    @overload
    def rpc(self, name: F, /) -> F: ...
    @overload
    def rpc(self, name: str | None = None, requires_auth: bool = True) -> Callable[[F], F]: ...
    def rpc(self, name: Any = None, requires_auth: bool = True) -> Any:
        """Serve a function as a method; a decorator, with or without arguments.

        A function whose one parameter is a model of pydantic gets all arguments as that; else each is validated by its
        annotation. What it returns is the result; what :class:`Error` makes is a failure. Of an exception the caller learns only
        that there was one. Calls are handled at once, while others still run.

        Args:
            name: the method's name, the function's by default; or the function.
            requires_auth: no effect: nobody else can call.
        """
        if callable(name):
            self._serve(name, None)
            return name

        def register(function: F) -> F:
            self._serve(function, name)
            return function

        return register

    def on_startup(self, handler: S) -> S:
        """Call a function with the server before it listens. An exception is :meth:`start`'s."""
        self._startup.append(handler)
        return handler

    def on_shutdown(self, handler: S) -> S:
        """Call a function with the server when it has stopped."""
        self._shutdown.append(handler)
        return handler

    def on_client_connect(self, handler: C) -> C:
        """Call a function with the connection of each new client, before its first message is handled."""
        self._connected.append(handler)
        return handler

    def on_client_disconnect(self, handler: C) -> C:
        """Call a function with the connection of each client that has gone, after its last message."""
        self._disconnected.append(handler)
        return handler

    # Life.

    async def run(self) -> None:
        """Start, and serve until :meth:`stop` is called elsewhere, or this is cancelled, as Ctrl-C does; it is stopped then."""
        await self.start()
        try:
            await self._native.when_stopping()
        except asyncio.CancelledError:
            pass
        finally:
            await self.stop()

    async def start(self) -> None:
        """Begin to listen; when this returns, clients can connect. Does nothing where it listens.

        Raises:
            OSError: the port is taken, or the host is none of this machine.
        """
        if self._running:
            return
        for hook in self._startup:
            result = hook(self)
            if isawaitable(result):
                await result
        self._native.configure(host=await self._interface(), port=self._config.port)
        try:
            await self._native.listen()
        except CannotListenError as error:
            raise error.socketError from error
        self._running = True

    async def stop(self) -> None:
        """Stop listening; messages that have arrived are handled and answered, for at most 10 seconds, then clients are closed."""
        if not self._running:
            await self._stopped.wait()  # for a stop that is under way
            return
        self._running, self._stopped = False, asyncio.Event()
        try:
            await self._native.stop()
            await call_in_turn(self._shutdown, self)
        finally:
            self._stopped.set()

    async def broadcast(self, message_type: str, data: Any, exclude: Collection[str] | None = None) -> int:
        """Send a message to every client, and wait for none: a client that does not read is closed.

        Args:
            message_type: its type.
            data: what it says, as :meth:`Connection.send_message` takes it.
            exclude: ids of connections to leave out.

        Returns:
            how many clients it was sent to; one whose ``on_client_connect`` is not done is left out.

        Raises:
            ProtocolError: it is over ``max_message_size``.
            ValueError: it has a part that netconduit cannot take.
            TypeError: msgpack does not hold it.
        """
        left_out = [session for session, connection in self._sessions.items() if connection.id in exclude] if exclude else ()
        try:
            return self._native.broadcast(named_type(self._types, message_type), data, exclude=left_out)
        except MessageTooLarge as error:
            raise ProtocolError(str(error)) from error

    # What there is to see.

    @property
    def is_running(self) -> bool:
        """True if it listens."""
        return self._running

    @property
    def connection_count(self) -> int:
        """Number of clients."""
        return len(self._sessions)

    @property
    def connections(self) -> list[Connection]:
        """The clients' connections."""
        return list(self._sessions.values())

    @property
    def config(self) -> ServerDescriptor:
        """The settings."""
        return self._config

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the settings."""
        return self._config.host, self._config.port

    @property
    def response(self) -> Response:
        """Makes results."""
        return Response()

    @property
    def error(self) -> Error:
        """Makes failures."""
        return Error()

    # Inside.

    def _serve(self, function: Callable[..., object], name: str | None) -> None:
        self._native._native._methods.replace(RPCMethod(function, name))

    def _take(self, handlers: list[Callable[..., object]]) -> Callable[[Session, Received[Any]], object]:
        def take(session: Session, message: Received[Any]) -> object:
            connection = self._sessions[session]
            if len(handlers) == 1:
                return handlers[0](connection, message.value)
            return call_in_turn(handlers, connection, message.value)

        return take

    async def _interface(self) -> str:
        """Return the address to listen on."""
        family = socket.AF_INET6 if self._config.ipv6 else socket.AF_INET
        host = "::" if self._config.ipv6 and self._config.host == "0.0.0.0" else self._config.host
        found = await asyncio.get_running_loop().getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
        return str(found[0][4][0])

    def _welcome(self, session: Session) -> Awaitable[None] | None:
        connection = self._sessions[session] = Connection(session, self._types)
        return call_in_turn(self._connected, connection) if self._connected else None

    def _part(self, session: Session) -> Awaitable[None] | None:
        connection = self._sessions.pop(session)
        return call_in_turn(self._disconnected, connection) if self._disconnected else None


def _unhandled(session: Session, message: Received[Any]) -> None:
    if session._native._may_log():
        _log.warning("No handler for message type: %s", message.type.name)
