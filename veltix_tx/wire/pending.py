"""Table of requests that wait for their replies, and the ids of those given up."""

from __future__ import annotations

from itertools import islice
from typing import Generic, TypeVar

__all__ = ["MOST_GIVEN_UP", "NONE_GIVEN_UP", "GivenUpIds", "PendingTable", "T"]

T = TypeVar("T")


MOST_GIVEN_UP = 0x8000
"""Maximum ids of given-up requests of one kind that one connection keeps out of use; past it the oldest are forgotten.

Ids of 2 bytes never come to it: a half has 32,767, and with the last one gone no request is sent. Of wider ids, a late reply to
a forgotten one passes as a message of the peer's own, or as the reply to the request that has drawn the id again: with 4
bytes, a chance of 1 in 2**30 for each request and each such reply. More are not remembered because a message of a real peer whose
id, drawn at random, is one of them passes as a late reply: at most 1 in 131,072.
"""


_MANY = 1024
"""Ids given up from which the next free one is found in a map of them: 32 KiB, not worth it for a few."""


_LOW_BITS = 0x7FFF


class GivenUpIds:
    """Ids of requests that were given up and whose replies may still come: used again, one would get the other's reply.

    Attributes:
        ids: the ids, oldest first. Stays the same dict, to look into.
        forgotten: how many have been forgotten, because there were too many; see :data:`MOST_GIVEN_UP`.
    """

    __slots__ = ("_map", "forgotten", "ids")

    def __init__(self) -> None:
        self.ids: dict[int, None] = {}
        self.forgotten = 0
        self._map: bytearray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, request_id: int) -> None:
        """Keep an id out of use."""
        if len(self.ids) >= MOST_GIVEN_UP:  # many at once: the first of a dict costs a walk past all that were deleted
            for oldest in list(islice(self.ids, MOST_GIVEN_UP // 8)):
                del self.ids[oldest]
                self.forgotten += 1
        self.ids[request_id] = None
        if self._map is not None:
            self._map[request_id & _LOW_BITS] = 1

    def discard(self, request_id: int) -> bool:
        """Free an id, because its reply came; return True if it was out of use."""
        if request_id not in self.ids:
            return False
        del self.ids[request_id]
        if len(self.ids) < _MANY // 2:
            self._map = None
        elif self._map is not None:
            self._map[request_id & _LOW_BITS] = 0
        return True

    def next_free(self, start: int, stop: int) -> int:
        """Return the first id from ``start`` on that is not out of use, ``stop`` where none is left below it.

        For the ids of one half of 16 bits. With many out of use it is one search through a map, and not a
        look at each.
        """
        ids = self.ids
        if len(ids) < _MANY:
            return next((request_id for request_id in range(start, stop) if request_id not in ids), stop)
        if self._map is None:
            self._map = bytearray(_LOW_BITS + 1)
            for request_id in ids:
                self._map[request_id & _LOW_BITS] = 1
        found = self._map.find(0, start & _LOW_BITS, stop & _LOW_BITS)
        return stop if found < 0 else start - (start & _LOW_BITS) + found


NONE_GIVEN_UP = GivenUpIds()
"""For who gives nothing up."""


class PendingTable(Generic[T]):
    """Requests that wait for their replies: id -> what to settle, and by when.

    Settling removes an entry, so each is settled once.

    Attributes:
        entries: id -> (what to settle, deadline). Stays the same dict.
        abandoned: the ids of those given up, whose replies may still come.
    """

    __slots__ = ("abandoned", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, tuple[T, float]] = {}
        self.abandoned = GivenUpIds()

    def add(self, request_id: int, entry: T, deadline: float) -> None:
        """Enter a request that has just been sent."""
        self.entries[request_id] = (entry, deadline)

    def settle(self, request_id: int) -> T | None:
        """Take out what waits for ``request_id``; None where nothing does."""
        found = self.entries.pop(request_id, None)
        return None if found is None else found[0]

    def abandon(self, request_id: int) -> T | None:
        """Take out a request whose reply is no longer wanted; its id stays out of use until that came."""
        entry = self.settle(request_id)
        if entry is not None:
            self.abandoned.add(request_id)
        return entry

    def came_late(self, request_id: int) -> bool:
        """Free the id of a given-up request, because its reply came; return False for an id of none.

        Where ids have been forgotten, any reply that nobody waits for may be to one of those.
        """
        given_up = self.abandoned
        if given_up.discard(request_id):
            return True
        if not given_up.forgotten:
            return False
        given_up.forgotten -= 1
        return True

    def expired(self, now: float) -> list[T]:
        """Give up every request whose deadline has come; return what waited."""
        due = [request_id for request_id, (_, deadline) in self.entries.items() if deadline <= now]
        return [entry for request_id in due if (entry := self.abandon(request_id)) is not None]

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, None where nothing waits."""
        return min((deadline for _, deadline in self.entries.values()), default=None)

    def drain(self) -> list[T]:
        """Take out everything, in the order it was entered."""
        entries = [entry for entry, _ in self.entries.values()]
        self.entries.clear()
        return entries
