"""A real server and several peers, driven at random on a clock of the test, beside a model that says what must be."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx import Server
from veltix_tx.errors import SessionClosed, VeltixError
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.session.session import Session
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.events import ConnectionFailed, HandshakeCompleted, Pong
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import RELEASES
from veltix_tx.wire.veltix.states import State

EXAMPLES = int(os.environ.get("VELTIX_EXAMPLES", "150"))
"""How many runs of the state machine; more for a long run by hand."""

MOST_PEERS = 4
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
LIMITS = Limits(protocol_errors=3, inflight=4, pending=5, write_low=1000, write_high=4000, write_hard=20_000)
TIMEOUTS = Timeouts(request=2, close=2, drain=3, write=10, frame=8, ping_interval=6, ping_timeout=4)
HANDSHAKE = 5.0
FULL = 2000
"""Bytes a peer has not read at which its transport asks to wait."""


class Broken(Exception):
    """What a handler raises on purpose."""


class Line:
    """A transport as the reactor's are: full while its peer does not read, silent to its protocol while that has paused it."""

    def __init__(self, machine: ServerMachine, port: int) -> None:
        self.machine = machine
        self.port = port
        self.unread = bytearray()
        self.unheard = bytearray()
        self.producer: Any = None
        self.protocol: Any = None
        self.reading = True
        self.full = self.paused = self.disconnecting = self.over = self.lost = False

    def getPeer(self) -> IPv4Address:
        """Where the peer is."""
        return IPv4Address("TCP", "127.0.0.1", self.port)

    getHost = getPeer

    def write(self, data: bytes) -> None:
        """Keep what the peer has not read."""
        if self.over or self.lost or (self.disconnecting and self.producer is None):
            return
        self.unread += data
        if len(self.unread) > FULL and self.producer is not None and not self.full:
            self.full = True
            self.producer.pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:  # noqa: N802
        """Write all of it."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Take note of who is to be told when this is full."""
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        """Tell nobody any more."""
        self.producer = None
        self.full = False
        self.try_to_close()

    def pauseProducing(self) -> None:
        """Hand over nothing more."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Hand over what has come in the meantime, a turn later."""
        self.paused = False
        self.machine.clock.callLater(0, self.hand_over)

    def loseConnection(self) -> None:
        """Close once everything is read."""
        self.disconnecting = True
        self.try_to_close()

    def abortConnection(self) -> None:  # noqa: N802
        """Close in the next turn."""
        self.end(ConnectionAborted())

    def try_to_close(self) -> None:
        """Close if that was asked for and nothing stands in its way."""
        if self.disconnecting and self.producer is None and not self.unread:
            self.end(ConnectionDone())

    def end(self, why: Exception) -> None:
        """Tell the protocol in the next turn that the connection is gone."""
        if not self.over:
            self.over = True
            self.machine.clock.callLater(0, self._lose, why)

    def _lose(self, why: Exception) -> None:
        self.lost = True
        self.protocol.connectionLost(Failure(why))

    def hand_over(self) -> None:
        """Let the protocol read."""
        while self.unheard and not (self.paused or self.over):
            data, self.unheard = bytes(self.unheard), bytearray()
            self.protocol.dataReceived(data)


class Peer:
    """A client as the model sees it."""

    def __init__(self, machine: ServerMachine, port: int, release: str) -> None:
        self.line = Line(machine, port)
        self.far = VeltixConnection(
            *(Role.CLIENT, RELEASES[release]),
            calendar_ms=lambda: 0,
            uptime_ms=lambda: 0,
            getrandbits=Random(port).getrandbits,
            types=TYPES,
        )
        self.honest = True
        self.ready = False
        self.sent: list[bytes] = []
        self.rest = b""
        self.questions: list[int] = []
        self.strikes = 0
        self.expected_pongs = self.pongs = 0
        self.session: Session | None = None
        self.told: list[Any] = []
        self.let_in = False

    @property
    def gone(self) -> bool:
        """Whether the connection is over."""
        return self.line.over

    def say(self, data: bytes) -> None:
        """Send bytes."""
        if not self.gone:
            self.line.unheard += data
            self.line.hand_over()

    def say_all(self) -> None:
        """Send what the far end has to say, behind the rest of what it has begun."""
        said = b"".join(self.far.data_to_send())
        if said:
            rest, self.rest = self.rest, b""
            self.say(rest + said)


