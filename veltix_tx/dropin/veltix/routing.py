"""Common part of servers and clients: events, routes, and the calls of their callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

from twisted.logger import Logger

from veltix_tx.dropin.veltix.callbacks import Strand, ThreadPool
from veltix_tx.dropin.veltix.network.connection import Connection
from veltix_tx.dropin.veltix.network.request import Request, Response, id_as_int, take_side
from veltix_tx.dropin.veltix.reactor import ReactorThread, reactor_thread
from veltix_tx.errors import VeltixError
from veltix_tx.interfaces import Events
from veltix_tx.logs import Logger as VeltixLogger
from veltix_tx.net.session.session import Session
from veltix_tx.wire import messages
from veltix_tx.wire.messages import MessageType

__all__ = ["Callback", "RequestHandler", "Routed", "ask", "ping"]

_log = Logger()

Callback = Callable[..., object]
F = TypeVar("F", bound=Callback)


class RequestHandler:
    """The routes of a server or a client."""

    def __init__(self) -> None:
        self._routes: dict[int, Callback] = {}
        self._lock = Lock()

    def register_route(self, type_: MessageType, func: Callback) -> bool:
        """Register a function that handles one type of message; False, and a line in the log, if the type has one already."""
        with self._lock:
            free = type_.code not in self._routes
            if free:
                self._routes[type_.code] = func
        if free:
            return True
        _log.warn("Route for type {type!r} already registered — ignoring", type=type_)
        return False

    def unregister_route(self, type_: MessageType) -> bool:
        """Take a route back; False, and a line in the log, if there is none."""
        if self._routes.pop(type_.code, None) is not None:
            return True
        _log.warn("Route for type {type!r} not registered — ignoring", type=type_)
        return False

    def has_route(self, type_: MessageType) -> bool:
        """Return True if a type has a route."""
        return type_.code in self._routes

    def get_route(self, type_: MessageType) -> Callback | None:
        """Return the route of a type, None where there is none."""
        return self._routes.get(type_.code)


class Routed:
    """A server or a client with callbacks: ``on_recv``, ``on_connect``, ``on_disconnect`` and routes.

    Callbacks run in threads, ``max_workers`` at most at once, those of one connection one after
    another in their order.

    Args:
        max_workers: threads that run callbacks.
        server: whether it is a server.
    """

    def __init__(self, max_workers: int, *, server: bool) -> None:
        VeltixLogger.get_instance()
        take_side(server)
        self.on_recv: Callback | None = None
        self.on_connect: Callback | None = None
        self.on_disconnect: Callback | None = None
        self.request_handler = RequestHandler()
        self._thread: ReactorThread = reactor_thread()
        self._crew = ThreadPool(max_workers)
        self._silent = False

    def set_callback(self, event: Events | str, func: Callback | None) -> None:
        """Set the callback of an event, in place of an earlier one; one that is unknown is logged only.

        Args:
            event: a member of Events, or its value.
            func: a server's ``on_recv(client, response)``, ``on_connect(client)``,
                ``on_disconnect(client)``; a client's ``on_recv(response)``, ``on_connect()``,
                ``on_disconnect(state)``.
        """
        try:
            name = Events(event).value
        except ValueError:
            _log.warn("Unknown event type: {event}", event=event)
            return
        setattr(self, name, func)

    def route(self, type_: MessageType) -> Callable[[F], F]:
        """Return a decorator: its function handles one type of message, before ``on_recv``.

        A server's is called ``func(response, client)``, a client's ``func(response)``.

        Raises:
            TypeError: it is used without parentheses.
        """
        if callable(type_):
            raise TypeError("route needs a message type: write @server.route(TYPE), not @server.route")

        def register(func: F) -> F:
            self.request_handler.register_route(type_, func)
            return func

        return register

    def _strand(self, may_log: Callable[[], bool] = lambda: True) -> Strand:
        return Strand(self._crew, self._thread.reactor, may_log)

    def _put(self, strand: Strand, callback: Callback | None, *arguments: object) -> Any:
        """Queue a callback; a returned Deferred asks to wait before the next."""
        return None if callback is None or self._silent else strand.put(callback, *arguments)

    def _put_connected(self, strand: Strand, *arguments: object) -> None:
        """Queue ``on_connect``. Upstream's never ends a connection, whatever it raises: a failure here must not, either."""
        try:
            self._put(strand, self.on_connect, *arguments)
        except Exception:  # there are no more threads
            if strand.may_log():
                _log.failure("on_connect could not be called")

    def _wait_for(self, strands: Iterable[Strand], seconds: float) -> None:
        """Wait, but so long at most, until the callbacks of what has just happened have been called."""
        with suppress(VeltixError):  # the program ends
            self._thread.call(lambda: None)  # the reactor's turn in which it happened is over
        end = time.monotonic() + seconds
        for strand in strands:
            strand.wait(max(0.0, end - time.monotonic()))

    def _handle(
        self,
        strand: Strand,
        session: Session | None,
        message: messages.Response,
        routed: tuple[object, ...],
        plain: tuple[object, ...],
    ) -> Any:
        """Queue a message for its route, else for ``on_recv``."""
        route = self.request_handler.get_route(message.type)
        if route is not None:
            return self._put(strand, route, *routed)
        if self.on_recv is None and session is not None:  # the peer hears nothing, as from upstream's
            session._reject(message, "No handler registered for message of type {type!r}", reply=False)
        return self._put(strand, self.on_recv, *plain)


def ask(thread: ReactorThread, connection: Connection, request: Request, timeout: float) -> Response | None:
    """Send a request and wait for its reply; None, and a line in the log, where none comes."""
    clock = thread.reactor.seconds
    started = clock()
    session = connection.session
    try:
        if session is None:
            raise VeltixError("not connected")
        request_id = id_as_int(request.sent_by(connection.server))
        reply = thread.call(lambda: session.send_and_wait(request.type, request.content, timeout=timeout, request_id=request_id))
    except (VeltixError, TypeError, ValueError) as error:
        if connection.may_log():
            _log.warn("No response to {request}: {error}", request=request.outline, error=str(error))
        return None
    return Response.of(reply, request, (clock() - started) * 1000)


def ping(thread: ReactorThread, connection: Connection, timeout: float) -> float | None:
    """Measure a round trip in ms; None, and a line in the log, where no answer comes."""
    session = connection.session
    try:
        if session is None:
            raise VeltixError("not connected")
        measured: float = thread.call(session.ping, timeout)
    except (VeltixError, ValueError) as error:
        if connection.may_log():
            _log.warn("Ping timed out: {error}", error=str(error))
        return None
    return measured
