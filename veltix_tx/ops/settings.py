"""Table of the settings of ``twistd veltix``: each with its name, meaning and default, as file, environment and flags give them."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from veltix_tx.limits import Limits, Timeouts
from veltix_tx.settings import ServerConfig

__all__ = ["BY_KEY", "LEFT_OUT", "LEVELS", "SETTINGS", "Setting", "variable_of"]

LEVELS = ("debug", "info", "warn", "error", "critical")
"""Levels of log events, from all of them to the fewest."""

LEFT_OUT = {
    "performance_mode": "it has no effect",
    "socket_core": "it has no effect",
    "limits": "its fields are settings of their own",
    "timeouts": "its fields are settings of their own",
}
"""Fields of ServerConfig that are no settings here, and why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        key: name in the file, its table in front: ``limits.half_open``.
        meaning: sentence for people.
        default: value where nothing is given; None for none.
        read: makes a value of the text of a flag or variable; raises ValueError for one that is none.
        field: field of ServerConfig, Limits or Timeouts that it sets, which checks it; empty for none.
        check: for one without a field: returns what it must be where a value cannot be, else None.
        live: True if a reload changes it.
        several: True if it is a list.
        example: text of a value, where there is no default, for the example file.
    """

    key: str
    meaning: str
    default: object
    read: Callable[[str], object]
    field: str = ""
    check: Callable[[object], str | None] | None = None
    live: bool = False
    several: bool = False
    example: str = ""

    @property
    def option(self) -> str:
        """Its name as a flag, without the dashes in front; not every setting has one."""
        return self.key.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        """Variable of the environment that gives it."""
        return variable_of(self.key)


def variable_of(key: str) -> str:
    """Return the variable of the environment for a setting or flag."""
    return "VELTIX_" + re.sub("[.-]", "_", key).upper()


_KEYS = {
    "tls_cert": "tls.cert",
    "tls_key": "tls.key",
    "tls_client_ca": "tls.client_ca",
    "log_connections": "log.connections",
}
"""Fields whose keys have other names."""

_WORDS = {"None for": "leave it out for", "None": "left out", "math.inf": "inf", **_KEYS}
"""Python's words in a meaning -> the same in a file."""

_PYTHON = re.compile(rf"\b(?:{'|'.join(map(re.escape, _WORDS))})\b")


def _meanings(*classes: type) -> dict[str, str]:
    """Return the meanings of classes' fields, from their docstrings, in a file's words; none under python -OO."""
    found: dict[str, str] = {}
    for each in classes:
        section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = _PYTHON.sub(lambda word: _WORDS[word[0]], re.sub(r"\s+", " ", text).replace("``", ""))
    return found


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value else "a text that is not empty"


def _texts(value: object) -> str | None:
    good = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
    return None if good else "a list of texts that are not empty"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "True or False"


def _delay(value: object) -> str | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LONGEST_DELAY
    return None if good else f"a number of seconds from 0 to {_LONGEST_DELAY}"


_LONGEST_DELAY = 3600


