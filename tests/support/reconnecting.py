"""A client factory whose tries a test lets succeed or fail, by either of the two ways to use one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, NotConnectingError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectState
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.reconnect import EndpointConnector, VeltixClientFactory
from veltix_tx.settings import ClientConfig, RetryPolicy
from veltix_tx.wire.messages import MessageRegistry
from veltix_tx.wire.veltix.layouts import W22

POLICY = RetryPolicy(initial_delay=1, factor=2, max_delay=10, jitter=False)
HELLO = W22.pack(10, b"\0\x051.6.3", 1, 0) + b"\0\x051.6.3"


class Transport(StringTransport):
    """Tells its driver of the end in the next turn of the clock, as a real one does."""

    def __init__(self, clock: Clock, lost: Callable[[BaseException], None]) -> None:
        super().__init__(lenient=True)
        self._clock, self._lost, self._ended = clock, lost, False

    def loseConnection(self) -> None:
        """Take note of the close."""
        super().loseConnection()
        self.end(ConnectionDone())

    def abortConnection(self) -> None:  # noqa: N802
        """Take note of the abort."""
        self.disconnected = True
        self.end(ConnectionLost())

    def end(self, error: BaseException) -> None:
        """Tell of the end in the next turn, once."""
        if not self._ended:
            self._ended = True
            self._clock.callLater(0, self._lost, error)


class Network:
    """Tries of one client factory, which a test lets succeed or fail; times are those of the tries."""

    def __init__(self, retry: RetryPolicy, application: Any, wire: str) -> None:
        self.clock = MemoryReactorClock()
        clocks = Clocks(self.clock, self.clock.seconds, self.clock.seconds)
        config = ClientConfig(wire=wire, handshake_timeout=0.5)
        types = MessageRegistry(open=True)
        chat = types.get(200)
        assert chat is not None
        self.chat = chat
        self.factory = VeltixClientFactory(
            application, config, retry=retry, reactor=clocks, types=types, random=Random(1), on_disconnect=self._told
        )
        self.states: list[tuple[Any, ...]] = []
        self.when_told: Callable[[DisconnectState], object] = lambda state: None
        self.times: list[float] = []
        self.protocol: Any = None
        self.transport: Any = None

    def _connected(self, protocol: Any, lost: Callable[[Failure], None]) -> None:
        def gone(error: BaseException) -> None:
            protocol.connectionLost(Failure(error))
            lost(Failure(error))

        self.protocol = protocol
        self.transport = Transport(self.clock, gone)
        protocol.makeConnection(self.transport)

    def _told(self, state: DisconnectState) -> None:
        step = "P" if state.permanent else "no"
        self.states.append((self.clock.seconds(), step, state.attempt, state.retry_max, state.reason.name))
        self.when_told(state)

    def accept(self) -> None:
        """Let the try under way connect."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Let the try under way fail."""
        raise NotImplementedError

    @property
    def trying(self) -> bool:
        """Whether a try is under way."""
        raise NotImplementedError

    def ready(self) -> None:
        """Accept, and complete the handshake."""
        self.accept()
        self.protocol.dataReceived(HELLO)

    def say(self, code: int, content: bytes, request_id: int = 0) -> None:
        """Let the server send a message, on 1.6.3's wire."""
        self.protocol.dataReceived(W22.pack(code, content, request_id, 0) + content)

    def drop(self) -> None:
        """Let the server close."""
        self.transport.end(ConnectionDone())
        self.clock.advance(0)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)


class ByConnector(Network):
    """The factory as given to reactor.connectTCP."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._trying = True
        self.times.append(0)
        self.connector = self.clock.connectTCP("127.0.0.1", 8080, self.factory)
        self.connector.connect = self._connect  # type: ignore[method-assign]
        self.connector.stopConnecting = self._stop  # type: ignore[method-assign]

    def _connect(self) -> None:
        self.times.append(self.clock.seconds())
        self._trying = True
        self.factory.startedConnecting(self.connector)

    def _stop(self) -> None:
        if not self._trying:
            raise NotConnectingError
        self._trying = False
        self.factory.clientConnectionFailed(self.connector, Failure(CancelledError()))

    @property
    def trying(self) -> bool:
        """Whether a try is under way."""
        return self._trying

    def accept(self) -> None:
        """Let the try under way connect."""
        self._trying = False
        protocol = self.factory.buildProtocol(None)
        self._connected(protocol, lambda reason: self.factory.clientConnectionLost(self.connector, reason))

    def refuse(self) -> None:
        """Let the try under way fail."""
        self._trying = False
        self.factory.clientConnectionFailed(self.connector, Failure(Refused()))


@implementer(IStreamClientEndpoint)
class ByEndpoint(Network):
    """The factory behind an EndpointConnector."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._attempt: Deferred[Any] | None = None
        self.connector = EndpointConnector(self, self.factory)
        self.connector.connect()

    def connect(self, factory: Any) -> Deferred[Any]:
        """Begin a try."""
        self.times.append(self.clock.seconds())
        self._attempt = Deferred()
        return self._attempt

    @property
    def trying(self) -> bool:
        """Whether a try is under way."""
        return self._attempt is not None and not self._attempt.called

    def accept(self) -> None:
        """Let the try under way connect."""
        assert self._attempt is not None
        protocol = self.factory.buildProtocol(None)
        self._connected(protocol, lambda reason: None)
        self._attempt.callback(protocol)

    def refuse(self) -> None:
        """Let the try under way fail."""
        assert self._attempt is not None
        self._attempt.errback(Failure(Refused()))
