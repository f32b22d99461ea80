"""One side: what makes its connections, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import count
from os import getpid
from random import Random
from typing import Any, NoReturn, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from veltix_tx.errors import SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.awaitables import call
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.budgets import MemoryBudget
from veltix_tx.net.shared.counters import Unhandled
from veltix_tx.net.shared.handlers import handler_table
from veltix_tx.net.shared.keepalive import Heartbeat
from veltix_tx.net.shared.log_limiter import LogLimiter
from veltix_tx.net.threads import OwnerThread
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.counting import counted
from veltix_tx.wire.interface import Role, WireConnection, WireContext
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry
from veltix_tx.wire.registry import find_wire
from veltix_tx.wire.turn_clock import TurnClock

__all__ = ["Authenticate", "Connection", "ConnectionContext", "SharedState"]

_log = Logger()

Authenticate = Callable[[object], object]
"""Credentials as the wire carries them -> an identity, None to refuse the peer, or a Deferred or coroutine of one."""


class Connection(Protocol):
    """A connection as the state it shares sees it."""

    def abort(self, closed: SessionClosed) -> None:
        """Close at once; what is queued is lost."""

    def finish(self, closed: SessionClosed) -> Deferred[None]:
        """Drain a connection whose handshake is complete, or completes with what has arrived; abort another."""

    def cancel_handlers(self) -> None:
        """Cancel the handlers that still run, and handle no more."""

    def cut_off(self, closed: SessionClosed) -> bool:
        """Close at once because the time to stop in is over; return True if anything was lost by that."""

    def when_lost(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the connection is gone."""


class ConnectionContext:
    """One side of its connections, a server's or a client's: one object for all of them, so that each is small.

    Args:
        application: what happens with the messages.
        config: a ServerConfig makes it a server's, a ClientConfig a client's.
        clocks: where time comes from.
        types: the message types it knows.
        random: for ids.
        shared: for several sides of one server; one of its own by default.
        authenticate: credentials -> identity or None, or a Deferred or coroutine of one, for wires whose handshake authenticates.
        on_ready: called with a protocol whose handshake is complete.
        on_admitted: called with a protocol whose session others may use, now that ``connected`` is done.
        on_ended: called with a protocol over which nothing goes any more, and why: before what waits for its peer fails.
            The connection may still be closing. It may be called again.
        on_lost: called with a protocol whose connection is gone, and why.
        variables: the ContextVars that handlers see, each in a copy; the present ones by default.

    Attributes:
        handlers: the application's handler table.

    Raises:
        SettingsError: the wire is unknown, or the handler table is none.
    """

    def __init__(
        self,
        application: Application[NoReturn],
        config: ServerConfig | ClientConfig,
        clocks: Clocks,
        *,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        shared: SharedState | None = None,
        authenticate: Authenticate | None = None,
        on_ready: Callable[[Connection], None] | None = None,
        on_admitted: Callable[[Connection], None] | None = None,
        on_ended: Callable[[Connection, SessionClosed], None] | None = None,
        on_lost: Callable[[Connection, SessionClosed], None] | None = None,
        variables: Context | None = None,
    ) -> None:
        self.application = application
        self.handlers = handler_table(application)
        self.config = config
        self.clocks = clocks
        self.shared = shared or SharedState(clocks, config.limits, config.timeouts)
        self._authenticate = authenticate
        self.on_ready = on_ready
        self.on_admitted = on_admitted
        self.on_ended = on_ended
        self.on_lost = on_lost
        self.variables = copy_context() if variables is None else variables
        self.owner_thread = OwnerThread(clocks.reactor)
        self.role = Role.SERVER if isinstance(config, ServerConfig) else Role.CLIENT
        self.logs_connections = isinstance(config, ServerConfig) and config.log_connections
        self.wire = find_wire(config.wire)
        self.calendar_ms, self.uptime_ms = TurnClock(clocks.calendar_ms), TurnClock(clocks.uptime_ms)
        self._wire_context = WireContext(
            calendar_ms=self.calendar_ms,
            uptime_ms=self.uptime_ms,
            getrandbits=(random or Random()).getrandbits,
            types=types,
            limits=config.limits,
            max_message_size=config.max_message_size,
        )

    def authenticate(self, credentials: object) -> Deferred[object]:
        """Return a Deferred of the identity that credentials prove, None for none. Without a hook nobody is let in."""
        if self._authenticate is None:
            return succeed(None)
        return call(self.clocks.reactor, self._authenticate, credentials)

    def connect(self, *, round_trip: float, encrypted: bool) -> WireConnection:
        """Return the protocol state of a new connection; see :meth:`Wire.connect`."""
        connection = self.wire.connect(self.role, self._wire_context, round_trip=round_trip, encrypted=encrypted)
        return counted(connection) if self.logs_connections else connection


