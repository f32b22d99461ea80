"""Levels and configs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel as TwistedLevel

from veltix_tx.errors import SettingsError
from veltix_tx.logs import LoggerConfig, LogLevel

NOT_WHOLE = (True, 1.5, "5", None)
WRONG: dict[str, tuple[Any, ...]] = {
    "level": (0, 15, "INFO", None, TwistedLevel.info),
    **dict.fromkeys(("enabled", "use_colors", "show_timestamp", "show_caller", "show_level", "async_write"), (1, 0, None, "yes")),
    "file_path": ("", 5, b"x.log", "a\0b"),
    "file_rotation_size": (-1, *NOT_WHOLE),
    "file_backup_count": (0, *NOT_WHOLE),
    "stream": ("stdout", 1, ()),
    "buffer_size": (0, *NOT_WHOLE),
}


def test_levels_are_upstreams() -> None:
    """Names and numbers are the documented ones, and a level shows as its name wherever it is shown."""
    numbers = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
    assert {level.name: level.value for level in LogLevel} == numbers
    assert [f"{level!s} {level}" for level in LogLevel] == [f"{name} {name}" for name in numbers]


def test_the_defaults_are_upstreams(capsys: pytest.CaptureFixture[str]) -> None:
    """A config without arguments is the documented one, its stream the standard output of the moment."""
    config = LoggerConfig()
    values = {each.name: getattr(config, each.name) for each in fields(config) if each.name != "stream"}
    assert values == {
        "level": LogLevel.INFO,
        "enabled": True,
        "use_colors": True,
        "show_timestamp": True,
        "show_caller": True,
        "show_level": True,
        "file_path": None,
        "file_rotation_size": 10 * 1024 * 1024,
        "file_backup_count": 5,
        "async_write": False,
        "buffer_size": 100,
    }
    assert config.stream is not None
    config.stream.write("here")
    assert capsys.readouterr().out == "here"


def test_every_setting_has_wrong_values_listed_here() -> None:
    """No setting goes unchecked."""
    assert {each.name for each in fields(LoggerConfig)} == set(WRONG)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=repr)
def test_a_wrong_value_is_refused_where_it_is_given(name: str, value: Any) -> None:
    """A setting that cannot be is an error that names the setting and the value."""
    with pytest.raises(SettingsError) as caught:
        LoggerConfig(**{name: value})
    assert (caught.value.name, repr(caught.value.value)) == (name, repr(value))


def test_a_config_keeps_what_was_meant() -> None:
    """A path may be a text and a level its number; a config does not change."""
    config = LoggerConfig(level=30, file_path="logs/x.log")  # type: ignore[arg-type]
    assert (config.level, config.file_path) == (LogLevel.WARNING, Path("logs/x.log"))
    assert isinstance(config.level, LogLevel)
    with pytest.raises(FrozenInstanceError):
        config.enabled = False  # type: ignore[misc]
