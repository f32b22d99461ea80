"""``twistd veltix``: options to a Server, and every mistake to one line on stderr."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from threading import current_thread, main_thread
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions

from veltix_tx._version import __version__
from veltix_tx.app.applications import Echo, Relay
from veltix_tx.app.auth import TokenFile
from veltix_tx.app.plugins import declared, event_names, find_plugins, name_of
from veltix_tx.app.signals import Signals
from veltix_tx.errors import MessageTypeError, SettingsError
from veltix_tx.gc_tuning import GcTuner
from veltix_tx.interfaces import IVeltixApplication, IVeltixPlugin
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.transport.endpoints import split_wire
from veltix_tx.passwords import PASSWORD_VARIABLE, read_password
from veltix_tx.server import Server
from veltix_tx.settings import ServerConfig
from veltix_tx.stdio import command_output
from veltix_tx.wire.registry import build_description, takes_password, wire_rule, with_password

__all__ = ["Options", "makeService"]

_APPLICATIONS: dict[str, Callable[[], object]] = {"echo": Echo, "relay": Relay}

_SETTINGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "port": ("port", int, "a whole number from 0 to 65535"),
    "interface": ("host", str, "an address"),
    "wire": ("wire", str, "a release"),
    "max-connections": ("max_connections", int, "a whole number from 1"),
    "max-message-size": ("max_message_size", int, "a whole number of bytes"),
    "handshake-timeout": ("handshake_timeout", float, "a number of seconds"),
    "tls-cert": ("tls_cert", str, "a file"),
    "tls-key": ("tls_key", str, "a file"),
    "tls-client-ca": ("tls_client_ca", str, "a file"),
}
"""Option -> field of ServerConfig, how to read it, what it must be."""

_OPTIONS = {field: option for option, (field, _, _) in _SETTINGS.items()}
_OPTIONS |= {"endpoint": "listen", "endpoints": "listen", "password_file": "password-file"}

_TLS_SETTING = re.compile(r"\btls_(?:cert|key|client_ca)\b")

_DEFAULTS = ServerConfig()

_log = Logger()


class Options(UsageOptions):
    """The options of ``twistd veltix``. One that is not given leaves a Server's own setting as it is."""

    synopsis = "[options]"
    longdesc = (
        "Serves Veltix messages to clients of any published release. Without options: an echo server on port "
        f"{_DEFAULTS.port} of every interface that finds out by itself which release each client speaks."
    )
    optParameters = [  # noqa: RUF012 (Twisted's class attribute)
        ["port", "p", None, f"TCP port to listen on, 0 for any; not beside --listen. [default: {_DEFAULTS.port}]"],
        ["interface", "i", None, f"Address to listen on; '::' for IPv6, too. [default: {_DEFAULTS.host}, all of IPv4]"],
        [
            "wire",
            "w",
            None,
            f"What to speak: {wire_rule()}. With auto it is found out for each client "
            "(all from 1.4.0 on but 1.8 and 1.9, which need a port of their own). [default: auto]",
        ],
        [
            "app",
            "a",
            "echo",
            "What to serve: echo; relay (each message goes to all other clients); or module:object, the object being "
            "a Server, something that provides IVeltixApplication, or a function that returns one of these.",
        ],
        ["max-connections", None, None, f"Connections at once. [default: {_DEFAULTS.max_connections}]"],
        ["max-message-size", None, None, f"Bytes of one message, its header included. [default: {_DEFAULTS.max_message_size}]"],
        ["handshake-timeout", None, None, f"Seconds a client has for its handshake. [default: {_DEFAULTS.handshake_timeout:g}]"],
        ["tls-cert", None, None, "PEM file with a certificate and its chain: serve --port with TLS. SIGHUP reads it again."],
        ["tls-key", None, None, "PEM file with its private key, where the certificate's file does not have it."],
        ["tls-client-ca", None, None, "PEM file with issuers: clients must show a certificate of one of them."],
        ["tokens", None, None, "File of name:hash lines, see 'veltix token new': clients must present one of its tokens."],
        [
            "password-file",
            None,
            None,
            "File with the password, on its first line, that clients of netconduit listeners must know. Without it that is what "
            f"{PASSWORD_VARIABLE} says, a variable of the environment.",
        ],
    ]

    optFlags = [  # noqa: N815, RUF012 (Twisted's class attribute)
        [
            "log-connections",
            None,
            "Log a line at each connection's begin, and one at its end with its reason, duration, messages and bytes.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["plugin"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Endpoint to listen on in place of --port, such as tcp:8081, unix:/run/veltix.sock or tls:8443:cert=FILE; can be given several times. WIRE@ in front of it speaks that wire there: 1.9.0@tcp:8090, netconduit@tcp:8090."""  # noqa: E501 (shown by --help)
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_plugin(self, plugin: str) -> None:
        """Plugin to enable, by its name; can be given several times. NAME=on_connect,on_recv lets it see only these of the events it asks for, NAME= none."""  # noqa: E501 (shown by --help)
        self["plugin"].append(plugin)

    def opt_version(self) -> NoReturn:
        """Show the version of veltix_tx and exit."""
        with command_output("twistd veltix"):
            sys.stdout.write(f"twistd veltix (veltix_tx) {__version__} ({build_description()})\n")
        sys.exit(0)

    def opt_list_plugins(self) -> NoReturn:
        """Show the plugins that are installed and what they ask for, and exit."""
        with command_output("twistd veltix"):
            sys.stdout.write(_listing(find_plugins()))
        sys.exit(0)


def makeService(options: Options, reactor: IReactorTime | Clocks | None = None) -> IService:
    """Return a service that runs the Server the options ask for.

    Raises:
        SystemExit: an option is wrong; its text is one line that says what to do.
    """
    try:
        server = _server(options["app"], reactor)
        given = _settings(options)
        _check_places(options, server)
        server.configure(**given)
        _let_in_by_token(server, options)
        server.configure(**_passwords(server, options["password-file"]))
        _enable(server, options["plugin"])
    except SettingsError as error:
        raise SystemExit(_line(error, options)) from error
    service = _Served(server, GcTuner(resolve_clocks(reactor)), options)
    server.setServiceParent(service)
    return service


class _Served(MultiService):
    """A Server as a process: its failure to start is one line, and it minds signals.

    twistd exits with status 1 after a failure to start. SIGHUP has the TLS certificates read again.
    A SIGINT or SIGTERM stops the process as ever; another one, while it stops, ends it at once.
    """

    def __init__(self, server: Server, collector: GcTuner, options: Options) -> None:
        super().__init__()
        self._server = server
        self._options = options
        self._collector = collector
        self._signals: Signals | None = None

    def privilegedStartService(self) -> None:
        self._mind_hangups()
        self._report(super().privilegedStartService)

    def startService(self) -> None:
        self._mind_hangups()
        self._report(super().startService)
        self._collector.start()
        if self._signals is not None:
            reactor: Any = self._server.reactor
            reactor.callWhenRunning(self._mind_signals)  # by then it has handlers of its own

    def stopService(self) -> Deferred[Any]:
        self._collector.stop()
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._restore_signals()
        return result

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()
            self._signals = None

    def _mind_hangups(self) -> None:
        """Handle SIGHUP from before the first port is open, when somebody may send it: without a handler it ends the process."""
        if self._signals is None and current_thread() is main_thread():
            self._signals = Signals(self._server.reactor, self._server.abort)
            if hasattr(signal, "SIGHUP"):
                self._signals.handle(signal.SIGHUP, self._reload)

    def _mind_signals(self) -> None:
        if self.running and self._signals is not None:
            self._signals.mind_the_end()

    def _reload(self) -> None:
        try:
            read = self._server.reload_tls()
        except SettingsError as error:
            _log.error("SIGHUP: the TLS certificates stay as they were. {line}", line=_line(error, self._options))
        else:
            _log.info("SIGHUP: {read} TLS certificates were read again, for new connections", read=read)

    def _report(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (CannotListenError, SettingsError, OSError) as error:
            self._restore_signals()
            shown, usual = error, sys.excepthook

            def hook(kind: Any, value: BaseException, trace: Any) -> None:
                if value is shown:
                    print(_line(shown, self._options), file=sys.__stderr__)  # twistd has made sys.stderr a log
                else:
                    usual(kind, value, trace)

            sys.excepthook = hook
            _log.critical("{line}", line=_line(error, self._options))
            raise


def _line(error: CannotListenError | SettingsError | OSError, options: Options) -> str:
    if isinstance(error, CannotListenError):
        return f"twistd veltix: {error} Choose another with --port, --interface or --listen, or end what listens there."
    if isinstance(error, OSError):
        path = os.fsdecode(error.filename2 or error.filename or "").removesuffix(".lock")  # Twisted's, beside a UNIX socket
        where = f" on {path}" if path else ""
        return f"twistd veltix: cannot listen{where}: {error.strerror or error}. Choose another place with --listen."
    option = _OPTIONS.get(error.name, error.name)
    if error.value is not None and options.get(option) in (None, []):  # the user's own server has it
        return f"twistd veltix: --app {options['app']}: {error}"
    given = "" if error.value is None else f" {error.value}"
    rule = _TLS_SETTING.sub(lambda found: f"--{_OPTIONS[found[0]]}", error.rule)
    return f"twistd veltix: --{option}{given}: it must be {rule}"


def _settings(options: Options) -> dict[str, Any]:
    given: dict[str, Any] = {"endpoints": tuple(options["listen"])} if options["listen"] else {}
    if options["log-connections"]:
        given["log_connections"] = True
    for option, (field, read, rule) in _SETTINGS.items():
        if options[option] is not None:
            try:
                given[field] = read(options[option])
            except ValueError:
                raise SettingsError(field, options[option], rule) from None
    return given


def _let_in_by_token(server: Server, options: Options) -> None:
    """Let in only clients with a token of the file that is given."""
    path = options["tokens"]
    if path is None:
        return
    if server.authenticates:
        rule = f"left out: --app {options['app']} decides itself who is let in"
        raise SettingsError("tokens", path, rule)
    tokens = TokenFile(path)
    if not tokens.names:
        _log.warn("{path} has no token: nobody is let in", path=path)
    server.set_authenticate(tokens)


def _check_places(options: Options, server: Server) -> None:
    """Raise SettingsError for an option that says where to listen and would have no effect."""
    own = server.config.endpoints
    if options["listen"]:
        rule = f"left out where --listen {options['listen'][0]} is given, which says where"
    elif own:
        places = ", ".join(str(each) for each in own)
        rule = f"left out, or --listen given: --app {options['app']} has places of its own to listen in, {places}"
    else:
        return
    for option in ("port", "interface"):
        if options[option] is not None:
            raise SettingsError(_SETTINGS[option][0], options[option], rule)


def _passwords(server: Server, file: str | None) -> dict[str, Any]:
    """Return the settings that let listeners ask for the password.

    Raises:
        SettingsError: there is no password for a listener that cannot be entered without, or no listener for the file's.
    """
    password, config = read_password(file), server.config
    asking = [takes_password(wire) for wire, _ in _wires(config)]
    if file is not None and not any(asking):
        raise SettingsError("password_file", file, "left out: no listener asks for a password, as netconduit@tcp:8090 does")
    if not any(asking):
        return {}
    if password is None:
        if server.authenticates:
            return {}
        rule = f"given, or {PASSWORD_VARIABLE} set: nobody is let in without a password, nor an authenticate of the server"
        raise SettingsError("password_file", None, rule)
    if not config.endpoints:
        return {"wire": with_password(config.wire, password)}
    places = zip(asking, _wires(config), config.endpoints, strict=True)
    return {"endpoints": tuple((with_password(wire, password), where) if asks else given for asks, (wire, where), given in places)}


def _wires(config: ServerConfig) -> list[tuple[Any, Any]]:
    """Return what is spoken, and where, for each place to listen in."""
    if not config.endpoints:
        return [(config.wire, None)]
    pairs = [
        each if isinstance(each, tuple) else split_wire(each) if isinstance(each, str) else (None, each)
        for each in config.endpoints
    ]
    return [(config.wire if wire is None else wire, where) for wire, where in pairs]


_HOW_TO_INSTALL = "Put a module that holds one into a folder twisted/plugins, of site-packages or of a folder on PYTHONPATH."


def _listing(plugins: list[IVeltixPlugin]) -> str:
    if not plugins:
        return f"No plugin is installed. {_HOW_TO_INSTALL}\n"
    return "\n".join(sorted(map(_paragraph, plugins)))


def _paragraph(plugin: IVeltixPlugin) -> str:
    try:
        said = declared(plugin)
    except (SettingsError, MessageTypeError) as error:
        return f"{name_of(plugin)}\n  cannot be used: {error}\n"
    types = ", ".join(f"{name} {code}" for name, code in said.codes.items()) or "none"
    events = event_names(said.events) or "no events"
    return f"{said.name}\n  {' '.join(plugin.description.split())}\n  types: {types}\n  asks for: {events}\n"


def _enable(server: Server, wanted: list[str]) -> None:
    installed = find_plugins() if wanted else []
    for given in wanted:
        name, granting, events = given.partition("=")
        named = [plugin for plugin in installed if name_of(plugin) == name]
        if not named:
            known = ", ".join(sorted(map(name_of, installed)))
            raise SettingsError("plugin", name, f"installed; there is {known}" if known else f"installed. {_HOW_TO_INSTALL}")
        if len(named) > 1:
            modules = ", ".join(sorted(type(plugin).__module__ for plugin in named))
            raise SettingsError("plugin", name, f"the name of one plugin only; there is one of each of {modules}")
        grant = [event.strip() for event in events.split(",") if event.strip()] if granting else None
        try:
            server.register_plugin(named[0], grant=grant)
        except (SettingsError, MessageTypeError) as error:
            raise SystemExit(f"twistd veltix: --plugin {given}: {error}") from error
        except Exception as error:
            raise SettingsError("plugin", given, f"one that can be registered ({_said(error)})") from error


def _server(app: str, reactor: IReactorTime | Clocks | None) -> Server:
    made = _APPLICATIONS[app]() if app in _APPLICATIONS else _load(app)
    if callable(made) and not isinstance(made, Server) and not IVeltixApplication.providedBy(made):
        try:
            made = made()
        except Exception as error:
            raise SettingsError("app", app, f"a function that works ({_said(error)})") from error
    if isinstance(made, Server):
        return made
    if IVeltixApplication.providedBy(made):
        return Server(application=made, reactor=reactor)
    raise SettingsError("app", app, f"a Server, an IVeltixApplication or a function that returns one; it is {type(made).__name__}")


def _load(app: str) -> object:
    module_name, colon, path = app.partition(":")
    if not colon or not module_name or not path:
        raise SettingsError("app", app, f"{', '.join(_APPLICATIONS)} or module:object")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made: object = import_module(module_name)
        for name in path.split("."):
            made = getattr(made, name)
    except Exception as error:
        raise SettingsError("app", app, f"something to import from this folder or PYTHONPATH ({_said(error)})") from error
    return made


def _said(error: Exception) -> str:
    """Return an error of the user's own code with the line it comes from."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    lines = [f", {frame.filename}:{frame.lineno}" for frame in frames if "importlib" not in frame.filename]
    return f"{type(error).__name__}: {' '.join(str(error).split())}{lines[-1] if lines else ''}"
