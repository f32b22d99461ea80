"""Kinds of sessions: a classifier names each session's, by its first message or its connection; routes may be for one alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, Union, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import SessionClosed, SettingsError, excerpt
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.awaitables import LATER, as_deferred, call
from veltix_tx.net.session.handler_timeouts import Classifying, HandlerTimeout
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.handlers import IHandlerTable, handler_table
from veltix_tx.wire.messages import Response

__all__ = ["ByConnection", "Classifier", "Consumed", "Kind", "check_classifier", "classified"]

S = TypeVar("S")

Kind = Union[str, None, Awaitable[str | None]]  # noqa: UP007 (as in router.py)
"""Result of a classifier: the name of a kind, None for none, or a Deferred or coroutine of one of these."""


class Consumed(str):
    """Kind of a session whose first message was for the classifier alone: no handler gets it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ByConnection(Generic[S]):
    """Classifier that names a session's kind when its handshake is complete, before ``on_connect``.

    Attributes:
        function: called with the session, of which it may use the address, the peer of the handshake, the identity and the
            certificate; returns the kind.
    """

    function: Callable[[S], Kind]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SettingsError("classifier", self.function, "a function of a session")


Classifier = Union[Callable[[S, Response[Any]], Kind], ByConnection[S]]  # noqa: UP007
"""Names a session's kind: a function of the session and its first message, or a :class:`ByConnection`."""


def check_classifier(classifier: object) -> None:
    """Raise SettingsError for what is no :data:`Classifier`, nor None."""
    if not (classifier is None or isinstance(classifier, ByConnection) or callable(classifier)):
        raise SettingsError("classifier", classifier, "a function of a session and its first message, or a ByConnection")


def classified(application: IVeltixApplication, classifier: Classifier[Session], seconds: float) -> IVeltixApplication:
    """Return an application whose sessions have kinds.

    Args:
        application: what their messages go to then.
        classifier: names each session's kind.
        seconds: how long that may take.
    """
    if isinstance(classifier, ByConnection):
        return _AtConnect(application, classifier.function, seconds)
    return _AtFirstMessage(application, classifier, seconds)


def _checked(kind: object) -> str | None:
    if kind is not None and not (isinstance(kind, str) and kind):
        raise TypeError(f"the classifier returned {excerpt(kind)}, and not the name of a kind, or None")
    return kind


@implementer(IVeltixApplication, IHandlerTable)
class _AtFirstMessage:
    """Application whose sessions' kinds are named by their first messages. Later messages wait meanwhile as behind any handler."""

    def __init__(self, application: IVeltixApplication, classify: Callable[[Session, Response], Kind], seconds: float) -> None:
        self.direct: dict[Hashable, Callable[..., object]] = {}  # each message comes here
        self.handler_for = handler_table(application).handler_for
        self.connected, self.disconnected = application.connected, application.disconnected
        self._application = application
        self._classify = classify
        self._seconds = seconds

    def received(self, session: Session, message: Response) -> object:
        if session._classified:
            return self._application.received(session, message)
        try:
            kind = self._classify(session, message)
            if isinstance(kind, LATER):
                decision: Deferred[object] = as_deferred(kind, session._reactor).addCallback(self._name, session)
                return Classifying(self._seconds, decision)
            goes_on = self._name(kind, session)
        except BaseException:  # as a Deferred does: it refuses the session, and ends nothing else
            session._reject_unclassified(Failure())
            return None
        return self._application.received(session, message) if goes_on else None

    def _name(self, kind: object, session: Session) -> bool:
        """Name the kind; return whether handlers are to get the message."""
        session._name_kind(_checked(kind))
        return not isinstance(kind, Consumed)


@implementer(IVeltixApplication, IHandlerTable)
class _AtConnect:
    """Application whose sessions' kinds are named before ``connected``, which waits for that."""

    def __init__(self, application: IVeltixApplication, classify: Callable[[Session], Kind], seconds: float) -> None:
        table = handler_table(application)
        self.direct, self.handler_for = table.direct, table.handler_for
        self.received, self.disconnected = application.received, application.disconnected
        self._application = application
        self._classify = classify
        self._seconds = seconds

    async def connected(self, session: Session) -> None:
        reactor = cast(IReactorTime, session._reactor)
        try:
            kind = await call(reactor, self._classify, session).addTimeout(self._seconds, reactor, _late)
            session._name_kind(_checked(kind))
        except Exception:
            session._reject_unclassified(Failure())
            assert session.closed is not None
            raise SessionClosed(session.closed.reason, session.closed.cause) from None
        await call(reactor, self._application.connected, session)


def _late(result: object, seconds: float) -> NoReturn:
    raise HandlerTimeout(seconds, result if isinstance(result, Failure) else None)
