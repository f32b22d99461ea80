"""The server's factory, and what both factories share."""

from __future__ import annotations

from contextvars import copy_context
from random import Random

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from veltix_tx.net.addresses import source_of
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import Admission, AdmissionControl
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate
from veltix_tx.net.shared.context import ConnectionContext, ServeCall
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry
from veltix_tx.wire.registry import find_wire

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
        authenticate: decides who is let in; see :meth:`~veltix_tx.Server.set_authenticate`.

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
        authenticate: Authenticate | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        find_wire(self.config.wire)
        self._connections = connections
        self._serve_call = serve_call
        self._authenticate = authenticate
        self._connection_context: ConnectionContext | None = None
        self._application = application
        self._reactor = reactor
        self._types = types
        self._random = random or Random()
        self._variables = copy_context()

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
            self._connection_context = ConnectionContext(
                *(self._application, self.config, resolve_clocks(self._reactor)),
                types=self._types,
                random=self._random,
                variables=self._variables,
                shared=connections.shared,
                serve_call=self._serve_call,
                authenticate=self._authenticate,
                on_ready=connections.handshake_completed,
                on_lost=connections.connection_lost,
            )
        return self._connection_context

    def stopFactory(self) -> None:
        """Log the number of lines that were left out: the last port is closed."""
        if self._connections is not None:
            self._connections.shared.log_limiter.close()

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | None:
        """Return the protocol of a new connection, None for one to close at once."""
        protocol = VeltixProtocol(self.context)
        protocol.factory = self
        admission = self.connections.try_admit(protocol, source_of(addr))
        if admission is Admission.REFUSED:
            protocol.full = True
        return None if admission is Admission.DROPPED else protocol
