"""The ``veltix`` command: talk to a Veltix server from a shell."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

import click
from click.shell_completion import get_completion_class
from twisted.internet import task
from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from veltix_tx._version import __version__
from veltix_tx.app.auth import new_token, token_line
from veltix_tx.client import Client
from veltix_tx.disconnect import DisconnectState
from veltix_tx.errors import RequestTimeout, SessionClosed, SettingsError, VeltixError
from veltix_tx.ops.backplane_command import backplane as _backplane_command
from veltix_tx.ops.commands import COMMANDS
from veltix_tx.ops.configuration import load
from veltix_tx.ops.doctor import ClockReader, Finding, compare_clocks, examine, speaks_tls
from veltix_tx.ops.output import EPILOG as _EPILOG
from veltix_tx.ops.output import STATUSES
from veltix_tx.ops.output import Failed as _Failed
from veltix_tx.ops.output import Mistake as _Mistake
from veltix_tx.ops.output import epilog as _epilog
from veltix_tx.ops.output import json_line as _json_line
from veltix_tx.ops.output import output_option as _output
from veltix_tx.ops.output import readable_text as _readable_text
from veltix_tx.ops.output import shown_result as _shown_result
from veltix_tx.ops.rendering import example as settings_example
from veltix_tx.ops.rendering import rows
from veltix_tx.ops.room_commands import ROOM_COMMANDS
from veltix_tx.ops.toml import toml
from veltix_tx.passwords import PASSWORD_VARIABLE, SECRET_VARIABLES, read_password
from veltix_tx.sanitize import escape_controls
from veltix_tx.settings import ClientConfig, RetryPolicy, ServerConfig
from veltix_tx.stdio import INTERRUPTED, OutputFailed, command_output, is_broken_pipe
from veltix_tx.wire.credentials import MAX_SECRET_SIZE, Token
from veltix_tx.wire.interface import Wire
from veltix_tx.wire.messages import FIRST_USER_CODE, MessageRegistry, MessageType, Response
from veltix_tx.wire.registry import build_description, find_wire, takes_password, wire_names, with_password
from veltix_tx.wire.rpc import MethodInfo

if TYPE_CHECKING:
    from veltix_tx.tap import Options as TwistdOptions

__all__ = ["STATUSES", "main"]

_Command = Callable[..., None]

_WATCH = 0.25
"""Seconds between two looks at whether anybody still reads what ``listen`` prints."""

_POLITE = 0.5
"""Seconds to wait for the server to close its side too, where a command has failed or is interrupted."""

_LATER = 0.05
"""Seconds behind a timeout: what it was of can tell more of it than that it is over."""

_Talk = Callable[[Client], Coroutine[Deferred[Any], Any, None]]


class _Where(NamedTuple):
    """Address of a server.

    Attributes:
        shown: how errors name it.
        host: its name or address; None where it has a path.
        port: its TCP or UDP port.
        path: its UNIX socket.
        udp: True for UDP.
    """

    shown: str
    host: str | None = None
    port: int = 0
    path: str = ""
    udp: bool = False


def _parse(ctx: click.Context, param: click.Parameter, value: str) -> _Where:
    kind, _, path = value.partition(":")
    if kind == "unix":
        if not path:
            raise click.BadParameter("unix needs a path: unix:veltix.sock")
        return _Where(escape_controls(value), path=path)
    if kind == "udp" and ":" in path:
        return _parse(ctx, param, path)._replace(shown=value, udp=True)
    host, _, port = value.rpartition(":")
    if isIPv6Address(host) or isIPv6Address(value):
        host, port = (host, port) if isIPv6Address(host) else (value, "8080")
        raise click.BadParameter(f"an IPv6 address needs brackets: [{host}]:{port}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        known = isIPv6Address(host.partition("%")[0])
    else:
        known = bool(host) and not set(host) & set(":[]/")
    if not known or not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        raise click.BadParameter(
            f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, nor unix:PATH, nor udp:HOST:PORT"
        )
    return _Where(value, host, int(port))


def _find_wire(ctx: click.Context, param: click.Parameter, value: str) -> Wire:
    try:
        return find_wire(value)
    except SettingsError as error:
        raise click.BadParameter(f"{value!r} is not {error.rule}") from None


_server = click.argument("server", callback=_parse, metavar="SERVER")


def _wire(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of what is spoken; the command gets them together as ``wire``."""

    @wraps(command)
    def with_wire(*args: Any, wire: Wire, password_file: str | None, **kwargs: Any) -> None:
        try:
            password = read_password(password_file)
        except SettingsError as error:
            raise _usage_error(error) from None
        if takes_password(wire):
            if password is None:
                said = f"--password-file: a server of {wire.name} asks for one ({PASSWORD_VARIABLE} can hold it, too)"
                raise click.UsageError(said)
            wire = with_password(wire, password)
        elif password_file is not None:
            raise click.UsageError(f"--password-file: a server of wire {wire.name} asks for none")
        command(*args, wire=wire, **kwargs)

    file = "File with the password, on its first line, for a server that asks for one, such as netconduit's."
    for option in (
        click.option("--password-file", metavar="FILE", help=file),
        click.option(
            "--wire",
            default="auto",
            show_default=True,
            callback=_find_wire,
            shell_complete=lambda ctx, param, begun: [name for name in wire_names() if name.startswith(begun)],
            help="What to speak: an upstream release such as 1.6.3, netconduit, or a plain wire such as lines.",
        ),
    ):
        with_wire = option(with_wire)
    return with_wire


