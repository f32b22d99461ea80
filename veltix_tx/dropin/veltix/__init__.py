"""Upstream Veltix's own API, name for name as in its release 1.6.3, on this package.

``from veltix import ...`` becomes ``from veltix_tx.dropin.veltix import ...``, and the program runs: methods
block, callbacks run in threads, a reactor runs in a thread of its own. Peers may be of any release.
What is different on purpose is in the documentation, "Coming from Veltix".
"""

from veltix_tx._version import __version__
from veltix_tx.dropin.veltix.client.client import Client
from veltix_tx.dropin.veltix.client.disconnect import DisconnectReason, DisconnectState
from veltix_tx.dropin.veltix.exceptions import MessageError, MessageTypeError, NetworkError, RequestError, SenderError, VeltixError
from veltix_tx.dropin.veltix.exceptions import TimeoutError as TimeoutError  # noqa: A004 (not for "import *")
from veltix_tx.dropin.veltix.network.request import Request, Response
from veltix_tx.dropin.veltix.network.sender import Mode, Sender
from veltix_tx.dropin.veltix.network.types import HELLO, HELLO_ACK, PING, PONG, MessageType, MessageTypeRegistry
from veltix_tx.dropin.veltix.server.client_info import ClientInfo
from veltix_tx.dropin.veltix.server.server import Server
from veltix_tx.dropin.veltix.settings import ClientConfig, ServerConfig
from veltix_tx.dropin.veltix.start_logging import begin_logging
from veltix_tx.encodings import decode_json, decode_utf8, encode_json, encode_utf8, format_bytes
from veltix_tx.interfaces import Events
from veltix_tx.logs import Logger, LoggerConfig, LogLevel
from veltix_tx.settings import BufferSize, PerformanceMode, SocketCore

begin_logging()

Bindings = Events
"""The events' name before 1.2.0."""

__all__ = [
    "HELLO",
    "HELLO_ACK",
    "PING",
    "PONG",
    "Bindings",
    "BufferSize",
    "Client",
    "ClientConfig",
    "ClientInfo",
    "DisconnectReason",
    "DisconnectState",
    "Events",
    "LogLevel",
    "Logger",
    "LoggerConfig",
    "MessageError",
    "MessageType",
    "MessageTypeError",
    "MessageTypeRegistry",
    "Mode",
    "NetworkError",
    "PerformanceMode",
    "Request",
    "RequestError",
    "Response",
    "Sender",
    "SenderError",
    "Server",
    "ServerConfig",
    "SocketCore",
    "VeltixError",
    "__version__",
    "decode_json",
    "decode_utf8",
    "encode_json",
    "encode_utf8",
    "format_bytes",
]
