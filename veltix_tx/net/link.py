"""What a session needs of the protocol below it."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from veltix_tx.errors import SessionClosed
from veltix_tx.net.flow import Flow
from veltix_tx.net.keepalive import Clocks, Deadlines
from veltix_tx.net.shared import Shared
from veltix_tx.net.side import Side
from veltix_tx.settings import Limits, Timeouts
from veltix_tx.wire.connection import WireConnection

__all__ = ["Link"]


class Link(Protocol):
    """What a session needs of the protocol below it."""

    deadlines: Deadlines
    flow: Flow
    side: Side
    corked: bool
    unwritten: int

    @property
    def clocks(self) -> Clocks:
        """Where time comes from."""

    @property
    def limits(self) -> Limits:
        """The settings of its side."""

    @property
    def timeouts(self) -> Timeouts:
        """The settings of its side."""

    @property
    def shared(self) -> Shared:
        """What it has in common with the other connections."""

    @property
    def connection(self) -> WireConnection:
        """The wire."""

    @property
    def address(self) -> IAddress:
        """The peer's network address."""

    def read_arrived(self) -> Deferred[None]:
        """Return a new Deferred that fires when what has arrived by now has been read, or the connection takes nothing more."""

    def flush(self) -> None:
        """Write what the connection has to send because the peer asked for it."""

    def write_out(self) -> None:
        """Do so even while a read is being handled."""

    def sent(self, size: int) -> None:
        """Write what the connection has to send, of which ``size`` bytes are of this side's own accord."""

    def may_log(self) -> bool:
        """Whether the log may have one more line that the peer causes; see :class:`~veltix_tx.net.remarks.Remarks`."""

    def decline(self, request_id: int, code: str, message: str) -> None:
        """Tell the peer that its request is not handled, where its wire can."""

    def close(self, closed: SessionClosed) -> None:
        """Write what is queued and close politely, within a deadline."""

    def admitted(self) -> None:
        """Tell the side that others may use the session."""

    def account(self) -> None:
        """Tell the budget how much of what the peer sent is kept."""

    def give_up(self) -> None:
        """Close at once, because the peer does not read."""
