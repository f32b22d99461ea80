"""The heartbeat: silent peers are asked, and dead ones found."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from veltix_tx.net.clock import Clocks
from veltix_tx.net.shared.keepalive import Heartbeat


class Patient:
    """A connection on a clock, looked after by a heartbeat, and what was done to it when."""

    def __init__(self, ping_interval: float = 20, ping_timeout: float = 10) -> None:
        self.clock = Clock()
        self.paused = False
        self.bytes_taken: int | None = None
        self.did: list[tuple[float, str]] = []
        self.last_received = 0.0
        self.pinged_at: float | None = None
        self.heartbeat = Heartbeat(Clocks(self.clock, self.clock.seconds, self.clock.seconds), ping_interval, ping_timeout)
        self.heartbeat.add(self)

    def _may_log(self) -> bool:
        """Let everything be logged."""
        return True

    def send_probe(self) -> None:
        """Be asked."""
        self.did.append((self.clock.seconds(), "ping"))

    def abort_dead_peer(self) -> None:
        """Be given up."""
        self.did.append((self.clock.seconds(), "dead"))
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
