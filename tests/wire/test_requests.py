from __future__ import annotations

from random import Random

import pytest

from veltix_tx.wire.layouts import W14, W15, W16, W22, W46, W62, Layout
from veltix_tx.wire.requests import CLIENT_IDS, LEGACY_CLIENT_IDS, SERVER_IDS, PendingTable, RequestIds

HALVES = pytest.mark.parametrize("half", [CLIENT_IDS, LEGACY_CLIENT_IDS, SERVER_IDS], ids=["client", "legacy client", "server"])
WIDE = pytest.mark.parametrize("layout", [W14, W16, W22, W62], ids=lambda layout: layout.name)


def no_dice(bits: int) -> int:
    """Dice that must not be thrown."""
    pytest.fail("16-bit ids are counted, not drawn")


def test_the_two_sides_share_no_id() -> None:
    """A client's ids are below 32768, a server's from there on; the last of each half asks nothing."""
    assert (CLIENT_IDS[0], CLIENT_IDS[-1]) == (0, 0x7FFE)
    assert (SERVER_IDS[0], SERVER_IDS[-1]) == (0x8000, 0xFFFE)


def test_a_client_of_an_old_server_stays_out_of_its_ids() -> None:
    """Servers of 2.0.0 to 3.0.0 number their own requests from 0 to 29999."""
    assert (LEGACY_CLIENT_IDS[0], LEGACY_CLIENT_IDS[-1]) == (30000, 0x7FFE)


@HALVES
def test_sixteen_bit_ids_are_counted_through_the_half(half: range) -> None:
    """Each id of the half comes once before any comes again."""
    ids = RequestIds(W15, half, no_dice)
    assert [ids.fresh(()) for _ in half] == list(half)
    assert ids.fresh(()) == half[0]


@pytest.mark.parametrize(("half", "unsolicited"), [(CLIENT_IDS, 0x7FFF), (LEGACY_CLIENT_IDS, 0x7FFF), (SERVER_IDS, 0xFFFF)])
def test_an_unsolicited_message_has_an_id_nobody_waits_for(half: range, unsolicited: int) -> None:
    """A message that asks and answers nothing carries an id that no request ever has."""
    assert RequestIds(W15, half, no_dice).unsolicited() == unsolicited
    assert unsolicited not in CLIENT_IDS
    assert unsolicited not in SERVER_IDS


@HALVES
def test_ids_that_are_taken_are_skipped(half: range) -> None:
    """An id that is waiting for its reply is not used again."""
    ids = RequestIds(W15, half, no_dice)
    taken = set(half[:3]) | {half[4]}
    assert [ids.fresh(taken) for _ in range(3)] == [half[3], half[5], half[6]]


@HALVES
def test_no_id_is_left_when_every_one_is_taken(half: range) -> None:
    """With the half exhausted there is no id; with one freed it is that."""
    ids = RequestIds(W15, half, no_dice)
    assert ids.fresh(half) is None
    assert ids.fresh(set(half) - {half[17]}) == half[17]
    assert ids.fresh(half) is None


@WIDE
def test_wide_ids_are_drawn(layout: Layout) -> None:
    """On the other layouts ids are random numbers of the layout's width, for requests and plain messages alike."""
    asked: list[int] = []

    def getrandbits(bits: int) -> int:
        asked.append(bits)
        return len(asked)

    ids = RequestIds(layout, CLIENT_IDS, getrandbits)
    assert (ids.fresh(()), ids.unsolicited(), ids.fresh({3})) == (1, 2, 4)
    assert asked == [8 * layout.id_size] * 4


@WIDE
def test_drawing_ends(layout: Layout) -> None:
    """Dice that only show taken ids are given up instead of thrown for ever."""
    assert RequestIds(layout, CLIENT_IDS, lambda bits: 5).fresh({5}) is None


def test_the_46_byte_layout_has_no_ids() -> None:
    """Only the paper format has no request ids; its plain messages have none either."""
    ids = RequestIds(W46, CLIENT_IDS, Random(1).getrandbits)
    assert not ids.usable
    assert ids.unsolicited() == 0
    assert all(RequestIds(layout, CLIENT_IDS, Random(1).getrandbits).usable for layout in (W62, W22, W14, W16, W15))


def test_a_pending_request_is_settled_once() -> None:
    """The first reply takes the entry, a second one finds nothing."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    assert table.settle(1) == "first"
    assert table.settle(1) is None
    assert table.settle(2) is None
    assert not table.given_up


def test_a_request_given_up_is_remembered() -> None:
    """After giving up, the entry is gone and its id known for a late reply."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    assert table.give_up(1) == "first"
    assert 1 in table.given_up
    assert table.settle(1) is None
    assert table.give_up(1) is None


def test_an_id_in_use_again_is_not_given_up() -> None:
    """A reply to the new request with the same id is no late one."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    table.give_up(1)
    table.add(1, "second", 9.0)
    assert 1 not in table.given_up
    assert table.settle(1) == "second"


def test_the_memory_of_ids_given_up_is_bounded() -> None:
    """The last 1024 ids are remembered, the oldest forgotten first."""
    table: PendingTable[int] = PendingTable()
    for request_id in range(3000):
        table.add(request_id, request_id, 1.0)
        table.give_up(request_id)
    assert list(table.given_up) == list(range(3000 - 1024, 3000))
    assert not table.entries


def test_requests_expire_at_their_deadline() -> None:
    """Those whose deadline has come are given up together, the others wait on."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "late", 9.0)
    table.add(2, "now", 5.0)
    table.add(3, "soon", 4.0)
    assert table.next_deadline() == 4.0
    assert table.expired(3.9) == []
    assert table.expired(5.0) == ["now", "soon"]
    assert set(table.given_up) == {2, 3}
    assert table.next_deadline() == 9.0
    assert table.settle(1) == "late"
    assert table.next_deadline() is None


def test_draining_takes_out_everything_in_order() -> None:
    """At the end every request is handed out once, in the order it was entered."""
    table: PendingTable[str] = PendingTable()
    entries = table.entries
    for request_id, entry in ((9, "a"), (3, "b"), (5, "c")):
        table.add(request_id, entry, 1.0)
    assert table.drain() == ["a", "b", "c"]
    assert table.drain() == []
    assert table.entries is entries
