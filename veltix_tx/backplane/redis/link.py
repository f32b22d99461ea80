"""Link of a node to a Redis server: a line for commands and one for subscriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.address import open_address
from veltix_tx.backplane.redis.line import UNANSWERED, Line, LineTimes
from veltix_tx.backplane.redis.protocol import Argument, RedisConnection, ScriptUnknown
from veltix_tx.backplane.redis.scripts import SCRIPTS, Script
from veltix_tx.backplane.redis.subscriptions import Subscriptions
from veltix_tx.backplane.redis.url import RedisUrl
from veltix_tx.errors import BackplaneUnavailable
from veltix_tx.net.clock import Clocks
from veltix_tx.passwords import BACKPLANE_PASSWORD_REMEDY

__all__ = ["COUNTERS", "RedisLink"]

_log = Logger()

COUNTERS = {
    "redis_connections": "connections to Redis, two for each node",
    "redis_failures": "connections to Redis that could not be made, or were lost",
}
"""Counters besides those of every backplane."""

_Held = tuple[tuple[Argument, ...], Deferred[Any]]

_ANOTHER = "the address leads to another server now"


class RedisLink:
    """Two lines to a server, each of which is made again for ever, and to the same one: an address may lead to another any time.

    Args:
        url: where the server is, and how to log in.
        clocks: the time.
        random: draws the waits between tries.
        times: how long to wait for what.
        subscriptions: what comes on the second line.
        counters: where connections, and failures of them, are counted.
        connected: called when commands can be sent.
        disconnected: called when they cannot be any more.
        changed: called when the second line is lost, or a line begins or ceases to be slow.

    Attributes:
        run: id of the server's run: another one after it was started again, and of another server.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """

    def __init__(
        self,
        url: RedisUrl,
        clocks: Clocks,
        random: Random,
        times: LineTimes,
        subscriptions: Subscriptions,
        counters: Counter[str],
        *,
        connected: Callable[[], object],
        disconnected: Callable[[], object],
        changed: Callable[[], object],
    ) -> None:
        self._url, self._counters, self._subscriptions = url, counters, subscriptions
        self._prefix = url.prefix.encode() + b":"
        self._tell_connected, self._tell_changed = connected, changed
        self._slow: set[str] = set()
        self._loading = False  # scripts, again
        self._not_run: list[_Held] = []
        self._held: list[_Held] = []  # until those have run
        self._problem = ""
        self.run = self._pushes_run = b""
        line = partial(Line, open_address(url, clocks.reactor, times.connect), clocks, random, times, failed=self._failed)
        self._commands: Line = line(
            greet=self._greet, ready=self._connected, lost=disconnected, slow=partial(self._note_slow, "commands")
        )
        self._pushes: Line = line(
            greet=self._greet_subscriber,
            ready=self._subscriber_connected,
            lost=self._subscriber_lost,
            slow=partial(self._note_slow, "subscriptions"),
            pushed=subscriptions.pushed,
        )

    @property
    def connection(self) -> RedisConnection | None:
        """Connection for commands while there is one."""
        return self._commands.connection

    @property
    def slow(self) -> bool:
        """True if the server is late with its answers."""
        return bool(self._slow)

    @property
    def problem(self) -> str:
        """Reason why there is no connection for commands, in words: while one is tried, why the last one failed; else empty."""
        return self._explained(self._commands.problem) or self._problem

    def start(self) -> None:
        """Connect."""
        self._commands.start()
        self._pushes.start()

    def stop(self) -> Deferred[None]:
        """Close both connections; return a Deferred that fires when they are gone."""
        return gatherResults([self._commands.stop(), self._pushes.stop()]).addCallback(lambda _: None)

    def restart(self, problem: str) -> None:
        """End the connection for commands, as one that is of no use, and connect anew."""
        self._commands.restart(problem)

    def execute(self, *command: Argument) -> Deferred[Any]:
        """Send a command; see :meth:`RedisConnection.execute`. Errbacks with BackplaneUnavailable where there is no connection."""
        connection = self._commands.connection
        if connection is None:
            return fail(BackplaneUnavailable(self.problem))
        if self._loading:
            return _hold(self._held, command)
        reply = connection.execute(*command)
        return reply.addErrback(self._run_again, connection, command) if command[0] == "EVALSHA" else reply

    def run_script(self, script: Script, *arguments: Argument) -> Deferred[Any]:
        """Run a script, which gets the keys' prefix and the arguments; as :meth:`execute`."""
        return self.execute("EVALSHA", script.sha, 0, self._prefix, *arguments)

    # Scripts that Redis has forgotten.

    def _run_again(self, failure: Failure, connection: RedisConnection, command: tuple[Argument, ...]) -> Failure | Deferred[Any]:
        """Load the scripts again, and run what did not run; what comes meanwhile waits, so that the order stays."""
        if failure.check(ScriptUnknown) is None or connection is not self._commands.connection:
            return failure
        if not self._loading:
            self._loading = True
            loaded = _last_reply([connection.execute("SCRIPT", "LOAD", script.text) for script in SCRIPTS])
            loaded.addCallbacks(self._release, self._give_up)
        return _hold(self._not_run, command)

    def _take_held(self) -> list[_Held]:
        held = [*self._not_run, *self._held]
        self._loading, self._not_run, self._held = False, [], []
        return held

    def _release(self, _: object) -> None:
        held = self._take_held()
        connection = self._commands.connection
        for command, reply in held:  # not again where they are forgotten at once
            assert connection is not None
            connection.execute(*command).addCallbacks(reply.callback, reply.errback)

    def _give_up(self, failure: Failure) -> None:
        held = self._take_held()
        error = BackplaneUnavailable("the connection to Redis was lost") if failure.check(BackplaneUnavailable) else failure.value
        for _, reply in held:
            reply.errback(error)

    # From the lines.

    def _log_in(self, connection: RedisConnection) -> Deferred[Any]:
        if self._url.password is None:
            return succeed(None)
        return connection.execute("AUTH", *filter(None, [self._url.user]), self._url.password)

    def _greet(self, connection: RedisConnection) -> Deferred[Any]:
        commands = [self._log_in(connection)]
        if self._url.database:
            commands.append(connection.execute("SELECT", self._url.database))
        commands += [connection.execute("SCRIPT", "LOAD", script.text) for script in SCRIPTS]
        commands.append(connection.execute("INFO", "server"))
        return _last_reply(commands)

    def _greet_subscriber(self, connection: RedisConnection) -> Deferred[Any]:
        return _last_reply([self._log_in(connection), connection.execute("INFO", "server")])

    def _connected(self, _: RedisConnection, info: bytes) -> None:
        self._counters["redis_connections"] += 1
        self._problem = ""
        self.run = _run_id(info)
        if self._pushes.connection is not None and self._pushes_run != self.run:
            self._pushes.restart(_ANOTHER)
        self._tell_connected()

    def _subscriber_connected(self, connection: RedisConnection, info: bytes) -> None:
        self._counters["redis_connections"] += 1
        self._pushes_run = _run_id(info)
        if self._commands.connection is not None and self._pushes_run != self.run:
            self._commands.restart(_ANOTHER)
        self._subscriptions.attach(connection)

    def _subscriber_lost(self) -> None:
        self._subscriptions.detach()
        self._tell_changed()

    def _note_slow(self, line: str, slow: bool) -> None:
        (self._slow.add if slow else self._slow.discard)(line)
        self._tell_changed()

    def _explained(self, problem: str) -> str:
        """Return a problem with what can be done about it, where that is known."""
        if "WRONGPASS" in problem or "NOAUTH" in problem:
            return f"{problem} {BACKPLANE_PASSWORD_REMEDY}"
        if self._url.tls and problem.startswith(UNANSWERED):
            return f"{problem}: perhaps it does not speak TLS there, as rediss: asks it to"
        return problem

    def _failed(self, problem: str) -> None:
        problem = self._explained(problem)
        self._counters["redis_failures"] += 1
        if problem != self._problem:  # an outage of hours is one line
            self._problem = problem
            _log.warn("no connection to {url}: {problem}; trying again", url=self._url, problem=problem)


def _hold(held: list[_Held], command: tuple[Argument, ...]) -> Deferred[Any]:
    """Put a command with those that are held; return the Deferred of its reply."""
    reply: Deferred[Any] = Deferred()
    held.append((command, reply))
    return reply


def _run_id(info: bytes) -> bytes:
    return next((line[7:] for line in info.splitlines() if line.startswith(b"run_id:")), b"")


def _last_reply(commands: list[Deferred[Any]]) -> Deferred[Any]:
    """Return a Deferred of the reply to the last of several commands; it errbacks with the first that is refused."""

    def first_refusal(failure: Failure) -> Failure:
        refusal: Failure = failure.value.subFailure  # type: ignore[union-attr]
        return refusal

    return gatherResults(commands, consumeErrors=True).addCallbacks(lambda replies: replies[-1], first_refusal)
