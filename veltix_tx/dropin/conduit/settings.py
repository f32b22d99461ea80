"""Descriptors as the settings of this package's own servers and clients."""

from __future__ import annotations

import math
from typing import Any

from veltix_tx.dropin.conduit.data.descriptors import ClientDescriptor, ServerDescriptor
from veltix_tx.dropin.conduit.raw_log import LoggedNetconduit
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.settings import RetryPolicy
from veltix_tx.wire.netconduit.frames import HEADER_SIZE, MAX_PAYLOAD

__all__ = ["client_settings", "server_settings"]

_CLOSE = 1.0
"""Seconds for the other side's part of a close: netconduit's releases do not do it."""


def server_settings(config: ServerDescriptor) -> dict[str, Any]:
    """Return the settings of a server; where it listens is not among them."""
    most = config.rate_limit_messages_per_second if config.rate_limit_enabled else None
    tls = {
        "tls_cert": config.ssl_cert_file,
        "tls_key": config.ssl_key_file,
        "tls_client_ca": config.ssl_ca_file if config.ssl_verify_client else None,
    }
    return {
        **_common(config, messages=most),
        "handshake_timeout": config.auth_timeout,
        "max_connections": config.max_connections,
        "log_connections": True,
        **(tls if config.ssl_enabled else {}),
    }


def client_settings(config: ClientDescriptor) -> dict[str, Any]:
    """Return the settings of a client."""
    retry = RetryPolicy(
        max_retries=config.reconnect_attempts or None,
        initial_delay=config.reconnect_delay,
        factor=config.reconnect_delay_multiplier,
        max_delay=config.reconnect_delay_max,
        jitter=False,
        stable_after=0,
    )
    tls = {"tls": True, "tls_ca": config.ssl_ca_file, "tls_cert": config.ssl_cert_file, "tls_key": config.ssl_key_file}
    return {
        **_common(config),
        "connect_timeout": config.connect_timeout,
        "handshake_timeout": config.connect_timeout,
        "retry": retry if config.reconnect_enabled else 0,
        **(tls if config.ssl_enabled else {}),
    }


def _common(config: ServerDescriptor | ClientDescriptor, **limits: Any) -> dict[str, Any]:
    timeouts = Timeouts(
        close=_CLOSE,
        ping_interval=config.heartbeat_interval,
        ping_timeout=config.heartbeat_timeout - config.heartbeat_interval,
        handler=math.inf,
    )
    wire = LoggedNetconduit(config.password, config.name, config.version, config.enable_compression)
    return {
        "wire": wire,
        "max_message_size": min(config.max_message_size, MAX_PAYLOAD) + HEADER_SIZE,
        "buffer_size": config.buffer_size,
        "limits": Limits(inflight=config.receive_queue_size, **limits),
        "timeouts": timeouts,
    }
