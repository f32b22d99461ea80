"""Message types and their registries; :class:`Request` to send, :class:`Response` as received."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, fields
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from msgspec import UNSET, Struct, UnsetType

from veltix_tx.errors import MessageTypeError, excerpt
from veltix_tx.wire.contents import MAX_SIZE, ContentCodec, Format, content_codec

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
    R = TypeVar("R", default=Any)
else:  # where defaults of type variables are new
    from typing import TypeVar

    T, R = TypeVar("T"), TypeVar("R")

__all__ = [
    "AUTHENTICATE",
    "CALL",
    "CANCEL",
    "ERROR",
    "EXTENSION_TYPES",
    "FAILED",
    "FIRST_USER_CODE",
    "HELLO",
    "HELLO_ACK",
    "INVALID_REQUEST",
    "NO_CODE",
    "PING",
    "PONG",
    "PROCESS_TYPES",
    "RESULT",
    "RESUME",
    "ROOM",
    "ROOM_LEFT",
    "ROOM_POSITION",
    "TEXT",
    "BytesLike",
    "CodeRange",
    "MessageRegistry",
    "MessageType",
    "R",
    "Request",
    "Response",
    "T",
    "as_content",
    "encode_content",
    "parts_of",
]

BytesLike = bytes | bytearray | memoryview

_BYTES = (bytes, bytearray, memoryview)
"""The same for ``isinstance``, which takes three times as long with a union."""

NO_CODE = -1
"""Code of a type that has a name alone."""

_LONGEST_NAME, _MOST_NAMES = 255, 1024
"""Characters of a name that an open registry takes from a peer, and how many types it keeps for peers' names."""

FIRST_USER_CODE = 200
_FIRST_PLUGIN_CODE = 500
_LAST_CODE = 65535


class CodeRange(Enum):
    """Range of type codes, by its owner."""

    SYSTEM = range(FIRST_USER_CODE)
    USER = range(FIRST_USER_CODE, _FIRST_PLUGIN_CODE)
    PLUGIN = range(_FIRST_PLUGIN_CODE, _LAST_CODE + 1)


class MessageRegistry:
    """The message types one program, server or client knows.

    A code has one type in a registry. An equal definition of it may come again, as when a module is loaded a second
    time, and is the same type. Two libraries that both use code 200 in one process each make a registry of their own and
    give it to their server or client.

    Args:
        open: accept every user and plugin code: one that is not registered gets a type named
            ``type_<code>`` when it is first seen (what the echo and relay applications need).
        codes: the codes it may hold; all but Veltix's own by default.
    """

    def __init__(self, *, open: bool = False, codes: range = range(FIRST_USER_CODE, _LAST_CODE + 1)) -> None:
        self._codes = codes
        self._types: dict[int | str, MessageType] = {}  # by key
        self._named: dict[str, MessageType] = {}  # the first of each name
        self._open = open

    def register(self, message_type: MessageType) -> None:
        """Add a type; where an equal one is there already, that stays.

        Raises:
            MessageTypeError: the code is reserved, or has a type with another definition.
        """
        code, key = message_type.code, message_type.key
        if code not in self._codes and code != NO_CODE:
            raise MessageTypeError(f"code {code} is not one of {self._codes[0]} to {self._codes[-1]}")
        known = self._types.setdefault(key, message_type)
        self._named.setdefault(known.name, known)
        if not self._same(known, message_type):
            differs = _difference(known, message_type)
            detail = ""
            if differs not in ("", "name"):
                theirs, other = (excerpt(getattr(each, differs)) for each in (known, message_type))
                detail = f", whose {differs} is {theirs} and not {other}"
            what = "name" if code == NO_CODE else "code"
            raise MessageTypeError(
                f"{what} {key} is taken by {known.name!r}{detail}: choose another code, or give {message_type.name!r} "
                "a MessageRegistry of its own"
            )

    def _same(self, known: MessageType, message_type: MessageType) -> bool:
        """Return True if two definitions of a code are those of one type."""
        return known is message_type or not _difference(known, message_type)

    def unregister(self, message_type: MessageType) -> bool:
        """Take a type back, so that its code is free; return whether it was there."""
        known = self._types.pop(message_type.key, None)
        if known is not None and self._named[known.name] is known:
            del self._named[known.name]
            self._named.update((each.name, each) for each in reversed(self._types.values()) if each.name == known.name)
        return known is not None

    def get(self, code: int) -> MessageType | None:
        """Return the type with ``code``, or None where it is not known."""
        known = self._types.get(code) or SYSTEM_TYPES.get(code)
        if known is None and self._open and code in self._codes:
            known = MessageType(code, registry=self)
        return known

    @property
    def holds_system_codes(self) -> bool:
        """True if a program may define types with codes below 200 here, as upstream's 1.x lets it."""
        return self._codes.start < FIRST_USER_CODE

    def named(self, name: str) -> MessageType | None:
        """Return the type with a name, for wires that carry names in place of codes; None where it is not known."""
        known = self._named.get(name)
        if known is None and self._open and name.isprintable() and 0 < len(name) <= _LONGEST_NAME:
            crowded = len(self._types) >= _MOST_NAMES  # peers choose them: further ones serve their message and are not kept
            known = MessageType(name=name, registry=MessageRegistry() if crowded else self)
        return known

    @cached_property
    def lookup(self) -> Callable[[int], MessageType | None]:
        """:meth:`get`, bound once for every connection that keeps it."""
        return self.get

    @cached_property
    def extended_lookup(self) -> Callable[[int], MessageType | None]:
        """The same with :data:`EXTENSION_TYPES`, for the connections that agreed on them."""
        return lambda code: EXTENSION_TYPES.get(code) or self.get(code)

    def __iter__(self) -> Iterator[MessageType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)


