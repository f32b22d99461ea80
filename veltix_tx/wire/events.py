"""Events of a connection, besides the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from veltix_tx.errors import RemoteProtocolError
from veltix_tx.wire.messages import Response
from veltix_tx.wire.peer import Peer

__all__ = [
    "AuthenticationRequested",
    "CallCancelled",
    "ConnectionFailed",
    "CredentialsAccepted",
    "CredentialsRequested",
    "Event",
    "FrameRejected",
    "HandshakeCompleted",
    "PingsAnswered",
    "Pong",
    "RejectReason",
    "RequestFailed",
]


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The handshake is complete.

    Attributes:
        peer: the other side.
    """

    peer: Peer


@dataclass(frozen=True, slots=True)
class AuthenticationRequested:
    """The peer waits for the local side's verdict: ``accept()`` or ``reject()`` of the connection.

    In the handshake nothing else comes before that. Where the peer is let in already and presents new credentials, its
    messages go on.

    Attributes:
        credentials: what the peer presented: a Token, a Password, None for nothing, or what else the wire carries.
        peer: the peer as far as it is known; None where the wire does not say yet.
    """

    credentials: object
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class CredentialsRequested:
    """The handshake waits for what the local side presents: ``present()`` of the connection."""


@dataclass(frozen=True, slots=True)
class CredentialsAccepted:
    """The peer accepted credentials that were presented after the handshake.

    Attributes:
        request_id: the id they were presented with.
    """

    request_id: int


@dataclass(frozen=True, slots=True)
class PingsAnswered:
    """Pings of the peer were answered.

    Attributes:
        count: how many.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The peer answered a ping.

    Attributes:
        request_id: the ping's; None for a ping that was sent without one.
        timestamp: the peer's clock when it answered, ms since 1970; None where the wire carries none.
    """

    request_id: int | None
    timestamp: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The peer says that a request failed.

    Attributes:
        request_id: the request's.
        detail: the content of the peer's message.
        code: what happened, for programs; empty where the peer did not say (ERROR).
        message: what happened, for people; likewise.
        details: more of it, of JSON's kinds; None for nothing.
    """

    request_id: int
    detail: bytes
    code: str = ""
    message: str = ""
    details: object = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """The peer waits no more for the result of a call.

    Attributes:
        request_id: the call's.
    """

    request_id: int


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The peer broke a rule: the connection must be closed, nothing more is read.

    Attributes:
        error: the rule.
    """

    error: RemoteProtocolError


class RejectReason(Enum):
    """Reason for which a frame was rejected."""

    BAD_CHECKSUM = "bad checksum"
    UNKNOWN_TYPE = "unknown type"
    GARBAGE = "garbage between frames"
    REPEATED = "beginning of a frame that was sent again"
    MALFORMED = "malformed content"


@dataclass(frozen=True, slots=True)
class FrameRejected:
    """A frame was refused and dropped; the connection goes on.

    Attributes:
        reason: why.
        code: the type code its header claimed, -1 for garbage and where the wire has names in place of codes.
        request_id: what an answer to a message of an unknown type must carry; None for every other refusal.
        name: the name of an unknown type, in the peer's words; empty where the wire has codes.
    """

    reason: RejectReason
    code: int = -1
    request_id: int | None = field(default=None, compare=False)
    name: str = ""


Event = (
    HandshakeCompleted
    | AuthenticationRequested
    | CredentialsRequested
    | CredentialsAccepted
    | Response
    | PingsAnswered
    | Pong
    | RequestFailed
    | CallCancelled
    | FrameRejected
    | ConnectionFailed
)
