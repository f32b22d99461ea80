"""The open connections of a server: who may come, who gives way."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure

from tests.support.line import CountingTransport, Recorder
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.factory import VeltixServerFactory
from veltix_tx.net.shared.admission import _REFUSED_AT_ONCE, _YOUNG, AdmissionControl
from veltix_tx.server import _OTHER_FILES
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import MessageRegistry


class Door:
    """A server's factory whose peers a test lets come, be ready and leave."""

    def __init__(self, most: int = 1000, **limits: int | None) -> None:
        self.clock = Clock()
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        self.connections = AdmissionControl(most, Limits(**limits), Timeouts(), clocks)
        self.factory = VeltixServerFactory(
            Recorder(),
            ServerConfig(wire="3.3.0", handshake_timeout=1000),
            reactor=clocks,
            types=MessageRegistry(),
            connections=self.connections,
        )

    def come(self, host: str = "10.0.0.1") -> Any:
        """Let a peer come; return its protocol, None for one that is closed at once."""
        kind = IPv6Address if ":" in host else IPv4Address
        protocol = self.factory.buildProtocol(kind("TCP", host, 1))
        if protocol is not None:
            protocol.makeConnection(CountingTransport())
        return protocol

    def leave(self, protocol: Any) -> None:
        """Let a connection be lost."""
        protocol.connectionLost(Failure(ConnectionAborted()))


def refused(protocol: Any) -> bool:
    """Whether a peer was told that the server is full."""
    return bool(protocol.transport.disconnecting and not protocol.transport.aborted)


def test_too_many_half_open_ones_let_the_oldest_go(log_events: list[Any]) -> None:
    """Over the limit the oldest of more than three seconds is aborted for the new one, counted and logged; ready ones never are."""
    door = Door(half_open=3)
    ready = door.come("10.0.0.9")
    door.connections.handshake_completed(ready)
    first = door.come("10.0.0.1")
    others = [door.come(f"10.0.0.{number}") for number in (2, 3)]
    door.clock.advance(_YOUNG)
    new = door.come("10.0.0.4")
    assert first.transport.aborted == 1
    assert door.connections.shared.counters["evicted"] == 1
    (line,) = [formatEvent(event) for event in log_events if event["log_level"] is LogLevel.warn]
    assert "this one is the oldest" in line
    assert not any(each.transport.disconnecting for each in (ready, new, *others))
    door.leave(first)
    assert first._closed.reason is DisconnectReason.HANDSHAKE_TIMEOUT
    assert "oldest" in str(first._closed.cause)
    assert len(door.connections) == 4


@pytest.mark.parametrize(
    ("host", "given", "most"),
    [("192.0.2.7", None, 1000), ("127.0.0.1", None, None), ("127.3.2.1", None, None), ("::1", None, None), ("127.0.0.1", 3, 3)],
)
def test_this_machine_is_no_source_like_others(host: str, given: int | None, most: int | None) -> None:
    """A proxy of this machine may stand for everybody: unless a number is given, it may have any number of connections."""
    door = Door(10_000, per_source=given)
    peers = []
    for _ in range((most or 1500) + 1):
        peers.append(door.come(host))
        door.connections.handshake_completed(peers[-1])
    assert [refused(each) for each in peers] == [False] * (len(peers) - 1) + [most is not None]


def test_those_that_are_told_leave_descriptors_for_everything_else() -> None:
    """A flood at a full server takes no more than half of the file descriptors that connections must leave."""
    door = Door(0)
    told = [each for each in [door.come() for _ in range(1000)] if each is not None]
    assert len(told) <= _OTHER_FILES / 2


def test_several_that_come_in_one_turn_each_make_room() -> None:
    """One that gave way counts no more, though it is lost only in a later turn; it is still listed until then."""
    door = Door(half_open=3)
    old = [door.come() for _ in range(3)]
    door.clock.advance(_YOUNG)
    new = [door.come() for _ in range(3)]
    assert [each.transport.aborted for each in old + new] == [1, 1, 1, 0, 0, 0]
    assert door.connections.shared.counters["evicted"] == 3
    assert set(door.connections) == {*old, *new}
    assert len(door.connections) == 3
    for each in old:
        door.leave(each)
    assert set(door.connections) == set(new)
    assert door.connections.half_open() == new


