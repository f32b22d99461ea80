"""Payloads: one msgpack object each, bounded before it is decoded, and refused where netconduit's releases cannot take it.

What a peer sends is bounded three times: its bytes by the frame, the bytes that these inflate to by :func:`inflate`, and the
objects that they become by :func:`read`.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

from msgspec import UNSET, MsgspecError, Raw, Struct, UnsetType, ValidationError, msgpack

from veltix_tx.errors import InvalidContent, MalformedFrame
from veltix_tx.wire.contents import dump_model
from veltix_tx.wire.msgpack_structure import StructureError, check_structure, has_few_containers

__all__ = [
    "COMPRESSION_THRESHOLD",
    "FLAT_SIZE",
    "FREE_INFLATE",
    "INFLATED_AT_ONCE",
    "INFLATE_RATIO",
    "MAX_NESTING",
    "SCALARS",
    "Answer",
    "AuthFailure",
    "AuthRequest",
    "AuthSuccess",
    "Call",
    "Message",
    "check_object",
    "check_packed",
    "check_sendable",
    "deflate",
    "inflate",
    "is_flat_call",
    "is_map",
    "pack",
    "read",
    "unpack",
]

MAX_NESTING = 511
"""Maximum depth of maps and arrays, either way: netconduit's releases pack no deeper ones."""

COMPRESSION_THRESHOLD = 1024
"""Bytes of a payload above which it is compressed, where that makes it smaller."""

FREE_INFLATE, INFLATE_RATIO = 1024 * 1024, 100
"""Bytes that any compressed payload may inflate to, and how many times its own size a larger one may have."""

INFLATED_AT_ONCE = 64 * 1024
"""Bytes of inflated payloads after which a connection's next compressed one waits for a later turn: each may be full of values."""

FLAT_SIZE = MAX_NESTING
"""Bytes of a payload that cannot be nested too deep, whatever they are."""

_LEVEL = 6

_UNREADABLE = (MsgspecError, ValueError, TypeError, RecursionError)  # TypeError: a key that cannot be one of a dict
"""Errors of msgspec for what it cannot decode; up to 0.18 they are no ValueErrors."""

_NIL, _NO_ARGUMENTS = b"\xc0", b"\x80"

_QUOTED = 32
"""Bytes of a payload that an error quotes."""


class Message(Struct, gc=False):
    """Payload of a MESSAGE frame."""

    type: str
    data: Raw = Raw(_NIL)


class Call(Struct, gc=False):
    """Payload of an RPC_REQUEST frame."""

    method: str
    params: Raw = Raw(_NIL)

    @property
    def packed(self) -> bytes:
        """The packed arguments, an empty map for none."""
        found = bytes(self.params)
        return _NO_ARGUMENTS if found == _NIL else found


class _NamedCall(Struct, gc=False):
    """The same with its arguments unpacked, whose names are text."""

    method: str
    params: dict[str, Any]


class Answer(Struct, gc=False):
    """Payload of an RPC_RESPONSE or RPC_ERROR frame, or the result in it, which repeats this shape."""

    success: bool = True
    result: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    error: Any = None
    code: Any = None
    details: Any = None

    @property
    def packed(self) -> bytes:
        """The packed result, nil where there is none."""
        found = self.result if self.data is UNSET else self.data
        return _NIL if found is UNSET else bytes(found)


class AuthRequest(Struct):
    """Payload of an AUTH_REQUEST frame."""

    password_hash: str
    client_info: Any = None


class AuthSuccess(Struct):
    """Payload of an AUTH_SUCCESS frame; its session token is of no use to anybody."""

    session_token: Any = None
    server_info: Any = None


class AuthFailure(Struct):
    """Payload of an AUTH_FAILURE frame."""

    reason: Any = None


S = TypeVar("S", Message, Call, Answer, AuthRequest, AuthSuccess, AuthFailure)

_DECODERS: dict[type, Any] = {
    kind: msgpack.Decoder(kind).decode for kind in (Message, Call, Answer, AuthRequest, AuthSuccess, AuthFailure)
}
_decode_call = msgpack.Decoder(_NamedCall).decode
_decode, _encode = msgpack.Decoder().decode, msgpack.Encoder(enc_hook=dump_model).encode

unpack = _decode
"""Packed object that :func:`check_packed` has passed -> the object."""


def read(kind: type[S], payload: bytes, max_values: int) -> S | None:
    """Return a payload of a known shape, None for an object of another shape. What is packed in it is not checked yet.

    Args:
        kind: the shape.
        payload: the payload.
        max_values: maximum number of values in it: each may become 70 times its bytes.

    Raises:
        MalformedFrame: it is not one msgpack object, has too many values, or a map with a key that is an array or a map.
    """
    size = len(payload)
    if size > max_values or (size > FLAT_SIZE and not has_few_containers(payload)):  # fewer bytes are no deeper
        try:
            check_structure(payload, MAX_NESTING + 1, max_values)
        except StructureError as error:
            raise MalformedFrame(
                "payload", payload[:_QUOTED], f"one of at most {max_values} values (limits.values): {error}"
            ) from None
    try:
        found: S = _DECODERS[kind](payload or _NIL)
    except ValidationError:
        return None
    except _UNREADABLE as error:
        raise _malformed(payload, error) from None
    return found


