"""Events of a connection, besides the messages themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from veltix_tx.errors import RemoteProtocolError
from veltix_tx.wire.messages import Response
from veltix_tx.wire.peer import Peer

__all__ = [
    "AuthenticationRequested",
    "ConnectionFailed",
    "Event",
    "FrameRejected",
    "HandshakeCompleted",
    "PingsAnswered",
    "Pong",
    "RejectReason",
    "RequestFailed",
    "RpcCall",
    "RpcFault",
    "RpcResult",
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
    """The handshake waits for the local side's verdict on the peer: ``accept()`` or ``reject()`` of the connection.

    Attributes:
        credentials: what the peer presented, as the wire carries it.
    """

    credentials: object


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
    """

    request_id: int | None


@dataclass(frozen=True, slots=True)
class RequestFailed:
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
class ConnectionFailed:
    """The peer broke a rule: the connection must be closed, nothing more is read.

    Attributes:
        error: the rule.
    """

    error: RemoteProtocolError


class RejectReason(Enum):
    """Why a frame was refused."""

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


@dataclass(frozen=True, slots=True)
class RpcCall:
    """The peer calls a procedure of this side.

    Attributes:
        method: the procedure's name, in the peer's words.
        content: the packed arguments, checked: what is kept while the call waits for its turn.
        request_id: what the answer must carry.
        unpack: packed arguments -> a dict of them by name.
    """

    method: str
    content: bytes
    request_id: int
    unpack: Callable[[bytes], dict[str, object]] = field(repr=False, compare=False)

    @property
    def params(self) -> dict[str, object]:
        """The arguments by name, unpacked anew at each look."""
        return self.unpack(self.content)


@dataclass(frozen=True, slots=True)
class RpcFault:
    """Why a call failed, as the peer says.

    Attributes:
        code: the wire's number for it, None where the peer gives none.
        message: the same in words.
        details: what else the peer says of it.
    """

    code: int | None
    message: str
    details: object = None


@dataclass(frozen=True, slots=True)
class RpcResult:
    """The peer answers a call of this side.

    Attributes:
        request_id: the call's.
        value: what the procedure returned; None where it failed.
        fault: why it failed; None where it did not.
    """

    request_id: int
    value: object = None
    fault: RpcFault | None = None


Event = (
    HandshakeCompleted
    | AuthenticationRequested
    | Response
    | PingsAnswered
    | Pong
    | RequestFailed
    | RpcCall
    | RpcResult
    | FrameRejected
    | ConnectionFailed
)
