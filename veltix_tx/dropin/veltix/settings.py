"""Upstream's configurations, each translated to the package's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from veltix_tx import limits, settings
from veltix_tx.settings import BufferSize, PerformanceMode, SocketCore
from veltix_tx.wire.veltix.releases import AUTO
from veltix_tx.wire.veltix.wire import Auto

__all__ = ["ClientConfig", "ServerConfig"]


@dataclass
class ServerConfig:
    """A server's settings, with 1.6.3's names, order and defaults.

    Attributes:
        host: the interface to listen on, all of them where it is empty.
        port: the TCP port; 0 lets the system choose.
        buffer_size: bytes read at once; less than 64 KiB is taken for 64 KiB.
        max_connection: connections at once, -1 for no limit.
        max_message_size: bytes of one message, header included.
        handshake_timeout: seconds a client has for its handshake.
        max_workers: threads that run callbacks.
        performance_mode: no effect: a lost connection is noticed at once.
        socket_core: no effect: there is one thread for all sockets.
        max_clients: the first documents' name for ``max_connection``.
        wire: the release to speak to clients, all that share a port by default.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    buffer_size: int = BufferSize.SMALL
    max_connection: int = -1
    max_message_size: int = 10 * 1024 * 1024
    handshake_timeout: float = 5.0
    max_workers: int = 4
    performance_mode: PerformanceMode = PerformanceMode.BALANCED
    socket_core: SocketCore = SocketCore.THREADING
    max_clients: int | None = None
    wire: str = "auto"

    def native(self) -> settings.ServerConfig:
        """Return the same as the package's own settings.

        Raises:
            SettingsError: a setting cannot be.
        """
        return settings.ServerConfig(
            host=self.host or "0.0.0.0",
            port=self.port,
            max_connection=self.max_connection if self.max_clients is None else self.max_clients,
            **_common(self),
        )


@dataclass
class ClientConfig:
    """A client's settings, with 1.6.3's names, order and defaults.

    Attributes:
        server_addr: the server's name or address.
        port: its TCP port.
        buffer_size: bytes read at once; less than 64 KiB is taken for 64 KiB.
        max_message_size: bytes of one message, header included.
        handshake_timeout: seconds for the handshake.
        max_workers: threads that run callbacks; one connection's run one after another.
        retry: how many times to try again after a failed or lost connection.
        retry_delay: seconds before each of these.
        performance_mode: no effect: a lost connection is noticed at once.
        socket_core: no effect: there is one thread for all sockets.
        timeout: seconds for the TCP connection, from the first documents.
        wire: the release to speak, found out by default.
    """

    server_addr: str = "127.0.0.1"
    port: int = 8080
    buffer_size: int = BufferSize.SMALL
    max_message_size: int = 10 * 1024 * 1024
    handshake_timeout: float = 5.0
    max_workers: int = 4
    retry: int = 0
    retry_delay: float = 1.0
    performance_mode: PerformanceMode = PerformanceMode.BALANCED
    socket_core: SocketCore = SocketCore.THREADING
    timeout: float = 5.0
    wire: str = "auto"

    def native(self) -> settings.ClientConfig:
        """Return the same as the package's own settings.

        Raises:
            SettingsError: a setting cannot be.
        """
        return settings.ClientConfig(
            server_addr=self.server_addr,
            port=self.port,
            connect_timeout=self.timeout,
            retry=self.retry,
            retry_delay=self.retry_delay,
            **_common(self, long_headers=True),
        )


def _common(config: ServerConfig | ClientConfig, *, long_headers: bool = False) -> dict[str, Any]:
    size = config.buffer_size
    return {
        "buffer_size": max(size, BufferSize.LARGE) if isinstance(size, int) else size,
        "max_message_size": config.max_message_size,
        "handshake_timeout": config.handshake_timeout,
        "max_workers": config.max_workers,
        "performance_mode": config.performance_mode,
        "socket_core": config.socket_core,
        "wire": Auto(long_headers) if config.wire == AUTO else config.wire,
        "timeouts": limits.Timeouts(handler=math.inf),  # callbacks take as long as they take, as upstream's
    }
