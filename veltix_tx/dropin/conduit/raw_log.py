"""Raw data in the log: the bytes of every connection, when ``logging.getLogger("conduit.raw")`` is to have DEBUG."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import Role, WireConnection, WireContext
from veltix_tx.wire.netconduit.frames import HEADER_SIZE
from veltix_tx.wire.netconduit.wire import Netconduit

__all__ = ["LoggedNetconduit"]

_log = logging.getLogger("conduit.raw")

_MOST = 512
"""Bytes of one read or write that are shown."""


@dataclass(frozen=True, slots=True)
class LoggedNetconduit(Netconduit):
    """Netconduit's wire, whose connections log their bytes where that is switched on when they begin."""

    def connect(self, role: Role, context: WireContext, *, round_trip: float, encrypted: bool) -> WireConnection:
        """Return a connection in this role."""
        connection = Netconduit.connect(self, role, context, round_trip=round_trip, encrypted=encrypted)
        if not _log.isEnabledFor(logging.DEBUG):
            return connection
        return cast(WireConnection, _LoggedConnection(connection, role.name.lower()))


class _LoggedConnection:
    """Proxy of a WireConnection that logs the bytes that go through it.

    Of the authentication's frames it shows the headers: the password's hash is all that one needs to log in.
    """

    def __init__(self, connection: WireConnection, role: str) -> None:
        self._connection = connection
        self._role = role

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Log what came, and receive it."""
        self._show("received", data)
        return self._connection.receive_data(data, received_at)

    def data_to_send(self) -> list[bytes]:
        """Log what is written."""
        out = self._connection.data_to_send()
        if out:
            self._show("sent", b"".join(out))
        return out

    def _show(self, what: str, data: bytes) -> None:
        most = HEADER_SIZE if self._connection.peer is None else _MOST
        rest = f" and {len(data) - most} bytes more" if len(data) > most else ""
        _log.debug("%s %s %d bytes: %s%s", self._role, what, len(data), data[:most].hex(" ", -4), rest)
