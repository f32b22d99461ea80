"""Handler tables: which of an application's functions handles which messages, asked once for all connections."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from zope.interface import implementer

from veltix_tx.errors import SettingsError
from veltix_tx.interfaces import IHandlerTable, IVeltixApplication

__all__ = ["handler_table"]


def handler_table(application: IVeltixApplication) -> IHandlerTable:
    """Return an application's handler table, an empty one where it provides none.

    Raises:
        SettingsError: its ``direct`` is not a dict.
    """
    if not IHandlerTable.providedBy(application):
        return _NoTable(application)
    table: IHandlerTable = application
    if not isinstance(table.direct, dict):
        raise SettingsError(
            "direct", table.direct, "a dict of type codes and functions, where an application provides IHandlerTable"
        )
    return table


@implementer(IHandlerTable)
class _NoTable:
    """The handler table of an application without one: ``received`` handles all messages."""

    def __init__(self, application: IVeltixApplication) -> None:
        self.direct: dict[Hashable, Callable[..., object]] = {}
        self._application = application

    def handler_for(self, key: Hashable) -> object:
        return self._application.received
