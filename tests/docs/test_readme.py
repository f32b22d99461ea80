"""The README does what it says."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_readme_runs_from_top_to_bottom(run_page):
    """Every program, test and shell line of the README works, on free ports."""
    page = run_page("README.md")

    assert {"chatserver.py", "client.py", "test_chat.py"} <= page.used


def test_install_has_two_commands():
    """Two lines set a fresh machine up: one ends with a running server, one passes the tests."""
    section = README.partition("## Install\n")[2].partition("\n## ")[0]
    lines = [line for fence in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in fence.splitlines()]

    assert lines == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/twistd -n veltix --port 8080",
        "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
    ]


def test_first_programs_are_short():
    """A server takes 12 lines, a client 10."""
    for name, most in {"chatserver.py": 12, "client.py": 10}.items():
        program = README.partition(f"```python\n# {name}\n")[2].partition("```")[0]
        assert len([line for line in program.splitlines() if line]) <= most, name
