"""Rewrites the generated blocks of the documentation from the package's own tables.

Run it after a change of a table, a setting or a docstring::

    python docs/generate.py            # rewrite what differs
    python docs/generate.py --check    # only say what differs; exit status 1 if anything does

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; its name is a key of BLOCKS.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tables import admin, limits, metrics, names, netconduit, plain, protocol, tree

ROOT = Path(__file__).resolve().parent.parent

BLOCKS = {
    **protocol.BLOCKS,
    **limits.BLOCKS,
    **names.BLOCKS,
    **netconduit.BLOCKS,
    **plain.BLOCKS,
    **tree.BLOCKS,
    **metrics.BLOCKS,
    **admin.BLOCKS,
}

_BLOCK = re.compile(r"(<!-- generated: ([a-z ]+) -->\n)(?:(?!<!--).*\n)*(<!-- end -->)")


def pages() -> list[Path]:
    """Return every page of the documentation, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rewritten(text: str) -> str:
    """Return a page's text with its blocks as they must be."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with ``--check`` say which differ."""
    differing = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = rewritten(text)
        if wanted != text:
            differing += 1
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")
            if "--check" not in arguments:
                page.write_text(wanted, encoding="utf-8")
    return min(differing, 1) if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
