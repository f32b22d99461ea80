"""The Twisted protocol: bytes to the wire's connection, its events to the session, its bytes to the transport."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    AuthenticationFailed,
    EarlyMessage,
    FrameTooLarge,
    NotVeltix,
    PlaintextCredentials,
    RemoteError,
    RemoteProtocolError,
    SessionClosed,
    TlsFailed,
)
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.addresses import is_this_machine, shown, source_of
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.connection.authentication import CredentialsPresenter, PeerAuthentication
from veltix_tx.net.connection.close_reason import classify_close, late_handshake
from veltix_tx.net.connection.closing import CloseWatch
from veltix_tx.net.connection.connection_log import ConnectionLog
from veltix_tx.net.connection.last_reads import QUIET, LastReads
from veltix_tx.net.connection.policing import PeerPolicing
from veltix_tx.net.connection.turns import MOST_EVENTS, Backlog
from veltix_tx.net.session.interface import MOST_CORKED, OWN_REQUESTS_FACTOR
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.connection_ids import connection_id, draw_number
from veltix_tx.net.shared.context import ConnectionContext, SharedState
from veltix_tx.net.transport.flow_control import SLOWEST, FlowControl
from veltix_tx.net.transport.sockets import (
    acknowledged,
    has_socket,
    has_unwritten,
    listen_for_half_closes,
    read_at_once,
    reset,
    round_trip,
    set_options,
    share_attribute_names,
    unread,
    untaken,
)
from veltix_tx.net.transport.tls_errors import beginning_of_tls, tells_when_secure
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import BufferSize, ClientConfig
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.events import (
    AuthenticationRequested,
    CallCancelled,
    ConnectionFailed,
    CredentialsAccepted,
    CredentialsRequested,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.foreign import QUOTED
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import Response

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["LINGER", "VeltixProtocol"]

_log = Logger()

_PORTION = 64 * 1024
"""Bytes handled at a time."""

_EVENT_COST = 128
"""Bytes that an event counts which waits for a later turn."""

_MUCH = 256 * 1024
"""Bytes read at once while a message arrives that is longer than that."""

LINGER = 2.0
"""Seconds in which a peer that has been given everything may close, too, before the connection is left to the kernel."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class VeltixProtocol(Protocol):
    """One Veltix connection on any transport, in either role.

    Factories make these; it can also be made by hand and connected to any transport.

    Args:
        context: what makes it, and shares much with it.

    Attributes:
        session: the session, from the completed handshake on; None before.
        context: as given.
        flow_kind: class of its flow control.
        full: True to refuse the peer, because the server has as many connections as it may. Set before it is connected.
        on_trial: True from its session's admission until the first message from the peer, where the side asks for it.
        unwritten: bytes sent of this side's own accord that are to be written when the read or the turn is over.
    """

    transport: Any
    flow_kind: ClassVar[type[FlowControl]] = FlowControl
    # None of an instance's own, until they are needed:
    full = False
    _number = 0
    _backlog: Backlog | None = None
    _last_reads: LastReads | None = None
    _connection_log: ConnectionLog | None = None
    _authentication: PeerAuthentication | None = None
    _presenter: CredentialsPresenter | None = None
    _handshake_end = 0.0
    _lingers = False
    _stream_ended = False

    def __init__(self, context: ConnectionContext) -> None:
        self.session: Session | None = None
        self.context = context
        self.timers = Timers(context.clocks.reactor, context.clocks.uptime)
        self._policing = PeerPolicing(self)
        self.corked = False
        self.on_trial = False
        self.last_received = 0.0
        self.pinged_at: float | None = None
        self._closed: SessionClosed | None = None
        self._lost = False
        self._half_closed = False
        self.unwritten = 0
        self._reading_large = False
        self._first = b""
        self._secure = True
        self._charged = False
        self._when_lost: Waiters[SessionClosed] | None = None

    # From the transport.

    def connectionMade(self) -> None:
        """Begin the handshake, with one absolute deadline, which holds for TLS, too."""
        self._prepare()
        share_attribute_names(self.transport)
        if self.full:
            self.connection.refuse()
            self.close(SessionClosed(DisconnectReason.SERVER_FULL))
            return
        if not self._may_present():
            error = PlaintextCredentials(shown(self.address))
            self.abort(SessionClosed(DisconnectReason.AUTHENTICATION_FAILED, error))
            return
        seconds = self.context.config.handshake_timeout
        self._handshake_end = self.clocks.uptime() + seconds
        self._secure = not tells_when_secure(self.transport)
        if self._secure:
            self.handshakeCompleted()
        else:
            self.timers.set("handshake", seconds, self._handshake_late)

    def handshakeCompleted(self) -> None:
        """Begin Veltix's part of the handshake: below it, TLS is through or there is none."""
        self._secure = True
        if self._closed is None:
            self.continue_handshake(self.connection.start())

    def dataReceived(self, data: bytes) -> None:
        """Handle what arrived; everything it causes to be sent at once leaves in one write."""
        if self._backlog is not None:  # below TLS more comes though reading is paused
            self._defer(partial(self._read, data), len(data))
        elif len(data) <= _PORTION:
            self._process(data)
        else:
            self._read(data)

    def _read(self, data: bytes, begin: int = 0) -> int:
        """Handle what was read; return how many events that was. What is too much for one turn of the reactor waits.

        A long read is handled in portions, so that messages are gone before the next ones are made; a part of a large one stays in
        one piece.
        """
        whole = len(data) <= _PORTION or self.session is None or self.connection.incoming_size >= _PORTION
        if whole and not begin:
            return self._process(data)
        handled = 0
        for start in range(begin, len(data), _PORTION):
            if handled >= MOST_EVENTS:
                self._defer(partial(self._read, data, start), len(data) - start)
                break
            handled += self._process(data[start : start + _PORTION])
        return handled

    def _defer(self, step: Callable[[], int], size: int = 0) -> None:
        """Do something in a later turn of the reactor, behind all that waits for one; nothing more is read until then."""
        if self._backlog is None:
            self._backlog = Backlog(self.shared.turns, self._caught_up)
            self.flow.pause("turn over")
        self._backlog.add(step, size)
        self.charge_buffers()

    def _caught_up(self) -> None:
        self._backlog = None
        if not self._lost:
            self.flow.resume("turn over")
        self.charge_buffers()
        if self._last_reads is not None:
            self._last_reads.check_soon()

    def _process(self, data: bytes) -> int:
        """Handle the events that bytes make; return how many there were, :data:`MOST_EVENTS` where more wait."""
        if self._closed is not None:
            return 0
        connection = self.connection
        events = connection.receive_data(data, self.context.calendar_ms.keep())  # until all that it causes is written
        uptime = self.context.clocks.uptime
        now = uptime()
        if self.session is None:
            self._first = (self._first + data[:QUOTED])[:QUOTED]
            self.continue_handshake(events)
            self._check_slow(now, events)
            return self._check_more()
        self.last_received = now
        unfinished = connection.incoming_size
        if unfinished or self._reading_large:
            self._adapt_read_size(unfinished)
        policing = self._policing
        if not unfinished:
            policing.frame_begun = None
        elif events or policing.frame_begun is None:
            policing.begin_frame(now)
        if len(events) <= MOST_EVENTS:
            self.handle_events(events)
        else:
            self._handle_some(events)
        handled = self._check_more() if connection.has_more else len(events)
        if connection.next_timeout is not None:
            self._update_wire_timer()
        if self._charged or policing.frame_begun is not None or self.session._inbox_bytes:
            self.charge_buffers()
        if uptime() - now > self.timeouts.slow_handler:
            self._check_slow(now, events)
        return handled

    def _handle_some(self, events: list[Event]) -> int:
        """Handle as many events as one turn may have, and leave these in the list; return how many that was."""
        left = events[MOST_EVENTS:]
        if left:
            del events[MOST_EVENTS:]
            self._defer(partial(self._handle_left, left), len(left) * _EVENT_COST)
        self.handle_events(events)
        return len(events)

    def _handle_left(self, events: list[Event]) -> int:
        """Handle events that were too many for an earlier turn, unless the connection has been closed since."""
        if self._closed is not None:
            return 0
        self.context.calendar_ms.keep()
        began = self.context.clocks.uptime()
        handled = self._handle_some(events)
        self._check_slow(began, events)
        return handled

    def _check_more(self) -> int:
        """Go on in a later turn with what the wire has taken and not decoded; return what counts for that in this one."""
        if self._closed is not None or not self.connection.has_more:
            return 0
        self._defer(partial(self._process, b""))
        return MOST_EVENTS

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Settle everything that waits, behind what has been read and not been handled yet."""
        if self._backlog is not None and self._closed is None:
            self._defer(partial(self._handle_loss, reason))
        else:
            self._handle_loss(reason)

    def _handle_loss(self, reason: Failure) -> int:
        closed = self._closed
        if closed is None:
            fault = self.connection.handshake_fault
            closed = classify_close(
                reason, self.context.role, self._first, ready=self.session is not None, secure=self._secure, fault=fault
            )
            if isinstance(closed.cause, TlsFailed) and self._may_log():
                _log.warn("lost {peer} ({connection}): {error}", **self.log_fields(), error=closed.cause)
        self._lost = True
        self.shared.counters[f"closed_{closed.reason.name.lower()}"] += 1
        self._mark_closed(closed)
        self.flow.end()
        self.charge_buffers()
        if self._connection_log is not None:
            self._connection_log.end(closed, None if self.session is None else self.session.identity)
        if self.context.on_lost is not None:
            self.context.on_lost(self, closed)
        when_lost, self._when_lost = self._when_lost, None
        if when_lost is not None:
            when_lost.fire(closed)
        if self.session is not None:
            self.session._connection_lost()
        return 0

    def readConnectionLost(self) -> None:
        """The peer sends nothing more, and may have closed altogether: so does this side, once what is queued is written.

        On a wire whose peers may end their streams and still be answered, what has come is handled before that.
        """
        if self._backlog is not None and self._closed is None:
            self._defer(self._handle_end_of_stream)
        else:
            self._handle_end_of_stream()

    def _handle_end_of_stream(self) -> int:
        if self.session is not None and self._closed is None and self.connection.half_closes:
            self._half_closed = True
            self.handle_events(self.connection.receive_eof(self.context.calendar_ms.keep()))
            self._policing.frame_begun = None
            self.session._peer_ended()
            return 0
        if self.session is None or not (self.unwritten or self.flow.queued or has_unwritten(self.transport)):
            self.transport.connectionLost(connectionDone)
            return 0
        self._half_closed = True
        self.close(SessionClosed(DisconnectReason.PEER_CLOSED))
        return 0

    def writeConnectionLost(self) -> None:
        """Everything is with the kernel; what the peer still sends is read until it has closed."""
        if self._closed is None:
            return  # the wire's message has been sent, and the peer's is to come
        if self._half_closed:
            self.transport.loseConnection()
        else:
            self._lingers = True
            self._watch_close(min(LINGER, self.timeouts.close), self.transport.loseConnection)

    # Facts.

    @property
    def clocks(self) -> Clocks:
        """Where time comes from."""
        return self.context.clocks

    @property
    def shared(self) -> SharedState:
        """State shared by the connections of one factory."""
        return self.context.shared

    @property
    def limits(self) -> Limits:
        """The settings of its side."""
        return self.context.config.limits

    @property
    def timeouts(self) -> Timeouts:
        """The settings of its side."""
        return self.context.config.timeouts

    @property
    def address(self) -> IAddress:
        """The peer's network address."""
        peer: IAddress = self.transport.getPeer()
        return peer

    @property
    def certificate(self) -> Certificate | None:
        """Certificate of the peer that TLS has verified; None without one, and without TLS."""
        certificate: Any = self.transport.getPeerCertificate() if ISSLTransport.providedBy(self.transport) else None
        return None if certificate is None else certificate.to_cryptography()

    @property
    def connection_id(self) -> str:
        """Id of the connection, ``<node>-<counter>``; its number is drawn when it is first asked for."""
        if not self._number:
            vars(self).setdefault("_number", draw_number())  # once, though several threads ask
        return connection_id(self._number, self.shared.node)

    def log_fields(self) -> dict[str, Any]:
        """Return the fields that every line of the log about the connection has: its id and the peer's address."""
        return {"peer": shown(self.address), "connection": self.connection_id}

    def _may_log(self) -> bool:
        """Return True if the log may have one more line that the peer causes."""
        return self.shared.log_limiter.allow(source_of(self.address))

    # From the session and the factory.

    def when_lost(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the connection is gone, ready or not. Never errbacks."""
        if self._lost and self._closed is not None:
            return succeed(self._closed)
        if self._when_lost is None:
            self._when_lost = Waiters()
        return self._when_lost.wait()

    def read_arrived(self) -> Deferred[None]:
        """Return a new Deferred that fires when what has arrived by now has been read, and the read handled that is under way.

        It fires at once where there is neither, and when the connection closes.
        """
        waits = self.corked or self._backlog is not None
        if self.transport is None or self._closed is not None or not (waits or unread(self.transport)):
            return succeed(None)
        if self._last_reads is None:
            most, quiet = self.context.config.max_message_size, min(QUIET, self.timeouts.drain / 4)
            self._last_reads = LastReads(self, self.clocks.reactor, most, quiet, lambda: self._backlog is not None, self._all_read)
        return self._last_reads.wait()

    def flush(self) -> None:
        """Write what the connection has to send, unless a read is being handled, which then writes it all.

        What is not this side's own is owed to the peer: its not reading it pauses our reading.
        """
        if not self.corked and self.transport is not None:
            self.write_out()

    def write_out(self) -> None:
        """Write what the connection has to send."""
        side = self.context
        side.calendar_ms.ms = side.uptime_ms.ms = None  # what is sent from now on has another time
        own, self.unwritten = self.unwritten, 0
        out = self.connection.data_to_send()
        if out and not self._lost:
            ends = not out[-1]
            size = len(out[0]) if len(out) == 1 else sum(map(len, out))
            self.flow.write(out, size, size - own if size > own else 0)
            if ends:
                self._end_stream()

    def _end_stream(self) -> None:
        """End this side's stream behind what has been written; the peer's goes on, where the transport can do that."""
        self._stream_ended = True
        by_halves = IHalfCloseableDescriptor.providedBy(self.transport)
        if by_halves:
            self.flow.end_stream()
            self.transport.loseWriteConnection()
        else:
            self.close(SessionClosed(DisconnectReason.COMPLETED))

    def sent(self, size: int) -> None:
        """Write what the connection has to send, of which ``size`` bytes are of this side's own accord.

        That is done when the read that is being handled, or else this turn of the reactor, is over.
        """
        own, self.unwritten = self.unwritten, self.unwritten + size
        if self.unwritten > MOST_CORKED:
            self.write_out()
        elif not (own or self.corked):
            self.context.shared.write_soon(self)

    def close(self, closed: SessionClosed) -> None:
        """Write what is queued and close; abort when the peer takes nothing of that for ``timeouts.close`` seconds.

        A kernel that closes a socket with something unread resets the connection, and what the peer
        has not read by then is lost to it. So only this side's half is closed, until the peer's is,
        unless the peer broke a rule.
        """
        if self.transport is None or self._closed is not None:
            return
        self.corked = False
        self.flush()
        self._mark_closed(closed)
        if isinstance(closed.cause, RemoteProtocolError):
            self.timers.set("close", self.timeouts.close, self._close_late)
        else:
            self._watch_close(self.timeouts.close, self._close_late)
        self.flow.stop()
        transport: Any = self.transport
        tls = ISSLTransport.providedBy(transport)  # which waits for the peer's goodbye by itself
        by_halves = IHalfCloseableDescriptor.providedBy(transport) and not tls
        if by_halves and not isinstance(closed.cause, RemoteProtocolError):
            if not self._half_closed:
                transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def close_after_peer(self) -> None:
        """Close politely, because the peer has ended its stream, and what it sent has been handled."""
        reason = DisconnectReason.COMPLETED if self._stream_ended else DisconnectReason.PEER_CLOSED
        self.close(SessionClosed(reason))

    def abort(self, closed: SessionClosed) -> None:
        """Close at once; what is queued is lost."""
        if self.transport is not None:
            self._mark_closed(self._closed or closed)
            self._abort_transport()

    def finish(self, closed: SessionClosed) -> Deferred[None]:
        """Drain a connection whose handshake is complete, or completes with what has arrived; abort another."""

        def read(_: None) -> Deferred[None] | None:
            if self.session is not None:
                return self.session.drain()
            self.abort(closed)
            return None

        return self.read_arrived().addCallback(read)

    def cancel_handlers(self) -> None:
        """Cancel the handlers that still run, and handle no more."""
        if self.session is not None:
            self.session._cancel_handlers()

    def cut_off(self, closed: SessionClosed) -> bool:
        """Close at once, because the time to stop in is over; return whether anything was lost by that.

        What the kernel has been given, all of it, is left to the kernel, which resets nothing then.
        """
        if self._lingers:
            self.transport.loseConnection()
            return False
        self.abort(closed)
        return True

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Reject the peer's request, where its wire has a message for it.

        Args:
            request_id: the request's.
            code: why, for programs.
            message: why, for people.
        """
        allowed = self.connection.marks_requests or self._policing.may_reject()
        if allowed and self.connection.reply_error(request_id, code, message):
            self.flush()

    def charge_buffers(self) -> None:
        """Charge the receive budget with the bytes of the peer that are kept, be it gone or not: they are handled all the same."""
        size = 0 if self.session is None else self.connection.buffered_size + self.session._inbox_bytes
        if self._backlog is not None and self._closed is None:
            size += self._backlog.size
        if size or self._charged:
            self._charged = size > 0
            self.shared.receive_budget.charge(self, size)

    def admitted(self) -> None:
        """Report to the context that others may use the session."""
        if self.context.on_admitted is not None:
            self.on_trial = True
            self.context.on_admitted(self)

    # From the authentication.

    @property
    def is_closing(self) -> bool:
        """True once nothing more is read or sent."""
        return self._closed is not None

    def continue_handshake(self, events: list[Event]) -> None:
        """Handle events after which the wire may want to be called at another time."""
        try:
            self.handle_events(events)
        finally:
            self._update_wire_timer()
            if self.session is None and self._closed is None:
                self._set_handshake_timer()

    def handle_events(self, events: list[Event]) -> None:
        """Handle events of the wire; everything they cause to be sent leaves in one write."""
        self.corked = True
        try:
            first = 0
            while self.session is None and first < len(events) and not self._hold(events[first:]):
                self._on(events[first])
                first += 1
            if first:
                events = events[first:]
            if events and self.session is not None:
                if self.on_trial:
                    self.on_trial = not any(isinstance(event, (Response, RequestFailed)) for event in events)
                # In a context of its own: what a handler sets with a ContextVar is seen by no other connection's.
                context = self.context.variables.copy()
                context.run(self.session._events_received, events, self._on)
        finally:
            self.corked = self._authentication is not None and self._authentication.held is not None
            self.flush()

    def _hold(self, events: list[Event]) -> bool:
        """Keep events for after the verdict on the peer; return False where none is waited for, or the wire waits itself."""
        authentication = self._authentication
        if authentication is None or authentication.held is None:
            return False
        authentication.held += events
        return True

    # From the flow and what the connections share.

    def abort_slow_reader(self) -> None:
        """Close at once a peer that does not read."""
        self._policing.terminate(DisconnectReason.WRITE_TIMEOUT)

    def validate(self) -> None:
        """Do nothing: only over datagrams may somebody else have written a peer's address."""

    def abort_dead_peer(self) -> None:
        """Close at once a peer that has not answered."""
        self._policing.terminate(DisconnectReason.PING_TIMEOUT)

    def close_idle_peer(self) -> None:
        """Close politely a peer that has been silent for long, and that no ping can ask."""
        self._policing.terminate(DisconnectReason.IDLE, graceful=True, seconds=self.timeouts.idle)

    def overloaded(self, direction: str, most: int) -> None:
        """Close at once, because all connections together keep too much and this one the most.

        Args:
            direction: the limit, ``receive_buffers`` or ``send_buffers``.
            most: its bytes.
        """
        if self.session is not None and direction == "receive_buffers":
            self.session._dispatcher.discard_queued()
        self._policing.terminate(DisconnectReason.OVERLOAD, direction=direction, most=most)

    def hurry(self, seconds: float) -> None:
        """Close a peer whose message has had so many seconds, and the time for what has come of it, because room is scarce."""
        self._policing.hurry(seconds)

    @property
    def frame_begun(self) -> float | None:
        """When the message began of which only a part has come, on the clock that never jumps; None without one."""
        return self._policing.frame_begun

    @property
    def answers_pings(self) -> bool:
        """True if a ping can ask whether the peer is there."""
        return self.connection.supports_ping

    @property
    def owes_answers(self) -> bool:
        """True if a message of the peer is being handled, or waits for that: the peer is silent because this side is."""
        return self.session is not None and not self.session._dispatcher.idle

    @property
    def paused(self) -> bool:
        """True while nothing is read from the peer."""
        return self.flow.paused

    @property
    def bytes_taken(self) -> int | None:
        """Bytes that the peer has taken so far, None where nothing waits for it to take more."""
        return self.flow.bytes_taken

    def send_probe(self) -> None:
        """Ask a silent peer whether it is there."""
        assert self.session is not None
        self.session._send_probe()

    def reading_resumed(self) -> None:
        """Reading goes on: while it was paused, time did not run against the peer."""
        self.shared.heartbeat.reading_resumed(self)
        self._policing.reading_resumed()

    def resume_handling(self) -> None:
        """Messages can be handled again."""
        assert self.session is not None
        self.session._resume()

    @property
    def awaiting_replies(self) -> bool:
        """True if this side waits for a reply itself."""
        return self.session is not None and self.session.pending_requests > 0

    @property
    def most_unread_replies(self) -> int:
        """Bytes of unread replies that may pile up meanwhile."""
        return OWN_REQUESTS_FACTOR * self.context.config.max_message_size

    # Inside.

    def _prepare(self) -> None:
        transport = self.transport
        set_options(transport, self.timeouts.ping_interval, self.timeouts.ping_timeout)
        side, config = self.context, self.context.config
        read_at_once(transport, config.buffer_size)
        self.connection = side.connect(round_trip=round_trip(transport), encrypted=ISSLTransport.providedBy(transport))
        if self.connection.half_closes:
            listen_for_half_closes(transport)
        if isinstance(self.connection, CountingConnection):
            self._connection_log = ConnectionLog(self.log_fields(), transport.getHost(), self.connection, self.clocks.uptime)
        self.flow = self.flow_kind(self, acknowledged)

    def _adapt_read_size(self, unfinished: int) -> None:
        """Read more at once while a long message arrives, unless asked for little."""
        size = self.context.config.buffer_size
        much = unfinished > _MUCH and BufferSize.LARGE <= size < _MUCH
        if much != self._reading_large:
            self._reading_large = much
            read_at_once(self.transport, _MUCH if much else size)

    def _handshake_late(self) -> None:
        seconds = self.context.config.handshake_timeout
        waits_for = ""
        if self._authentication is not None and self._authentication.is_pending:
            waits_for = "authenticate was not done"
        elif self._presenter is not None and self._presenter.is_pending:
            waits_for = "this client's credentials had not come"
        side = self.context.role
        error = late_handshake(self.connection, side, self._first, seconds, secure=self._secure, waits_for=waits_for)
        self._policing.terminate(error.reason, error)

    def _abort_transport(self) -> None:
        transport = self.transport
        if hasattr(transport, "abortConnection"):
            if has_socket(transport):  # just before Twisted closes it, a turn later: its protocol hears of it before the peer does
                self.clocks.reactor.callLater(0, reset, transport)
            transport.abortConnection()
        else:  # ITransport does not ask for it
            transport.loseConnection()

    def _watch_close(self, seconds: float, give_up: Callable[[], None]) -> None:
        write, uptime = self.timeouts.write, self.clocks.uptime
        CloseWatch(self.timers, uptime, self._left, seconds=seconds, write_timeout=write, least=SLOWEST * write, give_up=give_up)

    def _left(self) -> int:
        """Return how many bytes the peer has still to take."""
        return self.flow.queued + untaken(self.transport)

    def _close_late(self) -> None:
        self.shared.counters["closes_aborted"] += 1
        broke_a_rule = self._closed is not None and isinstance(self._closed.cause, RemoteProtocolError)
        if not broke_a_rule:  # that was told
            left, seconds = self._left(), self.timeouts.close
            text = "it does not read what is left for it, {left} bytes of which are lost (timeouts.close)"
            if not left:
                text = "it has not closed its side of the connection after {seconds:g} s (timeouts.close)"
            self._policing.log_closing(text, left=left, seconds=seconds)
        self._abort_transport()

    def _may_present(self) -> bool:
        """Return False for a client whose credentials others on the network could read."""
        config = self.context.config
        if self.context.credentials is None or not isinstance(config, ClientConfig) or config.allow_plaintext_credentials:
            return True
        return ISSLTransport.providedBy(self.transport) or is_this_machine(self.address)

    def _on(self, event: Event) -> None:
        _ON_EVENT[type(event)](self, event)

    def _check_slow(self, began: float, events: list[Event]) -> None:
        taken = self.clocks.uptime() - began
        if taken > self.timeouts.slow_handler and self.session is not None:
            self.session._dispatcher.record_duration(taken, events)

    def _on_ready(self, event: HandshakeCompleted) -> None:
        authentication = self._authentication
        if self.context.authenticates and (authentication is None or not authentication.let_in):
            self._authentication = authentication or PeerAuthentication(self, self._policing)
            self._authentication.hold(event)
            return
        self.timers.clear("handshake")
        self._handshake_end = 0.0
        self._first = b""
        session = self.session = Session(self, event.peer, cast(Application[Session], self.context.application))
        if authentication is not None:
            session.identity = authentication.identity
        elif self.context.credentials is not None and self._presenter is None and self._may_log():
            fields = {"session": session, **self.log_fields()}
            _log.warn("{session} asks for no credentials: this client's were not sent", **fields)
        self.shared.counters["ready"] += 1
        self.shared.heartbeat.add(self)
        self.flow.start()
        if self.context.on_ready is not None:
            self.context.on_ready(self)
        session._opened()

    def _on_authentication_requested(self, event: AuthenticationRequested) -> None:
        if self._authentication is None:
            self._authentication = PeerAuthentication(self, self._policing)
        self._authentication.judge(event)

    def _on_credentials_requested(self, _: CredentialsRequested) -> None:
        self._presenter = CredentialsPresenter(self)
        self._presenter.present()

    def _on_credentials_accepted(self, event: CredentialsAccepted) -> None:
        if self.session is not None:
            self.session._credentials_accepted(event.request_id)

    def _on_pings_answered(self, event: PingsAnswered) -> None:
        self._policing.pings_answered(event.count)

    def _on_pong(self, event: Pong) -> None:
        if self.session is not None and not self.session._pong_received(event.request_id):
            self._policing.count_violation()

    def _on_declined(self, event: RequestFailed) -> None:
        if self.session is not None:
            error = RemoteError(event.detail, event.code, event.message, event.details)
            self.session._request_failed(event.request_id, error)

    def _on_call_cancelled(self, event: CallCancelled) -> None:
        if self.session is not None:
            self.session._call_cancelled(event.request_id)

    def _on_refused(self, event: FrameRejected) -> None:
        if self.session is not None:
            self.session.frames_rejected += 1
            self.shared.counters["frames_refused"] += 1
            if event.reason is RejectReason.UNKNOWN_TYPE:
                self._policing.unknown_type(event)
            elif event.reason is RejectReason.MALFORMED:
                self._policing.count_violation()

    def _on_failed(self, event: ConnectionFailed) -> None:
        failed = beginning_of_tls(self._first, self.context.role) if self.session is None else None
        error = event.error
        if self.session is None and isinstance(error, (EarlyMessage, FrameTooLarge, NotVeltix)):
            error.first = self._first  # which may be more than it took to refuse them
        if isinstance(error, AuthenticationFailed) and self.context.role is Role.SERVER:
            self.shared.counters["authentications_failed"] += 1
        self._policing.violated(failed or error)

    def _all_read(self) -> None:
        self._last_reads = None

    def _mark_closed(self, closed: SessionClosed) -> SessionClosed:
        self._closed = closed
        for waiting in (self._authentication, self._presenter):
            if waiting is not None:
                waiting.end()
        if self._last_reads is not None:
            self._last_reads.end()
        self.timers.clear_all()
        self.shared.heartbeat.discard(self)
        self.connection.connection_lost()
        if self.context.on_ended is not None:
            self.context.on_ended(self, closed)
        if self.session is not None:
            self.session._closing(closed)
        return closed

    def _update_wire_timer(self) -> None:
        wait = self.connection.next_timeout
        if wait is None:
            self.timers.clear("wire")
        else:
            self.timers.set("wire", wait, self._wire_timeout_due)

    def _set_handshake_timer(self) -> None:
        """Set the timer of the handshake's deadline, unless the wire's comes before: most handshakes need one timer."""
        left, wait = self._handshake_end - self.clocks.uptime(), self.connection.next_timeout
        if "handshake" not in self.timers and (wait is None or wait >= left):
            self.timers.set("handshake", max(0.0, left), self._handshake_late)

    def _wire_timeout_due(self) -> None:
        # In the next turn of the reactor: where this process was held up, the answer to the last hello is there, and unread.
        self.timers.set("wire", 0, self._wire_timeout)

    def _wire_timeout(self) -> None:
        self.continue_handshake(self.connection.handle_timeout())


_ON_EVENT: dict[type, Callable[..., None]] = {
    HandshakeCompleted: VeltixProtocol._on_ready,
    AuthenticationRequested: VeltixProtocol._on_authentication_requested,
    CredentialsRequested: VeltixProtocol._on_credentials_requested,
    CredentialsAccepted: VeltixProtocol._on_credentials_accepted,
    PingsAnswered: VeltixProtocol._on_pings_answered,
    Pong: VeltixProtocol._on_pong,
    RequestFailed: VeltixProtocol._on_declined,
    CallCancelled: VeltixProtocol._on_call_cancelled,
    FrameRejected: VeltixProtocol._on_refused,
    ConnectionFailed: VeltixProtocol._on_failed,
}
