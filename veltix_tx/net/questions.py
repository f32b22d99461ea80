"""What one side asks its peer: requests and pings, each answered or failed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from veltix_tx.errors import RemoteError, TooManyRequests, excerpt
from veltix_tx.net.link import Link
from veltix_tx.net.waiting import Waiting
from veltix_tx.wire.messages import MessageType, Response

__all__ = ["Questions", "checked_seconds"]


def checked_seconds(given: float) -> float:
    """Return the seconds to wait for a reply.

    Raises:
        ValueError: they are no number above 0.
    """
    if not (isinstance(given, (int, float)) and given > 0):
        raise ValueError(f"timeout is {excerpt(given)}: it must be a number of seconds above 0, or math.inf")
    return given


class Questions:
    """The requests and pings of one session that wait for their replies.

    Args:
        link: the protocol below.
        header_size: bytes of a header.
        late: called for each reply to a request that was given up.

    Attributes:
        requests: those answered by a message.
        pings: those answered by a PONG. Their ids are apart.
    """

    __slots__ = ("_asked", "_connection", "_flow", "_given_up", "_header_size", "_late", "_link", "_pinged", "pings", "requests")

    def __init__(self, link: Link, header_size: int, late: Callable[[], None]) -> None:
        self._link = link
        self._connection = link.connection
        self._flow = link.flow
        self._header_size = header_size
        self.requests = Waiting(link.clocks.uptime, link.deadlines, "requests", link.shared.counters)
        self.pings = Waiting(link.clocks.uptime, link.deadlines, "pings", link.shared.counters)
        self._asked, self._given_up = self.requests.entries, self.requests.given_up
        self._pinged = self.pings.entries
        self._late = late

    def __len__(self) -> int:
        return len(self._asked) + len(self._pinged)

    def ask(
        self, waiting: Waiting, message_type: MessageType, content: bytes, seconds: float, wanted: int | None = None
    ) -> Deferred[Any]:
        """Send a question; return a Deferred of what it is settled with.

        Raises:
            TooManyRequests: as many as may wait already; nothing was sent.
            LocalProtocolError: what sending raises; nothing was sent.
        """
        link = self._link
        if len(self._asked) + len(self._pinged) >= link.limits.pending:
            link.shared.counters["requests_refused"] += 1
            raise TooManyRequests(link.limits.pending)
        size = len(content) + self._header_size
        if self._flow.blocked:
            self._flow.check_room(size)
        request_id = self._connection.fresh_id(waiting.entries, wanted)
        self._connection.send(message_type, content, request_id)
        deferred = waiting.add(request_id, seconds)
        link.sent(size)
        return deferred

    def took(self, message: Response) -> bool:
        """Give a reply to who waits, or waited, for it; return False for a message that is none."""
        request_id = message.request_id
        if request_id in self._asked:
            return self.requests.settle(request_id, message)
        if request_id not in self._given_up:
            return False
        del self._given_up[request_id]
        self._late()
        return True

    def declined(self, request_id: int, detail: bytes) -> bool:
        """Fail a request, as the peer says; return whether anyone waited for it."""
        return self.requests.settle(request_id, Failure(RemoteError(detail)))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Fail everything that waits, each with an error of its own."""
        self.requests.fail_all(error)
        self.pings.fail_all(error)
