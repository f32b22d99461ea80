"""The ``veltix`` command: talk to a Veltix server from a shell."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import click
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure

from veltix_tx._version import __version__
from veltix_tx.client import Client
from veltix_tx.errors import VeltixError
from veltix_tx.net.plain import escaped
from veltix_tx.net.reconnect import DisconnectState
from veltix_tx.settings import RetryPolicy
from veltix_tx.stdio import INTERRUPTED, OutputFailed, command_output, is_broken_pipe
from veltix_tx.wire import codec
from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.releases import AUTO

__all__ = ["main"]

_Command = Callable[..., None]

_WATCH = 0.25
"""Seconds between two looks at whether anybody still reads what ``listen`` prints."""

_POLITE = 0.5
"""Seconds to wait for the server to close its side too, where a command has failed or is interrupted."""

_LATER = 0.05
"""Seconds behind a timeout: what it was of can tell more of it than that it is over."""

_Talk = Callable[[Client], Coroutine[Deferred[Any], Any, None]]


def _parse(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


_address = click.argument("address", callback=_parse, metavar="HOST:PORT")
_wire = click.option("--wire", default=AUTO, show_default=True, help="The upstream release to speak, such as 1.6.3.")


def _timeout(bounds: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help=f"Seconds for {bounds}."
    )


_timeout_for_answers = _timeout("the connection with its handshake, and for each answer")
_timeout_for_tries = _timeout("a connection, and for its handshake")


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
def _veltix() -> None:
    """Talk to a Veltix server of any release.

    To serve, use twistd: twistd -n veltix --port 8080
    """


def main() -> NoReturn:
    """Run the ``veltix`` command and exit."""
    with command_output("veltix"):
        try:
            sys.exit(_veltix.main(standalone_mode=False))
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except _Interrupted as interrupted:
            sys.exit(interrupted.status)
        except click.Abort:  # while it reads, or measures
            sys.exit(INTERRUPTED)


@_veltix.command()
@_address
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True, help="How many pings.")
@_wire
@_timeout_for_answers
@_over_tls
def ping(address: tuple[str, int], count: int, wire: str, timeout: float, tls: dict[str, Any]) -> None:
    """Measure the round trip to a server."""

    async def talk(client: Client) -> None:
        times = []
        try:
            for number in range(1, count + 1):
                times.append(await client.ping_server(timeout))
                click.echo(f"{number}: {times[-1]:.3f} ms")
        finally:
            mean = f": {min(times):.3f} ms least, {sum(times) / len(times):.3f} mean, {max(times):.3f} most" if times else ""
            click.echo(f"{len(times)} pings{mean}")

    _Conversation(address, wire, timeout, **tls).run(talk)


@_veltix.command()
@_address
@click.argument("code", type=click.IntRange(200, 65535), metavar="TYPE")
@click.argument("text")
@click.option("--wait", is_flag=True, help="Wait for the reply and print it.")
@_wire
@_timeout_for_answers
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

    _Conversation(address, wire, timeout, types=types, **tls).run(talk)


@_veltix.command()
@_address
@click.option("--retry", is_flag=True, help="Try again, without end, when there is no connection or it is lost.")
@_wire
@_timeout_for_tries
@_over_tls
def listen(address: tuple[str, int], retry: bool, wire: str, timeout: float, tls: dict[str, Any]) -> None:
    """Print what a server sends, until interrupted or, without --retry, the connection is lost.

    Standard error gets a line for each connection, and for each try that fails.
    """
    conversation = _Conversation(address, wire, timeout, retry=RetryPolicy() if retry else 0, **tls)
    output, forever = conversation.guarded, Deferred[None]()

    @output
    def connected() -> None:
        assert conversation.client.session is not None
        conversation.tell(f"connected, it speaks Veltix {escaped(conversation.client.session.peer.version)}")

    @output
    def show(message: Response) -> None:
        now = datetime.now().strftime("%H:%M:%S")
        click.echo(f"{now} {message.type.code} {_readable(message.content)}")

    @output
    def disconnected(state: DisconnectState) -> None:
        if not state.permanent:
            conversation.tell(f"{state.error}; trying again")
        elif state.error is not None:
            conversation.end(state.error)

    async def talk(client: Client) -> None:
        await forever

    def prepare(client: Client) -> None:
        client.set_callback("on_connect", connected)
        client.set_callback("on_recv", show)
        client.set_callback("on_disconnect", disconnected)

    conversation.run(talk, prepare, watched=True)


@_veltix.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure this package, and its peers; see veltix bench --help."""
    from veltix_tx.benchmark.options import main as benchmark  # noqa: PLC0415 (for nothing else)

    sys.exit(benchmark(arguments, prog="veltix bench"))


