"""Settings of servers and clients, and the retry policy: frozen, validated where they are made, each with its default.

Sizes are bytes, times are seconds. A wrong value raises :class:`~veltix_tx.errors.SettingsError`
with the setting's name and what it must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, fields, replace
from difflib import get_close_matches
from enum import Enum, IntEnum
from ipaddress import IPv6Address
from pathlib import PurePath
from typing import Any, Protocol, TypedDict, TypeVar, runtime_checkable

from veltix_tx.errors import SettingsError
from veltix_tx.limits import Limits, Timeouts, check_seconds, check_whole

__all__ = [
    "BufferSize",
    "ClientChanges",
    "ClientConfig",
    "ClientSettings",
    "PerformanceMode",
    "RetryPolicy",
    "ServerChanges",
    "ServerConfig",
    "ServerSettings",
    "SocketCore",
    "evolve",
    "given_address",
    "split_address",
]


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise SettingsError(name, value, "a text that is not empty")


def _file(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, (str, PurePath)) or not str(value)):
        raise SettingsError(name, value, "the path of a file, or None")


def split_address(name: str, text: object) -> tuple[str, int | None]:
    """Split ``HOST``, ``HOST:PORT``, ``[IPV6]`` or ``[IPV6]:PORT`` into the host, without brackets, and the port.

    Args:
        name: the setting, for errors.
        text: what was given. An IPv6 address without brackets is a host alone.

    Raises:
        SettingsError: it is none of these.
    """
    _text(name, text)
    host, port = str(text), None
    try:
        if host.startswith("["):
            host, closed, rest = host[1:].partition("]")
            IPv6Address(host)
            if not closed or rest[:1] not in ("", ":"):
                raise ValueError(text)
            port = rest[1:] if rest else None
        elif host.count(":") == 1:
            host, _, port = host.partition(":")
        elif ":" in host:
            IPv6Address(host)
        if (
            not host.isprintable()
            or not host
            or host.isdecimal()
            or (port is not None and not (port.isascii() and port.isdecimal()))
        ):
            raise ValueError(text)
        return host, None if port is None else int(port)
    except ValueError:
        rule = "a name or an address, or one with :PORT after it, such as 127.0.0.1:8080 or [::1]:8080"
        raise SettingsError(name, text, rule) from None


def given_address(name: str, text: str, port: int | None, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that the first argument of a server or a client stands for.

    Args:
        name: the setting that its host is.
        text: what was given, see :func:`split_address`.
        port: the port that was given beside it.
        settings: what else was given.

    Raises:
        SettingsError: it is no address, or says something else than what was given beside it.
    """
    host, own_port = split_address(name, text)
    for setting, given, own in ((name, settings.get(name), host), ("port", port, own_port)):
        if given is not None and own is not None and given != own:
            raise SettingsError(setting, given, f"left out, or {own} as in {text!r}")
    port = own_port if port is None else port
    return {name: host} if port is None else {name: host, "port": port}


def _host(name: str, value: object) -> str:
    host, port = split_address(name, value)
    if port is not None:
        raise SettingsError(name, value, f"a name or an address alone: the port is a setting of its own, port={port}")
    return host


class BufferSize(IntEnum):
    """Upstream's sizes for ``buffer_size``, in bytes."""

    SMALL = 1024
    MEDIUM = 8192
    LARGE = 65536
    HUGE = 1048576


class PerformanceMode(Enum):
    """Upstream's modes, which choose how often its threads look for a lost connection.

    They have no effect here: the reactor is told of a lost connection at once, and looks for nothing.
    """

    LOW = 1
    BALANCED = 2
    HIGH = 3
    AUTO = 4


class SocketCore(Enum):
    """Upstream's socket backends.

    They have no effect here: the reactor serves every socket, and ``twistd --reactor`` chooses it.
    """

    THREADING = "threading"
    ASYNC = "async"