PROCESS_TYPES = MessageRegistry()
"""The registry a :class:`MessageType` joins unless it is given another."""


@dataclass(frozen=True, slots=True)
class MessageType(Generic[T, R]):
    """A kind of message. Two are equal when their keys are. One that is defined twice in the same way is the same type.

    ``MessageType[Order, Receipt]`` is for type checkers one whose messages are Orders, and the replies to them Receipts.

    Args:
        code: 200 to 499 for applications, 500 to 65535 for plugins; none for wires that carry names only.
        name: for people and logs; ``type_<code>`` by default.
        description: for people.
        registry: where it is registered; the process-wide registry by default.
        content: type of its messages' values: a dataclass, msgspec.Struct, TypedDict, NamedTuple, pydantic model, builtin type,
            or a union of these; bytes, which are taken as they are, by default.
        format: format in which such values are sent: ``"json"`` or ``"msgpack"``.
        reply: type of what answers such a message; that of ``content`` by default.
        max_size: maximum bytes of a value as it is sent. A longer content is invalid, and a longer value is not sent.

    Attributes:
        key: the code, or the name of a type without one: what picks the route.
        codec: codec of its values, None for bytes.
        reply_codec: codec of the values that answer it, None for bytes.

    Raises:
        MessageTypeError: the code is not a whole number from 200 to 65535, or is taken by a type with another definition;
            bytes cannot be decoded into the content or the reply; there is no such format.
    """

    code: int = field(default=NO_CODE, compare=False)
    name: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    registry: InitVar[MessageRegistry | None] = None
    content: Any = field(default=bytes, compare=False, repr=False, kw_only=True)
    format: Format = field(default="json", compare=False, repr=False, kw_only=True)
    reply: Any = field(default=None, compare=False, repr=False, kw_only=True)
    max_size: int = field(default=MAX_SIZE, compare=False, repr=False, kw_only=True)
    key: int | str = field(init=False, repr=False)
    codec: ContentCodec[T] | None = field(init=False, compare=False, repr=False)
    reply_codec: ContentCodec[R] | None = field(init=False, compare=False, repr=False)

    if TYPE_CHECKING:  # what the dataclass makes, with the types that follow from the arguments

        @overload
        def __init__(
            self: MessageType[bytes, bytes],
            code: int = ...,
            name: str = ...,
            description: str = ...,
            registry: MessageRegistry | None = ...,
        ) -> None: ...
        @overload
        def __init__(
            self: MessageType[bytes, R],
            code: int = ...,
            name: str = ...,
            description: str = ...,
            registry: MessageRegistry | None = ...,
            *,
            reply: type[R],
            format: Format = ...,
            max_size: int = ...,
        ) -> None: ...
        @overload
        def __init__(
            self: MessageType[T, T],
            code: int = ...,
            name: str = ...,
            description: str = ...,
            registry: MessageRegistry | None = ...,
            *,
            content: type[T],
            format: Format = ...,
            max_size: int = ...,
        ) -> None: ...
        @overload
        def __init__(
            self: MessageType[T, R],
            code: int = ...,
            name: str = ...,
            description: str = ...,
            registry: MessageRegistry | None = ...,
            *,
            content: type[T],
            reply: type[R],
            format: Format = ...,
            max_size: int = ...,
        ) -> None: ...
        @overload
        def __init__(  # a union, which is no type[T]: the annotation of the variable says the rest
            self,
            code: int = ...,
            name: str = ...,
            description: str = ...,
            registry: MessageRegistry | None = ...,
            *,
            content: object = ...,
            reply: object = ...,
            format: Format = ...,
            max_size: int = ...,
        ) -> None: ...
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __post_init__(self, registry: MessageRegistry | None) -> None:
        named = self.code == NO_CODE and bool(self.name)
        if isinstance(self.code, bool) or not isinstance(self.code, int) or not (named or 0 <= self.code <= _LAST_CODE):
            raise MessageTypeError(f"a message type's code is a whole number up to {_LAST_CODE}, not {excerpt(self.code)}")
        if not self.name:
            object.__setattr__(self, "name", f"type_{self.code}")
        object.__setattr__(self, "key", self.name if named else self.code)
        if self.reply is None:
            object.__setattr__(self, "reply", self.content)
        for name, content_type in (("codec", self.content), ("reply_codec", self.reply)):
            codec = None if content_type is bytes else content_codec(content_type, self.format, self.max_size)
            object.__setattr__(self, name, codec)
        (PROCESS_TYPES if registry is None else registry).register(self)

    @property
    def range(self) -> CodeRange:
        """Range of its code; a type without one is the application's."""
        return CodeRange.USER if self.code == NO_CODE else next(owner for owner in CodeRange if self.code in owner.value)