_CODES = click.IntRange(FIRST_USER_CODE, 65535)


def _timeout(bounds: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help=f"Seconds for {bounds}."
    )


_timeout_for_answers = _timeout("the connection with its handshake, and for each answer")
_timeout_for_tries = _timeout("a connection, and for its handshake")


def _connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of TLS and of a token; the command gets them together as ``settings`` of its client."""

    @wraps(command)
    def with_settings(
        *args: Any,
        tls: bool,
        tls_ca: str | None,
        tls_name: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        token_file: BinaryIO | None,
        **kwargs: Any,
    ) -> None:
        given = {"tls_ca": tls_ca, "tls_name": tls_name, "tls_cert": tls_cert, "tls_key": tls_key}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if tls or settings:
            settings["tls"] = True
        if token_file is not None:
            settings["credentials"] = _read_token(token_file)
        command(*args, settings=settings, **kwargs)

    for option in (
        click.option("--token-file", type=click.File("rb"), help="Present the token in it to a server that asks for one."),
        click.option("--tls-key", metavar="FILE", help="Its private key, where the certificate's file does not have it."),
        click.option("--tls-cert", metavar="FILE", help="This side's certificate, for a server that asks for one."),
        click.option("--tls-name", metavar="NAME", help="The name its certificate must be for, in place of HOST."),
        click.option("--tls-ca", metavar="FILE", help="The issuers to trust, in place of those this machine trusts."),
        click.option("--tls", is_flag=True, help="Speak TLS; so do the options for it."),
    ):
        with_settings = option(with_settings)
    return with_settings


def _read_token(file: BinaryIO) -> Token:
    try:
        return Token(file.read(2 * MAX_SECRET_SIZE).decode().strip())
    except OSError as error:
        raise click.UsageError(f"--token-file {file.name}: it cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, SettingsError):
        raise click.UsageError(f"--token-file {file.name}: it must hold a token, and nothing else") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, prog_name="veltix", message=f"%(prog)s (veltix_tx) %(version)s ({build_description()})")
def _veltix() -> None:
    """Talk to a Veltix server of any release.

    SERVER is HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, or unix:PATH, or, with a plain wire, udp:HOST:PORT.

    To serve, use twistd: twistd -n veltix --port 8080
    """


def main() -> NoReturn:
    """Run the ``veltix`` command and exit."""
    with command_output("veltix"):
        try:
            sys.exit(_veltix.main(complete_var=_COMPLETE_VARIABLE, standalone_mode=False))
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except _Interrupted as interrupted:
            sys.exit(interrupted.status)
        except click.Abort:  # while it reads, or measures
            sys.exit(INTERRUPTED)


@_veltix.command(
    epilog=_epilog("veltix ping 127.0.0.1:8080", "veltix ping 127.0.0.1:8080 --count 100 -o json"),
    short_help="Measure the round trip to a server.",
)
@_server
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True, help="How many pings.")
@_output
@_wire
@_timeout_for_answers
@_connection_options
def ping(server: _Where, count: int, output: str, wire: Wire, timeout: float, settings: dict[str, Any]) -> None:
    """Measure the round trip to SERVER, which is HOST:PORT or unix:PATH."""

    async def talk(client: Client) -> None:
        times: list[float] = []
        try:
            for number in range(1, count + 1):
                times.append(await client.ping_server(timeout))
                if output == "table":
                    click.echo(f"{number}: {times[-1]:.3f} ms")
        finally:
            sums = {"least": min(times), "mean": sum(times) / len(times), "most": max(times)} if times else {}
            if output == "json":
                click.echo(_shown_result({"milliseconds": times, **sums}, output))
            else:
                said = f": {sums['least']:.3f} ms least, {sums['mean']:.3f} mean, {sums['most']:.3f} most" if sums else ""
                click.echo(f"{len(times)} ping{'s' * (len(times) != 1)}{said}")

    _Conversation(server, wire, timeout, **settings).run(talk)


@_veltix.command(
    epilog=_epilog("veltix send 127.0.0.1:8080 200 hello --wait", "veltix send 127.0.0.1:8080 200 --hex 00ff --wait -o json"),
    short_help="Send a message, and print the reply.",
)
@_server
@click.argument("words", nargs=-1, metavar="[TYPE] [TEXT]")
@click.option("--file", type=click.File("rb"), help="Send what a file holds, in place of TEXT.")
@click.option(
    "--hex", "digits", metavar="DIGITS", help="Send the bytes that hexadecimal digits say, such as 00ff, in place of TEXT."
)
@click.option("--wait", is_flag=True, help="Wait for the reply and print it.")
@_output
@_wire
@_timeout_for_answers
@_connection_options
def send(
    server: _Where,
    words: tuple[str, ...],
    file: BinaryIO | None,
    digits: str | None,
    wait: bool,
    output: str,
    wire: Wire,
    timeout: float,
    settings: dict[str, Any],
) -> None:
    """Send a message of TYPE, a code from 200 to 65535, to SERVER, which is HOST:PORT, unix:PATH or udp:HOST:PORT.

    Its content is TEXT, or all of standard input where TEXT is a single dash. A plain wire, such as lines, has no TYPE, and a
    dash sends each line of standard input there. With -o json each reply is a line.
    """
    types = MessageRegistry(open=True)
    message_type, text = _type_and_text(wire, types, words)
    content = _content(text, file, digits)

    async def talk(client: Client) -> None:
        if wire.type is not None:
            contents = content.splitlines() if text == "-" else [content]
            await _send_plain(client, wire.type, contents, timeout if wait else None, output)
        elif wait:
            reply = await client.send_and_wait(message_type, content, timeout=timeout)
            click.echo(_shown_message(reply, output))
        else:
            client.send(message_type, content)

    _Conversation(server, wire, timeout, types=types, **settings).run(talk)


class _CallCommand(click.Command):
    """A command whose arguments may be negative numbers, which look like options: its error says how to give them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not re.match(r"-[.\d]", error.option_name):
                raise
            said = (
                "it looks like an option: give values behind --, as in veltix call SERVER add -- -1 2, or with a name, as in a=-1"
            )
            raise click.UsageError(f"{error.option_name}: {said}", ctx) from None


