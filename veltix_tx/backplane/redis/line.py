"""A line to Redis: one connection after another, each greeted, watched, and made again when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from veltix_tx.backplane.redis.protocol import RedisConnection
from veltix_tx.errors import BackplaneUnavailable
from veltix_tx.net.clock import ROUNDING, Clocks, Timers
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import RetryPolicy

__all__ = ["UNANSWERED", "Line", "LineTimes"]

UNANSWERED = "no connection, or no answer on it,"
"""Beginning of a problem: a connection was not ready in time."""

_RETRY = RetryPolicy(initial_delay=0.05, max_delay=1.0)
"""Short waits: whoever backs off for long stays deaf long after Redis is back."""

_POLITE = 1.0
"""Seconds for a connection to close when the line stops."""


@dataclass(frozen=True, slots=True)
class LineTimes:
    """Times of a line, in seconds.

    Attributes:
        connect: maximum for a connection with TLS and the greeting.
        ping: an idle connection is pinged so often; what is not answered for as long is slow.
        reply: maximum without an answer; a connection that is silent for longer is ended.
    """

    connect: float = 2.0
    ping: float = 1.0
    reply: float = 5.0


class Line(Factory):
    """One connection to Redis at a time, for ever.

    (Not a ClientService: that takes a server for well that accepts and never answers, and logs each try of an outage.)

    Args:
        endpoint: where Redis is.
        clocks: the time.
        random: draws the waits between tries.
        times: how long to wait for what.
        greet: sends what must come first on a new connection; its Deferred's result goes to ``ready``.
        ready: called with each new connection once it is greeted, and the greeting's result.
        lost: called when that connection is lost.
        slow: called with True when answers begin to be late, with False when they come again.
        failed: called with why there is no connection, after each failed try and each loss.
        pushed: called with what comes without having been asked for: of a line of subscriptions.

    Attributes:
        connection: the connection while it is ready, else None.
        problem: why there is none, for people.
    """

    noisy = False

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        clocks: Clocks,
        random: Random,
        times: LineTimes,
        *,
        greet: Callable[[RedisConnection], Deferred[Any]],
        ready: Callable[[RedisConnection, Any], object],
        lost: Callable[[], object],
        slow: Callable[[bool], object],
        failed: Callable[[str], object],
        pushed: Callable[[list[Any]], object] | None = None,
    ) -> None:
        self._endpoint, self._clocks, self._random, self._times = endpoint, clocks, random, times
        self._greet, self._ready, self._lost_ready, self._slow, self._failed = greet, ready, lost, slow, failed
        self._pushed = pushed
        self._timers = Timers(clocks.reactor, clocks.uptime)
        self._attempt: Deferred[Any] | None = None
        self._current: RedisConnection | None = None
        self._tries = 0
        self._running = False
        self._is_slow = False
        self._gone: Waiters[None] = Waiters()
        self.connection: RedisConnection | None = None
        self.problem = "it has not been connected yet"

    def start(self) -> None:
        """Connect, and stay connected until :meth:`stop`."""
        self._running = True
        self._try()

    def stop(self) -> Deferred[None]:
        """Close what is open and try no more; return a Deferred that fires when it is gone."""
        self._running = False
        self._timers.clear_all()
        self.problem = "it was stopped"
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        if self._current is None:
            return succeed(None)
        gone = self._gone.wait()
        self._timers.set("polite", _POLITE, self._current.abort)
        assert self._current.transport is not None
        self._current.transport.loseConnection()
        return gone

    def restart(self, problem: str) -> None:
        """End the connection, as one that is of no use, and connect anew."""
        if self._current is not None:
            self.problem = problem
            self._current.abort()

    def buildProtocol(self, addr: IAddress | None) -> RedisConnection | None:
        """Return the protocol of a new connection, None where it comes too late."""
        if not self._running or self._current is not None:
            return None
        return RedisConnection(self._clocks.reactor, self._clocks.uptime, self._connected, self._lost, self._pushed)

    def _try(self) -> None:
        self.problem = ""
        self._timers.set("try", self._times.connect, self._late)
        self._attempt = maybeDeferred(self._endpoint.connect, self)
        self._attempt.addCallbacks(self._settled, self._not_connected)

    def _settled(self, _: object) -> None:
        self._attempt = None

    def _late(self) -> None:
        problem = f"{UNANSWERED} within {self._times.connect:g} s"
        if self._current is not None:
            self.restart(problem)
        elif self._attempt is not None:
            self.problem = problem
            self._attempt.cancel()

    def _not_connected(self, reason: Failure) -> None:
        self._attempt = None
        if self._running and self._current is None:
            self._try_later(reason)

    def _connected(self, connection: RedisConnection) -> None:
        self._current = connection
        greeted = self._greet(connection)
        greeted.addCallbacks(self._greeted, self._refused, callbackArgs=(connection,))

    def _greeted(self, result: object, connection: RedisConnection) -> None:
        if connection is not self._current or not self._running:
            return
        self._timers.clear("try")
        self._tries = 0
        self.connection = connection
        self._timers.set("watch", self._times.ping, self._watch)
        self._ready(connection, result)

    def _refused(self, reason: Failure) -> None:
        if reason.check(BackplaneUnavailable) is None:  # else it was lost, which says more
            self.restart(str(reason.value))

    def _lost(self, connection: RedisConnection, reason: Failure) -> None:
        if connection is not self._current:
            return
        was_ready, self._current, self.connection = self.connection is not None, None, None
        self._note_slow(False)
        if was_ready:
            self._lost_ready()
        if self._running:
            self._try_later(reason)
        else:
            self._timers.clear_all()
            self._gone.fire(None)

    def _try_later(self, reason: Failure) -> None:
        self._timers.clear_all()
        self._tries += 1
        self.problem = self.problem or str(reason.value)
        self._timers.set("try", _RETRY.delay(self._tries, self._random.random), self._try)
        self._failed(self.problem)

    def _watch(self) -> None:
        connection = self.connection
        assert connection is not None
        self._timers.set("watch", self._times.ping, self._watch)
        if connection.awaited_since is None:
            self._note_slow(False)
            connection.ping()
            return
        silent = self._clocks.uptime() - connection.awaited_since + ROUNDING
        self._note_slow(silent >= self._times.ping)
        if silent >= self._times.reply:
            self.restart(f"it has not answered for {self._times.reply:g} s")

    def _note_slow(self, slow: bool) -> None:
        if slow is not self._is_slow:
            self._is_slow = slow
            self._slow(slow)
