"""URLs of a process that hosts a backplane."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from twisted.internet.interfaces import IStreamClientEndpoint

from veltix_tx.backplane.address import TLS_OPTIONS, open_address
from veltix_tx.errors import SettingsError
from veltix_tx.net.clock import Clocks
from veltix_tx.passwords import BACKPLANE_PASSWORD_VARIABLE, hide_password, read_url_password

__all__ = ["HostUrl", "parse_host_url"]

_RULE = (
    "veltix+unix:PATH, veltix://HOST:PORT, or veltix+tls://HOST:PORT for TLS, and behind a '?' perhaps password_file, "
    "plaintext=yes, tls_ca, tls_name, tls_cert, tls_key, with '&' between them"
)
_OPTIONS = {
    "veltix+unix": {"password_file"},
    "veltix": {"password_file", "plaintext"},
    "veltix+tls": {"password_file", *TLS_OPTIONS},
}
"""Options by scheme."""

_CONNECT = 2.0
"""Maximum seconds for a connection."""


@dataclass(frozen=True, slots=True)
class HostUrl:
    """Address of a process that hosts a backplane, and its password; ``str()`` shows no password.

    Attributes:
        host: its name or address; empty where it has a path.
        port: its TCP port.
        path: its UNIX socket.
        tls: speak TLS, and verify the host's certificate.
        password: the password; None where it asks for none.
        plaintext: True if the password may go to another machine without TLS.
        tls_ca: a PEM file with the issuers to trust; None for those that this machine trusts.
        tls_name: the name that the certificate must be for; None for ``host``.
        tls_cert: a PEM file with this side's certificate.
        tls_key: a PEM file with its private key; None: it is in ``tls_cert``.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    password: str | None = field(default=None, repr=False)
    plaintext: bool = False
    tls_ca: str | None = None
    tls_name: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __str__(self) -> str:
        if self.path:
            return f"veltix+unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"veltix{'+tls' if self.tls else ''}://{host}:{self.port}"

    def endpoint(self, clocks: Clocks) -> IStreamClientEndpoint:
        """Return what connects there.

        Raises:
            SettingsError: a file for TLS cannot be used.
        """
        return open_address(self, clocks.reactor, _CONNECT)


def parse_host_url(url: str, environment: Mapping[str, str]) -> HostUrl:
    """Parse a URL; read its password from the file that it names, else from the environment's VELTIX_BACKPLANE_PASSWORD.

    Args:
        url: ``veltix+unix:PATH``, ``veltix://HOST:PORT`` or ``veltix+tls://HOST:PORT``.
        environment: variables of the process.

    Raises:
        SettingsError: it is none of these, or its file cannot be read.
    """
    try:
        split = urlsplit(url)
        options = dict(parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query), errors="strict"))
        known = _OPTIONS[split.scheme]
        plaintext = options.pop("plaintext", "no") if "plaintext" in known else "no"
        if split.fragment or split.username or options.keys() - known or "" in options.values() or plaintext not in ("yes", "no"):
            raise ValueError(url)
        if split.scheme == "veltix+unix":
            if split.netloc or not split.path:
                raise ValueError(url)
            place = HostUrl(path=re.sub("^//+", "/", unquote(split.path)))
        else:
            if not split.hostname or not split.port or split.path not in ("", "/"):
                raise ValueError(url)
            place = HostUrl(host=unquote(split.hostname), port=split.port, tls=split.scheme == "veltix+tls")
    except (KeyError, ValueError):
        raise SettingsError("backplane", hide_password(url), _RULE) from None
    password_file = options.pop("password_file", None)
    known_password = environment.get(BACKPLANE_PASSWORD_VARIABLE) or None
    password = known_password if password_file is None else read_url_password(url, password_file)
    return HostUrl(place.host, place.port, place.path, place.tls, password, plaintext == "yes", **options)
