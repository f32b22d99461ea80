"""``twistd veltix``: options to a Server, and every mistake to one line on stderr."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import FileLogObserver, ILogObserver, Logger
from twisted.python.usage import Options as UsageOptions

from veltix_tx._version import __version__
from veltix_tx.app.applications import Echo, Relay
from veltix_tx.app.auth import TokenFile
from veltix_tx.app.plugins import declared, event_names, find_plugins, name_of
from veltix_tx.app.signals import Signals
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.errors import MessageTypeError, SettingsError
from veltix_tx.gc_tuning import GcTuner
from veltix_tx.hosted.private import PrivateBackplane
from veltix_tx.interfaces import IVeltixApplication, IVeltixPlugin
from veltix_tx.net.addresses import shown
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.transport.endpoints import listen_specs, split_wire
from veltix_tx.ops.configuration import Configuration, ConfigurationError, load
from veltix_tx.ops.json_log import json_observer
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.ops.reload import Reloader
from veltix_tx.ops.service_manager import ServiceManager
from veltix_tx.ops.settings import SETTINGS, variable_of
from veltix_tx.ops.source_watch import SourceWatch
from veltix_tx.ops.supervisor import FIRST_STARTS, Supervisor
from veltix_tx.ops.worker import Worker, WorkerAdministration, retire
from veltix_tx.ops.worker_log import WORKER_LOG
from veltix_tx.passwords import BACKPLANE_KEY_VARIABLE, BACKPLANE_PASSWORD_VARIABLE, PASSWORD_VARIABLE, read_password
from veltix_tx.server import Server
from veltix_tx.settings import ServerConfig
from veltix_tx.stdio import command_output
from veltix_tx.wire.registry import build_description, takes_password, wire_rule, with_password

if TYPE_CHECKING:
    from veltix_tx.ops.administration import Administration

__all__ = ["Options", "check", "makeService"]

_APPLICATIONS: dict[str, Callable[[], object]] = {"echo": Echo, "relay": Relay}

_TLS_SETTING = re.compile(r"\btls_(?:cert|key|client_ca)\b")

_DEFAULTS = ServerConfig()

_log = Logger()


class Options(UsageOptions):
    """The options of ``twistd veltix``. One that is not given leaves a Server's own setting as it is."""

    synopsis = "[options]"
    longdesc = (
        "Serves Veltix messages to clients of any published release. Without options: an echo server on port "
        f"{_DEFAULTS.port} of every interface that finds out by itself which release each client speaks. "
        "A flag holds before its variable of the environment, in brackets here, that before --config's file. Both know more "
        "settings than there are flags: 'veltix config example' has them all."
    )
    optParameters = [  # noqa: RUF012 (Twisted's class attribute)
        ["admin", None, None, "Endpoint of the administration, such as tcp:9100, which is on 127.0.0.1."],
        ["admin-tokens", None, None, "File of name:hash lines: the administration is for who presents one of its tokens."],
        ["log-format", None, None, "Form of twistd's log: text, or json, an object on each line. [default: text]"],
        ["drain-delay", None, None, "Seconds from SIGTERM to the end of listening, in which /readyz is red. [default: 0]"],
        ["config", "c", None, "TOML file of settings, see 'veltix config example'. SIGHUP reads it again."],
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
            None,
            "What to serve: echo; relay (each message goes to all other clients); or module:object, the object being "
            "a Server, something that provides IVeltixApplication, or a function that returns one of these. [default: echo]",
        ],
        ["max-connections", None, None, f"Connections at once. [default: {_DEFAULTS.max_connections}]"],
        ["max-message-size", None, None, f"Bytes of one message, its header included. [default: {_DEFAULTS.max_message_size}]"],
        ["handshake-timeout", None, None, f"Seconds a client has for its handshake. [default: {_DEFAULTS.handshake_timeout:g}]"],
        ["tls-cert", None, None, "PEM file with a certificate and its chain: serve --port with TLS. SIGHUP reads it again."],
        ["tls-key", None, None, "PEM file with its private key, where the certificate's file does not have it."],
        ["tls-client-ca", None, None, "PEM file with issuers: clients must show a certificate of one of them."],
        [
            "workers",
            None,
            None,
            "Processes that serve, each with its own event loop: the kernel shares connections out among them. SIGUSR2 replaces "
            "them one after another. [default: one, this one]",
        ],
        [
            "tokens",
            None,
            None,
            "File of name:hash lines, see 'veltix token new': clients must present one of its tokens. SIGHUP reads it again.",
        ],
        [
            "backplane",
            None,
            None,
            "URL of what this server shares with others, such as redis://localhost: rooms, their members and messages, broadcasts. "
            f"Its password may be in a file, redis://localhost?password_file=FILE, or in {BACKPLANE_PASSWORD_VARIABLE}, a variable "
            "of the environment.",
        ],
        [
            "backplane-key-file",
            None,
            None,
            "File with the key, on its first line, that all servers on the backplane share, at least 16 bytes: a message of one is "
            f"taken only if it was made with that. Without it that is what {BACKPLANE_KEY_VARIABLE} says, a variable of the "
            "environment.",
        ],
        [
            "password-file",
            None,
            None,
            "File with the password, on its first line, that clients of netconduit listeners must know. Without it that is what "
            f"{PASSWORD_VARIABLE} says, a variable of the environment.",
        ],
    ]

    optFlags = [  # noqa: N815, RUF012 (Twisted's class attribute)
        ["reload", None, "Replace the workers when a Python file in this folder changes: for development."],
        [
            "log-connections",
            None,
            "Log a line at each connection's begin, and one at its end with its reason, duration, messages and bytes.",
        ],
    ]

    for _row in [*optParameters, *optFlags]:
        _row[-1] = f"{_row[-1]} [{variable_of(str(_row[0]))}]"

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["plugin"] = []
        self.arguments: list[str] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the arguments, which workers are given, too."""
        self.arguments = list(sys.argv[1:] if options is None else options)
        super().parseOptions(self.arguments)

    @property
    def given(self) -> dict[str, object]:
        """Values of the flags by the settings' keys, None for one that is not given."""
        values = {each.key: self.get(each.option) for each in SETTINGS}
        flags = {"log.connections": "log-connections", "reload": "reload"}
        return values | {key: True if self[flag] else None for key, flag in flags.items()}

    def opt_listen(self, endpoint: str) -> None:
        """Endpoint to listen on in place of --port, such as tcp:8081, unix:/run/veltix.sock or tls:8443:cert=FILE; can be given several times. WIRE@ in front of it speaks that wire there: 1.9.0@tcp:8090, netconduit@tcp:8090, lines@udp:7001. [VELTIX_LISTEN]."""  # noqa: E501 (shown by --help)
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_plugin(self, plugin: str) -> None:
        """Plugin to enable, by its name; can be given several times. NAME=on_connect,on_recv lets it see only these of the events it asks for, NAME= none. [VELTIX_PLUGIN]."""  # noqa: E501 (shown by --help)
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


