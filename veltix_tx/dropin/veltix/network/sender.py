"""The sender: what upstream's programs send with."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from twisted.logger import Logger

from veltix_tx.dropin.veltix.exceptions import SenderError
from veltix_tx.dropin.veltix.network.connection import Connection, broadcast
from veltix_tx.dropin.veltix.network.request import Request
from veltix_tx.dropin.veltix.reactor import reactor_thread
from veltix_tx.errors import excerpt

__all__ = ["Mode", "Sender"]

_log = Logger()


class Mode(Enum):
    """Role of a sender's owner."""

    SERVER = "server"
    CLIENT = "client"


class Sender:
    """Sends messages, from any thread.

    A client's stays good when the client connects again.

    Args:
        mode: a server's or a client's.
        conn: a client's connection.

    Raises:
        SenderError: a client's without a connection.
    """

    def __init__(self, mode: Mode, conn: Connection | None = None) -> None:
        self.mode = mode
        self.conn = conn
        self.is_client = mode is Mode.CLIENT
        if self.is_client and conn is None:
            raise SenderError("CLIENT mode requires a socket connection")

    def send(self, data: Request, client: Connection | None = None) -> bool:
        """Send a message: a server's to a client's ``conn``.

        Returns:
            True when it was handed to an open connection; False, and a line in the log that says
            why, when it was not: not connected, too large, no bytes.
        """
        target = self.conn if self.is_client else getattr(client, "conn", client)
        if isinstance(target, Connection) and isinstance(data, Request):
            return target.transmit(data)
        if not _may_log([target]):
            return False
        if target is None:
            _log.error("No client socket provided")
        else:
            _log.error(
                "Unexpected send error: no request to a connection: {data} to {target}",
                data=type(data).__name__,
                target=excerpt(target),
            )
        return False

    def broadcast(
        self, data: Request, list_of_client: Iterable[Connection], except_clients: Iterable[Connection] | None = None
    ) -> bool:
        """Send a message to many clients, a server's only.

        Returns:
            True when it was handed to an open connection or there was nobody to send it to; False,
            and a line in the log, when it could not be sent, or not to an entry that is no connection.
        """
        if self.is_client:
            if _may_log([self.conn]):
                _log.error("Broadcast not available in CLIENT mode")
            return False
        wanted, left_out = list(list_of_client or ()), set(_connections(except_clients or ()))
        connections = _connections(wanted)
        good = isinstance(data, Request) and len(connections) == len(wanted)
        if not good and _may_log(connections):
            _log.error(
                "Unexpected send error: no request to connections: {data} to {wanted}",
                data=type(data).__name__,
                wanted=excerpt(wanted),
            )
        return isinstance(data, Request) and broadcast([each for each in connections if each not in left_out], data) and good


def _may_log(given: Iterable[object]) -> bool:
    """Return whether the log may have one more line about the first connection among these, or about none."""
    known = [each for each in given if isinstance(each, Connection)]
    return known[0].may_log() if known else reactor_thread().may_log()


def _connections(given: Iterable[object]) -> list[Connection]:
    """Return connections, given as such or as ClientInfos."""
    return [each for each in (getattr(entry, "conn", entry) for entry in given) if isinstance(each, Connection)]