_RELIEF = 1.0
"""Seconds between two looks at half-received messages while less than half of ``limits.receive_buffers`` is free."""


class SharedState:
    """What the connections of one server, or of one client, share.

    Args:
        clocks: where time comes from.
        limits: the budgets.
        timeouts: the heartbeat's.
        counters: to go on with, where others were before; new ones by default.

    Attributes:
        counters: what has happened, by the names of :data:`COUNTERS`.
        unhandled: the message types that nothing handles.
        heartbeat: looks after the ready ones.
        receive_budget: bytes of messages that have come in part, or wait for their turn. While less than half is free,
            messages that have come in part have less time.
        send_budget: bytes that wait for peers to read; those of broadcasts, which all queues share, are not counted.
    """

    def __init__(self, clocks: Clocks, limits: Limits, timeouts: Timeouts, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.log_limiter = LogLimiter(clocks.uptime, limits.log_lines, limits.log_burst, self.counters)
        self.unhandled = Unhandled(self.counters)
        self._reactor = clocks.reactor
        self._unwritten: list[Any] = []
        self._connection_ids = count(1)
        self.heartbeat = Heartbeat(clocks, timeouts.ping_interval, timeouts.ping_timeout)
        self._uptime, self._frame = clocks.uptime, timeouts.frame
        self._relief = Timers(clocks.reactor, clocks.uptime)
        self.receive_budget = MemoryBudget(
            limits.receive_buffers,
            lambda connection: connection.overloaded("receive_buffers", limits.receive_buffers),
            self._tighten,
        )
        self.send_budget = MemoryBudget(
            limits.send_buffers, lambda connection: connection.overloaded("send_buffers", limits.send_buffers)
        )

    def next_connection_id(self) -> str:
        """Return an id for a new connection, ``<node>-<counter>``; the node is this process."""
        return f"{getpid()}-{next(self._connection_ids)}"

    def _tighten(self, tight: bool) -> None:
        if tight:
            self._relief.set("frames", _RELIEF, self._relieve)
        else:
            self._relief.clear("frames")

    def _relieve(self) -> None:
        """Give half-received messages less time, the less is free, and let the oldest of them give way until half is."""
        self._relief.set("frames", _RELIEF, self._relieve)
        seconds = self._frame * 2 * self.receive_budget.free
        begun = [each for each in self.receive_budget if each.frame_begun is not None and not each.paused]
        for each in sorted(begun, key=lambda each: each.frame_begun):
            if not self.receive_budget.is_tight:
                return
            each.hurry(seconds)

    def write_soon(self, connection: Any) -> None:
        """Let a connection write what it has to send when this turn of the reactor is over.

        All that is sent in one turn leaves in one write: a message of a loop costs a quarter of a write of its own.
        """
        if not self._unwritten:
            self._reactor.callLater(0, self._write_all)
        self._unwritten.append(connection)

    def _write_all(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            try:
                connection.write_out()
            except Exception:  # noqa: PERF203 (a transport's; the others have no other turn)
                if connection._may_log():
                    _log.failure("writing to {connection!r} failed", connection=connection)
