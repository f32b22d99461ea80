"""Request ids of each side of each layout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain, repeat

from veltix_tx.wire.interface import Role
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.veltix.layouts import Layout
from veltix_tx.wire.veltix.peer import VeltixPeer

__all__ = [
    "CLIENT_IDS",
    "LEGACY_CLIENT_IDS",
    "PLAIN_IDS",
    "SERVER_IDS",
    "RequestIds",
    "half_of",
]


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

_PLAIN_ID = {stop: repeat(stop).__next__ for stop in PLAIN_IDS}
"""Each of these for ever: what draws it has no state, and serves all connections."""


def _wide_half(size: int, role: Role) -> range:
    """Return which ids of ``size`` bytes are those of a side: a server's have the first bit set. The last one asks nothing."""
    half = 1 << (8 * size - 1)
    start = half if role is Role.SERVER else 0
    return range(start, start + half - 1)


_WIDE_HALVES = {(size, role): _wide_half(size, role) for size in (4, 16) for role in Role}


def half_of(role: Role, peer: VeltixPeer) -> range:
    """Return which half of the ids is that of the side with this role: no two of this package ever use the same one.

    Real peers before 2.0.0 draw theirs from all ids, so that one of theirs may be one of this side's.
    """
    size = peer.layout.id_size
    if size != 2:
        return _WIDE_HALVES.get((size, role), range(0))
    if role is Role.SERVER:
        return SERVER_IDS
    return LEGACY_CLIENT_IDS if peer.release.ids_from_zero else CLIENT_IDS


class RequestIds:
    """Request ids of one side of one connection.

    Ids of 16 bits are counted through the side's half. Wider ones of requests are drawn at random, with the second bit clear.
    Messages that ask nothing have it set, so that an answer to one is no request's reply; they are counted from a number
    drawn at random, as a draw for each costs more than all else of sending it.

    Args:
        layout: what it is for.
        half: this side's half of the ids; see :func:`half_of`.
        getrandbits: draws the wider ones: a number of bits -> an int of as many.

    Attributes:
        available: True if the layout has request ids at all.
        unsolicited: return an id for a message that asks nothing and answers nothing: with 16 bits always the same one.
    """

    __slots__ = ("_bits", "_counted", "_getrandbits", "_half", "_next", "available", "unsolicited")

    def __init__(self, layout: Layout, half: range, getrandbits: Callable[[int], int]) -> None:
        self._bits = max(0, layout.id_size * 8 - 2)
        self._half = half
        self._next = half.start
        self._getrandbits = getrandbits
        self._counted = layout.id_size == 2
        self.available = layout.id_size > 0
        self.unsolicited: Callable[[], int] = _PLAIN_ID[half.stop] if self._counted else self._first_plain_id

    def _first_plain_id(self) -> int:
        # Not before it is needed: what counts is most of what an idle connection would keep here.
        self.unsolicited = self._plain_ids().__next__
        return self.unsolicited()

    def _plain_ids(self) -> Iterator[int]:
        """Count through the upper half of this side's half, again and again."""
        last = self._half.stop
        ids = range(last + 1 - (1 << self._bits), last + 1)
        return chain(ids[self._getrandbits(self._bits) :], chain.from_iterable(repeat(ids)))

    @property
    def probe(self) -> int:
        """The id of every ping that nobody waits for; no other ping has it."""
        return self._half.stop

    def may_ask(self, request_id: int) -> bool:
        """Return False for the id of a message of the peer that asks nothing, where such messages have one of their own."""
        return not self._counted or request_id not in PLAIN_IDS

    def takes(self, wanted: int) -> bool:
        """True if a program may choose this id for a request: one of this side's, where they are not counted."""
        return not self._counted and self._half.start <= wanted < self._half.stop

    def allocate(self, taken: Collection[int], given_up: GivenUpIds = NONE_GIVEN_UP, wanted: int | None = None) -> int | None:
        """Return an id that is neither taken nor given up; None when there is no other.

        Args:
            taken: ids that cannot be had.
            given_up: others.
            wanted: the one to return where a program may choose it and it can be had.
        """
        half, ids = self._half, given_up.ids
        if not self._counted:
            if wanted is not None and self.takes(wanted) and wanted not in taken and wanted not in ids:
                return wanted
            return self._draw(taken, ids)
        request_id = self._next
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

    def _draw(self, taken: Collection[int], ids: Collection[int]) -> int | None:
        if self.available:
            for _ in range(64):
                request_id = self._half.start + self._getrandbits(self._bits)
                if request_id not in taken and request_id not in ids:
                    return request_id
        return None
