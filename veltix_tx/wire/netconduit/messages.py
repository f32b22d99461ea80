"""Values of MESSAGE frames: packed ``data``, typed where the message's type has a ``content=``."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from veltix_tx.errors import InvalidContent, MalformedFrame
from veltix_tx.wire.contents import ContentCodec, content_codec
from veltix_tx.wire.messages import MessageType, Response
from veltix_tx.wire.netconduit.payloads import check_packed, check_sendable, pack, unpack

__all__ = ["PackedMessage", "pack_data"]

_BYTES = (bytes, bytearray, memoryview)


class PackedMessage(Response[Any]):
    """A MESSAGE: ``content`` is its packed ``data``, ``value`` what that unpacks to.

    Without a ``content=`` that is None, a bool, an int, a float, text, bytes, a list, or a dict. A type's values are packed
    here whatever its ``format=`` says.
    """

    def _decode(self) -> Any:
        """Unpack :attr:`value` by the type's ``content=`` and return it; raises InvalidContent."""
        kind = self.type
        self._value = unpack(self.content) if kind.codec is None else _codec(kind, kind.content).decode(self.content)
        return self._value

    def _decode_as_reply(self, request_type: MessageType[Any, Any]) -> Any:
        """Unpack :attr:`value` as that of a reply to a request of a type; raises InvalidContent."""
        if request_type.reply_codec is None or request_type.key != self.type.key:
            return self._decode()
        self._value = _codec(request_type, request_type.reply).decode(self.content)
        return self._value

    def _encode_reply(self, value: object) -> object:
        """Return a value of the type's ``reply=`` packed, what the wire judges without one; raises InvalidContent."""
        if self.type.reply_codec is None or type(value) is Raw:  # the latter is packed already
            return value
        return Raw(_pack_typed(self.type, self.type.reply, value))


def pack_data(message_type: MessageType, value: object) -> bytes:
    """Return a value as the ``data`` of a MESSAGE.

    Args:
        message_type: its type.
        value: anything that msgpack carries; of a type with ``content=`` a value of that, or its packed bytes.

    Raises:
        InvalidContent: it is not of the type's ``content=``, or netconduit's releases cannot take it.
        TypeError: it is none of msgpack's.
    """
    if type(value) is Raw:  # a reply
        return bytes(value)
    return pack(value) if message_type.codec is None else _pack_typed(message_type, message_type.content, value)


def _pack_typed(message_type: MessageType, content_type: Any, value: object) -> bytes:
    if isinstance(value, _BYTES):
        packed = bytes(value)
        try:
            check_packed(packed)
        except (MalformedFrame, IndexError):  # the latter for no bytes at all
            raise InvalidContent(value, "one msgpack object, or a value") from None
        return packed
    packed = _codec(message_type, content_type).encode(value)
    check_sendable(packed)
    return packed


def _codec(message_type: MessageType, content_type: Any) -> ContentCodec[Any]:
    return content_codec(content_type, "msgpack", message_type.max_size)
