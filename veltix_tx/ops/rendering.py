"""Settings as text: an example file of all of them, and a configuration's values with their sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from textwrap import wrap

from veltix_tx.ops.configuration import Configuration, Source, Value
from veltix_tx.ops.settings import SETTINGS, Setting
from veltix_tx.ops.toml import toml
from veltix_tx.passwords import hide_password

__all__ = ["example", "rows"]

_WIDTH = 100

_HEAD = """\
# Settings of twistd veltix, for --config FILE or VELTIX_CONFIG. Each shows its default, or an example where there is none; take the
# first # away to set it. A variable of the environment gives each, too, and a flag some: limits.half_open is
# VELTIX_LIMITS_HALF_OPEN. A flag holds before the environment, that before this file. Sizes are bytes, times are seconds, and inf
# is no end. What is marked "reload" is read again on SIGHUP; the others need a restart.
"""


def example() -> str:
    """Return a file with every setting, commented out."""
    blocks = [_HEAD]
    for table, settings in groupby(sorted(SETTINGS, key=_table_order), key=_table):
        blocks.append("\n".join(([f"[{table}]\n"] if table else []) + [_shown(each) for each in settings]))
    return "\n".join(blocks)


def rows(configuration: Configuration, environment: Mapping[str, str], secrets: Iterable[str] = ()) -> list[dict[str, object]]:
    """Return each setting with its value and where that comes from.

    Args:
        configuration: the values.
        environment: the environment's variables.
        secrets: variables that hold a secret: that they are set is shown, and nothing of what they are.
    """
    shown: list[dict[str, object]] = [
        {"setting": each.setting.key, "value": _without_password(each.value), "from": _source(each)} for each in configuration
    ]
    return shown + [{"setting": name, "value": "(a secret)", "from": "environment"} for name in secrets if environment.get(name)]


def _without_password(value: object) -> object:
    return hide_password(value) if isinstance(value, str) and "://" in value else value


def _source(value: Value) -> str:
    if value.source is Source.DEFAULT:
        return "default"
    return value.file or (value.setting.variable if value.source is Source.ENVIRONMENT else f"--{value.setting.option}")


def _table(setting: Setting) -> str:
    return setting.key.rpartition(".")[0]


def _table_order(setting: Setting) -> int:
    return list(dict.fromkeys(["", *map(_table, SETTINGS)])).index(_table(setting))


def _shown(setting: Setting) -> str:
    said = setting.meaning + (" (reload)" if setting.live else "")
    value: object = setting.default
    if value is None:
        value = setting.read(setting.example)
        value = [value] if setting.several else value
    return "\n".join([*(f"# {line}" for line in wrap(said, _WIDTH)), f"#{setting.key.rpartition('.')[2]} = {toml(value)}", ""])
