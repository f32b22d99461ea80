"""Twisted's own TCP transport on a socket that fails as a test wants, and a peer behind it that a test moves by hand."""

from __future__ import annotations

import errno
import gc
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import SessionClosed
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.context import ConnectionContext
from veltix_tx.settings import ClientConfig, ServerConfig
from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import find_release

END = b""
"""What a socket receives when the peer has closed."""


class FaultySocket:
    """A socket whose faults are chosen.

    Attributes:
        inbox: what the next reads get: bytes, ``END`` or an OSError.
        sent: what was sent and not taken from here yet.
        room: bytes that can be sent before it blocks.
        chunk: the most bytes of one read.
        breaks_after: bytes after which sending fails for good; None for never.
        shut: whether this side's half is closed.
        closed: whether it is closed.
    """

    def __init__(self) -> None:
        self.inbox: deque[bytes | OSError] = deque()
        self.sent = bytearray()
        self.room = 1 << 40
        self.chunk = 1 << 40
        self.breaks_after: int | None = None
        self.shut = self.closed = False
        self.reset = False

    def fileno(self) -> int:
        """No real one."""
        return -1

    def setblocking(self, blocking: bool) -> None:
        """It never blocks."""

    def recv(self, size: int) -> bytes:
        """Receive what is next."""
        if not self.inbox:
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing to read")
        item = self.inbox.popleft()
        if isinstance(item, OSError):
            raise item
        size = min(size, self.chunk)
        if len(item) > size:
            self.inbox.appendleft(item[size:])
        return item[:size]

    def sendmsg(self, buffers: Sequence[Any]) -> int:
        """Take as much of all as there is room for."""
        return self.send(b"".join(buffers))

    def send(self, data: Any) -> int:
        """Take as much as there is room for."""
        if self.shut or (self.breaks_after is not None and self.breaks_after <= 0):
            raise BrokenPipeError(errno.EPIPE, "a test")
        if not self.room:
            raise BlockingIOError(errno.EWOULDBLOCK, "no room")
        size = min(len(data), self.room, 1 << 40 if self.breaks_after is None else self.breaks_after)
        self.sent += data[:size]
        self.room -= size
        if self.breaks_after is not None:
            self.breaks_after -= size
        return size

    def shutdown(self, how: int) -> None:
        """Close this side's half, or both."""
        self.shut = True

    def close(self) -> None:
        """Close."""
        assert not self.closed
        self.closed = True

    def setsockopt(self, level: int, name: int, value: object) -> None:
        """Take note of a reset."""
        self.reset = self.reset or isinstance(value, bytes)

    def getsockopt(self, *arguments: object) -> bytes:
        """Tell nothing."""
        raise OSError(errno.ENOPROTOOPT, "a test")


class FakeReactor(Clock):
    """A reactor of one clock and the connections that want to be read or written."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[Any, None] = {}
        self.writers: dict[Any, None] = {}

    def addReader(self, reader: Any) -> None:  # noqa: N802
        """Read it from now on."""
        self.readers[reader] = None

    def addWriter(self, writer: Any) -> None:  # noqa: N802
        """Write it from now on."""
        self.writers[writer] = None

    def removeReader(self, reader: Any) -> None:  # noqa: N802
        """Read it no more."""
        self.readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:  # noqa: N802
        """Write it no more."""
        self.writers.pop(writer, None)

    def turn(self) -> None:
        """Make one turn: timers that are due, then what is ready."""
        self.advance(0)
        for writer in list(self.writers):
            if writer in self.writers:
                self._done(writer, writer.doWrite(), reading=False)
        for reader in list(self.readers):
            if reader in self.readers:
                self._done(reader, reader.doRead(), reading=True)

    def settle(self) -> None:
        """Make turns until nothing more can happen by itself."""
        for _ in range(40):
            self.turn()

    def _done(self, selectable: Any, why: Any, *, reading: bool) -> None:
        if not why:
            return
        self.removeReader(selectable)
        if reading and why is CONNECTION_DONE:
            selectable.readConnectionLost(Failure(ConnectionDone()))
            return
        self.removeWriter(selectable)
        selectable.connectionLost(Failure(why))


class FaultyTransport(Connection):
    """Twisted's TCP transport, on a faulty socket."""

    def __init__(self, socket: FaultySocket, protocol: VeltixProtocol, reactor: FakeReactor) -> None:
        super().__init__(socket, protocol, reactor)  # type: ignore[arg-type]
        self.connected = 1

    def getPeer(self) -> IPv4Address:
        """Return where the peer is."""
        return IPv4Address("TCP", "127.0.0.1", 54321)

    def getHost(self) -> IPv4Address:
        """Return where this side is."""
        return IPv4Address("TCP", "127.0.0.1", 8080)


