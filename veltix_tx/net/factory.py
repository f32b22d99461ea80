"""The server's factory, and what both factories share: making protocols and counting them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.protocol import VeltixProtocol
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry
from veltix_tx.wire.releases import AUTO, find_release

__all__ = ["Connections", "VeltixServerFactory", "check_wire", "resolve_clocks"]


_REFUSED_AT_ONCE = 64
"""How many connections over the limit may be open while they are told that the server is full."""


def resolve_clocks(reactor: IReactorTime | Clocks | None) -> Clocks:
    """Return the clocks to use: those given, those of a given reactor, or those of the global one."""
    if isinstance(reactor, Clocks):
        return reactor
    if reactor is None:
        from twisted.internet import reactor as installed  # noqa: PLC0415 (importing it installs it)

        return Clocks(installed)
    return Clocks(reactor)


def check_wire(wire: str) -> None:
    """Raise SettingsError unless ``wire`` is ``"auto"`` or an upstream release."""
    if wire != AUTO:
        find_release(wire)


class Connections:
    """The open connections of one server, ready or not, on however many ports.

    Args:
        most: how many there may be; -1 for no limit.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: set[VeltixProtocol] = set()
        self._refused: set[VeltixProtocol] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[VeltixProtocol]:
        return iter([*self._open, *self._refused])

    @property
    def full(self) -> bool:
        """Whether no more may come."""
        return 0 <= self.most <= len(self._open)

    def admit(self, protocol: VeltixProtocol) -> bool:
        """Keep a connection until it is lost; return False for one refused too many, which is not even told."""
        kept = self._refused if self.full else self._open
        if kept is self._refused and len(kept) >= _REFUSED_AT_ONCE:
            return False
        kept.add(protocol)
        protocol.when_lost().addCallback(lambda _: kept.discard(protocol))
        return True

    def half_open(self) -> list[VeltixProtocol]:
        """Return those still in their handshake."""
        return [protocol for protocol in self if protocol.session is None]


class VeltixServerFactory(ServerFactory):
    """Makes a server's protocols, for any endpoint or ``reactor.listenTCP``.

    Args:
        application: what happens with the messages, for all connections together.
        config: the settings; those about listening are not used here.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        connections: shared by several factories of one server, so that the limit is for all of them.

    Raises:
        SettingsError: ``config.wire`` is unknown.
    """

    noisy = False

    def __init__(
        self,
        application: IVeltixApplication,
        config: ServerConfig | None = None,
        *,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        check_wire(self.config.wire)
        self.connections = Connections(self.config.max_connections) if connections is None else connections
        self._application = application
        self._reactor = reactor
        self._types = types
        self._random = random or Random()

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | None:
        """Return the protocol of a new connection, None for one to close at once."""
        protocol = VeltixProtocol(
            self._application,
            self.config,
            resolve_clocks(self._reactor),
            types=self._types,
            random=self._random,
            full=self.connections.full,
        )
        protocol.factory = self
        return protocol if self.connections.admit(protocol) else None