@_veltix.command(
    cls=_CallCommand,
    epilog=_epilog("veltix call 127.0.0.1:8080 add 1 2", "veltix call 127.0.0.1:8080 order item=tea count=3 -o json"),
    short_help="Call a method of a server, and print its result.",
)
@_server
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE | VALUE]...")
@_output
@_wire
@_timeout_for_answers
@_connection_options
def call(
    server: _Where, method: str, arguments: tuple[str, ...], output: str, wire: Wire, timeout: float, settings: dict[str, Any]
) -> None:
    """Call METHOD of SERVER, which is HOST:PORT or unix:PATH, and print what it returns.

    Arguments are NAME=VALUE, or a VALUE alone by position; one that begins with a dash stands behind --. A VALUE that is JSON is
    what it says (3, true, [1,2], "3"); any other is a text.
    """
    named = [each for each in arguments if _NAMED_ARGUMENT.match(each)]
    kwargs = {name: _json_or_text(value) for name, _, value in (each.partition("=") for each in named)}
    args = [_json_or_text(each) for each in arguments if each not in named]

    async def talk(client: Client) -> None:
        result = await client._invoke(method, tuple(args), kwargs, timeout)
        click.echo(_shown_result(result, output))

    _Conversation(server, wire, timeout, **settings).run(talk)


