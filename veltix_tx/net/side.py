"""One side: what makes its connections, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from random import Random
from typing import TYPE_CHECKING

from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.handlers import handler_table
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.shared import Shared
from veltix_tx.net.threads import Home
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.connection import VeltixConnection
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry
from veltix_tx.wire.releases import AUTO, Release, find_release
from veltix_tx.wire.turn_clock import TurnClock

if TYPE_CHECKING:
    from veltix_tx.net.protocol import VeltixProtocol

__all__ = ["Side"]


class Side:
    """One side of its connections, a server's or a client's: one object for all of them, so that each is small.

    Args:
        application: what happens with the messages.
        config: a ServerConfig makes it a server's, a ClientConfig a client's.
        clocks: where time comes from.
        types: the message types it knows.
        random: for ids.
        shared: for several sides of one server; one of its own by default.
        ready: called with a protocol whose handshake is complete.
        admitted: called with a protocol whose session others may use, now that ``connected`` is done.
        ended: called with a protocol over which nothing goes any more, and why: before what waits for its peer fails.
            The connection may still be closing. It may be called again.
        lost: called with a protocol whose connection is gone, and why.
        context: the ContextVars that handlers see, each in a copy; the present ones by default.

    Attributes:
        handlers: the application's handler table.

    Raises:
        SettingsError: the wire is unknown, or the handler table is none.
    """

    def __init__(
        self,
        application: IVeltixApplication,
        config: ServerConfig | ClientConfig,
        clocks: Clocks,
        *,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        shared: Shared | None = None,
        ready: Callable[[VeltixProtocol], None] | None = None,
        admitted: Callable[[VeltixProtocol], None] | None = None,
        ended: Callable[[VeltixProtocol, SessionClosed], None] | None = None,
        lost: Callable[[VeltixProtocol, SessionClosed], None] | None = None,
        context: Context | None = None,
    ) -> None:
        self.application = application
        self.handlers = handler_table(application)
        self.config = config
        self.clocks = clocks
        self.types = types
        self.shared = shared or Shared(clocks, config.limits, config.timeouts)
        self.ready = ready
        self.admitted = admitted
        self.ended = ended
        self.lost = lost
        self.context = copy_context() if context is None else context
        self.home = Home(clocks.reactor)
        self.role = Role.SERVER if isinstance(config, ServerConfig) else Role.CLIENT
        self.logs_connections = isinstance(config, ServerConfig) and config.log_connections
        self.release = None if config.wire == AUTO else find_release(config.wire)
        # Bound once: each connection keeps them.
        self.calendar_ms, self.uptime_ms = TurnClock(clocks.calendar_ms), TurnClock(clocks.uptime_ms)
        self.getrandbits = (random or Random()).getrandbits

    def connect(self, release: Release | None, gap: float) -> VeltixConnection:
        """Return the wire of a new connection.

        Args:
            release: what it speaks, None to find out.
            gap: seconds between the hellos of a server that finds out.
        """
        config = self.config
        make = CountingConnection if self.logs_connections else VeltixConnection
        return make(
            self.role,
            release,
            calendar_ms=self.calendar_ms,
            uptime_ms=self.uptime_ms,
            getrandbits=self.getrandbits,
            types=self.types,
            max_message_size=config.max_message_size,
            limits=config.limits,
            gap=gap,
            long_headers=isinstance(config, ClientConfig) and config.long_headers,
        )
