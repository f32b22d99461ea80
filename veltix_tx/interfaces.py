"""Interfaces that users implement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from veltix_tx.errors import SessionClosed
    from veltix_tx.net.session.session import Session
    from veltix_tx.wire.messages import MessageType, Response

__all__ = ["Events", "IVeltixApplication", "IVeltixPlugin"]


class IVeltixApplication(Interface):
    """Application that the sessions of a server or a client call with their messages.

    The three calls of one session come in their order, never two at once: when one returns a
    Deferred or a coroutine, the next waits for it. Different sessions do not wait for each other.

    An application may have an attribute ``types``, the MessageRegistry it works with; without it
    the process-wide one is used. It may provide :class:`~veltix_tx.net.shared.handlers.IHandlerTable`, too.
    """

    def connected(session: Session) -> object:
        """Welcome a session whose handshake is complete.

        A returned Deferred or coroutine holds back the session's messages until it is done, and until
        then nobody else gets the session. An error, and not being done within ``timeouts.handler``,
        refuses it: it is closed, none of its messages is handled, and ``disconnected`` is not called.
        Raise :class:`~veltix_tx.errors.Rejected` to refuse it on purpose.
        """

    def received(session: Session, message: Response) -> object:
        """Handle one message.

        Returns:
            bytes that answer the message, sent with its type and request id; a value of the type's ``reply=``; a Request, an answer
            of another type; None for no answer; or a Deferred or coroutine of one of these, which is
            cancelled when it takes too long and when the connection ends.
        """

    def disconnected(session: Session, reason: SessionClosed) -> object:
        """Part with a session that ``connected`` took in: it is gone, its messages handled or their handlers cancelled."""


class IVeltixPlugin(Interface):
    """Plugin: message types of its own and their handler, brought to a server or a client that it does not know.

    It is registered with ``register_plugin``. A plugin that twistd is to find provides
    ``twisted.plugin.IPlugin``, too; :class:`~veltix_tx.Plugin` does both. The four calls
    for one session come in its turns, as an :class:`IVeltixApplication`'s do.
    """

    name: str = Attribute("""What it is called, unique on its server or client: ASCII letters, digits, ``_`` and ``-``.""")

    description: str = Attribute("""What it is for, on one line.""")

    types: Mapping[str, int | None] = Attribute(
        """The message types it handles: a name (as ``name``) -> a code from 500 to 65535, or None for one that follows from the
        two names and so is the same at both ends of a connection, see :func:`~veltix_tx.plugin_code`."""
    )

    events: Iterable[Events | str] = Attribute("""The events it asks to see. It sees those of them that it is granted.""")

    def registered(types: Mapping[str, MessageType], granted: frozenset[Events]) -> None:
        """Receive its message types, by their names in ``types``, and the events it will see.

        Called before anything else, once for each registration. An error that it raises, such as
        for an event it cannot do without, ends the registration, which then leaves no trace.
        """

    def connected(session: Session) -> object:
        """Welcome a session that is ready. Called only where ``on_connect`` is granted, before the application.

        A returned Deferred or coroutine holds back the plugins after this one, the application and
        the session's messages until it is done. An error refuses the session, as an :class:`IVeltixApplication`'s
        does: only the plugins before this one are told of its end.
        """

    def observed(session: Session, message: Response) -> object:
        """See a message that is about to be handled, by whomever. Called only where ``on_recv`` is granted.

        A returned Deferred or coroutine is not waited for, and its result is ignored.
        """

    def received(session: Session, message: Response) -> object:
        """Handle a message of one of its types, or of a type attached to it. This needs no grant.

        Returns:
            the answer, or none, as :meth:`IVeltixApplication.received` does.
        """

    def disconnected(session: Session, reason: SessionClosed) -> object:
        """Part with a session that is gone. Called only where ``on_disconnect`` is granted, after the application."""


class Events(Enum):
    """Events that a callback can be set for."""

    ON_RECV = "on_recv"
    ON_CONNECT = "on_connect"
    ON_DISCONNECT = "on_disconnect"
