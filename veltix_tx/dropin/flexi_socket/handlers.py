"""Handlers of a socket: the program's functions, by event and type of peer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from inspect import isawaitable
from typing import Any

from veltix_tx.dropin.flexi_socket.client_classifier import ClientClassifier

__all__ = ["Handler", "Handlers", "call"]

Handler = Callable[..., Any]


class Handlers:
    """Handlers of a socket.

    Attributes:
        on_connect: called with each new connection.
        on_disconnect: called with each connection that has ended.
        on_message: called with a connection and a message, by the peer's type.
        after_receive: returns in place of a received message what ``on_message`` gets, by the peer's type.
        before_send: returns in place of a message what is sent, by the peer's type.
    """

    def __init__(self) -> None:
        self.on_connect: Handler | None = None
        self.on_disconnect: Handler | None = None
        self.on_message: dict[Hashable, Handler] = {}
        self.after_receive: dict[Hashable, Handler] = {}
        self.before_send: dict[Hashable, Handler] = {}

    def kind_of(self, client_type: Hashable) -> Hashable:
        """Return the type whose handlers serve a peer: its own or, where that has none at all, the default type."""
        tables = (self.on_message, self.after_receive, self.before_send)
        return client_type if any(client_type in table for table in tables) else ClientClassifier.DEFAULT

    def message_handler(self, kind: Hashable) -> Handler | None:
        """Return what handles the messages of peers of a type: its own handler, else that of the default type."""
        return self.on_message.get(kind) or self.on_message.get(ClientClassifier.DEFAULT)


async def call(handler: Handler, *arguments: object) -> Any:
    """Call a handler, which need not be a coroutine function, and return what it returns."""
    result = handler(*arguments)
    return await result if isawaitable(result) else result
