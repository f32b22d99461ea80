"""Request ids: which are taken, by whom, and when again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, cycle
from random import Random
from typing import Any

import pytest

from veltix_tx.wire.interface import Role
from veltix_tx.wire.pending import GivenUpIds
from veltix_tx.wire.veltix.layouts import W14, W15, W16, W22, W46, W62, Layout
from veltix_tx.wire.veltix.peer import VeltixPeer
from veltix_tx.wire.veltix.releases import HandshakeKind
from veltix_tx.wire.veltix.request_ids import CLIENT_IDS, LEGACY_CLIENT_IDS, SERVER_IDS, RequestIds, half_of

HALVES = pytest.mark.parametrize("half", [CLIENT_IDS, LEGACY_CLIENT_IDS, SERVER_IDS], ids=["client", "legacy client", "server"])
ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
WIDE = pytest.mark.parametrize("layout", [W14, W16, W22, W62], ids=lambda layout: layout.name)


def wide_half(role: Role, layout: Layout) -> range:
    """The ids of a side on a layout, whoever the peer is."""
    return half_of(role, VeltixPeer(wire=layout.name, layout=layout, handshake=HandshakeKind.NONE))


def no_dice(bits: int) -> int:
    """Dice that must not be thrown."""
    pytest.fail("16-bit ids are counted, not drawn")


def held_back(request_ids: Iterable[int]) -> GivenUpIds:
    """The ids of requests given up."""
    given_up = GivenUpIds()
    for request_id in request_ids:
        given_up.add(request_id)
    return given_up


class Counting(dict[int, Any]):
    """A dict that counts how often it is looked into."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        """Count the look."""
        self.looks += 1
        return super().__contains__(key)


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
    assert [ids.allocate(()) for _ in half] == list(half)
    assert ids.allocate(()) == half[0]


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
    assert [ids.allocate(taken) for _ in range(3)] == [half[3], half[5], half[6]]


@HALVES
def test_no_id_is_left_when_every_one_is_taken(half: range) -> None:
    """With the half exhausted there is no id; with one freed it is that."""
    ids = RequestIds(W15, half, no_dice)
    assert ids.allocate(half) is None
    assert ids.allocate(set(half) - {half[17]}) == half[17]
    assert ids.allocate(half) is None


@HALVES
def test_an_id_given_up_is_not_used_again_before_its_reply_came(half: range) -> None:
    """Through three rounds of the half an id given up is left out; once its reply has come it has its turn again."""
    ids, given_up = RequestIds(W15, half, no_dice), held_back([half[1], half[1000], half[-1]])
    for _ in range(3):
        assert [ids.allocate((), given_up) for _ in range(len(half) - 3)] == [each for each in half if each not in given_up.ids]
    assert given_up.discard(half[1000])
    assert not given_up.discard(half[1000])
    round_ = [ids.allocate((), given_up) for _ in range(len(half) - 2)]
    assert round_.count(half[1000]) == 1
    assert len(set(round_)) == len(half) - 2


@HALVES
def test_no_id_is_left_when_every_other_one_was_given_up(half: range) -> None:
    """Ids given up are not taken back in need: there is none, until one of their replies comes; that one it is then."""
    ids, taken = RequestIds(W15, half, no_dice), set(half[:10])
    given_up = held_back(half[10:])
    for freed in (half[-1], half[10], half[1234]):
        assert ids.allocate(taken, given_up) is None
        assert given_up.discard(freed)
        assert [ids.allocate(taken, given_up), ids.allocate(taken, given_up)] == [freed, freed]
        given_up.add(freed)


@pytest.mark.parametrize("free", [1, 7, 300])
@pytest.mark.parametrize("order", ["in a row", "scattered"])
def test_a_free_id_is_found_at_once_among_tens_of_thousands_given_up(order: str, free: int) -> None:
    """Whatever is held back, and where, a fresh id takes a few looks, and not one at each of the 32,767."""
    half = CLIENT_IDS
    held = list(half)
    if order == "scattered":
        Random(1).shuffle(held)
    ids, given_up = RequestIds(W15, half, no_dice), held_back(held[free:])
    ids.allocate((), given_up)
    given_up.ids = looked = Counting(given_up.ids)
    found = [ids.allocate((), given_up) for _ in range(1000)]
    assert set(found) == set(held[:free])
    assert looked.looks <= 5 * 1000


@WIDE
@ROLES
def test_a_wide_id_given_up_is_not_drawn_again(role: Role, layout: Layout) -> None:
    """Dice that show an id given up are thrown again."""
    dice = iter([3, 4, 3, 5])
    half = wide_half(role, layout)
    ids = RequestIds(layout, half, lambda bits: next(dice))
    assert ids.allocate({half.start + 4}, held_back([half.start + 3])) == half.start + 5


@pytest.mark.parametrize("layout", [W14, W15, W16, W22, W62], ids=lambda layout: layout.name)
@ROLES
def test_a_probe_has_an_id_that_no_other_ping_has(role: Role, layout: Layout) -> None:
    """The id of pings that nobody waits for is the last of the half, which is never fresh, and that no program may choose."""
    half = wide_half(role, layout)
    dice = cycle([-1, 7])
    ids = RequestIds(layout, half, lambda bits: next(dice) % (1 << bits))
    assert ids.probe == half.stop < 1 << 8 * layout.id_size
    assert ids.probe not in {ids.allocate(()) for _ in range(0x10000)}
    assert not ids.takes(ids.probe)


@WIDE
@ROLES
def test_wide_ids_are_drawn(role: Role, layout: Layout) -> None:
    """On the other layouts a request's id is a random number but for two bits: whose it is, and that it asks."""
    asked: list[int] = []

    def getrandbits(bits: int) -> int:
        asked.append(bits)
        return len(asked)

    ids = RequestIds(layout, wide_half(role, layout), getrandbits)
    bits = 8 * layout.id_size
    side = 1 << (bits - 1) if role is Role.SERVER else 0
    assert (ids.allocate(()), ids.allocate({side | 2})) == (side | 1, side | 3)
    assert asked == [bits - 2] * 3


