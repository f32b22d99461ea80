"""Membership of a node among the others: its lease, its members on topics, and the end of nodes that vanished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.entries import OwnEntries
from veltix_tx.backplane.redis import scripts
from veltix_tx.backplane.redis.frames import Kind, header
from veltix_tx.backplane.redis.link import RedisLink
from veltix_tx.errors import BackplaneUnavailable
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.waiters import Waiters

__all__ = ["Change", "Membership"]

_log = Logger()

_TTL, _BEAT = 0.7, 0.2
"""Parts of the lease: a key lives for the one and is renewed, and those of others looked at, at the other. A node that is killed
right after a renewal is found within nine tenths of the lease."""

_GRACE = 3.0
"""Maximum seconds behind an outage in which nobody is taken for dead: the others need them to come back, too."""

_CHUNK = 200
"""Topics that are repaired or reaped in one go."""

Change = tuple[bytes, str, bytes]
"""``+`` or ``-``, a member, and its info."""


class Membership:
    """A node's lease, and the members that it has on topics: kept here, in Redis, and alike.

    Args:
        link: the server.
        clocks: the time; that of the lease is the server's.
        node: the node's id.
        lease: seconds within which a node that vanished is to be found.
        tracked: the members.
        describe: returns what the others may know of this node.
        counters: where leases lost and nodes reaped are counted.
        changed: called when ``joined`` or ``complete`` have changed.
        lease_lost: called when the node joins again after its lease had ended: others have taken it for dead, or Redis has lost it.

    Attributes:
        joined: True if the lease runs.
        complete: True if, besides, everything that is tracked is entered.
        leaving: True if it is ending its lease.
    """

    def __init__(
        self,
        link: RedisLink,
        clocks: Clocks,
        node: str,
        lease: float,
        tracked: OwnEntries,
        describe: Callable[[], bytes],
        counters: Counter[str],
        *,
        changed: Callable[[], object],
        lease_lost: Callable[[], object],
    ) -> None:
        self._link, self._clocks, self._node, self._lease, self._tracked = link, clocks, node, lease, tracked
        self._describe, self._counters, self._changed, self._lease_lost = describe, counters, changed, lease_lost
        self._timers = Timers(clocks.reactor, clocks.uptime)
        self._header = header(Kind.PRESENCE, node)
        self._had_joined = self.leaving = False
        self._joined_at = 0.0
        self._joining: Waiters[None] | None = None
        self._reaping: set[str] = set()
        self.joined = self.complete = False

    def connected(self) -> None:
        """Join, on a new connection."""
        self.join()
        self._timers.set("beat", self._lease * _BEAT, self._beat)

    def disconnected(self) -> None:
        """Mark the connection as lost. The lease goes on until it ends by itself."""
        self.joined = self.complete = False
        self._joining = None  # its commands have failed
        self._timers.clear("beat")

    def join(self) -> Deferred[None]:
        """Begin the lease or go on with it, enter what is tracked, take out what is not.

        Returns:
            a Deferred that fires when that is done or has failed; in which case the connection is made anew, and then this.
        """
        if self._joining is not None:
            return self._joining.wait()
        joining = self._joining = Waiters()
        done = joining.wait()
        connection = self._link.connection
        self.complete = False
        self._changed()

        def joined(answer: tuple[int, list[bytes]]) -> Deferred[bool]:
            known, topics = answer
            if self._had_joined and not known:
                self._counters["leases_lost"] += 1
                self._lease_lost()
            self.joined = self._had_joined = True
            self._joined_at = self._clocks.uptime()
            self._changed()
            return Deferred.fromCoroutine(self._enter_all({topic.decode() for topic in topics}))

        def over(entered: bool | Failure | None) -> None:
            if self._joining is joining:
                self._joining = None
                self.complete = entered is True
                self._changed()
            joining.fire(None)

        began = self._link.run_script(scripts.JOIN, *self._renewal())
        began.addCallback(joined).addErrback(self._no_use, connection).addBoth(over)
        return done

    def change(self, topic: bytes, changes: Iterable[Change]) -> Deferred[None]:
        """Change members on a topic, all of them in one step.

        Returns:
            a Deferred that fires when that is done. Where the lease had ended it joins again, which enters what is tracked; and so
            it does where Redis refuses the change, as one that is full, and the Deferred errbacks then.
        """
        flat = [part for each in changes for part in each]

        def done(lease_runs: int) -> Deferred[None] | None:
            return None if lease_runs else self.join()

        def refused(failure: Failure) -> Failure:
            if failure.check(BackplaneUnavailable) is None:
                self.join()
            return failure

        changed = self._link.run_script(scripts.CHANGE, self._node, topic, self._header, b"0", *flat)
        return changed.addCallbacks(done, refused)

    def leave(self, error: BackplaneUnavailable) -> Deferred[None]:
        """End the lease and take the members out; fail every command that is under way with an error.

        Returns:
            a Deferred that fires when that is done; it errbacks where it cannot be.
        """
        self.leaving = True
        if self._link.connection is not None:
            self._link.connection.give_up(error)
        self.joined = self.complete = False
        self._timers.clear_all()
        return self._take_out(self._node)

    # Inside.

    def _renewal(self) -> tuple[str, int, bytes]:
        return self._node, round(self._lease * _TTL * 1000), self._describe()

    async def _enter_all(self, entered: set[str]) -> bool:
        topics = sorted(entered | set(self._tracked))
        for start in range(0, len(topics), _CHUNK):
            alike = [
                self._link.run_script(
                    *(scripts.CHANGE, self._node, topic, self._header, b"1"),
                    *(part for member, info in self._tracked.on(topic).items() for part in (b"+", member, info)),
                )
                for topic in topics[start : start + _CHUNK]
            ]
            await gatherResults(alike, consumeErrors=True)
        return True

    def _no_use(self, failure: Failure, connection: object) -> None:
        """Have the connection made anew on which a lease cannot be renewed: Redis is read-only, full, or without our scripts."""
        if connection is self._link.connection and not self.leaving:
            self._link.restart(str(failure.value))

    def _beat(self) -> None:
        """Renew the lease, and look after those of the others."""
        self._timers.set("beat", self._lease * _BEAT, self._beat)
        connection = self._link.connection
        if not self.joined:
            return

        def beaten(answer: tuple[int, list[bytes]]) -> None:
            lease_runs, dead = answer
            if self.leaving:
                return
            if not lease_runs:
                self.join()
            elif self._clocks.uptime() - self._joined_at >= min(_GRACE, self._lease * _TTL):
                for node in dead:
                    self._reap(node.decode())

        self._link.run_script(scripts.BEAT, *self._renewal()).addCallbacks(beaten, self._no_use, errbackArgs=(connection,))

    def _reap(self, node: str) -> None:
        if node not in self._reaping:
            self._reaping.add(node)
            self._take_out(node).addBoth(lambda _: self._reaping.discard(node))

    def _take_out(self, node: str) -> Deferred[None]:
        """Take out what a node has in Redis, some topics at a time, unless its lease runs (but for this one's, which ends)."""
        end_lease = b"1" if node == self._node else b"0"
        headers = header(Kind.PRESENCE, node), header(Kind.GONE, node)

        def taken(answer: int) -> Deferred[None] | None:
            if answer == 2 and node != self._node:
                self._counters["nodes_reaped"] += 1
                _log.warn("node {node} is gone without a word", node=node)
            return self._take_out(node) if answer == 1 else None

        return self._link.run_script(scripts.REAP, node, *headers, _CHUNK, end_lease).addCallback(taken)
