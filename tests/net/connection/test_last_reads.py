"""The last reads of a connection that is to take no more, on a kernel whose unread bytes a test makes up."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.support.deferreds import outcome
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.connection import last_reads, protocol
from veltix_tx.net.connection.last_reads import QUIET


class Kernel:
    """How many bytes it says are unread, and how often it was told to acknowledge."""

    def __init__(self) -> None:
        self.unread = 0
        self.acknowledged = 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Stand in for the kernel of every transport."""
    kernel = Kernel()

    def acknowledge(transport: object) -> None:
        kernel.acknowledged += 1

    monkeypatch.setattr(last_reads, "unread", lambda transport: kernel.unread)
    monkeypatch.setattr(protocol, "unread", lambda transport: kernel.unread)
    monkeypatch.setattr(last_reads, "acknowledge", acknowledge)
    return kernel


def settle(line: Any) -> None:
    """Let the time pass in which something more may come."""
    for _ in range(3):
        line.clock.advance(QUIET)


def said(line: Any, *contents: bytes) -> bytes:
    """Return messages of the far end as bytes."""
    for content in contents:
        line.far.send(line.chat, content, None)
    return b"".join(line.far.data_to_send())


def test_nothing_unread_is_over_at_once(kernel: Kernel, server_line: Any) -> None:
    """A session whose socket holds nothing takes no more from the moment it drains."""
    line = server_line()
    line.shake()
    line.protocol.session.drain()
    line.say(b"too late")
    assert line.application.contents == []


def test_what_is_unread_is_taken_and_nothing_behind_it(kernel: Kernel, server_line: Any) -> None:
    """Messages are taken until the socket is empty, has been acknowledged and stays so for a moment; then no more."""
    line = server_line()
    line.shake()
    first, second, third, fourth = (said(line, content) for content in (b"1", b"2", b"3", b"4"))
    kernel.unread = len(first + second)
    drained = outcome(line.protocol.session.drain())
    line.clock.advance(1)
    kernel.unread = len(second)
    line.protocol.dataReceived(first)
    line.clock.advance(1)
    kernel.unread = 0
    line.protocol.dataReceived(second)
    line.clock.advance(0.01)
    assert kernel.acknowledged == 1
    line.protocol.dataReceived(third)  # it came for the acknowledgement
    line.clock.advance(0.2)
    assert line.protocol.session.closed is None
    settle(line)
    line.protocol.dataReceived(fourth)
    assert line.application.contents == [b"1", b"2", b"3"]
    assert line.protocol.session.closed is not None
    line.lose()
    line.clock.advance(0)
    assert drained == [None]
    assert line.clock.getDelayedCalls() == []


def test_reading_ends_after_one_messages_worth(kernel: Kernel, server_line: Any) -> None:
    """Of a peer that sends all the time no more is taken than one message may have, but what was unread at first in any case."""
    line = server_line(max_message_size=1000)
    line.shake()
    kernel.unread = 2000
    line.protocol.session.drain()
    taken = 0
    while line.protocol.session.closed is None:
        line.say(b"x" * 485)
        line.clock.advance(0)
        taken += 500
        assert taken <= 2000
    assert taken == 2000


def test_reading_pauses_as_ever(kernel: Kernel, server_line: Any) -> None:
    """What is unread waits while handlers are busy, and is taken when they have gone on."""
    line = server_line(limits=Limits(inflight=2), timeouts=Timeouts(ping_interval=1000))
    session = line.shake()
    gates: list[Deferred[bytes]] = []

    def later(session: Any, message: Any) -> Deferred[bytes]:
        gates.append(Deferred())
        return gates[-1]

    line.application.on_message = later
    pieces = [said(line, b"1", b"2"), said(line, b"3")]
    kernel.unread = sum(map(len, pieces))
    session.drain()
    kernel.unread -= len(pieces[0])
    line.protocol.dataReceived(pieces[0])
    assert line.transport.producerState == "paused"
    line.clock.advance(20)
    assert session.closed is None
    gates[0].callback(b"re 1")
    assert line.transport.producerState == "producing"
    kernel.unread = 0
    line.protocol.dataReceived(pieces[1])
    settle(line)
    assert session.closed is None
    for number in (1, 2):
        gates[number].callback(b"re %d" % (number + 1))
    assert line.answers() == [b"re 1", b"re 2", b"re 3"]
    assert session.closed is not None


@pytest.mark.parametrize("how", ["lost", "closed", "given up"])
def test_the_end_of_the_connection_ends_it(how: str, kernel: Kernel, server_line: Any) -> None:
    """A connection that ends with something unread, or whose drain is given up, is read as any other again, and leaves no timer."""
    line = server_line()
    session = line.shake()
    kernel.unread = 100
    draining = session.drain()
    drained = outcome(draining)
    line.clock.advance(0)
    if how == "lost":
        line.lose()
    elif how == "closed":
        session.disconnect()
        line.lose()
    else:
        draining.cancel()
        assert len(drained) == 1
        line.lose()
    line.clock.advance(0)
    assert len(drained) == 1
    assert "dataReceived" not in vars(line.protocol)
    assert line.clock.getDelayedCalls() == []