@_veltix.command(
    epilog=_epilog("veltix methods 127.0.0.1:8080", "veltix methods 127.0.0.1:8080 -o json"),
    short_help="List the methods that a server serves.",
)
@_server
@_output
@_wire
@_timeout_for_answers
@_connection_options
def methods(server: _Where, output: str, wire: Wire, timeout: float, settings: dict[str, Any]) -> None:
    """List the methods of SERVER, which is HOST:PORT or unix:PATH: parameters, results, and the first line of what they say."""

    async def talk(client: Client) -> None:
        found = await client.methods(timeout)
        if output == "json":
            click.echo(_shown_result(found, output))
            return
        for each in found:
            click.echo(f"{_signature(each)}  {_readable_text(each.doc.partition(chr(10))[0])}".rstrip())

    _Conversation(server, wire, timeout, **settings).run(talk)


@_veltix.command(
    epilog=_epilog("veltix listen 127.0.0.1:8080", "veltix listen 127.0.0.1:8080 --retry -o json"),
    short_help="Print what a server sends.",
)
@_server
@click.option("--retry", is_flag=True, help="Try again, without end, when there is no connection or it is lost.")
@click.option(
    "--say", metavar="TEXT", help="Send this first, on a plain wire: over UDP a server knows only who has said something."
)
@_output
@_wire
@_timeout_for_tries
@_connection_options
def listen(server: _Where, retry: bool, say: str | None, output: str, wire: Wire, timeout: float, settings: dict[str, Any]) -> None:
    """Print what SERVER sends, until interrupted or, without --retry, the connection is lost.

    SERVER is HOST:PORT, unix:PATH or udp:HOST:PORT.

    Standard error gets a line for each connection, and for each try that fails. With -o json each message is a line.
    """
    if say is not None and wire.type is None:
        raise click.UsageError(f"--say: a message of the wire {wire.name} has a type; use veltix send")
    conversation = _Conversation(server, wire, timeout, retry=RetryPolicy() if retry else 0, **settings)
    guarded, forever = conversation.guarded, Deferred[None]()

    @guarded
    def connected() -> None:
        assert conversation.client.session is not None
        peer = conversation.client.session.peer
        spoken = wire.name if peer.wire == wire.name else f"Veltix {escape_controls(peer.version)}"
        conversation.tell(f"connected, it speaks {spoken}")
        if say is not None and wire.type is not None:
            conversation.client.session.send(wire.type, os.fsencode(say))

    @guarded
    def show(message: Response) -> None:
        now = datetime.now()
        if output == "json":
            click.echo(_json_line({"time": now.isoformat(), **_as_map(message)}))
            return
        words = [now.strftime("%H:%M:%S"), *([] if wire.type else [str(message.type.key)]), _readable(message.content)]
        click.echo(" ".join(words))

    @guarded
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


@_veltix.group(short_help="Make tokens for a server's clients.")
def token() -> None:
    """Make tokens, by which a server knows its clients: twistd veltix --tokens FILE."""


@token.command(
    epilog=_epilog("veltix token new alice", "veltix token new alice >> tokens.txt 2> alice.token"), short_help="Make a token."
)
@click.argument("name")
def new(name: str) -> None:
    """Make a token for the client NAME.

    The token is shown once, on standard error: give it to the client, and to nobody else. The line for the server's
    file goes to standard output; only the token's hash is in it.
    """
    made = new_token()
    try:
        line = token_line(name, made)
    except SettingsError as error:
        raise click.UsageError(f"NAME {escape_controls(name)}: it must be {error.rule}") from None
    click.echo(made, err=True)
    click.echo(line)