def _difference(known: MessageType, other: MessageType) -> str:
    """Return the first field in which two definitions differ, empty for equal ones."""
    return next((each.name for each in fields(known) if getattr(known, each.name) != getattr(other, each.name)), "")


_system = MessageRegistry(codes=CodeRange.SYSTEM.value)
PING = MessageType(0, "PING", "asks for a PONG with the same request id", _system)
PONG = MessageType(1, "PONG", "answers a PING", _system)
HELLO = MessageType(10, "HELLO", "a server's version, releases 1.4.0 to 1.7.5", _system)
HELLO_ACK = MessageType(11, "HELLO_ACK", "a client's version, releases 1.4.0 to 1.7.5", _system)
ERROR = MessageType(20, "ERROR", "a request failed, releases 1.2.0 to 1.9.0", _system)
INVALID_REQUEST = MessageType(21, "INVALID_REQUEST", "reserved by releases 1.2.0 to 1.9.0", _system)
SYSTEM_TYPES = {known.code: known for known in _system}
"""Known to every registry."""

TEXT = MessageType(
    name="text", description="Type of every message on a plain wire that names no other.", registry=MessageRegistry()
)
"""The type of every message on a plain wire that names no other. It is in no registry: another type of the name is equal to it."""

_extensions = MessageRegistry(codes=range(100, FIRST_USER_CODE))
FAILED = MessageType(100, "FAILED", "a request failed, and why; between two of this package that agreed on it", _extensions)
AUTHENTICATE = MessageType(
    110, "AUTHENTICATE", "new credentials, and the verdict on them; between two of this package that agreed on it", _extensions
)
CANCEL = MessageType(111, "CANCEL", "nobody waits for a call any more; between two of this package that agreed on it", _extensions)
CALL = MessageType(112, "CALL", "calls a method; between two of this package that agreed on it", _extensions)
RESULT = MessageType(113, "RESULT", "what a call returned; likewise", _extensions)
ROOM = MessageType(120, "ROOM", "a message of a room with a history, and its place there; likewise", _extensions)
ROOM_POSITION = MessageType(121, "ROOM_POSITION", "the place up to which a client has a room's messages; likewise", _extensions)
ROOM_LEFT = MessageType(122, "ROOM_LEFT", "a client is in a room no more; likewise", _extensions)
RESUME = MessageType(123, "RESUME", "the places that a client had in rooms; likewise", _extensions)
EXTENSION_TYPES = {known.code: known for known in _extensions}
"""Known to a connection whose peers agreed on them, see :mod:`veltix_tx.wire.veltix.extensions`; to no registry."""


