"""The applications ``twistd veltix`` serves without any code: echo and relay."""

from __future__ import annotations

from zope.interface import implementer

from veltix_tx.app.hub import Hub
from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.session.session import Session
from veltix_tx.wire.messages import MessageRegistry, Response

__all__ = ["Echo", "Relay"]


@implementer(IVeltixApplication)
class Echo:
    """Answers each message with its own content, whatever its type."""

    def __init__(self) -> None:
        self.types = MessageRegistry(open=True)

    def connected(self, session: Session) -> None:
        """Nothing to do."""

    def received(self, session: Session, message: Response) -> object:
        """Return the content, as the value that its wire carries."""
        return message.value

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Nothing to do."""


@implementer(IVeltixApplication)
class Relay:
    """Sends each message to all other clients, whatever its type."""

    def __init__(self) -> None:
        self.types = MessageRegistry(open=True)
        self._hub = Hub()

    def connected(self, session: Session) -> None:
        """Keep the session among those that messages go to."""
        self._hub.add(session)

    def received(self, session: Session, message: Response) -> None:
        """Pass the message on."""
        self._hub.broadcast(message.type, message.value, exclude=[session])

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Nothing to do: the hub lets go of it."""
