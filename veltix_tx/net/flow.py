"""Flow: what is written when, when reading from a peer pauses, and what becomes of a peer that does not read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from veltix_tx.errors import QueueFull
from veltix_tx.net.keepalive import Deadlines
from veltix_tx.net.listeners import Listeners
from veltix_tx.net.shared import Shared
from veltix_tx.net.sockets import is_plain, unsent, write_straight
from veltix_tx.settings import Limits, Timeouts

__all__ = ["SLOWEST", "Flow"]

_log = Logger()

_OWED = 1024 * 1024
"""Bytes of unread replies above which a peer's next requests are not read."""

SLOWEST = 8 * 1024
"""Bytes per second that a peer must read at when much waits for it, or it is given up."""

_BUFFERS = 64
"""Buffers given to the kernel in one call, far below what it takes."""

_HANDFUL = 128 * 1024
"""Bytes given to the transport at a time, which joins them into a copy of its own."""


class _Link(Protocol):
    """A connection as its flow sees it."""

    transport: Any
    deadlines: Deadlines
    unwritten: int

    @property
    def limits(self) -> Limits: ...

    @property
    def timeouts(self) -> Timeouts: ...

    @property
    def shared(self) -> Shared: ...

    @property
    def asking(self) -> bool: ...

    def write_out(self) -> None: ...

    def may_log(self) -> bool: ...

    def give_up(self) -> None: ...

    def resumed(self) -> None: ...

    def room(self) -> None: ...


