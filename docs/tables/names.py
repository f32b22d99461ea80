"""The public names in one line each, as the pages of the API reference list them, and the errors as a tree."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from pkgutil import resolve_name

from zope.interface.interface import InterfaceClass, Method

import veltix_tx
from veltix_tx import errors

from .markdown import as_markdown, first_sentence

API = Path(__file__).resolve().parent.parent / "api"

PUBLIC_MODULES = (
    *("veltix_tx", "veltix_tx.aio", "veltix_tx.errors", "veltix_tx.testing", "veltix_tx.dropin.veltix"),
    "veltix_tx.dropin.flexi_socket",
    "veltix_tx.dropin.conduit",
    *("veltix_tx.wire.interface", "veltix_tx.wire.registry", "veltix_tx.wire.events", "veltix_tx.wire.peer"),
)
"""Modules that are public as far as their ``__all__`` goes. Of the others only the names that the pages list are."""

_TOCTREE = re.compile(r"```\{toctree\}\n(?::\w+:.*\n)*\n(.*?)```", re.DOTALL)
_DIRECTIVE = re.compile(r"^\.\. (?:auto)?(?:class|data|exception|function|interface):: ([\w.]+)\n((?:(?:   .*)?\n)*)", re.MULTILINE)
_MEMBERS = re.compile(r"^   :members: (.*(?:\n {6}.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A public name, as a directive on a page of the API reference gives it.

    Attributes:
        home: the module it is imported from.
        name: its name there.
        members: the members that the page lists, in its order.
        text: what the page itself says of it, empty where the docstring says it.
    """

    home: str
    name: str
    members: tuple[str, ...]
    text: str

    @property
    def thing(self) -> object:
        """The class, function or constant."""
        return getattr(resolve_name(self.home), self.name)


def pages_of_names() -> dict[str, list[Entry]]:
    """Return the entries of each page of the API reference by its title, in the order of its overview."""
    found = {}
    for page in _TOCTREE.findall((API / "index.md").read_text(encoding="utf-8"))[0].split():
        text = (API / f"{page}.md").read_text(encoding="utf-8")
        found[text.partition("\n")[0].removeprefix("# ")] = list(_entries(text))
    return found


def _entries(text: str) -> Iterator[Entry]:
    for full_name, body in _DIRECTIVE.findall(text):
        home, _, name = full_name.rpartition(".")
        listed = _MEMBERS.search(body)
        own = " ".join(line.strip() for line in _MEMBERS.sub("", body).splitlines() if not line.startswith("   :"))
        yield Entry(home, name, tuple(listed[1].replace(",", " ").split()) if listed else (), own.strip())


def reference() -> str:
    """The public names, one line each."""
    return "\n\n".join(
        f"## {title}\n\n" + "\n".join(line for entry in entries for line in _lines(entry))
        for title, entries in pages_of_names().items()
    )


def _lines(entry: Entry) -> Iterator[str]:
    thing = entry.thing
    yield f"- `{entry.home}.{entry.name}`: {as_markdown(entry.text) or first_sentence(thing)}"
    if inspect.isclass(thing) and issubclass(thing, Enum):
        return
    for name in entry.members:
        member = thing[name] if isinstance(thing, InterfaceClass) else inspect.getattr_static(thing, name)
        called = isinstance(member, (Method, classmethod, staticmethod)) or inspect.isfunction(member)
        yield f"  - `{name}{'()' * called}`: {first_sentence(member)}"


def error_tree() -> str:
    """The exceptions, indented by inheritance."""
    lines: list[str] = []

    def add(kind: type, depth: int) -> None:
        also = [base.__name__ for base in kind.__bases__ if not issubclass(base, errors.VeltixError) and base is not Exception]
        facts = ", ".join(f"`{name}`" for name in _attributes_of(kind))
        where = "veltix_tx" if kind.__name__ in veltix_tx.__all__ else "veltix_tx.errors"
        words = first_sentence(kind) + (f" Also a {also[0]}." if also else "") + (f" Facts: {facts}." if facts else "")
        lines.append(f"{'  ' * depth}- `{where}.{kind.__name__}`: {words}")
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                add(child, depth + 1)

    add(errors.VeltixError, 0)
    return "\n".join(lines)


def _attributes_of(kind: type) -> list[str]:
    return re.findall(r"^    (\w+): ", inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2], re.MULTILINE)


BLOCKS: dict[str, Callable[[], str]] = {"reference": reference, "errors": error_tree}
