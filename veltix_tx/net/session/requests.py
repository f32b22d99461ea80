"""Pending requests and pings of one connection, each answered or failed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from veltix_tx.errors import Dropped, LocalProtocolError, RemoteError, SessionClosed, TooManyRequests, excerpt
from veltix_tx.net.session.interface import SessionTransport
from veltix_tx.net.session.reply_waiters import Reply, ReplyWaiters
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import CALL, CANCEL, MessageType, Response

__all__ = ["PendingRequests", "checked_seconds"]


_NO_IDS = "the wire has no request ids for messages: only send() works on it, and a reply is a message of its own"


def checked_seconds(given: float) -> float:
    """Return the seconds to wait for a reply.

    Raises:
        ValueError: they are no number above 0.
    """
    if not (isinstance(given, (int, float)) and given > 0):
        raise ValueError(f"timeout is {excerpt(given)}: it must be a number of seconds above 0, or math.inf")
    return given


class _Verdict(Reply):
    """Deferred of the verdict on credentials: a verdict under another request's id settles nothing."""


class PendingRequests:
    """The requests and pings of one session that wait for their replies.

    Args:
        link: the protocol below.
        connection: what messages are sent on.
        late: called for each reply to a request that was given up.
        asked: called after each question while reading is paused: far more may wait for its turn while a reply is due.
        held_up: returns how many of the peer's messages wait for a handler.

    Attributes:
        abandon: the canceller of a request's Deferred.
        default_timeout: seconds to wait for a reply where a request does not say.
        requests: those answered by a message.
        entries: the same, by request id.
        pings: those answered by a PONG. Their ids are apart.
    """

    __slots__ = (
        "_answerable",
        "_closed",
        "_connection",
        "_flow",
        "_given_up",
        "_limit",
        "_on_late_reply",
        "_on_request",
        "_transport",
        "_waiting_pings",
        "abandon",
        "default_timeout",
        "entries",
        "pings",
        "requests",
    )

    def __init__(
        self,
        link: SessionTransport,
        connection: WireConnection,
        late: Callable[[], None],
        asked: Callable[[], None],
        held_up: Callable[[], int] = lambda: 0,
    ) -> None:
        self._transport = link
        self._connection = connection
        self._flow = link.flow
        self._limit, self.default_timeout = link.limits.pending, link.timeouts.request
        self._answerable = connection.supports_requests
        self.requests = ReplyWaiters(link.clocks.uptime, link.timers, "requests", link.shared.counters, held_up)
        self.pings = ReplyWaiters(link.clocks.uptime, link.timers, "pings", link.shared.counters)
        self.abandon = self.requests.abandon
        self.entries, self._given_up = self.requests.entries, self.requests.given_up.ids
        self._waiting_pings = self.pings.entries
        self._closed: SessionClosed | None = None
        self._on_late_reply = late
        self._on_request = asked

    def __len__(self) -> int:
        return len(self.entries) + len(self._waiting_pings)

    def send(
        self,
        message_type: MessageType,
        value: object,
        timeout: float | None,
        wanted: int | None = None,
        reply: Reply | None = None,
    ) -> Deferred[Any]:
        """Send a request.

        Args:
            message_type: its type.
            value: its content, as :meth:`WireConnection.send` takes it.
            timeout: seconds to wait for the reply; ``timeouts.request`` by default.
            wanted: its id, where that can be had.
            reply: the Deferred to fire, made with :attr:`abandon`; a plain one by default.

        Returns:
            a Deferred of the reply. It fails at once, nothing having been sent, with SessionClosed,
            TooManyRequests, and what sending raises.

        Raises:
            ValueError: the timeout is no number above 0.
        """
        flow, connection = self._flow, self._connection
        seconds = self.default_timeout if timeout is None else checked_seconds(timeout)
        try:
            if self._closed is not None or len(self.entries) + len(self._waiting_pings) >= self._limit:
                self._check_admitted()
            request_id = connection.allocate_id(self.entries, wanted, self.requests.given_up)
            if not (self._answerable or message_type is CALL):
                raise LocalProtocolError(_NO_IDS)
            if flow.blocked:
                buffers = connection.encode(message_type, value, request_id)
                size = sum(map(len, buffers))
                flow.check_can_send(size)
                connection.send_encoded(buffers)
            else:
                size = connection.send(message_type, value, request_id)
        except TooManyRequests as error:
            self._transport.shared.counters["requests_refused"] += 1
            return fail(error)
        except (SessionClosed, LocalProtocolError) as error:
            return fail(error)
        except Dropped as error:
            self._transport.shared.counters["messages_dropped"] += 1
            return fail(error)
        answer = self.requests.add(request_id, seconds, reply)
        self._transport.sent(size)
        if flow.pause_reasons:
            self._on_request()
        return answer

    def ping(self, timeout: float | None) -> Deferred[Any]:
        """Send a ping; returns, fails and raises as :meth:`send`."""
        connection = self._connection
        seconds = self.default_timeout if timeout is None else checked_seconds(timeout)
        try:
            self._check_admitted()
            if not connection.supports_ping:
                connection.send_ping(None)  # says what the wire has in place of pings
            if self._flow.blocked:
                self._flow.check_can_send(connection.overhead)
            request_id = connection.allocate_id(self._waiting_pings, None, self.pings.given_up)
            connection.send_ping(request_id)
        except TooManyRequests as error:
            self._transport.shared.counters["requests_refused"] += 1
            return fail(error)
        except (SessionClosed, LocalProtocolError) as error:
            return fail(error)
        return self._sent(self.pings.add(request_id, seconds), connection.overhead)

    def reauthenticate(self, credentials: Token | Password, timeout: float | None) -> Deferred[Any]:
        """Present new credentials: a request, whose reply is the verdict; returns, fails and raises as :meth:`send`."""
        connection = self._connection
        seconds = self.default_timeout if timeout is None else checked_seconds(timeout)
        try:
            self._check_admitted()
            request_id = connection.allocate_id(self.entries, None, self.requests.given_up)
            size = connection.reauthenticate(credentials, request_id)
        except (SessionClosed, LocalProtocolError, TooManyRequests) as error:
            return fail(error)
        return self._sent(self.requests.add(request_id, seconds, _Verdict(self.abandon)), size)

    def accepted(self, request_id: int) -> bool:
        """Take word that credentials were accepted; return False where nobody waits for that."""
        waits = self.entries.get(request_id)
        if waits is not None and isinstance(waits[0], _Verdict):
            return self.requests.settle(request_id, None)
        self.requests.came_late(request_id)
        return False

    def _check_admitted(self) -> None:
        if self._closed is not None:
            raise SessionClosed(self._closed.reason, self._closed.cause)
        if len(self.entries) + len(self._waiting_pings) >= self._limit:
            raise TooManyRequests(self._limit)

    def _sent(self, reply: Deferred[Any], size: int) -> Deferred[Any]:
        self._transport.sent(size)
        if self._flow.pause_reasons:
            self._on_request()
        return reply

    def cancel_remote(self, request_id: int) -> None:
        """Tell the peer that a call has been given up; nothing where that cannot be told any more."""
        codec = self._connection.rpc
        if self._closed is None and codec is not None and codec.cancels:
            self._transport.sent(self._connection.send(CANCEL, b"", request_id))

    def settle(self, message: Response) -> bool:
        """Give a reply to who waits, or waited, for it; return False for a message that is none."""
        request_id = message.request_id
        if self.requests.settle(request_id, message):
            return True
        if request_id not in self._given_up:
            return False
        self.requests.came_late(request_id)
        self._on_late_reply()
        return True

    def fail(self, request_id: int, error: RemoteError) -> bool:
        """Fail a request, as the peer says; return whether anyone waited for it."""
        if self.requests.settle(request_id, Failure(error)):
            return True
        self.requests.came_late(request_id)
        return False

    def fail_all(self, closed: SessionClosed) -> None:
        """Fail everything that waits, each with an error of its own, and whatever is asked from now on."""
        self._closed = closed
        for waiting in (self.requests, self.pings):
            waiting.fail_all(lambda: SessionClosed(closed.reason, closed.cause))