def test_nobody_younger_than_a_second_gives_way() -> None:
    """Honest clients that come all at once are all let in, however many."""
    door = Door(half_open=3, half_open_per_source=2)
    peers = [door.come() for _ in range(500)]
    assert door.connections.shared.counters["evicted"] == 0
    assert not any(each.transport.disconnecting for each in peers)


def test_a_source_with_many_half_open_ones_drops_its_own() -> None:
    """One source cannot push out the half-open connections of others."""
    door = Door(half_open_per_source=2)
    other = door.come("10.0.0.1")
    mine = [door.come("2001:db8::1"), door.come("2001:db8::2")]
    door.clock.advance(_YOUNG)
    door.come("2001:db8::3")
    assert (other.transport.aborted, mine[0].transport.aborted, mine[1].transport.aborted) == (0, 1, 0)
    door.come("2001:db8:0:1::3")
    assert mine[1].transport.aborted == 0


def test_a_source_of_many_young_ones_does_not_fill_the_server() -> None:
    """When the server is full of one source's half-open connections, one of these gives way to another source, however young."""
    door = Door(20, half_open_per_source=4)
    flood = [door.come("10.0.0.66") for _ in range(20)]
    honest = [door.come(f"10.0.0.{number}") for number in range(1, 6)]
    assert [refused(each) for each in honest] == [False] * 5
    assert [each.transport.aborted for each in flood] == [1] * 5 + [0] * 15
    assert refused(door.come("10.0.0.66"))
    few = Door(4, half_open_per_source=4)
    for _ in range(4):
        few.come("10.0.0.66")
    assert refused(few.come("10.0.0.1"))


def test_a_full_source_is_refused_and_others_are_not() -> None:
    """Over per_source a source's next one is refused; another source's, and those of this machine's own kinds, are not."""
    door = Door(per_source=2)
    mine = [door.come() for _ in range(2)]
    for each in mine:
        door.connections.handshake_completed(each)
    assert refused(door.come())
    assert not refused(door.come("10.0.0.2"))
    door.leave(mine[0])
    assert not refused(door.come())
    for _ in range(3):
        protocol = door.factory.buildProtocol(UNIXAddress(None))
        assert protocol in set(door.connections)
        assert not protocol._refusing


@pytest.mark.parametrize("limits", [{"most": 3}, {"per_source": 3}])
def test_half_open_ones_do_not_fill_the_server(limits: dict[str, int]) -> None:
    """At max_connections, or one source's limit, a half-open connection older than a second gives way to a new one."""
    door = Door(**limits)
    old = [door.come() for _ in range(3)]
    assert refused(door.come())
    door.clock.advance(_YOUNG)
    new = door.come()
    assert not new.transport.disconnecting
    assert old[0].transport.aborted == 1
    assert len(door.connections) == 3


def test_only_so_many_are_told_that_the_server_is_full() -> None:
    """The first connections over the limit are refused with a word, further ones are closed at once, and all are counted."""
    door = Door(most=1)
    door.connections.handshake_completed(door.come())
    told = [door.come() for _ in range(_REFUSED_AT_ONCE)]
    assert all(refused(each) for each in told)
    assert door.come() is None
    door.leave(told[0])
    assert door.come() is not None
    assert door.connections.shared.counters["refused"] == _REFUSED_AT_ONCE + 2
    assert len(door.connections) == 1
    assert len(list(door.connections)) == _REFUSED_AT_ONCE + 1


def test_nothing_is_kept_of_those_that_are_gone() -> None:
    """When all have left, no source and no connection is remembered."""
    door = Door(most=40, half_open=20, half_open_per_source=5, per_source=30)
    alive = []
    for number in range(300):
        protocol = door.come(f"10.0.0.{number % 7}")
        if number % 3 == 0:
            door.clock.advance(0.4)
        if protocol is None:
            continue
        alive.append(protocol)
        if number % 2 == 0:
            door.connections.handshake_completed(protocol)
        if number % 5 == 0:
            door.leave(alive.pop(0))
    for each in alive:
        door.leave(each)
    connections = door.connections
    assert len(connections) == 0
    assert list(connections) == []
    assert not any((connections._per_source, connections._half_open, connections._half_open_of, connections._leaving))


def test_without_a_limit_everyone_may_come() -> None:
    """-1 means no limit."""
    door = Door(most=-1)
    assert not any(door.come().transport.disconnecting for _ in range(50))
