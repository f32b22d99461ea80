"""The tree of the package: every room and module with its one idea, from their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from .markdown import sentence

PACKAGE = Path(__file__).resolve().parents[2] / "veltix_tx"

_ORDER = (
    "wire",
    "wire/veltix",
    "wire/netconduit",
    "wire/plain",
    "net",
    "net/shared",
    "net/transport",
    "net/session",
    "net/connection",
    "backplane",
    "backplane/redis",
    "app",
    "",
    "hosted",
    "ops",
    "logs",
)
"""Rooms from the lowest floor up; others follow by name."""

_WHOLE = ("benchmark",)
"""Rooms whose modules are not listed."""


def _idea(module: Path) -> str:
    return sentence(ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "")


def tree() -> str:
    """Every room with its modules."""
    rooms = sorted({path.parent.relative_to(PACKAGE).as_posix().removeprefix(".") for path in PACKAGE.rglob("__init__.py")})
    rooms.sort(key=lambda room: _ORDER.index(room) if room in _ORDER else len(_ORDER))
    blocks = []
    for room in rooms:
        if room.startswith(_WHOLE) and room not in _WHOLE:
            continue
        lines = [f"**`{f'veltix_tx/{room}'.rstrip('/')}/`** {_idea(PACKAGE / room / '__init__.py')}", ""]
        modules = [] if room in _WHOLE else sorted((PACKAGE / room).glob("*.py"))
        lines += [f"- `{module.name}`: {_idea(module)}" for module in modules if not module.name.startswith("_")]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks)


BLOCKS: dict[str, Callable[[], str]] = {"tree": tree}