@_veltix.group(short_help="Check, show and begin a configuration of twistd veltix.")
def config() -> None:
    """Check, show and begin a configuration of twistd veltix: its flags, the environment and a file together."""


_TWISTD = {"ignore_unknown_options": True}


@config.command(
    context_settings=_TWISTD,
    epilog=_epilog("veltix config check --config veltix.toml", "veltix config check --port 8081 --workers 2"),
    short_help="Find mistakes without serving.",
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[FLAGS OF twistd veltix]...")
def check(flags: tuple[str, ...]) -> None:
    """Make the server that twistd veltix would run with these flags, its application and certificates read, and serve nothing.

    The first mistake is one line on standard error, and status 2.
    """
    from veltix_tx.tap import check as check_options  # noqa: PLC0415 (for nothing else)

    try:
        check_options(_twistd_options(flags))
    except SystemExit as error:
        raise _Mistake(str(error.code).removeprefix("twistd veltix: ")) from None
    click.echo("no mistake was found")


@config.command(
    context_settings=_TWISTD,
    epilog=_epilog("veltix config show --config veltix.toml", "veltix config show --config veltix.toml --port 8081 -o json"),
    short_help="Show each setting, and its source.",
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[FLAGS OF twistd veltix]...")
@_output
def show(flags: tuple[str, ...], output: str) -> None:
    """Show the settings that twistd veltix would have with these flags, and where each comes from.

    "default" stands for what the application gave its server, too.
    """
    options = _twistd_options(flags)
    try:
        configuration = load(options.given, os.environ, options["config"])
        configuration.check(ServerConfig())
    except SettingsError as error:
        raise _Mistake(str(error)) from None
    shown = rows(configuration, os.environ, SECRET_VARIABLES)
    click.echo(_shown_result([{**row, "value": _config_value(row["value"], output)} for row in shown], output))


def _config_value(value: object, output: str) -> object:
    """Return a setting's value to show: JSON knows no infinity, and TOML, for people, no None."""
    if output == "json":
        return "inf" if value == math.inf else value
    return "" if value is None else toml(value)


@config.command(epilog=_epilog("veltix config example", "veltix config example > veltix.toml"))
def example() -> None:
    """Print a file with every setting, each commented out, with its meaning and default."""
    click.echo(settings_example(), nl=False)


def _twistd_options(flags: tuple[str, ...]) -> TwistdOptions:
    from veltix_tx.tap import Options  # noqa: PLC0415 (for nothing else)

    options = Options()
    try:
        options.parseOptions(flags)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    return options


@_veltix.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure this package, and its peers; see veltix bench --help."""
    from veltix_tx.benchmark.options import main as benchmark  # noqa: PLC0415 (for nothing else)

    sys.exit(benchmark(arguments, prog="veltix bench"))


@_veltix.command(
    epilog=_epilog("veltix doctor 127.0.0.1:8080", "veltix doctor shop.example:8443 --tls -o json"),
    short_help="Find out why a server cannot be reached.",
)
@_server
@_output
@_wire
@_timeout("each step")
@_connection_options
def doctor(server: _Where, output: str, wire: Wire, timeout: float, settings: dict[str, Any]) -> None:
    """Go the way to SERVER step by step: name, TCP, TLS, wire, version, clock, round trip; a line each, with the remedy.

    SERVER is HOST:PORT. The status is 1 where a step failed; those behind it are left out.
    """
    if server.host is None:
        raise click.UsageError("SERVER must be HOST:PORT: a UNIX socket has no way to go")
    found: list[Finding] = []
    for finding in chain(_way(server, timeout, settings, found), _spoken(server, wire, timeout, settings, found)):
        if output == "table":
            mark = "ok  " if finding.good else "FAIL"
            click.echo(_readable_text(f"{mark} {finding.step:<10} {finding.said}"))
            if finding.remedy:
                click.echo(f"     {'':<10} -> {finding.remedy}")
    if output == "json":
        click.echo(_shown_result([asdict(finding) for finding in found], output))
    if not found[-1].good:
        raise click.exceptions.Exit(1)


def _way(server: _Where, timeout: float, settings: dict[str, Any], found: list[Finding]) -> Iterator[Finding]:
    """Yield what is found below the wire."""
    context = None
    if settings.get("tls"):
        try:
            context = ssl.create_default_context(cafile=settings.get("tls_ca"))
            if "tls_cert" in settings:
                context.load_cert_chain(settings["tls_cert"], settings.get("tls_key"))
        except OSError as error:
            raise click.UsageError(f"the files for TLS cannot be used: {error.strerror or error}") from None
    assert server.host is not None
    for finding in examine(server.host, server.port, timeout, tls=context, tls_name=settings.get("tls_name")):
        found.append(finding)
        yield finding


def _spoken(server: _Where, wire: Wire, timeout: float, settings: dict[str, Any], found: list[Finding]) -> Iterator[Finding]:
    """Yield what is found when the wire is spoken, where the way to it is free."""
    if not found[-1].good:
        return
    times: list[float] = []
    clocks: list[Finding] = []
    spoken: list[str] = []

    async def talk(client: Client) -> None:
        assert client.session is not None
        peer = client.session.peer
        header = re.fullmatch(r"W(\d+)", peer.wire)  # one of Veltix's layouts, which are named by their sizes
        layout = f" (Veltix's headers of {header[1]} bytes)" if header else ""
        spoken.append(f"{peer.wire}{layout}, version {peer.version or 'not told'}")
        if client.session._connection.supports_ping:
            link: Any = client.session._transport
            clock = link.connection = ClockReader(link.connection)
            times.extend([await client.ping_server(timeout) for _ in range(_DOCTOR_PINGS)])
            clocks.append(compare_clocks(clock.differences, [each / 1000 for each in times]))

    # A release that is pinned carries no token: a server that asks for one can only hang up.
    carries = wire.name == "auto" or wire.authenticates
    unasked = "" if carries else f"; where it asks for a token: {wire.name} carries none, wire auto does"
    remedy = "give --wire with what it speaks, and --tls where it speaks TLS"
    try:
        _Conversation(server, wire, timeout, **settings).run(talk)
    except _Failed as error:
        assert server.host is not None
        if spoken:
            found.append(Finding("wire", True, f"it speaks {spoken[0]}"))
            closed = "closed the connection" in error.message
            busy = "the server is busy, or a handler blocks it: veltix top"
            found.append(Finding("round trip", False, error.message, f"the server's log says why{unasked}" if closed else busy))
            yield from found[-2:]
            return
        if not settings.get("tls") and speaks_tls(server.host, server.port, timeout):
            remedy = "it speaks TLS: give --tls"
        elif "credentials" in error.message or "authenticat" in error.message:
            remedy = "give --token-file, or --password-file, with one that it knows"
            remedy = remedy if carries else f"{wire.name} carries no token, wire auto does"
        elif "version" in error.message:
            remedy = f"give --wire with the release that it speaks{unasked}"
        found.append(Finding("wire", False, error.message, remedy))
    else:
        found.append(Finding("wire", True, f"it speaks {spoken[0]}"))
        if times:
            said = f"{min(times):.3f} ms least, {max(times):.3f} ms most of {len(times)}"
            found += [*clocks, Finding("round trip", True, said, _SLOW_REMEDY if min(times) > _SLOW_MS else "")]
            yield from found[-3:-1]
    yield found[-1]


_DOCTOR_PINGS = 4

_SLOW_MS = 500.0

_SLOW_REMEDY = "it is far away, or busy: veltix top tells"


@_veltix.command(
    epilog=_epilog(
        "veltix completion bash > ~/.local/share/bash-completion/completions/veltix", "veltix completion zsh > ~/.zfunc/_veltix"
    ),
    short_help="Print a script that completes commands and options.",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes what is typed behind veltix: commands, options, wires and other choices.

    A shell reads it from the file of the examples, for fish ~/.config/fish/completions/veltix.fish, when it is started next.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(_veltix, {}, "veltix", _COMPLETE_VARIABLE).source())


_COMPLETE_VARIABLE = "_VELTIX_COMPLETE"
"""Variable of the environment in which a shell's script asks for what completes a word."""


for _command in (*COMMANDS, *ROOM_COMMANDS, _backplane_command):
    _veltix.add_command(_command)


_NAMED_ARGUMENT = re.compile(r"[^\W\d]\w*=")


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _signature(method: MethodInfo) -> str:
    """Return a method with its parameters and their types, from what the server says of it."""
    given = method.params.get("properties")
    required = method.params.get("required")
    shown = [
        f"{name}: {_type_name(schema)}" + ("" if isinstance(required, list) and name in required else f" = {_default(schema)}")
        for name, schema in (given.items() if isinstance(given, dict) else ())
    ]
    return _readable_text(f"{method.name}({', '.join(shown)}) -> {_type_name(method.returns)}")


def _default(schema: object) -> str:
    """Return a parameter's default as JSON; three dots for one that is not told, or is long."""
    if not isinstance(schema, dict) or "default" not in schema:
        return "…"
    shown = json.dumps(schema["default"], ensure_ascii=False)
    return shown if len(shown) <= _LONGEST_DEFAULT else "…"


_LONGEST_DEFAULT = 40


def _type_name(schema: object) -> str:
    """Return a JSON Schema's type in a word."""
    if not isinstance(schema, dict):
        return "any"
    kinds = schema.get("anyOf")
    if isinstance(kinds, list):
        return " | ".join(map(_type_name, kinds))
    named = schema.get("title") or str(schema.get("$ref", "")).rpartition("/")[2]
    return str(named or schema.get("type", "any"))


def _type_and_text(wire: Wire, types: MessageRegistry, words: tuple[str, ...]) -> tuple[MessageType, str | None]:
    """Return the type and the text to send, from the words of the command line."""
    if wire.type is not None:
        message_type, rest = wire.type, words
    elif not words:
        raise click.UsageError("Missing argument 'TYPE'.")
    else:
        known = types.get(_CODES(words[0]))
        assert known is not None
        message_type, rest = known, words[1:]
    if len(rest) > 1:
        said = f"the wire {wire.name} has no types: give TEXT alone, quoted" if wire.type else "give TEXT as one, quoted"
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(rest[1:])}): {said}")
    return message_type, rest[0] if rest else None


