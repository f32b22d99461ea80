"""Messages as nodes give them to each other: the type by its key, the content in a form that every wire there can use."""

from __future__ import annotations

import msgspec

from veltix_tx.backplane.envelope import Message
from veltix_tx.errors import InvalidContent
from veltix_tx.wire.contents import pack
from veltix_tx.wire.messages import TEXT, MessageRegistry, MessageType

__all__ = ["from_message", "to_message"]

_BYTES = (bytes, bytearray, memoryview)

_unpack = msgspec.msgpack.Decoder().decode


def to_message(
    number: int, message_type: MessageType, value: object, exclude: tuple[str, ...] = (), *, drop: bool = False
) -> Message:
    """Return a message for other nodes.

    Raises:
        InvalidContent: the value is not of the type's ``content=``, or of another type and none that MessagePack holds.
    """
    if isinstance(value, _BYTES):
        return Message(number, message_type.key, bytes(value), "b", exclude, drop)
    if message_type.codec is not None:
        return Message(number, message_type.key, message_type.codec.encode(value), "t", exclude, drop)
    return Message(number, message_type.key, pack(value), "v", exclude, drop)


def from_message(message: Message, types: MessageRegistry) -> tuple[MessageType, object]:
    """Return the type and the value of another node's message.

    Args:
        message: the message.
        types: the types known here.

    Raises:
        LookupError: no type has the key.
        InvalidContent: the content is not of the type's ``content=`` here.
    """
    key = message.key
    message_type = types.get(key) if isinstance(key, int) else TEXT if key == TEXT.key else types.named(key)
    if message_type is None:
        raise LookupError(key)
    if message.form == "b":
        return message_type, message.content
    if message.form == "t" and message_type.codec is not None:
        return message_type, message_type.codec.decode(message.content)
    try:
        return message_type, _unpack(message.content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidContent(message.content, "one value in MessagePack") from None