def _readable(content: bytes) -> str:
    """Return content as text a terminal can be trusted with."""
    text = content.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Failed(click.ClickException):
    """A command has failed: one line on standard error, status 1."""

    def show(self, file: Any = None) -> None:
        """Write the line."""
        click.echo(f"veltix: {self.message}", err=True)


class _Interrupted(Exception):
    """A signal has ended a command.

    Attributes:
        status: the exit status that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class _Conversation:
    """A command's connection to a server, from the first try to the end.

    Args:
        address: the server's.
        wire: the release to speak.
        timeout: seconds for the connection with its handshake, for each of both where ``retry`` is given.
        types: the message types known; all of them by default.
        settings: others of the client.

    Attributes:
        client: what talks, once it runs.
    """

    client: Client

    def __init__(
        self, address: tuple[str, int], wire: str, timeout: float, *, types: MessageRegistry | None = None, **settings: Any
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._settings = {"types": types or MessageRegistry(open=True), "wire": wire, **settings}
        self._settings |= {"connect_timeout": timeout, "handshake_timeout": timeout}
        self._running: Deferred[None] | None = None
        self._error: BaseException | None = None

    def run(self, talk: _Talk, prepare: Callable[[Client], None] = lambda client: None, *, watched: bool = False) -> None:
        """Connect, talk, disconnect; return when that is done.

        Args:
            talk: called with the client when it is connected.
            prepare: called with it before.
            watched: end it when nobody reads standard output any more, before there is something to write.
        """
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is to be ignored
            signal.signal(signal.SIGINT, self._interrupt)
        with suppress(SystemExit):  # react's status: what it says is known here
            task.react(lambda reactor: self._run(reactor, talk, prepare, watched))
        error = self._error
        if isinstance(error, ConnectTimeout):
            raise _Failed(f"{self._where}: no connection within {self._timeout:g} s")
        if isinstance(error, (VeltixError, ConnectError, DNSLookupError, ValueError, TimeoutError)):
            raise _Failed(f"{self._where}: {error}")
        if error is not None:
            raise error

    def tell(self, what: str) -> None:
        """Write a line about the connection to standard error."""
        click.echo(f"veltix: {self._where}: {what}", err=True)

    def end(self, error: BaseException) -> None:
        """End it early, failed, unless it has ended."""
        if self._error is None and self._running is not None:
            self._error = error
            self._running.cancel()

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a client's callback that ends the conversation where its output cannot be written."""

        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except OutputFailed as failed:
                self.end(failed)

        return call

    @property
    def _where(self) -> str:
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _run(self, reactor: Any, talk: _Talk, prepare: Callable[[Client], None], watched: bool) -> Deferred[None]:
        async def converse() -> None:
            self.client = client = Client(*self._address, reactor=reactor, **self._settings)
            prepare(client)
            if watched:
                watch = task.LoopingCall(self._end_unless_read)
                watch.clock = reactor
                watch.start(_WATCH, now=False)
            try:
                connecting = client.connect()
                if not self._settings.get("retry"):  # each is bounded; both together are by this
                    connecting.addTimeout(self._timeout + _LATER, reactor, self._too_late)
                await connecting
                await talk(client)
            except BaseException:
                with suppress(TimeoutError):
                    await client.disconnect().addTimeout(_POLITE, reactor)
                raise
            await client.disconnect()

        def failed(reason: Failure) -> None:
            self._error = self._error or reason.value

        self._reactor = reactor
        reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._interrupt)  # by then the reactor has set its own
        self._running = Deferred.fromCoroutine(converse())
        return self._running.addErrback(failed)

    def _too_late(self, _: object, seconds: float) -> NoReturn:
        raise TimeoutError(f"no connection with a complete handshake within {self._timeout:g} s")

    def _interrupt(self, number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process, whatever blocks
        self._reactor.callFromThread(self._interrupted, number)

    def _interrupted(self, number: int) -> None:
        if sys.stderr.isatty():
            click.echo(err=True)  # behind ^C
        self.end(_Interrupted(number))

    def _end_unless_read(self) -> None:
        if is_broken_pipe(sys.stdout):
            self.end(OutputFailed(BrokenPipeError(), "standard output"))
