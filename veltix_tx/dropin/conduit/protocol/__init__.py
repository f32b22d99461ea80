"""The protocol's frames, for programs that look at them."""

from veltix_tx.dropin.conduit.protocol.decoder import DecodedMessage, DecodeError, IncompleteMessageError, ProtocolDecoder
from veltix_tx.dropin.conduit.protocol.encoder import ProtocolEncoder
from veltix_tx.dropin.conduit.protocol.format import (
    HEADER_SIZE,
    MAGIC,
    MAX_PAYLOAD_SIZE,
    PROTOCOL_VERSION,
    MessageFlags,
    MessageHeader,
    MessageType,
)

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "MAX_PAYLOAD_SIZE",
    "PROTOCOL_VERSION",
    "DecodeError",
    "DecodedMessage",
    "IncompleteMessageError",
    "MessageFlags",
    "MessageHeader",
    "MessageType",
    "ProtocolDecoder",
    "ProtocolEncoder",
]