def _workers(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_WORKERS
    return None if good else f"a whole number from 1 to {_MOST_WORKERS}"


_MOST_WORKERS = 256


def _format(value: object) -> str | None:
    return None if value in ("text", "json") else "text or json"


def _level(value: object) -> str | None:
    return None if value in LEVELS else f"one of {', '.join(LEVELS)}"


def _levels(value: object) -> str | None:
    good = isinstance(value, Mapping) and all(name and level in LEVELS for name, level in value.items())
    return None if good else f"namespaces with one of {', '.join(LEVELS)} each"


def _read_levels(text: str) -> dict[str, str]:
    pairs = [each.partition("=") for each in text.split()]
    return {name: level for name, _, level in pairs}


def _yes_or_no(text: str) -> bool:
    if text.lower() not in _ANSWERS:
        raise ValueError(text)
    return _ANSWERS[text.lower()]


_ANSWERS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _seconds(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


_READ: dict[str, Callable[[str], object]] = {"int": int, "int | None": int, "float": _seconds, "bool": _yes_or_no}
"""Annotation of a field -> how its text is read; texts as they are, else."""


def _of_fields(
    kind: type, prefix: str, names: Mapping[str, str], *, live: bool = False, meanings: Mapping[str, str]
) -> list[Setting]:
    """Return the settings of a frozen dataclass.

    Args:
        kind: the class.
        prefix: table of the file, with a dot behind it; empty for none.
        names: keys of fields that have another name there.
        live: True if a reload changes them.
        meanings: of its fields.
    """
    made = kind()
    return [
        Setting(
            names.get(each.name, prefix + each.name),
            meanings.get(each.name, ""),
            getattr(made, each.name),
            _READ.get(str(each.type), str),
            each.name,
            live=live,
            example=_EXAMPLES.get(each.name, ""),
        )
        for each in fields(kind)
        if each.name not in LEFT_OUT and each.name not in ("host", "endpoints")
    ]


_EXAMPLES = {"tls_cert": "cert.pem", "tls_key": "key.pem", "tls_client_ca": "clients.pem", "per_source": "100", "messages": "1000"}

_SERVER = _meanings(*reversed(ServerConfig.__mro__))

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "app",
        "what to serve: echo, relay, or module:object, the object being a Server, an IVeltixApplication or a function that "
        "returns one.",
        "echo",
        str,
        check=_text,
    ),
    Setting(
        "plugin",
        "plugins to enable, by their names; NAME=on_connect,on_recv lets one see only these of the events it asks for.",
        None,
        str,
        check=_texts,
        several=True,
        example="audit=on_connect",
    ),
    Setting(
        "listen",
        "endpoints to listen on in place of interface and port, such as tcp:8081, unix:/run/veltix.sock or tls:8443:cert=FILE; "
        "WIRE@ in front of one speaks that wire there.",
        None,
        str,
        "endpoints",
        check=_texts,
        several=True,
        example="tcp:8080",
    ),
    Setting(
        "backplane",
        "a URL of what this server shares with others, such as redis://localhost: rooms, their members and messages, broadcasts. "
        "Its password may be in a file, redis://localhost?password_file=FILE.",
        None,
        str,
        check=_text,
        example="redis://localhost",
    ),
    Setting(
        "backplane_key_file",
        "a file with the key, on its first line, that all servers on the backplane share: what one says is taken only if it was "
        "made with that.",
        None,
        str,
        check=_text,
        example="backplane.key",
    ),
    Setting(
        "workers",
        "processes that serve, each with its own event loop: the kernel shares connections out among them.",
        1,
        int,
        check=_workers,
    ),
    Setting(
        "reload", "replace the workers when a Python file in this folder changes: for development.", False, _yes_or_no, check=_flag
    ),
    Setting("interface", _SERVER.get("host", ""), ServerConfig().host, str, "host"),
    *_of_fields(ServerConfig, "", _KEYS, meanings=_SERVER),
    Setting(
        "tokens",
        "a file of name:hash lines, see 'veltix token new': clients must present one of its tokens.",
        None,
        str,
        check=_text,
        live=True,
        example="tokens.txt",
    ),
    Setting(
        "password_file",
        "a file with the password, on its first line, that clients of netconduit listeners must know.",
        None,
        str,
        check=_text,
        example="password.txt",
    ),
    Setting(
        "admin",
        "an endpoint to serve the administration on, by HTTP: the operator's page, /healthz, /readyz, /metrics, /api/v1. It is "
        "on this machine's own address unless it says another interface, which needs admin_tokens, and TLS (tls:9100) or "
        "admin_plaintext.",
        None,
        str,
        check=_text,
        example="tcp:9100:interface=127.0.0.1",
    ),
    Setting(
        "admin_tokens",
        "a file of name:hash lines, see 'veltix token new': the administration is for who presents one of its tokens.",
        None,
        str,
        check=_text,
        live=True,
        example="operators.txt",
    ),
    Setting("admin_plaintext", "let it be asked from elsewhere without TLS, as behind a proxy.", False, _yes_or_no, check=_flag),
    Setting("metrics", "measure traffic for /metrics, where prometheus-client is installed.", True, _yes_or_no, check=_flag),
    Setting(
        "drain_delay",
        "seconds from SIGTERM to the end of listening, in which /readyz is red and everything goes on.",
        0.0,
        _seconds,
        check=_delay,
    ),
    *_of_fields(Limits, "limits.", {}, live=True, meanings=_meanings(Limits)),
    *_of_fields(Timeouts, "timeouts.", {}, meanings=_meanings(Timeouts)),
    Setting("log.format", "form of twistd's log: text, or json, an object on each line.", "text", str, check=_format),
    Setting("log.level", f"the lowest level of the log: {', '.join(LEVELS)}.", "debug", str, check=_level, live=True),
    Setting(
        "log.levels",
        "levels of single namespaces and what is below them, such as twisted or veltix_tx.net.",
        None,
        _read_levels,
        check=_levels,
        live=True,
        example="twisted=warn",
    ),
)
"""Every setting, in the order of the example file: those without a table first."""

BY_KEY = {each.key: each for each in SETTINGS}
