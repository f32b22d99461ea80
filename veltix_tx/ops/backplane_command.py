"""``veltix backplane``: a process that hosts the backplane of others."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogBeginner

from veltix_tx.app.signals import Signals
from veltix_tx.backplane.memory import LEASE
from veltix_tx.errors import SettingsError
from veltix_tx.hosted.server import BackplaneServer
from veltix_tx.logs import LineObserver, LoggerConfig, LogLevel
from veltix_tx.ops.output import Failed, epilog
from veltix_tx.passwords import BACKPLANE_PASSWORD_VARIABLE, read_password
from veltix_tx.sanitize import escape_controls

__all__ = ["backplane"]


@click.command(
    epilog=epilog(
        "veltix backplane --listen unix:/run/veltix/backplane.sock",
        "veltix backplane --listen tls:7000:interface=10.0.0.1 --tls-cert cert.pem --password-file secret",
    ),
    short_help="Host a backplane for the servers of this machine, or of others.",
)
@click.option("--listen", required=True, metavar="ENDPOINT", help="Where: unix:PATH, tcp:PORT or tls:PORT, on 127.0.0.1.")
@click.option(
    "--password-file",
    metavar="FILE",
    help=f"Let in only who knows the password on its first line. Without it that is what {BACKPLANE_PASSWORD_VARIABLE} says.",
)
@click.option("--allow-plaintext", is_flag=True, help="Let other machines present the password without TLS, too.")
@click.option("--tls-cert", metavar="FILE", help="A certificate and its chain, for tls:PORT.")
@click.option("--tls-key", metavar="FILE", help="Its private key, where the certificate's file does not have it.")
@click.option("--tls-client-ca", metavar="FILE", help="Issuers: servers must show a certificate of one of them.")
@click.option(
    "--lease",
    type=click.FloatRange(0.1, 3600),
    default=LEASE,
    show_default=True,
    help="Seconds within which a server that vanished is gone, and its members with it.",
)
def backplane(listen: str, password_file: str | None, allow_plaintext: bool, **settings: Any) -> None:
    """Host what servers share (rooms, members, histories), in memory, without Redis.

    They join with --backplane veltix+unix:PATH, veltix://HOST:PORT or veltix+tls://HOST:PORT. What is kept ends with this process:
    servers that come back to another one tell it their members anew, and histories begin again.
    """
    from twisted.internet import reactor as installed  # noqa: PLC0415 (importing it installs it)

    reactor: Any = installed
    failures: list[BaseException] = []

    def begin() -> None:
        try:
            host.startService()
        except (CannotListenError, OSError) as error:
            failures.append(error)
            reactor.stop()
            return
        reactor.addSystemEventTrigger("before", "shutdown", host.stopService)
        click.echo(f"a backplane is hosted, for --backplane {host.url} (Ctrl-C stops it)", err=True)

    try:
        password = read_password(password_file, BACKPLANE_PASSWORD_VARIABLE)
        host = BackplaneServer(listen, password=password, plaintext=allow_plaintext, reactor=reactor, **settings)
    except SettingsError as error:
        raise click.UsageError(
            escape_controls(f"--{error.name.replace('_', '-')} {error.value}: it must be {error.rule}")
        ) from None
    observer = LineObserver(LoggerConfig(level=LogLevel.WARNING, stream=sys.stderr))
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    Signals(reactor, host.abort).run(begin)
    for failure in failures:
        raise Failed(_line(failure))


def _line(failure: BaseException) -> str:
    """Return why nobody can join, and what to do, where that is known."""
    if isinstance(failure, CannotListenError) and failure.socketError == "Cannot acquire lock":  # a UNIX socket's, of Twisted
        return f"another process listens on {os.fsdecode(failure.port)}: end it, or give another --listen"
    if isinstance(failure, FileNotFoundError):
        folder = os.path.dirname(os.fsdecode(failure.filename2 or failure.filename))
        return f"cannot listen: there is no folder {folder}; make it first"
    return f"cannot listen: {failure}"
