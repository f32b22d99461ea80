"""One peer of a plain wire whose messages come in datagrams, sans-io: each holds whole messages, and nothing is kept of it."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import NoReturn

from veltix_tx.errors import LocalProtocolError
from veltix_tx.wire.events import Event
from veltix_tx.wire.interface import Role
from veltix_tx.wire.pending import NONE_GIVEN_UP, GivenUpIds
from veltix_tx.wire.plain.connection import Format, PlainConnection
from veltix_tx.wire.plain.framing import MAX_MESSAGES, Framing

__all__ = ["PlainDatagrams"]


class PlainDatagrams(PlainConnection):
    """One peer of a plain wire in datagrams, in either role.

    Args:
        role: the local side's.
        wire: what it shares with the others.
        framing: its own.
    """

    __slots__ = ()

    half_closes = False
    in_order_replies = False

    def __init__(self, role: Role, wire: Format, framing: Framing) -> None:
        super().__init__(role, wire, framing, most_garbage=sys.maxsize, encrypted=False)

    @property
    def encoding_key(self) -> object:
        """The wire in datagrams, which may have another limit than in a stream."""
        return ("datagrams", self._wire.key)

    def receive_data(self, data: bytes, received_at: int) -> list[Event]:
        """Return the messages of a datagram; raises LocalProtocolError before the beginning."""
        if not self._begun:
            raise LocalProtocolError("the connection has not begun: call start() first")
        if self._deaf:
            return []
        contents: list[bytes | None] = []
        self._framing.cut(data, contents)
        return self._events(contents if len(contents) <= MAX_MESSAGES else [None], received_at)

    def receive_eof(self, received_at: int) -> list[Event]:
        """Do nothing: there is no stream."""
        return []

    def allocate_id(self, taken: Collection[int], wanted: int | None = None, given_up: GivenUpIds = NONE_GIVEN_UP) -> NoReturn:
        """Raise LocalProtocolError: there are no request ids."""
        raise LocalProtocolError(f"the wire {self._wire.name} has no replies in datagrams: use send()")

    def send_ping(self, request_id: int | None) -> NoReturn:
        """Raise LocalProtocolError: there are no pings."""
        raise LocalProtocolError(f"the wire {self._wire.name} has no pings: timeouts.datagram_idle ends silent peers in datagrams")
