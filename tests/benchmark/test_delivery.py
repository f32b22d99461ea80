"""That everything arrived, in order and as it was sent: in a server's handler, and in the raw client."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice, pairwise
from threading import Thread
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.benchmark.peers.delivery import CYCLE, SMALL, Tally, contents, laps, numbered
from veltix_tx.benchmark.peers.headers import HEADERS
from veltix_tx.benchmark.peers.raw import Arrivals, Expected
from veltix_tx.benchmark.peers.wires import WIRES

NUMBER = 2 * CYCLE + 5


def sent(number: int = NUMBER, size: int = 64) -> list[bytes]:
    """Return what is sent on one connection."""
    return list(islice(cycle(contents(size)), number))


def found(messages: list[bytes], number: int = NUMBER, size: int = 64) -> tuple[int, int, bool]:
    """Return what a handler finds: how many came, how many are wrong, whether in another order."""
    tally = Tally()
    tally.expect(number, size)
    for content in messages:
        tally.take_content(content)
    told = tally.wait(number, 0.0)
    return int(told["got"]), int(told["wrong"]), bool(told["reordered"])


@pytest.mark.parametrize("size", [1, 16, 64, 4096, SMALL + 1])
def test_the_contents_are_those_of_the_line_protocol(size: int) -> None:
    """Message i begins with i modulo the cycle as four bytes, x fills the rest: two checkouts agree on that."""
    made = contents(size)
    assert len(made) == (CYCLE if size <= SMALL else 2)
    assert {len(content) for content in made} == {size}
    assert all(content == (number.to_bytes(4, "big") + b"x" * size)[:size] for number, content in enumerate(made))
    assert numbered(3, 7, 16) == bytes([0, 0, 0, 3, 0, 0, 0, 7]) + b"x" * 8


@pytest.mark.parametrize("number", [1, 2, CYCLE - 1, CYCLE, CYCLE + 1, NUMBER])
def test_everything_in_order_is_right(number: int) -> None:
    """Whatever part of a cycle the last message is."""
    assert found(sent(number), number) == (number, 0, False)


def test_messages_and_contents_are_checked_alike() -> None:
    """What a message carries may be a bytearray: some peers' is."""
    tally = Tally()
    tally.expect(3, 64)
    for content in sent(3):
        tally.take(None, SimpleNamespace(content=bytearray(content)))
    assert tally.wait(3, 0.0)["got"] == 3
    assert tally.wait(3, 0.0)["wrong"] == 0


@pytest.mark.parametrize("missing", [0, 1, CYCLE, NUMBER - 1])
def test_a_lost_message_is_missed(missing: int) -> None:
    """Wherever it was lost, one less has come."""
    came = sent()
    del came[missing]
    assert found(came)[0] == NUMBER - 1


@pytest.mark.parametrize("at", [0, CYCLE, NUMBER - 1])
def test_a_changed_byte_is_seen(at: int) -> None:
    """In the first, in the middle, in the last message: one is wrong, none is lost."""
    came = sent()
    came[at] = came[at][:-1] + b"y"
    assert found(came)[:2] == (NUMBER, 1)


def test_a_message_twice_is_wrong() -> None:
    """Where another is missing for it, and where it is one more than was sent."""
    instead = sent()
    instead[9] = instead[8]
    assert found(instead)[:2] == (NUMBER, 1)
    assert found([*sent(), sent()[-1]])[:2] == (NUMBER + 1, 1)


@settings(deadline=None)
@given(st.permutations(range(20)))
def test_another_order_is_told_and_nothing_is_wrong(order: list[int]) -> None:
    """Each message is there once: only the order is another."""
    came = [sent(20)[number] for number in order]
    assert found(came, 20) == (20, 0, order != sorted(order))


