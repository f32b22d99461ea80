"""Contents of messages as values: one codec for a Python type and a format, made once.

msgspec does the work: dataclasses, ``msgspec.Struct``, TypedDict, NamedTuple, builtin types and unions of these.
Models of pydantic, whole or within these, are validated by pydantic itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any, Generic, Literal, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from veltix_tx.errors import InvalidContent, MessageTypeError, excerpt
from veltix_tx.wire.msgpack_structure import CONTAINERS, check_structure, has_few_containers

__all__ = [
    "FORMATS",
    "MAX_DEPTH",
    "MAX_SIZE",
    "ContentCodec",
    "Format",
    "content_codec",
    "dump_model",
    "json_depth",
    "not_packable",
    "pack",
    "pack_unchecked",
]

T = TypeVar("T")

Buffer = bytes | msgspec.Raw
Format = Literal["json", "msgpack"]

FORMATS: tuple[Format, ...] = ("json", "msgpack")

MAX_DEPTH = 64
"""Maximum depth to which the arrays and objects of a value are nested. Deeper contents are invalid."""

MAX_SIZE = 1024 * 1024
"""Maximum bytes of a content that is decoded, unless its type says otherwise: one byte may become 72 of memory."""

_MOST_DETAIL = 200
"""Characters of what is said about a content, which quotes the peer."""

_PATHS = re.compile(r"(?: - at `[^`]*`(?: in `[^`]*`)?)+\Z")
_PATH = re.compile(r" - at `([^`]*)`(?: in `([^`]*)`)?")

_JSON_STRING = re.compile(rb'"[^"]*"')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level down, one level up
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_ANY_BYTE = frozenset(range(256))

_PYDANTIC = "__pydantic_validator__"


@dataclass(frozen=True, slots=True, eq=False)
class ContentCodec(Generic[T]):
    """Codec of one type's values in one format. Equal arguments of :func:`content_codec` get the same one.

    Attributes:
        type_name: name of the type, for people.
        format: ``"json"`` or ``"msgpack"``.
        encode: value -> bytes. Raises InvalidContent for a value of another type, or that the format cannot hold.
        decode: bytes -> value. Raises InvalidContent, and nothing else, for bytes that are no such value.
        decode_flat: the decoder behind ``decode``, for what is known to have no more than ``max_size`` bytes; None for a type
            whose values can be nested too deep. Raises what msgspec or the type's own code does.
    """

    type_name: str
    format: Format
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    decode_flat: Callable[[Buffer], T] | None


def content_codec(content_type: type[T], format: Format = "json", max_size: int = MAX_SIZE) -> ContentCodec[T]:
    """Return the codec of a type.

    Args:
        content_type: a dataclass, msgspec.Struct, TypedDict, NamedTuple, pydantic model, builtin type, or a union of these.
        format: ``"json"`` or ``"msgpack"``.
        max_size: maximum bytes of a content. A longer one is invalid either way.

    Raises:
        MessageTypeError: there is no such format, the size is no whole number from 1, bytes cannot be decoded into the type,
            or pydantic is missing or too old.
    """
    if format not in FORMATS:
        raise MessageTypeError(f"a content's format is {' or '.join(FORMATS)}, not {excerpt(format)}")
    if isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1:
        raise MessageTypeError(f"a content's max_size is a whole number of bytes from 1, not {excerpt(max_size)}")
    try:
        return _content_codec(content_type, format, max_size)  # type: ignore[arg-type]  # a type is hashable
    except Exception as error:  # a NameError for a forward reference among them
        raise MessageTypeError(f"no content can be {_name_of(content_type)}: {_shortened(str(error))}") from error


@lru_cache(maxsize=4096)
def _content_codec(content_type: Any, format: Format, max_size: int) -> ContentCodec[Any]:
    info = inspect.type_info(content_type)
    nodes = list(_nodes(info))
    models = [_checked_model(node.cls) for node in nodes if isinstance(node, inspect.CustomType)]
    for node in nodes:
        if isinstance(node, inspect.DataclassType) and hasattr(node.cls, _PYDANTIC):
            raise TypeError(f"pydantic would not validate its dataclass {node.cls.__name__}: make it a BaseModel")
    coding = (_json if format == "json" else _msgpack)(content_type, bool(models))
    name = _name_of(content_type)
    said = f"{name} in {'JSON' if format == 'json' else 'msgpack'}"
    can_be_deep = _depth(info, {}) > MAX_DEPTH
    decode = _decoder(coding, said, max_size, can_be_deep=can_be_deep)
    kinds = {type(node) for node in nodes}
    loses_nan = format == "json" and (inspect.AnyType in kinds or kinds >= {inspect.FloatType, inspect.NoneType})
    encode = _encoder(coding, said, max_size, info, decode, loses_nan=loses_nan)
    return ContentCodec(name, format, encode, decode, None if can_be_deep else coding.decode)


def pack(value: object) -> bytes:
    """Return any value as msgpack, models of pydantic among it.

    Raises:
        InvalidContent: msgpack cannot hold it.
    """
    try:
        return pack_unchecked(value)
    except Exception as error:
        raise not_packable(value, error) from error


def not_packable(value: object, error: Exception) -> InvalidContent:
    """Return the error for a value that :data:`pack_unchecked` has failed with."""
    return _invalid(value, "a value for msgpack", error)


def dump_model(value: Any) -> object:
    """Return a model of pydantic as builtin types, for msgspec's ``enc_hook``; raise TypeError for anything else."""
    if not hasattr(value, _PYDANTIC):
        raise TypeError(f"type {type(value).__name__} is not supported")
    return value.model_dump(by_alias=True)


