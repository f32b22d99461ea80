"""Outbox: batches of a turn, their order, and their bounds."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support.deferreds import outcome
from veltix_tx.backplane.interface import BackplaneLimits, History
from veltix_tx.backplane.redis.frames import Kind
from veltix_tx.backplane.redis.outbox import Batch, Outbox

KEPT = History(size=5)


class Out:
    """An outbox on a clock, and what it sends."""

    def __init__(self, limits: BackplaneLimits | None = None) -> None:
        self.clock = Clock()
        self.sent: list[list[tuple[bytes, Any, list[Any]]]] = []
        self.replies: list[Deferred[list[list[Any]]]] = []
        self.outbox = Outbox(self.clock, limits or BackplaneLimits(), self._send)

    def _send(self, group: list[Batch]) -> Deferred[list[list[Any]]]:
        self.sent.append([(batch.channel, batch.kind, list(batch.items)) for batch in group])
        self.replies.append(Deferred())
        return self.replies[-1]

    def put(self, channel: bytes, kind: Any, item: Any, key: object = None, size: int = 1) -> list[Any]:
        """Put something; return what its Deferred fires with."""
        return outcome(self.outbox.put(channel, kind, item, size, key))


def test_what_a_turn_sends_leaves_in_one_command() -> None:
    """Messages of one turn are one batch for each channel, and all of them one command at the turn's end."""
    out = Out()
    results = [out.put(channel, Kind.MESSAGES, item) for channel, item in [(b"a", 1), (b"b", 2), (b"a", 3)]]
    assert out.sent == []

    out.clock.advance(0)

    assert out.sent == [[(b"a", Kind.MESSAGES, [1, 3]), (b"b", Kind.MESSAGES, [2])]]
    out.replies[0].callback([["one", "three"], ["two"]])
    assert results == [["one"], ["two"], ["three"]]
    out.put(b"a", Kind.MESSAGES, 4)
    out.clock.advance(0)
    assert out.sent[1:] == [[(b"a", Kind.MESSAGES, [4])]]


def test_kinds_on_one_channel_keep_their_order() -> None:
    """What is of another kind does not overtake what was put before on the same channel."""
    out = Out()
    for kind, item in [(Kind.MESSAGES, 1), (KEPT, 2), (KEPT, 3), (Kind.MESSAGES, 4), (Kind.PRESENCE, 5)]:
        out.put(b"a", kind, item)

    out.clock.advance(0)

    assert [(kind, items) for group in out.sent for _, kind, items in group] == [
        (Kind.MESSAGES, [1]), (KEPT, [2, 3]), (Kind.MESSAGES, [4]), (Kind.PRESENCE, [5]),
    ]  # fmt: skip


def test_the_latest_change_of_a_member_counts() -> None:
    """Of several items of one key in a turn the last goes out, once, and all who put one are answered."""
    out = Out()
    results = [out.put(b"a", Kind.PRESENCE, item, key) for item, key in [("+", "m"), ("+", "n"), ("-", "m")]]

    out.clock.advance(0)
    out.replies[0].callback([[None, None, None]])

    assert out.sent == [[(b"a", Kind.PRESENCE, ["-", "+"])]]
    assert results == [[None], [None], [None]]


def test_a_long_turn_is_several_commands() -> None:
    """A command carries a quarter of a megabyte at the most, unless one message is longer."""
    out = Out()
    for channel in range(10):
        out.put(b"%d" % channel, Kind.MESSAGES, channel, size=100_000)
    out.put(b"a", Kind.MESSAGES, "long", size=1_000_000)

    out.clock.advance(0)

    assert [sum(len(items) for _, _, items in group) for group in out.sent] == [2, 2, 2, 2, 2, 1]


def test_what_waits_is_bounded_until_it_is_answered() -> None:
    """Over the number or the bytes of the limits it says what is full, until Redis has answered."""
    out = Out(BackplaneLimits(publish_queue=2, publish_bytes=100))
    out.put(b"a", Kind.MESSAGES, 1, size=60)
    assert out.outbox.refusal(41).setting == "publish_bytes"  # type: ignore[union-attr]
    assert out.outbox.refusal(40) is None
    out.put(b"a", Kind.MESSAGES, 2, size=1)
    out.clock.advance(0)
    assert out.outbox.refusal(0).setting == "publish_queue"  # type: ignore[union-attr]

    out.replies[0].callback([[None, None]])

    assert out.outbox.refusal(100) is None


def test_a_failure_reaches_everybody_who_waits() -> None:
    """A command that fails, and a give-up before it was sent, fail all its messages, and free their room."""
    out = Out(BackplaneLimits(publish_queue=1))
    failed = out.put(b"a", Kind.MESSAGES, 1)
    out.clock.advance(0)
    error = ZeroDivisionError()
    out.replies[0].errback(error)
    given_up = out.put(b"a", Kind.MESSAGES, 2)
    out.outbox.give_up(error)
    out.clock.advance(0)

    assert failed == given_up == [error]
    assert len(out.sent) == 1
    assert out.outbox.refusal(0) is None
