"""``twistd veltix`` inside this process: options to a service."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import getPlugins

from veltix_tx import Events
from veltix_tx.backplane.envelope import Envelopes, Message
from veltix_tx.tap import Options, makeService


def options(*arguments: str) -> Options:
    """Parse options."""
    parsed = Options()
    parsed.parseOptions(arguments)
    return parsed


def started(*arguments: str) -> MemoryReactorClock:
    """Make, start and stop a service in memory."""
    reactor = MemoryReactorClock()
    service: Any = makeService(options(*arguments), reactor)
    service.privilegedStartService()
    service.startService()
    assert service.running
    service.stopService()
    return reactor


@pytest.mark.parametrize(
    ("arguments", "listening"),
    [
        ((), [(8080, "0.0.0.0")]),
        (("--port", "0", "--interface", "127.0.0.1"), [(0, "127.0.0.1")]),
        (("-p", "9000", "-i", "::1", "-w", "1.6.3", "-a", "relay"), [(9000, "::1")]),
        (("--listen", "tcp:9001", "-l", "1.9.0@tcp:9002:interface=127.0.0.1"), [(9001, ""), (9002, "127.0.0.1")]),
    ],
)
def test_options_say_where_to_listen(arguments: tuple[str, ...], listening: list[tuple[int, str]]) -> None:
    """Port, interface and endpoints of the options are listened on, on the reactor that was given."""
    reactor = started(*arguments)
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == listening
    assert reactor.getDelayedCalls() == []


def test_options_reach_the_settings() -> None:
    """Every option sets its field; one that is not given leaves the default."""
    reactor = started("--max-connections=5", "--max-message-size=1000", "--handshake-timeout=2.5", "--wire=3.3.0")
    config = reactor.tcpServers[0][1].config
    assert (config.max_connections, config.max_message_size, config.handshake_timeout) == (5, 1000, 2.5)
    assert (config.wire.name, config.log_connections) == ("3.3.0", False)
    assert started().tcpServers[0][1].config.wire.name == "auto"
    assert started("--log-connections").tcpServers[0][1].config.log_connections is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "x"), "--port x: it must be a whole number from 0 to 65535"),
        (("--port", "65536"), "--port 65536"),
        (("--max-connections", "0"), "--max-connections 0"),
        (("--max-message-size", "5"), "--max-message-size 5"),
        (("--handshake-timeout", "x"), "--handshake-timeout x"),
        (("--interface", ""), "--interface "),
        (("--wire", "7.0"), "--wire 7.0"),
        (("--listen", "7.0@tcp:1"), "--listen 7.0@tcp:1"),
        (("--listen", ""), "--listen "),
        (("--port", "0", "--listen", "tcp:1"), "--port 0: it must be left out where --listen tcp:1 is given"),
        (("--interface", "::1", "--listen", "unix:s"), "--interface ::1: it must be left out where --listen unix:s is given"),
        (("--app", "nothing"), "--app nothing: it must be echo, relay or module:object"),
        (("--app", ":server"), "--app :server"),
        (("--app", "no_such_module:server"), "--app no_such_module:server"),
        (("--app", "os:nothing"), "--app os:nothing"),
        (("--app", "os:sep"), "it is str"),
        (("--tokens", "none.txt"), "--tokens none.txt: it must be a file that can be read (No such file or directory)"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    """A wrong option ends in SystemExit with one line that names the option and what it must be."""
    with pytest.raises(SystemExit) as caught:
        makeService(options(*arguments), MemoryReactorClock())
    text = str(caught.value)
    assert text.startswith("twistd veltix: ")
    assert said in text
    assert "\n" not in text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "server = Server(port=7777, types=MessageRegistry())",
        "def server(): return Server(port=7777, types=MessageRegistry())",
        "class app:\n    server = Server(port=7777, types=MessageRegistry())\nserver = app.server",
    ],
)
def test_a_servers_own_settings_hold_where_no_option_is_given(folder: Path, text: str) -> None:
    """--app module:object takes a Server or a function; options change only what they name."""
    (folder / "tap_app.py").write_text(f"from veltix_tx import MessageRegistry, Server\n{text}\n")
    service: Any = makeService(options("--app", "tap_app:server", "--wire", "1.6.3"))
    (server,) = list(service)
    assert (server.config.port, server.config.wire) == (7777, "1.6.3")


def test_tokens_decide_who_is_let_in(folder: Path, log_events: Any) -> None:
    """--tokens is the server's hook, whatever is served; a file without tokens lets nobody in, which is said."""
    (folder / "tokens.txt").write_text(f"ann:{'0' * 64}\n")
    (folder / "tap_app.py").write_text("from veltix_tx import Server\nserver = Server()\n")
    for app in ("echo", "relay", "tap_app:server"):
        (server,) = list(makeService(options("--app", app, "--tokens", "tokens.txt")))  # type: ignore[call-overload]
        assert repr(server._authenticate) == "<TokenFile tokens.txt, 1 tokens>"
    assert not any("nobody is let in" in event.get("log_format", "") for event in log_events)
    (folder / "tokens.txt").write_text("# none\n")
    makeService(options("--tokens", "tokens.txt"))
    assert any("nobody is let in" in event.get("log_format", "") for event in log_events)


