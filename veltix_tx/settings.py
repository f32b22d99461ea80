"""Settings: frozen, validated where they are made, each with its unit and its default.

Sizes are bytes, times are seconds. A wrong value raises :class:`~veltix_tx.errors.SettingsError`
with the setting's name and what it must be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from veltix_tx.errors import SettingsError

__all__ = ["ClientConfig", "Limits", "RetryPolicy", "ServerConfig", "Timeouts", "changed"]

_LONGEST = 10**9
"""Seconds, some 30 years."""


def _whole(name: str, value: object, low: int, high: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(name, value, f"a whole number from {low}" + (f" to {high}" if high < math.inf else ""))


def _seconds(name: str, value: object, *, zero: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LONGEST or (value == 0 and not zero):  # type: ignore[operator]
        rule = f"a number of seconds, {'0 or more' if zero else 'more than 0'}, at most {_LONGEST}"
        raise SettingsError(name, value, rule)


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise SettingsError(name, value, "a text that is not empty")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may make this side keep.

    Attributes:
        hello_size: bytes of a HELLO or HELLO_ACK frame's content.
        json_hello_size: bytes of one message of the JSON handshake.
        strikes: refused frames (bad checksum, garbage) after which the peer is closed.
        inflight: messages of one peer that wait for their turn or whose handlers run; beyond
            it reading from that peer pauses.
        pending: own requests that may wait for replies on one connection.
    """

    hello_size: int = 256
    json_hello_size: int = 4096
    strikes: int = 32
    inflight: int = 1024
    pending: int = 65536

    def __post_init__(self) -> None:
        _whole("hello_size", self.hello_size, 32, 65535)
        _whole("json_hello_size", self.json_hello_size, 64, 65535)
        _whole("strikes", self.strikes, 1)
        _whole("inflight", self.inflight, 1)
        _whole("pending", self.pending, 1)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long this side waits, in seconds.

    Attributes:
        request: for a reply, unless the call says otherwise.
        close: for a polite close to finish before the connection is aborted.
        drain: for accepted messages to be answered when the service stops.
        stall: for a peer that does not read before its connection is aborted.
    """

    request: float = 5.0
    close: float = 5.0
    drain: float = 10.0
    stall: float = 30.0

    def __post_init__(self) -> None:
        for name in ("request", "close", "drain", "stall"):
            _seconds(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a client tries again.

    The wait before try *n* (from 1) is ``min(initial_delay * factor ** (n - 1), max_delay)``,
    drawn evenly from zero to that with ``jitter`` (so that a thousand clients do not come
    back at once). The count starts again only after a completed handshake.

    Attributes:
        max_retries: tries after a failure before giving up; None for no end, 0 for none.
        initial_delay: seconds before the first try.
        factor: growth per try, 1 for a constant delay.
        max_delay: the longest wait in seconds.
        jitter: draw the wait at random.
    """

    max_retries: int | None = None
    initial_delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.max_retries is not None:
            _whole("max_retries", self.max_retries, 0)
        _seconds("initial_delay", self.initial_delay, zero=True)
        _seconds("max_delay", self.max_delay, zero=True)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)) or not 1 <= self.factor <= 1000:
            raise SettingsError("factor", self.factor, "a number from 1 to 1000")
        if not isinstance(self.jitter, bool):
            raise SettingsError("jitter", self.jitter, "True or False")

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait before try ``attempt`` (from 1); ``random`` gives floats from 0 to 1."""
        try:
            wait = min(self.initial_delay * float(self.factor) ** (attempt - 1), self.max_delay)
        except OverflowError:
            wait = self.max_delay if self.initial_delay else 0.0
        return wait * random() if self.jitter else wait


@dataclass(frozen=True, slots=True)
class _Common:
    """What both sides set, under upstream's names where it has one.

    Attributes:
        wire: ``"auto"``, or the upstream release to speak, such as ``"1.6.3"``.
        max_message_size: bytes of one message, header included, in both directions.
        handshake_timeout: seconds from the connection to the completed handshake; absolute,
            no byte of the peer prolongs it.
    """

    wire: str = "auto"
    max_message_size: int = 10 * 1024 * 1024
    handshake_timeout: float = 5.0
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        _text("wire", self.wire)
        _whole("max_message_size", self.max_message_size, 128, 2**32 - 1)
        _seconds("handshake_timeout", self.handshake_timeout)
        if not isinstance(self.limits, Limits):
            raise SettingsError("limits", self.limits, "a Limits object")
        if not isinstance(self.timeouts, Timeouts):
            raise SettingsError("timeouts", self.timeouts, "a Timeouts object")


@dataclass(frozen=True, slots=True)
class ServerConfig(_Common):
    """A server's settings. See the fields of both sides in the base as well.

    Attributes:
        host: the interface to listen on; all of them by default, as upstream does.
        port: the TCP port; 0 lets the system choose.
        endpoints: Twisted endpoints to listen on instead of ``host`` and ``port``: strings, each
            with its own wire if it starts with one (``"1.9.0@tcp:8090"``), or IStreamServerEndpoints.
        max_connections: connections at once, those still in their handshake included.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    endpoints: tuple[Any, ...] = ()
    max_connections: int = 10_000

    def __post_init__(self) -> None:
        _Common.__post_init__(self)
        _text("host", self.host)
        _whole("port", self.port, 0, 65535)
        _whole("max_connections", self.max_connections, 1)
        if not isinstance(self.endpoints, tuple):
            raise SettingsError("endpoints", self.endpoints, "a tuple of endpoints")
        if "" in self.endpoints or b"" in self.endpoints:
            raise SettingsError("endpoints", "", "a text that is not empty")


@dataclass(frozen=True, slots=True)
class ClientConfig(_Common):
    """A client's settings. See the fields of both sides in the base as well.

    Attributes:
        server_addr: the server's name or address.
        port: its TCP port.
        endpoint: a Twisted client endpoint to connect to instead: a string or an IStreamClientEndpoint.
        connect_timeout: seconds for the TCP connection.
        retry: when to try again after a failed or lost connection; the default never does.
    """

    server_addr: str = "127.0.0.1"
    port: int = 8080
    endpoint: Any = None
    connect_timeout: float = 5.0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_retries=0))

    def __post_init__(self) -> None:
        _Common.__post_init__(self)
        _text("server_addr", self.server_addr)
        _whole("port", self.port, 1, 65535)
        if self.endpoint == "":
            raise SettingsError("endpoint", "", "a text that is not empty")
        _seconds("connect_timeout", self.connect_timeout)
        if not isinstance(self.retry, RetryPolicy):
            raise SettingsError("retry", self.retry, "a RetryPolicy")


C = TypeVar("C", ServerConfig, ClientConfig)


def changed(config: C, settings: dict[str, Any]) -> C:
    """Return a config with some fields changed.

    Raises:
        SettingsError: there is no such field, or a value cannot be.
    """
    unknown = sorted(set(settings) - {known.name for known in fields(config)})
    if unknown:
        raise SettingsError("settings", ", ".join(unknown), f"fields of {type(config).__name__}")
    return replace(config, **settings)