def check_packed(packed: bytes) -> None:
    """Raise MalformedFrame unless a packed object is one that :func:`unpack` can unpack, within the rules of :func:`pack`."""
    if packed[0] not in _SOUND:
        check_object(packed)


def check_object(packed: bytes) -> None:
    """Raise MalformedFrame unless bytes are one packed object as :func:`check_packed` asks for."""
    try:
        decoded = _decode(packed)
        if type(decoded) is dict or type(decoded) is list:
            _check(decoded)
    except _UNREADABLE as error:
        raise _malformed(packed, error) from None


def is_flat_call(payload: bytes) -> bool:
    """Return True if the payload of an RPC_REQUEST is one without arrays and maps among its arguments, as most are.

    Args:
        payload: the payload, of at most :data:`FLAT_SIZE` bytes.
    """
    try:
        arguments = _decode_call(payload).params.values()
    except _UNREADABLE:
        return False
    for argument in arguments:  # noqa: SIM110 (a generator would cost as much as the decoder)
        if type(argument) in _CONTAINERS:
            return False
    return True


def is_map(packed: bytes) -> bool:
    """Return True if a packed object is a map."""
    return packed[0] in _MAPS


def pack(value: object) -> bytes:
    """Return a value as a packed object.

    Raises:
        TypeError: it is of a type that msgpack does not have.
        InvalidContent: a key of a map is neither text nor bytes, a number has over 64 bits, a text cannot be encoded, or
            it is nested deeper than :data:`MAX_NESTING`.
    """
    try:
        packed = _encode(value)
        if type(value) not in SCALARS:
            check_sendable(packed)
    except (UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise InvalidContent(value, f"what msgpack can carry ({error})") from error
    return packed


def check_sendable(packed: bytes) -> None:
    """Raise InvalidContent for what this side has packed and netconduit's releases cannot take; see :func:`pack`."""
    try:
        decoded = _decode(packed)
    except RecursionError:
        raise InvalidContent(packed, f"nested at most {MAX_NESTING} deep") from None
    if type(decoded) is dict or type(decoded) is list:
        _check(decoded)


def inflate(payload: bytes, max_size: int) -> bytes:
    """Return a compressed payload as it was.

    Args:
        payload: one zlib stream.
        max_size: maximum bytes of it as it was.

    Raises:
        MalformedFrame: it is no zlib stream, or inflates to more than it may.
    """
    most = min(max_size, max(FREE_INFLATE, INFLATE_RATIO * len(payload)))
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(payload, most + 1)
    except zlib.error as error:
        raise _malformed(payload, error, "zlib stream") from None
    if len(inflated) > most:
        raise MalformedFrame("payload", payload[:_QUOTED], f"one that inflates to at most {most} bytes")
    if not stream.eof or stream.unused_data:
        raise _malformed(payload, "it is cut short" if not stream.eof else "bytes follow it", "zlib stream")
    return inflated


def deflate(payload: bytes) -> bytes:
    """Return a payload compressed, or as it is where it is short or would not become shorter."""
    if len(payload) <= COMPRESSION_THRESHOLD:
        return payload
    compressed = zlib.compress(payload, _LEVEL)
    return compressed if len(compressed) < len(payload) else payload


def _malformed(payload: bytes, error: object, what: str = "msgpack object") -> MalformedFrame:
    return MalformedFrame("payload", payload[:_QUOTED], f"one {what} ({error})")


def _check(value: object) -> None:
    """Raise InvalidContent for keys and nesting that netconduit's releases cannot take."""
    if type(value) is dict and _KEYS.issuperset(map(type, value)) and _CONTAINERS.isdisjoint(map(type, value.values())):
        return  # a flat map, as most are
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            raise InvalidContent(type(value).__name__, f"nested at most {MAX_NESTING} deep")
        inner: list[object] = []
        for each in level:
            if type(each) is dict:
                for key in each:
                    if type(key) is not str and type(key) is not bytes:
                        raise InvalidContent(key, "a key that is text, or bytes: netconduit takes no other in a map")
                each = each.values()  # noqa: PLW2901 (what is in it is looked at as what is in a list)
            for item in each:  # type: ignore[attr-defined]
                if type(item) is dict or type(item) is list:
                    inner.append(item)  # noqa: PERF401 (this is quicker for the few items of a usual one)
        level = inner


_KEYS, _CONTAINERS = frozenset([str, bytes]), frozenset([dict, list])

_MAPS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])

SCALARS = frozenset([str, bytes, bool, int, float, type(None)])
"""Types whose values every peer takes, where they can be packed."""

_SOUND = frozenset([*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3, *range(0xC4, 0xC7), *range(0xCA, 0xD4)])
"""First bytes of values that need no look inside: nil, booleans, numbers, bytes."""
