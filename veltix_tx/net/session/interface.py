"""Interface that Session and Dispatcher require of the protocol that owns them."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from veltix_tx.errors import SessionClosed
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks, Timers
from veltix_tx.net.shared.context import ConnectionContext, SharedState
from veltix_tx.net.transport.flow_control import FlowControl
from veltix_tx.wire.interface import WireConnection

__all__ = ["MOST_CORKED", "OWN_REQUESTS_FACTOR", "SessionTransport"]


class SessionTransport(Protocol):
    """Protocol below a session, as the session and its dispatcher see it."""

    timers: Timers
    flow: FlowControl
    context: ConnectionContext
    corked: bool
    unwritten: int

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


MOST_CORKED = 64 * 1024
"""Bytes sent while a read is handled that may wait for its end to be written."""


OWN_REQUESTS_FACTOR = 16
"""Factor by which more may wait for its turn while this side waits for a reply, which it only gets by reading."""
