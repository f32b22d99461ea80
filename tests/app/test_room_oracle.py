"""Recovery in rooms, driven at random: what every client got, and its gaps, are together the publishers' log.

Servers of one hub publish, clients lose their connections with messages on the way, come back to any node, nodes are cut off, the
engine loses everything, time passes. Whatever happens, each client's positions go on one by one, or by a gap that tells what is
missing, nothing comes twice, and at the end everybody is where the log is.
"""

from __future__ import annotations

import os
from random import Random
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred

from veltix_tx import (
    Client,
    Delivery,
    DisconnectReason,
    Gap,
    History,
    MessageRegistry,
    MessageType,
    Position,
    RoomMessage,
    Server,
    SessionClosed,
)
from veltix_tx.backplane.envelope import Envelopes, Message
from veltix_tx.backplane.interface import BackplaneState, HistoryPage
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.errors import BackplaneUnavailable
from veltix_tx.testing import MemoryNetwork

V = TypeVar("V")

EXAMPLES = int(os.environ.get("VELTIX_EXAMPLES", "50"))
"""How many runs of the state machine; more for a long run by hand."""

SIZE, TTL, LEASE = 4, 30.0, 10.0
NODES, CLIENTS = 3, 3
ABORTED = SessionClosed(DisconnectReason.MANUAL)


