"""Endpoints: Twisted's, with a wire in front of a server's descriptions and TLS in them, and UDP."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol, runtime_checkable

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

from veltix_tx.errors import SettingsError
from veltix_tx.net.clock import Clocks
from veltix_tx.net.transport.connecting import tcp_endpoint
from veltix_tx.net.transport.tls_errors import not_installed
from veltix_tx.net.transport.udp import DatagramEndpoint, UdpClientEndpoint, UdpServerEndpoint
from veltix_tx.net.transport.unix_socket import UnixServerEndpoint
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.interface import Wire
from veltix_tx.wire.registry import find_datagram_wire, find_wire

__all__ = [
    "BACKLOG",
    "ClientEndpoint",
    "ListenSpec",
    "ServerEndpoint",
    "TlsFiles",
    "description_parts",
    "is_udp",
    "listen_specs",
    "open_client_endpoint",
    "open_endpoint",
    "split_wire",
]

BACKLOG = 1024
"""Connections that may wait to be accepted; with Twisted's 50, a crowd of clients is left hanging."""

_TCP = ("tcp", "tcp4", "tcp6")

_OWN_TLS = re.compile(r"tls:\d+(?::|$)")
"""``tls:`` and a port. Twisted's own ``tls:`` begins with a folder."""


_UDP = re.compile("udp6?:")

_TLS_SETTING = re.compile(r"\btls_(cert|key|client_ca)\b")


Kinds = dict[str, tuple[str, str]]

_SERVERS: Kinds = {
    "tcp": ("a port", "tcp:8080"),
    "tcp6": ("a port", "tcp6:8080"),
    "tls": ("a port and a certificate", "tls:8443:cert=FILE"),
    "ssl": ("a port, a key and a certificate", "ssl:8443:privateKey=FILE:certKey=FILE"),
    "unix": ("a path", "unix:veltix.sock"),
    "systemd": ("a domain and an index or a name", "systemd:domain=INET:index=0"),
    "haproxy": ("an endpoint behind it", "haproxy:tcp:8080"),
    "udp": ("a port", "udp:8080"),
    "udp6": ("a port", "udp6:8080"),
}
_CLIENTS: Kinds = {
    "tcp": ("a host and a port", "tcp:127.0.0.1:8080"),
    "tls": ("a host and a port", "tls:localhost:8443"),
    "ssl": ("a host and a port", "ssl:localhost:8443"),
    "unix": ("a path", "unix:veltix.sock"),
    "udp": ("a host and a port", "udp:127.0.0.1:8080"),
}
"""Kind of endpoint -> what its description needs, and an example of one."""


class ServerEndpoint(Protocol):
    """IStreamServerEndpoint for type checkers that do not know zope's interfaces."""

    def listen(self, protocolFactory: Any, /) -> Any:
        """Listen."""


@runtime_checkable
class ClientEndpoint(Protocol):
    """IStreamClientEndpoint for type checkers that do not know zope's interfaces."""

    def connect(self, protocolFactory: Any, /) -> Any:
        """Connect."""


class TlsFiles(NamedTuple):
    """The files of a server's TLS, as :class:`veltix_tx.net.transport.tls.ServerTls` takes them."""

    cert: str | PurePath
    key: str | PurePath | None
    client_ca: str | PurePath | None


class ListenSpec(NamedTuple):
    """One place to listen in.

    Attributes:
        wire: what is spoken there.
        endpoint: a description or an endpoint, without the TLS that ``tls`` says.
        tls: the files for TLS on top of it.
        given: the description as it was given.
        own_files: True if the description names those files.
    """

    wire: Wire
    endpoint: str | IStreamServerEndpoint | DatagramEndpoint
    tls: TlsFiles | None
    given: str = ""
    own_files: bool = False

    @property
    def encrypted(self) -> bool:
        """True if it is known to have TLS, ours or its own."""
        return self.tls is not None or (isinstance(self.endpoint, str) and self.endpoint.startswith(("ssl:", "tls:")))

    @property
    def in_datagrams(self) -> bool:
        """True if it is UDP."""
        return is_udp(self.endpoint) or isinstance(self.endpoint, DatagramEndpoint)

    def check_wire(self, max_message_size: int) -> None:
        """Raise SettingsError where its wire cannot be spoken there, named after the endpoint that was given."""
        try:
            if self.in_datagrams:
                find_datagram_wire(self.wire).check_datagrams(max_message_size)
            else:
                self.wire.check(encrypted=self.encrypted, max_message_size=max_message_size)
        except SettingsError as error:
            if not self.given:
                raise
            raise SettingsError("endpoint", self.given, f"one whose wire can be spoken there ({error})") from None

    def name_error(self, error: SettingsError) -> SettingsError:
        """Return the error of a file for TLS, named after what names the file: this endpoint, or else the setting."""
        if not self.own_files:
            return error
        name, rule = (_TLS_SETTING.sub(r"\1", words) for words in (error.name, error.rule))
        return SettingsError("endpoint", self.given, f"one whose {name}={error.value} is {rule}")


