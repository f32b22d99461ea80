"""Remote procedure calls as a wire carries them: the parts of a call, and the codec of a wire that can.

A call is a request whose reply is its result, or an error reply. Arguments and results are MessagePack, packed and
unpacked by the floors above; a codec only knows where they stand in a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

__all__ = [
    "DISCOVER",
    "MAX_METADATA",
    "MAX_METHOD_SIZE",
    "NO_ARGS",
    "NO_KWARGS",
    "RESERVED",
    "Call",
    "MethodInfo",
    "RpcCodec",
]

RESERVED = "rpc."
"""Prefix of methods that no program defines."""

DISCOVER = "rpc.discover"
"""Method of every side that serves calls: returns a list of :class:`MethodInfo`."""

MAX_METHOD_SIZE = 256
"""Maximum bytes of a method's name in UTF-8."""

MAX_METADATA = 64
"""Maximum entries of a call's metadata, each of at most :data:`MAX_METHOD_SIZE` characters for its key and 1,024 for its value."""


NO_ARGS, NO_KWARGS = b"\x90", b"\x80"
"""An empty array and an empty map in MessagePack."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method of the other side.

    Attributes:
        method: its name.
        args: the positional arguments: a MessagePack array.
        kwargs: the keyword arguments: a MessagePack map with string keys.
        timeout: seconds the caller waits from the sending on; None where it does not say.
        metadata: small texts that travel with the call, such as a trace id.
    """

    method: str
    args: bytes = NO_ARGS
    kwargs: bytes = NO_KWARGS
    timeout: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class MethodInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A method of the other side, as it describes it.

    Attributes:
        name: its name.
        doc: the docstring of its function; empty for none.
        params: JSON Schema of its parameters, an object whose ``required`` names those without a default.
        returns: JSON Schema of its result; empty where it may be anything.
    """

    name: str
    doc: str = ""
    params: dict[str, Any] = {}
    returns: dict[str, Any] = {}


class RpcCodec(Protocol):
    """Calls and results as the contents of :data:`~veltix_tx.wire.messages.CALL` and RESULT messages of one wire."""

    @property
    def cancels(self) -> bool:
        """True if a CANCEL with the call's request id ends a call."""

    def encode_call(self, call: Call) -> bytes:
        """Return the content of a CALL.

        Raises:
            InvalidContent: the method's name or the metadata is over its limit, or the wire carries no such call.
        """

    def decode_call(self, content: bytes) -> Call:
        """Return what a CALL says.

        Raises:
            InvalidContent: it is malformed, or over a limit.
        """

    def encode_result(self, result: bytes) -> bytes:
        """Return the content of a RESULT, from its value as MessagePack."""

    def decode_result(self, content: bytes) -> bytes:
        """Return the value in a RESULT as MessagePack.

        Raises:
            InvalidContent: it is malformed.
        """