def test_two_that_decide_are_a_mistake(folder: Path) -> None:
    """--tokens with an app whose Server has a hook names both: which of them holds must not be a guess."""
    (folder / "tokens.txt").write_text("")
    (folder / "tap_app.py").write_text("from veltix_tx import Server\nserver = Server(authenticate=print)\n")
    with pytest.raises(SystemExit) as caught:
        makeService(options("--app", "tap_app:server", "--tokens", "tokens.txt"))
    said = "twistd veltix: --tokens tokens.txt: it must be left out: --app tap_app:server decides itself who is let in"
    assert str(caught.value) == said


@pytest.mark.parametrize(("option", "value"), [("--port", "8081"), ("--interface", "127.0.0.1")])
def test_a_servers_own_endpoints_are_not_silently_kept(folder: Path, option: str, value: str) -> None:
    """--port or --interface with an app whose Server has endpoints names both; --listen takes the endpoints' place."""
    (folder / "tap_app.py").write_text("from veltix_tx import Server\nserver = Server(endpoints=('tcp:7777', 'unix:s'))\n")
    with pytest.raises(SystemExit) as caught:
        makeService(options("--app", "tap_app:server", option, value))
    assert str(caught.value) == (
        f"twistd veltix: {option} {value}: it must be left out, or --listen given: "
        "--app tap_app:server has places of its own to listen in, tcp:7777, unix:s"
    )
    service: Any = makeService(options("--app", "tap_app:server", "--listen", "tcp:7778"))
    assert next(iter(service)).config.endpoints == ("tcp:7778",)


NETCONDUIT = ("--listen", "tcp:9001", "--listen", "netconduit@tcp:9002")


