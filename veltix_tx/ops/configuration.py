"""Configuration: the values of the settings, each from the flags, else the environment, else a file, else the default."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from enum import IntEnum
from os import strerror
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from veltix_tx.errors import SettingsError, excerpt
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.ops.settings import BY_KEY, SETTINGS, Setting
from veltix_tx.ops.toml import toml
from veltix_tx.passwords import BACKPLANE_KEY_VARIABLE, PASSWORD_VARIABLE, SECRET_VARIABLES
from veltix_tx.sanitize import escape_controls
from veltix_tx.settings import ServerConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CONFIG_VARIABLE", "Configuration", "ConfigurationError", "Source", "Value", "load"]

CONFIG_VARIABLE = "VELTIX_CONFIG"
"""Variable of the environment that names the file where no flag does."""

_LONGEST = 1024 * 1024
"""Bytes of a file that are read."""

_SECRETS = {
    "password": f"password_file, a file that holds it, or the variable {PASSWORD_VARIABLE}",
    "backplane_key": f"backplane_key_file, a file that holds it, or the variable {BACKPLANE_KEY_VARIABLE}",
    "token": "tokens, a file",
}
"""Names that would hold a secret in the open -> what to give in their place."""

_CLOSE = 0.8
"""Similarity from which a variable of the environment is taken for a misspelt one: others may begin with VELTIX_, too."""

_TABLES = {each.key.partition(".")[0] for each in SETTINGS if "." in each.key}
"""Tables of a file whose entries are settings."""

_NEXT = {"write_high": "write_low", "write_hard": "write_high"}
"""Limit -> the one that it must not be below."""

_WORDS = {"True": "true", "False": "false", "math.inf": "inf", "None": "left out"}
"""Python's words in a rule -> the same where no Python is written."""

_LONGEST_SHOWN = 64
"""Characters of a value in an error."""

T = TypeVar("T", Limits, Timeouts)


class Source(IntEnum):
    """Source of a value; a higher one takes the place of a lower one."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    FLAG = 3


class ConfigurationError(SettingsError):
    """A setting of a file, the environment or the flags cannot be.

    Attributes:
        where: name of the setting in its source, the file's in front.
    """

    def __init__(self, where: str, value: object, rule: str) -> None:
        super().__init__(where, value, rule)
        self.where = where

    def __str__(self) -> str:
        rule = re.sub(r"\b(True|False|None|math\.inf)\b", lambda found: _WORDS[found[0]], self.rule)
        return f"{self.where}{self._given()}: it must be {rule}"

    def _given(self) -> str:
        if self.value is None:
            return ""
        if isinstance(self.value, str):  # what was typed is shown as it was
            return f" {self.value}" if self.where.startswith("--") else f" {excerpt(self.value)}"
        text = escape_controls(toml(self.value))
        return f" {text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + '…'}"


@dataclass(frozen=True, slots=True)
class Value:
    """Value of one setting.

    Attributes:
        setting: the setting.
        value: what it is.
        source: where it comes from.
        file: path of the file, for one that comes from it.
    """

    setting: Setting
    value: Any
    source: Source = Source.DEFAULT
    file: str = ""

    @property
    def where(self) -> str:
        """Name of the setting in its source, for errors."""
        names = {Source.FLAG: f"--{self.setting.option}", Source.ENVIRONMENT: self.setting.variable}
        return names.get(self.source) or (f"{self.file}: {self.setting.key}" if self.file else self.setting.key)

    @property
    def given(self) -> bool:
        """True if it is no default."""
        return self.source is not Source.DEFAULT

    def error(self, rule: str) -> ConfigurationError:
        """Return the error of a value that cannot be."""
        return ConfigurationError(self.where, self.value, rule)


class Configuration:
    """Values of all settings.

    Args:
        values: those given, by their keys.
        file: path of the file they come from, empty for none.
    """

    def __init__(self, values: Mapping[str, Value], file: str = "") -> None:
        self._values = {each.key: values.get(each.key, Value(each, each.default)) for each in SETTINGS}
        self.file = file

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values.values())

    def of_field(self, field: str) -> Value | None:
        """Return the value of the setting that a field of ServerConfig, Limits or Timeouts is; None where it is none's."""
        return next((each for each in self if each.setting.field == field or each.setting.key == field), None)

    def changes(self, config: ServerConfig) -> dict[str, Any]:
        """Return what is given of a server's settings, for its ``configure``.

        Args:
            config: the server's own settings, of which the limits and timeouts stay that are not given.

        Raises:
            ConfigurationError: a limit or a timeout cannot be, or a certificate is missing.
        """
        self._check_certificate(config)
        own = {each.name for each in fields(ServerConfig)}
        changes = {
            each.setting.field: tuple(each.value) if each.setting.several else each.value
            for each in self
            if each.given and each.setting.field in own
        }
        sections = {"limits": self.limits(config.limits), "timeouts": self._section("timeouts.", config.timeouts)}
        return changes | {field: value for field, value in sections.items() if value != getattr(config, field)}

    def limits(self, limits: Limits) -> Limits:
        """Return limits with those that are given; raises ConfigurationError."""
        return self._section("limits.", limits)

    def check(self, config: ServerConfig) -> None:
        """Check all that can be checked without serving.

        Args:
            config: the settings that the application gave its server.

        Raises:
            ConfigurationError: a value cannot be.
        """
        try:
            replace(config, **self.changes(config))
        except SettingsError as error:
            self.refuse(error)

    def refuse(self, error: SettingsError) -> NoReturn:
        """Raise an error of a setting under the name that its source has for it.

        Raises:
            ConfigurationError: always, but for an error that is one.
        """
        known = None if isinstance(error, ConfigurationError) else self.of_field(error.name)
        if known is None:
            raise error
        raise ConfigurationError(known.where, error.value, error.rule) from None

    def _check_certificate(self, config: ServerConfig) -> None:
        """Raise ConfigurationError for what is of no use without a certificate; flags are named by who reads them."""
        if self["tls.cert"].value is not None or config.tls_cert is not None:
            return
        for value in (self["tls.key"], self["tls.client_ca"]):
            if value.source in (Source.FILE, Source.ENVIRONMENT):
                certificate = replace(value, setting=BY_KEY["tls.cert"], file="").where
                raise value.error(f"left out, or {certificate} given, too")

    def _section(self, prefix: str, section: T) -> T:
        given = {each.setting.field: each.value for each in self if each.given and each.setting.key.startswith(prefix)}
        try:
            return replace(section, **given)
        except SettingsError as error:
            low = self.of_field(_NEXT.get(error.name, ""))
            if error.name in given or low is None or not low.given:
                self.refuse(error)
            rule = f"a whole number up to {error.value}, or {prefix}{error.name} given, too: it must not be less"
            raise low.error(rule) from None