def as_content(value: object) -> bytes:
    """Return message content as bytes.

    Raises:
        TypeError: it is not bytes, bytearray or memoryview.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"message content is bytes, not {type(value).__name__} (encode text first, or give its type content=)")


def encode_content(message_type: MessageType, value: object) -> bytes:
    """Return a value as the content of a message of a type. Bytes are the content already.

    Raises:
        InvalidContent: it is not of the type's ``content=``.
        TypeError: it is not bytes, and the type has no ``content=``.
    """
    codec = message_type.codec
    return as_content(value) if codec is None or isinstance(value, _BYTES) else codec.encode(value)


@dataclass(slots=True)
class Request(Generic[T, R]):
    """A message to send.

    Args:
        type: its type.
        content: a value of the type's ``content=``, or its bytes; or a value that the session's wire carries.
        request_id: the id of the message it answers; None for a message of its own.
    """

    type: MessageType[T, R]
    content: T | BytesLike = b""
    request_id: int | None = None

    def respond(self, response: Response[Any]) -> Request[T, R]:
        """Make this the answer to ``response`` by taking its request id; returns itself.

        One of the same type is a reply, whose content is a value of the type's ``reply=``.

        Raises:
            InvalidContent: it is not.
        """
        if self.type.key == response.type.key:
            self.content = response._encode_reply(self.content)  # type: ignore[assignment]
        self.request_id = response.request_id
        return self


def parts_of(
    message: MessageType | Request, value: object = b"", request_id: int | None = None
) -> tuple[MessageType, object, int | None]:
    """Return type, value and request id of what a program sends: a whole Request, or these one by one.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(message, Request):
        return message.type, message.content, message.request_id
    if not isinstance(message, MessageType):
        raise TypeError(f"what is sent is a MessageType or a Request, not {excerpt(message)}")
    return message, value, request_id


_EPOCH_FLOOR_MS = 10**12
"""2001-09-09. A clock below it is no calendar clock: 1.6.9 sends the ms of its uptime."""


class _Decoded(Struct, Generic[T], kw_only=True, eq=False, gc=False):
    """Decoded value of a message, which no copy of the message takes over."""

    _value: T | UnsetType = UNSET


@dataclass(init=False, eq=False, match_args=False)
class Response(_Decoded[T], Generic[T], eq=False, gc=False):
    """A message as received, an answer or not.

    It is a dataclass for ``dataclasses.replace``, and a Struct because there may be a million in a second: the garbage collector
    does not look at it. So a value that is given a reference to its own message is never freed.

    Attributes:
        type: its type.
        content: its bytes.
        request_id: what an answer to it must carry.
        digest: the checksum as received, an int (CRC-32) or 32 bytes (SHA-256).
        received_at: this side's calendar clock when it arrived, ms.
        timestamp: the sender's clock when it was sent, ms; None where the wire carries none.
            A claim of the peer: never rely on it.
    """

    type: MessageType[T, Any]
    content: bytes
    request_id: int
    digest: int | bytes
    received_at: int
    timestamp: int | None = None

    @property
    def value(self) -> T:
        """Content as its type means it, decoded by ``content=``, that of a reply by the request's ``reply=``; else bytes.

        A wire of texts or objects has a subclass.

        Raises:
            InvalidContent: the content does not fit. It is decoded before a route is called, and before a reply is passed on.
        """
        value = self._value  # what is kept is that which was decoded first
        return self._decode() if value is UNSET else value

    def _decode(self) -> T:
        """Decode :attr:`value` by the type's ``content=`` and return it; raises InvalidContent."""
        codec = self.type.codec
        self._value = value = cast(T, self.content) if codec is None else codec.decode(self.content)
        return value

    def _decode_as_reply(self, request_type: MessageType[Any, T]) -> T:
        """Decode :attr:`value` as that of a reply to a request of a type; raises InvalidContent.

        A reply of another type than the request is one by its own ``content=``.
        """
        codec = request_type.reply_codec
        if codec is None or request_type.key != self.type.key:
            return self._decode()
        self._value = value = codec.decode(self.content)
        return value

    def _encode_reply(self, value: object) -> object:
        """Return a value of the type's ``reply=`` as the content of a reply to this message, what the wire judges without one.

        Raises:
            InvalidContent: it is neither of the type's ``reply=`` nor bytes.
        """
        codec = self.type.reply_codec
        return value if codec is None or isinstance(value, _BYTES) else codec.encode(value)

    @property
    def hash(self) -> bytes:
        """Checksum as it stood on the wire, 4 bytes (CRC-32) or 32 (SHA-256)."""
        return self.digest if isinstance(self.digest, bytes) else self.digest.to_bytes(4, "big")

    @property
    def latency(self) -> int | None:
        """The way from the peer in ms as the two clocks have it, not below 0.

        None where the wire carries no clock, or no calendar clock (release 1.6.9). For a true
        round trip use a ping.
        """
        if self.timestamp is None or self.timestamp < _EPOCH_FLOOR_MS:
            return None
        return max(0, self.received_at - self.timestamp)
