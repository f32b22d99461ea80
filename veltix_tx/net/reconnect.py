"""The client's factory, which tries again as its RetryPolicy says, and endpoints for it to try on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import NotConnectingError
from twisted.internet.interfaces import IAddress, IConnector, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.errors import DisconnectReason, SessionClosed, VeltixError, VersionRefused
from veltix_tx.interfaces import IVeltixApplication
from veltix_tx.net.factory import check_wire, resolve_clocks
from veltix_tx.net.keepalive import Clocks
from veltix_tx.net.listeners import Listeners
from veltix_tx.net.protocol import VeltixProtocol
from veltix_tx.net.session import Session
from veltix_tx.net.shared import Shared
from veltix_tx.net.side import Side
from veltix_tx.settings import ClientConfig, RetryPolicy
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry

__all__ = ["DisconnectState", "EndpointConnector", "VeltixClientFactory"]

_log = Logger()


@dataclass(frozen=True, slots=True)
class DisconnectState:
    """One step of a lost or failed connection, as ``on_disconnect`` of a client is told.

    The first has attempt 0: the connection has just been lost, or could not be made. If tries
    follow, one comes after each that failed. The last is permanent. (These are the steps of
    upstream's releases from 1.6.9 on; the earlier ones left out the first.)

    Attributes:
        permanent: no further try will be made.
        attempt: which try has just failed, 0 before the first.
        retry_max: how many there may be, None for no end.
        reason: why there is no connection: what happened before the first try.
        error: what happened last, for people: a SessionClosed, a HandshakeError or Twisted's error.
    """

    permanent: bool
    attempt: int
    retry_max: int | None
    reason: DisconnectReason
    error: BaseException | None = field(default=None, compare=False)


class VeltixClientFactory(ReconnectingClientFactory):
    """A client's factory, for ``reactor.connectTCP`` and its like, or an :class:`EndpointConnector`.

    It connects again after a failed or lost connection as ``retry`` says. The wait grows until a
    handshake is complete (a server that accepts and refuses is no success), a refused version
    ends the tries at once, and so does :meth:`stop`.

    Args:
        application: what happens with the messages.
        config: the settings; ``server_addr``, ``port``, ``endpoint`` and ``retry`` are not used here.
        retry: when to try again; without end by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        told: called with each DisconnectState.
        shared: what counts; one of its own by default.

    Attributes:
        session: the session while there is one.

    Raises:
        SettingsError: ``config.wire`` is unknown.
    """

    noisy = False
    jitter = None  # type: ignore[assignment]  # the policy draws the wait
    factor = 1
    maxDelay = inf  # type: ignore[assignment]  # the policy has its own

    def __init__(
        self,
        application: IVeltixApplication,
        config: ClientConfig | None = None,
        *,
        retry: RetryPolicy | None = None,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        told: Callable[[DisconnectState], object] | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.config = config or ClientConfig()
        check_wire(self.config.wire)
        self._use(RetryPolicy() if retry is None else retry)
        self._told = told
        self._shared = shared
        self._side: Side | None = None
        self._reason = DisconnectReason.ERROR
        self._failed = 0
        self._last: BaseException | None = None
        self._last_session: Session | None = None
        self._untold: list[DisconnectState] = []
        self._over = False
        self.session: Session | None = None
        self._application = application
        self._reactor = reactor
        self._types = types
        self._random = random or Random()
        self._protocol: VeltixProtocol | None = None
        self._closed: SessionClosed | None = None
        self._given_up: Failure | None = None
        self._when_ready: Listeners[Session] = Listeners()
        self._when_gone: Listeners[None] = Listeners()

    def when_ready(self) -> Deferred[Session]:
        """Return a new Deferred of the session.

        It fires when the handshake is complete, at once if it is, and errbacks when no further
        try will be made: with the handshake's error (VersionRefused, HandshakeTimeout,
        ServerFull, …), the SessionClosed, or Twisted's connection error.
        """
        if self.session is not None and self.session.closed is None:
            return succeed(self.session)
        if self._given_up is not None:
            return fail(self._given_up)
        return self._when_ready.wait()

    @property
    def side(self) -> Side:
        """What its connections, one after another, share."""
        if self._side is None:
            self._side = Side(
                *(self._application, self.config, resolve_clocks(self._reactor)),
                types=self._types,
                random=self._random,
                shared=self._shared,
                ready=self._session_ready,
                lost=self._session_lost,
            )
        return self._side

    @property
    def connected(self) -> bool:
        """Whether there is a connection, ready or not."""
        return self._protocol is not None

    @property
    def finished(self) -> bool:
        """Whether no further try will be made (the last connection may still be closing)."""
        return self._given_up is not None

    @property
    def closed(self) -> SessionClosed | None:
        """How the last connection ended, None before and while there is one."""
        return self._closed

    def stop(self) -> Deferred[None]:
        """Try no more and close what is open, politely.

        Returns:
            a Deferred that fires when the connection is gone.
        """
        manual = SessionClosed(DisconnectReason.MANUAL)
        self._give_up(Failure(manual))
        self.stop_retry()
        if self._protocol is None:
            return succeed(None)
        gone = self._when_gone.wait()
        if self.session is not None:
            self._protocol.close(manual)
        else:
            self._protocol.abort(manual)
        return gone

    def stop_retry(self) -> None:
        """Try no more; an open connection stays."""
        waiting = self._callID is not None
        self.stopTrying()
        if waiting:
            self._conclude(Failure(self._last))

    def try_now(self, policy: RetryPolicy) -> None:
        """Try at once instead of waiting, and count the tries from 0, by another policy from now on."""
        self._use(policy)
        waiting = self._callID
        self.resetDelay()
        if waiting is not None:
            waiting.cancel()
            self.connector.connect()  # type: ignore[union-attr]

    def tell_all(self) -> None:
        """Tell at once what waits for the last session's messages to be handled."""
        while self._untold:
            state = self._untold.pop(0)
            try:
                if self._told is not None:
                    self._told(state)
            except Exception:  # the handshake or the loss that this is told in goes on
                if self.side.shared.remarks.may_log(str(self.connector)):
                    _log.failure("telling {state} failed", state=state)

    def startedConnecting(self, connector: IConnector) -> None:
        """A try begins."""
        if self._given_up is not None:
            self.resetDelay()  # used again after a stop
        self.connector = connector  # so that stopTrying stops the first try, too
        self._given_up = None
        self._over = False

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | None:
        """Return the protocol of a new connection, None for one that comes after a stop."""
        if self._given_up is not None and not self.continueTrying:
            return None
        self._closed = None
        self._protocol = VeltixProtocol(self.side)
        self._protocol.factory = self
        return self._protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """The transport could not connect."""
        self._try_again(connector, reason.value, DisconnectReason.ERROR)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        """The transport is gone; why was told by the protocol."""
        closed = self._closed
        if closed is None:
            self._try_again(connector, reason.value, DisconnectReason.ERROR)
            return
        if isinstance(closed.cause, VersionRefused) or closed.reason is DisconnectReason.MANUAL:
            self.continueTrying = 0
        self._try_again(connector, closed.cause if isinstance(closed.cause, VeltixError) else closed, closed.reason)

    def _use(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self.maxRetries = policy.max_retries  # type: ignore[assignment]

    def _session_ready(self, protocol: VeltixProtocol) -> None:
        session = protocol.session
        assert session is not None
        self.tell_all()
        self.session = self._last_session = session
        self.retries = 0
        if self.continueTrying:
            self.resetDelay()
        self._when_ready.fire(session)

    def _session_lost(self, _: VeltixProtocol, closed: SessionClosed) -> None:
        self._protocol = self.session = None
        self._closed = closed
        if isinstance(self.connector, EndpointConnector):
            self.clientConnectionLost(self.connector, Failure(closed))
        self._when_gone.fire(None)  # last: who waited may connect again, with another factory

    def _try_again(self, connector: IConnector, error: BaseException | None, reason: DisconnectReason) -> None:
        if self.clock is None:
            self.clock = resolve_clocks(self._reactor).reactor  # type: ignore[assignment]
        self._last, self._failed = error, self.retries
        if self._failed == 0:
            self._reason = reason
        self.delay = self.policy.delay(self.retries + 1, self._random.random)
        super().clientConnectionFailed(connector, Failure(error))
        over = self._callID is None
        if not over:
            if self.side.shared.remarks.may_log(str(connector)):
                fields = {"connector": connector, "delay": self.delay, "reason": error}
                _log.info("trying {connector} again in {delay:.2f} s: {reason}", **fields)
            self._tell(False)
            return
        if self.continueTrying and self.policy.max_retries:
            _log.warn("giving up {connector}: {reason}", connector=connector, reason=error)
        self._conclude(Failure(error), try_failed=self._failed > 0 and self._given_up is None)

    def _conclude(self, reason: Failure, *, try_failed: bool = False) -> None:
        """Take note that no further try will be made and no connection is left."""
        waiting, self._when_ready = self._when_ready, Listeners()
        if self._given_up is None:
            self._given_up = reason
        elif isinstance(self._given_up.value, SessionClosed):
            self._last, self._reason = self._given_up.value, self._given_up.value.reason  # stopped by hand
        if not self._over:
            self._over = True
            self._tell(*[False] * try_failed, True)
        waiting.fire(reason)

    def _give_up(self, reason: Failure) -> None:
        self._given_up = self._given_up or reason
        self._when_ready.fire(reason)

    def _tell(self, *permanent: bool) -> None:
        """Tell once the application has handled all messages of the last session, or there is a new one."""
        for each in permanent:
            self._untold.append(DisconnectState(each, self._failed, self.policy.max_retries, self._reason, self._last))
        idle = succeed(None) if self._last_session is None else self._last_session.when_idle()
        idle.addCallback(lambda _: self.tell_all())


@implementer(IConnector)
class EndpointConnector:
    """Lets a :class:`VeltixClientFactory` try again on an endpoint, as it does on ``connectTCP``.

    (A ReconnectingClientFactory given to ``endpoint.connect`` itself never tries again.)

    Args:
        endpoint: where to connect.
        factory: what to connect.
        name: what the endpoint is called in the log.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, factory: VeltixClientFactory, name: str = "") -> None:
        self._endpoint = endpoint
        self._name = name or str(endpoint)
        self._factory = factory
        self._attempt: Deferred[Any] | None = None

    def __repr__(self) -> str:
        return self._name

    def connect(self) -> None:
        """Try once; how it went is told to the factory."""
        self._factory.startedConnecting(self)
        attempt = self._attempt = maybeDeferred(self._endpoint.connect, self._factory)
        attempt.addCallbacks(self._connected, self._failed)

    def stopConnecting(self) -> None:
        """Give up the try that is under way.

        Raises:
            NotConnectingError: there is none.
        """
        if self._attempt is None or self._factory.connected:
            raise NotConnectingError("no try to connect is under way")
        self._attempt.cancel()

    def disconnect(self) -> None:
        """Stop connecting, or close the connection."""
        self._factory.stop()

    def getDestination(self) -> Any:
        """Return the endpoint."""
        return self._endpoint

    def _connected(self, _: object) -> None:
        self._attempt = None

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        self._factory.clientConnectionFailed(self, reason)
