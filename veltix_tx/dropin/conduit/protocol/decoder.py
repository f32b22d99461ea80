"""Bytes as frames, for programs that look at them; Server and Client have their own, bounded way."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from msgspec import MsgspecError

from veltix_tx.dropin.conduit.exceptions import ProtocolError
from veltix_tx.dropin.conduit.protocol.format import HEADER_SIZE, MAX_PAYLOAD_SIZE, MessageFlags, MessageHeader, MessageType
from veltix_tx.errors import MalformedFrame
from veltix_tx.wire.netconduit.payloads import check_packed, inflate, unpack

__all__ = ["DecodeError", "DecodedMessage", "IncompleteMessageError", "ProtocolDecoder"]


class DecodeError(ProtocolError):
    """Bytes are no frame."""


class IncompleteMessageError(ProtocolError):
    """Bytes are less than a frame.

    Attributes:
        bytes_needed: how many more there must be, as far as they tell.
    """

    def __init__(self, bytes_needed: int) -> None:
        super().__init__(f"{bytes_needed} more bytes are needed")
        self.bytes_needed = bytes_needed


class DecodedMessage:
    """A frame.

    Attributes:
        header: its header.
        payload: its payload, unpacked; None without one.
        raw_payload: the same packed, and not compressed.
    """

    def __init__(self, header: MessageHeader, payload: Any, raw_payload: bytes) -> None:
        self.header = header
        self.payload = payload
        self.raw_payload = raw_payload

    def __repr__(self) -> str:
        return f"DecodedMessage(type={self.message_type.name}, correlation_id={self.correlation_id})"

    @property
    def message_type(self) -> MessageType:
        """Type of the frame."""
        return self.header.message_type

    @property
    def correlation_id(self) -> int:
        """Id of the call it belongs to, else 0."""
        return self.header.correlation_id

    @property
    def timestamp(self) -> int:
        """The sender's clock when it was sent, ms since 1970."""
        return self.header.timestamp

    @property
    def flags(self) -> MessageFlags:
        """Its flags."""
        return self.header.flags

    def is_compressed(self) -> bool:
        """Return True if its payload came compressed."""
        return bool(self.flags & MessageFlags.COMPRESSED)

    def get_message_type_str(self) -> Any:
        """Return a MESSAGE's own type; None for another frame."""
        return self._said("type", MessageType.MESSAGE)

    def get_data(self) -> Any:
        """Return a MESSAGE's data, another frame's payload."""
        return self._said("data", MessageType.MESSAGE) if self.message_type is MessageType.MESSAGE else self.payload

    def get_rpc_method(self) -> Any:
        """Return a call's method; None for another frame."""
        return self._said("method", MessageType.RPC_REQUEST)

    def get_rpc_params(self) -> Any:
        """Return a call's arguments; empty for another frame."""
        return self._said("params", MessageType.RPC_REQUEST) or {}

    def get_rpc_result(self) -> Any:
        """Return an answer's result; None for another frame."""
        return self._said("result", MessageType.RPC_RESPONSE, MessageType.RPC_ERROR)

    def get_rpc_error(self) -> Any:
        """Return what an RPC_ERROR says; None for another frame."""
        return self._said("error", MessageType.RPC_ERROR)

    def is_success(self) -> bool:
        """Return False if it says that something failed."""
        return bool(self.payload.get("success", True)) if isinstance(self.payload, dict) else True

    def _said(self, key: str, *types: MessageType) -> Any:
        """Return what the payload has under a key, None where the frame is none of these types."""
        return self.payload.get(key) if self.message_type in types and isinstance(self.payload, dict) else None


class ProtocolDecoder:
    """Decodes frames from bytes that come in parts."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data

    def decode_one(self) -> DecodedMessage | None:
        """Return the next frame, None where it has not come whole.

        Raises:
            DecodeError: it is none. The bytes stay.
        """
        try:
            message = self.decode_single(bytes(self._buffer[: self._frame_size()]))
        except IncompleteMessageError:
            return None
        del self._buffer[: HEADER_SIZE + message.header.content_length]
        return message

    def decode_all(self) -> list[DecodedMessage]:
        """Return every frame that has come whole; raises as :meth:`decode_one`."""
        messages = []
        while (message := self.decode_one()) is not None:
            messages.append(message)
        return messages

    @staticmethod
    def decode_single(data: bytes) -> DecodedMessage:
        """Return the frame that bytes begin with.

        Raises:
            IncompleteMessageError: they are too few.
            DecodeError: they are none.
        """
        if len(data) < HEADER_SIZE:
            raise IncompleteMessageError(HEADER_SIZE - len(data))
        try:
            header = MessageHeader.from_bytes(data)
            header.validate()
        except ValueError as error:
            raise DecodeError(f"no frame: {error}") from error
        end = HEADER_SIZE + header.content_length
        if len(data) < end:
            raise IncompleteMessageError(end - len(data))
        payload = data[HEADER_SIZE:end]
        try:
            if header.flags & MessageFlags.COMPRESSED:
                payload = inflate(payload, MAX_PAYLOAD_SIZE)
            if payload:
                check_packed(payload)
            value = unpack(payload) if payload else None
        except (MalformedFrame, MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise DecodeError(f"no frame: {error}") from error
        return DecodedMessage(header, value, payload)

    def peek_header(self) -> MessageHeader | None:
        """Return the header of the next frame, None where there is none."""
        with suppress(ValueError):
            return MessageHeader.from_bytes(bytes(self._buffer[:HEADER_SIZE]))
        return None

    def buffer_size(self) -> int:
        """Return how many bytes are kept."""
        return len(self._buffer)

    def clear(self) -> None:
        """Forget the bytes that are kept."""
        self._buffer.clear()

    def _frame_size(self) -> int:
        """Return the bytes of the next frame as far as they are known: those of a header where its own are not whole or none."""
        header = self.peek_header()
        return HEADER_SIZE + (0 if header is None else header.content_length)
