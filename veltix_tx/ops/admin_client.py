"""Client of an administration, for the command line: one request, one answer, every failure in one line."""

from __future__ import annotations

import json
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode

from veltix_tx.net.addresses import is_loopback
from veltix_tx.sanitize import escape_controls

__all__ = ["AdminClient", "AdminFailed"]

_MOST = 64 * 1024 * 1024
"""Bytes of an answer."""


class AdminFailed(Exception):
    """A request to an administration came to nothing; its text is one line."""


class AdminClient:
    """Client of one administration.

    Args:
        where: ``HOST:PORT`` or ``unix:PATH``.
        token: what to present; None for nothing.
        tls: the side of TLS to be; None for none.
        timeout: seconds for each step of a request.
        allow_plaintext: present the token to another machine without TLS, too, where everybody on the way can read it.

    Raises:
        AdminFailed: the address is none, or the token would go over the network in the open.
    """

    def __init__(
        self,
        where: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        allow_plaintext: bool = False,
    ) -> None:
        self.where = where
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._tls = tls
        self._timeout = timeout
        self._path = where.removeprefix("unix:") if where.startswith("unix:") else ""
        host, _, port = where.rpartition(":")
        self._host = host.strip("[]")
        if not self._path and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise AdminFailed(f"{escape_controls(where)} is not HOST:PORT of an administration (--admin), nor unix:PATH")
        local = bool(self._path) or self._host == "localhost" or is_loopback(self._host)
        if token is not None and tls is None and not (local or allow_plaintext):
            raise AdminFailed(f"{escape_controls(where)}: others could read the token on the way: give --tls, or --allow-plaintext")
        self._port = 0 if self._path else int(port)

    def get(self, path: str, **query: object) -> Any:
        """Return what a path shows; raises AdminFailed."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self._ask("GET", f"/api/v1/{path}" + (f"?{urlencode(given)}" if given else ""), None)

    def post(self, path: str, **body: object) -> Any:
        """Return what doing something brought; raises AdminFailed."""
        return self._ask("POST", f"/api/v1/{path}", json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        shown = escape_controls(self.where)
        connection = self._connection()
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read(_MOST + 1)
        except ssl.SSLCertVerificationError as error:
            raise AdminFailed(f"{shown}: its certificate cannot be trusted: {error.verify_message}") from None
        except TimeoutError:
            hint = " (leave out --tls where the administration speaks none)" if self._tls is not None else ""
            raise AdminFailed(f"{shown}: no answer within {self._timeout:g} s{hint}") from None
        except (OSError, HTTPException, ValueError) as error:
            said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise AdminFailed(f"{shown}: {escape_controls(said)}; is an administration (--admin) there?") from None
        finally:
            connection.close()
        try:
            found = json.loads(content) if len(content) <= _MOST else None
        except (ValueError, RecursionError):
            found = None
        if answer.status != 200:
            said = str(found["error"]) if isinstance(found, dict) and "error" in found else "it is no administration of veltix_tx"
            hint = " (give --token-file)" if answer.status == 401 and "Authorization" not in self._headers else ""
            raise AdminFailed(f"{shown}: {escape_controls(said)[:300]}{hint}")
        if found is None:
            raise AdminFailed(f"{shown}: it is no administration of veltix_tx")
        return found

    def _connection(self) -> HTTPConnection:
        if self._path:
            return _UnixConnection(self._path, self._timeout)
        if self._tls is not None:
            return HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=self._timeout)


class _UnixConnection(HTTPConnection):
    """A connection through a UNIX socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
