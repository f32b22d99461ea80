"""Veltix on Twisted: framed, checksummed, typed TCP messages with every published Veltix release.

The names here are the whole everyday API. They are fetched from their modules when first used, so
that ``import veltix_tx.wire`` needs no Twisted, and importing any of them imports no reactor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from veltix_tx._version import __version__

if TYPE_CHECKING:
    from veltix_tx.app.auth import Identity, TokenFile
    from veltix_tx.app.kinds import ByConnection, Consumed
    from veltix_tx.app.middleware import Next
    from veltix_tx.app.plugins import Plugin, find_plugins, plugin_code
    from veltix_tx.app.presence import Member, PresenceChange
    from veltix_tx.app.room_follower import Gap, RoomMessage
    from veltix_tx.app.rooms import Delivery, Room
    from veltix_tx.app.rpc import CallContext
    from veltix_tx.backplane.interface import BackplaneState, History, NodeInfo, Position
    from veltix_tx.client import Client
    from veltix_tx.disconnect import DisconnectReason, DisconnectState
    from veltix_tx.encodings import decode_json, decode_utf8, encode_json, encode_utf8, format_bytes
    from veltix_tx.errors import (
        AuthenticationFailed,
        BackplaneError,
        BackplaneUnavailable,
        CannotAwait,
        CannotBlock,
        CredentialsUnavailable,
        Dropped,
        HandshakeError,
        HandshakeTimeout,
        InvalidArguments,
        InvalidContent,
        MessageTooLarge,
        MessageTypeError,
        MethodNotFound,
        NoSuchSession,
        NotReady,
        PlaintextCredentials,
        ProtocolError,
        QueueFull,
        Rejected,
        RemoteError,
        RequestError,
        RequestTimeout,
        RoomError,
        RpcError,
        RpcTimeout,
        RpcUnsupported,
        ServerFull,
        SessionClosed,
        SettingsError,
        StreamEnded,
        TlsFailed,
        TooManyRequests,
        UnvalidatedAddress,
        VeltixError,
        VersionRefused,
    )
    from veltix_tx.interfaces import Events, IVeltixApplication, IVeltixPlugin
    from veltix_tx.limits import Limits, Timeouts
    from veltix_tx.logs.config import LoggerConfig, LogLevel
    from veltix_tx.logs.logger import Logger
    from veltix_tx.logs.observer import LineObserver
    from veltix_tx.net.connection.datagram import VeltixDatagramProtocol
    from veltix_tx.net.connection.factory import VeltixServerFactory
    from veltix_tx.net.connection.protocol import VeltixProtocol
    from veltix_tx.net.connection.reconnect import VeltixClientFactory
    from veltix_tx.net.session.session import Session
    from veltix_tx.net.shared.authentication import Credentials
    from veltix_tx.net.shared.handlers import IHandlerTable
    from veltix_tx.server import Server
    from veltix_tx.settings import (
        BufferSize,
        ClientConfig,
        PerformanceMode,
        RetryPolicy,
        ServerConfig,
        SocketCore,
    )
    from veltix_tx.wire.credentials import Password, Token
    from veltix_tx.wire.messages import TEXT, MessageRegistry, MessageType, Request, Response
    from veltix_tx.wire.netconduit.wire import Netconduit
    from veltix_tx.wire.plain.options import Delimited, EndOfStream, Fixed, Lines, Prefixed, Raw
    from veltix_tx.wire.rpc import MethodInfo
    from veltix_tx.wire.veltix.wire import Auto

__all__ = [
    "TEXT",
    "AuthenticationFailed",
    "Auto",
    "BackplaneError",
    "BackplaneState",
    "BackplaneUnavailable",
    "BufferSize",
    "ByConnection",
    "CallContext",
    "CannotAwait",
    "CannotBlock",
    "Client",
    "ClientConfig",
    "Consumed",
    "Credentials",
    "CredentialsUnavailable",
    "Delimited",
    "Delivery",
    "DisconnectReason",
    "DisconnectState",
    "Dropped",
    "EndOfStream",
    "Events",
    "Fixed",
    "Gap",
    "HandshakeError",
    "HandshakeTimeout",
    "History",
    "IHandlerTable",
    "IVeltixApplication",
    "IVeltixPlugin",
    "Identity",
    "InvalidArguments",
    "InvalidContent",
    "Limits",
    "LineObserver",
    "Lines",
    "LogLevel",
    "Logger",
    "LoggerConfig",
    "Member",
    "MessageRegistry",
    "MessageTooLarge",
    "MessageType",
    "MessageTypeError",
    "MethodInfo",
    "MethodNotFound",
    "Netconduit",
    "Next",
    "NoSuchSession",
    "NodeInfo",
    "NotReady",
    "Password",
    "PerformanceMode",
    "PlaintextCredentials",
    "Plugin",
    "Position",
    "Prefixed",
    "PresenceChange",
    "ProtocolError",
    "QueueFull",
    "Raw",
    "Rejected",
    "RemoteError",
    "Request",
    "RequestError",
    "RequestTimeout",
    "Response",
    "RetryPolicy",
    "Room",
    "RoomError",
    "RoomMessage",
    "RpcError",
    "RpcTimeout",
    "RpcUnsupported",
    "Server",
    "ServerConfig",
    "ServerFull",
    "Session",
    "SessionClosed",
    "SettingsError",
    "SocketCore",
    "StreamEnded",
    "Timeouts",
    "TlsFailed",
    "Token",
    "TokenFile",
    "TooManyRequests",
    "UnvalidatedAddress",
    "VeltixClientFactory",
    "VeltixDatagramProtocol",
    "VeltixError",
    "VeltixProtocol",
    "VeltixServerFactory",
    "VersionRefused",
    "__version__",
    "decode_json",
    "decode_utf8",
    "encode_json",
    "encode_utf8",
    "find_plugins",
    "format_bytes",
    "plugin_code",
]

_HOMES = {
    "Member": "veltix_tx.app.presence",
    "PresenceChange": "veltix_tx.app.presence",
    "Gap": "veltix_tx.app.room_follower",
    "RoomMessage": "veltix_tx.app.room_follower",
    "Delivery": "veltix_tx.app.rooms",
    "Room": "veltix_tx.app.rooms",
    "BackplaneState": "veltix_tx.backplane.interface",
    "History": "veltix_tx.backplane.interface",
    "NodeInfo": "veltix_tx.backplane.interface",
    "Position": "veltix_tx.backplane.interface",
    "NoSuchSession": "veltix_tx.errors",
    "RoomError": "veltix_tx.errors",
    "BackplaneError": "veltix_tx.errors",
    "BackplaneUnavailable": "veltix_tx.errors",
    "Auto": "veltix_tx.wire.veltix.wire",
    "Identity": "veltix_tx.app.auth",
    "TokenFile": "veltix_tx.app.auth",
    "ByConnection": "veltix_tx.app.kinds",
    "Next": "veltix_tx.app.middleware",
    "Consumed": "veltix_tx.app.kinds",
    "TEXT": "veltix_tx.wire.messages",
    "Delimited": "veltix_tx.wire.plain.options",
    "EndOfStream": "veltix_tx.wire.plain.options",
    "Fixed": "veltix_tx.wire.plain.options",
    "Lines": "veltix_tx.wire.plain.options",
    "Prefixed": "veltix_tx.wire.plain.options",
    "Raw": "veltix_tx.wire.plain.options",
    "StreamEnded": "veltix_tx.errors",
    "Plugin": "veltix_tx.app.plugins",
    "find_plugins": "veltix_tx.app.plugins",
    "plugin_code": "veltix_tx.app.plugins",
    "Events": "veltix_tx.interfaces",
    "Client": "veltix_tx.client",
    "decode_json": "veltix_tx.encodings",
    "decode_utf8": "veltix_tx.encodings",
    "encode_json": "veltix_tx.encodings",
    "encode_utf8": "veltix_tx.encodings",
    "format_bytes": "veltix_tx.encodings",
    "DisconnectReason": "veltix_tx.disconnect",
    "AuthenticationFailed": "veltix_tx.errors",
    "CannotAwait": "veltix_tx.errors",
    "CannotBlock": "veltix_tx.errors",
    "CredentialsUnavailable": "veltix_tx.errors",
    "Dropped": "veltix_tx.errors",
    "HandshakeError": "veltix_tx.errors",
    "HandshakeTimeout": "veltix_tx.errors",
    "InvalidArguments": "veltix_tx.errors",
    "InvalidContent": "veltix_tx.errors",
    "MessageTooLarge": "veltix_tx.errors",
    "MessageTypeError": "veltix_tx.errors",
    "MethodInfo": "veltix_tx.wire.rpc",
    "MethodNotFound": "veltix_tx.errors",
    "NotReady": "veltix_tx.errors",
    "PlaintextCredentials": "veltix_tx.errors",
    "ProtocolError": "veltix_tx.errors",
    "QueueFull": "veltix_tx.errors",
    "Rejected": "veltix_tx.errors",
    "RemoteError": "veltix_tx.errors",
    "RequestError": "veltix_tx.errors",
    "RequestTimeout": "veltix_tx.errors",
    "RpcError": "veltix_tx.errors",
    "RpcTimeout": "veltix_tx.errors",
    "RpcUnsupported": "veltix_tx.errors",
    "ServerFull": "veltix_tx.errors",
    "SessionClosed": "veltix_tx.errors",
    "SettingsError": "veltix_tx.errors",
    "TlsFailed": "veltix_tx.errors",
    "TooManyRequests": "veltix_tx.errors",
    "UnvalidatedAddress": "veltix_tx.errors",
    "VeltixError": "veltix_tx.errors",
    "VersionRefused": "veltix_tx.errors",
    "Credentials": "veltix_tx.net.shared.authentication",
    "IHandlerTable": "veltix_tx.net.shared.handlers",
    "IVeltixApplication": "veltix_tx.interfaces",
    "IVeltixPlugin": "veltix_tx.interfaces",
    "LogLevel": "veltix_tx.logs.config",
    "LoggerConfig": "veltix_tx.logs.config",
    "Logger": "veltix_tx.logs.logger",
    "LineObserver": "veltix_tx.logs.observer",
    "VeltixDatagramProtocol": "veltix_tx.net.connection.datagram",
    "VeltixServerFactory": "veltix_tx.net.connection.factory",
    "VeltixProtocol": "veltix_tx.net.connection.protocol",
    "DisconnectState": "veltix_tx.disconnect",
    "VeltixClientFactory": "veltix_tx.net.connection.reconnect",
    "Session": "veltix_tx.net.session.session",
    "Server": "veltix_tx.server",
    "BufferSize": "veltix_tx.settings",
    "CallContext": "veltix_tx.app.rpc",
    "ClientConfig": "veltix_tx.settings",
    "Limits": "veltix_tx.limits",
    "PerformanceMode": "veltix_tx.settings",
    "RetryPolicy": "veltix_tx.settings",
    "ServerConfig": "veltix_tx.settings",
    "SocketCore": "veltix_tx.settings",
    "Timeouts": "veltix_tx.limits",
    "Password": "veltix_tx.wire.credentials",
    "Token": "veltix_tx.wire.credentials",
    "MessageRegistry": "veltix_tx.wire.messages",
    "Netconduit": "veltix_tx.wire.netconduit.wire",
    "MessageType": "veltix_tx.wire.messages",
    "Request": "veltix_tx.wire.messages",
    "Response": "veltix_tx.wire.messages",
}


def __dir__() -> list[str]:
    """Return the public names, which ``help()`` lists too, and what every module has."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
