"""Type checkers find users' mistakes, and find none in what the documentation shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from veltix_tx import ClientConfig, ServerConfig
from veltix_tx.settings import ClientChanges, ClientSettings, ServerChanges, ServerSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = [HERE / "mistakes.py", HERE / "uses.py"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: Any) -> dict[str, set[tuple[int, str]]]:
    """What mypy --strict says of the two files, as it runs for users: without plugins and settings."""
    cache = tmp_path_factory.mktemp("mypy")
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--follow-imports=silent", "--ignore-missing-imports"]
    options += ["--no-error-summary", "--show-error-codes", "--no-color-output", "--hide-error-context", *map(str, FILES)]
    run = "import sys; from mypy import api; out, err, status = api.run(sys.argv[1:]); print(out, err); sys.exit(status == 2)"
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", run, *options],
        cwd=cache,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    errors: dict[str, set[tuple[int, str]]] = {file.name: set() for file in FILES}
    for file, line, code in re.findall(r"^.*?(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE):
        errors[file].add((int(line), code))
    return errors


def test_every_mistake_is_found_and_nothing_else(found: dict[str, set[tuple[int, str]]]) -> None:
    """Each marked line of mistakes.py has its error, and no other line has one."""
    marked = {
        (number, code)
        for number, line in enumerate(FILES[0].read_text(encoding="utf-8").splitlines(), 1)
        for codes in re.findall(r"# E: ([\w -]+)$", line)
        for code in codes.split()
    }
    assert len(marked) > 40
    assert found["mistakes.py"] == marked


def test_documented_uses_are_no_mistakes(found: dict[str, set[tuple[int, str]]]) -> None:
    """Nothing in uses.py is an error, under --strict and without the plugin for zope's interfaces."""
    assert found["uses.py"] == set()


def _fields(config: type, leave_out: frozenset[str]) -> Iterator[tuple[str, object]]:
    hints = get_type_hints(config)
    for each in fields(config):
        if each.name not in leave_out:
            yield each.name, hints[each.name]


@pytest.mark.parametrize(
    ("typed", "config", "left_out", "more"),
    [
        (ServerSettings, ServerConfig, {"port"}, {"max_connection": int | None}),
        (ServerChanges, ServerConfig, set(), {"max_connection": int | None}),
        (ClientSettings, ClientConfig, {"port", "endpoint"}, {}),
        (ClientChanges, ClientConfig, set(), {}),
    ],
)
def test_what_may_be_given_by_name_is_what_the_config_has(typed: Any, config: Any, left_out: set[str], more: Any) -> None:
    """The names and types of settings for type checkers are those of the config's fields, and all are optional."""
    assert get_type_hints(typed) == dict(_fields(config, frozenset(left_out))) | more
    assert typed.__required_keys__ == frozenset()