async def _send_plain(client: Client, message_type: MessageType, contents: list[bytes], timeout: float | None, output: str) -> None:
    """Send messages on a wire without types; with a timeout, print the message that comes behind each before the next is sent."""
    for content in contents:
        sent = client.send(message_type, content)
        heard = None if timeout is None else _next_message(client, timeout)  # before anything can come
        await sent
        if heard is not None:
            click.echo(_shown_message(await heard, output))


def _next_message(client: Client, timeout: float) -> Deferred[Response]:
    """Return a Deferred of the next message. It fails when the connection is lost, and after the timeout."""
    heard: Deferred[Response] = Deferred()

    def receive(message: Response) -> None:
        if not heard.called:
            heard.callback(message)

    def lose(state: DisconnectState) -> None:
        if not heard.called:
            heard.errback(state.error or SessionClosed(state.reason))

    def late(_: object, seconds: float) -> NoReturn:
        raise RequestTimeout(seconds)

    client.set_callback("on_recv", receive)
    client.set_callback("on_disconnect", lose)
    return heard.addTimeout(timeout, client.reactor, late)


def _content(text: str | None, file: BinaryIO | None, digits: str | None) -> bytes:
    """Return the content to send, from what the command line says."""
    if sum(given is not None for given in (text, file, digits)) != 1:
        raise click.UsageError("What is to be sent? Give one of TEXT, - (standard input), --file and --hex.")
    if digits is not None:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            raise click.UsageError(f"--hex {digits}: it must be hexadecimal digits in pairs, such as 00ff") from None
    if text is not None and text != "-":
        return os.fsencode(text)
    if file is None and sys.stdin is None:
        raise click.UsageError("Standard input is closed.")
    source, name = (sys.stdin.buffer, "standard input") if file is None else (file, file.name)
    limit = ClientConfig().max_message_size
    try:
        content = source.read(limit + 1)
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise _Failed(f"{name} has more than the {limit} bytes that a message can have")
    return content


