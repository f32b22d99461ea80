"""Calls on netconduit's wire: their arguments and results, the numbers of their failures, and how methods are described.

A CALL's content is the payload of an RPC_REQUEST, a RESULT's the packed value without netconduit's envelopes. Deadlines,
cancellation and metadata do not travel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct, ValidationError, msgpack

from veltix_tx.errors import ERROR_CODE, InvalidContent, MalformedFrame
from veltix_tx.wire.contents import pack
from veltix_tx.wire.error_codes import (
    CANCELLED,
    FORBIDDEN,
    HANDLER_FAILED,
    INVALID_ARGUMENTS,
    INVALID_CONTENT,
    MALFORMED_CALL,
    METHOD_NOT_FOUND,
)
from veltix_tx.wire.netconduit.payloads import Answer, check_sendable, is_map, read
from veltix_tx.wire.netconduit.payloads import Call as CallPayload
from veltix_tx.wire.rpc import DISCOVER, EMPTY_ARRAY, MAX_METHOD_SIZE, Call, MethodInfo

__all__ = ["CODES", "LIST_METHOD", "NUMBERS", "NetconduitRpc", "describe_failure", "read_failure"]

LIST_METHOD = "listall"
"""Method by which netconduit's peers list a server's methods: :data:`~veltix_tx.wire.rpc.DISCOVER` here."""

NUMBERS = {
    HANDLER_FAILED: 1001,
    CANCELLED: 1003,
    INVALID_ARGUMENTS: 2000,
    INVALID_CONTENT: 2000,
    FORBIDDEN: 3003,
    METHOD_NOT_FOUND: 4000,
    MALFORMED_CALL: 4001,
}
"""Codes of failures -> netconduit's numbers for them."""

CODES = {1001: HANDLER_FAILED, 1003: CANCELLED, 3003: FORBIDDEN, 4000: METHOD_NOT_FOUND}
CODES |= dict.fromkeys((2000, 2001, 2002, 2003, 4001), INVALID_ARGUMENTS)
"""netconduit's numbers -> codes; another number N is the code ``netconduit_N``."""

_OF_PROGRAM = 4002
"""Number of a code that netconduit has none for: a program's own."""

_OTHER = re.compile(r"netconduit_(\d{1,9})", re.ASCII)

_MAX_MESSAGE, _MAX_DETAILS = 4096, 2048
"""Maximum characters of a failure's words, and of its details as JSON; longer ones are cut, and left out."""

_POSITION = "_{}"
"""Name of a positional argument, as netconduit's own helper for them has it."""

_FIRST_POSITION = b"\xa2_0"

_RAW_MAP = msgpack.Decoder(dict[str, Raw]).decode


class NetconduitRpc:
    """Codec of calls and results with one kind of peer; see :class:`~veltix_tx.wire.rpc.RpcCodec`.

    Args:
        ours: True for a peer of this package, which takes positional arguments.
    """

    __slots__ = ("_ours",)

    cancels = False

    def __init__(self, *, ours: bool) -> None:
        self._ours = ours

    def encode_call(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        timeout: float,
        metadata: Mapping[str, str] | None,
    ) -> bytes:
        """Return the payload of an RPC_REQUEST. The timeout does not travel.

        Raises:
            InvalidContent: the name is over its limit, msgpack cannot hold an argument, there is metadata, or there are
                positional arguments for a real peer.
        """
        if not 0 < len(method) <= MAX_METHOD_SIZE:
            raise InvalidContent(method, f"a method's name of 1 to {MAX_METHOD_SIZE} characters")
        if metadata:
            raise InvalidContent(metadata, "left out: netconduit's calls carry no metadata")
        params = dict(kwargs)
        if args:
            if not self._ours:
                raise InvalidContent(args, "keyword arguments: netconduit's calls have no positional ones")
            params |= {_POSITION.format(position): value for position, value in enumerate(args)}
        return _packed({"method": LIST_METHOD if method == DISCOVER else method, "params": params})

    def decode_call(self, content: bytes) -> Call:
        """Return what the payload of an RPC_REQUEST says."""
        try:
            found = read(CallPayload, content, len(content))
        except MalformedFrame:
            found = None
        if found is None or not 0 < len(found.method) <= MAX_METHOD_SIZE or not is_map(found.packed):
            raise InvalidContent(content, "a call: a map of method, a text, and params, a map")
        method = DISCOVER if found.method == LIST_METHOD else found.method
        packed = found.packed
        if _FIRST_POSITION in packed:
            return _with_positions(method, packed)
        return Call(method, EMPTY_ARRAY, None, Raw(packed))

    def encode_result(self, method: str, result: object) -> bytes:
        """Return a result packed; the description of this side's methods in netconduit's form for a real peer."""
        if method == DISCOVER and not self._ours:
            assert isinstance(result, list)
            methods = [_listed(each) for each in result]
            return _packed({"methods": methods, "count": len(methods)})
        return _packed(result)

    def decode_result(self, method: str, content: bytes) -> bytes:
        """Return the content as it is; a real peer's list of its methods as MethodInfos."""
        if method != DISCOVER or self._ours:
            return content
        try:
            return msgpack.encode([_described(each) for each in _decode_list(content).methods])
        except (ValidationError, RecursionError):
            raise InvalidContent(content, "a list of methods as netconduit's releases have it") from None


