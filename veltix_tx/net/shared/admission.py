"""Admission control: the open connections of one server, and which of them is evicted, or whether a new one is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from math import inf

from twisted.logger import Logger

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import HandshakeError, SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.addresses import is_loopback
from veltix_tx.net.clock import Clocks
from veltix_tx.net.shared.context import Connection, SharedState

__all__ = ["EVICTABLE_AFTER", "PER_SOURCE", "REFUSED_AT_ONCE", "Admission", "AdmissionControl"]

_log = Logger()

REFUSED_AT_ONCE = 32
"""Connections over the limit that may be open while they are told that the server is full: half of the file
descriptors that are left for everything but connections, so that the other half stays."""

EVICTABLE_AFTER = 3.0
"""Seconds in which nobody gives way to a newer one: honest clients that come all at once are done by then, those of
1.7 on an auto port among them."""

PER_SOURCE = 1000
"""Connections of one source, unless ``limits.per_source`` says otherwise; of this machine, whose own addresses may
stand for everybody behind a proxy, any number."""


class Admission(Enum):
    """Verdict on a new connection."""

    ADMITTED = "admitted"
    REFUSED = "refused, and told that the server is full"
    DROPPED = "closed at once: too many are being told already"


class AdmissionControl:
    """The open connections of one server, ready or not, on however many ports.

    Args:
        most: how many there may be; -1 for no limit.
        limits: the limits for half-open ones and for one source.
        timeouts: the heartbeat's.
        clocks: where time comes from.

    Attributes:
        shared: what they have in common, the counters among it.
    """

    def __init__(self, most: int, limits: Limits, timeouts: Timeouts, clocks: Clocks) -> None:
        self.limit = most
        self.shared = SharedState(clocks, limits, timeouts)
        self._limits = limits
        self._uptime = clocks.uptime
        self._connections: dict[Connection, str] = {}
        self._per_source: Counter[str] = Counter()
        self._half_open: dict[Connection, float] = {}
        self._half_open_of: dict[str, dict[Connection, None]] = {}
        self._being_refused: set[Connection] = set()
        self._leaving: set[Connection] = set()
        self._datagram_peers: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter([*self._connections, *self._being_refused, *self._leaving, *self._datagram_peers])

    def add_datagram_peer(self, peer: Connection) -> None:
        """Keep a peer of a UDP port until it is lost: its port has a limit of its own for them, and it needs no file descriptor."""
        self.shared.counters["accepted"] += 1
        self._datagram_peers.add(peer)

    def use_limits(self, limits: Limits) -> None:
        """Go on with other limits; nobody who is in has to leave for them."""
        self._limits = limits
        self.shared.use_limits(limits)

    def try_admit(self, protocol: Connection, source: str) -> Admission:
        """Judge a new connection, and keep it until it is lost unless it is dropped.

        Where there are as many as there may be, the oldest half-open connection gives way to it.

        Args:
            protocol: the new connection.
            source: where it comes from. If that has as many as it may, one of its own gives way.
        """
        if self._make_room(protocol, source):
            self.shared.counters["accepted"] += 1
            self._half_open[protocol] = self._uptime()
            self._half_open_of.setdefault(source, {})[protocol] = None
            self._connections[protocol] = source
            self._per_source[source] += 1
            return Admission.ADMITTED
        self.shared.counters["refused"] += 1
        if len(self._being_refused) >= REFUSED_AT_ONCE:
            return Admission.DROPPED
        self._being_refused.add(protocol)
        return Admission.REFUSED

    def _make_room(self, protocol: Connection, source: str) -> bool:
        """Return True if one more connection may come, after another one has given way where that is needed."""
        limits, of_source = self._limits, self._half_open_of.get(source, {}) if source else {}
        full_source = bool(source) and self._per_source[source] >= self._limit_of(source)
        full = 0 <= self.limit <= len(self._connections)
        if full_source or len(of_source) >= limits.half_open_per_source:
            candidates: Iterable[Connection] = of_source
        elif full or len(self._half_open) >= limits.half_open:
            candidates = self._half_open
        else:
            return True
        if self._evict(candidates) or not (full or full_source):
            return True
        if full and not full_source and self._evict(self._heaviest(source), young=True):
            return True
        if self.shared.log_limiter.allow(source):
            setting, most = ("limits.per_source", self._limit_of(source)) if full_source else ("max_connections", self.limit)
            text = "refusing a connection of {source} ({connection}): there are {most}, as many as may be ({setting})"
            _log.warn(text, **_fields(protocol, source), most=most, setting=setting)
        return False

    def _limit_of(self, source: str) -> float:
        if self._limits.per_source is not None:
            return self._limits.per_source
        return inf if is_loopback(source) else PER_SOURCE

    def handshake_completed(self, protocol: Connection) -> None:
        """Record that a handshake is complete."""
        if self._half_open.pop(protocol, None) is not None:
            source = self._connections[protocol]
            of_source = self._half_open_of[source]
            del of_source[protocol]
            if not of_source:
                del self._half_open_of[source]

    def half_open(self) -> list[Connection]:
        """Return those still in their handshake, the oldest first."""
        return [*self._half_open, *self._being_refused]

    @property
    def half_open_since(self) -> Mapping[Connection, float]:
        """Those still in their handshake that are not being refused, the oldest first, with the uptime at which each came."""
        return self._half_open

    def _heaviest(self, other: str) -> Iterable[Connection]:
        """Return the half-open connections of the source that has the most, if that is too many and another source."""
        of = self._half_open_of
        source = max((each for each in of if each and each != other), key=lambda each: len(of[each]), default="")
        return of[source] if source and len(of[source]) > self._limits.half_open_per_source else ()

    def _evict(self, candidates: Iterable[Connection], *, young: bool = False) -> bool:
        """Abort the oldest; return False where there is none, or it is too young for that and must not be."""
        oldest = next(iter(candidates), None)
        if oldest is None or (not young and self._uptime() - self._half_open[oldest] < EVICTABLE_AFTER):
            return False
        self.shared.counters["evicted"] += 1
        cause = HandshakeError("too many connections are in their handshake, and this one is the oldest")
        source = self._connections[oldest]
        if self.shared.log_limiter.allow(source):
            _log.warn("closing a connection of {source} ({connection}): {error}", **_fields(oldest, source), error=cause)
        self._remove(oldest)  # at once: it is lost only in a later turn, and several may come in this one
        self._leaving.add(oldest)
        oldest.abort(SessionClosed(DisconnectReason.HANDSHAKE_TIMEOUT, cause))
        return True

    def connection_lost(self, protocol: Connection, _: SessionClosed) -> None:
        """Record that a connection is gone."""
        self._leaving.discard(protocol)
        self._being_refused.discard(protocol)
        self._datagram_peers.discard(protocol)
        self._remove(protocol)

    def _remove(self, protocol: Connection) -> None:
        self.handshake_completed(protocol)
        source = self._connections.pop(protocol, None)
        if source is not None:
            self._per_source[source] -= 1
            if not self._per_source[source]:
                del self._per_source[source]


def _fields(protocol: Connection, source: str) -> dict[str, str]:
    """Return the fields of a line of the log about a connection that is known by its source."""
    return {"source": source or "this machine", "connection": protocol.connection_id}