@implementer(IVeltixApplication)
class Witness:
    """An application that counts what it is told; ``answer`` makes the result of ``received``."""

    def __init__(self) -> None:
        self.connections = 0
        self.contents: list[bytes] = []
        self.ends: list[SessionClosed] = []
        self.answer: Any = lambda session, message: message.content

    def connected(self, session: Session) -> None:
        """Count."""
        self.connections += 1

    def received(self, session: Session, message: Response) -> object:
        """Write it down and answer."""
        self.contents.append(message.content)
        return self.answer(session, message)

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Write it down."""
        self.ends.append(reason)


class FaultyLine:
    """A protocol on a faulty transport, and the far end of its wire.

    Attributes:
        settled: what each Deferred given to :meth:`watch` has fired with, each time.
        uptime: the clock that does not jump; it goes with the reactor's but for :meth:`jump`.
        handling: Deferreds of handlers, which must fire before the application can be told of the end.
    """

    def __init__(self, role: Role, wire: str = "3.3.0", *, limits: Limits | None = None, timeouts: Timeouts | None = None) -> None:
        self.reactor = FakeReactor()
        self.jumped = 0.0
        clocks = Clocks(self.reactor, self.reactor.seconds, self.uptime)  # type: ignore[arg-type]
        self.handling: list[Deferred[bytes]] = []
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.witness = Witness()
        made = ServerConfig if role is Role.SERVER else ClientConfig
        config = made(wire=wire, limits=limits or Limits(), timeouts=timeouts or Timeouts())
        self.protocol: Any = VeltixProtocol(ConnectionContext(self.witness, config, clocks, types=self.types, random=Random(1)))
        self.socket = FaultySocket()
        self.transport: Any = FaultyTransport(self.socket, self.protocol, self.reactor)
        other = Role.CLIENT if role is Role.SERVER else Role.SERVER
        self.far = VeltixConnection(
            *(other, find_release(wire)),
            calendar_ms=lambda: 0,
            uptime_ms=lambda: 0,
            getrandbits=Random(2).getrandbits,
            types=self.types,
        )
        self.settled: list[list[Any]] = []
        self._kept = [weakref.ref(self.protocol)]

    def uptime(self) -> float:
        """Return seconds that never jump."""
        return self.reactor.seconds() - self.jumped

    def jump(self, seconds: float) -> None:
        """Let the calendar, and the reactor's clock with it, be set to another time."""
        self.jumped += seconds
        self.reactor.rightNow += seconds

    def connect(self) -> None:
        """Make the connection."""
        self.far.start()
        self.transport.startReading()
        self.protocol.makeConnection(self.transport)

    def exchange(self) -> list[Event]:
        """Let both sides read what there is; return what the far end understood."""
        self.reactor.turn()
        said = bytes(self.socket.sent)
        self.socket.sent.clear()
        events = self.far.receive_data(said, 0) if said else []
        data = b"".join(self.far.data_to_send())
        if data:
            self.socket.inbox.append(data)
        self.reactor.turn()
        while self.socket.inbox and self.reactor.readers:
            self.reactor.turn()
        return events

    def shake(self) -> Session:
        """Make the connection and walk through the handshake."""
        self.connect()
        for _ in range(6):
            self.exchange()
        return self.session

    @property
    def session(self) -> Session:
        """The session."""
        session: Session = self.protocol.session
        assert session is not None
        self._kept.append(weakref.ref(session))
        return session

    def say(self, content: bytes, request_id: int | None = None) -> None:
        """Let the protocol read a message of the far end's."""
        self.far.send(self.chat, content, request_id)
        self.exchange()

    def watch(self, deferred: Deferred[Any]) -> Deferred[Any]:
        """Write down each time it fires."""
        fired: list[Any] = []
        self.settled.append(fired)
        return deferred.addBoth(fired.append)

    def break_off(self, way: str) -> None:
        """End the connection by one of ``BROKEN``; from then on nothing can be sent."""
        self.socket.breaks_after = 0
        BROKEN[way](self)

    def handle(self, session: Session, message: Response) -> Deferred[bytes]:
        """Be a handler that is not done until the end."""
        self.handling.append(Deferred())
        return self.handling[-1]

    def wait_for_the_end(self) -> None:
        """Let time pass until the connection is gone, and let its handlers end then."""
        for _ in range(300):
            self.reactor.turn()
            if self.socket.closed:
                break
            self.reactor.rightNow += 1
        while self.handling:
            self.handling.pop().callback(b"late")
        self.reactor.settle()

    def check_nothing_is_left(self, *, logged: bool = False) -> None:
        """Assert that the connection is gone with all that belonged to it; the log may keep what was logged with a traceback."""
        assert self.socket.closed
        assert [len(fired) for fired in self.settled] == [1] * len(self.settled)
        assert len(self.witness.ends) == self.witness.connections
        assert self.reactor.getDelayedCalls() == []
        assert not self.reactor.readers
        assert not self.reactor.writers
        if self.protocol.session is not None:
            self._kept.append(weakref.ref(self.protocol.session))
        if logged:
            return
        self.protocol = self.transport = None
        self.settled.clear()
        self.witness.ends.clear()
        self.witness.answer = None
        gc.collect()
        assert [kept() for kept in self._kept] == [None] * len(self._kept)


BROKEN: dict[str, Callable[[FaultyLine], object]] = {
    "reset": lambda line: line.socket.inbox.append(ConnectionResetError(errno.ECONNRESET, "a test")),
    "timed out": lambda line: line.socket.inbox.append(TimeoutError(errno.ETIMEDOUT, "a test")),
    "closed by the peer": lambda line: line.socket.inbox.append(END),
    "broken pipe": lambda line: line.transport.startWriting(),
    "gone at once": lambda line: line.transport.connectionLost(Failure(ConnectionLost())),
}
"""How a connection ends without our doing."""
