"""Interface of the application that the sessions of one server or client call."""

from __future__ import annotations

from typing import Protocol, TypeVar

from veltix_tx.errors import SessionClosed
from veltix_tx.wire.messages import Response

__all__ = ["Application"]

S_contra = TypeVar("S_contra", contravariant=True)


class Application(Protocol[S_contra]):
    """Application that sessions of one kind call; see :class:`~veltix_tx.interfaces.IVeltixApplication`."""

    def connected(self, session: S_contra, /) -> object:
        """Called for a session whose handshake is complete, before any of its messages."""

    def received(self, session: S_contra, message: Response, /) -> object:
        """Called for each message; what it returns answers it."""

    def disconnected(self, session: S_contra, reason: SessionClosed, /) -> object:
        """Called for a session that is gone, after its last message."""
