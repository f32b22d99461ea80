"""Frames as bytes, for programs that look at them; Server and Client have their own way."""

from __future__ import annotations

from typing import Any

from veltix_tx.dropin.conduit.protocol.format import MAX_PAYLOAD_SIZE, MessageFlags, MessageHeader, MessageType
from veltix_tx.wire.netconduit.payloads import deflate, pack

__all__ = ["ProtocolEncoder"]


class ProtocolEncoder:
    """Encodes frames.

    Args:
        enable_compression: compress payloads over 1,024 bytes.
    """

    def __init__(self, enable_compression: bool = False) -> None:
        self.enable_compression = enable_compression
        self._last_id = 0

    def encode(
        self,
        message_type: MessageType,
        payload: Any = None,
        correlation_id: int | None = None,
        flags: MessageFlags = MessageFlags.NONE,
    ) -> bytes:
        """Return a frame.

        Args:
            message_type: its type.
            payload: what msgpack can hold; None for no payload.
            correlation_id: id of the call it belongs to.
            flags: its flags; COMPRESSED is set where it is so.

        Raises:
            ValueError: the payload is over 100 MiB, or has a part that netconduit cannot take.
            TypeError: msgpack cannot hold the payload.
        """
        packed = b"" if payload is None else pack(payload)
        if len(packed) > MAX_PAYLOAD_SIZE:
            raise ValueError(f"Payload too large: {len(packed)} bytes, over {MAX_PAYLOAD_SIZE}")
        content = deflate(packed) if self.enable_compression else packed
        if content is not packed:
            flags |= MessageFlags.COMPRESSED
        return MessageHeader.create(message_type, len(content), correlation_id or 0, flags).to_bytes() + content

    def encode_message(self, message_type_str: str, data: Any, correlation_id: int | None = None) -> bytes:
        """Return a MESSAGE."""
        return self.encode(MessageType.MESSAGE, {"type": message_type_str, "data": data}, correlation_id)

    def encode_rpc_request(
        self, method: str, params: dict[str, Any] | None = None, correlation_id: int | None = None
    ) -> tuple[bytes, int]:
        """Return an RPC_REQUEST, and its id: one higher than that of the last unless it is given."""
        if correlation_id is None:
            self._last_id += 1
            correlation_id = self._last_id
        return self.encode(MessageType.RPC_REQUEST, {"method": method, "params": params or {}}, correlation_id), correlation_id

    def encode_rpc_response(self, result: Any, correlation_id: int, success: bool = True) -> bytes:
        """Return an RPC_RESPONSE."""
        kind = MessageType.RPC_RESPONSE if success else MessageType.RPC_ERROR
        return self.encode(kind, {"success": success, "result": result}, correlation_id)

    def encode_rpc_error(self, error_message: str, correlation_id: int, error_code: int | None = None) -> bytes:
        """Return an RPC_ERROR."""
        return self.encode(MessageType.RPC_ERROR, {"success": False, "error": error_message, "code": error_code}, correlation_id)

    def encode_auth_request(self, password_hash: str, client_info: dict[str, Any]) -> bytes:
        """Return an AUTH_REQUEST."""
        return self.encode(MessageType.AUTH_REQUEST, {"password_hash": password_hash, "client_info": client_info})

    def encode_auth_success(self, session_token: str, server_info: dict[str, Any]) -> bytes:
        """Return an AUTH_SUCCESS."""
        return self.encode(MessageType.AUTH_SUCCESS, {"session_token": session_token, "server_info": server_info})

    def encode_auth_failure(self, reason: str) -> bytes:
        """Return an AUTH_FAILURE."""
        return self.encode(MessageType.AUTH_FAILURE, {"reason": reason})

    def encode_heartbeat_ping(self) -> bytes:
        """Return a HEARTBEAT_PING."""
        return self.encode(MessageType.HEARTBEAT_PING)

    def encode_heartbeat_pong(self) -> bytes:
        """Return a HEARTBEAT_PONG."""
        return self.encode(MessageType.HEARTBEAT_PONG)

    def encode_pause(self) -> bytes:
        """Return a PAUSE, which nobody should send: netconduit's releases stop reading for it."""
        return self.encode(MessageType.PAUSE)

    def encode_resume(self) -> bytes:
        """Return a RESUME."""
        return self.encode(MessageType.RESUME)

    def encode_ack(self, correlation_id: int) -> bytes:
        """Return an ACK."""
        return self.encode(MessageType.ACK, correlation_id=correlation_id)

    def encode_nack(self, correlation_id: int, reason: str = "") -> bytes:
        """Return a NACK."""
        return self.encode(MessageType.NACK, {"reason": reason} if reason else None, correlation_id)

    def encode_close(self, reason: str = "") -> bytes:
        """Return a CLOSE."""
        return self.encode(MessageType.CLOSE, {"reason": reason} if reason else None)

    def encode_close_ack(self) -> bytes:
        """Return a CLOSE_ACK."""
        return self.encode(MessageType.CLOSE_ACK)

    def encode_rpc_list(self, methods: list[dict[str, Any]]) -> bytes:
        """Return an RPC_LIST."""
        return self.encode(MessageType.RPC_LIST, {"methods": methods})
