"""Application in front of another: it sees each session first, and messages go past it."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.handlers import IHandlerTable, handler_table

__all__ = ["Opened"]


@implementer(IVeltixApplication, IHandlerTable)
class Opened:
    """An application whose sessions are shown to somebody before it gets them.

    Args:
        application: the application.
        opened: called with each session.
    """

    def __init__(self, application: IVeltixApplication, opened: Callable[[Session], object]) -> None:
        table = handler_table(application)
        self.received = application.received
        self.direct, self.handler_for = table.direct, table.handler_for
        self.disconnected = application.disconnected
        self._application = application
        self._opened = opened

    def connected(self, session: Session) -> object:
        """Show a session, and give it to the application."""
        self._opened(session)
        return self._application.connected(session)
