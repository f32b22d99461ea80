"""Datagrams: a session for each peer of a UDP port, without a connection below it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import replace
from typing import Any, cast
from weakref import proxy

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed, UnvalidatedAddress
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.addresses import join_address, shown, source_of
from veltix_tx.net.clock import ROUNDING, Clocks, SweepTimer, Timers, resolve_clocks
from veltix_tx.net.connection.connection_log import ConnectionLog
from veltix_tx.net.session.outgoing import BeforeSend
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.admission import AdmissionControl
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.connection_ids import connection_id, draw_number
from veltix_tx.net.shared.context import ConnectionContext, SharedState, context_maker
from veltix_tx.net.transport.udp import Address, Arrived, PeerTransport, read_in_portions
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.events import Event, FrameRejected, HandshakeCompleted
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry, Response
from veltix_tx.wire.registry import find_datagram_wire

__all__ = ["AMPLIFICATION", "DatagramConnection", "DrainedPort", "VeltixDatagramProtocol"]

_log = Logger()

AMPLIFICATION = 3
"""Factor by which more may be sent to an address that is not validated than has come from it: as in QUIC (RFC 9000, 8.1)."""


class DatagramFlow:
    """Flow control of one peer's datagrams: nothing waits here to be written, and what is not handled fast enough is dropped.

    It keeps the account of a peer whose address is not validated.

    Args:
        link: the connection.
        blocked: True for a peer whose address is not validated.

    Attributes:
        blocked: as given, until it is validated.
        pause_reasons: why datagrams are dropped; none where they are not.
        shared_bytes: not used here.
    """

    __slots__ = ("_bytes", "_datagrams", "_link", "_producer", "blocked", "pause_reasons", "shared_bytes")

    queued = 0
    backlogged = False

    def __init__(self, link: DatagramConnection, *, blocked: bool) -> None:
        self.blocked = blocked
        self.pause_reasons: tuple[str, ...] = ()
        self.shared_bytes = 0
        self._link: DatagramConnection = proxy(link)
        self._bytes = self._datagrams = 0
        self._producer: Any = None

    def credit(self, datagrams: list[bytes]) -> None:
        """Let more be sent to the peer, for datagrams of its own."""
        self._bytes += AMPLIFICATION * sum(map(len, datagrams))
        self._datagrams += AMPLIFICATION * len(datagrams)

    def spend(self, size: int) -> bool:
        """Return True if a datagram of so many bytes may be sent now to the peer that is not validated, which it then must be."""
        if not self._affords(size):
            return False
        self._bytes -= size
        self._datagrams -= 1
        return True

    def _affords(self, size: int) -> bool:
        return size <= self._bytes and self._datagrams > 0

    def can_send(self, size: int) -> bool:
        """Return True if a message of so many bytes may be sent now."""
        self._link.write_out()
        return not self.blocked or self._affords(size)

    def check_can_send(self, size: int) -> None:
        """Raise UnvalidatedAddress, and count it, where a message may not be sent."""
        if not self.can_send(size):
            self._link.shared.counters["datagrams_withheld"] += 1
            raise UnvalidatedAddress(size, self._bytes if self._datagrams else 0)

    def when_low(self) -> Deferred[None]:
        """Return a Deferred that has fired: there is always room."""
        return succeed(None)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for nothing."""
        yield from ()

    def set_producer(self, source: Any) -> None:
        """Keep a producer, which is stopped when the session ends, and never paused; None for none.

        Raises:
            RuntimeError: there is one already.
        """
        if source is not None and self._producer is not None:
            raise RuntimeError(f"{source!r} cannot be registered: {self._producer!r} is, and was not unregistered")
        self._producer = source

    def end(self) -> None:
        """Stop the producer, which is the user's: what it raises must not get in our way."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                if self._link._may_log():
                    text = "stopProducing failed for {producer!r}, which sends to {peer} ({connection})"
                    _log.failure(text, producer=producer, **self._link.log_fields())

    @property
    def paused(self) -> bool:
        """True if the peer's datagrams are dropped."""
        return bool(self.pause_reasons)

    def pause(self, reason: str) -> None:
        """Drop the peer's datagrams until every reason is gone."""
        if not self.pause_reasons:
            self._link.shared.counters["reads_paused"] += 1
        if reason not in self.pause_reasons:
            self.pause_reasons += (reason,)

    def resume(self, reason: str) -> None:
        """Take one reason back."""
        self.pause_reasons = tuple(each for each in self.pause_reasons if each != reason)


