"""Handler tables: which of an application's functions handles which messages, asked once for all connections."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NoReturn, cast

from zope.interface import Attribute, Interface, implementer

from veltix_tx.errors import SettingsError
from veltix_tx.net.shared.application import Application

__all__ = ["IHandlerTable", "handler_table"]


class IHandlerTable(Interface):
    """Handlers of an application by message type, called without asking the application for each message.

    An application may provide it beside :class:`~veltix_tx.interfaces.IVeltixApplication`. It is asked once,
    when a server begins to listen or a client to connect.
    """

    direct: dict[Hashable, Callable[..., object]] = Attribute(
        """Dict of functions by type key (code, else name), called with session and message in place of ``received``, sooner, and
        returning what that does. A type that is not in it goes to ``received``. It may change, but stays the same dict."""
    )

    def handler_for(key: Hashable, kind: str | None = None) -> object:
        """Return the function that handles the messages of a type, given by its key, of sessions of a kind, for the log to name."""


def handler_table(application: Application[NoReturn]) -> IHandlerTable:
    """Return an application's handler table, an empty one where it provides none.

    Raises:
        SettingsError: its ``direct`` is not a dict.
    """
    if not IHandlerTable.providedBy(application):
        return _NoTable(application)
    table = cast(IHandlerTable, application)
    if not isinstance(table.direct, dict):
        raise SettingsError(
            "direct", table.direct, "a dict of type codes and functions, where an application provides IHandlerTable"
        )
    return table


@implementer(IHandlerTable)
class _NoTable:
    """The handler table of an application without one: ``received`` handles all messages."""

    def __init__(self, application: Application[NoReturn]) -> None:
        self.direct: dict[Hashable, Callable[..., object]] = {}
        self._application = application

    def handler_for(self, key: Hashable, kind: str | None = None) -> object:
        return self._application.received
