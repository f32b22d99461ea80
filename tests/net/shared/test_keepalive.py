"""The heartbeat: silent peers are asked, and dead ones found."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

from twisted.internet.task import Clock

from veltix_tx.net.clock import Clocks
from veltix_tx.net.shared.keepalive import Heartbeat


class Patient:
    """A connection on a clock, looked after by a heartbeat, and what was done to it when."""

    def __init__(
        self, ping_interval: float = 20, ping_timeout: float = 10, *, idle: float = inf, answers_pings: bool = True
    ) -> None:
        self.clock = Clock()
        self.answers_pings = answers_pings
        self.paused = self.owes_answers = False
        self.bytes_taken: int | None = None
        self.did: list[tuple[float, str]] = []
        self.last_received = 0.0
        self.pinged_at: float | None = None
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        self.heartbeat = Heartbeat(clocks, ping_interval, ping_timeout, idle)
        self.heartbeat.add(self)

    def _may_log(self) -> bool:
        """Let everything be logged."""
        return True

    def log_fields(self) -> dict[str, str]:
        """Be named."""
        return {"peer": "192.0.2.1:1", "connection": "1-1"}

    def send_probe(self) -> None:
        """Be asked."""
        self.did.append((self.clock.seconds(), "ping"))

    def abort_dead_peer(self) -> None:
        """Be given up."""
        self.did.append((self.clock.seconds(), "dead"))
        self.heartbeat.discard(self)

    def close_idle_peer(self) -> None:
        """Be closed."""
        self.did.append((self.clock.seconds(), "idle"))
        self.heartbeat.discard(self)

    def wait(self, seconds: float, *, heard: bool = False) -> None:
        """Let time pass by the second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            if heard:
                self.last_received = self.clock.seconds()


def test_a_silent_peer_is_asked_and_then_dead() -> None:
    """After the silence comes one ping, and after the pong time the end."""
    patient = Patient()
    patient.wait(100)
    assert patient.did == [(20, "ping"), (30, "dead")]
    assert patient.clock.getDelayedCalls() == []


def test_a_peer_that_talks_is_never_asked() -> None:
    """While bytes come, no ping is sent; the silence counts from the last one."""
    patient = Patient()
    patient.wait(65, heard=True)
    assert patient.did == []
    patient.wait(40)
    assert patient.did == [(85, "ping"), (95, "dead")]


def test_a_new_connection_is_asked_in_time_while_an_older_one_is_given_longer() -> None:
    """A peer that has been pinged and has a minute to answer does not hold up the ping to another one."""
    first, second = Patient(ping_interval=20, ping_timeout=60), Patient(ping_interval=20, ping_timeout=60)
    first.wait(25)
    assert [did for _, did in first.did] == ["ping"]
    second.clock, second.heartbeat, second.did = first.clock, first.heartbeat, []
    first.heartbeat.add(second)
    first.wait(21)
    assert [did for _, did in second.did] == ["ping"]


def test_any_byte_after_the_ping_is_life() -> None:
    """A peer that answers each ping lives, and is asked again after as much silence."""
    patient = Patient()
    for number in range(1, 6):
        patient.wait(20)
        patient.last_received = patient.clock.seconds()
        assert patient.did[-1] == (20 * number, "ping")
    assert len(patient.did) == 5


def test_a_paused_peer_is_pinged_but_never_dead() -> None:
    """While reading is paused silence means nothing; the pings go on, and when reading resumes the silence begins anew."""
    patient = Patient()
    patient.wait(25)
    patient.paused = True
    patient.wait(100)
    assert patient.did == [(20, "ping"), (30, "ping"), (50, "ping"), (70, "ping"), (90, "ping"), (110, "ping")]
    patient.did.clear()
    patient.paused = False
    patient.heartbeat.reading_resumed(patient)
    patient.wait(60)
    assert patient.did == [(145, "ping"), (155, "dead")]


def test_many_connections_are_looked_after_by_one_timer() -> None:
    """However many there are and whenever they began, each is asked a little early, and given up in time."""
    clock, grain = Clock(), 0.625
    heartbeat = Heartbeat(Clocks(clock, clock.seconds, clock.seconds), 20, 10)
    patients = []
    for _ in range(50):
        patient = Patient()
        patient.clock, patient.heartbeat, patient.did = clock, heartbeat, []
        heartbeat.add(patient)
        patients.append((clock.seconds(), patient))
        clock.advance(0.1)
        assert len(clock.getDelayedCalls()) == 1
    clock.pump([0.1] * 600)
    for began, patient in patients:
        (asked, ping), (given_up, dead) = patient.did
        assert (ping, dead) == ("ping", "dead")
        assert began + 20 - 2 * grain - 0.1 <= asked <= began + 20 - grain + 0.1
        assert asked + 10 - 1e-6 <= given_up <= began + 30
    assert len(heartbeat) == 0
    assert clock.getDelayedCalls() == []


