"""Settings from flags, environment and file: which holds, and what is said of a wrong one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import Limits, Server, ServerConfig, SettingsError, Timeouts
from veltix_tx.ops.configuration import Configuration, Source, load
from veltix_tx.ops.rendering import example, rows
from veltix_tx.ops.settings import LEFT_OUT, SETTINGS

Given = Callable[..., Configuration]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """Load a configuration of a file's text, variables and flags."""

    def given(text: str = "", environment: dict[str, str] | None = None, **flags: object) -> Configuration:
        path = tmp_path / "veltix.toml"
        path.write_text(text, encoding="utf-8")
        return load(flags, environment or {}, str(path))

    return given


def test_every_setting_of_a_server_can_be_configured() -> None:
    """Each field of ServerConfig, Limits and Timeouts is a setting, but for those left out with a reason."""
    wanted = {each.name for kind in (ServerConfig, Limits, Timeouts) for each in fields(kind)} - set(LEFT_OUT)
    assert wanted - {each.field for each in SETTINGS} == set()
    assert len({each.key for each in SETTINGS}) == len(SETTINGS)


def test_a_flag_holds_before_the_environment_and_that_before_the_file(given: Given) -> None:
    """Of a setting given in several places the flag's value holds, else the environment's, else the file's, else the default."""
    text = "port = 1\nmax_connections = 1\nmax_workers = 1\n"
    found = given(text, {"VELTIX_PORT": "2", "VELTIX_MAX_CONNECTIONS": "2"}, port="3", wire=None)
    shown = [(found[key].value, found[key].source) for key in ("port", "max_connections", "max_workers", "wire")]
    assert shown == [(3, Source.FLAG), (2, Source.ENVIRONMENT), (1, Source.FILE), ("auto", Source.DEFAULT)]


def test_what_is_not_given_stays_as_the_application_has_it(given: Given) -> None:
    """A limit or timeout of a file changes no other one of the application's own server."""
    server = Server(limits=Limits(inflight=7), timeouts=Timeouts(drain=7), max_connections=7)
    server.configure(**given("[limits]\nhalf_open = 8\n[timeouts]\nidle = inf\nwrite = 9\n").changes(server.config))
    limits, timeouts = server.config.limits, server.config.timeouts
    assert (limits.inflight, limits.half_open, timeouts.drain, timeouts.idle, timeouts.write) == (7, 8, 7, math.inf, 9)
    assert server.config.max_connections == 7


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    """VELTIX_CONFIG names the file; a flag's file is read in its place."""
    for name, port in (("one", 1), ("two", 2)):
        (tmp_path / name).write_text(f"port = {port}\n")
    environment = {"VELTIX_CONFIG": str(tmp_path / "one")}
    assert load({}, environment)["port"].value == 1
    assert load({}, environment, str(tmp_path / "two"))["port"].value == 2


def test_variables_give_values_of_every_kind(given: Given) -> None:
    """Numbers, answers, lists and levels of the environment are read as what they are."""
    environment = {
        "VELTIX_LISTEN": "tcp:1 lines@tcp:2",
        "VELTIX_LOG_CONNECTIONS": "yes",
        "VELTIX_TIMEOUTS_IDLE": "inf",
        "VELTIX_LIMITS_PER_SOURCE": "3",
        "VELTIX_LOG_LEVELS": "twisted=warn veltix_tx.net=debug",
    }
    found = given("", environment)
    shown = [found[key].value for key in ("listen", "log.connections", "timeouts.idle", "limits.per_source", "log.levels")]
    assert shown == [["tcp:1", "lines@tcp:2"], True, math.inf, 3, {"twisted": "warn", "veltix_tx.net": "debug"}]
    assert found.changes(ServerConfig())["endpoints"] == ("tcp:1", "lines@tcp:2")


