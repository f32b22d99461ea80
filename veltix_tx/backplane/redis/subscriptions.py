"""Channels of Redis that a node listens on: subscribed in batches, and again at once on each new connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.redis.protocol import RedisConnection
from veltix_tx.errors import BackplaneError, BackplaneUnavailable
from veltix_tx.net.waiters import Waiters

__all__ = ["Subscriptions"]

_log = Logger()

_CHUNK = 1000
"""Channels in one command."""


class Subscriptions:
    """Channels listened on, over one connection after another.

    Args:
        reactor: batches what a turn subscribes.
        received: called with a channel and a message on it.
        restored: called when all channels are in effect on a new connection.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        received: Callable[[bytes, bytes], object],
        restored: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._received, self._restored = received, restored
        self._wanted: dict[bytes, Waiters[None]] = {}
        self._sent: set[bytes] = set()
        self._touched: dict[bytes, None] = {}
        self._unconfirmed: dict[bytes, int] = {}  # SUBSCRIBEs of a channel under way
        self._commands: deque[tuple[int, tuple[bytes, ...]]] = deque()  # replies that each still has, and its channels
        self._restoring: frozenset[bytes] | None = None
        self._connection: RedisConnection | None = None
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, channel: bytes) -> bool:
        return channel in self._wanted

    @property
    def complete(self) -> bool:
        """True if every channel is in effect."""
        return self._connection is not None and self._restoring is None

    @property
    def connected(self) -> bool:
        """True if there is a connection."""
        return self._connection is not None

    def add(self, channel: bytes) -> Deferred[None]:
        """Listen on a channel, now and on later connections.

        Returns:
            a Deferred that fires when that is in effect, and errbacks with BackplaneUnavailable when the connection is lost
            first, or there is none; the channel is kept in mind all the same. It errbacks with BackplaneError where Redis refuses.
        """
        waiters = self._wanted.setdefault(channel, Waiters())
        if self._connection is None:
            return fail(BackplaneUnavailable("there is no connection for subscriptions"))
        in_effect = waiters.wait()
        if channel in self._sent and channel not in self._unconfirmed and channel not in self._touched:
            waiters.fire(None)
        else:
            self._touch(channel)
        return in_effect

    def discard(self, channel: bytes) -> None:
        """Listen on a channel no more."""
        waiters = self._wanted.pop(channel, None)
        if waiters is not None:
            self._touch(channel)
            waiters.fire(Failure(BackplaneUnavailable("the topic was unsubscribed")))

    def attach(self, connection: RedisConnection) -> None:
        """Listen on every channel, on a new connection."""
        self._connection = connection
        self._restoring = frozenset(self._wanted)
        self._subscribe(list(self._wanted))
        self._touched.clear()
        self._look()

    def detach(self) -> None:
        """Forget the connection, which is lost; fail those who wait."""
        self._connection = self._restoring = None
        self._sent.clear()
        self._touched.clear()
        self._unconfirmed.clear()
        self._commands.clear()
        lost = Failure(BackplaneUnavailable("the connection for subscriptions was lost"))
        for waiters in list(self._wanted.values()):
            waiters.fire(lost)

    def pushed(self, reply: Any) -> None:
        """Take what came on the connection."""
        if not isinstance(reply, list):
            if isinstance(reply, Exception):
                self._command_refused(str(reply))
            return  # else the answer to a PING
        kind = reply[0]
        if kind == b"message":
            if reply[1] in self._wanted:
                self._received(reply[1], reply[2])
        elif kind in (b"subscribe", b"unsubscribe"):
            self._confirmed(reply[1], kind == b"subscribe")

    # Inside.

    def _touch(self, channel: bytes) -> None:
        if self._connection is None:
            return  # the next one begins with what is wanted then
        self._touched[channel] = None
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._connection is None:
            return
        touched, self._touched = self._touched, {}
        self._subscribe([channel for channel in touched if channel in self._wanted and channel not in self._sent])
        gone = [channel for channel in touched if channel not in self._wanted and channel in self._sent]
        self._send(b"UNSUBSCRIBE", gone)
        self._sent.difference_update(gone)
        for channel in touched:  # discarded and added again in one turn: it is in effect as it was
            if channel in self._wanted and channel not in self._unconfirmed:
                self._wanted[channel].fire(None)

    def _subscribe(self, channels: list[bytes]) -> None:
        for channel in channels:
            self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        self._send(b"SUBSCRIBE", channels)
        self._sent.update(channels)

    def _send(self, command: bytes, channels: list[bytes]) -> None:
        assert self._connection is not None
        for start in range(0, len(channels), _CHUNK):
            chunk = tuple(channels[start : start + _CHUNK])
            self._commands.append((len(chunk), chunk if command == b"SUBSCRIBE" else ()))
            self._connection.push(command, *chunk)

    def _confirmed(self, channel: bytes, subscribed: bool) -> None:
        left, channels = self._commands[0]
        if left > 1:
            self._commands[0] = (left - 1, channels)
        else:
            self._commands.popleft()
        if subscribed:
            self._settle(channel, None)
        self._look()

    def _command_refused(self, words: str) -> None:
        _, channels = self._commands.popleft()
        _log.error("Redis refuses a subscription: {words}", words=words)
        self._sent.difference_update(channels)
        for channel in channels:
            self._settle(channel, Failure(BackplaneError(f"Redis refused a command: {words}")))
        self._look()

    def _settle(self, channel: bytes, result: Failure | None) -> None:
        left = self._unconfirmed.pop(channel) - 1
        if left:
            self._unconfirmed[channel] = left
        elif channel in self._wanted:
            self._wanted[channel].fire(result)

    def _look(self) -> None:
        """Report that the last of the channels of a new connection is in effect."""
        if self._restoring is not None and self._restoring.isdisjoint(self._unconfirmed):
            self._restoring = None
            self._restored()
