"""The server's factory, and what both factories share."""

from __future__ import annotations

from contextvars import copy_context
from random import Random
from typing import cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from veltix_tx.interfaces import Application, IVeltixApplication
from veltix_tx.net.connections import Connections, source_of
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.protocol import VeltixProtocol
from veltix_tx.net.side import Side
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry
from veltix_tx.wire.releases import AUTO, find_release

__all__ = ["VeltixServerFactory", "check_wire", "resolve_clocks"]


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
        application: IVeltixApplication | Application,
        config: ServerConfig | None = None,
        *,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        check_wire(self.config.wire)
        self._connections = connections
        self._side: Side | None = None
        self._application = cast(IVeltixApplication, application)
        self._reactor = reactor
        self._types = types
        self._random = random or Random()
        self._context = copy_context()

    @property
    def connections(self) -> Connections:
        """The open connections."""
        if self._connections is None:
            config = self.config
            self._connections = Connections(config.max_connections, config.limits, config.timeouts, resolve_clocks(self._reactor))
        return self._connections

    @property
    def side(self) -> Side:
        """What the protocols share."""
        if self._side is None:
            connections = self.connections
            self._side = Side(
                *(self._application, self.config, resolve_clocks(self._reactor)),
                types=self._types,
                random=self._random,
                context=self._context,
                shared=connections.shared,
                ready=connections.ready,
                lost=connections.lost,
            )
        return self._side

    def stopFactory(self) -> None:
        """Tell what was left out of the log: the last port is closed."""
        if self._connections is not None:
            self._connections.shared.remarks.close()

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | None:
        """Return the protocol of a new connection, None for one to close at once."""
        connections, source = self.connections, source_of(addr)
        full = not connections.make_room(source)
        protocol = VeltixProtocol(self.side, full=full)
        protocol.factory = self
        return protocol if connections.admit(protocol, source, full) else None
