"""Last reads of a connection that drains: what has arrived when no more is to be taken is read to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from veltix_tx.net.transport.sockets import acknowledge, lowest, unread
from veltix_tx.net.waiters import Waiters

__all__ = ["QUIET", "LastReads"]

QUIET = 0.5
"""Seconds in which nothing more comes, all being read and acknowledged, after which the peer's kernel has nothing left: more
than the 0.2 after which it asks again for room that it was not told of, and may be late with that on a busy machine."""


class LastReads:
    """Follows the reads of one connection until everything is read that had arrived when this was made.

    What the kernel holds then is read in any case. What a peer had written before may still be in the peer's own kernel,
    for want of room in ours or of an acknowledgement, and comes as soon as there is that: reading goes on until nothing is
    left to read, or as many bytes have been read as one message may have, for a peer that never stops sending.

    Reading is paused and resumed meanwhile as ever. Below TLS, too, what counts is what the socket holds.

    Args:
        protocol: the connection's; its transport's socket is asked.
        reactor: calls in its next turn.
        most: bytes after which reading need not go on, beyond what has arrived already.
        quiet: seconds without a byte after which nothing is left.
        is_behind: returns True while something that was read waits for a later turn of the reactor.
        over: called once everything is read.
    """

    def __init__(
        self,
        protocol: Any,
        reactor: IReactorTime,
        most: int,
        quiet: float,
        is_behind: Callable[[], bool],
        over: Callable[[], None],
    ) -> None:
        self._transport = protocol.transport
        self._reactor = reactor
        self._quiet = quiet
        self._is_behind = is_behind
        self._over = over
        self._left = max(most, unread(self._transport))
        self._check_call: IDelayedCall | None = None
        self._read, self._asked, self._ended = protocol.corked, False, False
        self._waiting: Waiters[None] = Waiters()
        below = lowest(self._transport)
        self._reader = protocol if below is self._transport else below.protocol  # TLS, which reads from the socket
        self._received = self._reader.dataReceived
        self._replaced = vars(self._reader).get("dataReceived")
        self._reader.dataReceived = self._count
        self.check_soon()

    def wait(self) -> Deferred[None]:
        """Return a new Deferred that fires when everything is read, or the connection takes nothing more."""
        return self._waiting.wait()

    def end(self) -> None:
        """Follow no longer."""
        if self._ended:
            return
        self._ended = True
        if self._check_call is not None:
            self._check_call.cancel()
        if self._replaced is None:
            del self._reader.dataReceived
        else:
            self._reader.dataReceived = self._replaced
        self._over()
        self._waiting.fire(None)

    def _count(self, data: bytes) -> None:
        self._left -= len(data)
        self._read, self._asked = True, False
        self.check_soon()
        self._received(data)

    def check_soon(self, seconds: float = 0) -> None:
        """Look in the next turn of the reactor: this read is handled then, and its room in the kernel filled again."""
        if self._check_call is None:
            self._check_call = self._reactor.callLater(seconds, self._check)

    def _check(self) -> None:
        self._check_call = None
        if self._is_behind() or (self._left > 0 and unread(self._transport)):
            return
        if self._left > 0 and self._read and not self._asked:
            self._asked = True
            acknowledge(self._transport)
            self.check_soon(self._quiet)
            return
        self.end()
