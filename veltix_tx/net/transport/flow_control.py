"""Flow control: the write buffer and its water marks, pauses in reading, and the cut-off of a slow reader."""

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
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Timers
from veltix_tx.net.shared.context import SharedState
from veltix_tx.net.transport.sockets import is_plain, unsent, write_straight
from veltix_tx.net.waiters import Waiters

__all__ = ["CHUNK", "MOST_UNREAD_REPLIES", "SLOWEST", "FlowControl"]

_log = Logger()

MOST_UNREAD_REPLIES = 1024 * 1024
"""Bytes of unread replies above which a peer's next requests are not read."""

SLOWEST = 8 * 1024
"""Bytes per second that a peer must read at when much waits for it, or it is given up."""

_BUFFERS = 64
"""Buffers given to the kernel in one call, far below what it takes."""

CHUNK = 128 * 1024
"""Bytes given to the transport at a time, which joins them into a copy of its own."""


class _Link(Protocol):
    """A connection as its flow sees it."""

    transport: Any
    timers: Timers
    unwritten: int

    @property
    def limits(self) -> Limits: ...

    @property
    def timeouts(self) -> Timeouts: ...

    @property
    def shared(self) -> SharedState: ...

    @property
    def awaiting_replies(self) -> bool: ...

    @property
    def most_unread_replies(self) -> int: ...

    def write_out(self) -> None: ...

    def _may_log(self) -> bool: ...

    def log_fields(self) -> dict[str, Any]: ...

    def abort_slow_reader(self) -> None: ...

    def reading_resumed(self) -> None: ...

    def resume_handling(self) -> None: ...