def _readable(content: bytes) -> str:
    """Return content as text a terminal can be trusted with."""
    return _readable_text(content.decode("utf-8", "backslashreplace"))


def _shown_message(message: Response, output: str) -> str:
    """Return a message's content for people, or the message as JSON on a line."""
    return _readable(message.content) if output == "table" else _json_line(_as_map(message))


def _as_map(message: Response) -> dict[str, object]:
    """Return a message as a map: its type, and its content as a text, or as hexadecimal digits where it is none."""
    try:
        return {"type": message.type.key, "text": message.content.decode()}
    except UnicodeDecodeError:
        return {"type": message.type.key, "hex": message.content.hex()}


class _Interrupted(Exception):
    """A signal has ended a command.

    Attributes:
        status: the exit status that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


_TLS_SETTING = re.compile(r"\btls_(ca|name|cert|key)\b")


def _with_options(text: str) -> str:
    """Return an error's text with the command's options in place of the package's settings."""
    text = text.replace(", or give allow_plaintext_credentials=True where the network itself is trusted", "")
    text = text.replace("give it credentials=", "give --token-file")
    return _TLS_SETTING.sub(r"--tls-\1", text).replace("wire='auto'", "--wire auto").replace("tls=True", "--tls")


def _usage_error(error: SettingsError) -> click.UsageError:
    """Return a setting's error as one of the option that set it."""
    option = _with_options(error.name) if error.name != "tls" else "--tls"
    option = {"password_file": "--password-file", "wire": "--wire"}.get(option, option)
    given = f" {error.value}" if isinstance(error.value, str) else ""
    rule = _with_options(error.rule).replace("an endpoint is", "unix:PATH is")
    return click.UsageError(f"{option}{given}: it must be {rule}")