@WIDE
@ROLES
def test_wide_ids_of_messages_that_ask_nothing_are_counted(role: Role, layout: Layout) -> None:
    """From a number drawn once they go through the upper half of the side's half, and past its end to its beginning."""
    bits = 8 * layout.id_size - 2
    first = (3 if role is Role.SERVER else 1) << bits
    dice = iter([(1 << bits) - 2])
    ids = RequestIds(layout, wide_half(role, layout), lambda asked: next(dice))
    last = first + (1 << bits) - 1
    assert [ids.unsolicited() for _ in range(4)] == [last - 1, last, first, first + 1]


@WIDE
@ROLES
def test_the_second_bit_of_a_wide_id_says_whether_it_asks(role: Role, layout: Layout) -> None:
    """Whatever the dice show, it is clear in a request's id and set in that of a message that asks nothing."""
    bits = 8 * layout.id_size
    for dice in (lambda bits: 0, lambda bits: (1 << bits) - 1, Random(4).getrandbits):
        ids = RequestIds(layout, wide_half(role, layout), dice)
        asks, tells = ids.allocate(()), ids.unsolicited()
        assert asks is not None
        assert (asks >> bits - 2 & 1, tells >> bits - 2 & 1) == (0, 1)
        assert asks >> bits - 1 == tells >> bits - 1 == (role is Role.SERVER)


@WIDE
def test_two_sides_never_use_the_same_wide_id(layout: Layout) -> None:
    """Whatever the dice show, no id of a server is one of a client, and no request has a message's id."""
    for dice in ((1 << 126) - 1, 0, Random(3).getrandbits(126)):
        kinds: list[set[int | None]] = []
        for role in Role:
            ids = RequestIds(layout, wide_half(role, layout), lambda bits, dice=dice: dice % (1 << bits))
            kinds += [{ids.allocate(())}, {ids.unsolicited(), ids.probe}]
        assert all(not first & second for first, second in combinations(kinds, 2))


@WIDE
@ROLES
def test_a_program_may_choose_ids_of_its_own_side(role: Role, layout: Layout) -> None:
    """A wide id that a program wants for a request is taken if its first bit is its side's."""
    ids = RequestIds(layout, wide_half(role, layout), lambda bits: 0)
    half = 1 << (8 * layout.id_size - 1)
    for wanted in (0, 5, half - 2):
        assert (ids.takes(wanted), ids.takes(half + wanted)) == (role is Role.CLIENT, role is Role.SERVER)
    assert not any(ids.takes(each) for each in (-1, half - 1, 2 * half - 1, 2 * half))


@HALVES
def test_counted_ids_are_not_chosen(half: range) -> None:
    """On the newest layout a program chooses no ids: they are counted."""
    ids = RequestIds(W15, half, no_dice)
    assert not any(ids.takes(each) for each in (half[0], half[-1], half.stop))


@WIDE
def test_drawing_ends(layout: Layout) -> None:
    """Dice that only show taken ids are given up instead of thrown for ever."""
    assert RequestIds(layout, wide_half(Role.CLIENT, layout), lambda bits: 5).allocate({5}) is None


def test_the_46_byte_layout_has_no_ids() -> None:
    """Only the paper format has no request ids; its plain messages have none either."""
    for role in Role:
        ids = RequestIds(W46, wide_half(role, W46), Random(1).getrandbits)
        assert not ids.available
        assert not ids.takes(0)
        assert (ids.unsolicited(), ids.probe) == (0, 0)
    assert all(RequestIds(layout, CLIENT_IDS, Random(1).getrandbits).available for layout in (W62, W22, W14, W16, W15))