def test_threads_that_take_turns_lose_no_message() -> None:
    """Handlers in many threads at once may change the order, not the count."""
    tally, number = Tally(), 4 * CYCLE
    tally.expect(number, 64)
    threads = [Thread(target=lambda part=part: [tally.take_content(each) for each in sent(number)[part::4]]) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    told = tally.wait(number, 10)
    assert (told["got"], told["wrong"]) == (number, 0)


def test_many_connections_are_checked_each_by_itself() -> None:
    """They may interleave; on each its messages are in order, with nothing changed."""
    tally = Tally()
    tally.expect(6)
    for stream, number in ((1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (0, 2)):
        tally.take_stream(None, SimpleNamespace(content=bytearray(numbered(stream, number, 32))))
    assert {name: value for name, value in tally.wait(6, 0.0).items() if name != "at"} == {"got": 6, "wrong": 0, "reordered": 0}
    tally.expect(3)
    for content in (numbered(0, 1, 32), numbered(0, 0, 32), numbered(0, 2, 32)[:-1] + b"y"):
        tally.take_stream_content(content)
    told = tally.wait(3, 0.0)
    assert (told["got"], told["wrong"], told["reordered"] > 0) == (3, 1, True)


def test_the_number_may_be_told_at_the_end() -> None:
    """Who does not know how many messages there will be says so when it asks."""
    tally = Tally()
    tally.expect(0)
    for number in range(4):
        tally.take_stream_content(numbered(0, number, 16))
    assert tally.wait(4, 0.0)["got"] == 4
    assert tally.wait(5, 0.01)["got"] == 4


def frames(number: int, free: range = range(2)) -> tuple[Expected, bytes]:
    """Return what must come, frames of five bytes of which two may be any, and so many frames as they come."""
    expected = Expected([bytes([0, 0, each, each, each]) for each in range(1, 8)], free)
    stream = b"".join(bytes([9, index % 256, *[1 + index % 7] * 3]) for index in range(number))
    return expected, stream


def arrived(expected: Expected, stream: bytes, cuts: list[int]) -> tuple[int, bool]:
    """Return what the raw client finds of a stream that comes in pieces."""
    arrivals, edges = Arrivals(expected), sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for begin, end in pairwise(edges):
        arrivals.take(bytearray(stream[begin:end]).ljust(4096, b"?"), end - begin)
    return arrivals.wrong(len(stream) // 5)


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@settings(deadline=None)
@given(st.integers(1, 40), CUTS)
def test_replies_are_compared_however_they_are_cut(number: int, cuts: list[int]) -> None:
    """Pieces end anywhere, within a frame as well; bytes that may be any are not looked at."""
    assert arrived(*frames(number), cuts) == (0, False)


@settings(deadline=None)
@given(st.integers(1, 40), CUTS, st.data())
def test_a_wrong_byte_in_a_reply_is_seen(number: int, cuts: list[int], data: st.DataObject) -> None:
    """Any byte but the free ones, in any piece."""
    expected, stream = frames(number)
    at = data.draw(st.integers(0, number - 1)) * 5 + data.draw(st.integers(2, 4))
    assert arrived(expected, stream[:at] + b"!" + stream[at + 1 :], cuts) == (1, True)


@settings(deadline=None)
@given(st.permutations(range(9)), CUTS)
def test_replies_in_another_order_are_told_from_wrong_ones(order: list[int], cuts: list[int]) -> None:
    """Each is there as often as it must be."""
    expected, stream = frames(9)
    pieces = [stream[at * 5 : at * 5 + 5] for at in order]
    same = [bytes(piece[2:]) for piece in pieces] == [stream[at * 5 + 2 : at * 5 + 5] for at in range(9)]
    assert arrived(expected, b"".join(pieces), cuts) == (0, not same)


@settings(deadline=None)
@given(st.integers(0, 3 * CYCLE))
def test_laps_count_what_is_sent(number: int) -> None:
    """As often as each content is among so many."""
    assert +laps(contents(8), number) == Counter(sent(number, 8))


@pytest.mark.parametrize("size", HEADERS)
def test_the_headers_are_those_of_upstream(size: int) -> None:
    """Frames made here are frames of this package's wire, with the same type, content and id."""
    from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS

    layout = next(layout for layout in ALL_LAYOUTS if layout.header_size == size)
    frame = HEADERS[size].frame(b"hello", 201, 9)
    header = layout.unpack(frame)
    assert (header.code, header.size, header.sound) == (201, 5, True)
    assert header.digest == layout.checksum(b"hello")
    assert header.request_id == 9
    assert HEADERS[size].unpack.unpack_from(frame)[:2] == (201, 5)


@pytest.mark.parametrize("wire", WIRES.values(), ids=list(WIRES))
def test_free_bytes_are_none_of_a_content(wire: object) -> None:
    """Whatever a peer may fill as it likes, the content is compared."""
    content = bytes(range(128, 192))
    for frame, free in ((wire.answer(content), wire.free), (wire.broadcast(content), wire.free_note)):  # type: ignore[attr-defined]
        begin = frame.index(content)
        assert not set(free) & set(range(begin, begin + len(content)))