class _Setup(NamedTuple):
    """A server as the options ask for it, and what else its process has."""

    server: Server
    configuration: Configuration
    levels: LogLevels
    administration: Administration | None
    supervisor: Supervisor | None
    reloader: Reloader
    observer: FileLogObserver | None


def makeService(options: Options, reactor: IReactorTime | Clocks | None = None) -> _Process:
    """Return a service that runs the Server the options ask for, or the supervisor of the processes that do.

    Raises:
        SystemExit: an option is wrong; its text is one line that says what to do.
    """
    worker = Worker.from_environment(os.environ)
    setup = _set_up(options, reactor, worker)
    server, configuration = setup.server, setup.configuration
    collector = GcTuner(resolve_clocks(reactor))
    if setup.supervisor is not None:
        return _supervised(setup, setup.supervisor, collector)
    if worker is not None:
        return _working(setup, worker, collector)
    on_signal: dict[str, Callable[[], object]] = {
        "SIGHUP": partial(_reload, setup),
        "SIGUSR2": _refuse_to_roll,
    }
    return _Process(server, configuration, collector, setup.levels, on_signal, setup.observer, setup.administration)


def check(options: Options) -> None:
    """Make the server the options ask for, its application, files and certificates read, and serve nothing.

    Raises:
        SystemExit: something is wrong; its text is one line that says so.
    """
    setup = _set_up(options, Clock())
    try:
        setup.server._check()
    except SettingsError as error:
        raise SystemExit(_line(error, setup.configuration)) from error


