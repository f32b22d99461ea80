"""Output of the command line: results as tables or JSON, errors in one line, exit statuses."""

from __future__ import annotations

from typing import Any

import click
import msgspec

__all__ = ["EPILOG", "STATUSES", "Failed", "Mistake", "epilog", "json_line", "output_option", "readable_text", "shown_result"]

STATUSES = {
    0: "done",
    1: "failed: no connection, no answer in time, a step of doctor, bytes of no wire, output that cannot be written",
    2: "wrong usage: an argument or option that cannot be, or the file it names",
    130: "interrupted by Ctrl-C (SIGINT)",
    141: "nobody reads its output any more (SIGPIPE)",
    143: "ended by SIGTERM",
}
"""Exit status -> what it says."""

EPILOG = "\b\nExit status:\n" + "\n".join(f"  {status:<3}  {meaning}" for status, meaning in STATUSES.items())


def epilog(*examples: str) -> str:
    """Return the end of a command's help: lines to type, and what its exit status says."""
    return "\b\nExamples:\n" + "".join(f"  {example}\n" for example in examples) + f"\n{EPILOG}"


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How results are printed: for people, or one JSON document for programs.",
)


def shown_result(result: object, output: str) -> str:
    """Return a result as JSON, or as lines for people: a table of maps, the entries of a map, the elements of a list."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    if isinstance(result, list) and result and all(isinstance(each, dict) for each in result):
        names = list(dict.fromkeys(str(name) for each in result for name in each))
        return _table([names, *([_cell(each.get(name, "")) for name in names] for each in result)])
    if isinstance(result, dict):
        return _table([[readable_text(str(name)), _cell(value)] for name, value in result.items()])
    if isinstance(result, list):
        return "\n".join(map(_cell, result))
    return _cell(result)


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _cell(value: object) -> str:
    return readable_text(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def json_line(result: object) -> str:
    """Return a result as JSON on one line, for what comes one after another."""
    line: bytes = msgspec.json.encode(result)
    return line.decode()


def readable_text(text: str) -> str:
    """Return text that a terminal can be trusted with: what is not printable is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Failed(click.ClickException):
    """A command has failed: one line on standard error, status 1."""

    def show(self, file: Any = None) -> None:
        """Write the line."""
        click.echo(f"veltix: {self.message}", err=True)


class Mistake(Failed):
    """A configuration has a mistake: one line on standard error, status 2."""

    exit_code = 2
