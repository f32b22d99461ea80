"""Addresses of what keeps a backplane, as the URLs of each kind have them, and the endpoint that connects there."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from veltix_tx.net.transport.connecting import tcp_endpoint

__all__ = ["TLS_OPTIONS", "open_address"]

TLS_OPTIONS = {"tls_ca", "tls_name", "tls_cert", "tls_key"}
"""Options of a URL with TLS, named as the attributes."""


class _Address(Protocol):
    """Address of a process.

    Attributes:
        host: its name or address; empty where it has a path.
        port: its TCP port.
        path: its UNIX socket.
        tls: speak TLS, and verify its certificate.
        tls_ca: a PEM file with the issuers to trust; None for those that this machine trusts.
        tls_name: the name that the certificate must be for; None for ``host``.
        tls_cert: a PEM file with this side's certificate.
        tls_key: a PEM file with its private key; None: it is in ``tls_cert``.
    """

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def path(self) -> str: ...

    @property
    def tls(self) -> bool: ...

    @property
    def tls_ca(self) -> str | None: ...

    @property
    def tls_name(self) -> str | None: ...

    @property
    def tls_cert(self) -> str | None: ...

    @property
    def tls_key(self) -> str | None: ...


def open_address(address: _Address, reactor: Any, timeout: float) -> IStreamClientEndpoint:
    """Return the endpoint that connects to an address.

    Args:
        address: where.
        reactor: connects, looks names up and tells the time.
        timeout: seconds for a connection.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """
    if address.path:
        return UNIXClientEndpoint(reactor, address.path, timeout)
    plain = tcp_endpoint(reactor, address.host, address.port, timeout)
    if not address.tls:
        return plain
    from veltix_tx.net.transport.tls import ClientTls, TlsEndpoint  # noqa: PLC0415 (needed for TLS alone)

    make = partial(ClientTls, address.tls_name or address.host, address.tls_ca, address.tls_cert, address.tls_key)
    make()  # tells at once of files that cannot be used
    return TlsEndpoint(make, plain, reactor)
