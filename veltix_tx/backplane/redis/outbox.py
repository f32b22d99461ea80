"""Outbox of a node: what it sends in one turn of the reactor leaves together, one batch for each channel and kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from veltix_tx.backplane.interface import BackplaneLimits, History
from veltix_tx.backplane.redis.frames import Kind
from veltix_tx.errors import BackplaneRefused

__all__ = ["Batch", "Outbox"]

_BATCH = 256 * 1024
"""Bytes of one batch, and of one group of batches: a longer one would hold up what comes behind it."""

_GROUP = 500
"""Batches that are sent in one command."""


@dataclass(slots=True)
class Batch:
    """Batch for one channel, sent as one message.

    Attributes:
        channel: where it goes.
        kind: what it is, or the history that is to keep it; a batch has one kind.
        items: its messages in their order; of presence, the latest change of each member.
        waiting: the Deferreds of those who sent them, in their order.
        places: where in the items is what has a key.
        size: bytes of them.
        counted: how many of them count for the limits.
    """

    channel: bytes
    kind: Kind | History
    items: list[Any]
    waiting: list[Deferred[Any]]
    places: dict[object, int]
    size: int = 0
    counted: int = 0


class Outbox:
    """Batches that wait for the end of the turn, and those that are not answered.

    Args:
        reactor: ends the turn.
        limits: bounds what waits, together with what is not answered.
        send: sends a group of batches, all of messages with a history, all of such without, or one of presence; its Deferred fires
            with a list for each, of a result for each of ``waiting``.
    """

    def __init__(
        self, reactor: IReactorTime, limits: BackplaneLimits, send: Callable[[list[Batch]], Deferred[list[list[Any]]]]
    ) -> None:
        self._reactor, self._limits, self._send = reactor, limits, send
        self._batches: list[Batch] = []
        self._latest: dict[bytes, Batch] = {}  # of each channel: none behind it may be overtaken
        self._count = self._bytes = 0

    def refusal(self, size: int) -> BackplaneRefused | None:
        """Return why nothing of a size is taken now, None where it is."""
        if self._count >= self._limits.publish_queue:
            return BackplaneRefused("publish_queue", self._limits.publish_queue)
        if self._bytes + size > self._limits.publish_bytes:
            return BackplaneRefused("publish_bytes", self._limits.publish_bytes)
        return None

    def put(self, channel: bytes, kind: Kind | History, item: Any, size: int, key: object = None) -> Deferred[Any]:
        """Put something into the batch of its channel and kind.

        Args:
            channel: where it goes.
            kind: what it is.
            item: the thing.
            size: its bytes.
            key: an item of the same key in the same batch is replaced; None: there is none. What has a key is not counted: there is
                one of each key.
        """
        batch = self._latest.get(channel)
        if batch is None or (batch.kind is not kind and batch.kind != kind) or batch.size + size > _BATCH:
            if not self._batches:
                self._reactor.callLater(0, self._flush)
            batch = self._latest[channel] = Batch(channel, kind, [], [], {})
            self._batches.append(batch)
        batch.size += size
        if key is None:
            batch.items.append(item)
            batch.counted += 1
            self._count += 1
            self._bytes += size
        elif key in batch.places:
            batch.items[batch.places[key]] = item
        else:
            batch.places[key] = len(batch.items)
            batch.items.append(item)
        waiting: Deferred[Any] = Deferred()
        batch.waiting.append(waiting)
        return waiting

    def give_up(self, error: Exception) -> None:
        """Fail what has not been sent."""
        batches = self._take()
        self._settle(Failure(error), batches)

    def _take(self) -> list[Batch]:
        batches, self._batches = self._batches, []
        self._latest.clear()
        return batches

    def _flush(self) -> None:
        for group in _groups(self._take()):
            settled = (group,)
            self._send(group).addCallbacks(self._settle, self._settle, callbackArgs=settled, errbackArgs=settled)

    def _settle(self, results: list[list[Any]] | Failure, batches: list[Batch]) -> None:
        for number, batch in enumerate(batches):
            if batch.counted:
                self._count -= batch.counted
                self._bytes -= batch.size
            each = [results] * len(batch.waiting) if isinstance(results, Failure) else results[number]
            for waiting, result in zip(batch.waiting, each, strict=True):
                waiting.callback(result)


def _groups(batches: list[Batch]) -> list[list[Batch]]:
    """Return batches in their order, and together those that one command can send."""
    groups: list[list[Batch]] = []
    together: object = None
    size = 0
    for batch in batches:
        sort = History if isinstance(batch.kind, History) else None if batch.kind is Kind.PRESENCE else Kind
        size += batch.size
        if sort is None or sort is not together or size > _BATCH or len(groups[-1]) >= _GROUP:
            groups.append([])
            together, size = sort, batch.size
        groups[-1].append(batch)
    return groups
