"""Context of the connections of one server or client: what makes them, and the state that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from random import Random
from typing import Any, NoReturn, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from veltix_tx.errors import RpcError, SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.awaitables import call
from veltix_tx.net.clock import Clocks, Timers, resolve_clocks
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import Authenticate, Credentials, CredentialsSource, SourceBackoff, checked, unavailable
from veltix_tx.net.shared.budgets import MemoryBudget
from veltix_tx.net.shared.connection_ids import this_process
from veltix_tx.net.shared.counters import Unhandled
from veltix_tx.net.shared.handlers import handler_table
from veltix_tx.net.shared.keepalive import Heartbeat
from veltix_tx.net.shared.log_limiter import LogLimiter
from veltix_tx.net.shared.meter import MOST_KEYS, Meter
from veltix_tx.net.shared.turn_queue import TurnQueue
from veltix_tx.net.threads import OwnerThread
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.counting import counted
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.error_codes import METHOD_NOT_FOUND
from veltix_tx.wire.interface import DatagramWire, Role, WireConnection, WireContext
from veltix_tx.wire.messages import (
    CALL,
    PROCESS_TYPES,
    RESULT,
    RESUME,
    ROOM,
    ROOM_LEFT,
    ROOM_POSITION,
    MessageRegistry,
    Request,
    Response,
)
from veltix_tx.wire.registry import find_datagram_wire, find_wire
from veltix_tx.wire.turn_clock import TurnClock

__all__ = ["Connection", "ConnectionContext", "RoomHandlers", "ServeCall", "SharedState", "context_maker"]

_log = Logger()

ServeCall = Callable[[Any, Response], object]
"""Session and CALL message -> what a handler may return."""


def _no_methods(session: object, message: Response) -> NoReturn:
    raise RpcError(METHOD_NOT_FOUND, "this side serves no methods")


def _unasked(session: Any, message: Response) -> None:
    """Drop what nobody asked for, such as a RESULT that no call waits for, and count it: it is none of the application's."""
    session._count_late_reply()


_ROOM_KEYS = tuple(each.key for each in (ROOM, ROOM_POSITION, ROOM_LEFT, RESUME))


class RoomHandlers(Protocol):
    """Handlers of messages about rooms."""

    @property
    def handlers(self) -> Mapping[Hashable, ServeCall]:
        """Handlers by type key, of all types of such messages."""

    def features(self) -> tuple[str, ...]:
        """Return the extensions to agree on with the next peer."""


