"""The open connections of one server: how many there are, and whom a new one must give way to or is refused for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address as Network6
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address

from veltix_tx.errors import DisconnectReason, HandshakeError, SessionClosed
from veltix_tx.settings import Limits

if TYPE_CHECKING:
    from veltix_tx.net.protocol import VeltixProtocol

__all__ = ["Connections", "source_of"]

_REFUSED_AT_ONCE = 64
"""How many connections over the limit may be open while they are told that the server is full."""

_YOUNG = 1.0
"""Seconds in which nobody gives way to a newer one: honest clients that come all at once are done by then."""

_NETWORK = 64
"""Bits of an IPv6 address that are one source: who has one address there has them all."""


def source_of(address: object) -> str:
    """Return where a connection comes from: an IPv4 address, an IPv6 network, or ``""`` for this machine's own kinds."""
    if isinstance(address, IPv4Address):
        return address.host
    if isinstance(address, IPv6Address):
        number = int(Network6(address.host.partition("%")[0]))
        mapped = Network6(number).ipv4_mapped
        return str(mapped) if mapped is not None else str(Network6(number >> _NETWORK << _NETWORK))
    return ""


class Connections:
    """The open connections of one server, ready or not, on however many ports.

    Args:
        most: how many there may be; -1 for no limit.
        limits: the limits for half-open ones and for one source.
        uptime: a clock that never jumps, in seconds.

    Attributes:
        evicted: half-open connections that had to give way.
        refused: connections refused because there were too many.
    """

    def __init__(self, most: int, limits: Limits, uptime: Callable[[], float]) -> None:
        self.most = most
        self.evicted = 0
        self.refused = 0
        self._limits = limits
        self._uptime = uptime
        self._open: dict[VeltixProtocol, str] = {}
        self._per_source: Counter[str] = Counter()
        self._half_open: dict[VeltixProtocol, float] = {}
        self._half_open_per_source: Counter[str] = Counter()
        self._being_refused: set[VeltixProtocol] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[VeltixProtocol]:
        return iter([*self._open, *self._being_refused])

    def full_for(self, source: str) -> bool:
        """Whether no more may come, from anywhere or from this source."""
        return 0 <= self.most <= len(self._open) or bool(source and self._per_source[source] >= self._limits.per_source)

    def admit(self, protocol: VeltixProtocol, source: str, full: bool) -> bool:
        """Keep a connection until it is lost; return False for one refused too many, which is not even told.

        Args:
            protocol: the new connection.
            source: where it comes from.
            full: whether it is refused.
        """
        if full:
            self.refused += 1
            if len(self._being_refused) >= _REFUSED_AT_ONCE:
                return False
            self._being_refused.add(protocol)
            protocol.when_lost().addCallback(lambda _: self._being_refused.discard(protocol))
            return True
        self._make_room(source)
        self._open[protocol] = source
        self._per_source[source] += 1
        self._half_open[protocol] = self._uptime()
        self._half_open_per_source[source] += 1
        protocol.when_lost().addCallback(lambda _: self._lost(protocol))
        return True

    def ready(self, protocol: VeltixProtocol) -> None:
        """Take note that a handshake is complete."""
        if self._half_open.pop(protocol, None) is not None:
            _less(self._half_open_per_source, self._open[protocol])

    def half_open(self) -> list[VeltixProtocol]:
        """Return those still in their handshake, the oldest first."""
        return [*self._half_open, *self._being_refused]

    def _make_room(self, source: str) -> None:
        """Drop the oldest half-open connection where there are too many, of this source or in all."""
        if source and self._half_open_per_source[source] >= self._limits.half_open_per_source:
            self._evict(lambda each: self._open[each] == source)
        elif len(self._half_open) >= self._limits.half_open:
            self._evict(lambda each: True)

    def _evict(self, chosen: Callable[[VeltixProtocol], bool]) -> None:
        oldest = next((each for each in self._half_open if chosen(each)), None)
        if oldest is not None and self._uptime() - self._half_open[oldest] >= _YOUNG:
            self.evicted += 1
            cause = HandshakeError("too many connections are in their handshake, and this one is the oldest")
            oldest.abort(SessionClosed(DisconnectReason.HANDSHAKE_TIMEOUT, cause))

    def _lost(self, protocol: VeltixProtocol) -> None:
        self.ready(protocol)
        _less(self._per_source, self._open.pop(protocol))


def _less(counter: Counter[str], source: str) -> None:
    """Count one less, and forget a source that has none left."""
    counter[source] -= 1
    if not counter[source]:
        del counter[source]
