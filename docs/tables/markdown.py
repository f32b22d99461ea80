"""Tables, docstrings and sentences as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head)]
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def first_sentence(thing: object) -> str:
    """Return the first sentence of an object's docstring as Markdown."""
    return sentence(inspect.getdoc(thing) or "")


def sentence(docstring: str) -> str:
    """Return the first sentence of a docstring as Markdown."""
    paragraph = docstring.split("\n\n", maxsplit=1)[0].replace("\n", " ")
    return as_markdown(re.split(r"(?<=[.])\s", paragraph)[0].rstrip(".") + ".")


def attributes(thing: type) -> dict[str, str]:
    """Return the ``Attributes:`` section of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(thing.__mro__):
        section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = as_markdown(re.sub(r"\s+", " ", text))
    return found


def as_markdown(text: str) -> str:
    """Return docstring text as Markdown: roles and double backquotes become single ones."""
    text = re.sub(r":[a-z]+:`([^`<]*) <[^`]*>`", r"`\1`", text)
    text = re.sub(r":[a-z]+:`[~]?([^`]*)`", lambda found: f"`{re.sub(r'^veltix_tx[.](.*[.])?', '', found[1])}`", text)
    return text.replace("``", "`")