@implementer(IPushProducer)
class Flow:
    """Queues what a peer does not take yet, and pauses reading while there is a reason to.

    It is the transport's producer, so that it learns when writing is blocked. What is written then,
    and what is longer than a handful at any time, waits here, the bytes of a broadcast shared with
    every other queue. Above ``limits.write_high`` bytes whoever sends is asked to wait until there are
    ``limits.write_low`` again: a producer is paused, and :meth:`when_low` does not fire. What a peer asked
    for (its replies) is counted apart, and above a mark its next requests are not read. What this side
    sends of its own accord does not pause reading: two peers that send each other much at once must go
    on reading.

    A peer that reads slower than it may, or not at all, is given up.

    Args:
        link: the connection. Its ``asking`` tells whether this side waits for a reply, its ``unwritten``
            how many bytes more are about to be written. It is told ``give_up()`` when its peer is,
            ``resumed()`` when reading goes on, and ``room()`` when messages can be handled again.
        most: bytes of unread replies that may pile up while this side waits for a reply itself.
        acknowledged: how many bytes the peer behind a transport has taken since the connection began,
            None where that is not known.

    Attributes:
        blocked: whether the transport takes nothing at present.
        queued: bytes that wait here.
        reasons: why reading is paused; none where it is not.
        full: whether so many replies are unread that no request should be handled.
        sharing: bytes of what is written next that other queues hold as well.
    """

    __slots__ = (
        "_above",
        "_acknowledged",
        "_closing",
        "_fed",
        "_link",
        "_most",
        "_owed",
        "_owed_until",
        "_plain",
        "_producing",
        "_queue",
        "_shared",
        "_source",
        "_taken",
        "_when_low",
        "blocked",
        "full",
        "queued",
        "reasons",
        "sharing",
    )

    def __init__(self, link: _Link, most: int = 0, acknowledged: Callable[[Any], int | None] = lambda _: None) -> None:
        self.queued = 0
        self.full = False
        self.sharing = 0
        self._link = link
        self._most = max(most, _OWED)
        self._acknowledged = acknowledged
        self._queue: deque[bytes | memoryview] | None = None
        self.reasons: tuple[str, ...] = ()
        self._plain = is_plain(link.transport)
        self._producing = self._closing = self._above = self.blocked = False
        self._fed = self._taken = self._shared = self._owed = self._owed_until = 0
        self._source: Any = None
        self._when_low: Listeners[None] | None = None

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return bool(self.reasons)

    @property
    def taken(self) -> int | None:
        """Bytes that the peer has taken so far, None where nothing waits for it to take more."""
        return self._progress() if self.blocked or unsent(self._link.transport) else None

    def start(self) -> None:
        """Watch the transport's write buffer."""
        self._producing = True
        self._link.transport.registerProducer(self, True)

    def stop(self) -> None:
        """Let go of the transport as soon as it has been given what waits here: it may close only then."""
        self._closing = True
        self._plain = self.full = False  # the transport closes when it has written something itself
        if self.reasons:
            # TLS closes only after it has read the peer's goodbye.
            self.reasons = ()
            self._link.transport.resumeProducing()
        if not self._queue:
            self._let_go()
        self._end_source()
        self._calm()

    def end(self) -> None:
        """Take note that nothing can be written any more."""
        self._closing = True
        self.full = self.blocked = False
        self._queue = None
        self.queued = 0
        self._account()
        self._end_source()
        self._calm()

    # Writing.

    def write(self, buffers: list[bytes], size: int, owed: int) -> None:
        """Write, now or when the transport can take it.

        Args:
            buffers: what to write.
            size: how many bytes that is.
            owed: how many of these the peer asked for. Far more may be while this side waits for a reply itself: were
                both sides to stop reading while each waits for the other's replies, neither would go on.
        """
        sharing, self.sharing = self.sharing, 0
        if not sharing and len(buffers) > 1 and size <= _HANDFUL:
            buffers = [b"".join(buffers)]  # once, for the transport and the queue alike
        if not self.blocked and size <= _HANDFUL:
            if self._plain:
                data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
                written = write_straight(self._link.transport, [data])
                if written == size:
                    return
                self._link.transport.write(data[written:])
            else:
                self._link.transport.writeSequence(buffers)
            if not self.blocked:
                return
        else:
            self._queue = self._queue or deque()
            self._queue.extend(buffers)
            self.queued += size
            self._shared += sharing
            self._feed()
            self._account()
            if self.queued > self._link.limits.write_high and not self._above:
                self._above = True
                self._link.shared.counters["writes_paused"] += 1
                self._tell("pauseProducing")
        if not self.blocked:
            return
        if owed:
            self._owed += owed
            self._owed_until = self._fed + self.queued
            if self._owed > (self._most if self._link.asking else _OWED) and not self._closing:
                self.full = True
                self.pause("replies unread")
        if (self._above or self.reasons) and "stall" not in self._link.deadlines and not self._closing:
            self._look_again()

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes, header included, would be taken."""
        waiting = self.queued + self._link.unwritten
        return not (self.blocked and waiting) or waiting + size <= self._link.limits.write_hard

    def check_room(self, size: int) -> None:
        """Raise QueueFull, and count it, where a message would not be taken."""
        if self.blocked and not self.has_room(size):
            self._link.shared.counters["queues_full"] += 1
            raise QueueFull(self.queued + self._link.unwritten, self._link.limits.write_hard)

    def when_low(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, or the connection has ended."""
        self._write_unwritten()
        if not self._above:
            return succeed(None)
        if self._when_low is None:
            self._when_low = Listeners()
        return self._when_low.wait()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for :meth:`when_low`."""
        self._write_unwritten()
        if self._above:
            yield from self.when_low().__await__()

    def _write_unwritten(self) -> None:
        if self.blocked and self._link.unwritten:
            self._link.write_out()

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
                if self._link.may_log():  # the peer has it called, by how it reads
                    _log.failure("{step} failed for {producer!r}", step=step, producer=self._source)

    def _end_source(self) -> None:
        self._tell("stopProducing")
        self._source = None

    def _calm(self) -> None:
        if self._above:
            self._above = False
            when_low, self._when_low = self._when_low, None
            if when_low is not None:
                when_low.fire(None)
            self._tell("resumeProducing")

    def _account(self) -> None:
        """Tell the budget what waits here alone."""
        self._shared = min(self._shared, self.queued)
        self._link.shared.outbound.keep(self._link, self.queued - self._shared)

    def _feed(self) -> None:
        """Give the transport what it takes."""
        while self._queue and not self.blocked:
            if not (self._plain and self._feed_straight(self._queue)):
                self._link.transport.writeSequence(self._handful(self._queue))
        if not self._queue:
            self._queue = None

    def _feed_straight(self, queue: deque[bytes | memoryview]) -> bool:
        """Write what the socket takes at once, uncopied; return False for nothing."""
        written = left = write_straight(self._link.transport, list(islice(queue, _BUFFERS)))
        self.queued -= written
        self._fed += written
        while left:
            first = queue.popleft()
            if len(first) > left:
                queue.appendleft(memoryview(first)[left:])
                break
            left -= len(first)
        return written > 0

    def _handful(self, queue: deque[bytes | memoryview]) -> list[bytes]:
        taken, size = list[bytes](), 0
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
        acknowledged = self._acknowledged(self._link.transport)
        return self._fed if acknowledged is None else acknowledged

    def _look_again(self) -> None:
        self._taken = self._progress()
        self._link.deadlines.set("stall", self._link.timeouts.stall, self._look)

    def _look(self) -> None:
        """See whether the peer has read fast enough since the last look."""
        if not self.blocked or not (self._above or self.reasons):
            return
        if self._progress() - self._taken < SLOWEST * self._link.timeouts.stall:
            self._link.give_up()
        else:
            self._look_again()

    # Reading.

    def pause(self, reason: str) -> None:
        """Stop reading until every reason is gone."""
        if not self._producing or self._closing:
            return
        if not self.reasons:
            self._link.shared.counters["reads_paused"] += 1
            self._link.transport.pauseProducing()
        if reason not in self.reasons:
            self.reasons += (reason,)

    def resume(self, reason: str) -> None:
        """Take one reason back."""
        if reason in self.reasons:
            self.reasons = tuple(each for each in self.reasons if each != reason)
            if not self.reasons:
                self._link.transport.resumeProducing()
                self._link.resumed()

    # From the transport.

    def pauseProducing(self) -> None:
        """The transport's write buffer is full."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """The transport's write buffer is empty again."""
        self.blocked, waited = False, self.queued
        self._feed()
        if waited:
            self._account()
        if self._closing:
            if not self._queue:
                self._let_go()
            return
        if self.queued <= self._link.limits.write_low:
            self._calm()
        if self._owed and self._fed >= self._owed_until:
            self._owed = 0
            self.resume("replies unread")
            if self.full:
                self.full = False
                self._link.room()
        if self.blocked or not self._producing or self._closing:
            return
        self._link.deadlines.clear("stall")
        # A transport told to close while its producer was paused (TLS, when the peer said
        # goodbye) looks at that again only when the producer is unregistered.
        self._link.transport.unregisterProducer()
        self._link.transport.registerProducer(self, True)

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._producing = False

    def _let_go(self) -> None:
        if self._producing:
            self._producing = False
            self._link.transport.unregisterProducer()
