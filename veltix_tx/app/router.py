"""Router: the routes and callbacks that messages and events go to."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from inspect import iscoroutinefunction
from typing import Any, Literal, TypeVar, Union, overload

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.app.allow import Allow, allows, check_allow
from veltix_tx.app.call_timing import CallTimer, TimedCall
from veltix_tx.app.middleware import Chain
from veltix_tx.disconnect import DisconnectState
from veltix_tx.errors import SessionClosed, SettingsError
from veltix_tx.interfaces import Events, IVeltixApplication
from veltix_tx.limits import check_seconds
from veltix_tx.net.awaitables import LATER, call
from veltix_tx.net.session.handler_timeouts import TimeLimited
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.handlers import IHandlerTable
from veltix_tx.net.threads import Workers
from veltix_tx.sanitize import SanitizedFailure
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import BytesLike, MessageType, R, Request, Response

__all__ = ["Answer", "Handler", "OnConnect", "OnDisconnect", "OnRecv", "Router", "ThreadAnswer"]

Handler = Callable[..., object]
H = TypeVar("H", bound=Handler)

ThreadAnswer = Union[R, BytesLike, Request[Any, Any], None]  # noqa: UP007 (mypy knows no alias of a type variable and |)
"""Result of a handler that runs in a thread, for a type whose ``reply=`` is R."""

Answer = Union[ThreadAnswer[R], Awaitable[ThreadAnswer[R]]]  # noqa: UP007
"""Result of a handler."""

_log = Logger()

_NO_ROUTE = (
    "a message of type {name} ({code}), which {session} sent, was dropped: it has no route, add one with @%s.route, or set on_recv"
)


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

    A route may be for sessions of one kind alone, as a classifier names it; it goes before the type's route for all kinds.

    Args:
        role: which of the two ways to call them.
        workers: gives the threads for routes that ask for one, when the first message comes;
            without it no route can.
        middleware: called around the handlers; none by default.

    Attributes:
        direct: type code -> a handler that is called as ``received`` is, without terms of its own; those of plugins among them.
        unhandled: messages for which there was neither a route nor ``on_recv``.
        taken: codes that no route can have, and who has them (see :class:`veltix_tx.app.plugins.Plugins`).
    """

    def __init__(self, role: Role, workers: Callable[[], Workers] | None = None, middleware: Chain | None = None) -> None:
        self.unhandled = 0
        self.taken: dict[Hashable, str] = {}
        self._workers = workers
        self._server = role is Role.SERVER
        self._middleware = middleware or Chain()
        self._routes: dict[Hashable, _Route] = {}
        self._of_kinds: dict[Hashable, dict[str, _Route]] = {}
        self.direct: dict[Hashable, Handler] = {}
        self._callbacks: dict[Events, Handler] = {}

    def register_route(
        self,
        message_type: MessageType,
        handler: Handler,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
        allow: Allow | None = None,
        kind: str | None = None,
    ) -> None:
        """Register a handler for one type.

        Args:
            message_type: the type. Where it has ``content=`` or ``reply=``, messages are decoded before the handler is called:
                it is not called for one that does not fit, and may return a value.
            handler: what handles its messages.
            concurrent: let the client's later messages go ahead while a handler's Deferred or
                coroutine is not done; by default they wait, so that one client's messages are
                handled in their order.
            thread: call it in a thread, because it may block.
            timeout: seconds for its Deferred or coroutine, ``timeouts.handler`` by default,
                ``math.inf`` for no end.
            allow: decides for each message whether the handler is called, by its session.
            kind: kind of the sessions whose messages it handles; those of every kind that has no route of its own by default.

        Raises:
            SettingsError: the type has such a route already or is none, the kind is no text, the handler or ``allow`` cannot
                be called, a coroutine function is to run in a thread or to allow, or the timeout cannot be.
        """
        _check_callable(handler)
        self.check_type(message_type, kind)
        routes, name = self._routes_of(message_type, kind)
        if name in routes:
            whose = "" if kind is None else f" for the kind {kind!r}"
            raise SettingsError("route", message_type.name, f"a type that has no route{whose} yet: unregister it first")
        if message_type.key in self.taken:
            raise SettingsError("route", message_type.name, f"a type that {self.taken[message_type.key]} does not handle")
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        if thread and (iscoroutinefunction(handler) or self._workers is None):
            raise SettingsError("thread", True, "False for a coroutine function, and for a router without workers")
        check_allow(allow)
        plain = handler
        if message_type.codec is not None or message_type.reply_codec is not None:
            plain = _with_value(handler, message_type, self._server)
            handler = _with_values(handler, message_type, self._server)
        terms = None
        if thread or concurrent or timeout is not None or allow is not None:
            terms = _Terms(concurrent, timeout, self._workers if thread else None, allow)
        routes[name] = _Route(handler, terms, plain, message_type)
        if kind is not None:
            self._of_kinds[message_type.key] = routes
        self._offer(message_type.key)

    def has_route(self, message_type: MessageType) -> bool:
        """Return True if a type has a route, be it for one kind."""
        return message_type.key in self._routes or message_type.key in self._of_kinds

    def unregister_route(self, message_type: MessageType, kind: str | None = None) -> bool:
        """Take a route back; return whether there was one."""
        routes, name = self._routes_of(message_type, kind)
        if routes.pop(name, None) is None:
            return False
        if not self._of_kinds.get(message_type.key, True):
            del self._of_kinds[message_type.key]
        self._offer(message_type.key)
        return True

    def _routes_of(self, message_type: MessageType, kind: str | None) -> tuple[dict[Any, _Route], Hashable]:
        """Return the table that has the route of a type and a kind, and the route's name in it."""
        if kind is None:
            return self._routes, message_type.key
        return self._of_kinds.get(message_type.key, {}), kind

    def _offer(self, key: Hashable) -> None:
        """Have the route of a type called directly, where it is that of all sessions and has no terms."""
        route = self._routes.get(key)
        if route is not None and route.terms is None and key not in self._of_kinds and self._server and not self._middleware.steps:
            self.direct[key] = route.handler
        else:
            self.direct.pop(key, None)

    def _find(self, key: Hashable, kind: str | None) -> _Route | None:
        """Return the route of a type for sessions of a kind."""
        of_kinds = self._of_kinds.get(key, {})
        return (None if kind is None else of_kinds.get(kind)) or self._routes.get(key)

    @property
    def types(self) -> dict[Hashable, MessageType]:
        """Types that have a route, be it for one kind, by their keys."""
        return {routes[key].type.key: routes[key].type for routes, key in self._tables()}

    def timed_handlers(self, timer: CallTimer) -> list[Callable[[], None]]:
        """Return a function for each route that has its next call timed; a route of which none is called is as fast as ever."""
        return [partial(self._time_next_call, timer, routes, key) for routes, key in self._tables()]

    def _time_next_call(self, timer: CallTimer, routes: dict[Any, _Route], key: Hashable) -> None:
        route = routes[key]
        if isinstance(route.handler, TimedCall):
            return

        def restore() -> None:
            if routes.get(key) is timed_route:  # else it was taken back meanwhile
                routes[key] = route
                if self.direct.get(route.type.key) is timed:
                    self.direct[route.type.key] = route.handler

        title = f"route {route.type.name}"
        timed, plain = (TimedCall(each, title, restore, timer) for each in (route.handler, route.plain))
        timed_route = routes[key] = replace(route, handler=timed, plain=plain)
        if self.direct.get(route.type.key) is route.handler:
            self.direct[route.type.key] = timed

    def _tables(self) -> Iterator[tuple[dict[Any, _Route], Hashable]]:
        """Yield the table that has it, and its key there, of each route."""
        yield from ((self._routes, key) for key in tuple(self._routes))
        for routes in self._of_kinds.values():
            yield from ((routes, kind) for kind in tuple(routes))

    def take(self, key: Hashable, owner: str, handler: Handler) -> None:
        """Keep the type with a key for who is no route: it is handled by a function that is called as ``received`` is."""
        self.taken[key] = owner
        if not self._middleware.steps:
            self.direct[key] = handler

    def use(self, middleware: object) -> None:
        """Call a function around all handlers, within those given before.

        Raises:
            SettingsError: it cannot be called.
        """
        self._middleware.add(middleware)
        self.direct.clear()

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

    def check_type(self, message_type: object, kind: object = None) -> None:
        """Refuse what no route can be for.

        Raises:
            SettingsError: it is no message type, or the kind is none.
            TypeError: it is a function: the decorator was used without parentheses.
        """
        if callable(message_type):
            raise self._used_bare("route", message_type, "the type of message that {} handles", "TYPE")
        if not isinstance(message_type, MessageType):
            raise SettingsError("route", message_type, "for a MessageType")
        if kind is not None and not (isinstance(kind, str) and kind):
            raise SettingsError("kind", kind, "the name of a kind, or None for all")

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
        key = message.type.key
        route = self._routes.get(key) if key not in self._of_kinds else self._find(key, session.kind)
        if self._middleware.steps:
            return self._received_through(session, message, route)
        if route is None:
            return self._received_without_route(session, message)
        terms = route.terms
        if terms is not None:
            return terms.limit(session, message, terms.begin(route.handler, session, message, self._server))
        return route.handler(session, message) if self._server else route.handler(message)

    def _received_without_route(self, session: Session, message: Response) -> object:
        handler = self._callbacks.get(Events.ON_RECV)
        if handler is None:
            self.unhandled += 1
            session._reject(message, _NO_ROUTE % ("server" if self._server else "client"))
            return None
        return handler(session, message) if self._server else handler(message)

    def _received_through(self, session: Session, message: Response, route: _Route | None) -> object:
        """Handle a message with middleware around its handler, and the terms of its route around both."""
        if route is None:
            return self._middleware.around(session, message, partial(self._received_without_route, session))
        message.type = route.type  # an open registry has one of its own for the code
        handler, terms, server = route.plain, route.terms, self._server
        if terms is None:
            own = partial(handler, session) if server else handler
            return self._middleware.around(session, message, own)
        begin = terms.begin
        result = self._middleware.around(session, message, lambda passed: begin(handler, session, passed, server))
        return terms.limit(session, message, result)

    def around(self, session: Session, message: Response, handler: Handler) -> object:
        """Handle a message of a type that is taken, with middleware around its handler."""
        return self._middleware.around(session, message, partial(handler, session))

    def handler_for(self, key: Hashable, kind: str | None = None) -> object:
        """Return the function that handles the messages of a type, of sessions of a kind, for the log."""
        route = self._find(key, kind)
        return self._callbacks.get(Events.ON_RECV) if route is None else route.handler

    def disconnected(self, session: Session, reason: SessionClosed) -> object:
        """Call a server's ``on_disconnect``; for a client's see :meth:`lost`."""
        callback = self._callbacks.get(Events.ON_DISCONNECT)
        return callback(session) if self._server and callback is not None else None

    def lost(self, state: DisconnectState, reactor: object, may_log: Callable[[], bool] = lambda: True) -> None:
        """Call a client's ``on_disconnect``, at each step of a lost or failed connection.

        Args:
            state: the step.
            reactor: the client's.
            may_log: whether the log may have one more line that the server causes.
        """
        callback = self._callbacks.get(Events.ON_DISCONNECT)
        if callback is not None:
            copy_context().run(call, reactor, callback, state).addErrback(_not_told, may_log)


