"""Flow: what is written when, when reading from a peer pauses, and what becomes of a peer that does not read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from veltix_tx.net.keepalive import Deadlines
from veltix_tx.net.listeners import Listeners

__all__ = ["Flow"]

_OWED = 1024 * 1024
"""Bytes of unread replies above which a peer's next requests are not read."""

_SLOWEST = 64 * 1024
"""Bytes per second that a peer may read at without being given up."""

_HANDFUL = 128 * 1024
"""Bytes given to the transport at a time, which joins them into a copy of its own."""


@implementer(IPushProducer)
class Flow:
    """Queues what a peer does not take yet, and pauses reading while there is a reason to.

    It is the transport's producer, so that it learns when writing is blocked. From then on what is
    written waits here, the bytes of a broadcast shared with every other queue. Above ``high`` bytes
    whoever sends is asked to wait until there are ``low`` again: a producer is paused, and
    :meth:`when_low` does not fire. What a peer asked for (its replies) is counted apart, and above
    a mark its next requests are not read. What this side sends of its own accord does not pause
    reading: two peers that send each other much at once must go on reading.

    A peer that reads slower than it may, or not at all, is given up. (Twisted notices neither FIN
    nor RST while reading is paused: the same timer covers that.)

    Args:
        transport: what is written to and paused.
        deadlines: where the stall timer lives.
        stall: seconds between two looks at what a peer has read.
        stalled: what to do with one that has read too little.
        most: bytes of unread replies that may pile up while this side waits for a reply itself.
        high: bytes queued above which senders are to wait.
        low: bytes queued at which they may go on.

    Attributes:
        queued: bytes that wait here.
    """

    def __init__(
        self,
        transport: Any,
        deadlines: Deadlines,
        stall: float,
        stalled: Callable[[], None],
        most: int = 0,
        *,
        high: int = 1024 * 1024,
        low: int = 256 * 1024,
    ) -> None:
        self.queued = 0
        self._transport = transport
        self._deadlines = deadlines
        self._stall = stall
        self._stalled = stalled
        self._most = max(most, _OWED)
        self._high = high
        self._low = low
        self._queue: deque[bytes | memoryview] = deque()
        self._reasons: set[str] = set()
        self._producing = False
        self._blocked = False
        self._above = False
        self._owed = 0
        self._taken = 0
        self._source: Any = None
        self._when_low: Listeners[None] = Listeners()

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return bool(self._reasons)

    def start(self) -> None:
        """Watch the transport's write buffer."""
        self._producing = True
        self._transport.registerProducer(self, True)

    def stop(self) -> None:
        """Give the transport all there is and let go of it: it may close only then."""
        if self._queue:
            self._transport.writeSequence(list(map(bytes, self._queue)))
            self._forget()
        if self._reasons:
            # TLS closes only after it has read the peer's goodbye.
            self._reasons.clear()
            self._transport.resumeProducing()
        if self._producing:
            self._producing = False
            self._transport.unregisterProducer()
        self._end_source()

    # Writing.

    def write(self, buffers: list[bytes], size: int, owed: int, *, patient: bool = False) -> None:
        """Write, now or when the transport can take it.

        Args:
            buffers: what to write.
            size: how many bytes that is.
            owed: how many of these the peer asked for.
            patient: this side waits for a reply itself, so that far more may be owed: were both
                sides to stop reading while each waits for the other's replies, neither would go on.
        """
        if not self._blocked:
            self._transport.writeSequence(buffers)
            if not self._blocked:
                return
        else:
            self._queue.extend(buffers)
            self.queued += size
            if self.queued > self._high and not self._above:
                self._above = True
                if self._source is not None:
                    self._source.pauseProducing()
        self._owed += owed
        if self._owed > (self._most if patient else _OWED):
            self.pause("replies unread")
        if (self._above or self.paused) and "stall" not in self._deadlines:
            self._taken = 0
            self._deadlines.set("stall", self._stall, self._look)

    def when_low(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, or the connection has ended."""
        return self._when_low.wait() if self._above else succeed(None)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for :meth:`when_low`."""
        if self._above:
            yield from self.when_low().__await__()

    def feed_from(self, source: Any) -> None:
        """Pause and resume a producer as the queue fills and empties; None for none."""
        self._source = source
        if source is not None and self._above:
            source.pauseProducing()

    def end(self) -> None:
        """Take note that nothing can be written any more."""
        self._forget()
        self._end_source()

    def _forget(self) -> None:
        self._queue.clear()
        self.queued = self._owed = 0
        self._calm()

    def _calm(self) -> None:
        if self._above:
            self._above = False
            self._when_low.fire(None)
            if self._source is not None:
                self._source.resumeProducing()

    def _end_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.stopProducing()

    def _look(self) -> None:
        """See whether the peer has read fast enough since the last look."""
        if not (self._above or "replies unread" in self._reasons):
            return
        if self._taken < _SLOWEST * self._stall:
            self._stalled()
            return
        self._taken = 0
        self._deadlines.set("stall", self._stall, self._look)

    def _handful(self) -> Iterable[bytes]:
        size = 0
        while self._queue and size < _HANDFUL:
            buffer = self._queue.popleft()
            if len(buffer) > _HANDFUL:
                view = memoryview(buffer)
                self._queue.appendleft(view[_HANDFUL:])
                buffer = view[:_HANDFUL]
            size += len(buffer)
            yield bytes(buffer)
        self.queued -= size
        self._taken += size

    # Reading.

    def pause(self, reason: str) -> None:
        """Stop reading until every reason is gone."""
        if not self._producing:
            return
        if not self._reasons:
            self._transport.pauseProducing()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        """Take one reason back."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._transport.resumeProducing()

    # From the transport.

    def pauseProducing(self) -> None:
        """The transport's write buffer is full."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The transport's write buffer is empty again."""
        self._blocked = False
        while self._queue and not self._blocked:
            self._transport.writeSequence(list(self._handful()))
        if self.queued <= self._low:
            self._calm()
        if self._blocked:
            return
        self._owed = 0
        self._deadlines.clear("stall")
        self.resume("replies unread")
        if self._producing:
            # A transport told to close while its producer was paused (TLS, when the peer said
            # goodbye) looks at that again only when the producer is unregistered.
            self._transport.unregisterProducer()
            self._transport.registerProducer(self, True)

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._producing = False
