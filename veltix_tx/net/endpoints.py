"""Where a server listens: Twisted's endpoints, with a wire in front of their descriptions and TLS in them."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from veltix_tx.errors import SettingsError
from veltix_tx.net.factory import check_wire
from veltix_tx.net.keepalive import Clocks
from veltix_tx.settings import ServerConfig

__all__ = ["Place", "TlsFiles", "open_endpoint", "places"]

_BACKLOG = "backlog=1024"
"""Connections that may wait to be accepted; with Twisted's 50, a crowd of clients is left hanging."""

_TCP = ("tcp", "tcp4", "tcp6")

_OWN_TLS = re.compile(r"tls:\d+(?::|$)")
"""``tls:`` and a port. Twisted's own ``tls:`` begins with a folder."""


_TLS_SETTING = re.compile(r"\btls_(cert|key|client_ca)\b")


class TlsFiles(NamedTuple):
    """The files of a server's TLS, as :class:`veltix_tx.net.tls.ServerTls` takes them."""

    cert: str | PurePath
    key: str | PurePath | None
    client_ca: str | PurePath | None


class Place(NamedTuple):
    """One place to listen in.

    Attributes:
        wire: what is spoken there.
        endpoint: a description or an endpoint, without the TLS that ``tls`` says.
        tls: the files for TLS on top of it.
        given: the description as it was given.
        own_files: True if the description names those files.
    """

    wire: str
    endpoint: str | IStreamServerEndpoint
    tls: TlsFiles | None
    given: str = ""
    own_files: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether it is known to have TLS, ours or its own."""
        return self.tls is not None or (isinstance(self.endpoint, str) and self.endpoint.startswith(("ssl:", "tls:")))

    def name_error(self, error: SettingsError) -> SettingsError:
        """Return the error of a file for TLS, named after what names the file: this endpoint, or else the setting."""
        if not self.own_files:
            return error
        name, rule = (_TLS_SETTING.sub(r"\1", words) for words in (error.name, error.rule))
        return SettingsError("endpoint", self.given, f"one whose {name}={error.value} is {rule}")


def places(config: ServerConfig) -> list[Place]:
    """Return where a server is to listen.

    Raises:
        SettingsError: the wire in front of an endpoint is unknown, or TLS has no certificate or a certificate no use.
    """
    files = None if config.tls_cert is None else TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    if not config.endpoints:
        interface = config.host.replace(":", r"\:")
        return [Place(config.wire, f"tcp:{config.port}:interface={interface}:{_BACKLOG}", files)]
    found = [_place(each, config.wire, files) for each in config.endpoints]
    if files is not None and not any(place.tls == files for place in found):
        raise SettingsError(
            "tls_cert", config.tls_cert, "left out, or used by an endpoint tls:PORT; those given are not served with it"
        )
    return found


def open_endpoint(clocks: Clocks, where: str | IStreamServerEndpoint) -> IStreamServerEndpoint:
    """Return the endpoint that a description describes.

    Raises:
        SettingsError: it describes none.
    """
    if not isinstance(where, str):
        return where
    try:
        endpoint: IStreamServerEndpoint = serverFromString(clocks.reactor, where)
    except Exception as error:
        raise SettingsError("endpoint", where, f"a Twisted server endpoint ({error})") from error
    return endpoint


def _place(endpoint: str | IStreamServerEndpoint, default: str, files: TlsFiles | None) -> Place:
    if not isinstance(endpoint, str):
        return Place(default, endpoint, None, str(endpoint))
    wire, rest = _split_wire(endpoint, default)
    kind, *parts = re.findall(r"(?:\\.|[^\\:])+", rest) or [""]
    if not _OWN_TLS.match(rest):
        told = "::" in rest or len(parts) > 2 or any(part.startswith("backlog=") for part in parts)
        return Place(wire, rest if told or kind not in _TCP else f"{rest}:{_BACKLOG}", None, endpoint)
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
        others.append(_BACKLOG)
    return Place(wire, ":".join(["tcp", *others]), files, endpoint, bool(given))


def _split_wire(endpoint: str, default: str) -> tuple[str, str]:
    """Split ``"1.9.0@tcp:8090"`` into wire and endpoint."""
    wire, at, rest = endpoint.partition("@")
    if not at or ":" in wire:
        return default, endpoint
    try:
        check_wire(wire)
    except SettingsError as error:
        raise SettingsError("endpoint", endpoint, f"an endpoint, or RELEASE@endpoint with {error.rule}") from None
    return wire, rest
