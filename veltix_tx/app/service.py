"""Base of both doors: a Service with an application, made of routes and callbacks or given whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from random import Random
from threading import get_ident
from typing import Any, TypeVar, overload

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from veltix_tx.app.allow import Allow
from veltix_tx.app.middleware import Chain, Middleware
from veltix_tx.app.plugins import Plugin, Plugins, name_of
from veltix_tx.app.router import Handler, Router
from veltix_tx.app.rpc import Methods
from veltix_tx.errors import SettingsError
from veltix_tx.interfaces import Events, IVeltixApplication, IVeltixPlugin
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.session.outgoing import BeforeSend
from veltix_tx.net.session.session import Session
from veltix_tx.net.session.signatures import methods_of
from veltix_tx.net.shared.application import Application
from veltix_tx.net.threads import OwnerThread, Workers, at_home, from_any_thread, is_running
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry, MessageType, Request

__all__ = ["RoutedService"]

H = TypeVar("H", bound=Handler)
F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M", bound=Middleware[Session])
B = TypeVar("B", bound=Callable[[Session, Request], Request | None])


class RoutedService(Service):
    """A Service whose messages go to routes and callbacks, or to an application of the user's.

    Args:
        role: how handlers are called, see :class:`Router`.
        application: in place of routes and callbacks.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        random: for ids.

    Its public methods may be called in any thread, see :func:`~veltix_tx.net.threads.from_any_thread`.

    """

    config: Any  # a ServerConfig or a ClientConfig

    def __init__(
        self,
        role: Role,
        application: IVeltixApplication | Application[Session] | None,
        types: MessageRegistry | None,
        reactor: IReactorTime | Clocks | None,
        random: Random | None,
    ) -> None:
        self._given = reactor
        self._home: OwnerThread | None = None
        self._made_in = get_ident()
        self._worker_pool: Workers | None = None
        middleware = Chain()
        self._router = Router(role, lambda: self._workers, middleware) if application is None else None
        self._application: IVeltixApplication = self._router or application  # type: ignore[assignment]
        own_types: MessageRegistry = getattr(application, "types", PROCESS_TYPES)
        self._types = own_types if types is None else types
        self._methods = Methods(lambda: self._workers, middleware)
        self._before_send: tuple[BeforeSend, ...] = ()
        self._random = random or Random()
        self._plugins = Plugins(self._application, self._types)  # stands in for the application once there is one

    @property
    def reactor(self) -> IReactorTime:
        """Reactor of the server or client (the clock of a test), for ``deferLater`` and the like; settable before it is in use.

        It is the global reactor where none was given, from the first look on. It takes Clocks, too, and None for the global one.

        Raises:
            SettingsError: it is set while sessions may come or are left.
        """
        return self._clocks.reactor

    @reactor.setter
    def reactor(self, reactor: IReactorTime | Clocks | None) -> None:
        if reactor is not self._given:
            if self._in_use:
                raise SettingsError("reactor", reactor, "set before the server listens or the client connects, or after its end")
            self._given, self._home = reactor, None

    @property
    def _owner_thread(self) -> OwnerThread | None:
        """The thread it belongs to, its reactor's; None before it listens or connects, unless the reactor runs already."""
        if self._home is None:
            given = self._given
            reactor = given.reactor if isinstance(given, Clocks) else given or sys.modules.get("twisted.internet.reactor")
            return self._settle() if reactor is not None and is_running(reactor) else None
        return self._home

    @property
    def router(self) -> Router:
        """The routes and callbacks.

        Raises:
            SettingsError: there is an application in their place.
        """
        if self._router is None:
            raise SettingsError("application", self._application, "None for routes and callbacks to be used")
        return self._router

    @from_any_thread
    def unregister_route(self, message_type: MessageType, kind: str | None = None) -> bool:
        """Take a route back, that of all kinds or of one; return whether there was one."""
        return self.router.unregister_route(message_type, kind)

    @from_any_thread
    def use(self, middleware: M) -> M:
        """Call a function around all handlers, before listening or connecting; a decorator.

        It is called ``middleware(session, message, next)``, whatever the message's type, with a route or none, calls of methods
        among them (whose ``message.value`` is a :class:`~veltix_tx.wire.rpc.Call`). ``await next(message)`` calls what is within,
        in the end the handler, and returns the handler's result or raises its error. What the function returns, or what its
        Deferred or coroutine comes to, answers the message as a handler's result does. So it may pass on another message
        (``dataclasses.replace(message, content=...)``; a call goes on as it came), answer by itself, or raise
        :class:`~veltix_tx.errors.Dropped` to drop the message, RpcError to refuse it, or any other error, as a handler may. The
        time that the handler's route grants is for all of them together.

        It may be a generator function of ``(session, message)``, asynchronous or not, that yields once: ``result = yield`` calls
        what is within, ``yield message`` with another message. The handler's error is raised there. What a plain generator returns
        answers the message, unless it is None.

        The first function is around all others.

        Raises:
            SettingsError: it cannot be called, there is an application in place of routes, or the server listens or the client
                connects already.
        """
        self._check_unused("use", middleware)
        self.router.use(middleware)
        return middleware

    @from_any_thread
    def before_send(self, hook: B) -> B:
        """Call a function with each message before it is sent, before listening or connecting; a decorator.

        It is called ``hook(session, message)`` with a Request for all that is sent, answered and broadcast, calls of methods and
        their results apart; the value of an answer is encoded by then, where its type has a ``reply=``. It returns a Request
        whose type and content are sent in place of the message's, or None for the message itself. It may raise
        :class:`~veltix_tx.errors.Dropped` to drop the message, which only ``send_and_wait`` is told, or any other error to
        refuse it: whoever sends gets it, and for an answer it is the handler's. A broadcast leaves that session out. It is a
        plain function: sending waits for nothing. Messages of a room with a history are the same for all its members: they are not
        shown to it.

        Several are called in the order of their registration. With any, a broadcast is encoded for each session anew.

        Raises:
            SettingsError: it cannot be called, is a coroutine function, or the server listens or the client connects already.
        """
        self._check_unused("before_send", hook)
        if not callable(hook) or iscoroutinefunction(hook):
            raise SettingsError("before_send", hook, "a plain function of a session and a message")
        self._before_send = (*self._before_send, hook)
        return hook

    @overload
    def rpc(self, function: F, /) -> F: ...
    @overload
    def rpc(
        self,
        name: str | None = None,
        /,
        *,
        thread: bool = ...,
        concurrent: bool = ...,
        timeout: float | None = ...,
        allow: Allow | None = ...,
    ) -> Callable[[F], F]: ...
    def rpc(self, function: Any = None, /, **terms: Any) -> Any:
        """Serve a function as a method that the other side calls by name; a decorator, with or without arguments.

        The types of its parameters are checked before it is called. A parameter annotated ``Session`` gets the caller's, one
        annotated ``CallContext`` the call's deadline and metadata. What it returns, or what its Deferred or coroutine comes to, is
        the result. It raises RpcError for an error that the caller is to get as it is; of any other the caller learns only that
        there was one.

        Args:
            function: the function, or the method's name where that is another than the function's.
            terms: ``thread``, ``concurrent``, ``timeout`` and ``allow`` as :meth:`register_rpc` has them.

        Raises:
            SettingsError: as :meth:`register_rpc`.
        """
        if callable(function):
            self.register_rpc(function, **terms)
            return function

        def register(served: F) -> F:
            self.register_rpc(served, function, **terms)
            return served

        return register

    @from_any_thread
    def register_rpc(
        self,
        function: Callable[..., object],
        name: str | None = None,
        *,
        thread: bool = False,
        concurrent: bool = True,
        timeout: float | None = None,
        allow: Allow | None = None,
    ) -> None:
        """Serve a function as a method.

        Args:
            function: a function, coroutine function or one that returns a Deferred. Its annotations are the types of its
                arguments, which are checked before it is called; a parameter without one takes anything.
            name: the method's name; the function's by default.
            thread: call it in a thread, because it may block.
            concurrent: let the caller's later messages go ahead while its Deferred or coroutine is not done.
            timeout: seconds for its Deferred or coroutine, ``timeouts.handler`` by default, ``math.inf`` for no end.
            allow: a plain function: the method serves only sessions for which ``allow(session)`` is True; others are told that it
                is ``forbidden``. An exception, and anything else than True, forbids.

        Raises:
            SettingsError: the name is taken, reserved or too long, the function cannot be called, has ``*args`` or
                ``**kwargs`` or annotations that cannot be looked up or sent, or is a coroutine function for a thread or to allow.
        """
        self._methods.register(function, name, thread=thread, concurrent=concurrent, timeout=timeout, allow=allow)

    @from_any_thread
    def register_service(self, service: object, *, prefix: str = "") -> None:
        """Serve the public methods of an object, each under ``prefix`` and its name; all of them or, where one cannot be, none.

        Raises:
            SettingsError: as :meth:`register_rpc`.
        """
        registered: list[str] = []
        try:
            for name, method in methods_of(service).items():
                self.register_rpc(method, prefix + name)
                registered.append(prefix + name)
        except SettingsError:
            for name in registered:
                self.unregister_rpc(name)
            raise

    @from_any_thread
    def unregister_rpc(self, name: str) -> bool:
        """Serve a method no more; return whether there was one."""
        return self._methods.unregister(name)

    @property
    def plugins(self) -> list[IVeltixPlugin]:
        """The plugins, in the order of their registration."""
        return list(self._plugins)

    @from_any_thread
    def register_plugin(
        self, plugin: IVeltixPlugin | Plugin, *, grant: Iterable[Events | str] | None = None
    ) -> Mapping[str, MessageType]:
        """Add a plugin before listening or connecting; see :meth:`Plugins.register <veltix_tx.app.plugins.Plugins.register>`.

        Args:
            plugin: what to add: a Plugin, or any other object that provides IVeltixPlugin.
            grant: the events it may see, of those it asks for; all of them by default.

        Returns:
            its message types by their names.

        Raises:
            SettingsError: it is no plugin, its name is used already, it is granted what it does not
                ask for, one of its types has a route, or the server listens or the client connects already.
            MessageTypeError: a code of it cannot be, or another type has it. Then, too, nothing has changed.
        """
        self._check_unused("plugin", name_of(plugin))
        types = self._plugins.register(plugin, grant)
        self._application = self._plugins
        return types

    @from_any_thread
    def attach(self, message_type: MessageType, plugin: IVeltixPlugin | Plugin | str) -> None:
        """Attach one more type to a registered plugin; see :meth:`Plugins.attach <veltix_tx.app.plugins.Plugins.attach>`.

        Raises:
            SettingsError: the plugin is not registered, or the type has a route or a plugin.
        """
        self._plugins.attach(message_type, plugin)

    # From twisted.application.

    @at_home
    def privilegedStartService(self) -> None:
        """Start what needs privileges: nothing, for a client."""
        super().privilegedStartService()

    @from_any_thread
    def setName(self, name: str) -> None:
        """Set the name by which its parent finds it."""
        super().setName(name)

    @from_any_thread
    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join other services: it starts and stops with them."""
        super().setServiceParent(parent)

    @from_any_thread
    def disownServiceParent(self) -> Deferred[None]:
        """Leave the other services; it stops.

        Returns:
            a Deferred that fires when it has stopped.
        """
        return super().disownServiceParent()  # type: ignore[no-any-return]

    # Inside: what the doors have under public names, each with the types of its own handlers.

    @from_any_thread
    def _register(self, message_type: MessageType, handler: Handler, terms: dict[str, Any]) -> None:
        self.router.register_route(message_type, handler, **terms)

    @from_any_thread
    def _route(self, message_type: MessageType, terms: dict[str, Any]) -> Callable[[H], H]:
        self.router.check_type(message_type, terms.get("kind"))

        def register(handler: H) -> H:
            self._register(message_type, handler, terms)
            return handler

        return register

    @from_any_thread
    def _set_callback(self, event: Events | str, callback: H) -> H:
        return self.router.set_callback(event, callback)

    @from_any_thread
    def _callback(self, event: Events | str) -> Callable[[H], H]:
        known = self.router.event(event)

        def register(callback: H) -> H:
            return self._set_callback(known, callback)

        return register

    def _check_unused(self, setting: str, value: object) -> None:
        if self._in_use:
            raise SettingsError(setting, value, "registered before the server listens or the client connects, or after its end")

    def _settle(self) -> OwnerThread:
        """Return the thread it belongs to from now on."""
        if self._home is None:
            self._home = OwnerThread(self.reactor, self._made_in)
        return self._home

    @property
    def _clocks(self) -> Clocks:
        return resolve_clocks(self._given)

    @property
    def _in_use(self) -> bool:
        """True if sessions may come or are left."""
        raise NotImplementedError

    @property
    def _workers(self) -> Workers:
        reactor, most = self.reactor, self.config.max_workers
        if self._worker_pool is None or (self._worker_pool.reactor, self._worker_pool.most) != (reactor, most):
            self._worker_pool = Workers(reactor, most)
        return self._worker_pool