@pytest.mark.parametrize(
    "arguments",
    [
        NETCONDUIT,
        ("--listen", "tcp:9001", "--wire", "netconduit"),
        ("--wire", "netconduit"),
        ("--app", "tap_app:server"),
    ],
    ids=["endpoint", "wire of an endpoint", "wire", "the app's own endpoints"],
)
@pytest.mark.parametrize("given", ["file", "environment", "both"])
def test_a_password_reaches_the_listeners_that_ask_for_one(
    given: str, arguments: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--password-file, or without it VELTIX_PASSWORD, is the password of netconduit's listeners, and of no others."""
    app = (
        "from veltix_tx import Auto, Server\nserver = Server(endpoints=('netconduit@tcp:9002', 'tcp:9001', (Auto(), 'tcp:9003')))\n"
    )
    (folder / "tap_app.py").write_text(app)
    (folder / "password").write_bytes("gehe\u00efm \r\nand more\n".encode())
    if given != "file":
        monkeypatch.setenv("VELTIX_PASSWORD", "other" if given == "both" else "gehe\u00efm ")
    file = () if given == "environment" else ("--password-file", "password")
    service: Any = makeService(options(*arguments, *file), MemoryReactorClock())
    (server,) = list(service)
    wires: list[Any] = [place.wire for place in server._places]
    assert [wire.password for wire in wires if wire.name == "netconduit"] == ["gehe\u00efm "]
    assert "geh" not in repr(wires) + repr(server)


def test_a_password_of_the_environment_may_be_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """VELTIX_PASSWORD without a listener that asks for it changes nothing."""
    monkeypatch.setenv("VELTIX_PASSWORD", "secret")
    assert started().tcpServers[0][1].config.wire.name == "auto"


@pytest.mark.parametrize("given", ["file", "environment", "both"])
def test_a_key_reaches_what_nodes_say(given: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--backplane-key-file, or without it VELTIX_BACKPLANE_KEY, authenticates what the server says to others."""
    (folder / "key").write_bytes(b"0123456789abcdef\nand more\n")
    if given != "file":
        monkeypatch.setenv("VELTIX_BACKPLANE_KEY", "an other one that is long" if given == "both" else "0123456789abcdef")
    service: Any = makeService(options(*(() if given == "environment" else ("--backplane-key-file", "key"))), MemoryReactorClock())
    (server,) = list(service)
    said = server._node._messages.seal(Message(1, "x", b""), "room:x")
    assert Envelopes[Message](Message, b"0123456789abcdef").open(said, "room:x") == Message(1, "x", b"")


@pytest.mark.parametrize("content", [None, b"", b"too short", b"\xff" * 20])
def test_a_mistake_with_a_key_is_one_line(content: bytes | None, folder: Path) -> None:
    """A key that is too short or cannot be read ends in one line, which never has it in it."""
    if content is not None:
        (folder / "key").write_bytes(content)
    with pytest.raises(SystemExit, match="twistd veltix: --backplane-key-file key: it must be a file with a key") as caught:
        makeService(options("--backplane-key-file", "key"))
    assert "too short" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis:/localhost", "tls_ca, tls_name, tls_cert, tls_key"),
        ("redis://h?password_file=/nope", "one whose password_file, /nope, is a file with a password"),
        ("veltix://h:1?password_file=/nope", "one whose password_file, /nope, is a file with a password"),
        ("redis://h?prefix=a*b", "one whose prefix is up to 64"),
    ],
)
def test_a_mistake_in_the_backplanes_url_is_one_line(url: str, said: str) -> None:
    """What is wrong with a URL is told of --backplane, and its options are named as they are there."""
    with pytest.raises(SystemExit) as caught:
        makeService(options("--app", "relay", "--backplane", url))
    assert str(caught.value).startswith(f"twistd veltix: --backplane {url}: it must be ")
    assert said in str(caught.value)


def test_a_key_without_a_backplane_is_warned_of(folder: Path, log_events: Any) -> None:
    """--backplane-key-file alone has no effect, which is told."""
    (folder / "key").write_bytes(b"0123456789abcdef\n")
    makeService(options("--backplane-key-file", "key"), MemoryReactorClock())
    makeService(options("--backplane-key-file", "key", "--backplane", "veltix+unix:b"), MemoryReactorClock())
    assert len([event for event in log_events if "no effect" in event["log_format"]]) == 1


def test_an_app_that_authenticates_needs_no_password(folder: Path) -> None:
    """A server with an ``authenticate`` of its own may listen for netconduit without a password."""
    (folder / "tap_app.py").write_text("from veltix_tx import Server\nserver = Server(authenticate=lambda credentials: None)\n")
    service: Any = makeService(options("--app", "tap_app:server", "--listen", "netconduit@tcp:9002"))
    (server,) = list(service)
    assert [place.wire.password for place in server._places] == [None]


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (NETCONDUIT, None, "--password-file: it must be given, or VELTIX_PASSWORD set"),
        (("--wire", "netconduit"), None, "--password-file: it must be given"),
        ((*NETCONDUIT, "--password-file", "absent"), None, "--password-file absent: it must be a file with a password"),
        ((*NETCONDUIT, "--password-file", "."), None, "--password-file .: it must be a file with a password"),
        ((*NETCONDUIT, "--password-file", "password"), b"", "on its first line"),
        ((*NETCONDUIT, "--password-file", "password"), b"\nsecret", "on its first line"),
        ((*NETCONDUIT, "--password-file", "password"), b"\xff\n", "a text of UTF-8"),
        (("--password-file", "password"), b"secret", "left out: no listener asks for a password, as netconduit@tcp:8090 does"),
    ],
)
def test_a_mistake_with_a_password_is_one_line(
    arguments: tuple[str, ...], content: bytes | None, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that is missing, cannot be read or is of no use ends in one line, which never has it in it."""
    monkeypatch.delenv("VELTIX_PASSWORD", raising=False)
    if content is not None:
        (folder / "password").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        makeService(options(*arguments), MemoryReactorClock())
    text = str(caught.value)
    assert text.startswith("twistd veltix: ")
    assert said in text
    assert "\n" not in text
    assert "secret" not in text


@pytest.mark.parametrize("text", ["application = Echo()", "application = Echo", "def application(): return Echo()"])
def test_an_application_is_served(folder: Path, text: str) -> None:
    """--app module:object takes an application, its class or a function that makes one."""
    (folder / "tap_app.py").write_text(f"from veltix_tx.app.applications import Echo\n{text}\n")
    assert len(started("--app", "tap_app:application").tcpServers) == 1


def test_a_module_that_raises_is_told_with_its_line(folder: Path) -> None:
    """An error inside the user's module is named with file and line, on one line."""
    (folder / "tap_broken.py").write_text("x = 1\nraise ValueError('inside')\n")
    with pytest.raises(SystemExit, match=r"ValueError: inside, .*tap_broken\.py:2\)") as caught:
        makeService(options("--app", "tap_broken:server"))
    assert "\n" not in str(caught.value)


def test_a_wire_is_a_message_on_one_line_only_for_known_errors() -> None:
    """What is no mistake of the user's is raised as it is."""
    service: Any = makeService(options(), MemoryReactorClock())
    (server,) = list(service)
    server.listen = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        service.privilegedStartService()


PLUGINS = """
from veltix_tx.app.plugins import Plugin
from veltix_tx.errors import SettingsError


class Presence(Plugin):
    name = "presence"
    description = '''Tells everybody\n            who comes and goes.'''
    types = {"change": 600, "who": None}
    events = ("on_disconnect", "on_connect")


class Quiet(Plugin):
    name = "quiet"
    description = "Does nothing."


class Broken(Plugin):
    name = "broken"
    types = {"change": 5}


class Taking(Plugin):
    name = "taking"
    types = {"change": 600}


class Refusing(Plugin):
    name = "refusing"

    def registered(self, types, granted):
        raise ValueError("not\\nhere")


class Twin(Plugin):
    name = "twin"


plugins = presence, quiet, broken, taking, refusing, twin, other_twin = (
    Presence(), Quiet(), Broken(), Taking(), Refusing(), Twin(), Twin()
)
"""


@pytest.fixture
def dropin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let twisted.plugin find the modules of a new folder, with one that holds plugins."""
    import twisted.plugins

    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "twisted.plugins.tap_dropin", raising=False)
    (tmp_path / "tap_dropin.py").write_text(PLUGINS)
    yield tmp_path
    sys.modules.pop("twisted.plugins.tap_dropin", None)


def listed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what --list-plugins prints."""
    with pytest.raises(SystemExit) as caught:
        options("--list-plugins")
    assert caught.value.code == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def test_the_installed_plugins_are_listed(dropin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--list-plugins shows what each plugin is, handles and asks for, or why it cannot be used, and exits."""
    paragraphs = listed(capsys).split("\n\n")
    assert paragraphs[0].startswith("broken\n  cannot be used: plugin 'broken': the code of its type 'change' is 5")
    assert paragraphs[1] == (
        "presence\n  Tells everybody who comes and goes.\n  types: change 600, who 13837\n  asks for: on_connect, on_disconnect"
    )
    assert paragraphs[2] == "quiet\n  Does nothing.\n  types: none\n  asks for: no events"
    assert len(paragraphs) == 7


def test_none_installed_is_told_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any plugin, --list-plugins says where to put one."""
    text = listed(capsys)
    assert text.startswith("No plugin is installed. ")
    assert "twisted/plugins" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "sees"),
    [
        ("presence", {Events.ON_CONNECT, Events.ON_DISCONNECT}),
        ("presence=on_connect", {Events.ON_CONNECT}),
        ("presence=on_connect, on_disconnect,", {Events.ON_CONNECT, Events.ON_DISCONNECT}),
        ("presence=", set()),
    ],
)
def test_plugins_are_enabled_by_name(dropin: Path, given: str, sees: set[Events]) -> None:
    """--plugin NAME enables a plugin with all it asks for, NAME=EVENTS with some of that, NAME= with nothing; several can be."""
    service: Any = makeService(options("--plugin", "quiet", "--plugin", given))
    (server,) = list(service)
    assert [plugin.name for plugin in server.plugins] == ["quiet", "presence"]
    assert server._plugins.granted("presence") == sees


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "--plugin absent: it must be installed; there is broken, presence, quiet, refusing, taking, twin, twin"),
        (["=on_recv"], "--plugin : it must be installed; there is"),
        (["presence", "presence"], "--plugin presence: plugin is 'presence': it must be a name that is free: <"),
        (
            ["presence", "taking"],
            "--plugin taking: plugin 'taking': its type 'change' cannot have code 600, which 'presence.change'",
        ),
        (["broken"], "--plugin broken: plugin 'broken': the code of its type 'change' is 5: it must be"),
        (["twin"], "--plugin twin: it must be the name of one plugin only; there is one of each of twisted.plugins.tap_dropin, "),
        (
            ["presence=on_recv"],
            "--plugin presence=on_recv: grant for plugin 'presence' is 'on_recv': it must be of what it asks for",
        ),
        (
            ["presence=on_receive"],
            "--plugin presence=on_receive: grant for plugin 'presence' is ['on_receive']: it must be some of",
        ),
        (["refusing"], "--plugin refusing: it must be one that can be registered (ValueError: not here, "),
    ],
)
def test_a_mistake_with_a_plugin_is_one_line(dropin: Path, arguments: list[str], said: str) -> None:
    """A plugin that is not there or cannot be enabled so ends in SystemExit with one line that names it and the remedy."""
    with pytest.raises(SystemExit) as caught:
        makeService(options(*(word for name in arguments for word in ("--plugin", name))))
    assert str(caught.value).startswith(f"twistd veltix: {said}")
    assert "\n" not in str(caught.value)


