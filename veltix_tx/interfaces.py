"""Interfaces that users implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Interface

if TYPE_CHECKING:
    from veltix_tx.errors import SessionClosed
    from veltix_tx.net.session import Session
    from veltix_tx.wire.messages import Response

__all__ = ["IVeltixApplication"]


class IVeltixApplication(Interface):
    """What happens with the messages of sessions: what a server serves, what a client reacts with.

    The three calls of one session come in their order, never two at once: when one returns a
    Deferred or a coroutine, the next waits for it. Different sessions do not wait for each other.

    An application may have an attribute ``types``, the MessageRegistry it works with; without it
    the process-wide one is used.
    """

    def connected(session: Session) -> object:
        """Take note that a session is ready: its handshake is complete.

        A returned Deferred or coroutine holds back the session's messages until it is done.
        """

    def received(session: Session, message: Response) -> object:
        """Handle one message.

        Returns:
            bytes, the answer: sent with the message's type and request id; a Request, an answer
            of another type; None for no answer; or a Deferred or coroutine of one of these.
        """

    def disconnected(session: Session, reason: SessionClosed) -> object:
        """Take note that the session is gone and all its messages have been handled."""
