"""Envelopes: what nodes say to each other, as MessagePack with a version in front, authenticated where a key is given.

A payload is a byte, the version of the format (bit 7: it is authenticated), then 32 bytes of HMAC-SHA256 over all the rest and the
topic or node it is for where it is authenticated, then an array of MessagePack: the kind's tag and its fields. A later version of
this package may add fields at an array's end, which are ignored here, and kinds, which are counted. It is never pickled.

With a key a node takes nothing else than what was made with that key. Whoever can write to the engine but does not know the key can
still repeat or hold back what was said.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from veltix_tx.errors import SettingsError

__all__ = [
    "Answer",
    "CallTo",
    "Disconnect",
    "Done",
    "Envelopes",
    "Failed",
    "Found",
    "Message",
    "Question",
    "Returned",
    "Select",
    "SendTo",
    "Unreadable",
]

VERSION = 1
"""Version of the format."""

_SIGNED = 0x80

_MAC_SIZE = 32

MIN_KEY_SIZE = 16
"""Minimum bytes of a key."""


class _Kind(msgspec.Struct, array_like=True, frozen=True, tag=True, omit_defaults=False):
    """Statement between nodes."""


class Message(_Kind, frozen=True, tag="m"):
    """Message for the sessions of a room, or of all nodes.

    Attributes:
        number: of the message among those that its node has published.
        key: its type's code, or the name of one without.
        content: its content.
        form: how ``content`` is to be read: ``b`` as it is, ``t`` by the type's ``content=``, ``v`` as a value in MessagePack.
        exclude: connection ids of sessions that do not get it.
        drop: True if it is dropped for a session whose queue is full; else that is closed.
    """

    number: int
    key: int | str
    content: bytes
    form: str = "b"
    exclude: tuple[str, ...] = ()
    drop: bool = False


class SendTo(_Kind, frozen=True, tag="s"):
    """Message for one session. Answered with Done, or Failed."""

    connection_id: str
    message: Message


class CallTo(_Kind, frozen=True, tag="c"):
    """Call of a method of a session's peer. Answered with Returned, or Failed.

    Attributes:
        connection_id: the session's.
        method: the method's name.
        args: positional arguments.
        kwargs: keyword arguments.
        timeout: seconds that the peer has.
        metadata: texts that travel with the call.
    """

    connection_id: str
    method: str
    args: tuple[msgspec.Raw, ...]
    kwargs: dict[str, msgspec.Raw]
    timeout: float
    metadata: dict[str, str]


class Disconnect(_Kind, frozen=True, tag="d"):
    """Close a session. Answered with Done, or Failed."""

    connection_id: str


class Select(_Kind, frozen=True, tag="q"):
    """Question for the sessions with some tags and an identity. Answered with Found.

    Attributes:
        all_of: tags that must all be set.
        any_of: tags of which one must be set.
        identity: the packed identity; empty for any.
        limit: maximum of ids in the answer.
    """

    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    identity: bytes
    limit: int


class Done(_Kind, frozen=True, tag="D"):
    """It was done."""


class Returned(_Kind, frozen=True, tag="R"):
    """Result of a call, in MessagePack."""

    value: bytes


class Found(_Kind, frozen=True, tag="F"):
    """Connection ids of the sessions that were asked for."""

    connection_ids: tuple[str, ...]


class Failed(_Kind, frozen=True, tag="E"):
    """It was not done.

    Attributes:
        error: name of the exception, of those that the asker knows.
        code: an RpcError's code.
        message: its words.
        details: its details, as MessagePack.
    """

    error: str
    code: str = ""
    message: str = ""
    details: bytes = b"\xc0"


Question = SendTo | CallTo | Disconnect | Select
"""Request of one node to another."""

Answer = Done | Returned | Found | Failed
"""Answer to a :data:`Question`."""

K = TypeVar("K")


_REMEDY = "give all nodes the same backplane key"


class Unreadable(Exception):
    """A payload cannot be read: the reason is its text, for people."""


class Envelopes(Generic[K]):
    """Codec of one set of kinds.

    Args:
        kinds: the class, or the union of classes.
        key: the secret that all nodes share; None for none.

    Raises:
        SettingsError: the key is none, or shorter than :data:`MIN_KEY_SIZE` bytes.
    """

    def __init__(self, kinds: Any, key: bytes | None = None) -> None:
        if key is not None and not (isinstance(key, bytes) and len(key) >= MIN_KEY_SIZE):
            raise SettingsError("backplane_key", "***", f"at least {MIN_KEY_SIZE} bytes")
        self._key = key
        self._encode: Callable[[K], bytes] = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes | memoryview], K] = msgspec.msgpack.Decoder(kinds).decode

    def seal(self, said: K, to: str) -> bytes:
        """Return a payload for a topic or node.

        Raises:
            TypeError: MessagePack cannot hold a part of it.
        """
        body = self._encode(said)
        if self._key is None:
            return b"\x01" + body
        return b"\x81" + self._mac(body, to) + body

    def open(self, payload: bytes, to: str) -> K:
        """Return what a payload for a topic or node says.

        Raises:
            Unreadable: it is another version's, not authenticated by the key, of an unknown kind or malformed.
        """
        version = payload[0] if payload else 0
        if version & ~_SIGNED != VERSION:
            raise Unreadable(f"its version is {version & ~_SIGNED}, not {VERSION}")
        if (version & _SIGNED != 0) != (self._key is not None):
            found = "not authenticated" if self._key is not None else "authenticated, and there is no key here"
            raise Unreadable(f"it is {found}: {_REMEDY}")
        begin = 1
        if self._key is not None:
            begin += _MAC_SIZE
            if not hmac.compare_digest(payload[1:begin], self._mac(payload[begin:], to)):
                raise Unreadable(f"it was made with another key: {_REMEDY}")
        try:
            return self._decode(memoryview(payload)[begin:])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise Unreadable("it is malformed, or of a kind that is not known here") from None

    def _mac(self, body: bytes, to: str) -> bytes:
        assert self._key is not None
        name = to.encode()
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + body, "sha256")
