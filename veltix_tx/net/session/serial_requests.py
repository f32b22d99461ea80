"""Requests on a wire without request ids, whose replies come in order: one is on the wire, later ones wait for their turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import Dropped, LocalProtocolError, QueueFull, RemoteError, SessionClosed, TooManyRequests
from veltix_tx.net.session.interface import SessionTransport
from veltix_tx.net.session.reply_waiters import Reply, ReplyWaiters
from veltix_tx.net.session.requests import checked_seconds
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.interface import WireConnection
from veltix_tx.wire.messages import MessageType, Response

__all__ = ["SerialRequests"]


class SerialRequests:
    """The requests of one session whose peer answers them in order: its next message is the reply to the one on the wire.

    When that one is given up, the connection is closed with the reason UNANSWERED: its late reply could not be told from the
    next one. A request that is given up before its turn is never sent.

    Args:
        link: the protocol below.
        connection: what messages are sent on.
        asked: called after each request while reading is paused.
        held_up: returns how many of the peer's messages wait for a handler.

    Attributes:
        entries: empty, because replies have no ids.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_current",
        "_flow",
        "_ids",
        "_on_request",
        "_queue",
        "_queued_bytes",
        "_transport",
        "_waiters",
        "entries",
    )

    pings: ReplyWaiters | None = None

    def __init__(
        self, link: SessionTransport, connection: WireConnection, asked: Callable[[], None], held_up: Callable[[], int]
    ) -> None:
        self._transport = link
        self._connection = connection
        self._flow = link.flow
        self._on_request = asked
        self._waiters = ReplyWaiters(link.clocks.uptime, link.timers, "requests", link.shared.counters, held_up, self._given_up)
        self.entries: dict[int, tuple[Reply, float]] = {}
        self._ids = count(1)
        self._current: int | None = None  # the one on the wire
        self._queue: OrderedDict[int, list[bytes]] = OrderedDict()
        self._queued_bytes = 0
        self._closed: SessionClosed | None = None

    def __len__(self) -> int:
        return len(self._waiters.entries)

    def reauthenticate(self, credentials: Token | Password, timeout: float | None) -> Deferred[None]:
        """Return a Deferred that fails: a wire without request ids carries no new credentials."""
        return fail(LocalProtocolError("a wire without request ids carries no credentials on an open session"))

    def accepted(self, request_id: int) -> bool:
        """Return False: no credentials were presented."""
        return False

    def send(self, message_type: MessageType, value: object, timeout: float | None, wanted: int | None = None) -> Deferred[Any]:
        """Send a request, now or when those before it are answered.

        Args:
            message_type: its type.
            value: its content, as :meth:`WireConnection.send` takes it.
            timeout: seconds to wait for the reply, its turn included; ``timeouts.request`` by default.
            wanted: not used: there are no ids.

        Returns:
            a Deferred of the reply. It fails at once, nothing having been sent, with SessionClosed, TooManyRequests, QueueFull
            where more than ``limits.write_hard`` bytes wait for their turn, and what sending raises. Cancelling gives it up.

        Raises:
            ValueError: the timeout is no number above 0.
        """
        seconds = self._transport.timeouts.request if timeout is None else checked_seconds(timeout)
        request_id = next(self._ids)
        try:
            self._check_admitted()
            buffers = self._connection.encode(message_type, value)
            if self._current is None and not self._queue:
                self._write(request_id, buffers)
            else:
                self._enqueue(request_id, buffers)
        except TooManyRequests as error:
            self._transport.shared.counters["requests_refused"] += 1
            return fail(error)
        except (SessionClosed, LocalProtocolError) as error:
            return fail(error)
        except Dropped as error:
            self._transport.shared.counters["messages_dropped"] += 1
            return fail(error)
        reply = self._waiters.add(request_id, seconds)
        if self._flow.pause_reasons:
            self._on_request()
        return reply

    def ping(self, timeout: float | None) -> Deferred[Any]:
        """Fail: there are no pings on such a wire."""
        try:
            self._connection.send_ping(None)
        except LocalProtocolError as error:
            return fail(error)
        raise AssertionError("a wire with pings has request ids")

    def settle(self, message: Response) -> bool:
        """Give a message to the request on the wire, and send the next one; return False where none waits."""
        if self._current is None:
            return False
        request_id, self._current = self._current, None
        self._write_next()
        self._waiters.settle(request_id, message)
        return True

    def fail(self, request_id: int, error: RemoteError) -> bool:
        """Return False: the wire has no error replies."""
        return False

    def fail_all(self, closed: SessionClosed) -> None:
        """Fail everything that waits, each with an error of its own, and whatever is asked from now on."""
        self._closed = closed
        self._current, self._queued_bytes = None, 0
        self._queue.clear()
        self._waiters.fail_all(lambda: SessionClosed(closed.reason, closed.cause))

    def _check_admitted(self) -> None:
        if self._closed is not None:
            raise SessionClosed(self._closed.reason, self._closed.cause)
        if len(self) >= self._transport.limits.pending:
            raise TooManyRequests(self._transport.limits.pending)

    def _write(self, request_id: int, buffers: list[bytes]) -> None:
        size = sum(map(len, buffers))
        self._flow.check_can_send(size)
        self._connection.send_encoded(buffers)
        self._current = request_id
        self._transport.sent(size)

    def _enqueue(self, request_id: int, buffers: list[bytes]) -> None:
        size, most = sum(map(len, buffers)), self._transport.limits.write_hard
        if self._queue and self._queued_bytes + size > most:
            raise QueueFull(self._queued_bytes, most)
        self._queue[request_id] = buffers
        self._queued_bytes += size

    def _write_next(self) -> None:
        while self._queue and self._current is None:
            request_id, buffers = self._queue.popitem(last=False)
            self._queued_bytes -= sum(map(len, buffers))
            try:
                self._write(request_id, buffers)
            except LocalProtocolError as error:
                self._waiters.settle(request_id, Failure(error))

    def _given_up(self, request_id: int) -> None:
        self._waiters.came_late(request_id)  # its id is not drawn again
        if request_id == self._current:
            self._transport.close(SessionClosed(DisconnectReason.UNANSWERED))
        else:
            self._queued_bytes -= sum(map(len, self._queue.pop(request_id, ())))
