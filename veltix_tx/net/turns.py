"""Turns: one connection's messages are handled one after another, and answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.listeners import Listeners
from veltix_tx.wire.messages import MessageType, Request, Response, as_content

if TYPE_CHECKING:
    from veltix_tx.net.link import Link
    from veltix_tx.net.session import Session

__all__ = ["MOST_CORKED", "OWN_REQUESTS_FACTOR", "Turns"]

_log = Logger()

OWN_REQUESTS_FACTOR = 16
"""How much more may wait for its turn while this side waits for a reply, which it only gets by reading."""

MOST_CORKED = 64 * 1024
"""Bytes sent while a read is handled that may wait for its end to be written."""


class Turns:
    """Calls an application for one session, one call after another.

    While a handler's Deferred or coroutine is not done, or the peer has too much to read, later
    messages wait in the inbox; when too many do, reading pauses.

    Args:
        session: whose messages these are.
        link: the protocol below.
        application: what to call.
    """

    def __init__(self, session: Session, link: Link, application: IVeltixApplication) -> None:
        self._session = session
        self._link = link
        self._application = application
        self._received = application.received
        self._connection = link.connection
        self._flow = link.flow
        self._inflight = link.limits.inflight
        self._busy = False
        self._draining = False
        self._closing = False
        self._inbox: deque[Response | SessionClosed] | None = None
        self.inbox_bytes = 0
        self._answering = 0
        self._answered_bytes = 0
        self._when_idle: Listeners[None] | None = None

    def begin(self) -> None:
        """Tell the application of the session, before any message."""
        self._call(self._application.connected, self._session)

    def take(self, message: Response) -> None:
        """Handle a message in its turn."""
        if self._closing:
            return
        if self._busy or self._flow.full:
            self._put(message)
            self.inbox_bytes += len(message.content)
            self.balance()
        else:
            self._handle(message)

    def _handle(self, message: Response) -> None:
        """Call the handler. The common case, an answer at once, costs no Deferred."""
        try:
            result = self._received(self._session, message)
            if result is None:
                return
            if isinstance(result, bytes):
                self._send(message.type, result, message.request_id)
                return
        except BaseException:  # as a Deferred does: a handler never ends a connection
            self._failed(Failure(), message)
            return
        self._wait_for(self.answer(message, result))

    def end(self, closed: SessionClosed) -> None:
        """Tell the application that the session is gone, after every message."""
        self._put(closed)
        if not self._busy:
            self._next()

    def _put(self, item: Response | SessionClosed) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(item)

    def close(self) -> None:
        """Take no further messages; those taken already are handled."""
        self._closing = True

    def when_idle(self) -> Deferred[None]:
        """Return a new Deferred that fires once every message so far has been handled and answered."""
        if self._idle:
            return succeed(None)
        if self._when_idle is None:
            self._when_idle = Listeners()
        return self._when_idle.wait()

    def answer(self, message: Response, result: object) -> Deferred[None]:
        """Answer a message with a handler's result; see :meth:`Session.answer`."""
        self._answering += 1
        if self._answering >= self._inflight:
            self.balance()
        done = _as_deferred(result).addCallback(self._reply, message)
        return done.addErrback(self._failed, message).addBoth(self._answered)

    def balance(self) -> None:
        """Pause reading while too much waits for its turn or is being answered."""
        factor = OWN_REQUESTS_FACTOR if self._session.waiting else 1
        messages, size = len(self._inbox or ()) + self._answering, self.inbox_bytes
        most, most_bytes = self._inflight * factor, self._connection.max_message_size * factor
        if messages >= most or size >= most_bytes:
            self._flow.pause("handlers busy")
        elif messages <= most // 2 and size <= most_bytes // 2:
            self._flow.resume("handlers busy")

    @property
    def _idle(self) -> bool:
        return not (self._busy or self._answering or self._inbox)

    def _call(self, step: Callable[..., object], *arguments: object) -> None:
        """Call one of the application's other methods."""

        def failed(failure: Failure) -> None:
            _log.failure("{step} failed for {session}", failure, step=step.__name__, session=self._session)

        try:
            done = _as_deferred(step(*arguments))
        except BaseException:
            failed(Failure())
            return
        self._wait_for(done.addErrback(failed))

    def _wait_for(self, done: Deferred[Any]) -> None:
        self._busy = True
        done.addBoth(self._next)

    def _next(self, _: object = None) -> None:
        self._busy = False
        self.go_on()

    def go_on(self) -> None:
        """Go on with what has waited for its turn. Called again from inside when a turn is over at once."""
        if self._draining:
            return
        self._draining = True
        while self._inbox and not (self._busy or self._flow.full):
            item = self._inbox.popleft()
            if isinstance(item, SessionClosed):
                self._call(self._application.disconnected, self._session, item)
            else:
                self.inbox_bytes -= len(item.content)
                self._handle(item)
        self._draining = False
        if self._flow.paused:
            self.balance()
        self._link.account()
        self._check_idle()

    def _reply(self, result: object, message: Response) -> None:
        if isinstance(result, Request):
            self._send(result.type, result.content, message.request_id)
        elif result is not None:
            self._send(message.type, as_content(result), message.request_id)

    def _send(self, message_type: MessageType, content: bytes, request_id: int) -> None:
        if self._session.closed is None:
            self._connection.send(message_type, content, request_id)
            if not self._link.corked:
                self._link.flush()
                return
            self._answered_bytes += len(content)
            if self._answered_bytes > MOST_CORKED:
                self._answered_bytes = 0
                self._link.write_out()

    def _failed(self, failure: Failure, message: Response) -> None:
        self._link.shared.counters["handlers_failed"] += 1
        _log.failure("the handler of {type} failed for {session}", failure, type=message.type.name, session=self._session)
        if self._session.closed is None and self._connection.send_failure(message.request_id):
            self._link.flush()

    def _answered(self, _: object) -> None:
        self._answering -= 1
        if self._flow.paused:
            self.balance()
        self._check_idle()

    def _check_idle(self) -> None:
        if self._when_idle is not None and self._idle:
            when_idle, self._when_idle = self._when_idle, None
            when_idle.fire(None)


def _as_deferred(result: object) -> Deferred[object]:
    if isinstance(result, Deferred):
        return result
    return Deferred.fromCoroutine(result) if iscoroutine(result) else succeed(result)