@implementer(IPushProducer)
class FlowControl:
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
        link: the connection. Its ``awaiting_replies`` tells whether this side waits for a reply, and its
            ``most_unread_replies`` how many bytes of replies may be unread then; its ``unwritten`` how many bytes are about to be
            written. ``abort_slow_reader()`` is called when its peer is given up, ``reading_resumed()`` when reading goes on, and
            ``resume_handling()`` when messages can be handled again.
        acknowledged: how many bytes the peer behind a transport has taken since the connection began,
            None where that is not known.

    Attributes:
        blocked: True if the transport takes nothing at present.
        queued: bytes that wait here.
        pause_reasons: why reading is paused; none where it is not.
        backlogged: True if so many replies are unread that no request should be handled.
        shared_bytes: bytes of what is written next that other queues hold as well.
    """

    __slots__ = (
        "_above_high_water",
        "_acknowledged",
        "_closing",
        "_ending",
        "_plain",
        "_producer",
        "_queue",
        "_registered",
        "_replies_end",
        "_shared",
        "_side",
        "_taken",
        "_unread_replies",
        "_when_low",
        "_written",
        "backlogged",
        "blocked",
        "pause_reasons",
        "queued",
        "shared_bytes",
    )

    def __init__(self, link: _Link, acknowledged: Callable[[Any], int | None] = lambda _: None) -> None:
        self.queued = 0
        self.backlogged = False
        self.shared_bytes = 0
        self._side = link
        self._acknowledged = acknowledged
        self._queue: deque[bytes | memoryview] | None = None
        self.pause_reasons: tuple[str, ...] = ()
        self._plain = is_plain(link.transport)
        self._registered = self._closing = self._ending = self._above_high_water = self.blocked = False
        self._written = self._taken = self._shared = self._unread_replies = self._replies_end = 0
        self._producer: Any = None
        self._when_low: Waiters[None] | None = None

    @property
    def paused(self) -> bool:
        """True if reading is paused."""
        return bool(self.pause_reasons)

    @property
    def bytes_taken(self) -> int | None:
        """Bytes that the peer has taken so far, None where nothing waits for it to take more."""
        return self._progress() if self.blocked or unsent(self._side.transport) else None

    def start(self) -> None:
        """Watch the transport's write buffer."""
        self._registered = True
        self._side.transport.registerProducer(self, True)

    def stop(self) -> None:
        """Unregister from the transport as soon as it has been given what waits here: it may close only then."""
        self._closing = True
        self._plain = self.backlogged = False  # the transport closes when it has written something itself
        if self.pause_reasons:
            # TLS closes only after it has read the peer's goodbye.
            self.pause_reasons = ()
            self._side.transport.resumeProducing()
        if not self._queue:
            self._unregister()
        self._release_producer()
        self._leave_high_water()

    def end_stream(self) -> None:
        """Let go of the transport as above, because it is to end its stream; the peer is still watched."""
        self._ending = True
        self._plain = False  # as in stop()
        if not self._queue:
            self._unregister()

    def end(self) -> None:
        """Drop what waits: nothing can be written any more."""
        self._closing = True
        self.backlogged = self.blocked = False
        if self._queue is not None:
            self._queue = None
            self.queued = 0
            self._charge()
        self._release_producer()
        self._leave_high_water()

    # Writing.

    def write(self, buffers: list[bytes], size: int, owed: int) -> None:
        """Write, now or when the transport can take it.

        Args:
            buffers: what to write.
            size: how many bytes that is.
            owed: how many of these the peer asked for. Far more may be while this side waits for a reply itself: were
                both sides to stop reading while each waits for the other's replies, neither would go on.
        """
        sharing, self.shared_bytes = self.shared_bytes, 0
        if not sharing and len(buffers) > 1 and size <= CHUNK:
            buffers = [b"".join(buffers)]  # once, for the transport and the queue alike
        if not self.blocked and size <= CHUNK:
            if self._plain:
                data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
                written = write_straight(self._side.transport, [data])
                if written == size:
                    return
                self._side.transport.write(data[written:])
            else:
                self._side.transport.writeSequence(buffers)
            if not self.blocked:
                return
        else:
            self._queue = self._queue or deque()
            self._queue.extend(buffers)
            self.queued += size
            self._shared += sharing
            self._fill_transport()
            self._charge()
            if self.queued > self._side.limits.write_high and not self._above_high_water:
                self._above_high_water = True
                self._side.shared.counters["writes_paused"] += 1
                self._notify_producer("pauseProducing")
        if not self.blocked:
            return
        if owed:
            self._unread_replies += owed
            self._replies_end = self._written + self.queued
            most = MOST_UNREAD_REPLIES
            if self._side.awaiting_replies:
                most = max(most, self._side.most_unread_replies)
            if self._unread_replies > most and not self._closing:
                self.backlogged = True
                self.pause("replies unread")
        if (self._above_high_water or self.pause_reasons) and "write" not in self._side.timers and not self._closing:
            self._watch_progress()

    def can_send(self, size: int) -> bool:
        """Return True if a message of so many bytes, header included, would be taken."""
        waiting = self.queued + self._side.unwritten
        return not (self.blocked and waiting) or waiting + size <= self._side.limits.write_hard

    def check_can_send(self, size: int) -> None:
        """Raise QueueFull, and count it, where a message would not be taken."""
        if self.blocked and not self.can_send(size):
            self._side.shared.counters["queues_full"] += 1
            raise QueueFull(self.queued + self._side.unwritten, self._side.limits.write_hard)

    def when_low(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, or the connection has ended."""
        self._write_unwritten()
        if not self._above_high_water:
            return succeed(None)
        if self._when_low is None:
            self._when_low = Waiters()
        return self._when_low.wait()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for :meth:`when_low`."""
        self._write_unwritten()
        if self._above_high_water:
            yield from self.when_low().__await__()

    def _write_unwritten(self) -> None:
        if self.blocked and self._side.unwritten:
            self._side.write_out()

    def set_producer(self, source: Any) -> None:
        """Pause and resume a producer as the queue fills and empties; None for none.

        Raises:
            RuntimeError: there is one already.
        """
        if source is not None and self._producer is not None:
            raise RuntimeError(f"{source!r} cannot be registered: {self._producer!r} is, and was not unregistered")
        self._producer = source
        if self._above_high_water:
            self._notify_producer("pauseProducing")

    def _notify_producer(self, step: str) -> None:
        """Call the producer, which is the user's: what it raises must not get in our way."""
        if self._producer is not None:
            try:
                getattr(self._producer, step)()
            except Exception:
                if self._side._may_log():  # the peer has it called, by how it reads
                    text = "{step} failed for {producer!r}, which sends to {peer} ({connection})"
                    _log.failure(text, step=step, producer=self._producer, **self._side.log_fields())

    def _release_producer(self) -> None:
        self._notify_producer("stopProducing")
        self._producer = None

    def _leave_high_water(self) -> None:
        if self._above_high_water:
            self._above_high_water = False
            when_low, self._when_low = self._when_low, None
            if when_low is not None:
                when_low.fire(None)
            self._notify_producer("resumeProducing")

    def _charge(self) -> None:
        """Charge the send budget with the bytes that wait here alone."""
        self._shared = min(self._shared, self.queued)
        self._side.shared.send_budget.charge(self._side, self.queued - self._shared)

    def _fill_transport(self) -> None:
        """Give the transport what it takes."""
        while self._queue and not self.blocked:
            if not (self._plain and self._write_to_socket(self._queue)):
                self._side.transport.writeSequence(self._next_chunk(self._queue))
        if not self._queue:
            self._queue = None

    def _write_to_socket(self, queue: deque[bytes | memoryview]) -> bool:
        """Write what the socket takes at once, uncopied; return False for nothing."""
        written = left = write_straight(self._side.transport, list(islice(queue, _BUFFERS)))
        self.queued -= written
        self._written += written
        while left:
            first = queue.popleft()
            if len(first) > left:
                queue.appendleft(memoryview(first)[left:])
                break
            left -= len(first)
        return written > 0

    def _next_chunk(self, queue: deque[bytes | memoryview]) -> list[bytes]:
        taken, size = list[bytes](), 0
        while queue and size < CHUNK:
            buffer = queue.popleft()
            if len(buffer) > CHUNK:
                rest = memoryview(buffer)
                queue.appendleft(rest[CHUNK:])
                buffer = rest[:CHUNK]
            size += len(buffer)
            taken.append(bytes(buffer))
        self.queued -= size
        self._written += size
        return taken

    def _progress(self) -> int:
        acknowledged = self._acknowledged(self._side.transport)
        return self._written if acknowledged is None else acknowledged

    def _watch_progress(self) -> None:
        self._taken = self._progress()
        self._side.timers.set("write", self._side.timeouts.write, self._check_progress)

    def _check_progress(self) -> None:
        """See whether the peer has read fast enough since the last look."""
        if not self.blocked or not (self._above_high_water or self.pause_reasons):
            return
        if self._progress() - self._taken < SLOWEST * self._side.timeouts.write:
            self._side.abort_slow_reader()
        else:
            self._watch_progress()

    # Reading.

    def pause(self, reason: str) -> None:
        """Stop reading until every reason is gone."""
        if not self._registered or self._closing:
            return
        if not self.pause_reasons:
            self._side.shared.counters["reads_paused"] += 1
            self._side.transport.pauseProducing()
        if reason not in self.pause_reasons:
            self.pause_reasons += (reason,)

    def resume(self, reason: str) -> None:
        """Take one reason back."""
        if reason in self.pause_reasons:
            self.pause_reasons = tuple(each for each in self.pause_reasons if each != reason)
            if not self.pause_reasons:
                self._side.transport.resumeProducing()
                self._side.reading_resumed()

    # From the transport.

    def pauseProducing(self) -> None:
        """The transport's write buffer is full."""
        self.blocked = True

    def resumeProducing(self) -> None:
        """The transport's write buffer is empty again."""
        self.blocked, waited = False, self.queued
        self._fill_transport()
        if waited:
            self._charge()
        if self._closing:
            if not self._queue:
                self._unregister()
            return
        if self._ending and not self._queue:
            self._unregister()
        if self.queued <= self._side.limits.write_low:
            self._leave_high_water()
        if self._unread_replies and self._written >= self._replies_end:
            self._unread_replies = 0
            self.resume("replies unread")
            if self.backlogged:
                self.backlogged = False
                self._side.resume_handling()
        if self.blocked or not self._registered or self._closing:
            return
        self._side.timers.clear("write")
        # A transport told to close while its producer was paused (TLS, when the peer said
        # goodbye) looks at that again only when the producer is unregistered.
        self._side.transport.unregisterProducer()
        self._side.transport.registerProducer(self, True)

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._registered = False

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._side.transport.unregisterProducer()
