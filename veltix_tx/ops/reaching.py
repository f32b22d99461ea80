"""Options of how to reach an administration, for each command that asks one."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, BinaryIO

import click

from veltix_tx.ops.admin_client import AdminClient, AdminFailed
from veltix_tx.ops.output import Failed
from veltix_tx.wire.credentials import MAX_SECRET_SIZE

__all__ = ["Reach", "reaching"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Way to an administration.

    Attributes:
        timeout: seconds for each step of a request.
        token: what to present; None for nothing.
        tls: the side of TLS to be; None for none.
        allow_plaintext: present the token to another machine without TLS, too.
    """

    timeout: float
    token: str | None
    tls: ssl.SSLContext | None
    allow_plaintext: bool

    def client(self, where: str) -> AdminClient:
        """Return the client of an address; raises AdminFailed."""
        return AdminClient(where, token=self.token, tls=self.tls, timeout=self.timeout, allow_plaintext=self.allow_plaintext)


_seconds = click.FloatRange(0, min_open=True)

_OPTIONS = (
    click.option("--timeout", type=_seconds, default=5.0, show_default=True, help="Seconds for an answer."),
    click.option("--allow-plaintext", is_flag=True, help="Present the token to another machine without TLS, too."),
    click.option("--token-file", type=click.File("rb"), help="Present the token in it to an administration that asks."),
    click.option("--tls-ca", metavar="FILE", help="The issuers to trust, in place of those this machine trusts."),
    click.option("--tls", is_flag=True, help="Speak TLS; so does --tls-ca."),
)


def reaching(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets them as ``reach``; AdminFailed ends it in one line."""

    @wraps(function)
    def command(
        *args: Any,
        tls: bool,
        tls_ca: str | None,
        token_file: BinaryIO | None,
        allow_plaintext: bool,
        timeout: float,
        **kwargs: Any,
    ) -> None:
        try:
            token = None if token_file is None else token_file.read(2 * MAX_SECRET_SIZE).decode().strip()
            context = ssl.create_default_context(cafile=tls_ca) if tls or tls_ca else None
        except UnicodeDecodeError:
            raise click.UsageError("--token-file: it must hold a token, and nothing else") from None
        except OSError as error:
            raise click.UsageError(f"a file cannot be used (--token-file, --tls-ca): {error.strerror or error}") from None
        try:
            function(*args, reach=Reach(timeout, token, context, allow_plaintext), **kwargs)
        except AdminFailed as error:
            raise Failed(str(error)) from None

    for option in _OPTIONS:
        command = option(command)
    return command