class Connection(Protocol):
    """A connection as the state it shares sees it."""

    @property
    def connection_id(self) -> str:
        """Id for the log."""

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
        authenticate: a server's hook that decides who is let in; without one a wire whose handshake asks lets in nobody, and
            every other wire everybody.
        serve_call: handles the CALL messages of a session, in place of the application; none by default.
        rooms: handles messages about rooms, in place of the application; without it they are not agreed on.
        credentials: what a client presents to servers that ask.
        before_send: called one after another with each message that its sessions send, see :mod:`veltix_tx.net.session.outgoing`.
        on_ready: called with a protocol whose handshake is complete.
        on_admitted: called with a protocol whose session others may use, now that ``connected`` is done.
        on_ended: called with a protocol over which nothing goes any more, and why: before what waits for its peer fails.
            The connection may still be closing. It may be called again.
        on_lost: called with a protocol whose connection is gone, and why.
        variables: the ContextVars that handlers see, each in a copy; the present ones by default.
        meter: counts the traffic of protocols that are metered.

    Attributes:
        handlers: the application's handler table.
        direct: its functions by type key, and what serves calls.
        authenticates: True if there is a hook.
        credentials: what the next connections present; may be set.
        meter: as given.

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
        serve_call: ServeCall | None = None,
        rooms: RoomHandlers | None = None,
        credentials: CredentialsSource | None = None,
        before_send: tuple[Callable[[Any, Request[Any, Any]], Request[Any, Any] | None], ...] = (),
        on_ready: Callable[[Connection], None] | None = None,
        on_admitted: Callable[[Connection], None] | None = None,
        on_ended: Callable[[Connection, SessionClosed], None] | None = None,
        on_lost: Callable[[Connection, SessionClosed], None] | None = None,
        variables: Context | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.application = application
        self.handlers = handler_table(application)
        self.direct = self.handlers.direct
        if not types.holds_system_codes:  # else these are codes of the program's, and calls are never agreed on
            self.direct[CALL.key] = serve_call or _no_methods
            self.direct[RESULT.key] = _unasked
            self.direct.update(dict.fromkeys(_ROOM_KEYS, _unasked) if rooms is None else rooms.handlers)
        self.config = config
        self.clocks = clocks
        self.shared = shared or SharedState(clocks, config.limits, config.timeouts)
        self._authenticate = authenticate
        self.authenticates = authenticate is not None
        self.credentials = credentials
        self.before_send = before_send
        self.on_ready = on_ready
        self.on_admitted = on_admitted
        self.on_ended = on_ended
        self.on_lost = on_lost
        self.variables = copy_context() if variables is None else variables
        self.meter = meter
        self.owner_thread = OwnerThread(clocks.reactor)
        self.role = Role.SERVER if isinstance(config, ServerConfig) else Role.CLIENT
        self.logs_connections = isinstance(config, ServerConfig) and config.log_connections
        self.wire = find_wire(config.wire)
        self._datagram_wire: DatagramWire | None = None
        self.calendar_ms, self.uptime_ms = TurnClock(clocks.calendar_ms), TurnClock(clocks.uptime_ms)
        self._wire_context = WireContext(
            calendar_ms=self.calendar_ms,
            uptime_ms=self.uptime_ms,
            getrandbits=(random or Random()).getrandbits,
            types=types,
            limits=config.limits,
            max_message_size=config.max_message_size,
            authenticates=self.authenticates,
            features=tuple if rooms is None else rooms.features,
        )

    def use_limits(self, limits: Limits) -> None:
        """Go on with other limits: those that a handshake needs hold for new connections, the rest for open ones, too."""
        self.config = replace(self.config, limits=limits)
        self._wire_context = replace(self._wire_context, limits=limits)

    def authenticate(self, credentials: Credentials) -> Deferred[object]:
        """Return a Deferred of the identity that credentials prove, None for none. Without a hook nobody is let in."""
        return succeed(None) if self._authenticate is None else self._call(self._authenticate, credentials)

    def obtain_credentials(self) -> Deferred[Token | Password | None]:
        """Return a Deferred of what to present now, None for nothing. It errbacks with CredentialsUnavailable."""
        source = self.credentials
        return self._call(source).addCallbacks(checked, unavailable) if callable(source) else succeed(source)

    def _call(self, hook: Callable[..., object], *arguments: object) -> Deferred[object]:
        """Return a Deferred of what a function of the user's returns or raises, called in a context of its own."""
        return self.variables.copy().run(call, self.clocks.reactor, hook, *arguments)

    def connect(self, *, round_trip: float, encrypted: bool) -> WireConnection:
        """Return the protocol state of a new connection; see :meth:`Wire.connect`."""
        connection = self.wire.connect(self.role, self._wire_context, round_trip=round_trip, encrypted=encrypted)
        return counted(connection) if self.logs_connections else connection

    def connect_datagrams(self) -> WireConnection:
        """Return the protocol state of a new peer of a UDP port; see :meth:`DatagramWire.connect_datagrams`."""
        if self._datagram_wire is None:
            self._datagram_wire = find_datagram_wire(self.wire)
        connection = self._datagram_wire.connect_datagrams(self.role, self._wire_context)
        return counted(connection) if self.logs_connections else connection


class _ContextMaker(Protocol):
    """Makes the context of a factory's connections."""

    def __call__(
        self,
        *,
        shared: SharedState | None,
        authenticate: Authenticate | None = None,
        credentials: CredentialsSource | None = None,
        before_send: tuple[Callable[[Any, Request[Any, Any]], Request[Any, Any] | None], ...] = (),
        on_ready: Callable[[Any], None] | None = None,
        on_admitted: Callable[[Any], None] | None = None,
        on_ended: Callable[[Any, SessionClosed], None] | None = None,
        on_lost: Callable[[Any, SessionClosed], None] | None = None,
        meter: Meter | None = None,
    ) -> ConnectionContext: ...


