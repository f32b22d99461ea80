"""One protocol on a string transport, its peer a bare wire connection that a test moves by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
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
from veltix_tx.wire.events import Event, PingsAnswered
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import find_release

NOW = 1_700_000_000.0
PEER = IPv4Address("TCP", "127.0.0.1", 54321)


class CountingTransport(StringTransport):
    """Counts writes, aborts and closes; lenient as a real one after loseConnection."""

    def __init__(self) -> None:
        super().__init__(peerAddress=PEER, lenient=True)
        self.writes = 0
        self.aborted = 0
        self.lost = 0

    def write(self, data: bytes) -> None:
        """Count and keep."""
        self.writes += 1
        super().write(data)

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Count and keep."""
        self.writes += 1
        super().writeSequence(data)

    def loseConnection(self) -> None:
        """Take note of the close."""
        self.lost += 1
        super().loseConnection()

    def abortConnection(self) -> None:  # noqa: N802
        """Take note of the abort."""
        self.aborted += 1
        self.disconnected = self.disconnecting = True


@implementer(IVeltixApplication)
class Recorder:
    """Writes down every call; ``on_message`` makes the result of ``received``."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.on_message: Callable[[Session, Response], object] = lambda session, message: None
        self.on_connected: Callable[[Session], object] = lambda session: None

    def connected(self, session: Session) -> object:
        """Write it down."""
        self.calls.append(("connected",))
        return self.on_connected(session)

    def received(self, session: Session, message: Response) -> object:
        """Write it down."""
        self.calls.append(("received", message.content))
        return self.on_message(session, message)

    def disconnected(self, session: Session, reason: SessionClosed) -> None:
        """Write it down."""
        self.calls.append(("disconnected", reason))

    @property
    def contents(self) -> list[bytes]:
        """Contents of the messages received."""
        return [call[1] for call in self.calls if call[0] == "received"]


class Line:
    """A protocol under test, on a transport and a clock of its own, with the far end of its wire."""

    def __init__(
        self,
        role: Role,
        wire: str,
        *,
        application: Any = None,
        pinned: bool = True,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        **protocol_settings: Any,
    ) -> None:
        settings = {
            key: protocol_settings.pop(key)
            for key in ("max_message_size", "handshake_timeout", "buffer_size", "allow_plaintext_credentials")
            if key in protocol_settings
        }
        self.clock = Clock()
        self.clocks = Clocks(self.clock, lambda: NOW + self.clock.seconds(), self.clock.seconds)
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.news = MessageType(201, "news", registry=self.types)
        self.application = application or Recorder()
        config_type = ServerConfig if role is Role.SERVER else ClientConfig
        self.config = config_type(
            wire=wire if pinned else "auto", limits=limits or Limits(), timeouts=timeouts or Timeouts(), **settings
        )
        full = protocol_settings.pop("full", False)
        self.side = ConnectionContext(
            self.application, self.config, self.clocks, types=self.types, random=Random(1), **protocol_settings
        )
        self.protocol = VeltixProtocol(self.side)
        if full:
            self.protocol.full = True
        self.transport = CountingTransport()
        self.far = VeltixConnection(
            Role.CLIENT if role is Role.SERVER else Role.SERVER,
            find_release(wire),
            calendar_ms=self.clocks.calendar_ms,
            uptime_ms=self.clocks.uptime_ms,
            getrandbits=Random(2).getrandbits,
            types=self.types,
        )

    def connect(self) -> None:
        """Make the connection; nothing is delivered yet."""
        self.far.start()
        self.protocol.makeConnection(self.transport)

    def shake(self) -> Session:
        """Make the connection and walk through the handshake."""
        self.connect()
        for _ in range(6):
            self.deliver()
            self.take()
        assert self.protocol.session is not None
        self.transport.writes = 0
        return self.protocol.session

    def take(self) -> list[Event]:
        """Return what the protocol has said since, as the far end understands it; that it answered pings is left out."""
        self.clock.advance(0)  # the end of the reactor's turn, when what was sent in it is written
        said = self.transport.value()
        self.transport.clear()
        return [event for event in self.far.receive_data(said, 0) if not isinstance(event, PingsAnswered)]

    def deliver(self) -> None:
        """Let the protocol read what the far end has to send, in one piece."""
        data = b"".join(self.far.data_to_send())
        if data:
            self.protocol.dataReceived(data)

    def say(self, *contents: bytes, request_id: int | None = None, message_type: MessageType | None = None) -> None:
        """Let the protocol read messages of the far end, in one piece."""
        for content in contents:
            self.far.send(message_type or self.chat, content, request_id)
        self.deliver()

    def answers(self) -> list[bytes]:
        """Return the contents of the messages said since."""
        return [event.content for event in self.take() if isinstance(event, Response)]

    def lose(self, error: BaseException | None = None) -> None:
        """Let the transport be gone."""
        self.protocol.connectionLost(Failure(error or ConnectionDone()))


def together(server_line: Any, count: int, **limits: int) -> list[Line]:
    """Make lines whose protocols share what those of one server do, their handshakes complete."""
    lines = [server_line(limits=Limits(**limits), timeouts=Timeouts(ping_interval=10_000))]
    lines += [server_line(limits=Limits(**limits), shared=lines[0].side.shared) for _ in range(count - 1)]
    for line in lines:
        line.shake()
    return lines


def half_of(line: Any, content: bytes, cut: int) -> tuple[bytes, bytes]:
    """A message of the far end, cut."""
    line.far.send(line.chat, content)
    data = b"".join(line.far.data_to_send())
    return data[:cut], data[cut:]
