"""What a connection tells the floor above, besides the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass

from veltix_tx.errors import RemoteProtocolError
from veltix_tx.wire.frames import Refused
from veltix_tx.wire.messages import Response
from veltix_tx.wire.peer import Peer

__all__ = ["Declined", "Event", "Failed", "Pong", "Ready"]


@dataclass(frozen=True, slots=True)
class Ready:
    """The handshake is complete.

    Attributes:
        peer: the other side.
    """

    peer: Peer


@dataclass(frozen=True, slots=True)
class Pong:
    """The peer answered a ping.

    Attributes:
        request_id: the ping's; None for a ping that was sent without one.
    """

    request_id: int | None


@dataclass(frozen=True, slots=True)
class Declined:
    """The peer says that a request failed.

    Attributes:
        request_id: the request's.
        detail: the content of the peer's message.
        code: what happened, for programs; empty where the peer did not say (ERROR).
        message: what happened, for people; likewise.
    """

    request_id: int
    detail: bytes
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer broke a rule: the connection must be closed, nothing more is read.

    Attributes:
        error: the rule.
    """

    error: RemoteProtocolError


Event = Ready | Response | Pong | Declined | Refused | Failed
