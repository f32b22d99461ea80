"""The Twisted protocol: bytes to the connection, its events to the session, its bytes to the transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import EarlyMessage, FrameTooLarge, NotVeltix, RemoteError, RemoteProtocolError, SessionClosed, TlsFailed
from veltix_tx.net.addresses import shown
from veltix_tx.net.clock import Timers
from veltix_tx.net.connection.close_reason import classify_close
from veltix_tx.net.connection.closing import CloseWatch
from veltix_tx.net.connection.connection_log import ConnectionLog
from veltix_tx.net.connection.last_reads import QUIET, LastReads
from veltix_tx.net.connection.policing import PeerPolicing
from veltix_tx.net.rate import TokenBucket
from veltix_tx.net.session.interface import MOST_CORKED, OWN_REQUESTS_FACTOR
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.net.transport.flow_control import SLOWEST, FlowControl
from veltix_tx.net.transport.sockets import (
    acknowledged,
    has_socket,
    has_unwritten,
    notice_dead_peers,
    read_at_once,
    reset,
    round_trip,
    unread,
    untaken,
)
from veltix_tx.net.transport.tls_errors import beginning_of_tls, tells_when_secure
from veltix_tx.net.waiters import Waiters
from veltix_tx.sanitize import SanitizedFailure
from veltix_tx.settings import BufferSize
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.foreign import QUOTED
from veltix_tx.wire.messages import Response

__all__ = ["VeltixProtocol"]

_log = Logger()

_PORTION = 32 * 1024
"""Bytes handled at a time."""

_MUCH = 256 * 1024
"""Bytes read at once while a message arrives that is longer than that."""

_LINGER = 2.0
"""Seconds in which a peer that has been given everything may close, too, before the connection is left to the kernel."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class VeltixProtocol(PeerPolicing):
    """One Veltix connection on any transport, in either role.

    Factories make these; it can also be made by hand and connected to any transport.

    Args:
        context: what makes it, and shares much with it.
        full: refuse the peer, because the server has as many connections as it may.

    Attributes:
        session: the session, from the completed handshake on; None before.
        context: as given.
        on_trial: True from its session's admission until the first message from the peer, where the side asks for it.
        unwritten: bytes sent of this side's own accord that are to be written when the read or the turn is over.
    """

    transport: Any
    # None of an instance's own, until they are needed:
    _last_reads: LastReads | None = None
    _connection_log: ConnectionLog | None = None
    _lingers = False

    def __init__(self, context: ConnectionContext, *, full: bool = False) -> None:
        self.session: Session | None = None
        self.context = context
        self.timers = Timers(context.clocks.reactor, context.clocks.uptime)
        self.corked = False
        self.on_trial = False
        self.last_received = 0.0
        self.pinged_at: float | None = None
        self._closed: SessionClosed | None = None
        self._identity: object = None
        self._refusing = full
        self._lost = False
        self._half_closed = False
        self.unwritten = 0
        self._frame_begun: float | None = None
        self._reading_large = False
        self._first = b""
        self._secure = True
        self._charged = False
        self._when_lost: Waiters[SessionClosed] | None = None
        self._ping_budget: TokenBucket | None = None
        self._violations: TokenBucket | None = None

    # From the transport.

    def connectionMade(self) -> None:
        """Begin the handshake, with one absolute deadline, which holds for TLS, too."""
        self._prepare()
        if self._refusing:
            self.connection.refuse()
            self.close(SessionClosed(DisconnectReason.SERVER_FULL))
            return
        self.timers.set("handshake", self.context.config.handshake_timeout, self._handshake_late)
        self._secure = not tells_when_secure(self.transport)
        if self._secure:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        """Begin Veltix's part of the handshake: below it, TLS is through or there is none."""
        self._secure = True
        if self._closed is None:
            self._dispatch(self.connection.start())
            self._update_wire_timer()

    def dataReceived(self, data: bytes) -> None:
        """Handle what arrived; everything it causes to be sent at once leaves in one write.

        A long read is handled in portions: messages that are gone before the next ones are made do not set the garbage
        collector going (0.52 instead of 0.72 µs for a message of 64 bytes), and a part of a large one stays in one piece.
        """
        if len(data) <= _PORTION or self.session is None or self.connection.incoming_size >= _PORTION:
            self._process(data)
        else:
            for start in range(0, len(data), _PORTION):
                self._process(data[start : start + _PORTION])

    def _process(self, data: bytes) -> None:
        if self._closed is not None:
            return
        connection = self.connection
        events = connection.receive_data(data, self.context.calendar_ms.keep())  # until all that it causes is written
        uptime = self.context.clocks.uptime
        now = uptime()
        if self.session is None:
            self._first = (self._first + data[:QUOTED])[:QUOTED]
            self._dispatch(events)
            self._update_wire_timer()
            self._check_slow(now, events)
            return
        self.last_received = now
        unfinished = connection.incoming_size
        if unfinished or self._reading_large:
            self._adapt_read_size(unfinished)
        if not unfinished:
            self._frame_begun = None
        elif events or self._frame_begun is None:
            # One timer looks after all frames: it is not set again for each.
            self._frame_begun = now
            if "frame" not in self.timers:
                self.timers.set("frame", self.timeouts.frame, self._frame_late)
        self._dispatch(events)
        if connection.next_timeout is not None:
            self._update_wire_timer()
        if self._charged or self._frame_begun is not None or self.session._inbox_bytes:
            self.charge_buffers()
        if uptime() - now > self.timeouts.slow_handler:
            self._check_slow(now, events)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Settle everything that waits."""
        closed = self._closed
        if closed is None:
            fault = self.connection.handshake_fault
            closed = classify_close(
                reason, self.context.role, self._first, ready=self.session is not None, secure=self._secure, fault=fault
            )
            if isinstance(closed.cause, TlsFailed) and self._may_log():
                _log.warn("lost {peer}: {error}", peer=shown(self.address), error=closed.cause)
        self._lost = True
        self.shared.counters[f"closed_{closed.reason.name.lower()}"] += 1
        self._mark_closed(closed)
        self.flow.end()
        self.charge_buffers()
        if self._connection_log is not None:
            self._connection_log.end(closed)
        if self.context.on_lost is not None:
            self.context.on_lost(self, closed)
        when_lost, self._when_lost = self._when_lost, None
        if when_lost is not None:
            when_lost.fire(closed)
        if self.session is not None:
            self.session._connection_lost()

    def readConnectionLost(self) -> None:
        """The peer sends nothing more, and may have closed altogether: so does this side, once what is queued is written."""
        if self.session is None or not (self.unwritten or self.flow.queued or has_unwritten(self.transport)):
            self.transport.connectionLost(connectionDone)
            return
        self._half_closed = True
        self.close(SessionClosed(DisconnectReason.PEER_CLOSED))

    def writeConnectionLost(self) -> None:
        """Everything is with the kernel; what the peer still sends is read until it has closed."""
        if self._half_closed:
            self.transport.loseConnection()
        else:
            self._lingers = True
            self._watch_close(min(_LINGER, self.timeouts.close), self.transport.loseConnection)

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
        if self.transport is None or self._closed is not None or not (self.corked or unread(self.transport)):
            return succeed(None)
        if self._last_reads is None:
            most, quiet = self.context.config.max_message_size, min(QUIET, self.timeouts.drain / 4)
            self._last_reads = LastReads(self, self.clocks.reactor, most, quiet, self._all_read)
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
            size = len(out[0]) if len(out) == 1 else sum(map(len, out))
            self.flow.write(out, size, size - own if size > own else 0)

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

    def charge_buffers(self) -> None:
        """Tell the budget how much of what the peer sent is kept here, be it gone or not: what it sent is handled all the same."""
        size = 0 if self.session is None else self.connection.buffered_size + self.session._inbox_bytes
        if size or self._charged:
            self._charged = size > 0
            self.shared.receive_budget.charge(self, size)

    def admitted(self) -> None:
        """Tell the side that others may use the session."""
        if self.context.on_admitted is not None:
            self.on_trial = True
            self.context.on_admitted(self)

    # From the flow.

    def resume_handling(self) -> None:
        """Messages can be handled again."""
        assert self.session is not None
        self.session._resume()

    @property
    def awaiting_replies(self) -> bool:
        """Whether this side waits for a reply itself."""
        return self.session is not None and self.session.pending_requests > 0

    # Inside.

    def _prepare(self) -> None:
        transport = self.transport
        delay = 0.0
        # Both, because UNIX transports of Twisted before 25 claim to be TCP and fail at it.
        if ITCPTransport.providedBy(transport) and isinstance(self.address, (IPv4Address, IPv6Address)):
            transport.setTcpNoDelay(True)
            notice_dead_peers(transport, self.timeouts.ping_interval, self.timeouts.ping_timeout)
            delay = round_trip(transport)
        side, config = self.context, self.context.config
        read_at_once(transport, config.buffer_size)
        self.connection = side.connect(round_trip=delay, encrypted=ISSLTransport.providedBy(transport))
        if isinstance(self.connection, CountingConnection):
            where, uptime = transport.getHost(), self.clocks.uptime
            self._connection_log = ConnectionLog(self.shared.next_connection_id(), self.address, where, self.connection, uptime)
        self.flow = FlowControl(self, OWN_REQUESTS_FACTOR * config.max_message_size, acknowledged)

    def _adapt_read_size(self, unfinished: int) -> None:
        """Read more at once while a long message arrives, unless asked for little: 0.38 instead of 0.57 ms for 1 MiB."""
        size = self.context.config.buffer_size
        much = unfinished > _MUCH and BufferSize.LARGE <= size < _MUCH
        if much != self._reading_large:
            self._reading_large = much
            read_at_once(self.transport, _MUCH if much else size)

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
        if not broke_a_rule and self._may_log():  # that was told
            left, seconds = self._left(), self.timeouts.close
            text = "closing {peer}: it does not read what is left for it, {left} bytes of which are lost (timeouts.close)"
            if not left:
                text = "closing {peer}: it has not closed its side of the connection after {seconds:g} s (timeouts.close)"
            _log.warn(text, peer=shown(self.address), left=left, seconds=seconds)
        self._abort_transport()

    def _dispatch(self, events: list[Event]) -> None:
        self.corked = True
        try:
            first = 0
            while self.session is None and first < len(events):
                self._on(events[first])
                first += 1
            if self.session is not None:
                events = events[first:] if first else events
                if self.on_trial:
                    self.on_trial = not any(isinstance(event, (Response, RequestFailed)) for event in events)
                # In a context of its own: what a handler sets with a ContextVar is seen by no other connection's.
                context = self.context.variables.copy()
                context.run(self.session._events_received, events, self._on)
        finally:
            self.corked = False
            self.flush()

    def _on(self, event: Event) -> None:
        _ON_EVENT[type(event)](self, event)

    def _check_slow(self, began: float, events: list[Event]) -> None:
        taken = self.clocks.uptime() - began
        if taken > self.timeouts.slow_handler and self.session is not None:
            self.session._dispatcher.record_duration(taken, events)

    def _on_ready(self, event: HandshakeCompleted) -> None:
        self.timers.clear("handshake")
        self._first = b""
        session = self.session = Session(self, event.peer, cast(Application[Session], self.context.application))
        session.identity = self._identity
        self.shared.counters["ready"] += 1
        if self.connection.supports_ping:
            self.shared.heartbeat.add(self)
        self.flow.start()
        if self.context.on_ready is not None:
            self.context.on_ready(self)
        session._opened()

    def _on_authentication_requested(self, event: AuthenticationRequested) -> None:
        # The handshake's deadline holds for the verdict, too.
        verdict = self.context.authenticate(event.credentials)
        verdict.addCallbacks(self._authenticated, self._authentication_failed)

    def _authenticated(self, identity: object) -> None:
        if self._closed is not None:
            return
        if identity is None:
            self._refuse_identity()
            return
        self._identity = identity
        self._dispatch(self.connection.accept())

    def _authentication_failed(self, failure: Failure) -> None:
        if self._closed is None:
            if self._may_log():
                _log.failure("authenticate failed for {peer}", SanitizedFailure(failure), peer=shown(self.address))
            self._refuse_identity()

    def _refuse_identity(self) -> None:
        self.shared.counters["authentications_failed"] += 1
        if self._may_log():
            _log.warn("closing {peer}: its credentials were refused", peer=shown(self.address))
        self.connection.reject()
        self.close(SessionClosed(DisconnectReason.AUTHENTICATION_FAILED))

    def _on_pings_answered(self, event: PingsAnswered) -> None:
        self._spend_pings(event.count)

    def _on_pong(self, event: Pong) -> None:
        if self.session is not None and not self.session._pong_received(event.request_id):
            self._count_violation()

    def _on_declined(self, event: RequestFailed) -> None:
        if self.session is not None:
            self.session._request_failed(event.request_id, RemoteError(event.detail, event.code, event.message))

    def _on_refused(self, event: FrameRejected) -> None:
        if self.session is not None:
            self.session.frames_rejected += 1
            self.shared.counters["frames_refused"] += 1
            if event.reason is RejectReason.UNKNOWN_TYPE:
                self._unknown_type(event)
            elif event.reason is RejectReason.MALFORMED:
                self._count_violation()

    def _on_failed(self, event: ConnectionFailed) -> None:
        failed = beginning_of_tls(self._first, self.context.role) if self.session is None else None
        error = event.error
        if self.session is None and isinstance(error, (EarlyMessage, FrameTooLarge, NotVeltix)):
            error.first = self._first  # which may be more than it took to refuse them
        self._terminate(failed or error)

    def _all_read(self) -> None:
        self._last_reads = None

    def _mark_closed(self, closed: SessionClosed) -> SessionClosed:
        self._closed = closed
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

    def _wire_timeout_due(self) -> None:
        # In the next turn of the reactor: where this process was held up, the answer to the last hello is there, and unread.
        self.timers.set("wire", 0, self._wire_timeout)

    def _wire_timeout(self) -> None:
        self._dispatch(self.connection.handle_timeout())
        self._update_wire_timer()


_ON_EVENT: dict[type, Callable[..., None]] = {
    HandshakeCompleted: VeltixProtocol._on_ready,
    AuthenticationRequested: VeltixProtocol._on_authentication_requested,
    PingsAnswered: VeltixProtocol._on_pings_answered,
    Pong: VeltixProtocol._on_pong,
    RequestFailed: VeltixProtocol._on_declined,
    FrameRejected: VeltixProtocol._on_refused,
    ConnectionFailed: VeltixProtocol._on_failed,
}