pack_unchecked = msgspec.msgpack.Encoder(enc_hook=dump_model).encode
"""Any value -> msgpack, as :func:`pack`, but raises what msgspec and models do: for who calls it for each message."""


@dataclass(frozen=True, slots=True)
class _Coding:
    """One format's part of a codec."""

    encode: Callable[[Any], bytes]
    decode: Callable[[Buffer], Any]
    check_depth: Callable[[bytes], None]
    containers: frozenset[int]  # first bytes of what can be deep; the rest is a text, bytes or a number, whatever follows


class _TooDeep(ValueError):
    def __init__(self) -> None:
        super().__init__(f"it is nested more than {MAX_DEPTH} deep")


class _TooLong(ValueError):
    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(f"it has {size} bytes, over max_size {max_size}")


def _json(content_type: Any, models: bool) -> _Coding:
    if not models:
        return _Coding(msgspec.json.Encoder().encode, msgspec.json.Decoder(content_type).decode, _check_json_depth, _ANY_BYTE)

    def dump(model: Any) -> object:
        return msgspec.Raw(model.model_dump_json(by_alias=True).encode())

    def load(model: Any, value: object) -> object:
        return _validated(model.model_validate_json, msgspec.json.encode(value))

    encode = msgspec.json.Encoder(enc_hook=dump).encode
    return _Coding(encode, msgspec.json.Decoder(content_type, dec_hook=load).decode, _check_json_depth, _ANY_BYTE)


def _msgpack(content_type: Any, models: bool) -> _Coding:
    def load(model: Any, value: object) -> object:
        return _validated(model.model_validate, value)

    def refuse(code: int, data: memoryview) -> NoReturn:
        raise ValueError(f"extension type {code} is not known")

    encoder = msgspec.msgpack.Encoder(enc_hook=dump_model if models else None)
    decoder = msgspec.msgpack.Decoder(content_type, dec_hook=load if models else None, ext_hook=refuse)
    return _Coding(encoder.encode, decoder.decode, _check_msgpack_depth, CONTAINERS)


def _decoder(coding: _Coding, said: str, max_size: int, *, can_be_deep: bool) -> Callable[[bytes], Any]:
    from_bytes, check_depth = coding.decode, coding.check_depth
    containers = coding.containers if can_be_deep else frozenset()
    unchecked_size = min(MAX_DEPTH, max_size) if can_be_deep else max_size  # so short a content cannot be deeper

    def decode(content: bytes) -> Any:
        try:
            if len(content) > unchecked_size:
                if len(content) > max_size:
                    raise _TooLong(len(content), max_size)
                if content[0] in containers:
                    check_depth(content)
            return from_bytes(content)
        except Exception as error:  # of a type's own __post_init__ as well
            raise _invalid(content, said, error) from error

    return decode


def _encoder(
    coding: _Coding, said: str, max_size: int, info: inspect.Type, decode: Callable[[bytes], Any], *, loses_nan: bool
) -> Callable[[Any], bytes]:
    to_bytes = coding.encode
    cls: type | None = None
    if isinstance(info, (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType, inspect.CustomType)):
        cls = info.cls

    def encode(value: Any) -> bytes:
        if cls is not None and type(value) is not cls and not isinstance(value, cls):
            raise InvalidContent(value, said, f"it is of type {type(value).__name__}")
        try:
            content = to_bytes(value)
            if len(content) > max_size:
                raise _TooLong(len(content), max_size)
            if loses_nan and content.find(b"null") >= 0:
                _check_finite(value)
        except Exception as error:
            raise _invalid(value, said, error) from error
        if cls is None:  # no class to ask: its bytes are validated, as the peer will
            try:
                decode(content)
            except InvalidContent as error:
                raise InvalidContent(value, error.rule, error.detail, error.path) from error
        return content

    return encode