def test_a_turn_of_the_reactor_looks_at_some_of_many_connections() -> None:
    """However many are due at once, a turn asks a bounded number, and all are asked one after the other; none twice."""
    first = Patient()
    clock, heartbeat = first.clock, first.heartbeat
    others = [Patient() for _ in range(999)]
    for each in others:
        each.clock = clock
        heartbeat.add(each)
    asked: list[int] = []
    turns = clock.callLater

    def call_later(seconds: float, function: Any, *arguments: Any) -> Any:
        asked.append(sum(map(len, (each.did for each in (first, *others)))))
        return turns(seconds, function, *arguments)

    clock.callLater = call_later  # type: ignore[method-assign]
    clock.advance(20)
    assert max(later - before for before, later in pairwise(asked)) <= 256
    assert [each.did for each in (first, *others)] == [[(20.0, "ping")]] * 1000
    clock.advance(10)
    assert {each.did[-1] for each in (first, *others)} == {(30.0, "dead")}


def test_a_peer_that_takes_what_waits_for_it_lives() -> None:
    """A silent peer to which the ping has a long way lives while it takes some of what waits, and has a pong's time after that."""
    patient = Patient()
    patient.bytes_taken = 1000
    patient.wait(20)
    for taken in (1001, 1002, 5000):
        patient.bytes_taken = taken
        patient.wait(10)
    patient.bytes_taken = None  # all of it
    patient.wait(10)
    assert patient.did == [(20, "ping")]
    patient.wait(30)
    assert patient.did == [(20, "ping"), (70, "dead")]


def test_a_peer_that_takes_nothing_is_dead() -> None:
    """What waits for a silent peer saves it only while there is less and less of it."""
    patient = Patient()
    patient.bytes_taken = 1000
    patient.wait(100)
    assert patient.did == [(20, "ping"), (30, "dead")]


def test_a_peer_that_no_ping_can_ask_is_closed_when_it_has_been_idle() -> None:
    """On a wire without pings a silence as long as ``timeouts.idle`` is the end; every byte begins it anew."""
    patient = Patient(idle=45, answers_pings=False)
    patient.wait(30)
    patient.last_received = patient.clock.seconds()
    patient.wait(100)
    assert patient.did == [(75, "idle")]
    assert patient.clock.getDelayedCalls() == []


def test_without_an_idle_timeout_no_timer_looks_after_a_peer_that_no_ping_can_ask() -> None:
    """``math.inf`` is no end, and costs nothing."""
    patient = Patient(answers_pings=False)
    assert patient.clock.getDelayedCalls() == []


def test_a_paused_peer_is_not_idle() -> None:
    """While reading is paused silence means nothing; afterwards it counts anew."""
    patient = Patient(idle=5, answers_pings=False)
    patient.paused = True
    patient.wait(50)
    patient.paused = False
    patient.wait(10)
    assert patient.did == [(55, "idle")]


def test_a_peer_that_waits_for_an_answer_is_not_idle() -> None:
    """Its silence is this side's; it counts from the answer on."""
    patient = Patient(idle=5, answers_pings=False)
    patient.owes_answers = True
    patient.wait(50)
    patient.owes_answers = False
    patient.wait(10)
    assert patient.did == [(55, "idle")]


def test_an_idle_end_is_in_time_beside_peers_that_are_pinged() -> None:
    """One timer looks after both kinds, and neither makes the other late, whoever came first."""
    pinged = Patient(ping_interval=20, ping_timeout=60, idle=7)
    pinged.wait(22)
    idle = Patient(idle=7, answers_pings=False)
    idle.clock, idle.heartbeat = pinged.clock, pinged.heartbeat
    idle.heartbeat.add(idle)
    pinged.wait(10)
    assert idle.did == [(29, "idle")]
    pinged.wait(60)
    assert pinged.did == [(19, "ping"), (79, "dead")]  # a grain early


class Fragile(Patient):
    """A connection whose end is that of another, too, or which raises."""

    other: Patient | None = None

    def abort_dead_peer(self) -> None:
        """Take the other one along."""
        super().abort_dead_peer()
        if self.other is not None:
            self.heartbeat.discard(self.other)

    def send_probe(self) -> None:
        """Fail, where there is no other."""
        super().send_probe()
        if self.other is None:
            raise RuntimeError("no way to ask")


def test_an_end_or_an_error_of_one_connection_is_not_that_of_the_others(logged_failures: Any) -> None:
    """One that ended in the same look is not asked any more; what one raises is logged, and the looks go on."""
    clock = Clock()
    heartbeat = Heartbeat(Clocks(clock, clock.seconds, clock.seconds), 20, 10)
    first, second, broken, last = Fragile(), Patient(), Fragile(), Patient()
    first.other = second
    for each in (first, second, broken, last):
        each.clock, each.heartbeat, each.did = clock, heartbeat, []
        heartbeat.add(each)
    second.last_received, last.last_received = 10, 12
    clock.pump([1] * 60)
    assert first.did == [(20, "ping"), (30, "dead")]
    assert second.did == []
    assert broken.did == [(20, "ping"), (30, "dead")]
    assert last.did == [(32, "ping"), (42, "dead")]
    assert len(logged_failures.flush(RuntimeError)) == 1