@runtime_checkable
class WireOptions(Protocol):
    """A wire as a setting: an options object such as ``Auto()``, in place of its name."""

    @property
    def name(self) -> str:
        """Name for logs."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Policy by which a client connects again.

    The wait before try *n* (from 1) is ``min(initial_delay * factor ** (n - 1), max_delay)``,
    drawn evenly from zero to that with ``jitter`` (so that a thousand clients do not come
    back at once). The count starts again only after a session that lived: for ``stable_after``
    seconds, or until a message came from the server. A server that takes a connection and closes it at once is
    tried as seldom, and given up as soon, as one that refuses it.

    Attributes:
        max_retries: tries after a failure before giving up; None for no end, 0 for none.
        initial_delay: seconds before the first try.
        factor: growth per try, 1 for a constant delay.
        max_delay: the longest wait in seconds.
        jitter: draw the wait at random.
        stable_after: seconds, counted from the end of ``on_connect``, after which a session without a message counts as
            a success; 0 for at once, ``math.inf`` for never.
        after_refusal: try again after AuthenticationFailed, too: for credentials that are obtained anew for each try.
    """

    max_retries: int | None = None
    initial_delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: bool = True
    stable_after: float = 5.0
    after_refusal: bool = False

    def __post_init__(self) -> None:
        if self.max_retries is not None:
            check_whole("max_retries", self.max_retries, 0)
        check_seconds("initial_delay", self.initial_delay, zero=True)
        check_seconds("max_delay", self.max_delay, zero=True)
        check_seconds("stable_after", self.stable_after, zero=True, endless=True)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)) or not 1 <= self.factor <= 1000:
            raise SettingsError("factor", self.factor, "a number from 1 to 1000")
        for name in ("jitter", "after_refusal"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(name, getattr(self, name), "True or False")

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait before try ``attempt`` (from 1); ``random`` gives floats from 0 to 1."""
        try:
            wait = min(self.initial_delay * float(self.factor) ** (attempt - 1), self.max_delay)
        except OverflowError:
            wait = self.max_delay if self.initial_delay else 0.0
        return wait * random() if self.jitter else wait


@dataclass(frozen=True, slots=True)
class _Common:
    """Settings of both sides, under upstream's names where it has one.

    Attributes:
        wire: ``"auto"``, or the upstream release to speak, such as ``"1.6.3"``.
        max_message_size: bytes of one message, header included, in both directions.
        handshake_timeout: seconds from the connection to the completed handshake; absolute,
            no byte of the peer prolongs it.
        buffer_size: bytes read from a connection at once, a number or a BufferSize; with 64 KiB
            or more, 256 KiB while a longer message arrives. Also how many wait to be written
            before a producer is paused.
        max_workers: threads at once that run handlers of ``route(..., thread=True)``.
        performance_mode: no effect, see PerformanceMode.
        socket_core: no effect, see SocketCore.
        limits: maximum sizes and counts that peers may cause.
        timeouts: times that this side waits.
    """

    wire: str | WireOptions = "auto"
    max_message_size: int = 10 * 1024 * 1024
    handshake_timeout: float = 5.0
    buffer_size: int = BufferSize.LARGE
    max_workers: int = 4
    performance_mode: PerformanceMode = PerformanceMode.BALANCED
    socket_core: SocketCore = SocketCore.ASYNC
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        if isinstance(self.wire, str):
            _text("wire", self.wire)
        elif not isinstance(self.wire, WireOptions):
            raise SettingsError("wire", self.wire, "a wire's name, or its options such as Auto()")
        check_whole("max_message_size", self.max_message_size, 128, 2**32 - 1)
        check_seconds("handshake_timeout", self.handshake_timeout)
        check_whole("buffer_size", self.buffer_size, 1, 2**30)
        check_whole("max_workers", self.max_workers, 1, 1024)
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise SettingsError(name, value, f"a {kind.__name__}")


_KINDS: dict[str, type] = {
    "performance_mode": PerformanceMode,
    "socket_core": SocketCore,
    "limits": Limits,
    "timeouts": Timeouts,
}


class _ReadBack(int):
    """Value of ``config.max_connection``: dataclasses.replace hands it back, where it must not count as given."""


@dataclass(frozen=True, slots=True)
class ServerConfig(_Common):
    """Settings of a server, those of both sides among them.

    Attributes:
        host: the interface to listen on; all of them by default, as upstream does.
        port: the TCP port; 0 lets the system choose.
        endpoints: Twisted endpoints to listen on instead of ``host`` and ``port``: strings, each
            with its own wire if it starts with one (``"1.9.0@tcp:8090"``), IStreamServerEndpoints, or pairs of a wire and
            one of these: ``(Lines(separator=b"|"), "tcp:7000")``. ``"lines@udp:7001"`` takes datagrams.
        max_connections: connections at once, those still in their handshake included; -1 for no limit.
        max_connection: upstream's name for it.
        tls_cert: a PEM file with this server's certificate, and the ones that lead from it to its issuer: ``host`` and
            ``port`` are served with TLS, and so are endpoints ``"tls:PORT"``.
        tls_key: a PEM file with its private key, without a passphrase; ``tls_cert`` has it, too, where this is None.
        tls_client_ca: a PEM file with the certificates of issuers: a client must show a certificate of one of them.
        log_connections: log a line at each connection's begin, and one at its end with its reason, duration, messages
            and bytes.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    endpoints: tuple[Any, ...] = ()
    max_connections: int = 10_000
    max_connection: InitVar[int | None] = None
    tls_cert: str | PurePath | None = None
    tls_key: str | PurePath | None = None
    tls_client_ca: str | PurePath | None = None
    log_connections: bool = False

    def __post_init__(self, max_connection: int | None) -> None:
        if isinstance(max_connection, _ReadBack):
            max_connection = None
        if max_connection is not None:
            object.__setattr__(self, "max_connections", max_connection)
        _Common.__post_init__(self)
        object.__setattr__(self, "host", _host("host", self.host))
        check_whole("port", self.port, 0, 65535)
        most = self.max_connections
        if isinstance(most, bool) or not isinstance(most, int) or (most < 1 and most != -1):
            name = "max_connections" if max_connection is None else "max_connection"
            raise SettingsError(name, most, "a whole number from 1, or -1 for no limit")
        if not isinstance(self.log_connections, bool):
            raise SettingsError("log_connections", self.log_connections, "True or False")
        pairs = [each for each in self.endpoints if isinstance(each, tuple)] if isinstance(self.endpoints, tuple) else [()]
        if not all(len(pair) == 2 for pair in pairs):
            raise SettingsError("endpoints", self.endpoints, "a tuple of endpoints, or of pairs of a wire and an endpoint")
        if "" in self.endpoints or b"" in self.endpoints:
            raise SettingsError("endpoints", "", "a text that is not empty")
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            _file(name, getattr(self, name))
            if getattr(self, name) is not None and self.tls_cert is None:
                raise SettingsError("tls_cert", None, f"given where {name} is")


ServerConfig.max_connection = property(lambda self: _ReadBack(self.max_connections))  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class ClientConfig(_Common):
    """Settings of a client, those of both sides among them.

    Attributes:
        server_addr: the server's name or address; an IPv6 address may have brackets, and a zone (``fe80::1%eth0``).
        port: its TCP port.
        endpoint: a Twisted client endpoint to connect to instead: a string or an IStreamClientEndpoint; ``"udp:HOST:PORT"`` for
            datagrams.
        connect_timeout: seconds for each try to connect, the look-up of the name included, whatever the endpoint has for a
            timeout of its own. TLS and the handshake follow, with ``handshake_timeout``.
        retry: when to try again after a failed or lost connection: a RetryPolicy, or how many
            times, every ``retry_delay`` seconds. By default never.
        retry_delay: seconds before each try, for a ``retry`` that is a number.
        tls: speak TLS, 1.2 or later, and nothing else: the server's certificate is verified, and that it is for its name.
        tls_ca: a PEM file with the certificates of the issuers to trust, in place of those this machine trusts.
        tls_name: the name or address the certificate must be for; ``server_addr`` by default.
        tls_cert: a PEM file with this client's certificate, for a server that asks for one, and the ones that lead
            from it to its issuer.
        tls_key: a PEM file with its private key, without a passphrase; ``tls_cert`` has it, too, where this is None.
        allow_plaintext_credentials: present credentials to another machine without TLS, too, where everybody on the way can
            read them.
    """

    server_addr: str = "127.0.0.1"
    port: int = 8080
    endpoint: Any = None
    connect_timeout: float = 5.0
    retry: RetryPolicy | int = 0
    retry_delay: float = 1.0
    tls: bool = False
    tls_ca: str | PurePath | None = None
    tls_name: str | None = None
    tls_cert: str | PurePath | None = None
    tls_key: str | PurePath | None = None
    allow_plaintext_credentials: bool = False

    def __post_init__(self) -> None:
        _Common.__post_init__(self)
        object.__setattr__(self, "server_addr", _host("server_addr", self.server_addr))
        check_whole("port", self.port, 1, 65535)
        if self.endpoint == "":
            raise SettingsError("endpoint", "", "a text that is not empty")
        check_seconds("connect_timeout", self.connect_timeout)
        check_seconds("retry_delay", self.retry_delay, zero=True)
        number = isinstance(self.retry, int) and not isinstance(self.retry, bool) and self.retry >= 0
        if not number and not isinstance(self.retry, RetryPolicy):
            raise SettingsError("retry", self.retry, "a RetryPolicy or a whole number from 0")
        for name in ("tls", "allow_plaintext_credentials"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(name, getattr(self, name), "True or False")
        self._check_tls()

    def _check_tls(self) -> None:
        if self.tls_name is not None:
            _text("tls_name", self.tls_name)
        for name in ("tls_ca", "tls_cert", "tls_key"):
            _file(name, getattr(self, name))
        for name in ("tls_ca", "tls_name", "tls_cert", "tls_key"):
            if getattr(self, name) is not None and not self.tls:
                raise SettingsError("tls", self.tls, f"True where {name} is given")
        if self.tls_key is not None and self.tls_cert is None:
            raise SettingsError("tls_cert", None, "given where tls_key is")
        if self.tls and isinstance(self.endpoint, str) and self.endpoint.startswith(("tls:", "ssl:")):
            raise SettingsError("endpoint", self.endpoint, "one without TLS of its own where tls is True")
        if self.tls and isinstance(self.endpoint, str) and self.endpoint.startswith("udp:"):
            raise SettingsError("tls", True, f"False with the endpoint {self.endpoint}: there is no TLS over UDP")
        if self.tls and self.endpoint is not None and self.tls_name is None:
            raise SettingsError("tls_name", None, "given where an endpoint is: the name that the server's certificate is for")

    @property
    def retry_policy(self) -> RetryPolicy:
        """``retry`` and ``retry_delay`` as a policy."""
        if isinstance(self.retry, RetryPolicy):
            return self.retry
        return RetryPolicy(self.retry, self.retry_delay, factor=1, max_delay=self.retry_delay, jitter=False)


# The fields once more, for type checkers and editors: what may be given by name in place of a config.


class _CommonSettings(TypedDict, total=False):
    wire: str | WireOptions
    max_message_size: int
    handshake_timeout: float
    buffer_size: int
    max_workers: int
    performance_mode: PerformanceMode
    socket_core: SocketCore
    limits: Limits
    timeouts: Timeouts


class ServerSettings(_CommonSettings, total=False):
    """Single fields of :class:`ServerConfig`, but for ``port``, which ``Server`` names itself."""

    host: str
    endpoints: tuple[Any, ...]
    max_connections: int
    max_connection: int | None
    tls_cert: str | PurePath | None
    tls_key: str | PurePath | None
    tls_client_ca: str | PurePath | None
    log_connections: bool


class ClientSettings(_CommonSettings, total=False):
    """Single fields of :class:`ClientConfig`, but for ``port`` and ``endpoint``, which ``Client`` names itself."""

    server_addr: str
    connect_timeout: float
    retry: RetryPolicy | int
    retry_delay: float
    tls: bool
    tls_ca: str | PurePath | None
    tls_name: str | None
    tls_cert: str | PurePath | None
    tls_key: str | PurePath | None
    allow_plaintext_credentials: bool


class ServerChanges(ServerSettings, total=False):
    """Single fields of :class:`ServerConfig`, all of them."""

    port: int


class ClientChanges(ClientSettings, total=False):
    """Single fields of :class:`ClientConfig`, all of them."""

    port: int
    endpoint: Any


C = TypeVar("C", ServerConfig, ClientConfig)


def evolve(config: C, settings: dict[str, Any], kind: type[C]) -> C:
    """Return a config with some fields changed.

    Raises:
        SettingsError: it is none of this kind, there is no such field, or a value cannot be.
    """
    if not isinstance(config, kind):
        host = "127.0.0.1:8080"
        raise SettingsError("config", config, f"a {kind.__name__}, or an address such as {host!r} (a port alone is port=8080)")
    known = {each.name for each in fields(config)} | ({"max_connection"} if kind is ServerConfig else set())
    unknown = sorted(set(settings) - known)
    if unknown:
        close = get_close_matches(unknown[0], sorted(known), 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise SettingsError(unknown[0], settings[unknown[0]], f"left out: {kind.__name__} has no such setting{hint}")
    return replace(config, **settings)
