"""Flow: what is written when, when reading from a peer pauses, and what becomes of a peer that does not read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from veltix_tx.net.keepalive import Deadlines
from veltix_tx.net.listeners import Listeners

__all__ = ["Flow"]

_log = Logger()

_OWED = 1024 * 1024
"""Bytes of unread replies above which a peer's next requests are not read."""

_SLOWEST = 8 * 1024
"""Bytes per second that a peer must read at when much waits for it, or it is given up."""

_HANDFUL = 128 * 1024
"""Bytes given to the transport at a time, which joins them into a copy of its own."""


@implementer(IPushProducer)
class Flow:
    """Queues what a peer does not take yet, and pauses reading while there is a reason to.

    It is the transport's producer, so that it learns when writing is blocked. What is written then,
    and what is longer than a handful at any time, waits here, the bytes of a broadcast shared with
    every other queue. Above ``high`` bytes whoever sends is asked to wait until there are ``low``
    again: a producer is paused, and :meth:`when_low` does not fire. What a peer asked for (its
    replies) is counted apart, and above a mark its next requests are not read. What this side sends
    of its own accord does not pause reading: two peers that send each other much at once must go
    on reading.

    A peer that reads slower than it may, or not at all, is given up.

    Args:
        transport: what is written to and paused.
        deadlines: where the stall timer lives.
        stall: seconds between two looks at what a peer has read.
        stalled: what to do with one that has read too little.
        most: bytes of unread replies that may pile up while this side waits for a reply itself.
        high: bytes queued above which senders are to wait.
        low: bytes queued at which they may go on.
        acknowledged: how many bytes the peer has taken since the connection began, None where that is not known.

    Attributes:
        queued: bytes that wait here.
        full: whether so many replies are unread that no request should be handled.
        on_room: called when that is over.
        on_resumed: called when reading goes on.
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
        acknowledged: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.queued = 0
        self.full = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_resumed: Callable[[], None] = lambda: None
        self._transport = transport
        self._deadlines = deadlines
        self._stall = stall
        self._stalled = stalled
        self._most = max(most, _OWED)
        self._high = high
        self._low = low
        self._acknowledged = acknowledged
        self._queue: deque[bytes | memoryview] = deque()
        self._reasons: set[str] = set()
        self._producing = False
        self._closing = False
        self._blocked = False
        self._above = False
        self._fed = 0
        self._owed = 0
        self._owed_until = 0
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
        """Let go of the transport as soon as it has been given what waits here: it may close only then."""
        self._closing = True
        self.full = False
        if self._reasons:
            # TLS closes only after it has read the peer's goodbye.
            self._reasons.clear()
            self._transport.resumeProducing()
        if not self._queue:
            self._let_go()
        self._end_source()
        self._calm()

    def end(self) -> None:
        """Take note that nothing can be written any more."""
        self._closing = True
        self.full = self._blocked = False
        self._queue.clear()
        self.queued = 0
        self._end_source()
        self._calm()

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
        if not self._blocked and size <= _HANDFUL:
            self._transport.writeSequence(buffers)
            if not self._blocked:
                return
        else:
            self._queue.extend(buffers)
            self.queued += size
            self._feed()
            if self.queued > self._high and not self._above:
                self._above = True
                self._tell("pauseProducing")
        if not self._blocked:
            return
        if owed:
            self._owed += owed
            self._owed_until = self._fed + self.queued
            if self._owed > (self._most if patient else _OWED) and not self._closing:
                self.full = True
                self.pause("replies unread")
        if (self._above or self._reasons) and "stall" not in self._deadlines and not self._closing:
            self._look_again()

    def when_low(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, or the connection has ended."""
        return self._when_low.wait() if self._above else succeed(None)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for :meth:`when_low`."""
        if self._above:
            yield from self.when_low().__await__()

    def feed_from(self, source: Any) -> None:
        """Pause and resume a producer as the queue fills and empties; None for none.

        Raises:
            RuntimeError: there is one already.
        """
        if source is not None and self._source is not None:
            raise RuntimeError(f"{source!r} cannot be registered: {self._source!r} is, and was not unregistered")
        self._source = source
        if self._above:
            self._tell("pauseProducing")

    def _tell(self, step: str) -> None:
        """Call the producer, which is the user's: what it raises must not get in our way."""
        if self._source is not None:
            try:
                getattr(self._source, step)()
            except Exception:
                _log.failure("{step} failed for {producer!r}", step=step, producer=self._source)

    def _end_source(self) -> None:
        self._tell("stopProducing")
        self._source = None

    def _calm(self) -> None:
        if self._above:
            self._above = False
            self._when_low.fire(None)
            self._tell("resumeProducing")

    def _feed(self) -> None:
        """Give the transport what it takes."""
        while self._queue and not self._blocked:
            self._transport.writeSequence(self._handful())

    def _handful(self) -> list[bytes]:
        queue, taken, size = self._queue, list[bytes](), 0
        while queue and size < _HANDFUL:
            buffer = queue.popleft()
            if len(buffer) > _HANDFUL:
                rest = memoryview(buffer)
                queue.appendleft(rest[_HANDFUL:])
                buffer = rest[:_HANDFUL]
            size += len(buffer)
            taken.append(bytes(buffer))
        self.queued -= size
        self._fed += size
        return taken

    def _progress(self) -> int:
        acknowledged = self._acknowledged()
        return self._fed if acknowledged is None else acknowledged

    def _look_again(self) -> None:
        self._taken = self._progress()
        self._deadlines.set("stall", self._stall, self._look)

    def _look(self) -> None:
        """See whether the peer has read fast enough since the last look."""
        if not self._blocked or not (self._above or self._reasons):
            return
        if self._progress() - self._taken < _SLOWEST * self._stall:
            self._stalled()
        else:
            self._look_again()

    # Reading.

    def pause(self, reason: str) -> None:
        """Stop reading until every reason is gone."""
        if not self._producing or self._closing:
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
                self.on_resumed()

    # From the transport.

    def pauseProducing(self) -> None:
        """The transport's write buffer is full."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The transport's write buffer is empty again."""
        self._blocked = False
        self._feed()
        if self._closing:
            if not self._queue:
                self._let_go()
            return
        if self.queued <= self._low:
            self._calm()
        if self._owed and self._fed >= self._owed_until:
            self._owed = 0
            self.resume("replies unread")
            if self.full:
                self.full = False
                self.on_room()
        if self._blocked or not self._producing or self._closing:
            return
        self._deadlines.clear("stall")
        # A transport told to close while its producer was paused (TLS, when the peer said
        # goodbye) looks at that again only when the producer is unregistered.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._producing = False

    def _let_go(self) -> None:
        if self._producing:
            self._producing = False
            self._transport.unregisterProducer()