def describe_failure(code: str, message: str, details: object, *, ours: bool) -> dict[str, object]:
    """Return the map that tells of a failed call.

    Args:
        code: what happened, for programs.
        message: the same for people; cut where it is too long.
        details: more of it, of JSON's kinds; left out where they are too long, or msgpack cannot hold them.
        ours: True for a peer of this package, which is told the code, in place of a number.
    """
    other = _OTHER.fullmatch(code)
    number = int(other[1]) if other else NUMBERS.get(code, _OF_PROGRAM)
    words = message[:_MAX_MESSAGE].encode("utf-8", "replace").decode()  # without lone surrogates
    failure: dict[str, object] = {"success": False, "error": words, "code": code if ours else number}
    if details is not None:
        said = json.dumps(details, allow_nan=False)
        packed = _packed_or_none(json.loads(said)) if len(said) <= _MAX_DETAILS else None
        if packed is not None:
            failure["details"] = Raw(packed)
    return failure


def read_failure(answer: Answer) -> tuple[str, str, object]:
    """Return code, message and details of a failure, of JSON's kinds whatever the peer sent; empty where it says nothing."""
    code = answer.code
    if isinstance(code, str):
        code = code if ERROR_CODE.fullmatch(code) else ""
    elif type(code) is int:
        code = CODES.get(code) or (f"netconduit_{code}" if 0 <= code < 10**9 else "")
    else:
        code = ""
    details = answer.details
    try:
        json.dumps(details, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        details = None
    return code, answer.error if isinstance(answer.error, str) else "", details


def _packed(value: object) -> bytes:
    packed = pack(value)
    check_sendable(packed)
    return packed


def _packed_or_none(value: object) -> bytes | None:
    try:
        return _packed(value)
    except InvalidContent:
        return None


def _with_positions(method: str, packed: bytes) -> Call:
    """Return a call some of whose arguments may be named after their positions."""
    try:
        params = _RAW_MAP(packed)
    except ValidationError:  # a key that is bytes, which no parameter is called
        return Call(method, EMPTY_ARRAY, None, Raw(packed))
    args: list[Raw] = []
    while (name := _POSITION.format(len(args))) in params:
        args.append(params.pop(name))
    return Call(method, Raw(msgpack.encode(args)), None, Raw(msgpack.encode(params)))


# Methods as netconduit describes them: types by their names in Python.

_NAMES = {
    "integer": "int",
    "number": "float",
    "string": "str",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}
_SCHEMAS = {name: {"type": kind} for kind, name in _NAMES.items()}


class _Listed(Struct):
    """A method in a list of them."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}
    return_type: Any = None


class _List(Struct):
    """Result of :data:`LIST_METHOD`."""

    methods: list[_Listed]


_decode_list = msgpack.Decoder(_List).decode


def _listed(method: MethodInfo) -> dict[str, object]:
    given = method.params.get("properties", {})
    parameters = {name: _type_name(schema) for name, schema in given.items() if _type_name(schema)}
    return {
        "name": method.name,
        "description": method.doc,
        "parameters": parameters,
        "return_type": _type_name(method.returns) or "Any",
        "requires_auth": True,
    }


def _type_name(schema: Mapping[str, Any]) -> str:
    """Return a JSON Schema's type as a name, empty where it may be anything."""
    if "anyOf" in schema:
        return " | ".join(filter(None, map(_type_name, schema["anyOf"])))
    named = schema.get("title") or str(schema.get("$ref", "")).rpartition("/")[2]
    return str(named or _NAMES.get(schema.get("type", ""), ""))


def _described(method: _Listed) -> MethodInfo:
    properties = {name: _schema(kind) for name, kind in method.parameters.items()}
    params = {"type": "object", "properties": properties}
    return MethodInfo(method.name, method.description or "", params, _schema(method.return_type))


def _schema(name: object) -> dict[str, Any]:
    if not isinstance(name, str) or name == "Any":
        return {}
    return _SCHEMAS.get(name, {"title": name})