def _invalid(value: object, said: str, error: Exception) -> InvalidContent:
    """Return the error for what msgspec, or a type's own code, says of a value or of the bytes of one."""
    if isinstance(error, RecursionError):
        error = _TooDeep()
    detail = str(error) if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError, OverflowError)) else ""
    detail = detail or type(error).__name__  # of others, which are a type's own, no more is said to a peer
    found = _PATHS.search(detail)
    path = ""
    if found:
        detail = detail[: found.start()]
        for part, parent in _PATH.findall(found[0]):  # the outermost comes last
            path = (f"{parent} ({part})" if parent else part) + path
        path = path if path.startswith("$") else f"${path}"
    return InvalidContent(value, said, _shortened(detail), path)


def _shortened(text: str) -> str:
    """Return a text of which parts are a peer's as a short printable line."""
    line = " ".join(text[: _MOST_DETAIL + 1].split())
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)
    return line if len(line) <= _MOST_DETAIL else line[: _MOST_DETAIL - 1] + "…"


def _name_of(content_type: Any) -> str:
    return (
        content_type.__name__ if isinstance(content_type, type) and not hasattr(content_type, "__args__") else excerpt(content_type)
    )


# Depth.


def json_depth(content: bytes) -> int:
    """Return how deep the arrays and objects of a JSON text are nested. No Python code runs for a byte of it."""
    outside = _JSON_STRING.sub(b"", content.replace(b"\\\\", b"").replace(b'\\"', b""))
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _check_json_depth(content: bytes) -> None:
    """Raise _TooDeep for a JSON text that is nested too deep."""
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH and json_depth(content) > MAX_DEPTH:
        raise _TooDeep


def _check_msgpack_depth(content: bytes) -> None:
    """Raise StructureError for msgpack that is nested too deep, or costs more than its bytes say."""
    if not has_few_containers(content):
        check_structure(content, MAX_DEPTH)


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        return chain(value, value.values())
    return iter(value) if isinstance(value, (list, tuple)) else iter(())


def _check_finite(value: object) -> None:
    """Raise ValueError for a value with a float that is NaN or infinite: JSON has null for it, which may be a value as well."""
    level = [msgspec.to_builtins(value, enc_hook=lambda model: model.model_dump(by_alias=True))]
    while level:
        if any(isinstance(each, float) and not math.isfinite(each) for each in level):
            raise ValueError("JSON holds no NaN and no infinite number")
        level = [child for each in level for child in _children(each)]


# Types.


def _parts(node: inspect.Type) -> tuple[inspect.Type, ...]:
    """Return what a type is made of."""
    if isinstance(node, (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType, inspect.TypedDictType)):
        return tuple(field.type for field in node.fields)
    if isinstance(node, inspect.CollectionType):
        return (node.item_type,)
    if isinstance(node, inspect.TupleType):
        return node.item_types
    if isinstance(node, inspect.DictType):
        return (node.key_type, node.value_type)
    if isinstance(node, inspect.UnionType):
        return node.types
    return (node.type,) if isinstance(node, inspect.Metadata) else ()


def _nodes(info: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a type and everything it is made of, each once."""
    waiting, seen = [info], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += _parts(node)


def _depth(node: inspect.Type, known: dict[int, float]) -> float:
    """Return how deep the values of a type can be nested: infinitely where it is within itself, or can be anything."""
    if isinstance(node, (inspect.AnyType, inspect.RawType, inspect.CustomType)):
        return math.inf
    if id(node) not in known:
        known[id(node)] = math.inf  # for itself, should it be met inside
        parts = _parts(node)
        transparent = not parts or isinstance(node, (inspect.UnionType, inspect.Metadata))
        known[id(node)] = max((_depth(part, known) for part in parts), default=0) + (not transparent)
    return known[id(node)]


# Pydantic.


def _checked_model(model: type) -> type:
    """Return a model of pydantic; raise TypeError for another type, and where pydantic is missing or too old."""
    if not any(base.__module__.partition(".")[0] == "pydantic" for base in model.__mro__):
        raise TypeError(f"type {model.__name__} is not supported")
    try:
        from pydantic import BaseModel, TypeAdapter  # noqa: F401, PLC0415 (an extra; the second is new in version 2)
    except ImportError:
        raise TypeError(f"{model.__name__} needs pydantic 2: pip install 'veltix-tx[pydantic]'") from None
    if not issubclass(model, BaseModel):
        raise TypeError(f"type {model.__name__} is not supported")
    return model


def _validated(validate: Callable[[Any], object], value: object) -> object:
    """Return what pydantic makes of a value; raise ValueError in msgspec's words for what it refuses."""
    from pydantic import ValidationError  # noqa: PLC0415 (an extra)

    try:
        return validate(value)
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part.replace('`', '')}" for part in first["loc"])
        raise ValueError(first["msg"] + (f" - at `{path}`" if path else "")) from None
