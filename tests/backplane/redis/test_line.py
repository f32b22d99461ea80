"""Lines: one connection after another, with bounded waits, and an end for those that are of no use."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.deferreds import outcome
from veltix_tx.backplane.redis.line import Line, LineTimes
from veltix_tx.net.clock import Clocks

TIMES = LineTimes(connect=2, ping=1, reply=5)


class Transport(StringTransport):
    """A transport whose end is the connection's."""

    protocol: Any = None

    def abortConnection(self) -> None:  # noqa: N802
        """End."""
        super().abortConnection()
        self.end()

    def loseConnection(self) -> None:
        """End."""
        super().loseConnection()
        self.end()

    def end(self) -> None:
        """Tell the protocol."""
        self.protocol.connectionLost(Failure(error.ConnectionDone()))


@implementer(IStreamClientEndpoint)
class Endpoint:
    """An endpoint whose tries end as a test says.

    Attributes:
        tries: of each, the time at which it began.
        how: ``"refuse"``, ``"hang"`` or ``"connect"``.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.how = "connect"
        self.tries: list[float] = []
        self.transports: list[Transport] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Try."""
        self.tries.append(self.clock.seconds())
        if self.how == "hang":
            return Deferred()
        if self.how == "refuse":
            raise error.ConnectionRefusedError
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        transport = Transport()
        transport.protocol = protocol
        self.transports.append(transport)
        protocol.makeConnection(transport)  # type: ignore[union-attr]
        return succeed(protocol)


class Wired:
    """A line on a clock, and what it tells."""

    def __init__(self, *, greets: bool = True) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(self.clock)
        self.told: list[Any] = []
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        self.line = Line(
            *(self.endpoint, clocks, Random(1), TIMES),
            greet=lambda connection: succeed("hello") if greets else connection.execute("PING"),
            ready=lambda connection, result: self.told.append(("ready", result)),
            lost=lambda: self.told.append("lost"),
            slow=lambda slow: self.told.append(("slow", slow)),
            failed=self.told.append,
        )

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of 50 ms."""
        self.clock.pump([0.05] * round(seconds / 0.05))

    @property
    def written(self) -> bytes:
        """Return what was written to the latest connection."""
        return self.endpoint.transports[-1].value()


def test_an_outage_is_tried_to_its_end_with_waits_of_a_second_at_the_most() -> None:
    """While Redis refuses, a line tries without end and at least once a second, but not in a loop; then it is ready at once."""
    wired = Wired()
    wired.endpoint.how = "refuse"
    wired.line.start()
    wired.pass_time(60)

    tries = wired.endpoint.tries
    waits = [after - before for before, after in pairwise(tries)]
    assert max(waits) <= 1.1
    assert len(tries) < 300
    assert len(set(waits[10:])) > 5  # drawn

    wired.endpoint.how = "connect"
    wired.pass_time(1.1)
    assert wired.told[-1] == ("ready", "hello")
    assert wired.line.problem == ""


def test_a_server_that_takes_connections_and_says_nothing_is_no_success() -> None:
    """A connection that is not greeted in time is ended and made again; so is a try that hangs."""
    wired = Wired(greets=False)
    wired.line.start()
    wired.pass_time(1.9)
    assert wired.told == []
    wired.endpoint.how = "hang"
    wired.pass_time(0.2)
    assert wired.told == ["no connection, or no answer on it, within 2 s"]
    assert wired.endpoint.transports[0].disconnected
    wired.pass_time(10)
    assert len(wired.endpoint.tries) >= 4


@pytest.mark.parametrize("how", ["refuse", "hang", "connect"])
@pytest.mark.parametrize("greets", [True, False])
def test_a_stop_leaves_nothing_behind(how: str, greets: bool) -> None:
    """Whatever a line is at, a stop ends it, without a further try or a timer."""
    wired = Wired(greets=greets)
    wired.endpoint.how = how
    wired.line.start()
    wired.pass_time(0.5)
    tries = len(wired.endpoint.tries)

    stopped = outcome(wired.line.stop())
    wired.pass_time(10)

    assert stopped == [None]
    assert len(wired.endpoint.tries) == tries
    assert wired.clock.getDelayedCalls() == []


def test_a_silent_connection_is_pinged_and_ended() -> None:
    """An idle connection is pinged each second; one that does not answer is slow after a second, and ended after five."""
    wired = Wired()
    wired.line.start()
    wired.pass_time(1)
    assert wired.written == b"*1\r\n$4\r\nPING\r\n"
    connection = wired.line.connection
    assert connection is not None
    connection.dataReceived(b"+PONG\r\n")
    wired.pass_time(1)
    assert wired.written.count(b"PING") == 2
    assert wired.told == [("ready", "hello")]

    wired.pass_time(1.1)
    assert wired.told[1:] == [("slow", True)]
    wired.pass_time(5)
    assert wired.told[2:5] == [("slow", False), "lost", "it has not answered for 5 s"]


def test_answers_that_come_keep_a_busy_connection() -> None:
    """A connection whose answers come, however many wait for theirs, is not ended."""
    wired = Wired()
    wired.line.start()
    connection = wired.line.connection
    assert connection is not None
    replies = [outcome(connection.execute("PUBLISH", "x", number)) for number in range(30)]
    for _ in range(30):
        wired.pass_time(0.8)
        connection.dataReceived(b":1\r\n")

    assert replies == [[1]] * 30
    assert wired.told == [("ready", "hello")]
    assert connection.pending_bytes == 0


def test_what_is_not_answered_fails_when_the_connection_is_lost() -> None:
    """A command that is not answered errbacks and says that it may have been done; nothing is sent again."""
    wired = Wired()
    wired.line.start()
    connection = wired.line.connection
    assert connection is not None
    reply = outcome(connection.execute("PUBLISH", "x", "1"))

    wired.endpoint.transports[0].end()
    wired.pass_time(0.1)

    assert reply[0].uncertain
    assert len(wired.endpoint.transports) == 2
    assert b"PUBLISH" not in wired.written