_UNENCODED = (*LATER, Request)
"""Types of results that the dispatcher encodes: what is not there yet, and what has a message type of its own."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """Terms of a route that has any: concurrent, with a timeout of its own, in a thread."""

    concurrent: bool
    timeout: float | None
    workers: Callable[[], Workers] | None  # of a route in a thread
    allow: Allow | None

    def begin(self, handler: Handler, session: Session, message: Response, server: bool) -> object:
        """Call the handler, in a thread where it is to, unless the session is not allowed to."""
        if self.allow is not None and not allows(self.allow, session):
            session._forbid(message, f"a message of type {message.type.code}")
            return None
        workers = self.workers
        if workers is not None and session.is_gone:
            return None  # nobody waits for it, and once it has a thread it could not be cancelled
        arguments = (session, message) if server else (message,)
        return handler(*arguments) if workers is None else workers().run(handler, *arguments)

    def limit(self, session: Session, message: Response, result: object) -> object:
        """Return what is to come of the message, in its time; None where later messages do not wait for that."""
        if self.timeout is not None and isinstance(result, (Deferred, Coroutine, Future)):
            result = TimeLimited(self.timeout, result)
        if not self.concurrent:
            return result
        session.reply(message, result)
        return None


@dataclass(frozen=True, slots=True)
class _Route:
    """A route.

    Attributes:
        handler: what handles its messages: decodes them first, and encodes what the user's handler returns.
        terms: its terms, None for none.
        plain: the same for middleware, which passes on decoded messages, and gets results as they are.
        type: its type.
    """

    handler: Handler
    terms: _Terms | None
    plain: Handler
    type: MessageType


def _with_value(handler: Handler, message_type: MessageType, server: bool) -> Handler:
    """Return a handler whose message is decoded before it is called, and whose result is left as it is."""

    def call(session: Session | None, message: Response) -> object:
        message.type = message_type
        message._decode()
        return handler(session, message) if server else handler(message)

    return update_wrapper(call if server else partial(call, None), handler)


def _with_values(handler: Handler, message_type: MessageType, server: bool) -> Handler:
    """Return a handler whose message is decoded before it is called, and whose result is encoded."""
    codec, reply_codec, reply_class = message_type.codec, message_type.reply_codec, message_type.reply
    decode = None if codec is None else codec.decode
    encode = None if reply_codec is None else reply_codec.encode

    def call(session: Session | None, message: Response) -> object:
        message.type = message_type  # an open registry has one of its own for the code
        plain = type(message) is Response  # no other wire's: _decode() and _encode_reply() without the calls, 0.4 of 1.2 µs
        if plain and decode is not None:
            message._value = decode(message.content)
        else:
            message._decode()
        result = handler(session, message) if server else handler(message)
        if plain and encode is not None and type(result) is reply_class:
            return encode(result)
        return result if result is None or isinstance(result, _UNENCODED) else message._encode_reply(result)

    return update_wrapper(call if server else partial(call, None), handler)


def _not_told(failure: Failure, may_log: Callable[[], bool]) -> None:
    if may_log():
        _log.failure("on_disconnect failed", SanitizedFailure(failure))


def _check_callable(handler: object) -> None:
    if not callable(handler):
        raise SettingsError("handler", handler, "a function")
