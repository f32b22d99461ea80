"""The client's factory, which connects again as its RetryPolicy says, and a connector for endpoints."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from socket import gaierror
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError, NotConnectingError, UserError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IConnector, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, ReconnectingClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from veltix_tx.disconnect import DisconnectReason, DisconnectState
from veltix_tx.errors import AuthenticationFailed, PlaintextCredentials, SessionClosed, VeltixError, VersionRefused
from veltix_tx.net.addresses import is_udp_address
from veltix_tx.net.clock import ROUNDING, Clocks, Timers, resolve_clocks
from veltix_tx.net.connection.datagram import DatagramConnection
from veltix_tx.net.connection.protocol import VeltixProtocol
from veltix_tx.net.session.outgoing import BeforeSend
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.application import Application
from veltix_tx.net.shared.authentication import CredentialsSource
from veltix_tx.net.shared.context import Connection, ConnectionContext, RoomHandlers, ServeCall, SharedState, context_maker
from veltix_tx.net.waiters import Waiters
from veltix_tx.settings import ClientConfig, RetryPolicy
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry

__all__ = ["EndpointConnector", "VeltixClientFactory"]

_log = Logger()

_FINAL = (DisconnectReason.MANUAL, DisconnectReason.COMPLETED)
"""Ends after which nothing is missing that a further try could bring."""


class VeltixClientFactory(ReconnectingClientFactory):
    """A client's factory, for ``reactor.connectTCP`` and its like, or an EndpointConnector.

    It connects again after a failed or lost connection as ``retry`` says. The wait grows until a
    session has lived (a server that accepts and closes is no success, see :class:`RetryPolicy`). A
    refused version and refused credentials end the tries at once, and so does :meth:`stop`.

    Args:
        application: what happens with the messages.
        config: the settings; ``server_addr``, ``port``, ``endpoint`` and ``retry`` are not used here.
        retry: when to try again; without end by default.
        reactor: a reactor, or Clocks for a test; None for the global reactor, when it is first needed.
        types: the message types known; the process-wide registry by default.
        random: for ids.
        on_disconnect: called with each DisconnectState.
        shared: what counts; one of its own by default.
        serve_call: handles the CALL messages of a session, called with both; none by default.
        rooms: handles messages about rooms; none by default.
        credentials: what to present to a server that asks: a Token, a Password, or a function that returns one for each
            connection, itself or by a Deferred or coroutine.

    Attributes:
        session: the session while there is one, from the end of the application's ``connected`` on.
        setting_up: the session whose ``connected`` is not done.

    Raises:
        SettingsError: ``config.wire`` is unknown.
    """

    noisy = False
    jitter = None  # type: ignore[assignment]  # the policy draws the wait
    factor = 1
    maxDelay = inf  # type: ignore[assignment]  # the policy has its own

    def __init__(
        self,
        application: Application[Session],
        config: ClientConfig | None = None,
        *,
        retry: RetryPolicy | None = None,
        reactor: IReactorTime | Clocks | None = None,
        types: MessageRegistry = PROCESS_TYPES,
        random: Random | None = None,
        on_disconnect: Callable[[DisconnectState], object] | None = None,
        shared: SharedState | None = None,
        serve_call: ServeCall | None = None,
        rooms: RoomHandlers | None = None,
        credentials: CredentialsSource | None = None,
        before_send: tuple[BeforeSend, ...] = (),
    ) -> None:
        self.config = config or ClientConfig()
        self._make_context = context_maker(
            application, self.config, reactor=reactor, types=types, random=random, serve_call=serve_call, rooms=rooms
        )
        self._set_policy(RetryPolicy() if retry is None else retry)
        self._on_disconnect = on_disconnect
        self._shared = shared
        self._credentials = credentials
        self._before_send = before_send
        self._connection_context: ConnectionContext | None = None
        self._reason = DisconnectReason.ERROR
        self._failed_attempts = 0
        self._admitted_at: float | None = None  # of the latest connection
        self._last_error: BaseException | None = None
        self._last_session: Session | None = None
        self._lost_id = ""  # of the connection whose end brings the next try
        self._pending_notifications: list[DisconnectState] = []
        self._concluded = False
        self.session: Session | None = None
        self.setting_up: Session | None = None
        self._reactor = reactor
        self._random = random or Random()
        self._protocol: VeltixProtocol | DatagramConnection | None = None
        self._closed: SessionClosed | None = None
        self._given_up: Failure | None = None
        self._stopped: SessionClosed | None = None
        self._at_once = False
        self._when_ready: Waiters[Session] = Waiters()
        self._when_gone: Waiters[None] = Waiters()

    def when_ready(self) -> Deferred[Session]:
        """Return a new Deferred of the session.

        It fires when the handshake is complete and the application's ``connected`` is done, at once
        if they are, and errbacks when no further try will be made: with the handshake's error
        (VersionRefused, HandshakeTimeout, ServerFull, …), the SessionClosed, or Twisted's connection error.
        """
        if self.session is not None and self.session.closed is None:
            return succeed(self.session)
        if self._given_up is not None:
            return fail(self._given_up)
        return self._when_ready.wait()

    @property
    def last_error(self) -> BaseException | None:
        """Error of the latest try that failed, or of the latest connection that was lost; None without one."""
        return self._last_error

    @property
    def context(self) -> ConnectionContext:
        """State that its connections, one after another, share."""
        if self._connection_context is None:
            self._connection_context = self._make_context(
                shared=self._shared,
                credentials=self._credentials,
                before_send=self._before_send,
                on_ready=self._session_ready,
                on_admitted=self._session_admitted,
                on_ended=self._session_ended,
                on_lost=self._session_lost,
            )
        return self._connection_context

    @property
    def connected(self) -> bool:
        """True if there is a connection, ready or not."""
        return self._protocol is not None and self._protocol.transport is not None

    @property
    def finished(self) -> bool:
        """True if no further try will be made (the last connection may still be closing)."""
        return self._given_up is not None

    @property
    def closed(self) -> SessionClosed | None:
        """End of the last connection, which may still be closing; None before and while there is one."""
        return self._closed

    def stop(self) -> Deferred[None]:
        """Try no more and close what is open, politely.

        Returns:
            a Deferred that fires when the connection is gone.
        """
        manual = SessionClosed(DisconnectReason.MANUAL)
        self._stopped = self._stopped or manual
        self._stop_retrying(Failure(manual))
        self.stop_retry()
        if self._protocol is None:
            return succeed(None)
        gone = self.when_gone()
        if self._protocol.session is not None:
            self._protocol.close(manual)
        else:
            self._protocol.abort(manual)
        return gone

    def stop_retry(self) -> None:
        """Try no more; an open connection stays."""
        waiting = self._callID is not None
        self.stopTrying()
        if waiting:
            self._conclude(Failure(self._last_error))
        elif self._protocol is not None and self._closed is not None:
            self._give_up_unless_tries_follow(self._closed)

    def retry_now(self, policy: RetryPolicy) -> None:
        """Try at once instead of waiting, and count the tries from 0, by another policy from now on."""
        self._set_policy(policy)
        waiting = self._callID
        self.resetDelay()
        if waiting is not None:
            waiting.cancel()
            self.connector.connect()  # type: ignore[union-attr]
        elif self._protocol is not None and self._closed is not None and self._stopped is None:
            self._at_once, self._given_up = True, None  # as soon as the connection is gone

    def conclude(self) -> None:
        """Report the end of the tries at once, though the last connection may still be closing."""
        if self._given_up is not None and not self._concluded:
            self._conclude(self._given_up, try_failed=self._failed_attempts > 0)
        self.flush_notifications()

    def when_gone(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is no connection, at once if there is none."""
        return succeed(None) if self._protocol is None else self._when_gone.wait()

    def flush_notifications(self) -> None:
        """Report the states at once that wait for the last session's messages to be handled."""
        while self._pending_notifications:
            state = self._pending_notifications.pop(0)
            try:
                if self._on_disconnect is not None:
                    self._on_disconnect(state)
            except Exception:  # the handshake or the loss that this is told in goes on
                if self.context.shared.log_limiter.allow(str(self.connector)):
                    _log.failure("telling {state} failed", state=state)

    def startedConnecting(self, connector: IConnector) -> None:
        """A try begins."""
        if self._given_up is not None:
            self.resetDelay()  # used again after a stop
        self.connector = connector  # so that stopTrying stops the first try, too
        self._given_up = self._stopped = None
        self._concluded = self._at_once = False
        self._lost_id = ""

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | DatagramConnection | None:  # type: ignore[override]
        """Return what takes the bytes, or the datagrams, of a new connection; None for one that comes after a stop."""
        if self._given_up is not None and not self.continueTrying:
            return None
        self._closed = self._admitted_at = None
        if is_udp_address(addr):
            self._protocol = DatagramConnection(self.context)
            return self._protocol
        self._protocol = protocol = VeltixProtocol(self.context)
        protocol.factory = self
        return protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """The transport could not connect."""
        if self._protocol is not None and self._protocol.transport is None:
            self._protocol = None  # it was made, and never connected
        self._try_again(connector, reason.value, DisconnectReason.ERROR)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        """The transport is gone; why was told by the protocol."""
        closed = self._closed
        if closed is None:
            self._try_again(connector, reason.value, DisconnectReason.ERROR)
            return
        self._try_again(connector, _error_of(closed), closed.reason, lost=self._admitted_at is not None)

    def _set_policy(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self.maxRetries = policy.max_retries  # type: ignore[assignment]

    def _session_ready(self, connection: Connection) -> None:
        session = self._session_of(connection)
        self.flush_notifications()
        self.setting_up = self._last_session = session

    def _session_admitted(self, connection: Connection) -> None:
        session = self._session_of(connection)
        self.session, self.setting_up = session, None
        self._admitted_at = self.context.clocks.uptime()
        self._when_ready.fire(session)

    def _session_of(self, connection: Connection) -> Session:
        protocol = self._protocol
        assert protocol is connection
        assert protocol is not None
        assert protocol.session is not None
        return protocol.session

    def _lived(self) -> bool:
        """Return True if the connection counts as a success, after which the tries are counted anew."""
        if self._admitted_at is None or self._protocol is None:
            return False
        return (
            not self._protocol.on_trial or self.context.clocks.uptime() - self._admitted_at >= self.policy.stable_after - ROUNDING
        )

    def _session_ended(self, connection: Connection, closed: SessionClosed) -> None:
        """Move on before anybody is told: who hears of the end may connect again at once."""
        if connection is not self._protocol or self._closed is not None:
            return
        if self._lived():
            self.retries = 0
        self.session = self.setting_up = None
        self._closed = closed
        refused = isinstance(closed.cause, AuthenticationFailed) and not self.policy.after_refusal
        if refused or isinstance(closed.cause, (VersionRefused, PlaintextCredentials)) or closed.reason in _FINAL:
            self.continueTrying = 0
        self._give_up_unless_tries_follow(closed)

    def _give_up_unless_tries_follow(self, closed: SessionClosed) -> None:
        """Be finished at once where no try follows the connection that is closing."""
        most = self.policy.max_retries
        if not self.continueTrying or (most is not None and self.retries >= most):
            self._note(_error_of(closed), closed.reason, lost=self._admitted_at is not None)
            self._given_up = self._given_up or Failure(self._last_error)

    def _session_lost(self, connection: Connection, closed: SessionClosed) -> None:
        if connection is not self._protocol:
            return
        self._protocol, self._lost_id = None, connection.connection_id
        if isinstance(self.connector, EndpointConnector):
            self.clientConnectionLost(self.connector, Failure(closed))
        self._when_gone.fire(None)  # last: who waited may connect again, with another factory

    def _try_again(
        self, connector: IConnector, error: BaseException | None, reason: DisconnectReason, *, lost: bool = False
    ) -> None:
        """Wait for the next try, or end the tries.

        Args:
            connector: makes the next try.
            error: what happened.
            reason: the same in a word.
            lost: True if there was a session.
        """
        if self.clock is None:
            self.clock = resolve_clocks(self._reactor).reactor  # type: ignore[assignment]
        self._note(error, reason, lost=lost)
        if self._at_once:
            self._at_once = False
            self._notify(False)
            connector.connect()
            return
        self.delay = self.policy.delay(self.retries + 1, self._random.random)
        super().clientConnectionFailed(connector, Failure(error))
        over = self._callID is None
        if not over:
            if self.context.shared.log_limiter.allow(str(connector)):
                fields = {"connector": connector, "delay": self.delay, "reason": error, "connection": self._lost_id}
                _log.info("trying {connector} again in {delay:.2f} s: " + self._reason_format, **fields)
            self._notify(False)
            return
        if self.continueTrying and self.policy.max_retries:
            fields = {"connector": connector, "reason": error, "connection": self._lost_id}
            _log.warn("giving up {connector}: " + self._reason_format, **fields)
        self._conclude(Failure(error), try_failed=self._failed_attempts > 0)

    @property
    def _reason_format(self) -> str:
        """Part of a line of the log: why another try is needed, and which connection has ended where there was one."""
        return "{reason} ({connection})" if self._lost_id else "{reason}"

    def _note(self, error: BaseException | None, reason: DisconnectReason, *, lost: bool) -> None:
        self._last_error, self._failed_attempts = error, self.retries
        if self._failed_attempts == 0 or lost:
            self._reason = reason

    def _conclude(self, reason: Failure, *, try_failed: bool = False) -> None:
        """Record that no further try will be made and no connection is left."""
        waiting, self._when_ready = self._when_ready, Waiters()
        self._given_up = self._given_up or reason
        if self._stopped is not None:
            self._last_error, self._reason, try_failed = self._stopped, self._stopped.reason, False
        if not self._concluded:
            self._concluded = True
            self._notify(*[False] * try_failed, True)
        waiting.fire(reason)

    def _stop_retrying(self, reason: Failure) -> None:
        self._given_up = self._given_up or reason
        self._when_ready.fire(reason)

    def _notify(self, *permanent: bool) -> None:
        """Report states once the application has handled all messages of the last session, or there is a new one."""
        for each in permanent:
            self._pending_notifications.append(
                DisconnectState(each, self._failed_attempts, self.policy.max_retries, self._reason, self._last_error)
            )
        idle = succeed(None) if self._last_session is None else self._last_session.when_idle()
        idle.addCallback(lambda _: self.flush_notifications())


def _error_of(closed: SessionClosed) -> BaseException:
    """Return what who waits for a session is told of the end of a connection."""
    cause = closed.cause
    told = isinstance(cause, VeltixError) or closed.reason is DisconnectReason.REJECTED
    return cause if told and cause is not None else closed


@implementer(IConnector)
class EndpointConnector:
    """Lets a :class:`VeltixClientFactory` try again on an endpoint, as it does on ``connectTCP``.

    (A ReconnectingClientFactory given to ``endpoint.connect`` itself never tries again.) A try has
    ``connect_timeout`` seconds of the factory's config, whatever the endpoint is busy with.

    Args:
        endpoint: where to connect.
        factory: what to connect.
        name: what the endpoint is called in the log.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, factory: VeltixClientFactory, name: str = "") -> None:
        self._endpoint = endpoint
        self._name = name or str(endpoint)
        self._factory = factory
        self._attempt: _Attempt | None = None

    def __repr__(self) -> str:
        return self._name

    def connect(self) -> None:
        """Try once; how it went is told to the factory."""
        self._factory.startedConnecting(self)
        self._attempt = _Attempt(self, self._factory)
        self._attempt.begin(self._endpoint)

    def stopConnecting(self) -> None:
        """Give up the try that is under way.

        Raises:
            NotConnectingError: there is none.
        """
        if self._attempt is None or self._attempt.over or self._factory.connected:
            raise NotConnectingError("no try to connect is under way")
        self._attempt.give_up(UserError(string="the try was given up"))

    def disconnect(self) -> None:
        """Stop connecting, or close the connection."""
        self._factory.stop()

    def getDestination(self) -> Any:
        """Return the endpoint."""
        return self._endpoint


class _Attempt(Factory):
    """One try of a connector: the factory that its endpoint gets. What comes of it after it is over is ignored.

    Args:
        connector: whose try.
        factory: makes the protocol, and is told where there is none.

    Attributes:
        over: True once it has succeeded, failed or been given up.
    """

    noisy = False

    def __init__(self, connector: EndpointConnector, factory: VeltixClientFactory) -> None:
        self.over = False
        self._connector = connector
        self._factory = factory
        self._protocol: VeltixProtocol | DatagramConnection | None = None
        self._instead: BaseException | None = None
        self._deadlines = Timers(factory.context.clocks.reactor, factory.context.clocks.uptime)
        self._connecting: Deferred[Any] = Deferred()

    def begin(self, endpoint: IStreamClientEndpoint) -> None:
        """Connect, within the time for it."""
        self._deadlines.set("connect", self._factory.config.connect_timeout, self._late)
        self._connecting = maybeDeferred(endpoint.connect, self)
        self._connecting.addCallbacks(self._connected, self._failed)

    def give_up(self, error: BaseException) -> None:
        """End it, and tell the factory of an error, whatever the endpoint makes of being cancelled."""
        self._instead = error
        self._connecting.cancel()
        if not self.over:
            self._failed(Failure(error))

    def buildProtocol(self, addr: IAddress | None) -> VeltixProtocol | DatagramConnection | None:  # type: ignore[override]
        """Return the factory's protocol, once, unless it is too late."""
        if self.over or self._protocol is not None:
            return None
        self._protocol = self._factory.buildProtocol(addr)
        return self._protocol

    @property
    def _has_connection(self) -> bool:
        return self._protocol is not None and self._protocol.transport is not None

    def _late(self) -> None:
        if not self._has_connection:  # else the handshake has a time of its own
            seconds = self._factory.config.connect_timeout
            self.give_up(ConnectTimeout(string=f"no connection within {seconds:g} s (connect_timeout)"))

    def _connected(self, _: object) -> None:
        self._deadlines.clear_all()
        self.over = True

    def _failed(self, reason: Failure) -> None:
        if self.over:
            return
        self._deadlines.clear_all()
        self.over = True
        if self._has_connection:
            return  # which tells of its end itself
        if self._instead is not None:
            reason = Failure(self._instead)
        elif isinstance(reason.value, gaierror):  # of an address with a zone that is none, in an endpoint of Twisted's
            said = f"{self._connector} is no address that can be connected to ({reason.value.strerror})"
            reason = Failure(ConnectError(string=said))
        self._factory.clientConnectionFailed(self._connector, reason)