@pytest.mark.parametrize(
    "text", ['log.levels.twisted.web = "warn"', 'log.levels = { "twisted.web" = "warn" }', '[log.levels.twisted]\nweb="warn"']
)
def test_a_namespace_may_be_written_with_its_dots(text: str, given: Given) -> None:
    """What TOML takes for tables in a table is one dotted name."""
    assert given(text)["log.levels"].value == {"twisted.web": "warn"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "veltix.toml: prot 1: it must be left out: there is no such setting (did you mean port?)"),
        ("half_open = 1", "half_open 1: it must be left out: there is no such setting (did you mean limits.half_open?)"),
        (
            "[limits]\nhalf_opn = 1",
            "limits.half_opn 1: it must be left out: there is no such setting (did you mean limits.half_open?",
        ),
        (
            "[nothing]\nat_all = 1",
            'nothing { "at_all" = 1 }: it must be left out: there is no such setting, see \'veltix config',
        ),
        ("port = '1'", "veltix.toml: port '1': it must be a whole number from 0 to 65535"),
        ("port = 65536", "port 65536: it must be a whole number from 0 to 65535"),
        ("port = 1979-05-27", "port 1979-05-27: it must be a whole number"),
        ("port = {a = 1}", 'port { "a" = 1 }: it must be a whole number'),
        ("log.connections = 1", "log.connections 1: it must be true or false"),
        ("[timeouts]\nwrite = inf", "timeouts.write inf: it must be a number of seconds"),
        ("[timeouts]\nwrite = nan", "timeouts.write nan: it must be a number of seconds"),
        ("[limits]\nwrite_high = 5", "limits.write_high 5: it must be a whole number from 262144"),
        ("[tls]\nkey = 'k'", "veltix.toml: tls.key 'k': it must be left out, or tls.cert given, too"),
        ("[tls]\nclient_ca = 'k'", "veltix.toml: tls.client_ca 'k': it must be left out, or tls.cert given, too"),
        ("tls.cert = true", "tls.cert true: it must be the path of a file, or left out"),
        ("[timeouts]\nidle = 0", "timeouts.idle 0: it must be a number of seconds, more than 0, at most 1000000000, or inf for no"),
        ("port = true", "port true: it must be a whole number from 0"),
        (
            "[limits]\nwrite_low = 5000000",
            "limits.write_low 5000000: it must be a whole number up to 1048576, or limits.write_high given, too",
        ),
        (
            "[limits]\nwrite_high = 50000000",
            "limits.write_high 50000000: it must be a whole number up to 11534336, or limits.write_hard given, too",
        ),
        ("limits = 5", "veltix.toml: limits 5: it must be a table: [limits], with its settings below"),
        (
            "[limit]\nhalf_open = 5",
            'limit { "half_open" = 5 }: it must be left out: there is no such setting (did you mean [limits]?)',
        ),
        ("listen = 'tcp:1'", "listen 'tcp:1': it must be a list of texts that are not empty"),
        ("listen = ['']", "it must be a list of texts that are not empty"),
        ("app = 1", "app 1: it must be a text that is not empty"),
        ("log.level = 'loud'", "log.level 'loud': it must be one of debug, info, warn, error, critical"),
        ("log.levels.twisted = 'loud'", "it must be namespaces with one of debug"),
        ("password = 'secret'", "password: it must be left out: no secret belongs into a configuration. Give password_file"),
        ("[tls]\ntoken = 'secret'", "tls.token: it must be left out: no secret belongs into a configuration. Give tokens, a file"),
        ("port = ", "veltix.toml: it must be a file of TOML (Invalid value (at "),
        ("a = " + "[" * 100_000, "veltix.toml: it must be a file of TOML ("),
        ("#" * 2**20 + "\n", "veltix.toml: it must be a file of TOML, of at most 1048576 bytes"),
    ],
    ids=lambda text: text[:20],
)
def test_a_mistake_in_the_file_names_file_key_value_and_meaning(text: str, said: str, given: Given) -> None:
    """A wrong name or value of a file is one line: the file, the key, what was given and what it must be; no secret is in it."""
    with pytest.raises(SettingsError) as caught:
        given(text).check(ServerConfig())
    line = str(caught.value)
    assert said in line
    assert "\n" not in line
    assert "secret'" not in line


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"VELTIX_PORT": "tcp://10.0.0.1:80"}, "VELTIX_PORT 'tcp://10.0.0.1:80': it must be a whole number from 0 to 65535"),
        (
            {"VELTIX_LIMITS_HALF_OPN": "1"},
            "VELTIX_LIMITS_HALF_OPN '1': it must be left out, there is no such setting (did you mean VELTIX_LIMITS_",
        ),
        ({"VELTIX_LOG_CONNECTIONS": "maybe"}, "VELTIX_LOG_CONNECTIONS 'maybe': it must be true or false"),
        ({"VELTIX_LOG_LEVELS": "twisted"}, "VELTIX_LOG_LEVELS"),
        ({"VELTIX_TIMEOUTS_WRITE": "nan"}, "VELTIX_TIMEOUTS_WRITE 'nan'"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environment: dict[str, str], said: str, given: Given) -> None:
    """A wrong value, and a variable that is a setting's but for a letter, are told by the variable's name."""
    with pytest.raises(SettingsError) as caught:
        given("", environment).check(ServerConfig())
    assert said in str(caught.value)


