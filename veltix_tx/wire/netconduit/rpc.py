"""Calls on netconduit's wire: their arguments and results, the numbers of their failures, and how methods are described.

A CALL's content is the payload of an RPC_REQUEST, a RESULT's the packed value without netconduit's envelopes. Deadlines,
cancellation and metadata do not travel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from msgspec import UNSET, MsgspecError, Raw, Struct, ValidationError, msgpack

from veltix_tx.errors import ERROR_CODE, InvalidContent, MalformedFrame
from veltix_tx.wire.contents import not_packable, pack, pack_unchecked
from veltix_tx.wire.error_codes import (
    CANCELLED,
    FORBIDDEN,
    HANDLER_FAILED,
    INVALID_ARGUMENTS,
    INVALID_CONTENT,
    MALFORMED_CALL,
    METHOD_NOT_FOUND,
)
from veltix_tx.wire.netconduit.payloads import SCALARS, Answer, check_sendable, is_map, read
from veltix_tx.wire.netconduit.payloads import Call as CallPayload
from veltix_tx.wire.rpc import DISCOVER, EMPTY_ARRAY, MAX_METHOD_SIZE, Call, MethodInfo

__all__ = [
    "CODES",
    "LIST_METHOD",
    "NUMBERS",
    "Envelope",
    "NetconduitRpc",
    "PackedEnvelope",
    "describe_failure",
    "describe_method",
    "failure_number",
    "list_method",
    "read_failure",
]

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

_decode_payload = msgpack.Decoder(CallPayload).decode

_RAW_MAP = msgpack.Decoder(dict[str, Raw]).decode


@dataclass(frozen=True, slots=True)
class Envelope:
    """Result in netconduit's own envelope, which says more than the result: its pagination, for instance. Real peers get it whole.

    Attributes:
        said: the envelope, a map with ``success`` and ``data``, or other keys in place of the latter.
    """

    said: Mapping[str, object]

    @property
    def result(self) -> object:
        """The result in it, as a real peer's client takes it out: the envelope itself where it has no ``data``."""
        return self.said.get("data", self.said)


class PackedEnvelope(bytes):
    """The same packed: content of a RESULT to a real peer, which gets no further envelope."""

    __slots__ = ()


class NetconduitRpc:
    """Codec of calls and results with one kind of peer; see :class:`~veltix_tx.wire.rpc.RpcCodec`.

    Args:
        ours: True for a peer of this package, which takes positional arguments.
    """

    __slots__ = ("_ours", "plain_results")

    cancels = False

    def __init__(self, *, ours: bool) -> None:
        self._ours = self.plain_results = ours

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
        head, params = _call_head(method), kwargs
        if metadata:
            raise InvalidContent(metadata, "left out: netconduit's calls carry no metadata")
        if args:
            if not self._ours:
                raise InvalidContent(args, "keyword arguments: netconduit's calls have no positional ones")
            params = {**kwargs, **{_POSITION.format(position): value for position, value in enumerate(args)}}
        try:
            call = head + pack_unchecked(params)
        except Exception as error:
            raise not_packable(params, error) from error
        for value in params.values():
            if type(value) not in SCALARS:
                check_sendable(call)
                break
        return call

    def decode_call(self, content: bytes) -> Call:
        """Return what the payload of an RPC_REQUEST says."""
        try:
            found = _decode_payload(content)
        except (MsgspecError, RecursionError):
            found = None
        packed = b"" if found is None else found.packed
        if found is None or not 0 < len(found.method) <= MAX_METHOD_SIZE or not is_map(packed):
            raise InvalidContent(content, "a call: a map of method, a text, and params, a map")
        method = DISCOVER if found.method == LIST_METHOD else found.method
        if _FIRST_POSITION[0] in packed and _FIRST_POSITION in packed:  # to look for one byte first takes a quarter of the time
            return _with_positions(method, packed)
        return Call(method, EMPTY_ARRAY, None, Raw(packed))

    def encode_result(self, result: object) -> bytes:
        """Return a result packed."""
        if type(result) is Envelope:
            return _packed(result.result) if self._ours else PackedEnvelope(_packed(result.said))
        return _packed(result)

    def describe(self, methods: list[MethodInfo]) -> object:
        """Return the methods as they are, in netconduit's form for a real peer."""
        return methods if self._ours else {"methods": [list_method(each) for each in methods], "count": len(methods)}

    def decode_result(self, method: str, content: bytes) -> bytes:
        """Return the content as it is; a real peer's list of its methods as MethodInfos."""
        if method != DISCOVER or self._ours:
            return content
        try:
            found = _decode_list(content).methods
            return msgpack.encode([describe_method(m.name, m.description or "", m.parameters, m.return_type) for m in found])
        except (ValidationError, RecursionError):
            raise InvalidContent(content, "a list of methods as netconduit's releases have it") from None


@lru_cache(maxsize=1024)
def _call_head(method: str) -> bytes:
    """Return what is in front of the arguments of a call of a method.

    Raises:
        InvalidContent: the name is over its limit, or no text that can be sent.
    """
    if not 0 < len(method) <= MAX_METHOD_SIZE:
        raise InvalidContent(method, f"a method's name of 1 to {MAX_METHOD_SIZE} characters")
    return b"\x82\xa6method" + pack(LIST_METHOD if method == DISCOVER else method) + b"\xa6params"


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


def failure_number(payload: bytes) -> int | None:
    """Return netconduit's number in the payload of a failed call's answer, None where there is none."""
    try:
        answer = read(Answer, payload, len(payload))
        if answer is not None and answer.success and answer.result is not UNSET:  # a real server's failure is in there
            answer = read(Answer, bytes(answer.result), len(payload))
    except MalformedFrame:  # a peer of this package's is not read again
        return None
    code = None if answer is None else answer.code
    if not isinstance(code, str):
        return code if type(code) is int else None
    other = _OTHER.fullmatch(code)
    return int(other[1]) if other else NUMBERS.get(code, _OF_PROGRAM)


def _packed(value: object) -> bytes:
    packed = pack(value)
    if type(value) not in SCALARS:
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


def list_method(method: MethodInfo) -> dict[str, object]:
    """Return a method as netconduit's lists have it."""
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


def describe_method(name: str, description: str, parameters: Mapping[str, object], return_type: object) -> MethodInfo:
    """Return the description of a method that tells of types by their names in Python."""
    properties = {parameter: _schema(kind) for parameter, kind in parameters.items()}
    return MethodInfo(name, description, {"type": "object", "properties": properties}, _schema(return_type))


def _schema(name: object) -> dict[str, Any]:
    if not isinstance(name, str) or name == "Any":
        return {}
    return _SCHEMAS.get(name, {"title": name})
