"""Request ids for each side of each layout, and the table of requests that wait for a reply."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from veltix_tx.wire.layouts import Layout
from veltix_tx.wire.peer import Peer
from veltix_tx.wire.states import Role

__all__ = ["CLIENT_IDS", "LEGACY_CLIENT_IDS", "PLAIN_IDS", "SERVER_IDS", "PendingTable", "RequestIds", "half_of"]

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

_REMEMBERED = 1024
"""How many ids of given-up requests are remembered to recognise their late replies."""


def half_of(role: Role, peer: Peer) -> range:
    """Return which half of the 16-bit ids is that of the side with this role."""
    if role is Role.SERVER:
        return SERVER_IDS
    counts_from_0 = peer.version in ("2.0.3", "3.0.0") if peer.protocol else "id_window" in peer.meta
    return LEGACY_CLIENT_IDS if counts_from_0 else CLIENT_IDS


class RequestIds:
    """Where one side of one connection takes its request ids from.

    Args:
        layout: 16-bit ids count through this side's half; wider ones are drawn at random.
        half: this side's half of the 16-bit ids.
        getrandbits: draws the wider ones: a number of bits -> an int of as many.

    Attributes:
        usable: whether the layout has request ids at all.
        plain: the id of every message that asks nothing and answers nothing; None where each has one of its own.
    """

    __slots__ = ("_bits", "_getrandbits", "_half", "_next", "plain", "usable")

    def __init__(self, layout: Layout, half: range, getrandbits: Callable[[int], int]) -> None:
        self._bits = layout.id_size * 8
        self._half = half
        self._next = half.start
        self._getrandbits = getrandbits
        self.usable = self._bits > 0
        self.plain = half.stop if self._bits == 16 else None

    def unsolicited(self) -> int:
        """Return an id for a message that asks nothing and answers nothing."""
        return self._getrandbits(self._bits) if self.plain is None else self.plain

    def fresh(self, taken: Collection[int]) -> int | None:
        """Return an id that is not in ``taken``, or None when every one is."""
        if self._bits != 16:
            drawn = (self._getrandbits(self._bits) for _ in range(64))
            return next((request_id for request_id in drawn if request_id not in taken), None)
        half, request_id = self._half, self._next
        if len(taken) >= len(half):
            return None
        while True:
            following = request_id + 1
            if following == half.stop:
                following = half.start
            if request_id not in taken:
                self._next = following
                return request_id
            request_id = following


class PendingTable(Generic[T]):
    """Requests that wait for their replies: id -> what to settle, and by when.

    Settling removes an entry, so each is settled once. Ids of requests given up are remembered
    for a while, so that a late reply is known for what it is.

    Attributes:
        entries: id -> (what to settle, deadline). Stays the same dict.
        given_up: the ids given up last, oldest first. Stays the same dict.
    """

    __slots__ = ("entries", "given_up")

    def __init__(self) -> None:
        self.entries: dict[int, tuple[T, float]] = {}
        self.given_up: dict[int, None] = {}

    def add(self, request_id: int, entry: T, deadline: float) -> None:
        """Enter a request that has just been sent."""
        self.entries[request_id] = (entry, deadline)
        if self.given_up:
            self.given_up.pop(request_id, None)

    def settle(self, request_id: int) -> T | None:
        """Take out what waits for ``request_id``; None where nothing does."""
        found = self.entries.pop(request_id, None)
        return None if found is None else found[0]

    def give_up(self, request_id: int) -> T | None:
        """Take out a request whose reply is no longer wanted; a late reply will be recognised."""
        if len(self.given_up) >= _REMEMBERED:
            del self.given_up[next(iter(self.given_up))]
        self.given_up[request_id] = None
        return self.settle(request_id)

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
