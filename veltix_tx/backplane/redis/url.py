"""URLs of a Redis or Valkey server, with everything that a connection to it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from veltix_tx.backplane.address import TLS_OPTIONS
from veltix_tx.errors import SettingsError
from veltix_tx.passwords import BACKPLANE_PASSWORD_VARIABLE, hide_password, read_url_password

__all__ = ["OPTIONS", "RedisUrl", "parse_redis_url"]

_RULE = (
    "redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE], rediss:// for TLS, or redis+unix:PATH, and behind a '?' perhaps "
    "db, user, password_file, prefix, lease, tls_ca, tls_name, tls_cert, tls_key, with '&' between them"
)
OPTIONS = {"db", "user", "password_file", "prefix", "lease", *TLS_OPTIONS}
"""Options that a URL may have."""
_LEASE = 10.0
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Address of a Redis server and how to log in; ``str()`` shows no password.

    Attributes:
        host: its name or address; empty where it has a path.
        port: its TCP port.
        path: its UNIX socket.
        tls: speak TLS, and verify the server's certificate.
        database: the database's number.
        user: the ACL user; None for the default one.
        password: its password; None where the server asks for none.
        prefix: what every key and channel begins with: applications with different ones share a server.
        lease: seconds within which a node that vanished is in no list any more, nor its members.
        tls_ca: a PEM file with the issuers to trust; None for those that this machine trusts.
        tls_name: the name that the server's certificate must be for; None for ``host``.
        tls_cert: a PEM file with this side's certificate, for a server that asks for one.
        tls_key: a PEM file with its private key; None: it is in ``tls_cert``.
    """

    host: str = ""
    port: int = 6379
    path: str = ""
    tls: bool = False
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = "veltix"
    lease: float = _LEASE
    tls_ca: str | None = None
    tls_name: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __str__(self) -> str:
        if self.path:
            return f"redis+unix:{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{'rediss' if self.tls else 'redis'}://{user}{host}:{self.port}/{self.database}"


def parse_redis_url(url: str, environment: Mapping[str, str]) -> RedisUrl:
    """Parse a URL; read its password from where it says.

    A password in the URL can be seen by whoever lists processes: ``password_file`` or the environment's
    ``VELTIX_BACKPLANE_PASSWORD`` hide it.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``redis+unix:PATH``.
        environment: variables of the process.

    Raises:
        SettingsError: it is none of these, or its file cannot be read. It does not show the password.
    """
    try:
        split = urlsplit(url)
        parts = {"redis+unix": _unix, "redis": _tcp, "rediss": _tcp}[split.scheme](split)
        options = dict(parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query), errors="strict"))
        if split.fragment or options.keys() - (OPTIONS if parts["tls"] else OPTIONS - TLS_OPTIONS) or "" in options.values():
            raise ValueError(url)
        database = int(options.pop("db", parts.pop("database")))
        lease = float(options.pop("lease", _LEASE))
        if not 0 <= database < 1024 or not 0.1 <= lease <= 3600:
            raise ValueError(url)
    except (KeyError, ValueError):
        raise SettingsError("backplane", hide_password(url), _RULE) from None
    if not _PREFIX.fullmatch(options.get("prefix", "veltix")):
        rule = "one whose prefix is up to 64 ASCII letters, digits, '_', '.', ':' and '-', beginning with a letter or digit"
        raise SettingsError("backplane", hide_password(url), rule)
    password_file = options.pop("password_file", None)
    if password_file is not None:
        parts["password"] = read_url_password(url, password_file)
    elif parts["password"] is None:
        parts["password"] = environment.get(BACKPLANE_PASSWORD_VARIABLE) or None
    return RedisUrl(database=database, lease=lease, **parts | options)


def _unix(split: SplitResult) -> dict[str, Any]:
    if split.netloc or not split.path:
        raise ValueError(split)
    return {"path": unquote(split.path), "tls": False, "database": 0, "password": None}


def _tcp(split: SplitResult) -> dict[str, Any]:
    if not split.hostname:
        raise ValueError(split)
    return {
        "host": unquote(split.hostname),
        "port": 6379 if split.port is None else split.port,
        "tls": split.scheme == "rediss",
        "database": split.path.removeprefix("/") or 0,
        "user": unquote(split.username) if split.username else None,
        "password": unquote(split.password) if split.password else None,
    }
