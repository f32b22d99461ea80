"""Message types and their registries; :class:`Request` to send, :class:`Response` as received."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, fields
from enum import Enum
from functools import cached_property

from veltix_tx.errors import MessageTypeError, excerpt

__all__ = [
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
    "CodeRange",
    "MessageRegistry",
    "MessageType",
    "Request",
    "Response",
    "as_content",
    "parts_of",
]

NO_CODE = -1
"""Code of a type that has a name alone."""

_LONGEST_NAME, _MOST_NAMES = 255, 1024
"""Characters of a name that an open registry takes from a peer, and how many types it keeps for peers' names."""

FIRST_USER_CODE = 200
_FIRST_PLUGIN_CODE = 500
_LAST_CODE = 65535


class CodeRange(Enum):
    """Whose a type code is."""

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
        """Whether two definitions of a code are those of one type."""
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
class MessageType:
    """A kind of message. Two are equal when their keys are. One that is defined twice in the same way is the same type.

    Args:
        code: 200 to 499 for applications, 500 to 65535 for plugins; none for wires that carry names only.
        name: for people and logs; ``type_<code>`` by default.
        description: for people.
        registry: where it is registered; the process-wide registry by default.

    Attributes:
        key: the code, or the name of a type without one: what picks the route.

    Raises:
        MessageTypeError: the code is not a whole number from 200 to 65535, or is taken by a type with another definition.
    """

    code: int = field(default=NO_CODE, compare=False)
    name: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    registry: InitVar[MessageRegistry | None] = None
    key: int | str = field(init=False, repr=False)

    def __post_init__(self, registry: MessageRegistry | None) -> None:
        named = self.code == NO_CODE and bool(self.name)
        if isinstance(self.code, bool) or not isinstance(self.code, int) or not (named or 0 <= self.code <= _LAST_CODE):
            raise MessageTypeError(f"a message type's code is a whole number up to {_LAST_CODE}, not {excerpt(self.code)}")
        if not self.name:
            object.__setattr__(self, "name", f"type_{self.code}")
        object.__setattr__(self, "key", self.name if named else self.code)
        (PROCESS_TYPES if registry is None else registry).register(self)

    @property
    def range(self) -> CodeRange:
        """Whose code it is; a type without one is the application's."""
        return CodeRange.USER if self.code == NO_CODE else next(owner for owner in CodeRange if self.code in owner.value)


def _difference(known: MessageType, other: MessageType) -> str:
    """Return the first field in which two definitions differ, empty for equal ones."""
    return next((each.name for each in fields(known) if getattr(known, each.name) != getattr(other, each.name, None)), "")


_system = MessageRegistry(codes=CodeRange.SYSTEM.value)
PING = MessageType(0, "PING", "asks for a PONG with the same request id", _system)
PONG = MessageType(1, "PONG", "answers a PING", _system)
HELLO = MessageType(10, "HELLO", "a server's version, releases 1.4.0 to 1.7.5", _system)
HELLO_ACK = MessageType(11, "HELLO_ACK", "a client's version, releases 1.4.0 to 1.7.5", _system)
ERROR = MessageType(20, "ERROR", "a request failed, releases 1.2.0 to 1.9.0", _system)
INVALID_REQUEST = MessageType(21, "INVALID_REQUEST", "reserved by releases 1.2.0 to 1.9.0", _system)
SYSTEM_TYPES = {known.code: known for known in _system}
"""Known to every registry."""

_extensions = MessageRegistry(codes=range(100, FIRST_USER_CODE))
FAILED = MessageType(100, "FAILED", "a request failed, and why; between two of this package that agreed on it", _extensions)
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
    raise TypeError(f"message content is bytes, not {type(value).__name__} (encode text first)")


@dataclass(slots=True)
class Request:
    """A message to send.

    Args:
        type: its type.
        content: its bytes, or a value that the session's wire carries.
        request_id: the id of the message it answers; None for a message of its own.
    """

    type: MessageType
    content: object = b""
    request_id: int | None = None

    def respond(self, response: Response) -> Request:
        """Make this the answer to ``response`` by taking its request id; returns itself."""
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


@dataclass(slots=True, eq=False)
class Response:
    """A message as received, an answer or not.

    Attributes:
        type: its type.
        content: its bytes.
        request_id: what an answer to it must carry.
        digest: the checksum as received, an int (CRC-32) or 32 bytes (SHA-256).
        received_at: this side's calendar clock when it arrived, ms.
        timestamp: the sender's clock when it was sent, ms; None where the wire carries none.
            A claim of the peer: never rely on it.
    """

    type: MessageType
    content: bytes
    request_id: int
    digest: int | bytes
    received_at: int
    timestamp: int | None = None

    @property
    def value(self) -> object:
        """The content as the wire means it: bytes here; a wire of texts or objects has a subclass."""
        return self.content

    @property
    def hash(self) -> bytes:
        """The checksum as it stood on the wire: 4 bytes (CRC-32) or 32 (SHA-256)."""
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