def _set_up(options: Options, reactor: IReactorTime | Clocks | None, worker: Worker | None = None) -> _Setup:
    def configured() -> Configuration:
        return load(options.given, os.environ, options["config"])

    configuration = Configuration({})
    try:
        configuration = configured()
        server = _server(configuration["app"].value, reactor)
        own = server.config
        _check_places(configuration, server)
        server.configure(**configuration.changes(server.config))
        if configuration["backplane"].value is not None:
            server.set_backplane(configuration["backplane"].value)
        _give_key(server, configuration["backplane_key_file"].value)
        alone = not _shares(server, configuration) and not _has_workers(configuration)
        if configuration["backplane_key_file"].given and alone:
            _log.warn("{where} has no effect without --backplane", where=configuration["backplane_key_file"].where)
        tokens = _let_in_by_token(server, configuration)
        server.configure(**_passwords(server, configuration["password_file"].value))
        _enable(server, configuration["plugin"].value or [])
        levels = LogLevels(configuration["log.level"].value, configuration["log.levels"].value or {})
        supervisor = _supervisor(server, configuration, options) if worker is None and _has_workers(configuration) else None
        administration = _administration(configuration, server, levels, supervisor) if worker is None else None
        parent = options.parent if worker is None else None  # None where nobody logs, or the supervisor does
        observer = json_observer(parent) if parent is not None and configuration["log.format"].value == "json" else None
    except SettingsError as error:
        raise SystemExit(_line(error, configuration)) from error
    files = {"tokens": tokens, "admin_tokens": None if administration is None else administration.tokens}
    given = {key: file for key, file in files.items() if file is not None}
    reloader = Reloader(server, configuration, configured, own, given, levels)
    return _Setup(server, configuration, levels, administration, supervisor, reloader, observer)


def _reload(setup: _Setup) -> bool:
    """Read the configuration, tokens and certificates again: all of it, or nothing where something cannot be; return False then."""
    stays = "the configuration stays as it was"
    try:
        apply = setup.reloader.prepare()
        stays = "the TLS certificates stay as they were"
        listener = None if setup.administration is None else setup.administration.listener
        renew = (lambda: None) if listener is None else listener.prepare_reload()
        read = setup.server.reload_tls()
    except SettingsError as error:
        _log.error("SIGHUP: {stays}. {line}", stays=stays, line=_line(error, setup.configuration))
        return False
    apply()
    renew()
    certificates = f", and {read} TLS certificates, for new connections" if read else ""
    _log.info("SIGHUP: the configuration was read again{certificates}", certificates=certificates)
    return True


def _reload_workers(setup: _Setup, supervisor: Supervisor) -> None:
    """Reload the supervisor's own configuration, and where nothing is wrong with that, the workers'."""
    if _reload(setup):
        supervisor.reload()


def _refuse_to_roll() -> None:
    _log.warn("SIGUSR2: there are no workers to replace, see --workers")


def _has_workers(configuration: Configuration) -> bool:
    return configuration["workers"].given or configuration["reload"].value


def _shares(server: Server, configuration: Configuration) -> bool:
    """Return True if the server has a backplane that other processes can share."""
    return configuration["backplane"].value is not None or not isinstance(server.backplane, MemoryBackplane)


def _supervisor(server: Server, configuration: Configuration, options: Options) -> Supervisor:
    """Return the supervisor of the processes that serve in a server's place.

    Raises:
        SettingsError: they cannot share a listener.
    """
    chosen = None if options.parent is None else options.parent.get("reactor")
    reactor = [f"--reactor={chosen}"] if chosen else []
    twistd = ["-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", f"--logger={WORKER_LOG}", *reactor]
    command = [sys.executable, *twistd, "veltix", *options.arguments]
    places, drain = listen_specs(server.config), server.config.timeouts.drain
    backplane = None if _shares(server, configuration) else PrivateBackplane(reactor=server.reactor)
    return Supervisor(places, configuration["workers"].value, command, os.environ, server.reactor, drain, backplane)


def _supervised(setup: _Setup, supervisor: Supervisor, collector: GcTuner) -> _Process:
    """Return what runs the server as several processes."""
    on_signal: dict[str, Callable[[], object]] = {"SIGHUP": partial(_reload_workers, setup, supervisor), "SIGUSR2": supervisor.roll}
    process = _Process(supervisor, setup.configuration, collector, setup.levels, on_signal, setup.observer, setup.administration)
    supervisor.when_failed().addCallback(process.fail)
    if setup.configuration["reload"].value:
        SourceWatch(os.getcwd(), supervisor.roll, supervisor.reactor).setServiceParent(process)
    return process