def test_the_plugin_is_known_to_twistd() -> None:
    """Twistd finds the veltix command, with these options."""
    from twisted.application.service import IServiceMaker

    (found,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "veltix"]
    assert found.options is Options
    assert found.makeService is makeService


def test_a_busy_port_is_shown_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that cannot be had is raised, and shown without a traceback; any other error is shown as usual."""
    shown, usual = io.StringIO(), []
    monkeypatch.setattr(sys, "__stderr__", shown)
    monkeypatch.setattr(sys, "excepthook", lambda *details: usual.append(details[0]))
    reactor = MemoryReactorClock()
    busy = CannotListenError("127.0.0.1", 8080, OSError(98, "in use"))
    monkeypatch.setattr(reactor, "listenTCP", lambda *_, **__: (_ for _ in ()).throw(busy))
    service: Any = makeService(options("--interface", "127.0.0.1"), reactor)
    with pytest.raises(CannotListenError) as caught:
        service.startService()
    sys.excepthook(ZeroDivisionError, ZeroDivisionError(), None)
    sys.excepthook(CannotListenError, caught.value, None)
    assert usual == [ZeroDivisionError]
    (line,) = shown.getvalue().splitlines()
    assert line.startswith("twistd veltix: ")
    assert "8080" in line
    assert "--port, --interface or --listen" in line


def test_a_service_that_cannot_start_leaves_the_signals_as_they_were(capsys: Any) -> None:
    """SIGHUP is minded before the ports open, and no longer when one of them cannot be."""

    class Busy(MemoryReactorClock):
        minded: Any = None

        def listenTCP(self, port: int, *arguments: Any, **settings: Any) -> Any:  # noqa: N802
            self.minded = signal.getsignal(signal.SIGHUP)
            raise CannotListenError("127.0.0.1", port, OSError("busy"))

    before, reactor = signal.getsignal(signal.SIGHUP), Busy()
    service: Any = makeService(options(), reactor)
    hook = sys.excepthook
    try:
        with pytest.raises(CannotListenError):
            service.privilegedStartService()
    finally:
        sys.excepthook = hook
    assert reactor.minded is not before
    assert signal.getsignal(signal.SIGHUP) is before
