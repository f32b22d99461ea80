"""The server's factory, and what both factories share."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from veltix_tx.limits import Limits
from veltix_tx.net.addresses import source_of
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.connection.metered import MeteredProtocol
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.session.outgoing import BeforeSend
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import Admission, AdmissionControl
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate
from veltix_tx.net.shared.context import ConnectionContext, RoomHandlers, ServeCall, context_maker
from veltix_tx.net.shared.meter import Meter
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry

__all__ = ["VeltixServerFactory"]


class VeltixServerFactory(ServerFactory):
    """Makes a server's protocols, for any endpoint or ``reactor.listenTCP``.

    Args:
        application: what happens with the messages, for all connections together.
        config: the settings; those about listening are not used here.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        connections: shared by several factories of one server, so that the limit is for all of them.
        serve_call: handles the CALL messages of a session, called with both; none by default.
        rooms: handles messages about rooms; none by default.
        authenticate: decides who is let in; see :meth:`~veltix_tx.Server.set_authenticate`.
        before_send: called one after another with each message that is sent; see :meth:`~veltix_tx.Server.before_send`.
        meter: counts the traffic of its connections; nothing is counted without one.

    Attributes:
        meter: as given.

    Raises:
        SettingsError: ``config.wire`` is unknown.
    """

    noisy = False

    def __init__(
        self,
        application: Application[Session],
        config: ServerConfig | None = None,
        *,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        connections: AdmissionControl | None = None,
        serve_call: ServeCall | None = None,
        rooms: RoomHandlers | None = None,
        authenticate: Authenticate | None = None,
        meter: Meter | None = None,
        before_send: tuple[BeforeSend, ...] = (),
    ) -> None:
        self.config = config or ServerConfig()
        self._make_context = context_maker(
            application, self.config, reactor=reactor, types=types, random=random, serve_call=serve_call, rooms=rooms
        )
        self.meter = meter
        self._before_send = before_send
        self._connection_context: ConnectionContext | None = None
        self._connections = connections
        self._authenticate = authenticate
        self._reactor = reactor

    @property
    def connections(self) -> AdmissionControl:
        """The open connections."""
        if self._connections is None:
            config = self.config
            self._connections = AdmissionControl(
                config.max_connections, config.limits, config.timeouts, resolve_clocks(self._reactor)
            )
        return self._connections

    @property
    def context(self) -> ConnectionContext:
        """State that the protocols share."""
        if self._connection_context is None:
            connections = self.connections
            self._connection_context = self._make_context(
                shared=connections.shared,
                authenticate=self._authenticate,
                before_send=self._before_send,
                on_ready=connections.handshake_completed,
                on_lost=connections.connection_lost,
                meter=self.meter,
            )
        return self._connection_context

    def use_limits(self, limits: Limits) -> None:
        """Go on with other limits: what a connection takes with it holds for new ones, all others at once."""
        self.config = replace(self.config, limits=limits)
        if self._connection_context is not None:
            self._connection_context.use_limits(limits)

    def stopFactory(self) -> None:
        """Log the number of lines that were left out: the last port is closed."""
        if self._connections is not None:
            self._connections.shared.log_limiter.close()

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | None:
        """Return the protocol of a new connection, None for one to close at once."""
        protocol = (VeltixProtocol if self.meter is None else MeteredProtocol)(self.context)
        protocol.factory = self
        admission = self.connections.try_admit(protocol, source_of(addr))
        if admission is Admission.REFUSED:
            protocol.full = True
        return None if admission is Admission.DROPPED else protocol