def context_maker(
    application: Application[NoReturn],
    config: ServerConfig | ClientConfig,
    *,
    reactor: IReactorTime | Clocks | None,
    types: MessageRegistry,
    random: Random | None,
    serve_call: ServeCall | None,
    rooms: RoomHandlers | None = None,
) -> _ContextMaker:
    """Return a function that makes a ConnectionContext of these and its own arguments.

    It is to be called when the context is first needed, which may be the first time that there is a reactor. The handlers see the
    ContextVars of now.

    Args:
        application: what happens with the messages.
        config: a ServerConfig makes it a server's, a ClientConfig a client's.
        reactor: a reactor, or Clocks for a test; None for the global reactor.
        types: the message types it knows.
        random: for ids.
        serve_call: handles the CALL messages of a session; none by default.
        rooms: handles messages about rooms; none by default.

    Raises:
        SettingsError: the wire is unknown.
    """
    find_wire(config.wire)
    variables = copy_context()

    def make(**more: Any) -> ConnectionContext:
        own: dict[str, Any] = {"types": types, "random": random, "serve_call": serve_call, "rooms": rooms, "variables": variables}
        return ConnectionContext(application, config, resolve_clocks(reactor), **own, **more)

    return make


_RELIEF = 1.0
"""Seconds between two looks at half-received messages while less than half of ``limits.receive_buffers`` is free."""


class SharedState:
    """State that the connections of one server, or of one client, share.

    Args:
        clocks: where time comes from.
        limits: the budgets.
        timeouts: the heartbeat's.
        counters: to go on with, where others were before; new ones by default.

    Attributes:
        counters: what has happened, by the names of :data:`COUNTERS`.
        unhandled: the message types that nothing handles.
        failures: how often each route and method has failed, by ``route`` or ``method`` and its name.
        heartbeat: looks after the ready ones.
        receive_budget: bytes of messages that have come in part, or wait for their turn. While less than half is free,
            messages that have come in part have less time.
        send_budget: bytes that wait for peers to read; those of broadcasts, which all queues share, are not counted.
        backoff: sources whose credentials are refused too often.
        turns: what connections have put off for later turns of the reactor.
        node: node that their connection ids name.
    """

    def __init__(self, clocks: Clocks, limits: Limits, timeouts: Timeouts, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.node = this_process()
        self.log_limiter = LogLimiter(clocks.uptime, limits.log_lines, limits.log_burst, self.counters)
        self.unhandled = Unhandled(self.counters)
        self.failures: Counter[str] = Counter()
        self.backoff = SourceBackoff(clocks.uptime, limits.authentication_failures)
        self.turns = TurnQueue(clocks.reactor, clocks.uptime)
        self._reactor = clocks.reactor
        self._unwritten: list[Any] = []
        self.heartbeat = Heartbeat(clocks, timeouts.ping_interval, timeouts.ping_timeout, timeouts.idle)
        self._uptime, self._frame = clocks.uptime, timeouts.frame
        self._relief = Timers(clocks.reactor, clocks.uptime)
        self.receive_budget = MemoryBudget(
            limits.receive_buffers,
            lambda connection: connection.overloaded("receive_buffers", self.receive_budget.limit),
            self._tighten,
        )
        self.send_budget = MemoryBudget(
            limits.send_buffers, lambda connection: connection.overloaded("send_buffers", self.send_budget.limit)
        )

    def count_failure(self, who: str) -> None:
        """Count a failure of a handler; of more than :data:`MOST_KEYS`, which peers may choose, together."""
        self.counters["handlers_failed"] += 1
        self.failures[who if who in self.failures or len(self.failures) < MOST_KEYS else "others"] += 1

    def use_limits(self, limits: Limits) -> None:
        """Go on with other limits."""
        self.receive_budget.limit, self.send_budget.limit = limits.receive_buffers, limits.send_buffers
        self.log_limiter.set_rate(limits.log_lines, limits.log_burst)
        self.backoff.failures = limits.authentication_failures

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
        """Schedule a connection to write what it has to send when this turn of the reactor is over.

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
                    _log.failure("writing to {peer} ({connection}) failed", **connection.log_fields())
