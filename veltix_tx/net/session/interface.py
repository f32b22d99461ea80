"""Interface that Session and Dispatcher require of the protocol that owns them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from veltix_tx.errors import SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.shared.context import ConnectionContext, SharedState
from veltix_tx.wire.interface import WireConnection

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["MOST_CORKED", "OWN_REQUESTS_FACTOR", "REPLIES_AHEAD", "Flow", "SessionTransport"]


class Flow(Protocol):
    """Flow control of a connection, as its session and the dispatcher see it."""

    queued: int
    shared_bytes: int
    pause_reasons: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """True if :meth:`check_can_send` is to be asked before something is sent."""

    @property
    def paused(self) -> bool:
        """True if nothing is taken from the peer."""

    @property
    def backlogged(self) -> bool:
        """True if so many replies are unread that no request should be handled."""

    def check_can_send(self, size: int) -> None:
        """Raise QueueFull, or another LocalProtocolError, where a message of so many bytes would not be taken."""

    def can_send(self, size: int) -> bool:
        """Return True if it would be."""

    def when_low(self) -> Deferred[None]:
        """Return a new Deferred that fires when there is room to send more, or the connection has ended."""

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for that."""

    def set_producer(self, source: Any) -> None:
        """Pause and resume a producer, which sends to the peer; None for none."""

    def pause(self, reason: str) -> None:
        """Take nothing more from the peer until every reason is gone."""

    def resume(self, reason: str) -> None:
        """Take one reason back."""


class SessionTransport(Protocol):
    """Protocol below a session, as the session and its dispatcher see it."""

    context: ConnectionContext
    corked: bool
    unwritten: int
    last_received: float
    pinged_at: float | None

    @property
    def timers(self) -> Timers:
        """Its timers."""

    @property
    def flow(self) -> Flow:
        """Its flow control."""

    @property
    def clocks(self) -> Clocks:
        """Sources of time."""

    @property
    def limits(self) -> Limits:
        """The settings of its side."""

    @property
    def timeouts(self) -> Timeouts:
        """The settings of its side."""

    @property
    def shared(self) -> SharedState:
        """State that it shares with the other connections."""

    @property
    def connection(self) -> WireConnection:
        """The wire."""

    @property
    def address(self) -> IAddress:
        """The peer's network address."""

    @property
    def certificate(self) -> Certificate | None:
        """Certificate of the peer that TLS has verified."""

    @property
    def connection_id(self) -> str:
        """Id of the connection, for the log."""

    def log_fields(self) -> dict[str, Any]:
        """Return the fields that every line of the log about the connection has: its id and the peer's address."""

    def read_arrived(self) -> Deferred[None]:
        """Return a new Deferred that fires when what has arrived by now has been read, or the connection takes nothing more."""

    def flush(self) -> None:
        """Write what the connection has to send because the peer asked for it."""

    def write_out(self) -> None:
        """Do so even while a read is being handled."""

    def sent(self, size: int) -> None:
        """Write what the connection has to send, of which ``size`` bytes are of this side's own accord."""

    def _may_log(self) -> bool:
        """True if the log may have one more line that the peer causes; see :meth:`LogLimiter.allow`."""

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Send the peer an error reply to a request that is not handled, where its wire has one."""

    def close(self, closed: SessionClosed) -> None:
        """Write what is queued and close politely, within a deadline."""

    def close_after_peer(self) -> None:
        """Close politely, because the peer has ended its stream, and what it sent has been handled."""

    def admitted(self) -> None:
        """Report to the context that others may use the session."""

    def charge_buffers(self) -> None:
        """Charge the receive budget with the bytes of the peer that are kept."""

    def abort_slow_reader(self) -> None:
        """Close at once, because the peer does not read."""

    def validate(self) -> None:
        """Take the application's word that the peer's address is its own."""


MOST_CORKED = 64 * 1024
"""Bytes sent while a read is handled that may wait for its end to be written."""


REPLIES_AHEAD = 64
"""Events of one read over which it is handled in two halves while this side waits for replies.

What the first half has caused is written before the second is handled, so that the peer works on it meanwhile. Written at the end
alone, it has the two sides take turns, each idle while the other works.
"""


OWN_REQUESTS_FACTOR = 16
"""Factor by which more may wait for its turn while this side waits for a reply, which it only gets by reading."""