def test_variables_of_others_are_left_alone(given: Given) -> None:
    """A variable that begins with VELTIX_ and looks like no setting is not this program's business."""
    given("", {"VELTIX_TX_CODEC": "c", "VELTIX_PASSWORD": "secret", "VELTIX_SERVICE_HOST": "10.0.0.1", "VELTIX_X": ""}).check(
        ServerConfig()
    )


@pytest.mark.parametrize("path", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_named(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent or unreadable file is one line with the system's reason; so is one that is no UTF-8."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=rf"^{re.escape(path)}: it must be a file of TOML that can be read \("):
        load({}, {}, path)
    (tmp_path / "latin.toml").write_bytes(b"app = '\xff'")
    with pytest.raises(SettingsError, match=r"^latin.toml: it must be a file of TOML \(.*utf-8"):
        load({}, {}, "latin.toml")


def test_the_example_is_a_file_without_effect_until_its_lines_are_uncommented(given: Given) -> None:
    """The example has every setting; as it stands it gives nothing, and with all of them taken in each has its default."""
    assert not any(each.given for each in given(example()))
    everything = given(re.sub(r"^#(?! )", "", example(), flags=re.MULTILINE))
    everything.check(ServerConfig())
    assert all(each.source is Source.FILE for each in everything)
    assert [
        each.setting.key for each in everything if each.setting.default is not None and each.value != each.setting.default
    ] == []
    assert all(each.setting.meaning for each in everything)
    assert re.search(r"\b(None|math\.inf|tls_cert)\b", example()) is None


def test_it_is_shown_where_each_value_comes_from(given: Given, tmp_path: Path) -> None:
    """Each setting is shown with its value and its source; of a secret only that it is set."""
    environment = {"VELTIX_WIRE": "1.6.3", "VELTIX_PASSWORD": "hush"}
    shown: dict[Any, Any] = {
        row["setting"]: (row["value"], row["from"])
        for row in rows(given("port = 1", environment, interface="::1"), environment, ["VELTIX_PASSWORD"])
    }
    assert shown["port"] == (1, str(tmp_path / "veltix.toml"))
    assert shown["wire"] == ("1.6.3", "VELTIX_WIRE")
    assert shown["interface"] == ("::1", "--interface")
    assert shown["limits.half_open"] == (256, "default")
    assert shown["VELTIX_PASSWORD"] == ("(a secret)", "environment")
    assert set(shown) == {each.key for each in SETTINGS} | {"VELTIX_PASSWORD"}
