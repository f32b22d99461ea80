"""Authentication on one connection: a server's hook is asked who its peer is, a client's credentials are presented."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import AuthenticationFailed, SessionClosed
from veltix_tx.net.addresses import source_of
from veltix_tx.net.clock import ROUNDING, Clocks, Timers
from veltix_tx.net.connection.policing import PeerPolicing
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.authentication import Credentials, expiry_of
from veltix_tx.net.shared.context import ConnectionContext, SharedState
from veltix_tx.sanitize import SanitizedFailure
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import AuthenticationRequested, Event, HandshakeCompleted
from veltix_tx.wire.interface import WireConnection

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["LOOK", "CredentialsPresenter", "PeerAuthentication"]

_log = Logger()

LOOK = 60.0
"""Seconds between two looks at whether an identity has expired: a calendar may be set, and goes on while a machine sleeps."""


class _Link(Protocol):
    """A connection as its authentication sees it."""

    transport: Any
    context: ConnectionContext
    connection: WireConnection
    session: Session | None
    timers: Timers

    @property
    def clocks(self) -> Clocks: ...

    @property
    def shared(self) -> SharedState: ...

    @property
    def address(self) -> IAddress: ...

    @property
    def certificate(self) -> Certificate | None: ...

    @property
    def is_closing(self) -> bool: ...

    def log_fields(self) -> dict[str, Any]: ...

    def continue_handshake(self, events: list[Event]) -> None: ...

    def flush(self) -> None: ...

    def close(self, closed: SessionClosed) -> None: ...

    def _may_log(self) -> bool: ...


class PeerAuthentication:
    """Asks a server's hook who the peer of one connection is; fails closed.

    Until the verdict nothing is read from the peer, and nothing is handled or sent. The handshake's deadline holds for the verdict,
    too. New credentials of a peer that was let in have as much time, and its messages go on meanwhile. The hook's Deferred or
    coroutine is cancelled when its time is over, and when the connection ends.

    Args:
        link: the connection.
        policing: its policing, which counts new credentials that are refused.

    Attributes:
        identity: what the hook returned, once the peer is let in.
        let_in: True from then on.
        held: events of a wire whose handshake does not ask, until the verdict; None where none are held.
    """

    __slots__ = ("_expires_at", "_link", "_paused", "_policing", "_verdict", "held", "identity", "let_in")

    def __init__(self, link: _Link, policing: PeerPolicing) -> None:
        self.identity: object = None
        self.let_in = False
        self.held: list[Event] | None = None
        self._link = link
        self._policing = policing
        self._verdict: Deferred[Any] | None = None
        self._paused = False
        self._expires_at = math.inf

    def hold(self, event: HandshakeCompleted) -> None:
        """Ask for the verdict on a peer whose handshake could not ask, and hold what it sends until then."""
        self.held = [event]
        self.judge(AuthenticationRequested(None, event.peer))

    def judge(self, event: AuthenticationRequested) -> None:
        """Ask for the verdict, of a source that has not been refused too often, and act upon it."""
        link = self._link
        wait = link.shared.backoff.remaining(source_of(link.address))
        if wait:
            link.shared.counters["authentications_held_off"] += 1
            self._refuse(f"too many from its source were, and it is not asked for {wait:.0f} s")
            return
        secrets: tuple[str, ...] = ()
        try:
            credentials = self._evidence(event)
            secrets = tuple(secret for secret in (credentials.token, credentials.password) if secret)
            verdict = self._verdict = link.context.authenticate(credentials)
        except Exception:  # of a certificate that nobody has seen the like of
            self._fail(Failure(), secrets)
            return
        arguments = (verdict, secrets)
        verdict.addCallbacks(self._judged, self._failed, callbackArgs=arguments, errbackArgs=arguments)
        if not self.is_pending:
            return
        if link.session is None:
            self._paused = True
            link.transport.pauseProducing()
        else:
            link.timers.set("verdict", link.context.config.handshake_timeout, self._late)

    @property
    def is_pending(self) -> bool:
        """True while the hook has not answered."""
        return self._verdict is not None

    def end(self) -> None:
        """Wait for no verdict: the connection is closed."""
        verdict = self._settle()
        if verdict is not None:
            verdict.cancel()

    def _evidence(self, event: AuthenticationRequested) -> Credentials:
        link, presented, peer = self._link, event.credentials, event.peer
        token = presented.token if isinstance(presented, Token) else None
        password = presented if isinstance(presented, Password) else None
        return Credentials(
            address=link.address,
            encrypted=ISSLTransport.providedBy(link.transport),
            certificate=link.certificate,
            wire=link.context.wire.name if peer is None else peer.wire,
            version="" if peer is None else peer.version,
            token=token,
            name=None if password is None else password.name,
            password=None if password is None else password.password,
            presented=presented if token is None and password is None else None,
        )

    def _settle(self) -> Deferred[Any] | None:
        verdict, self._verdict = self._verdict, None
        self._link.timers.clear("verdict")
        if self._paused:
            self._paused = False
            self._link.transport.resumeProducing()
        return verdict

    def _late(self) -> None:
        verdict = self._settle()
        if verdict is not None:
            verdict.cancel()
            self._count(f"authenticate was not done after {self._link.context.config.handshake_timeout:g} s")

    def _judged(self, identity: object, verdict: Deferred[Any], secrets: tuple[str, ...]) -> None:
        if verdict is not self._verdict:
            return  # it was given up
        self._settle()
        try:
            lets_in, expires_at = bool(identity), expiry_of(identity)
        except BaseException:  # of the user's object
            self._fail(Failure(), secrets)
            return
        if not lets_in:
            self._count("authenticate returned none")
        elif expires_at <= self._link.clocks.calendar():
            self._count("it has expired already")
        else:
            self._admit(identity, expires_at)

    def _admit(self, identity: object, expires_at: float) -> None:
        link, events = self._link, self.held
        self.let_in, self.identity, self.held = True, identity, None
        self._expires_at = expires_at
        self._watch_expiry()
        if link.is_closing:
            return  # it has expired since it was looked at
        if link.session is not None:
            link.session.identity = identity
            link.connection.accept()
            link.flush()
        else:
            link.continue_handshake(link.connection.accept() if events is None else events)

    def _failed(self, failure: Failure, verdict: Deferred[Any], secrets: tuple[str, ...]) -> None:
        if verdict is self._verdict:
            self._settle()
            self._fail(failure, secrets)

    def _fail(self, failure: Failure, secrets: tuple[str, ...]) -> None:
        link = self._link
        if link._may_log():
            text = "authenticate failed for {peer} ({connection}), which is refused"
            _log.failure(text, SanitizedFailure(failure, secrets), **link.log_fields())
        self._count()

    def _count(self, why: str = "") -> None:
        """Refuse, and count it against the peer's source."""
        self._link.shared.backoff.count(source_of(self._link.address))
        self._refuse(why)

    def _refuse(self, why: str = "") -> None:
        """Refuse the peer, or the new credentials of one that was let in, for a reason that is logged and not told."""
        link = self._link
        link.shared.counters["authentications_failed"] += 1
        if why and link._may_log():
            _log.warn("refusing the identity of {peer} ({connection}): {why}", **link.log_fields(), why=why)
        if link.session is not None:
            link.connection.reject()
            link.flush()
            self._policing.count_violation()
            return
        if self.held is None:
            link.connection.reject()
        else:
            link.connection.data_to_send()  # answers to what came behind its handshake: nothing is sent
        link.close(SessionClosed(DisconnectReason.AUTHENTICATION_FAILED, AuthenticationFailed("the peer's identity was refused")))

    def _watch_expiry(self) -> None:
        left = self._expires_at - self._link.clocks.calendar()
        if left == math.inf:
            self._link.timers.clear("identity")
        elif left > ROUNDING:
            self._link.timers.set("identity", min(left, LOOK), self._watch_expiry)
        else:
            link = self._link
            if link._may_log():
                _log.info("closing {peer} ({connection}): its identity has expired", **link.log_fields())
            if link.session is not None:
                link.session._dispatcher.discard_queued()  # what waits for its turn came from who is nobody now
            link.close(SessionClosed(DisconnectReason.IDENTITY_EXPIRED))


class CredentialsPresenter:
    """Presents a client's credentials on one connection, when the server has asked.

    Args:
        link: the connection.
    """

    __slots__ = ("_link", "_obtaining")

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._obtaining: Deferred[None] | None = None

    @property
    def is_pending(self) -> bool:
        """True while the credentials have not come."""
        return self._obtaining is not None and not self._obtaining.called

    def present(self) -> None:
        """Obtain the credentials, and present them."""
        self._obtaining = self._link.context.obtain_credentials().addCallbacks(self._obtained, self._failed)

    def end(self) -> None:
        """Wait for no credentials: the connection is closed."""
        if self._obtaining is not None:
            self._obtaining.cancel()

    def _obtained(self, credentials: Token | Password | None) -> None:
        if not self._link.is_closing:
            self._link.continue_handshake(self._link.connection.present(credentials))

    def _failed(self, failure: Failure) -> None:
        if not self._link.is_closing:
            self._link.close(SessionClosed(DisconnectReason.AUTHENTICATION_FAILED, failure.value))
