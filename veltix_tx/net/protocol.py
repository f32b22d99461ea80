"""The Twisted protocol: bytes to the connection, its events to the session, its bytes to the transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

from veltix_tx.errors import (
    DisconnectReason,
    EarlyMessage,
    FrameTooLarge,
    NotVeltix,
    RemoteError,
    RemoteProtocolError,
    SessionClosed,
    TlsFailed,
)
from veltix_tx.net.addresses import shown
from veltix_tx.net.closing import CloseWatch
from veltix_tx.net.conduct import Conduct
from veltix_tx.net.connection_log import ConnectionLog
from veltix_tx.net.ends import why_ended
from veltix_tx.net.flow import SLOWEST, Flow
from veltix_tx.net.keepalive import Deadlines, TokenBucket
from veltix_tx.net.last_reads import QUIET, LastReads
from veltix_tx.net.listeners import Listeners
from veltix_tx.net.session import Session
from veltix_tx.net.side import Side
from veltix_tx.net.sockets import (
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
from veltix_tx.net.tls_status import beginning_of_tls, tells_when_secure
from veltix_tx.net.turns import MOST_CORKED, OWN_REQUESTS_FACTOR
from veltix_tx.settings import BufferSize
from veltix_tx.wire.connection import Declined, Event, Failed, Pong, Ready
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.foreign import QUOTED
from veltix_tx.wire.frames import Refusal, Refused
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import Response
from veltix_tx.wire.releases import SUPERSET

__all__ = ["VeltixProtocol"]

_log = Logger()

_HELLO_GAP = 0.15
"""Seconds between the hellos of a server that finds out, on a link without delay."""

_PORTION = 32 * 1024
"""Bytes handled at a time."""

_MUCH = 256 * 1024
"""Bytes read at once while a message arrives that is longer than that."""

_LINGER = 2.0
"""Seconds in which a peer that has been given everything may close, too, before the connection is left to the kernel."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class VeltixProtocol(Conduct):
    """One Veltix connection on any transport, in either role.

    Factories make these; it can also be made by hand and connected to any transport.

    Args:
        side: what makes it, and shares much with it.
        full: refuse the peer, because the server has as many connections as it may.

    Attributes:
        session: the session, from the completed handshake on; None before.
        side: as given.
        on_trial: True from its session's admission until the first message from the peer, where the side asks for it.
        unwritten: bytes sent of this side's own accord that are to be written when the read or the turn is over.
    """

    transport: Any
    # None of an instance's own, until they are needed:
    _last_reads: LastReads | None = None
    _connection_log: ConnectionLog | None = None
    _lingers = False

    def __init__(self, side: Side, *, full: bool = False) -> None:
        self.session: Session | None = None
        self.side = side
        self.deadlines = Deadlines(side.clocks.reactor, side.clocks.uptime)
        self.corked = False
        self.on_trial = False
        self.heard = 0.0
        self.asked: float | None = None
        self._closed: SessionClosed | None = None
        self._full = full
        self._gone = False
        self._half = False
        self.unwritten = 0
        self._pings = 0
        self._frame_begun: float | None = None
        self._reads_much = False
        self._first = b""
        self._secure = True
        self._kept = False
        self._when_lost: Listeners[SessionClosed] | None = None
        self._ping_budget: TokenBucket | None = None
        self._strikes: TokenBucket | None = None

    # From the transport.

    def connectionMade(self) -> None:
        """Begin the handshake, with one absolute deadline, which holds for TLS, too."""
        self._prepare()
        if self._full:
            self.connection.refuse_full()
            self.close(SessionClosed(DisconnectReason.SERVER_FULL))
            return
        self.deadlines.set("handshake", self.side.config.handshake_timeout, self._handshake_late)
        self._secure = not tells_when_secure(self.transport)
        if self._secure:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        """Begin Veltix's part of the handshake: below it, TLS is through or there is none."""
        self._secure = True
        if self._closed is None:
            self._dispatch(self.connection.start())
            self._arm_wake()

    def dataReceived(self, data: bytes) -> None:
        """Handle what arrived; everything it causes to be sent at once leaves in one write.

        A long read is handled in portions: messages that are gone before the next ones are made do not set the garbage
        collector going (0.52 instead of 0.72 µs for a message of 64 bytes), and a part of a large one stays in one piece.
        """
        if len(data) <= _PORTION or self.session is None or self.connection.unfinished >= _PORTION:
            self._take(data)
        else:
            for start in range(0, len(data), _PORTION):
                self._take(data[start : start + _PORTION])

    def _take(self, data: bytes) -> None:
        if self._closed is not None:
            return
        connection = self.connection
        events = connection.receive(data, self.side.calendar_ms.keep())  # until all that it causes is written
        uptime = self.side.clocks.uptime
        now = uptime()
        if self.session is None:
            self._first = (self._first + data[:QUOTED])[:QUOTED]
            self._dispatch(events)
            if connection.wake_after is None:
                self.deadlines.clear("wake")
            self._check_slow(now, events)
            return
        self.heard = now
        pings = connection.pings - self._pings
        unfinished = connection.unfinished
        if unfinished or self._reads_much:
            self._fit_reads(unfinished)
        if not unfinished:
            self._frame_begun = None
        elif events or pings or self._frame_begun is None:
            # One timer looks after all frames: it is not set again for each.
            self._frame_begun = now
            if "frame" not in self.deadlines:
                self.deadlines.set("frame", self.timeouts.frame, self._frame_late)
        if pings:
            self._pings += pings
            self._count_pings(pings)
        self._dispatch(events)
        if self._kept or self._frame_begun is not None or self.session.inbox_bytes:
            self.account()
        if uptime() - now > self.timeouts.slow_handler:
            self._check_slow(now, events)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Settle everything that waits."""
        closed = self._closed
        if closed is None:
            fault = self.connection.handshake_fault
            closed = why_ended(
                reason, self.side.role, self._first, ready=self.session is not None, secure=self._secure, fault=fault
            )
            if isinstance(closed.cause, TlsFailed) and self.may_log():
                _log.warn("lost {peer}: {error}", peer=shown(self.address), error=closed.cause)
        self._gone = True
        self.shared.counters[f"closed_{closed.reason.name.lower()}"] += 1
        self._end(closed)
        self.flow.end()
        self.account()
        if self._connection_log is not None:
            self._connection_log.end(closed)
        if self.side.lost is not None:
            self.side.lost(self, closed)
        when_lost, self._when_lost = self._when_lost, None
        if when_lost is not None:
            when_lost.fire(closed)
        if self.session is not None:
            self.session.gone()

    def readConnectionLost(self) -> None:
        """The peer sends nothing more, and may have closed altogether: so does this side, once what is queued is written."""
        if self.session is None or not (self.unwritten or self.flow.queued or has_unwritten(self.transport)):
            self.transport.connectionLost(connectionDone)
            return
        self._half = True
        self.close(SessionClosed(DisconnectReason.PEER_CLOSED))

    def writeConnectionLost(self) -> None:
        """Everything is with the kernel; what the peer still sends is read until it has closed."""
        if self._half:
            self.transport.loseConnection()
        else:
            self._lingers = True
            self._watch_close(min(_LINGER, self.timeouts.close), self.transport.loseConnection)

    # From the session and the factory.

    def when_lost(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the connection is gone, ready or not. Never errbacks."""
        if self._gone and self._closed is not None:
            return succeed(self._closed)
        if self._when_lost is None:
            self._when_lost = Listeners()
        return self._when_lost.wait()

    def read_arrived(self) -> Deferred[None]:
        """Return a new Deferred that fires when what has arrived by now has been read, and the read handled that is under way.

        It fires at once where there is neither, and when the connection closes.
        """
        if self.transport is None or self._closed is not None or not (self.corked or unread(self.transport)):
            return succeed(None)
        if self._last_reads is None:
            most, quiet = self.side.config.max_message_size, min(QUIET, self.timeouts.drain / 4)
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
        side = self.side
        side.calendar_ms.ms = side.uptime_ms.ms = None  # what is sent from now on has another time
        own, self.unwritten = self.unwritten, 0
        out = self.connection.data_to_send()
        if out and not self._gone:
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
            self.side.shared.write_soon(self)

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
        self._end(closed)
        if isinstance(closed.cause, RemoteProtocolError):
            self.deadlines.set("close", self.timeouts.close, self._close_late)
        else:
            self._watch_close(self.timeouts.close, self._close_late)
        self.flow.stop()
        transport: Any = self.transport
        tls = ISSLTransport.providedBy(transport)  # which waits for the peer's goodbye by itself
        by_halves = IHalfCloseableDescriptor.providedBy(transport) and not tls
        if by_halves and not isinstance(closed.cause, RemoteProtocolError):
            if not self._half:
                transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def abort(self, closed: SessionClosed) -> None:
        """Close at once; what is queued is lost."""
        if self.transport is not None:
            self._end(self._closed or closed)
            self._abort_transport()

    def cut_off(self, closed: SessionClosed) -> bool:
        """Close at once, because the time to stop in is over; return whether anything was lost by that.

        What the kernel has been given, all of it, is left to the kernel, which resets nothing then.
        """
        if self._lingers:
            self.transport.loseConnection()
            return False
        self.abort(closed)
        return True

    def account(self) -> None:
        """Tell the budget how much of what the peer sent is kept here, be it gone or not: what it sent is handled all the same."""
        size = 0 if self.session is None else self.connection.buffered + self.session.inbox_bytes
        if size or self._kept:
            self._kept = size > 0
            self.shared.inbound.keep(self, size)

    def admitted(self) -> None:
        """Tell the side that others may use the session."""
        if self.side.admitted is not None:
            self.on_trial = True
            self.side.admitted(self)

    # From the flow.

    def room(self) -> None:
        """Messages can be handled again."""
        assert self.session is not None
        self.session.go_on()

    @property
    def asking(self) -> bool:
        """Whether this side waits for a reply itself."""
        return self.session is not None and self.session.waiting > 0

    # Inside.

    def _prepare(self) -> None:
        transport = self.transport
        gap = _HELLO_GAP
        # Both, because UNIX transports of Twisted before 25 claim to be TCP and fail at it.
        if ITCPTransport.providedBy(transport) and isinstance(self.address, (IPv4Address, IPv6Address)):
            transport.setTcpNoDelay(True)
            notice_dead_peers(transport, self.timeouts.silence, self.timeouts.pong)
            gap += 2 * round_trip(transport)
        side, config = self.side, self.side.config
        read_at_once(transport, config.buffer_size)
        release = side.release
        if release is None and side.role is Role.SERVER and ISSLTransport.providedBy(transport):
            release = SUPERSET  # no older release speaks TLS, and its handshake upsets the stages' timing
        self.connection = side.connect(release, gap)
        if isinstance(self.connection, CountingConnection):
            where, uptime = transport.getHost(), self.clocks.uptime
            self._connection_log = ConnectionLog(self.shared.next_connection_id(), self.address, where, self.connection, uptime)
        self.flow = Flow(self, OWN_REQUESTS_FACTOR * config.max_message_size, acknowledged)

    def _fit_reads(self, unfinished: int) -> None:
        """Read more at once while a long message arrives, unless asked for little: 0.38 instead of 0.57 ms for 1 MiB."""
        size = self.side.config.buffer_size
        much = unfinished > _MUCH and BufferSize.LARGE <= size < _MUCH
        if much != self._reads_much:
            self._reads_much = much
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
        stall, uptime = self.timeouts.stall, self.clocks.uptime
        CloseWatch(self.deadlines, uptime, self._left, seconds=seconds, stall=stall, least=SLOWEST * stall, give_up=give_up)

    def _left(self) -> int:
        """Return how many bytes the peer has still to take."""
        return self.flow.queued + untaken(self.transport)

    def _close_late(self) -> None:
        self.shared.counters["closes_aborted"] += 1
        broke_a_rule = self._closed is not None and isinstance(self._closed.cause, RemoteProtocolError)
        if not broke_a_rule and self.may_log():  # that was told
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
                    self.on_trial = not any(isinstance(event, (Response, Declined)) for event in events)
                # In a context of its own: what a handler sets with a ContextVar is seen by no other connection's.
                context = self.side.context.copy()
                context.run(self.session.receive, events, self._on)
        finally:
            self.corked = False
            self.flush()

    def _on(self, event: Event) -> None:
        _ON_EVENT[type(event)](self, event)

    def _check_slow(self, began: float, events: list[Event]) -> None:
        taken = self.clocks.uptime() - began
        if taken > self.timeouts.slow_handler and self.session is not None:
            self.session.turns.took(taken, events)

    def _on_ready(self, event: Ready) -> None:
        self.deadlines.clear("handshake")
        self._first = b""
        session = self.session = Session(self, event.peer, self.side.application)
        self.shared.counters["ready"] += 1
        self.shared.heartbeat.begin(self)
        self.flow.start()
        if self.side.ready is not None:
            self.side.ready(self)
        session.begin()

    def _on_pong(self, event: Pong) -> None:
        if self.session is not None and not self.session.pong(event.request_id):
            self._strike()

    def _on_declined(self, event: Declined) -> None:
        if self.session is not None:
            self.session.declined(event.request_id, RemoteError(event.detail, event.code, event.message))

    def _on_refused(self, event: Refused) -> None:
        if self.session is not None:
            self.session.refused += 1
            self.shared.counters["frames_refused"] += 1
            if event.refusal is Refusal.UNKNOWN_TYPE:
                self._unknown_type(event)
            elif event.refusal is Refusal.MALFORMED:
                self._strike()

    def _on_failed(self, event: Failed) -> None:
        failed = beginning_of_tls(self._first, self.side.role) if self.session is None else None
        error = event.error
        if self.session is None and isinstance(error, (EarlyMessage, FrameTooLarge, NotVeltix)):
            error.first = self._first  # which may be more than it took to refuse them
        self._fault(failed or error)

    def _all_read(self) -> None:
        self._last_reads = None

    def _end(self, closed: SessionClosed) -> SessionClosed:
        self._closed = closed
        if self._last_reads is not None:
            self._last_reads.end()
        self.deadlines.clear_all()
        self.shared.heartbeat.end(self)
        self.connection.end()
        if self.side.ended is not None:
            self.side.ended(self, closed)
        if self.session is not None:
            self.session.end(closed)
        return closed

    def _arm_wake(self) -> None:
        wait = self.connection.wake_after
        if wait is not None:
            self.deadlines.set("wake", wait, self._wake)

    def _wake(self) -> None:
        # In the next turn of the reactor: where this process was held up, the answer to the last hello is there, and unread.
        self.deadlines.set("wake", 0, self._wake_now)

    def _wake_now(self) -> None:
        self.connection.wake()
        self.flush()
        self._arm_wake()


_ON_EVENT: dict[type, Callable[..., None]] = {
    Ready: VeltixProtocol._on_ready,
    Pong: VeltixProtocol._on_pong,
    Declined: VeltixProtocol._on_declined,
    Refused: VeltixProtocol._on_refused,
    Failed: VeltixProtocol._on_failed,
}
