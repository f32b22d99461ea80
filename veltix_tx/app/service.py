"""What both doors are: a Service with an application, made of routes and callbacks or given whole."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from veltix_tx.app.router import Events, Handler, Router
from veltix_tx.errors import SettingsError
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.keepalive import Clocks
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
    """

    def __init__(
        self,
        role: Role,
        application: IVeltixApplication | None,
        types: MessageRegistry | None,
        reactor: IReactorTime | Clocks | None,
        random: Random | None,
    ) -> None:
        self.reactor = reactor
        self._router = Router(role) if application is None else None
        self._application: IVeltixApplication = self._router or application  # type: ignore[assignment]
        own_types: MessageRegistry = getattr(application, "types", PROCESS_TYPES)
        self._types = own_types if types is None else types
        self._random = random or Random()

    @property
    def router(self) -> Router:
        """The routes and callbacks.

        Raises:
            SettingsError: there is an application in their place.
        """
        if self._router is None:
            raise SettingsError("application", self._application, "None for routes and callbacks to be used")
        return self._router

    def route(self, message_type: MessageType, *, concurrent: bool = False) -> Callable[[H], H]:
        """Return a decorator: its function handles one type of message.

        A server's is called ``handler(client, message)``, a client's ``handler(message)``. What it
        returns (bytes, a Request, or a Deferred or coroutine of one) answers the message. One
        peer's messages are handled one after another; with ``concurrent`` the later ones go ahead
        while this handler's Deferred or coroutine is not done.

        Raises:
            SettingsError: the type has a route already, or there is an application in place of routes.
        """
        return self.router.route(message_type, concurrent=concurrent)

    def set_callback(self, event: Events | str, callback: Handler | None = None) -> Any:
        """Set the callback of an event; without a callback, return a decorator.

        A server's are ``on_recv(client, message)``, ``on_connect(client)`` and
        ``on_disconnect(client)``; a client's ``on_recv(message)``, ``on_connect()`` and
        ``on_disconnect(reason)``. ``on_recv`` gets the messages that have no route.

        Raises:
            SettingsError: there is no such event, or there is an application in place of callbacks.
        """
        return self.router.set_callback(event, callback) if callback is not None else self.router.set_callback(event)
