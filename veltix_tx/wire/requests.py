"""Request ids for each side of each layout, and the table of requests that wait for a reply."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice, repeat
from typing import Generic, TypeVar

from veltix_tx.wire.layouts import Layout
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.states import Role

__all__ = [
    "CLIENT_IDS",
    "LEGACY_CLIENT_IDS",
    "MOST_GIVEN_UP",
    "NONE_GIVEN_UP",
    "PLAIN_IDS",
    "SERVER_IDS",
    "GivenUpIds",
    "PendingTable",
    "RequestIds",
    "half_of",
]

T = TypeVar("T")

SERVER_IDS = range(0x8000, 0xFFFF)
CLIENT_IDS = range(0x7FFF)
LEGACY_CLIENT_IDS = range(30000, 0x7FFF)
"""For a server of 2.0.0 to 3.0.0, which numbers its own requests from 0 to 29999 and takes any
frame with such an id for their reply.

A client of 3.0.0 counts through all 16 bits: after 32768 requests one of its own ids may be one a
server waits for. Nothing on the wire tells that message from a reply.

The last id of each half answers nothing and asks nothing: no release ever waits for it, so that
a plain message is never taken for a reply (a real 2.x client waits for ids from 0 on).
"""

PLAIN_IDS = (CLIENT_IDS.stop, SERVER_IDS.stop)
"""On the layout with 16-bit ids, those of messages that ask nothing."""


def _wide_half(size: int, role: Role) -> range:
    """Return which ids of ``size`` bytes are those of a side: a server's have the first bit set. The last one asks nothing."""
    half = 1 << (8 * size - 1)
    start = half if role is Role.SERVER else 0
    return range(start, start + half - 1)


_WIDE_HALVES = {(size, role): _wide_half(size, role) for size in (4, 16) for role in Role}

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


def half_of(role: Role, peer: Peer) -> range:
    """Return which half of the ids is that of the side with this role: no two of this package ever use the same one.

    Real peers before 2.0.0 draw theirs from all ids, so that one of theirs may be one of this side's.
    """
    size = peer.layout.id_size
    if size != 2:
        return _WIDE_HALVES.get((size, role), range(0))
    if role is Role.SERVER:
        return SERVER_IDS
    counts_from_0 = peer.version in ("2.0.3", "3.0.0") if peer.protocol else "id_window" in peer.meta
    return LEGACY_CLIENT_IDS if counts_from_0 else CLIENT_IDS


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
        """Let an id be used again, because its reply came; return whether it was out of use."""
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

        For the ids of one half of 16 bits. With many out of use it is one search through a map (1 µs for a whole half)
        and not a look at each.
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


class RequestIds:
    """Where one side of one connection takes its request ids from.

    Ids of 16 bits are counted through the side's half. Wider ones of requests are drawn at random, with the second bit clear.
    Messages that ask nothing have it set, so that an answer to one is no request's reply; they are counted from a number
    drawn at random, as a draw for each costs more than all else of sending it.

    Args:
        layout: what it is for.
        half: this side's half of the ids; see :func:`half_of`.
        getrandbits: draws the wider ones: a number of bits -> an int of as many.

    Attributes:
        usable: whether the layout has request ids at all.
        unsolicited: return an id for a message that asks nothing and answers nothing: with 16 bits always the same one.
    """

    __slots__ = ("_bits", "_counted", "_getrandbits", "_half", "_next", "unsolicited", "usable")

    def __init__(self, layout: Layout, half: range, getrandbits: Callable[[int], int]) -> None:
        self._bits = max(0, layout.id_size * 8 - 2)
        self._half = half
        self._next = half.start
        self._getrandbits = getrandbits
        self._counted = layout.id_size == 2
        self.usable = layout.id_size > 0
        self.unsolicited = (repeat(half.stop) if self._counted else self._plain_ids()).__next__

    def _plain_ids(self) -> Iterator[int]:
        """Count through the upper half of this side's half, again and again."""
        last = self._half.stop
        ids = range(last + 1 - (1 << self._bits), last + 1)
        return chain(ids[self._getrandbits(self._bits) :], chain.from_iterable(repeat(ids)))

    @property
    def probe(self) -> int:
        """The id of every ping that nobody waits for; no other ping has it."""
        return self._half.stop

    def takes(self, wanted: int) -> bool:
        """True if a program may choose this id for a request: one of this side's, where they are not counted."""
        return not self._counted and self._half.start <= wanted < self._half.stop

    def fresh(self, taken: Collection[int], given_up: GivenUpIds = NONE_GIVEN_UP) -> int | None:
        """Return an id that is neither taken nor given up; None when there is no other."""
        half, ids, request_id = self._half, given_up.ids, self._next
        if not self._counted:
            for _ in range(64):
                request_id = half.start + self._getrandbits(self._bits)
                if request_id not in taken and request_id not in ids:
                    return request_id
            return None
        if request_id in taken or request_id in ids:
            if len(taken) + len(ids) >= len(half):
                return None
            while True:  # ids come in turn: one that still waits for its reply is passed once in a whole round
                if request_id in ids:
                    request_id = given_up.next_free(request_id + 1, half.stop)
                elif request_id in taken:
                    request_id += 1
                else:
                    break
                if request_id == half.stop:
                    request_id = half.start
        following = request_id + 1
        self._next = half.start if following == half.stop else following
        return request_id


class PendingTable(Generic[T]):
    """Requests that wait for their replies: id -> what to settle, and by when.

    Settling removes an entry, so each is settled once.

    Attributes:
        entries: id -> (what to settle, deadline). Stays the same dict.
        given_up: the ids of those given up, whose replies may still come.
    """

    __slots__ = ("entries", "given_up")

    def __init__(self) -> None:
        self.entries: dict[int, tuple[T, float]] = {}
        self.given_up = GivenUpIds()

    def add(self, request_id: int, entry: T, deadline: float) -> None:
        """Enter a request that has just been sent."""
        self.entries[request_id] = (entry, deadline)

    def settle(self, request_id: int) -> T | None:
        """Take out what waits for ``request_id``; None where nothing does."""
        found = self.entries.pop(request_id, None)
        return None if found is None else found[0]

    def give_up(self, request_id: int) -> T | None:
        """Take out a request whose reply is no longer wanted; its id stays out of use until that came."""
        entry = self.settle(request_id)
        if entry is not None:
            self.given_up.add(request_id)
        return entry

    def came_late(self, request_id: int) -> bool:
        """Let the id of a given-up request be used again, because its reply came; return False for an id of none.

        Where ids have been forgotten, any reply that nobody waits for may be to one of those.
        """
        given_up = self.given_up
        if given_up.discard(request_id):
            return True
        if not given_up.forgotten:
            return False
        given_up.forgotten -= 1
        return True

    def expired(self, now: float) -> list[T]:
        """Give up every request whose deadline has come; return what waited."""
        due = [request_id for request_id, (_, deadline) in self.entries.items() if deadline <= now]
        return [entry for request_id in due if (entry := self.give_up(request_id)) is not None]

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, None where nothing waits."""
        return min((deadline for _, deadline in self.entries.values()), default=None)

    def drain(self) -> list[T]:
        """Take out everything, in the order it was entered."""
        entries = [entry for entry, _ in self.entries.values()]
        self.entries.clear()
        return entries