class Slow(MemoryBackplane):
    """A backplane that keeps the log, and whose answers and messages take their time, one another's order kept by neither.

    Args:
        machine: whose log it keeps, and who says how long everything takes.
    """

    def __init__(self, machine: RecoveryMachine) -> None:
        super().__init__(machine.hub)
        self._machine = machine
        self._due = False

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish, and write down what has been kept; the publisher hears of it later, or not."""
        published = super().publish(topic, payload, history)
        published.addCallback(self._write_down, topic, payload)
        return self._later(published)

    def _write_down(self, position: Position | None, topic: str, payload: bytes) -> Position | None:
        if position is not None:
            assert position not in self._machine.log
            self._machine.log[position] = Envelopes[Message](Message).open(payload, topic).content
        return position

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[HistoryPage]:
        """Return a page as it is now, later."""
        return self._later(super().history(topic, since, limit))

    def subscribe(self, topic: str) -> Deferred[bool]:
        """Subscribe at once; who asked hears of it later."""
        return self._later(super().subscribe(topic))

    def _later(self, outcome: Deferred[V]) -> Deferred[V]:
        seconds, outages = self._machine.delay(), self.counters["outages"]
        if not seconds or not self._joined:
            return outcome
        later: Deferred[V] = Deferred()

        def fire() -> None:
            if self.counters["outages"] > outages:
                outcome.addErrback(lambda _: None)
                later.errback(BackplaneUnavailable("it was cut off", uncertain=True))
            else:
                outcome.chainDeferred(later)

        self._machine.network.clock.callLater(seconds, fire)
        return later

    def _take(self) -> None:
        seconds = self._machine.delay()
        if not seconds:
            super()._take()
        elif not self._due:
            self._due = True
            self._machine.network.clock.callLater(seconds, self._take_late)

    def _take_late(self) -> None:
        self._due = False
        super()._take()


class Reader:
    """A client, and all that it got of the room."""

    def __init__(self, machine: RecoveryMachine) -> None:
        self.got: list[RoomMessage[bytes] | Gap] = []
        self.client = Client(types=machine.types)
        self.client.set_callback("on_recv", self.got.append)
        self.client.on_gap(self.got.append)
        self.begin: Position | None = None

    @property
    def contents(self) -> list[bytes]:
        """Contents of the messages that it got."""
        return [each.content for each in self.got if isinstance(each, RoomMessage)]


class RecoveryMachine(RuleBasedStateMachine):
    """Nodes, readers and a log of what was published."""

    delays: tuple[float, ...] = (0.0,)

    def __init__(self) -> None:
        super().__init__()
        self.random = Random(0)
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.network = MemoryNetwork()
        self.hub = MemoryHub(lease=LEASE)
        self.log: dict[Position, bytes] = {}
        self.published = 0
        self.flushes = 0
        self.outcomes: list[Delivery] = []
        self.servers = [self.make_server() for _ in range(NODES)]
        self.readers = [Reader(self) for _ in range(CLIENTS)]

    def make_server(self) -> Server:
        """Start a node, whose clients are in the room at once."""
        server = Server(types=self.types, backplane=Slow(self))
        room = server.room("room", history=History(SIZE, TTL))
        server.set_callback("on_connect", room.join)
        self.network.serve(server)
        return server

    def delay(self) -> float:
        """Return seconds that something takes."""
        return self.random.choice(self.delays)

    @initialize(seed=st.integers(0, 1000))
    def seed(self, seed: int) -> None:
        """Say how long everything takes."""
        self.random.seed(seed)

    @rule(node=st.integers(0, NODES - 1), count=st.integers(1, SIZE + 2), deliver=st.booleans())
    def publish(self, node: int, count: int, deliver: bool) -> None:
        """Publish on a node, on the way only or to the end."""
        server = self.servers[node]
        for _ in range(count):
            self.published += 1
            content = b"%d" % self.published
            server.room("room").broadcast(self.chat, content).addCallback(self.outcomes.append)
        if deliver:
            self.network.pump()

    @rule(reader=st.integers(0, CLIENTS - 1), node=st.integers(0, NODES - 1), politely=st.booleans())
    def come_back(self, reader: int, node: int, politely: bool) -> None:
        """Connect a reader, anew where it is connected; what was on the way to it may be lost."""
        client = self.readers[reader].client
        if client.session is not None and not politely:
            client.session._transport.abort(ABORTED)
        client.disconnect()
        self.network.pump()
        self.network.connect(client, to=self.servers[node])

    @rule(reader=st.integers(0, CLIENTS - 1))
    def go_away(self, reader: int) -> None:
        """End a reader's connection at once."""
        session = self.readers[reader].client.session
        if session is not None:
            session._transport.abort(ABORTED)
            self.network.pump()

    @rule(node=st.integers(0, NODES - 1))
    def cut(self, node: int) -> None:
        """Cut a node off from the others."""
        self.hub.cut(self.servers[node].backplane)

    @rule(node=st.integers(0, NODES - 1))
    def restore(self, node: int) -> None:
        """Let a node join again."""
        self.hub.restore(self.servers[node].backplane)

    @rule(node=st.integers(0, NODES - 1))
    def kill(self, node: int) -> None:
        """Kill a node: its connections end, nobody is told, and another one is started."""
        server = self.servers[node]
        self.hub.cut(server.backplane)
        for session in server._hub:
            session._transport.abort(ABORTED)
        self.network.pump()
        self.servers[node] = self.make_server()

    @precondition(lambda self: self.flushes < 3)
    @rule()
    def flush(self) -> None:
        """Lose every history."""
        self.flushes += 1
        self.hub.flush()

    @rule(seconds=st.sampled_from([0.05, 1.0, LEASE, TTL]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.network.advance(seconds)

    @invariant()
    def positions_go_on_or_a_gap_tells(self) -> None:
        """Each reader's positions are without a hole that no gap tells, and its messages are those of the log."""
        for reader in self.readers:
            here: Position | None = None
            told: Position | None = None  # as the client was, which does not know the places of what came without
            unplaced = {each.content for each in reader.got if isinstance(each, RoomMessage) and each.position is None}
            for each in reader.got:
                while here is not None and self.log.get(following := Position(here.epoch, here.offset + 1)) in unplaced:
                    here = following  # it came before anybody knew its place
                if isinstance(each, Gap):
                    if told is not None and here is not None:
                        assert each.since.epoch == here.epoch
                        assert told.offset <= each.since.offset <= here.offset, (told, here, each)
                    assert each.since.epoch != each.until.epoch or each.since.offset < each.until.offset
                    here = told = each.until
                elif each.position is not None:
                    assert here is None or each.position == Position(here.epoch, here.offset + 1), (here, each)
                    assert self.log[each.position] == each.content
                    here = told = each.position
            assert len(set(reader.contents)) == len(reader.contents), "nothing comes twice"
            known = reader.client.room_positions.get("room")
            assert here is None or known is not None

    def teardown(self) -> None:
        """Restore everything: every reader that is connected ends where the log does."""
        for server in self.servers:
            self.hub.restore(server.backplane)
        for reader in self.readers:
            if reader.client.session is None:
                self.network.connect(reader.client, to=self.servers[0])
        self.network.advance(3)
        assert all(server.backplane.state is BackplaneState.UP for server in self.servers)
        self.publish(0, 1, True)
        self.network.advance(3)
        assert len(self.outcomes) == self.published, "every broadcast comes to an end"
        last = list(self.log)[-1]
        for reader in self.readers:
            assert reader.client.room_positions["room"] == last
            assert reader.contents[-1] == self.log[last]
        self.positions_go_on_or_a_gap_tells()
        self.network.stop()


class SlowRecoveryMachine(RecoveryMachine):
    """The same, with answers and messages that take their time."""

    delays = (0.0, 0.0, 0.01, 0.05, 0.3)


@pytest.mark.parametrize("machine", [RecoveryMachine, SlowRecoveryMachine])
def test_whatever_happens_messages_and_gaps_are_the_log(machine: type[RecoveryMachine]) -> None:
    """Every client's positions and gaps are together the publishers' log, and nobody gets anything twice."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.reuse, Phase.generate),  # the steps say enough, and to shorten them takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