def load(flags: Mapping[str, object], environment: Mapping[str, str], file: str | None = None) -> Configuration:
    """Return the configuration that flags, environment and file give.

    Args:
        flags: values by the settings' keys, texts as they were typed; None for one that is not given.
        environment: the environment's variables.
        file: path of the file; what :data:`CONFIG_VARIABLE` names by default, or none.

    Raises:
        ConfigurationError: the file cannot be read, a name is none, or a value cannot be.
    """
    path = file or environment.get(CONFIG_VARIABLE, "")
    values = dict(_from_file(path)) if path else {}
    values |= _from_environment(environment)
    for key, given in flags.items():
        if given is not None and given != []:
            values[key] = _checked(Value(BY_KEY[key], _read(BY_KEY[key], given), Source.FLAG))
    return Configuration(values, path)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    known = {each.variable: each for each in SETTINGS}
    for name in sorted(environment):
        if name.startswith("VELTIX_") and name not in (*known, CONFIG_VARIABLE, *SECRET_VARIABLES):
            close = get_close_matches(name, list(known), 1, _CLOSE)
            if close:
                raise ConfigurationError(name, environment[name], f"left out, there is no such setting (did you mean {close[0]}?)")
    given = [(each, environment[name]) for name, each in known.items() if name in environment]
    return {
        each.key: _checked(Value(each, _read(each, text.split() if each.several else text), Source.ENVIRONMENT))
        for each, text in given
    }


def _from_file(path: str) -> Iterator[tuple[str, Value]]:
    for key, given in _leaves(_parsed(path), ""):
        setting = BY_KEY.get(key)
        if setting is None:
            raise _unknown(path, key, given)
        flat = dict(_flattened(given, "")) if isinstance(given, dict) else given
        yield key, _checked(Value(setting, flat, Source.FILE, path))


def _parsed(path: str) -> dict[str, Any]:
    rule = "a file of TOML"
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise ConfigurationError(path, None, f"{rule}, of at most {_LONGEST} bytes")
        parsed: dict[str, Any] = tomllib.loads(content.decode())
    except OSError as error:
        said = strerror(error.errno) if error.errno else str(error)
        raise ConfigurationError(path, None, f"{rule} that can be read ({said})") from None
    except RecursionError:
        raise ConfigurationError(path, None, f"{rule} (it is nested too deeply)") from None
    except ValueError as error:
        raise ConfigurationError(path, None, f"{rule} ({' '.join(str(error).split())})") from None
    return parsed


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a file with their values; a table that is itself a setting's value is one."""
    for name, given in table.items():
        key = prefix + name
        if isinstance(given, dict) and not prefix and name in _TABLES:
            yield from _leaves(given, f"{key}.")
        else:
            yield key, given


def _flattened(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of a table under their dotted names: what TOML takes for tables in ``twisted.web = "warn"``."""
    for name, given in table.items():
        if isinstance(given, dict):
            yield from _flattened(given, f"{prefix}{name}.")
        else:
            yield prefix + name, given


def _unknown(path: str, key: str, given: object) -> ConfigurationError:
    if key in _TABLES:
        return ConfigurationError(f"{path}: {key}", given, f"a table: [{key}], with its settings below")
    last = key.rpartition(".")[2]
    if last in _SECRETS:
        rule = f"left out: no secret belongs into a configuration. Give {_SECRETS[last]}"
        return ConfigurationError(f"{path}: {key}", None, rule)
    ends = {each.key.rpartition(".")[2]: each.key for each in SETTINGS}
    tables = get_close_matches(key, list(_TABLES), 1) if isinstance(given, dict) else []
    close = (
        [f"[{each}]" for each in tables]
        or get_close_matches(key, list(BY_KEY), 1)
        or [ends[each] for each in get_close_matches(last, list(ends), 1)]
    )
    hint = f" (did you mean {close[0]}?)" if close else ", see 'veltix config example'"
    return ConfigurationError(f"{path}: {key}", given, f"left out: there is no such setting{hint}")


def _read(setting: Setting, given: object) -> object:
    """Return the value that a text stands for; one that is none as it is, for the setting's check to refuse."""
    if not isinstance(given, str):
        return given
    try:
        return setting.read(given)
    except ValueError:
        return given


def _checked(value: Value) -> Value:
    rule = None if value.setting.check is None else value.setting.check(value.value)
    if rule is not None:
        raise value.error(rule)
    return value