class DatagramConnection:
    """One peer from which datagrams come, in either role: what is below its session.

    There is no connection to be lost: it ends when this side closes it, gives it up, or hears that nobody is there.

    Args:
        context: what makes it, and shares much with it.
        port: the server's port that it is a peer of; None for a client, whose port has no other peer.

    Attributes:
        session: the session, once there is a transport.
        context: as given.
        transport: what it writes to.
        on_trial: True from its session's admission until the first message from the peer, where the side asks for it.
        last_received: when its latest datagram came, in seconds of uptime.
        pinged_at: None, for want of a heartbeat.
    """

    frame_begun: float | None = None
    pinged_at: float | None = None
    unwritten = 0
    _number = 0
    _connection_log: ConnectionLog | None = None
    _timers: Timers | None = None
    _when_lost: Waiters[SessionClosed] | None = None

    def __init__(self, context: ConnectionContext, port: VeltixDatagramProtocol | None = None) -> None:
        self.session: Session | None = None
        self.context = context
        self.transport: PeerTransport | None = None
        self.connection = context.connect_datagrams()
        self.flow = DatagramFlow(self, blocked=port is not None)
        self.corked = False
        self.on_trial = False
        self._uptime = context.clocks.uptime
        self._slow = context.config.timeouts.slow_handler
        self._variables = context.variables
        self.last_received = self._uptime()
        self._port = port
        self._closed: SessionClosed | None = None
        self._lost = False
        self._charged = False

    # From the port.

    def makeConnection(self, transport: PeerTransport) -> None:
        """Begin its session: there is no handshake."""
        self.transport = transport
        context = self.context
        if isinstance(self.connection, CountingConnection):
            where = transport.getHost()
            self._connection_log = ConnectionLog(self.log_fields(), where, self.connection, context.clocks.uptime)
        ready = cast(HandshakeCompleted, self.connection.start()[0])
        self.session = Session(self, ready.peer, cast(Application[Session], context.application))
        self._dispatcher = self.session._dispatcher
        self._dispatch = self._dispatcher.dispatch
        context.shared.counters["ready"] += 1
        if context.on_ready is not None:
            context.on_ready(self)
        self.session._opened()

    def datagrams_received(self, datagrams: list[bytes], received_at: int, now: float) -> float:
        """Handle the messages of datagrams; everything they cause to be sent at once leaves behind the last of them.

        Args:
            datagrams: the datagrams.
            received_at: the calendar clock in ms.
            now: uptime in seconds.

        Returns:
            uptime behind the last of their handlers.
        """
        session, flow, receive = self.session, self.flow, self.connection.receive_data
        if self._closed is not None or session is None:
            return now
        self.last_received = now
        events: list[Event] = []
        for datagram in datagrams:
            if flow.pause_reasons or not datagram:
                self.shared.counters["datagrams_dropped"] += 1
                continue
            events += receive(datagram, received_at)
        if events:
            self._handle(events)
        done = self._uptime()
        if done - now > self._slow:
            self._dispatcher.record_duration(done - now, events)
        return done

    def _handle(self, events: list[Event]) -> None:
        if self.on_trial:
            self.on_trial = not any(isinstance(event, Response) for event in events)
        self.corked = True
        try:
            # In a context of its own: what a handler sets with a ContextVar is seen by no other peer's.
            self._variables.copy().run(self._dispatch, events, self._on)
        finally:
            self.corked = False
            self.write_out()
        if self._charged or self._dispatcher.inbox_bytes:
            self.charge_buffers()

    def unreachable(self, error: OSError) -> None:
        """End the session: the network says that there is no way to the peer, or its machine that nobody listens there."""
        self.abort(SessionClosed(DisconnectReason.UNREACHABLE, error))

    # Facts.

    @property
    def timers(self) -> Timers:
        """Its timers, which it seldom has."""
        if self._timers is None:
            self._timers = Timers(self.clocks.reactor, self.clocks.uptime)
        return self._timers

    @property
    def clocks(self) -> Clocks:
        """Where time comes from."""
        return self.context.clocks

    @property
    def shared(self) -> SharedState:
        """State shared by the connections of its side."""
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
        assert self.transport is not None
        return self.transport.getPeer()

    @property
    def certificate(self) -> None:
        """None: there is no TLS."""

    @property
    def connection_id(self) -> str:
        """Id of the session, ``<node>-<counter>``; its number is drawn when it is first asked for."""
        if not self._number:
            vars(self).setdefault("_number", draw_number())  # once, though several threads ask
        return connection_id(self._number, self.shared.node)

    def log_fields(self) -> dict[str, Any]:
        """Return the fields that every line of the log about the session has: its id and the peer's address."""
        return {"peer": shown(self.address), "connection": self.connection_id}

    def _may_log(self) -> bool:
        """Return True if the log may have one more line that the peer causes."""
        return self.shared.log_limiter.allow(source_of(self.address))

    @property
    def is_busy(self) -> bool:
        """True if a message of the peer is being handled, or waits for that."""
        return self.session is not None and not self.session._dispatcher.idle

    # From the session and the port.

    def when_lost(self) -> Deferred[SessionClosed]:
        """Return a new Deferred that fires with the reason once the session has ended. Never errbacks."""
        if self._lost and self._closed is not None:
            return succeed(self._closed)
        if self._when_lost is None:
            self._when_lost = Waiters()
        return self._when_lost.wait()

    def read_arrived(self) -> Deferred[None]:
        """Return a new Deferred that fires when the datagram is handled that is being handled now."""
        if not self.corked:
            return succeed(None)
        read: Deferred[None] = Deferred()
        self.clocks.reactor.callLater(0, read.callback, None)
        return read

    def flush(self) -> None:
        """Write what is to be sent, unless a datagram is being handled, which then writes it all."""
        if not self.corked:
            self.write_out()

    def sent(self, size: int) -> None:
        """Write what is to be sent: datagrams are not better written together."""
        self.write_out()

    def write_out(self) -> None:
        """Write what is to be sent, each message in a datagram of its own."""
        out = self.connection.data_to_send()
        if not out or self.transport is None or self._lost:
            return
        if self.flow.blocked:
            out = self._affordable(out)
        sendto, peer = self.transport.sendto, self.transport.peer
        for datagram in out:
            try:
                sendto(datagram, peer)
            except OSError as error:  # noqa: PERF203 (the others may be taken)
                self._not_sent(datagram, error)

    def _affordable(self, out: list[bytes]) -> list[bytes]:
        """Return what of it may be sent to an address that is not validated; count and log the rest."""
        sent = [datagram for datagram in out if self.flow.spend(len(datagram))]
        if len(sent) < len(out):
            self.shared.counters["datagrams_withheld"] += len(out) - len(sent)
            if self._may_log():
                text = "{count} datagrams to {peer} ({connection}) were withheld: too much for an address that is not validated"
                _log.warn(text, count=len(out) - len(sent), **self.log_fields())
        return sent

    def _not_sent(self, datagram: bytes, error: OSError) -> None:
        if isinstance(error, ConnectionRefusedError):  # of an earlier one
            self.unreachable(error)
            return
        self.shared.counters["datagrams_unsent"] += 1
        if self._may_log():
            text = "{size} bytes to {peer} ({connection}) were not sent: {error}"
            _log.warn(text, size=len(datagram), error=error.strerror or error, **self.log_fields())

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Do nothing: no wire in datagrams has words for it."""

    def charge_buffers(self) -> None:
        """Charge the receive budget with the bytes of the peer that are kept."""
        size = 0 if self.session is None else self.session._inbox_bytes
        if size or self._charged:
            self._charged = size > 0
            self.shared.receive_budget.charge(self, size)

    def admitted(self) -> None:
        """Report to the context that others may use the session."""
        if self.context.on_admitted is not None:
            self.on_trial = True
            self.context.on_admitted(self)

    def validate(self) -> None:
        """Take the application's word that the peer's address is its own."""
        if self._port is not None and self.flow.blocked and self._closed is None:
            self._port._peer_validated(self)
        self.flow.blocked = False

    def close(self, closed: SessionClosed) -> None:
        """Write what is to be sent, and end the session."""
        if self._closed is None:
            self.corked = False
            self.write_out()
            self.abort(closed)

    def close_after_peer(self) -> None:
        """End the session."""
        self.close(SessionClosed(DisconnectReason.PEER_CLOSED))

    def abort(self, closed: SessionClosed) -> None:
        """End the session at once."""
        if self._closed is None and self.transport is not None:
            self._mark_closed(closed)
            self.clocks.reactor.callLater(0, self._release)

    def finish(self, closed: SessionClosed) -> Deferred[None]:
        """Drain the session."""
        assert self.session is not None
        return self.session.drain()

    def cancel_handlers(self) -> None:
        """Cancel the handlers that still run, and handle no more."""
        if self.session is not None:
            self.session._cancel_handlers()

    def cut_off(self, closed: SessionClosed) -> bool:
        """End the session at once; return True if it was not done."""
        was_open = self._closed is None
        self.abort(closed)
        return was_open

    def abort_slow_reader(self) -> None:
        """End the session at once."""
        self.abort(SessionClosed(DisconnectReason.WRITE_TIMEOUT))

    def overloaded(self, direction: str, most: int) -> None:
        """End the session, because all together keep too much and this one the most; what waits for its turn is dropped."""
        if self.session is not None:
            self.session._dispatcher.discard_queued()
        if self._may_log():
            text = "ending {peer} ({connection}): all connections together keep over {most} bytes (limits.{direction})"
            _log.warn(text, most=most, direction=direction, **self.log_fields())
        self.abort(SessionClosed(DisconnectReason.OVERLOAD))

    # Inside.

    def _on(self, event: Event) -> None:
        """Count a datagram, or a part of one, that is no message. Somebody else may have sent it: the session goes on."""
        if isinstance(event, FrameRejected) and self.session is not None:
            self.session.frames_rejected += 1
            self.shared.counters["frames_refused"] += 1

    def _mark_closed(self, closed: SessionClosed) -> None:
        self._closed = closed
        if self._timers is not None:
            self._timers.clear_all()
        self.connection.connection_lost()
        if self._port is not None:
            self._port._peer_closed(self)
        if self.context.on_ended is not None:
            self.context.on_ended(self, closed)
        if self.session is not None:
            self.session._closing(closed)

    def _release(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection().addBoth(self._end)

    def _end(self, _: object) -> None:
        """Settle everything that waits."""
        closed = self._closed
        assert closed is not None
        self._lost = True
        self.shared.counters[f"closed_{closed.reason.name.lower()}"] += 1
        self.flow.end()
        self.charge_buffers()
        if self._connection_log is not None:
            self._connection_log.end(closed, None)
        if self.context.on_lost is not None:
            self.context.on_lost(self, closed)
        when_lost, self._when_lost = self._when_lost, None
        if when_lost is not None:
            when_lost.fire(closed)
        session = self.session
        if session is not None:
            session._connection_lost()
            if self._dispatcher.idle:
                self._let_go()
            else:  # in a turn of its own: what is done now is in the middle of it
                session.when_idle().addCallback(lambda _: self.clocks.reactor.callLater(0, self._let_go))

    def _let_go(self) -> None:
        """Break the circle of references: of a flood of addresses nothing is to be left that waits for the garbage collector."""
        self._dispatcher.let_go()
        self.session = None
        del self._dispatch, self._dispatcher


class VeltixDatagramProtocol(DatagramProtocol):
    """A server's UDP port, for ``reactor.listenUDP``: a session for each peer.

    A session begins with the first datagram of a peer, and ends when the peer has been silent for ``timeouts.datagram_idle``
    seconds. There are ``limits.datagram_peers`` at most. A new one then takes the place of the one that has been silent for
    longest, unless the application has validated its address.

    Args:
        application: what happens with the messages, for all peers together.
        config: the settings, ``wire`` one that can be spoken in datagrams; those about listening are not used here.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        types: the message types known; the process-wide registry by default.
        connections: the open connections of its server, with which it shares counters and budgets; its own by default.
        before_send: called one after another with each message that is sent; see :meth:`~veltix_tx.Server.before_send`.

    Raises:
        SettingsError: the wire is unknown, or cannot be spoken in datagrams.
    """

    noisy = False
    transport: Any

    def __init__(
        self,
        application: Application[Session],
        config: ServerConfig,
        *,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        connections: AdmissionControl | None = None,
        before_send: tuple[BeforeSend, ...] = (),
    ) -> None:
        find_datagram_wire(config.wire).check_datagrams(config.max_message_size)
        self.config = config
        self._make_context = context_maker(application, config, reactor=reactor, types=types, random=None, serve_call=None)
        self._connections = connections
        self._before_send = before_send
        self._reactor = reactor
        self._peers: dict[Address, DatagramConnection] = {}
        self._unvalidated: OrderedDict[DatagramConnection, None] = OrderedDict()
        self._validated: OrderedDict[DatagramConnection, None] = OrderedDict()
        self._when_empty: Waiters[None] = Waiters()
        self._draining = False

    def __len__(self) -> int:
        return len(self._peers)

    def use_limits(self, limits: Limits) -> None:
        """Go on with other limits: what a session takes with it holds for new ones, all others at once."""
        self.config = replace(self.config, limits=limits)
        self._context.use_limits(limits)

    # From the reactor.

    def startProtocol(self) -> None:
        """The port is bound."""
        clocks = resolve_clocks(self._reactor)
        config = self.config
        if self._connections is None:
            self._connections = AdmissionControl(config.max_connections, config.limits, config.timeouts, clocks)
        connections = self._connections
        self._context = self._make_context(
            shared=connections.shared, before_send=self._before_send, on_lost=connections.connection_lost
        )
        read_in_portions(self.transport, self._datagrams_received, self._read_failed, clocks.uptime)
        self._uptime = clocks.uptime
        self._idle = SweepTimer(Timers(clocks.reactor, clocks.uptime), "idle", clocks.uptime, self._sweep)
        self._where = shown(self.transport.getHost())

    def stopProtocol(self) -> None:
        """The port is closed: so are the sessions."""
        for peer in list(self._peers.values()):
            peer.abort(SessionClosed(DisconnectReason.MANUAL))
        self._idle.clear()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Take one datagram."""
        self._datagrams_received([(datagram, addr)])

    def _datagrams_received(self, arrived: list[Arrived]) -> None:
        """Give datagrams to their peers' sessions, which may begin with them; those of one peer together."""
        clocks = self._context.clocks
        received_at, now = clocks.calendar_ms(), clocks.uptime()
        groups: dict[Address, list[bytes]] = {}
        for datagram, sender in arrived:
            group = groups.get(sender)
            if group is None:
                groups[sender] = [datagram]
            else:
                group.append(datagram)
        for sender, datagrams in groups.items():
            peer = self._peers.get(sender)
            try:
                if peer is None:
                    peer = self._begin(datagrams, sender)
                    if peer is None:
                        continue
                elif peer.flow.blocked:
                    peer.flow.credit(datagrams)
                    self._unvalidated.move_to_end(peer)
                else:
                    self._validated.move_to_end(peer)
                now = peer.datagrams_received(datagrams, received_at, now)
            except Exception:  # one peer's must not cost the others theirs
                if self._context.shared.log_limiter.allow(self._where):
                    _log.failure("taking datagrams of {sender} failed", sender=join_address(*sender))

    def _read_failed(self, error: OSError) -> None:
        """Log an error in place of a datagram; whose it is the kernel does not say."""
        if self._context.shared.log_limiter.allow(self._where):
            _log.warn("reading a datagram on {where} failed: {error}", where=self._where, error=error.strerror or error)

    def drain(self) -> Deferred[None]:
        """Let no new peers come; return a Deferred that fires when the last session has ended."""
        self._draining = True
        return self._when_empty.wait() if self._peers else succeed(None)

    # Inside.

    def _begin(self, datagrams: list[bytes], addr: Address) -> DatagramConnection | None:
        """Begin a session with a peer, where there is room for it."""
        assert self._connections is not None
        if not any(datagrams) or self._draining or not self._make_room(addr):
            self._context.shared.counters["datagrams_dropped"] += len(datagrams)
            return None
        peer = DatagramConnection(self._context, self)
        peer.flow.credit(datagrams)
        self._peers[addr] = peer
        self._unvalidated[peer] = None
        self._connections.add_datagram_peer(peer)
        self._idle.watch(peer.last_received + self.config.timeouts.datagram_idle)
        peer.makeConnection(PeerTransport(self.transport, addr))
        return peer

    def _make_room(self, addr: Address) -> bool:
        most, shared = self.config.limits.datagram_peers, self._context.shared
        if len(self._peers) < most:
            return True
        oldest = next(iter(self._unvalidated), None)
        shared.counters["refused" if oldest is None else "evicted"] += 1
        if shared.log_limiter.allow(self._where):  # not a budget for each source, of which anybody may name any number
            text = (
                "the session of {evicted} on {where} makes room for one of {peer}: "
                if oldest
                else "no room for {peer} on {where}: "
            )
            text += "there are {most}, as many as may be (limits.datagram_peers)"
            evicted = oldest and shown(oldest.address)
            _log.warn(text, evicted=evicted, where=self._where, peer=join_address(*addr), most=most)
        if oldest is None:
            return False
        oldest.abort(SessionClosed(DisconnectReason.EVICTED))
        return True

    def _sweep(self, now: float) -> None:
        """End the sessions of silent peers: the first of each order has been silent for longest."""
        seconds = self.config.timeouts.datagram_idle
        due = math.inf
        for order in (self._unvalidated, self._validated):
            for peer in list(order):
                if peer.last_received + seconds > now + ROUNDING:
                    due = min(due, peer.last_received + seconds)
                    break
                if peer.is_busy:
                    peer.last_received = now
                    order.move_to_end(peer)
                    due = min(due, now + seconds)
                else:
                    peer.abort(SessionClosed(DisconnectReason.IDLE))
        self._idle.continue_at(due)

    def _peer_validated(self, peer: DatagramConnection) -> None:
        del self._unvalidated[peer]
        self._validated[peer] = None

    def _peer_closed(self, peer: DatagramConnection) -> None:
        assert peer.transport is not None
        assert peer.transport.peer is not None
        del self._peers[peer.transport.peer]
        del (self._unvalidated if peer.flow.blocked else self._validated)[peer]
        if not self._peers:
            self._when_empty.fire(None)


@implementer(IListeningPort)
class DrainedPort:
    """A UDP port that is closed once the sessions of its peers have ended: they are answered until then.

    Args:
        port: the port.
        protocol: what it is connected to.
    """

    def __init__(self, port: IListeningPort, protocol: VeltixDatagramProtocol) -> None:
        self._port = port
        self._protocol = protocol

    def startListening(self) -> None:
        """It listens since it was made."""

    def stopListening(self) -> Deferred[Any]:
        """Let no new peers come, and close it behind the last one; return a Deferred that fires then."""
        return self._protocol.drain().addCallback(lambda _: self._port.stopListening())

    def getHost(self) -> IAddress:
        """Return its address."""
        return self._port.getHost()