def _working(setup: _Setup, worker: Worker, collector: GcTuner) -> _Process:
    """Return what runs the server as one process of several."""
    server, configuration = setup.server, setup.configuration
    measured = configuration["metrics"]
    try:
        worker.detach()
        server.inherit(worker.sockets)
        is_measured = (measured.value if measured.given else None) if configuration["admin"].given else False
        administration = WorkerAdministration(server, is_measured, setup.levels)
    except SettingsError as error:
        raise SystemExit(_line(error, configuration)) from error
    on_signal: dict[str, Callable[[], object]] = {"SIGHUP": partial(_reload, setup), "SIGUSR2": partial(retire, server)}
    report_ready = partial(worker.report_ready, server, administration.api)
    process = _Process(server, configuration, collector, setup.levels, on_signal, setup.observer, report_ready=report_ready)
    administration.setServiceParent(process)
    return process


class _Process(MultiService):
    """A Server, or the supervisor of several, as a process: its failure to start is one line, and it minds signals.

    twistd exits with status 1 after a failure to start. SIGHUP has the configuration and the TLS certificates read again.
    A SIGINT or SIGTERM stops the process as ever; another one, while it stops, ends it at once.
    """

    def __init__(
        self,
        served: Server | Supervisor,
        configuration: Configuration,
        collector: GcTuner,
        levels: LogLevels,
        on_signal: Mapping[str, Callable[[], object]],
        observer: FileLogObserver | None,
        administration: Administration | None = None,
        report_ready: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._served = served
        self._configuration = configuration
        self._levels = levels
        self._administration = administration
        self._observer = observer
        self._collector = collector
        self._on_signal = on_signal
        self._tell_supervisor = report_ready
        self._signals: Signals | None = None
        self._manager: ServiceManager | None = None
        served.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)  # twistd's application, which begins to log after this
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        self._mind_hangups()
        self._report(super().privilegedStartService)
        if self._administration is not None:
            self._report(self._administration.privilegedStartService)

    def startService(self) -> None:
        self._mind_hangups()
        self._report(super().startService)
        if self._administration is not None:
            self._report(self._administration.startService)
        self._collector.start()
        reactor: Any = self._served.reactor
        reactor.callWhenRunning(self._set_levels)  # by then whoever runs this has begun to log
        if self._signals is not None:
            reactor.callWhenRunning(self._mind_signals)  # by then it has handlers of its own
        if self._tell_supervisor is not None:
            reactor.callWhenRunning(self._tell_supervisor)
        else:
            self._manager = ServiceManager.from_environment(os.environ, reactor)
        if self._manager is not None:
            reactor.callWhenRunning(self._report_ready, self._manager)

    def fail(self, reason: str) -> None:
        """Stop, and have the process end with status 1 and a line that says why."""
        line = f"twistd veltix: no worker has come to listen in {FIRST_STARTS} tries: {reason.removeprefix('twistd veltix: ')}"
        _log.critical("{line}", line=line)
        print(line, file=sys.__stderr__)
        atexit.register(_exit_with_failure)
        reactor: Any = self._served.reactor
        reactor.stop()

    def _report_ready(self, manager: ServiceManager) -> None:
        served = self._served
        if isinstance(served, Supervisor):
            served.when_ready().addCallback(lambda _: manager.ready(f"{len(served.workers)} workers listen"))
        else:
            manager.ready(f"listening on {', '.join(map(shown, served.addresses))}")

    def stopService(self) -> Deferred[Any]:
        self._collector.stop()
        if self._manager is not None:
            self._manager.stopping()
        if self._administration is None:
            return maybeDeferred(super().stopService).addBoth(self._stopped)
        delayed = self._administration.drain(self._configuration["drain_delay"].value)
        stopped = delayed.addCallback(lambda _: super(_Process, self).stopService())
        return stopped.addBoth(self._stop_administration).addBoth(self._stopped)

    def _stop_administration(self, result: Any) -> Any:
        assert self._administration is not None
        return self._administration.stopService().addBoth(lambda _: result)

    def _stopped(self, result: Any) -> Any:
        self._levels.restore()
        self._restore_signals()
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        return result

    def _restore_signals(self) -> None:
        if self._signals is not None:
            self._signals.restore()
            self._signals = None

    def _mind_hangups(self) -> None:
        """Handle SIGHUP from before the first port is open, when somebody may send it: without a handler it ends the process."""
        if self._signals is None and current_thread() is main_thread():
            self._signals = Signals(self._served.reactor, self._served.abort)
            for name, act in self._on_signal.items():
                if hasattr(signal, name):
                    self._signals.handle(signal.Signals[name], act)

    def _set_levels(self) -> None:
        if self.running:
            self._levels.install()

    def _mind_signals(self) -> None:
        if self.running and self._signals is not None:
            self._signals.mind_the_end()

    def _report(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (CannotListenError, SettingsError, OSError) as error:
            self._restore_signals()
            shown, usual = error, sys.excepthook

            def hook(kind: Any, value: BaseException, trace: Any) -> None:
                if value is shown:
                    print(_line(shown, self._configuration), file=sys.__stderr__)  # twistd has made sys.stderr a log
                else:
                    usual(kind, value, trace)

            sys.excepthook = hook
            _log.critical("{line}", line=_line(error, self._configuration))
            raise


def _exit_with_failure() -> None:
    """End the process with status 1, last of all: twistd has only 0 for a reactor that has run."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)


def _line(error: CannotListenError | SettingsError | OSError, configuration: Configuration) -> str:
    if isinstance(error, CannotListenError):
        remedy = "Choose another with --port, --interface or --listen (or --admin), or end what listens there."
        return f"twistd veltix: {error} {remedy}"
    if isinstance(error, OSError):
        path = os.fsdecode(error.filename2 or error.filename or "").removesuffix(".lock")  # Twisted's, beside a UNIX socket
        where = f" on {path}" if path else ""
        return f"twistd veltix: cannot listen{where}: {error.strerror or error}. Choose another place with --listen."
    if isinstance(error, ConfigurationError):
        return f"twistd veltix: {error}"
    known = configuration.of_field("endpoints" if error.name == "endpoint" else error.name)
    if error.value is not None and (known is None or not known.given):  # the user's own server has it
        return f"twistd veltix: {configuration['app'].where} {configuration['app'].value}: {error}"
    rule = error.rule
    if error.name != "backplane":  # whose URL has options of the same names
        rule = _TLS_SETTING.sub(lambda found: f"--{found[0].replace('_', '-')}", rule)
    where = f"--{error.name}" if known is None else known.where if known.given else f"--{known.setting.option}"
    return f"twistd veltix: {ConfigurationError(where, error.value, rule)}"


def _administration(
    configuration: Configuration, server: Server, levels: LogLevels, supervisor: Supervisor | None
) -> Administration | None:
    if not any(configuration[key].given for key in ("admin", "admin_tokens", "admin_plaintext", "drain_delay")):
        return None
    from veltix_tx.ops.administration import administer  # noqa: PLC0415 (it takes a while: twisted.web)

    return administer(configuration, server, levels, supervisor)


def _give_key(server: Server, file: str | None) -> None:
    """Let the server take only what nodes say that know the key, where there is one."""
    key = read_password(file, BACKPLANE_KEY_VARIABLE, "backplane_key_file", "key")
    if key is not None:
        try:
            server.set_backplane(server.backplane, key=key.encode())
        except SettingsError as error:
            rule = f"a file with a key of {error.rule} on its first line ({BACKPLANE_KEY_VARIABLE} likewise)"
            raise SettingsError("backplane_key_file", file, rule) from None


def _let_in_by_token(server: Server, configuration: Configuration) -> TokenFile | None:
    """Let in only clients with a token of the file that is given."""
    path, app = configuration["tokens"].value, configuration["app"]
    if path is None:
        return None
    if server.authenticates:
        raise SettingsError("tokens", path, f"left out: {app.where} {app.value} decides itself who is let in")
    tokens = TokenFile(path)
    if not tokens.names:
        _log.warn("{path} has no token: nobody is let in", path=path)
    server.set_authenticate(tokens)
    return tokens


def _check_places(configuration: Configuration, server: Server) -> None:
    """Raise SettingsError for a setting that says where to listen and would have no effect."""
    own, listen, app = server.config.endpoints, configuration["listen"], configuration["app"]
    if listen.given:
        rule = f"left out where {listen.where} {listen.value[0]} is given, which says where"
    elif own:
        places = ", ".join(str(each) for each in own)
        rule = f"left out, or --listen given: {app.where} {app.value} has places of its own to listen in, {places}"
    else:
        return
    for place in (configuration["port"], configuration["interface"]):
        if place.given and not place.source < listen.source:
            raise SettingsError(place.setting.field, place.value, rule)


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