def listen_specs(config: ServerConfig) -> list[ListenSpec]:
    """Return where a server is to listen.

    Raises:
        SettingsError: a wire is unknown or cannot be spoken there, or TLS has no certificate or a certificate no use.
    """
    files = None if config.tls_cert is None else TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    wire = find_wire(config.wire)
    if not config.endpoints:
        interface = config.host.replace(":", r"\:")
        found = [ListenSpec(wire, f"tcp:{config.port}:interface={interface}:backlog={BACKLOG}", files)]
    else:
        found = [_place(each, wire, files) for each in config.endpoints]
    if files is not None and not any(place.tls == files for place in found):
        raise SettingsError(
            "tls_cert", config.tls_cert, "left out, or used by an endpoint tls:PORT; those given are not served with it"
        )
    for place in found:
        place.check_wire(config.max_message_size)
    return found


def is_udp(endpoint: object) -> bool:
    """Return True for the description of an endpoint in datagrams."""
    return isinstance(endpoint, str) and _UDP.match(endpoint) is not None


def open_endpoint(clocks: Clocks, place: ListenSpec) -> IStreamServerEndpoint | DatagramEndpoint:
    """Return the endpoint that a description describes.

    Raises:
        SettingsError: it describes none.
    """
    if not isinstance(place.endpoint, str):
        return place.endpoint
    from twisted.internet.endpoints import serverFromString  # noqa: PLC0415 (imports TLS; see connecting.py)

    given = place.given or place.endpoint
    try:
        _check_parts(given, _SERVERS)
        if place.in_datagrams:
            places, named = description_parts(place.endpoint)
            return _udp_server(clocks, *places, **named)
        endpoint: Any = serverFromString(clocks.reactor, place.endpoint)
    except Exception as error:
        raise SettingsError("endpoint", given, f"a Twisted server endpoint ({_explain(given, error, _SERVERS)})") from error
    if place.endpoint.startswith("unix:"):
        return UnixServerEndpoint(endpoint, endpoint._address, clocks.calendar)
    if place.endpoint.startswith("tls:"):
        endpoint.clock = clocks.reactor  # else it imports the global reactor
    return endpoint  # type: ignore[no-any-return]


def open_client_endpoint(clocks: Clocks, where: str) -> IStreamClientEndpoint:
    """Return the client endpoint that a description describes.

    Raises:
        SettingsError: it describes none.
    """
    from twisted.internet.endpoints import clientFromString  # noqa: PLC0415 (imports TLS; see connecting.py)

    try:
        _check_parts(where, _CLIENTS)
        if where.startswith("tls:"):
            places, named = description_parts(where)
            return _tls_endpoint(clocks, *places[1:], **named)
        if is_udp(where):
            places, named = description_parts(where)
            return _udp_client(clocks, *places[1:], **named)
        endpoint: IStreamClientEndpoint = clientFromString(clocks.reactor, where)
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError("endpoint", where, f"a Twisted client endpoint ({_explain(where, error, _CLIENTS)})") from error
    return endpoint


def _udp_server(clocks: Clocks, kind: str, port: str, interface: str = "") -> UdpServerEndpoint:
    if interface and not (isIPAddress(interface) or isIPv6Address(interface)):
        raise ValueError(f"{interface!r} is no address of an interface; a colon in one is written \\:")
    return UdpServerEndpoint(clocks.reactor, int(port), interface or ("::" if kind == "udp6" else ""))


def _udp_client(clocks: Clocks, host: str, port: str, bindAddress: str = "") -> UdpClientEndpoint:
    if not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port: they are from 1 to 65535")
    return UdpClientEndpoint(clocks.reactor, host, int(port), bindAddress)


def _tls_endpoint(
    clocks: Clocks,
    host: str,
    port: str,
    timeout: str = "30",
    bindAddress: str | None = None,
    certificate: str | None = None,
    privateKey: str | None = None,
    trustRoots: str | None = None,
    endpoint: str | None = None,
) -> IStreamClientEndpoint:
    """Return what Twisted's ``tls:`` describes, on the given reactor: its own imports the global one."""
    try:
        from veltix_tx.net.transport.tls import TlsEndpoint, verify_by_name  # noqa: PLC0415 (not always installed)
    except ImportError as error:
        raise not_installed("endpoint", f"tls:{host}:{port}") from error
    if endpoint is not None:
        plain = open_client_endpoint(clocks, endpoint)
    else:
        plain = tcp_endpoint(clocks.reactor, host, int(port), int(timeout), bindAddress)
    verifying = verify_by_name(host, trustRoots, certificate, privateKey)
    return TlsEndpoint(lambda: verifying, plain, clocks.reactor)


