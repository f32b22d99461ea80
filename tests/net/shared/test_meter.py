"""Meter of a listener's traffic."""

from __future__ import annotations

from typing import Any

import pytest

from veltix_tx.net.shared.meter import LOOKS, MOST_KEYS, SAMPLE, Meter
from veltix_tx.wire.events import Pong
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response

TYPES = MessageRegistry()
ONE, OTHER = MessageType(200, "one", registry=TYPES), MessageType(201, "other", registry=TYPES)


def messages(*types: MessageType) -> list[Any]:
    """Return messages of these types, of ten bytes each."""
    return [Response(each, b"12345678", 1, b"", 0) for each in types]


@pytest.fixture
def meter() -> Meter:
    """A meter."""
    return Meter("tcp:1", "auto", lambda seconds: None)


def read(meter: Meter, *types: MessageType) -> None:
    """Read messages of these types at once."""
    if meter.received.left > 0:
        meter.look_at_received(messages(*types), 2)
    meter.messages_in += len(types)
    meter.bytes_in += 10 * len(types)


@pytest.mark.parametrize("size", [1, LOOKS, 2 * LOOKS - 1, 2 * LOOKS, 1000, 1001, 1007])
def test_every_message_of_a_read_is_counted(size: int, meter: Meter) -> None:
    """A read of one type is counted whole, whatever its size."""
    read(meter, *[ONE] * size)
    meter.settle()
    assert (meter.received.messages, meter.received.bytes) == ({200: size}, {200: 10 * size})


def test_types_of_short_reads_are_exact(meter: Meter) -> None:
    """All messages are looked at where there are few; what is no message is none, and its bytes are nobody's."""
    read(meter, ONE, OTHER, ONE)
    meter.look_at_received([Pong(None)], 2)
    meter.bytes_in += 2
    read(meter, OTHER)
    meter.settle()
    assert meter.received.messages == {200: 2, 201: 2}
    assert meter.received.bytes == {200: 20, 201: 20, None: 2}


def test_types_of_a_long_read_are_estimated(meter: Meter) -> None:
    """Of a read with many the sum is exact, and runs of a type are told within the messages that a look stands for."""
    read(meter, *[ONE] * 600, *[OTHER] * 400)
    meter.settle()
    assert sum(meter.received.messages.values()) == pytest.approx(1000)
    assert abs(meter.received.messages[200] - 600) <= 1000 // LOOKS


def test_so_many_are_looked_at_until_it_settles(meter: Meter) -> None:
    """Behind them messages count as these did; settled, it looks anew."""
    for _ in range(SAMPLE // 2):
        read(meter, ONE, OTHER)
    for _ in range(100):
        read(meter, ONE)
    meter.settle()
    assert meter.received.messages == {200: (SAMPLE + 100) / 2, 201: (SAMPLE + 100) / 2}
    read(meter, ONE)
    meter.settle()
    assert meter.received.messages[200] == (SAMPLE + 100) / 2 + 1


def test_both_buffers_of_a_long_message_are_of_its_type(meter: Meter) -> None:
    """A message in two buffers is one, with the bytes of both; of a ping there is neither type nor message."""
    keys = {b"header": 200, b"whole": 201}
    buffers = [b"ping", b"header", b"content", b"whole", b"ping"]
    meter.look_at_sent(buffers, keys.get)
    meter.buffers_out += len(buffers)
    meter.bytes_out += sum(map(len, buffers))
    meter.settle()
    assert meter.sent.messages == {200: 1, 201: 1}
    assert meter.sent.bytes == {200: len("headercontent"), 201: len("whole") + len("ping"), None: len("ping")}


def test_a_peer_cannot_make_types_without_end(meter: Meter) -> None:
    """Further types than :data:`MOST_KEYS` are counted together."""
    registry = MessageRegistry(open=True)
    for code in range(200, 200 + MOST_KEYS + 10):
        known = registry.get(code)
        assert known is not None
        read(meter, known)
        meter.settle()
    assert len(meter.received.messages) == MOST_KEYS + 1
    assert meter.received.messages[None] == 10
