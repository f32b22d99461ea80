"""Routes and events: which of the user's functions a message goes to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum
from inspect import iscoroutinefunction
from typing import Literal, TypeVar, overload

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.interfaces import IHandlerTable, IVeltixApplication
from veltix_tx.net.plain import PlainFailure
from veltix_tx.net.reconnect import DisconnectState
from veltix_tx.net.session import Session
from veltix_tx.net.threads import Workers
from veltix_tx.net.turns import Within
from veltix_tx.settings import check_seconds
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import MessageType, Request, Response

__all__ = ["Answer", "Events", "Handler", "OnConnect", "OnDisconnect", "OnRecv", "Router"]

Handler = Callable[..., object]
H = TypeVar("H", bound=Handler)

Answer = bytes | bytearray | memoryview | Request | None
"""Result of a handler that runs in a thread."""

_log = Logger()

_NO_ROUTE = (
    "a message of type {name} ({code}), which {session} sent, was dropped: it has no route, add one with @%s.route, or set on_recv"
)


class Events(Enum):
    """What a callback can be set for."""

    ON_RECV = "on_recv"
    ON_CONNECT = "on_connect"
    ON_DISCONNECT = "on_disconnect"


OnRecv = Literal["on_recv", Events.ON_RECV]
OnConnect = Literal["on_connect", Events.ON_CONNECT]
OnDisconnect = Literal["on_disconnect", Events.ON_DISCONNECT]


@implementer(IVeltixApplication, IHandlerTable)
class Router:
    """Sends each message to the route of its type, else to ``on_recv``.

    On a server handlers are called ``route(client, message)``, ``on_recv(client, message)``,
    ``on_connect(client)`` and ``on_disconnect(client)`` (``client.closed`` tells why); on a client,
    which has one session only, ``route(message)``, ``on_recv(message)``, ``on_connect()`` and
    ``on_disconnect(state)`` with a DisconnectState. They are plain functions, return a Deferred, or are
    coroutine functions; what a route or ``on_recv`` returns answers the message.

    Args:
        role: which of the two ways to call them.
        workers: gives the threads for routes that ask for one, when the first message comes;
            without it no route can.

    Attributes:
        direct: type code -> a handler that is called as ``received`` is, without terms of its own; those of plugins among them.
        unhandled: messages for which there was neither a route nor ``on_recv``.
        taken: codes that no route can have, and who has them (see :class:`veltix_tx.app.plugins.Plugins`).
    """

    def __init__(self, role: Role, workers: Callable[[], Workers] | None = None) -> None:
        self.unhandled = 0
        self.taken: dict[int, str] = {}
        self._workers = workers
        self._server = role is Role.SERVER
        self._routes: dict[int, tuple[Handler, _Terms | None]] = {}
        self.direct: dict[int, Handler] = {}
        self._callbacks: dict[Events, Handler] = {}

    def register_route(
        self,
        message_type: MessageType,
        handler: Handler,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Register a handler for one type.

        Args:
            message_type: the type.
            handler: what handles its messages.
            concurrent: let the client's later messages go ahead while a handler's Deferred or
                coroutine is not done; by default they wait, so that one client's messages are
                handled in their order.
            thread: call it in a thread, because it may block.
            timeout: seconds for its Deferred or coroutine, ``timeouts.handler`` by default,
                ``math.inf`` for no end.

        Raises:
            SettingsError: the type has a route already or is none, the handler cannot be called, a
                coroutine function is to run in a thread, or the timeout cannot be.
        """
        _check_callable(handler)
        self.check_type(message_type)
        if self.has_route(message_type):
            raise SettingsError("route", message_type.name, "a type that has no route yet: unregister it first")
        if message_type.code in self.taken:
            raise SettingsError("route", message_type.name, f"a type that {self.taken[message_type.code]} does not handle")
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        if thread and (iscoroutinefunction(handler) or self._workers is None):
            raise SettingsError("thread", True, "False for a coroutine function, and for a router without workers")
        terms = None
        if thread or concurrent or timeout is not None:
            terms = _Terms(concurrent, timeout, self._workers if thread else None)
        self._routes[message_type.code] = (handler, terms)
        if self._server and terms is None:
            self.direct[message_type.code] = handler

    def has_route(self, message_type: MessageType) -> bool:
        """Whether a type has a route."""
        return message_type.code in self._routes

    def unregister_route(self, message_type: MessageType) -> bool:
        """Take a route back; return whether there was one."""
        if self._routes.pop(message_type.code, None) is None:
            return False
        self.direct.pop(message_type.code, None)
        return True

    @overload
    def set_callback(self, event: Events | str) -> Callable[[H], H]: ...
    @overload
    def set_callback(self, event: Events | str, callback: H) -> H: ...
    def set_callback(self, event: Events | str, callback: H | None = None) -> H | Callable[[H], H]:
        """Set the callback of an event, in place of an earlier one; without a callback, return a decorator.

        Raises:
            SettingsError: there is no such event.
        """
        known = self.event(event)

        def register(handler: H) -> H:
            _check_callable(handler)
            self._callbacks[known] = handler
            return handler

        return register if callback is None else register(callback)

    def check_type(self, message_type: object) -> None:
        """Refuse what no route can be for.

        Raises:
            SettingsError: it is no message type.
            TypeError: it is a function: the decorator was used without parentheses.
        """
        if callable(message_type):
            raise self._used_bare("route", message_type, "the type of message that {} handles", "TYPE")
        if not isinstance(message_type, MessageType):
            raise SettingsError("route", message_type, "for a MessageType")

    def event(self, event: object) -> Events:
        """Return an event by its name.

        Raises:
            SettingsError: there is no such event.
            TypeError: it is a function: the decorator was used without parentheses.
        """
        if callable(event):
            raise self._used_bare("set_callback", event, "the event that {} is called for", f'"{Events.ON_CONNECT.value}"')
        try:
            return Events(event)
        except ValueError:
            raise SettingsError("event", event, " or ".join(each.value for each in Events)) from None

    def _used_bare(self, decorator: str, function: object, need: str, example: str) -> TypeError:
        """Return the error of a decorator that was used without parentheses."""
        needed = need.format(getattr(function, "__name__", repr(function)))  # a callable object has no name
        written = f"@{'server' if self._server else 'client'}.{decorator}"
        return TypeError(f"{decorator} needs {needed}: write {written}({example}), not {written}")

    def connected(self, session: Session) -> object:
        """Call ``on_connect``."""
        callback = self._callbacks.get(Events.ON_CONNECT)
        if callback is None:
            return None
        return callback(session) if self._server else callback()

    def received(self, session: Session, message: Response) -> object:
        """Call the route of the message's type, else ``on_recv``."""
        handler, terms = self._routes.get(message.type.code) or (self._callbacks.get(Events.ON_RECV), None)
        if handler is None:
            self.unhandled += 1
            session.reject(message, _NO_ROUTE % ("server" if self._server else "client"))
            return None
        if terms is not None:
            return terms.call(handler, session, message, (session, message) if self._server else (message,))
        return handler(session, message) if self._server else handler(message)

    def handler_for(self, key: int) -> object:
        """Return the function that handles the messages of a type, for the log."""
        handler, _ = self._routes.get(key) or (self._callbacks.get(Events.ON_RECV), None)
        return handler

    def disconnected(self, session: Session, reason: SessionClosed) -> object:
        """Call a server's ``on_disconnect``; for a client's see :meth:`lost`."""
        callback = self._callbacks.get(Events.ON_DISCONNECT)
        return callback(session) if self._server and callback is not None else None

    def lost(self, state: DisconnectState, may_log: Callable[[], bool] = lambda: True) -> None:
        """Call a client's ``on_disconnect``, at each step of a lost or failed connection.

        Args:
            state: the step.
            may_log: whether the log may have one more line that the server causes.
        """
        callback = self._callbacks.get(Events.ON_DISCONNECT)
        if callback is not None:
            copy_context().run(maybeDeferred, callback, state).addErrback(_not_told, may_log)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a route asked for."""

    concurrent: bool
    timeout: float | None
    workers: Callable[[], Workers] | None  # of a route in a thread

    def call(self, handler: Handler, session: Session, message: Response, arguments: tuple[object, ...]) -> object:
        workers = self.workers
        if workers is not None and session.is_gone:
            return None  # nobody waits for it, and once it has a thread it could not be cancelled
        result = handler(*arguments) if workers is None else workers().run(handler, *arguments)
        if self.timeout is not None and isinstance(result, (Deferred, Coroutine)):
            result = Within(self.timeout, result)
        if not self.concurrent:
            return result
        session.answer(message, result)
        return None


def _not_told(failure: Failure, may_log: Callable[[], bool]) -> None:
    if may_log():
        _log.failure("on_disconnect failed", PlainFailure(failure))


def _check_callable(handler: object) -> None:
    if not callable(handler):
        raise SettingsError("handler", handler, "a function")
