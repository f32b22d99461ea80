"""The table of pending requests: each is settled once, given up or expired."""

from __future__ import annotations

from random import Random

from veltix_tx.wire.pending import MOST_GIVEN_UP, GivenUpIds, PendingTable
from veltix_tx.wire.veltix.request_ids import SERVER_IDS


def test_a_pending_request_is_settled_once() -> None:
    """The first reply takes the entry, a second one finds nothing."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    assert table.settle(1) == "first"
    assert table.settle(1) is None
    assert table.settle(2) is None
    assert not table.abandoned.ids
    assert not table.came_late(1)


def test_a_request_given_up_is_remembered_until_its_reply() -> None:
    """After giving up, the entry is gone and its id held back for one late reply."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    assert table.abandon(1) == "first"
    assert list(table.abandoned.ids) == [1]
    assert table.settle(1) is None
    assert table.abandon(1) is None
    assert table.came_late(1)
    assert not table.came_late(1)
    assert not table.abandoned.ids


def test_what_was_settled_is_not_given_up() -> None:
    """Giving up an id that nothing waits for holds nothing back: nothing more can come for it."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "first", 5.0)
    table.drain()
    assert table.abandon(1) is None
    assert not table.abandoned.ids


def test_the_memory_of_ids_given_up_is_bounded() -> None:
    """Of wide ids the last 28,672 at least are remembered, 32,768 at most; a reply to a forgotten one is known by their number."""
    table: PendingTable[int] = PendingTable()
    total = 3 * MOST_GIVEN_UP
    for request_id in range(total):
        table.add(request_id, request_id, 1.0)
        table.abandon(request_id)
        assert len(table.abandoned) <= MOST_GIVEN_UP
    kept = len(table.abandoned)
    assert kept >= MOST_GIVEN_UP * 7 // 8
    assert list(table.abandoned.ids) == list(range(total - kept, total))
    assert sum(table.came_late(request_id) for request_id in range(total)) == total
    assert not table.came_late(0)


def test_requests_expire_at_their_deadline() -> None:
    """Those whose deadline has come are given up together, the others wait on."""
    table: PendingTable[str] = PendingTable()
    table.add(1, "late", 9.0)
    table.add(2, "now", 5.0)
    table.add(3, "soon", 4.0)
    assert table.next_deadline() == 4.0
    assert table.expired(3.9) == []
    assert table.expired(5.0) == ["now", "soon"]
    assert set(table.abandoned.ids) == {2, 3}
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


def test_the_map_of_ids_given_up_follows_them() -> None:
    """With many given up and few, on the way up and down, what is free is exactly what is not held back."""
    random, given_up, model = Random(2), GivenUpIds(), set[int]()
    for step in range(20_000):
        grows = step % 10_000 < 5_000
        if model and random.random() < (0.2 if grows else 0.8):
            gone = random.choice(tuple(model)) if len(model) < 50 else next(iter(model))
            model.discard(gone)
            assert given_up.discard(gone)
        else:
            new = random.choice(SERVER_IDS)
            model.add(new)
            given_up.add(new)
        start = random.choice(SERVER_IDS)
        stop = min(start + random.randrange(2000), SERVER_IDS.stop)
        if step % 50 == 0:
            expected = next((each for each in range(start, stop) if each not in model), stop)
            assert given_up.next_free(start, stop) == expected
    assert set(given_up.ids) == model
