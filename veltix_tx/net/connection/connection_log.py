"""A line of the log for each connection's begin, and one for its end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from veltix_tx.errors import SessionClosed, excerpt
from veltix_tx.net.addresses import shown
from veltix_tx.wire.counting import CountingConnection

__all__ = ["ConnectionLog"]

_log = Logger()


class ConnectionLog:
    """Logs one connection: its begin when this is made, its end in :meth:`end`.

    These lines are not subject to ``limits.log_lines``: who wants them wants them all.

    Args:
        fields: id and peer's address, the fields that every line about the connection has.
        where: where it was accepted.
        connection: counts.
        uptime: a clock that never jumps, in seconds.
    """

    def __init__(
        self, fields: dict[str, str], where: IAddress, connection: CountingConnection, uptime: Callable[[], float]
    ) -> None:
        self._fields = fields
        self._connection = connection
        self._uptime = uptime
        self._began = uptime()
        _log.info("connection {connection} from {peer} on {where}", **fields, where=shown(where))

    def end(self, closed: SessionClosed, identity: object) -> None:
        """Log the end, why it came, whose connection it was where that is known, and what went through."""
        counted = self._connection
        version = counted.peer.version or counted.peer.wire if counted.peer is not None else "no handshake"
        if identity is not None:
            version += f", identity {excerpt(identity)}"
        text = (
            "connection {connection} from {peer} ended after {seconds:.3f} s: {reason} ({closed}); {version}; "
            "received {messages_in} messages, {bytes_in} bytes; sent {messages_out} messages, {bytes_out} bytes"
        )
        _log.info(
            text,
            **self._fields,
            seconds=self._uptime() - self._began,
            reason=closed.reason.name,
            closed=closed,
            version=version,
            messages_in=counted.messages_in,
            bytes_in=counted.bytes_in,
            messages_out=counted.messages_out,
            bytes_out=counted.bytes_out,
        )