def description_parts(description: str) -> tuple[list[str], dict[str, str]]:
    """Split a description at its colons; return what has no name, the kind first, and what has."""
    places, named = list[str](), dict[str, str]()
    for part in re.findall(r"(?:\\.|[^\\:])+", description):
        found = re.match(r"(\w+)=(.*)", part, re.DOTALL)
        value = re.sub(r"\\(.)", r"\1", found[2] if found else part)
        if found:
            named[found[1]] = value
        else:
            places.append(value)
    return places, named


def split_wire(description: str) -> tuple[str | None, str]:
    """Split ``"1.9.0@tcp:8090"`` into the wire's name, None without one, and the endpoint."""
    wire, at, rest = description.partition("@")
    return (wire, rest) if at and ":" not in wire else (None, description)


def _check_parts(description: str, kinds: Kinds) -> None:
    """Raise ValueError for a description that Twisted takes, and with which it can do nothing."""
    kind, _, rest = split_wire(description)[1].partition(":")
    if kind in kinds and not rest.strip(":"):
        raise ValueError("missing: all of it")
    port = re.match(r"(?:port=)?(\d+)(?::|$)", rest)
    if kind in ("tcp", "tcp6", "ssl", "tls", "udp", "udp6") and port and int(port[1]) > 65535:
        raise ValueError(f"{port[1]} is no port: they are from 0 to 65535")


def _explain(description: str, error: Exception, kinds: Kinds) -> str:
    """Return what is wrong with an endpoint's description, of which Twisted says what its own functions say."""
    kind, said = split_wire(description)[1].partition(":")[0], str(error)
    if kind in kinds and "missing" in said:
        needed, example = kinds[kind]
        return f"{kind} needs {needed}: {example}"
    if "Unknown endpoint type" in said:
        there_is = ", ".join(kinds)
        return f"{kind!r} is none of {there_is}, nor of a plugin" + (f"; a port is tcp:{kind}" if kind.isdecimal() else "")
    if unexpected := re.search(r"unexpected keyword argument '(\w+)'", said):
        return f"{kind} has no {unexpected[1]}="
    if "positional argument" in said:
        return f"it has too many parts for {kind}: a colon in one is written \\:"
    if number := re.search(r"invalid literal for int\(\) with base (?:8|10): (.*)", said):
        return f"{number[1]} is no whole number"
    if isinstance(error, LookupError):
        return f"{kind} has no such one: {said}"
    return said


def _place(endpoint: str | IStreamServerEndpoint | tuple[object, Any], default: Wire, files: TlsFiles | None) -> ListenSpec:
    if isinstance(endpoint, tuple):
        wire = find_wire(endpoint[0])
        place = _place(endpoint[1], wire, files)
        return place._replace(given=f"{wire.name}@{endpoint[1]}")
    if not isinstance(endpoint, str):
        return ListenSpec(default, endpoint, None, str(endpoint))
    wire, rest = _find_wire(endpoint, default)
    kind, *parts = re.findall(r"(?:\\.|[^\\:])+", rest) or [""]
    if not _OWN_TLS.match(rest):
        told = "::" in rest or len(parts) > 2 or any(part.startswith("backlog=") for part in parts)
        return ListenSpec(wire, rest if told or kind not in _TCP else f"{rest}:backlog={BACKLOG}", None, endpoint)
    given, others = {}, []
    for part in parts:
        name, _, value = part.partition("=")
        if name in TlsFiles._fields:
            given[name] = re.sub(r"\\(.)", r"\1", value)
        else:
            others.append(part)
    if given.get("cert"):
        files = TlsFiles(given["cert"], given.get("key"), given.get("client_ca"))
    elif files is None or given:
        raise SettingsError("endpoint", endpoint, "one with cert=FILE in it, or tls_cert given")
    if not any(part.startswith("backlog=") for part in others):
        others.append(f"backlog={BACKLOG}")
    return ListenSpec(wire, ":".join(["tcp", *others]), files, endpoint, bool(given))


def _find_wire(endpoint: str, default: Wire) -> tuple[Wire, str]:
    """Split an endpoint as :func:`split_wire` does, and find its wire."""
    wire, rest = split_wire(endpoint)
    if wire is None:
        return default, endpoint
    try:
        return find_wire(wire), rest
    except SettingsError as error:
        raise SettingsError("endpoint", endpoint, f"an endpoint, or WIRE@endpoint with {error.rule}") from None
