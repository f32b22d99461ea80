"""The ``veltix`` command: talk to a Veltix server from a shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import wraps
from typing import Any

import click
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError

from veltix_tx._version import __version__
from veltix_tx.benchmark.options import main as benchmark
from veltix_tx.client import Client
from veltix_tx.errors import VeltixError
from veltix_tx.net.plain import escaped
from veltix_tx.net.reconnect import DisconnectState
from veltix_tx.settings import RetryPolicy
from veltix_tx.wire import codec
from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.releases import AUTO

__all__ = ["main"]

_Main = Callable[[Client], Coroutine[Deferred[Any], Any, None]]


def _parse(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


_address = click.argument("address", callback=_parse, metavar="HOST:PORT")
_wire = click.option("--wire", default=AUTO, show_default=True, help="The upstream release to speak, such as 1.6.3.")
_timeout = click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Seconds to wait for an answer."
)


def _over_tls(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a TLS connection; the command gets them together as ``tls``."""

    @wraps(command)
    def with_settings(
        *args: Any, tls: bool, tls_ca: str | None, tls_name: str | None, tls_cert: str | None, tls_key: str | None, **kwargs: Any
    ) -> None:
        given = {"tls_ca": tls_ca, "tls_name": tls_name, "tls_cert": tls_cert, "tls_key": tls_key}
        settings = {name: value for name, value in given.items() if value is not None}
        command(*args, tls={"tls": True, **settings} if tls or settings else {}, **kwargs)

    for option in (
        click.option("--tls-key", metavar="FILE", help="Its private key, where the certificate's file does not have it."),
        click.option("--tls-cert", metavar="FILE", help="This side's certificate, for a server that asks for one."),
        click.option("--tls-name", metavar="NAME", help="The name its certificate must be for, in place of HOST."),
        click.option("--tls-ca", metavar="FILE", help="The issuers to trust, in place of those this machine trusts."),
        click.option("--tls", is_flag=True, help="Speak TLS; so do the options for it."),
    ):
        with_settings = option(with_settings)
    return with_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="veltix", message=f"%(prog)s (veltix_tx) %(version)s ({codec.description()})")
def main() -> None:
    """Talk to a Veltix server of any release.

    To serve, use twistd: twistd -n veltix --port 8080
    """


@main.command()
@_address
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True, help="How many pings.")
@_wire
@_timeout
@_over_tls
def ping(address: tuple[str, int], count: int, wire: str, timeout: float, tls: dict[str, Any]) -> None:
    """Measure the round trip to a server."""

    async def talk(client: Client) -> None:
        times = []
        for number in range(1, count + 1):
            times.append(await client.ping_server(timeout))
            click.echo(f"{number}: {times[-1]:.3f} ms")
        if times:
            click.echo(f"{len(times)} pings: {min(times):.3f} ms least, {sum(times) / len(times):.3f} mean, {max(times):.3f} most")

    _run(address, wire, talk, **tls)


@main.command()
@_address
@click.argument("code", type=click.IntRange(200, 65535), metavar="TYPE")
@click.argument("text")
@click.option("--wait", is_flag=True, help="Wait for the reply and print it.")
@_wire
@_timeout
@_over_tls
def send(address: tuple[str, int], code: int, text: str, wait: bool, wire: str, timeout: float, tls: dict[str, Any]) -> None:
    """Send TEXT as a message of TYPE, a code from 200 to 65535."""
    types = MessageRegistry(open=True)
    message_type = types.get(code)
    assert message_type is not None

    async def talk(client: Client) -> None:
        if wait:
            reply = await client.send_and_wait(message_type, text.encode(), timeout=timeout)
            click.echo(_readable(reply.content))
        else:
            client.send(message_type, text.encode())

    _run(address, wire, talk, types=types, **tls)


@main.command()
@_address
@click.option("--retry", is_flag=True, help="Try again, without end, when there is no connection or it is lost.")
@_wire
@_over_tls
def listen(address: tuple[str, int], retry: bool, wire: str, tls: dict[str, Any]) -> None:
    """Print what a server sends, until interrupted or, without --retry, the connection is lost.

    Standard error gets a line for each connection, and for each try that fails.
    """
    lost: Deferred[BaseException] = Deferred()

    def prepare(client: Client) -> None:
        def connected() -> None:
            assert client.session is not None
            _tell(address, f"connected, it speaks Veltix {escaped(client.session.peer.version)}")

        client.set_callback("on_connect", connected)
        client.set_callback("on_recv", show)
        client.set_callback("on_disconnect", disconnected)

    def show(message: Response) -> None:
        now = datetime.now().strftime("%H:%M:%S")
        click.echo(f"{now} {message.type.code} {_readable(message.content)}")

    def disconnected(state: DisconnectState) -> None:
        if not state.permanent:
            _tell(address, f"{state.error}; trying again")
        elif state.error is not None and not lost.called:
            lost.callback(state.error)

    async def talk(client: Client) -> None:
        raise await lost

    _run(address, wire, talk, prepare=prepare, retry=RetryPolicy() if retry else 0, **tls)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure this package, and its peers; see veltix bench --help."""
    sys.exit(benchmark(arguments, prog="veltix bench"))


def _readable(content: bytes) -> str:
    """Return content as text a terminal can be trusted with."""
    text = content.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _tell(address: tuple[str, int], what: object) -> None:
    """Write a line about the connection to standard error."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    click.echo(f"veltix: {host}:{address[1]}: {what}", err=True)


def _run(
    address: tuple[str, int],
    wire: str,
    talk: _Main,
    *,
    types: MessageRegistry | None = None,
    prepare: Callable[[Client], None] = lambda client: None,
    **settings: Any,
) -> None:
    """Connect, talk, disconnect; show a failure as one line and exit with status 1."""

    async def talking(reactor: Any) -> None:
        client = Client(*address, wire=wire, types=types or MessageRegistry(open=True), reactor=reactor, **settings)
        prepare(client)
        await client.connect()
        try:
            await talk(client)
        finally:
            await client.disconnect()

    def told(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(talking(reactor)).addErrback(failed)

    def failed(failure: Any) -> None:
        failure.trap(VeltixError, ConnectError, DNSLookupError, ValueError)
        _tell(address, failure.value)
        sys.exit(1)

    task.react(told)
