"""What both doors are: a Service with an application, made of routes and callbacks or given whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from veltix_tx.app.plugins import Plugins
from veltix_tx.app.router import Events, Handler, Router
from veltix_tx.errors import SettingsError
from veltix_tx.interfaces import IVeltixApplication, IVeltixPlugin
from veltix_tx.net.factory import resolve_clocks
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.threads import Home, Workers
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry, MessageType

__all__ = ["RoutedService"]

H = TypeVar("H", bound=Handler)


class RoutedService(Service):
    """A Service whose messages go to routes and callbacks, or to an application of the user's.

    Args:
        role: how handlers are called, see :class:`Router`.
        application: in place of routes and callbacks.
        types: the message types known; the application's, else the process-wide registry by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        random: for ids.

    Attributes:
        reactor: as given; can be changed until it is first needed.
        home: the thread it belongs to, once it has listened or connected.
    """

    config: Any  # a ServerConfig or a ClientConfig

    def __init__(
        self,
        role: Role,
        application: IVeltixApplication | None,
        types: MessageRegistry | None,
        reactor: IReactorTime | Clocks | None,
        random: Random | None,
    ) -> None:
        self.reactor = reactor
        self.home: Home | None = None
        self._staff: Workers | None = None
        self._router = Router(role, lambda: self._workers) if application is None else None
        self._application: IVeltixApplication = self._router or application  # type: ignore[assignment]
        own_types: MessageRegistry = getattr(application, "types", PROCESS_TYPES)
        self._types = own_types if types is None else types
        self._random = random or Random()
        self._plugins = Plugins(self._application, self._types)  # stands in for the application once there is one

    @property
    def router(self) -> Router:
        """The routes and callbacks.

        Raises:
            SettingsError: there is an application in their place.
        """
        if self._router is None:
            raise SettingsError("application", self._application, "None for routes and callbacks to be used")
        return self._router

    def route(
        self, message_type: MessageType, *, concurrent: bool = False, thread: bool = False, timeout: float | None = None
    ) -> Callable[[H], H]:
        """Return a decorator: its function handles one type of message.

        A server's is called ``handler(client, message)``, a client's ``handler(message)``. What it
        returns (bytes, a Request, or a Deferred or coroutine of one) answers the message. One
        peer's messages are handled one after another; with ``concurrent`` the later ones go ahead
        while this handler's Deferred or coroutine is not done.

        With ``thread`` it is a plain function that may block: it runs in a thread of the reactor's
        pool, at most ``max_workers`` of them at once, its peer's messages still one after another.
        It may use sessions, servers and clients as any handler does, but for one thing: what
        returns a Deferred elsewhere blocks there, and returns or raises what the Deferred would.

        A Deferred or coroutine that is not done after ``timeout`` seconds (``timeouts.handler`` by
        default, ``math.inf`` for no end) is cancelled and counts as failed; so is one whose connection
        has ended, which is no failure. A thread cannot be cancelled: it runs on, and what it returns then is dropped.

        Raises:
            SettingsError: the type has a route already, there is an application in place of
                routes, a coroutine function is to run in a thread, or the timeout cannot be.
        """
        router = self.router  # refuses at once where there are no routes

        def register(handler: H) -> H:
            router.register_route(message_type, handler, concurrent=concurrent, thread=thread, timeout=timeout)
            return handler

        return register

    def register_route(
        self,
        message_type: MessageType,
        handler: Handler,
        *,
        concurrent: bool = False,
        thread: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let a function handle one type of message; see :meth:`route`."""
        self.router.register_route(message_type, handler, concurrent=concurrent, thread=thread, timeout=timeout)

    def unregister_route(self, message_type: MessageType) -> bool:
        """Take a route back; return whether there was one."""
        return self.router.unregister_route(message_type)

    def set_callback(self, event: Events | str, callback: Handler | None = None) -> Any:
        """Set the callback of an event; without a callback, return a decorator.

        A server's are ``on_recv(client, message)``, ``on_connect(client)`` and
        ``on_disconnect(client)``; a client's ``on_recv(message)``, ``on_connect()`` and
        ``on_disconnect(state)``, called with a DisconnectState when the connection is lost or could
        not be made, and after each further try that fails. ``on_recv`` gets the messages that have no route.

        Raises:
            SettingsError: there is no such event, or there is an application in place of callbacks.
        """
        return self.router.set_callback(event, callback) if callback is not None else self.router.set_callback(event)

    @property
    def plugins(self) -> list[IVeltixPlugin]:
        """The plugins, in the order of their registration."""
        return list(self._plugins)

    def register_plugin(self, plugin: IVeltixPlugin, *, grant: Iterable[Events | str] | None = None) -> Mapping[str, MessageType]:
        """Add a plugin before listening or connecting; see :meth:`Plugins.register`.

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
        if self._in_use:
            name = getattr(plugin, "name", plugin)
            raise SettingsError("plugin", name, "registered before the server listens or the client connects, or after its end")
        types = self._plugins.register(plugin, grant)
        self._application = self._plugins
        return types

    def attach(self, message_type: MessageType, plugin: IVeltixPlugin | str) -> None:
        """Let a registered plugin, given as it is or by its name, handle one more type; see :meth:`Plugins.attach`.

        Raises:
            SettingsError: the plugin is not registered, or the type has a route or a plugin.
        """
        self._plugins.attach(message_type, plugin)

    @property
    def _in_use(self) -> bool:
        """Whether sessions may come or are left."""
        raise NotImplementedError

    @property
    def _workers(self) -> Workers:
        reactor, most = resolve_clocks(self.reactor).reactor, self.config.max_workers
        if self._staff is None or (self._staff.reactor, self._staff.most) != (reactor, most):
            self._staff = Workers(reactor, most)
        return self._staff
