"""Flow: when reading from a peer pauses, and what becomes of a peer that does not read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from veltix_tx.net.keepalive import Deadlines

__all__ = ["Flow"]

_OWED = 1024 * 1024
"""Bytes of unread replies above which a peer's next requests are not read."""

_SLOWEST = 64 * 1024
"""Bytes per second that a peer may read its replies at without being given up."""


@implementer(IPushProducer)
class Flow:
    """Pauses reading while there is a reason to, and resumes when there is none left.

    It is the transport's producer, so that it learns when writing is blocked. What then piles up
    because the peer asked for it (its replies) is counted, and above a mark the peer's next
    requests are not read. What this side sends of its own accord does not count: two peers that
    send each other much at once must go on reading.

    Twisted notices neither FIN nor RST while reading is paused; a timer gives such a peer up.

    Args:
        transport: what is paused.
        deadlines: where the stall timer lives.
        stall: seconds, besides the time the owed bytes may take, until ``stalled`` is called.
        stalled: what to do then.
        most: bytes of unread replies that may pile up while this side waits for a reply itself.
    """

    def __init__(self, transport: Any, deadlines: Deadlines, stall: float, stalled: Callable[[], None], most: int = 0) -> None:
        self._transport = transport
        self._deadlines = deadlines
        self._stall = stall
        self._stalled = stalled
        self._most = max(most, _OWED)
        self._reasons: set[str] = set()
        self._producing = False
        self._blocked = False
        self._owed = 0

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return bool(self._reasons)

    def start(self) -> None:
        """Watch the transport's write buffer."""
        self._producing = True
        self._transport.registerProducer(self, True)

    def stop(self) -> None:
        """Let go of the transport, which may close only then."""
        if self._reasons:
            # TLS closes only after it has read the peer's goodbye.
            self._reasons.clear()
            self._transport.resumeProducing()
        if self._producing:
            self._producing = False
            self._transport.unregisterProducer()

    def owe(self, size: int, *, patient: bool = False) -> None:
        """Count ``size`` bytes just written because the peer asked for them.

        With ``patient``, because this side waits for a reply itself, far more may pile up: were
        both sides to stop reading while each waits for the other's replies, neither would go on.
        """
        if self._blocked:
            self._owed += size
            if self._owed > (self._most if patient else _OWED):
                self.pause("replies unread")
                self._deadlines.set("stall", self._stall + self._owed / _SLOWEST, self._stalled)

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

    def pauseProducing(self) -> None:
        """The transport's write buffer is full."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The transport's write buffer is empty again."""
        self._blocked = False
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