class _Conversation:
    """A command's connection to a server, from the first try to the end.

    Args:
        server: where it is.
        wire: what to speak.
        timeout: seconds for the connection with its handshake, for each of both where ``retry`` is given.
        types: the message types known; all of them by default.
        settings: others of the client.

    Attributes:
        client: what talks, once it runs.
    """

    client: Client

    def __init__(
        self, server: _Where, wire: Wire, timeout: float, *, types: MessageRegistry | None = None, **settings: Any
    ) -> None:
        self._server = server
        self._timeout = timeout
        self._settings: dict[str, Any] = {"types": types or MessageRegistry(open=True), "wire": wire, **settings}
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
            raise _Failed(f"{self._server.shown}: no connection within {self._timeout:g} s")
        if isinstance(error, SettingsError):
            raise _usage_error(error)
        if isinstance(error, (VeltixError, ConnectError, DNSLookupError, ValueError, OSError)):
            raise _Failed(f"{self._server.shown}: {_with_options(str(error))}")
        if error is not None:
            raise error

    def tell(self, what: str) -> None:
        """Write a line about the connection to standard error."""
        click.echo(f"veltix: {self._server.shown}: {_with_options(what)}", err=True)

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

    def _run(self, reactor: Any, talk: _Talk, prepare: Callable[[Client], None], watched: bool) -> Deferred[None]:
        async def converse() -> None:
            self.client = client = self._client(reactor)
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
                await client.disconnect().addTimeout(_POLITE, reactor, lambda result, seconds: None)
                raise
            await client.disconnect()

        def failed(reason: Failure) -> None:
            self._error = self._error or reason.value

        self._reactor = reactor
        reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._interrupt)  # by then the reactor has set its own
        self._running = Deferred.fromCoroutine(converse())
        return self._running.addErrback(failed)

    def _client(self, reactor: Any) -> Client:
        where = self._server
        if where.host is not None and where.udp:
            place = where.host.replace(":", r"\:")
            return Client(endpoint=f"udp:{place}:{where.port}", reactor=reactor, **self._settings)
        if where.host is not None:
            return Client(where.host, where.port, reactor=reactor, **self._settings)
        return Client(endpoint=UNIXClientEndpoint(reactor, where.path, self._timeout), reactor=reactor, **self._settings)

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