@implementer(IVeltixApplication)
class Application:
    """Does what a message asks for, and keeps what it was told."""

    def __init__(self, machine: ServerMachine) -> None:
        self.machine = machine

    def peer(self, session: Session) -> Peer:
        """The model's side of a session."""
        return next(each for each in self.machine.peers if each.line.port == session.port)

    def connected(self, session: Session) -> object:
        """Take note, and be late or fail if it was asked for."""
        peer = self.peer(session)
        assert peer.told == []
        peer.session = session
        peer.told.append("connected")
        if not self.machine.slow_start:
            peer.let_in = True
            return None

        def refused(failure: Failure) -> Failure:
            peer.honest = False
            return failure

        def let_in(result: object) -> None:
            peer.let_in = True

        return self.machine.delayed().addCallbacks(let_in, refused)

    def received(self, session: Session, message: Response) -> object:
        """Do what the content says."""
        peer = self.peer(session)
        assert peer.let_in
        assert peer.told[0] == "connected"
        assert peer.told[-1] != "disconnected"
        peer.told.append(message.content)
        word = message.content.partition(b" ")[0]
        if word == b"late":
            return self.machine.delayed()
        if word == b"fail":
            raise Broken
        if word == b"ask":
            self.machine.watch(session.send_and_wait(CHAT, b"?"))
        if word == b"close":
            session.disconnect()
        if word == b"flood":
            return bytes(3000)
        return b"reply" if word == b"echo" else None

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Take note."""
        peer = self.peer(session)
        assert peer.let_in
        assert peer.told.count("disconnected") == 0
        assert session.closed is not None
        peer.told.append("disconnected")


class ServerMachine(RuleBasedStateMachine):
    """The server, its peers, and the Deferreds it has handed out."""

    @initialize(
        wire=st.sampled_from(["auto", "1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "3.3.0"]),
        peers=st.integers(1, 3),
        **dict.fromkeys(("slow", "most", "harsh"), st.booleans()),
    )
    def begin(self, wire: str, peers: int, slow: bool, most: bool, harsh: bool) -> None:
        """Start a server, and a few peers."""
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.peers: list[Peer] = []
        self.watched: list[tuple[Deferred[Any], list[Any]]] = []
        self.waiting: list[Deferred[Any]] = []
        self.stopping = False
        self.slow_start = slow and wire == "3.3.0"
        self.release = "3.3.0" if wire == "auto" else wire
        self.most = 2 if most else -1
        self.server = Server(
            application=Application(self),
            types=TYPES,
            wire=wire,
            random=Random(1),
            limits=LIMITS,
            timeouts=TIMEOUTS,
            handshake_timeout=HANDSHAKE,
            max_message_size=20_000,
            max_connections=self.most,
        )
        self.network.serve(self.server)
        self.harsh = harsh
        for _ in range(peers):
            self.connect("at once", b"")

    # What happens of itself.

    def delayed(self) -> Deferred[Any]:
        """What a handler returns that is not done."""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def watch(self, deferred: Deferred[Any]) -> None:
        """Keep a Deferred's outcomes, of which there must be one."""
        outcomes: list[Any] = []
        deferred.addBoth(outcomes.append)
        self.watched.append((deferred, outcomes))

    def settle(self) -> None:
        """Deliver what is said until nobody has anything to say."""
        busy = True
        while busy:
            self.clock.advance(0)
            busy = False
            for peer in self.peers:
                peer.say_all()
                line = peer.line
                if line.unread and line.reading:
                    busy = True
                    data, line.unread = bytes(line.unread), bytearray()
                    self.hear(peer, data)
                    if line.full:
                        line.full = False
                        line.producer.resumeProducing()
                    line.try_to_close()
        self.clock.advance(0)

    def hear(self, peer: Peer, data: bytes) -> None:
        """Let a peer read; what a server says is in order as long as the peer is."""
        if peer.far.state is State.NEW:
            peer.honest = False  # it was not listening
        if not peer.honest:
            return
        for event in peer.far.receive_data(data, 0):
            if isinstance(event, HandshakeCompleted):
                peer.ready = True
            elif isinstance(event, Pong):
                peer.pongs += 1
            elif isinstance(event, Response) and event.content == b"?":
                peer.questions.append(event.request_id)
            elif isinstance(event, ConnectionFailed):
                peer.honest = False
                assert "full" in str(event.error) or not peer.ready, event.error

    def chosen(self, number: int, *, ready: bool = True) -> Peer | None:
        """One of the peers that are there."""
        able = [each for each in self.peers if not each.gone and (each.ready or not ready)]
        return able[number % len(able)] if able else None

    # What peers do.

    @precondition(lambda self: sum(not each.gone for each in self.peers) < MOST_PEERS)
    @rule(greet=st.sampled_from(["at once", "later", "badly"]), junk=st.binary(min_size=1, max_size=30))
    def connect(self, greet: str, junk: bytes) -> None:
        """A peer connects; it says its part of the handshake, not yet, or never."""
        peer = Peer(self, 10_000 + len(self.peers), self.release)
        greet = greet if self.harsh else "at once"
        factory: Any = self.network._place.factory
        protocol = factory.buildProtocol(peer.line.getPeer())
        if protocol is None:
            return
        self.peers.append(peer)
        peer.line.protocol = protocol
        if greet == "at once":
            peer.ready = any(isinstance(event, HandshakeCompleted) for event in peer.far.start())
        peer.line.reading = greet != "later"
        protocol.makeConnection(peer.line)
        self.settle()
        if greet == "badly":
            peer.honest = False
            peer.say(junk)
            self.settle()
        elif greet == "at once" and self.most < 0:
            assert peer.ready
            assert peer.session is not None

    @rule(
        number=st.integers(0, 9),
        word=st.sampled_from([b"echo", b"late", b"fail", b"ask", b"flood", b"close", b"note"]),
        more=st.integers(1, 6),
    )
    def talk(self, number: int, word: bytes, more: int) -> None:
        """A peer sends messages, in one piece."""
        peer = self.chosen(number)
        if peer is None or not peer.honest:
            return
        for each in range(more):
            content = b"%s %d %d" % (word, len(peer.sent), each)
            peer.far.send(CHAT, content, 7)
            peer.sent.append(content)
        self.settle()

    @rule(number=st.integers(0, 9))
    def ping(self, number: int) -> None:
        """A peer pings."""
        peer = self.chosen(number)
        if peer is not None and peer.honest:
            peer.far.send_ping(peer.far.allocate_id(()))
            peer.expected_pongs += 1
            self.settle()

    @rule(number=st.integers(0, 9), code=st.sampled_from([1, 20, 10, 2, 150, 201]))
    def say_something_else(self, number: int, code: int) -> None:
        """A peer sends a pong to nobody, an error for nothing, a hello too late, or a type that is unknown, as often as it may."""
        peer = self.chosen(number)
        if peer is not None and peer.honest and peer.strikes < LIMITS.protocol_errors:
            peer.strikes += code != 20
            layout = RELEASES[self.release].layout
            rest, peer.rest = peer.rest, b""
            peer.say(rest + layout.pack(code, b"", 3, 0))
            self.settle()

    @rule(number=st.integers(0, 9))
    def reply(self, number: int) -> None:
        """A peer answers the oldest question."""
        peer = self.chosen(number)
        if peer is not None and peer.honest and peer.questions:
            peer.far.send(CHAT, b"!", peer.questions.pop(0))
            peer.sent.append(b"!")
            self.settle()

    @rule(number=st.integers(0, 9), part=st.integers(1, 30))
    def half(self, number: int, part: int) -> None:
        """A peer sends a part of a message; the rest comes before whatever it says next."""
        peer = self.chosen(number)
        if peer is None or not peer.honest or peer.rest:
            return
        content = b"note half %d" % len(peer.sent)
        data = b"".join(peer.far.encode(CHAT, content, 7))
        peer.sent.append(content)
        peer.rest = data[part:]
        peer.say(data[:part])
        self.settle()

    @rule(number=st.integers(0, 9))
    def rest(self, number: int) -> None:
        """A peer sends the rest."""
        peer = self.chosen(number)
        if peer is not None:
            rest, peer.rest = peer.rest, b""
            peer.say(rest)
            self.settle()

    @precondition(lambda self: self.harsh)
    @rule(number=st.integers(0, 9), junk=st.binary(min_size=1, max_size=60))
    def nonsense(self, number: int, junk: bytes) -> None:
        """A peer sends nonsense."""
        peer = self.chosen(number, ready=False)
        if peer is not None:
            peer.honest = False
            peer.say(junk)
            self.settle()

    @rule(number=st.integers(0, 9), reading=st.booleans())
    def read(self, number: int, reading: bool) -> None:
        """A peer stops reading, or goes on."""
        peer = self.chosen(number, ready=False)
        if peer is not None:
            peer.line.reading = reading
            self.settle()

    @precondition(lambda self: self.harsh)
    @rule(number=st.integers(0, 9), why=st.sampled_from([ConnectionDone, ConnectionLost]))
    def leave(self, number: int, why: type[Exception]) -> None:
        """A peer closes or is cut off."""
        peer = self.chosen(number, ready=False)
        if peer is not None:
            peer.honest = False
            peer.line.end(why())
            self.settle()

    # What the server's program does.

    @rule(
        number=st.integers(0, 9),
        what=st.sampled_from(["ask", "ping", "when_closed", "when_idle", "when_writable", "drain", "disconnect"]),
    )
    def use(self, number: int, what: str) -> None:
        """The program uses a session."""
        peer = self.chosen(number)
        if peer is None or peer.session is None:
            return
        session, closed = peer.session, peer.session.closed
        if what in ("drain", "disconnect") and not self.harsh:
            return
        if what == "ask":
            self.watch(session.send_and_wait(CHAT, b"?"))
        else:
            self.watch(getattr(session, what)())
        if what in ("drain", "disconnect") or closed is not None:
            peer.honest = False
        self.settle()

    @rule(size=st.sampled_from([0, 100, 3000]), slow=st.sampled_from(["drop", "close"]))
    def broadcast(self, size: int, slow: Any) -> None:
        """The program sends everybody a message."""
        for peer in self.peers:
            if slow == "close" and not peer.line.reading:
                peer.honest = False  # it may be closed for it
        self.server.broadcast(CHAT, bytes(size), slow=slow)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9), fail=st.booleans())
    def finish(self, which: int, fail: bool) -> None:
        """A handler is done at last."""
        deferred = self.waiting.pop(which % len(self.waiting))
        deferred.errback(Broken()) if fail else deferred.callback(b"late reply")
        self.settle()

    @precondition(lambda self: self.watched)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        """The program no longer wants to know."""
        self.watched[which % len(self.watched)][0].cancel()
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 1, 2.5, 5, 9, 30]))
    def advance(self, seconds: float) -> None:
        """Time passes, everything due at its time."""
        for peer in self.peers:
            if not peer.ready or not peer.line.reading or peer.rest:
                peer.honest = False  # it is late with something, and may be closed for it
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        """Move the clock from one call that is due to the next."""
        end = self.clock.seconds() + seconds
        while True:
            step = min([end, *(call.getTime() for call in self.clock.getDelayedCalls())])
            self.clock.advance(max(0.0, step - self.clock.seconds()))
            self.settle()
            if step >= end:
                return

    # What must hold.

    @invariant()
    def the_books_agree(self) -> None:
        """The server knows exactly the sessions that are let in and open, and handled each one's messages in order, once."""
        if not hasattr(self, "server"):
            return
        sessions = [each.session for each in self.peers if each.let_in]
        open_sessions = {session for session in sessions if session is not None and session.closed is None}
        assert set(self.server.clients) == open_sessions
        assert len(self.server._connections) <= sum(not each.line.lost for each in self.peers)
        for peer in self.peers:
            messages = [each for each in peer.told if isinstance(each, bytes)]
            closes = any(each.startswith(b"close") for each in messages)
            if peer.honest:
                replied = [each for each in peer.sent if each != b"!"]
                assert [each for each in messages if each != b"!"] == replied[: len([each for each in messages if each != b"!"])]
                assert peer.pongs <= peer.expected_pongs
                assert closes or peer.session is None or not peer.gone or self.stopping, "an honest peer was closed"
                if peer.line.reading and not peer.gone and not peer.rest and not peer.line.paused:
                    assert peer.pongs == peer.expected_pongs
            if peer.session is not None and peer.line.lost:
                assert peer.session.closed is not None
                assert peer.session.pending_requests == 0
            if peer.session is not None:
                assert peer.session.pending_requests <= LIMITS.pending
                assert peer.session.write_buffer_size <= LIMITS.write_hard + 20_000
        for _, outcomes in self.watched:
            assert len(outcomes) <= 1
            for outcome in outcomes:
                error = outcome.value if isinstance(outcome, Failure) else None
                assert error is None or isinstance(error, (VeltixError, CancelledError))

    def teardown(self) -> None:
        """Everybody goes, the server stops: nothing is left, and every Deferred has had its one outcome."""
        if not hasattr(self, "server"):
            return
        self.stopping = True
        half = len(self.peers) // 2
        for peer in self.peers[:half]:
            peer.line.end(ConnectionDone())
        self.settle()
        self.watch(self.server.stopService())
        self.pass_time(20)
        while self.waiting:
            self.finish(0, False)
        self.pass_time(60)
        self.the_books_agree()
        assert all(peer.line.lost for peer in self.peers)
        assert len(self.server._connections) == len(self.server._hub) == len(list(self.server._connections)) == 0
        assert [len(outcomes) for _, outcomes in self.watched] == [1] * len(self.watched)
        assert all(peer.told[-1] == "disconnected" if peer.let_in else peer.told in ([], ["connected"]) for peer in self.peers)
        assert self.clock.getDelayedCalls() == []


def test_a_server_survives_its_peers(logged_failures: Any, unhurried: None) -> None:
    """Whatever several peers do, in whatever order: honest ones are served in order and kept, and nothing is left of any."""
    try:
        run_state_machine_as_test(
            ServerMachine,
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        logged_failures.flush(Broken, CancelledError)  # a handler that takes too long is cancelled
