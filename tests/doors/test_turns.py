"""Turns of the reactor on every wire: what one peer sends in one piece keeps the others waiting for a turn's work at most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.netconduit import COMPRESSED, LOGIN, PASSWORD, frame
from veltix_tx import TEXT, Lines, MessageRegistry, MessageType, Netconduit, Server
from veltix_tx.net.connection.turns import MOST_EVENTS
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.netconduit.frames import FrameType


@pytest.fixture
def network() -> Iterator[MemoryNetwork]:
    """Return a network."""
    with MemoryNetwork() as made:
        yield made


class Meter:
    """Values of the messages that are handled, and how many of them come before what is due for others has its turn."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.values: list[Any] = []
        self.most = 0
        self._before = -1
        self._network = network

    def take(self, client: object, message: Any) -> None:
        """Handle a message."""
        if self._before < 0:
            self._before = 0
            self._network.clock.callLater(0, self._look)
        self.values.append(message.value)

    def _look(self) -> None:
        """Have a turn, as long as there is something to see."""
        new, self._before = len(self.values) - self._before, len(self.values)
        self.most = max(self.most, new)
        if new:
            self._network.clock.callLater(0, self._look)


def test_empty_lines_take_turns(network: MemoryNetwork) -> None:
    """64 KiB of line feeds are 65,536 messages: others wait for no more than a turn's, and every line is handled, in order."""
    server = Server(wire=Lines())
    meter = Meter(network)
    server.register_route(TEXT, meter.take)
    network.serve(server)
    flooding = network.dial()

    flooding.send(b"\n" * 65_535 + b"end\n")

    assert meter.values == [""] * 65_535 + ["end"]
    assert meter.most <= 2 * MOST_EVENTS  # a turn may be all but over when the next one is seen
    assert not flooding.closed


def test_the_end_of_a_stream_waits_for_the_lines_before_it(network: MemoryNetwork) -> None:
    """A peer that ends its stream behind a flood, as netcat does, is answered to the last line."""
    server = Server(wire=Lines())
    server.register_route(TEXT, lambda client, message: message.value)
    network.serve(server)
    flooding = network.dial(stays=True)
    assert flooding.transport is not None
    flooding.transport.write(b"a\n" * 10_000)
    flooding.end_stream()
    assert flooding.received == b"a\n" * 10_000
    assert flooding.stream_ended


def bomb(number: int, values: int) -> bytes:
    """Return a compressed MESSAGE of so many values."""
    return frame(FrameType.MESSAGE, {"type": "chat", "data": [number] + [0] * values}, flags=COMPRESSED)


def test_compressed_values_take_turns(network: MemoryNetwork) -> None:
    """Of compressed messages, each full of values, one or two are decoded before others have their turn; all are, in order."""
    types = MessageRegistry()
    chat = MessageType(name="chat", registry=types)
    server = Server(wire=Netconduit(PASSWORD), types=types)
    meter = Meter(network)
    server.register_route(chat, meter.take)
    network.serve(server)
    peer = network.dial()
    peer.send(LOGIN)
    network.advance(0.2)

    peer.send(b"".join(bomb(number, 50_000) for number in range(40)))

    assert [value[0] for value in meter.values] == list(range(40))
    assert meter.most <= 2


@pytest.mark.parametrize("values", [10, 2000])
def test_small_compressed_messages_do_not_wait(network: MemoryNetwork, values: int) -> None:
    """Compressed messages of an ordinary size are handled with the read that brings them."""
    types = MessageRegistry()
    chat = MessageType(name="chat", registry=types)
    server = Server(wire=Netconduit(PASSWORD), types=types)
    meter = Meter(network)
    server.register_route(chat, meter.take)
    network.serve(server)
    peer = network.dial()
    peer.send(LOGIN)
    network.advance(0.2)
    peer.send(b"".join(bomb(number, values) for number in range(20)))
    assert len(meter.values) == 20
    assert server.counters["reads_paused"] == 0
