"""Connection of ``client.conn`` and ``client.socket``, to send on from any thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Literal, cast

from twisted.logger import Logger

from veltix_tx.dropin.veltix.exceptions import MessageError, RequestError
from veltix_tx.dropin.veltix.network.request import Request, id_as_int, parse_all
from veltix_tx.dropin.veltix.reactor import reactor_thread
from veltix_tx.errors import LocalProtocolError, QueueFull, SessionClosed
from veltix_tx.net.session.session import Session
from veltix_tx.net.threads import is_running
from veltix_tx.wire.messages import as_content
from veltix_tx.wire.veltix.peer import VeltixPeer

__all__ = ["Connection", "broadcast"]

_UNSENDABLE = (LocalProtocolError, TypeError, AttributeError)
"""Errors of encoding: too large, or no bytes, no type, no id."""

_log = Logger()  # is given texts, not objects: Twisted keeps thousands of events until a log begins


class Connection:
    """A connection as upstream's programs hold it.

    Args:
        session: gives the session while there is one; a client's changes when it connects again.
        may_log: whether the log may have one more line about it; asked in any thread.
        server: whether it is a server's.
    """

    def __init__(self, session: Callable[[], Session | None], may_log: Callable[[], bool], server: bool) -> None:
        self._session = session
        self.may_log = may_log
        self.server = server

    @property
    def session(self) -> Session | None:
        """The open session, if there is one. A forked child, in which its reactor does not run, has none."""
        session = self._session()
        return session if session is not None and session.closed is None and is_running(session._owner_thread.reactor) else None

    def transmit(self, request: Request) -> bool:
        """Send a message; return False, having logged why, where it cannot be sent.

        True means that it was handed to an open connection, in the order of the calls.
        """
        session = self.session
        if session is None:
            if self.may_log():
                _log.error("Cannot send {request}: not connected", request=request.outline)
            return False
        if get_ident() != session._owner_thread.thread and session.write_buffer_size > session._limits.write_high:
            reactor_thread().call(session.when_writable)  # as a socket's send() blocks; a peer that never reads is closed
        try:
            buffers = session._encode(request.type, as_content(request.content), self._answered_id(session, request))
        except _UNSENDABLE as error:
            return _unsent(request, error, self.may_log)
        return _post(session, buffers, request)

    def send(self, data: bytes) -> bool:
        """Send compiled messages; return whether all could be.

        Raises:
            MessageError: the bytes are no compiled message.
        """
        return all(self.transmit(request) for request in as_requests(data))

    def _answered_id(self, session: Session, request: Request) -> int | None:
        """Return the id to send: the newest wire has room for those of answers only."""
        size = cast(VeltixPeer, session.peer).layout.id_size
        if size < 4 and not request.answers:
            return None
        request_id = id_as_int(request.sent_by(self.server))
        return request_id if request_id < 1 << 8 * size else None

    def close(self) -> bool:
        """Close the connection; return whether it was open."""
        session = self.session
        if session is not None:
            reactor_thread().post(session.disconnect)
        return session is not None

    def settimeout(self, timeout: float | None) -> bool:
        """Do nothing: nothing waits on a socket here."""
        return True


def as_requests(data: bytes) -> list[Request]:
    """Return compiled messages as requests.

    Raises:
        MessageError: the bytes are no compiled message.
    """
    try:
        return parse_all(data)
    except RequestError as error:
        raise MessageError(f"what is sent is a compiled message: {error}") from error


def broadcast(connections: list[Connection], request: Request) -> bool:
    """Send a message on several connections, encoded once for each generation; False where it can be sent on none."""
    sessions = [session for each in connections if (session := each.session) is not None]
    try:
        content = as_content(request.content)
        one_of_each = {session._encoding_key: session for session in sessions}
        encoded = {encoding: session._encode(request.type, content) for encoding, session in one_of_each.items()}
    except _UNSENDABLE as error:
        return _unsent(request, error, connections[0].may_log if connections else reactor_thread().may_log)
    return not connections or sum([_post(session, encoded[session._encoding_key], request) for session in sessions]) > 0


def _post(session: Session, buffers: list[bytes], request: Request) -> bool:
    """Queue a write for the reactor's thread; return True if the peer reads."""
    size = sum(map(len, buffers))
    if not session.can_send(size):
        if session._may_log():
            _log.error("Not sent, the peer does not read: {request}", request=request.outline)
        return False
    reactor_thread().post(_write, session, request, *buffers, size=size)
    return True


def _write(session: Session, request: Request, *buffers: bytes) -> None:
    try:
        session._send_encoded(list(buffers))
    except (SessionClosed, QueueFull) as error:
        if session._may_log():
            _log.error("Not sent, {why}: {request}", request=request.outline, why=str(error))


def _unsent(request: Request, error: Exception, may_log: Callable[[], bool]) -> Literal[False]:
    if may_log():
        _log.error("Cannot send {request}: {error}", request=request.outline, error=str(error))
    return False
