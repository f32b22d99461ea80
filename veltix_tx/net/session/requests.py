"""What one side asks its peer: requests and pings, each answered or failed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from veltix_tx.errors import LocalProtocolError, RemoteError, SessionClosed, TooManyRequests, excerpt
from veltix_tx.net.session.interface import SessionTransport
from veltix_tx.net.session.reply_waiters import Reply, ReplyWaiters
from veltix_tx.wire.messages import MessageType, Response

__all__ = ["PendingRequests", "checked_seconds"]


def checked_seconds(given: float) -> float:
    """Return the seconds to wait for a reply.

    Raises:
        ValueError: they are no number above 0.
    """
    if not (isinstance(given, (int, float)) and given > 0):
        raise ValueError(f"timeout is {excerpt(given)}: it must be a number of seconds above 0, or math.inf")
    return given


class PendingRequests:
    """The requests and pings of one session that wait for their replies.

    Args:
        link: the protocol below.
        late: called for each reply to a request that was given up.
        asked: called after each question while reading is paused: far more may wait for its turn while a reply is due.
        held_up: returns how many of the peer's messages wait for a handler.

    Attributes:
        requests: those answered by a message.
        pings: those answered by a PONG. Their ids are apart.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_flow",
        "_given_up",
        "_limit",
        "_on_late_reply",
        "_on_request",
        "_timeout",
        "_transport",
        "_waiting_pings",
        "_waiting_requests",
        "pings",
        "requests",
    )

    def __init__(
        self,
        link: SessionTransport,
        late: Callable[[], None],
        asked: Callable[[], None],
        held_up: Callable[[], int] = lambda: 0,
    ) -> None:
        self._transport = link
        self._connection = link.connection
        self._flow = link.flow
        self._limit, self._timeout = link.limits.pending, link.timeouts.request
        self.requests = ReplyWaiters(link.clocks.uptime, link.timers, "requests", link.shared.counters, held_up)
        self.pings = ReplyWaiters(link.clocks.uptime, link.timers, "pings", link.shared.counters)
        self._waiting_requests, self._given_up = self.requests.entries, self.requests.given_up.ids
        self._waiting_pings = self.pings.entries
        self._closed: SessionClosed | None = None
        self._on_late_reply = late
        self._on_request = asked

    def __len__(self) -> int:
        return len(self._waiting_requests) + len(self._waiting_pings)

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
            reply: the Deferred to fire, made with the canceller of :attr:`requests`; a plain one by default.

        Returns:
            a Deferred of the reply. It fails at once, nothing having been sent, with SessionClosed,
            TooManyRequests, and what sending raises.

        Raises:
            ValueError: the timeout is no number above 0.
        """
        flow, connection = self._flow, self._connection
        seconds = self._timeout if timeout is None else checked_seconds(timeout)
        try:
            self._check_admitted()
            request_id = connection.allocate_id(self._waiting_requests, wanted, self.requests.given_up)
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
        return self._sent(self.requests.add(request_id, seconds, reply), size)

    def ping(self, timeout: float | None) -> Deferred[Any]:
        """Send a ping; returns, fails and raises as :meth:`send`."""
        connection = self._connection
        seconds = self._timeout if timeout is None else checked_seconds(timeout)
        try:
            self._check_admitted()
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

    def _check_admitted(self) -> None:
        if self._closed is not None:
            raise SessionClosed(self._closed.reason, self._closed.cause)
        if len(self._waiting_requests) + len(self._waiting_pings) >= self._limit:
            raise TooManyRequests(self._limit)

    def _sent(self, reply: Deferred[Any], size: int) -> Deferred[Any]:
        self._transport.sent(size)
        if self._flow.pause_reasons:
            self._on_request()
        return reply

    def settle(self, message: Response) -> bool:
        """Give a reply to who waits, or waited, for it; return False for a message that is none."""
        request_id = message.request_id
        waits = self._waiting_requests.pop(request_id, None)  # as settle() does, without two calls for each reply
        if waits is not None:
            waits[0].callback(message)
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
