"""Evidence of who a peer is, for a server's hook to judge by; sources whose credentials were refused too often."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from veltix_tx.errors import CredentialsUnavailable, SettingsError, excerpt
from veltix_tx.net.addresses import host_of, is_loopback
from veltix_tx.net.rate import TokenBucket
from veltix_tx.wire.credentials import Password, Token

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "FIRST_WAIT",
    "LONGEST_WAIT",
    "REMEMBERED",
    "Authenticate",
    "Credentials",
    "CredentialsSource",
    "SourceBackoff",
    "check_source",
    "checked",
    "expiry_of",
    "unavailable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Evidence of who a peer is: what its handshake presented, and what its connection shows.

    The ``repr`` shows no secret.

    Attributes:
        address: the peer's network address.
        encrypted: True if TLS is below the connection.
        certificate: the client's certificate, a ``cryptography.x509.Certificate`` that TLS has verified; None where the server
            asks for none (``tls_client_ca``), or there is no TLS.
        wire: name of the wire's format, such as ``"W15"``.
        version: version the peer announced, ``""`` where it announces none.
        token: the token it presented, None for none.
        name: the name it presented with a password, None for none.
        password: that password.
        presented: what a wire of another kind carried, as it did; None on Veltix's.
    """

    address: IAddress
    encrypted: bool
    certificate: Certificate | None
    wire: str
    version: str
    token: str | None = field(default=None, repr=False)
    name: str | None = None
    password: str | None = field(default=None, repr=False)
    presented: object = field(default=None, repr=False)

    @property
    def ip(self) -> str:
        """The peer's address as text, ``""`` for a transport that has none (a UNIX socket)."""
        return host_of(self.address)


Authenticate = Callable[[Credentials], object]
"""Credentials -> an identity, None to refuse the peer, or a Deferred or coroutine of one."""

CredentialsSource = Token | Password | Callable[[], Token | Password | Awaitable[Token | Password]]
"""Credentials of a client, or a function that returns them anew for each connection."""


def check_source(credentials: object) -> None:
    """Raise SettingsError for what is no :data:`CredentialsSource`, nor None. It does not show what that is."""
    if not (credentials is None or isinstance(credentials, (Token, Password)) or callable(credentials)):
        rule = "a Token, a Password, or a function that returns one"
        raise SettingsError("credentials", f"of the type {type(credentials).__name__}", rule)


def checked(credentials: object) -> Token | Password:
    """Return what a function of the user's gave as credentials.

    Raises:
        CredentialsUnavailable: they are none.
    """
    if not isinstance(credentials, (Token, Password)):
        raise CredentialsUnavailable(f"a {type(credentials).__name__} was given, not a Token or a Password")
    return credentials


def unavailable(failure: Failure) -> NoReturn:
    """Raise what a failure of that function means."""
    raise CredentialsUnavailable(f"{type(failure.value).__name__} was raised") from failure.value


@runtime_checkable
class _Expiring(Protocol):
    """An identity that is one for a time only."""

    @property
    def expires_at(self) -> float | None: ...


def expiry_of(identity: object) -> float:
    """Return when an identity ends, in seconds since 1970; ``math.inf`` for never.

    Raises:
        SettingsError: its ``expires_at`` is neither a number nor None.
    """
    expires_at = identity.expires_at if isinstance(identity, _Expiring) else None
    if expires_at is None:
        return math.inf
    if isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)) or math.isnan(expires_at):
        raise SettingsError("expires_at", excerpt(expires_at), "a number of seconds since 1970, or None for no end")
    return float(expires_at)


FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds for which a source is refused unasked, the first time, and at most: it doubles each time."""

REMEMBERED = 16_384
"""Sources whose refusals are remembered; who has not been refused for longest is forgotten."""


@dataclass(slots=True)
class _Refusals:
    """Record of one source.

    Attributes:
        bucket: how many more refusals it is forgiven.
        until: when it may ask again, in seconds of uptime.
        wait: seconds that it waits the next time.
    """

    bucket: TokenBucket
    until: float
    wait: float = FIRST_WAIT


class SourceBackoff:
    """Back-off of sources whose credentials are refused too often: for a time they are refused unasked.

    It is a source's connections that are refused so, not its sessions. This machine's own addresses, which may stand for everybody
    behind a proxy, are never held off.

    Args:
        uptime: a clock that never jumps, in seconds.
        failures: refusals of one source in a minute that are forgiven.

    Attributes:
        failures: as given; may be changed, for sources that are refused for the first time from then on.
    """

    __slots__ = ("_sources", "_uptime", "failures")

    def __init__(self, uptime: Callable[[], float], failures: int) -> None:
        self._uptime = uptime
        self.failures = failures
        self._sources: OrderedDict[str, _Refusals] = OrderedDict()

    def remaining(self, source: str) -> float:
        """Return the seconds for which a source is still refused unasked, 0 for one that is not.

        Args:
            source: as :func:`veltix_tx.net.addresses.source_of` gives it.
        """
        refusals = self._sources.get(source)
        return 0.0 if refusals is None else max(0.0, refusals.until - self._uptime())

    def count(self, source: str) -> None:
        """Count a refusal."""
        if not source or is_loopback(source):
            return
        now = self._uptime()
        refusals = self._sources.get(source)
        if refusals is None or now - refusals.until > LONGEST_WAIT:
            refusals = self._sources[source] = _Refusals(TokenBucket(self._uptime, self.failures / 60, self.failures), now)
        self._sources.move_to_end(source)
        if not refusals.bucket.take(1):
            refusals.until = now + refusals.wait
            refusals.wait = min(2 * refusals.wait, LONGEST_WAIT)
        if len(self._sources) > REMEMBERED:
            self._sources.popitem(last=False)
