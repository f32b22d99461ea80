"""Remote procedure calls as a wire carries them: the parts of a call, and the codec of a wire that can.

A call is a request whose reply is its result, or an error reply. Arguments and results are MessagePack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Raw

__all__ = [
    "DISCOVER",
    "EMPTY_ARRAY",
    "EMPTY_MAP",
    "MAX_METADATA",
    "MAX_METHOD_SIZE",
    "MAX_VALUE_SIZE",
    "RESERVED",
    "Call",
    "CallResult",
    "MethodInfo",
    "RpcCodec",
]

RESERVED = "rpc."
"""Prefix of methods that no program defines."""

DISCOVER = "rpc.discover"
"""Method of every side that serves calls: returns a list of :class:`MethodInfo`."""

MAX_METHOD_SIZE = 256
"""Maximum characters of a method's name, and of a key of metadata."""

MAX_METADATA = 64
"""Maximum entries of a call's metadata."""

MAX_VALUE_SIZE = 1024
"""Maximum characters of a value of metadata."""

EMPTY_ARRAY, EMPTY_MAP = Raw(b"\x90"), Raw(b"\x80")
"""No arguments, positional and keyword ones, in MessagePack."""

_Name = Annotated[str, Meta(min_length=1, max_length=MAX_METHOD_SIZE)]
_Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=MAX_METHOD_SIZE)], Annotated[str, Meta(max_length=MAX_VALUE_SIZE)]],
    Meta(max_length=MAX_METADATA),
]


class Call(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A call of a method, as received. Its own form in MessagePack is that of Veltix's wire.

    Attributes:
        method: the method's name.
        args: the positional arguments: a MessagePack array.
        timeout_ms: ms the caller waits from its sending on; None where it does not say.
        kwargs: the keyword arguments: a MessagePack map with string keys.
        metadata: small texts that travel with the call, such as a trace id.
    """

    method: _Name
    args: Raw
    timeout_ms: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None
    kwargs: Raw = EMPTY_MAP
    metadata: _Metadata = {}


class CallResult(msgspec.Struct, frozen=True, gc=False):
    """Answer to a CALL, for the dispatcher to send as a RESULT: made in a quarter of the time of a ``Request``.

    Attributes:
        content: the RESULT's.
    """

    content: bytes


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
    """Calls and results as the contents of CALL and RESULT messages of one wire."""

    def __hash__(self) -> int: ...

    @property
    def cancels(self) -> bool:
        """True if a CANCEL with the call's request id ends a call."""

    @property
    def plain_results(self) -> bool:
        """True if the content of a RESULT is the value, which :meth:`decode_result` returns as it is."""

    def encode_call(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        timeout: float,
        metadata: Mapping[str, str] | None,
    ) -> bytes:
        """Return the content of a CALL.

        Args:
            method: the method's name.
            args: positional arguments.
            kwargs: keyword arguments.
            timeout: seconds the caller waits, ``math.inf`` for no end.
            metadata: what travels with it.

        Raises:
            InvalidContent: the name or the metadata is over its limit, or MessagePack cannot hold an argument.
        """

    def decode_call(self, content: bytes) -> Call:
        """Return what a CALL says.

        Raises:
            InvalidContent: it is malformed, or over a limit.
        """

    @property
    def encode_result(self) -> Callable[[object], bytes]:
        """Function that makes the content of a RESULT of what was returned; raises anything where MessagePack cannot hold that."""

    def describe(self, methods: list[MethodInfo]) -> object:
        """Return the result of ``rpc.discover`` as the wire has it."""

    def decode_result(self, method: str, content: bytes) -> bytes:
        """Return the value in a RESULT as MessagePack.

        Args:
            method: what was called.
            content: the RESULT's.

        Raises:
            InvalidContent: it is malformed.
        """
