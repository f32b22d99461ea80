"""A program of netconduit's README as it stands, but for the import and the port: ``run_conduit.py BLOCK PORT PACKAGE``."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main() -> None:
    """Run the block as the main program."""
    block, port, package = sys.argv[1:]
    source = Path(block).read_text(encoding="utf-8")
    source = re.sub(r"^from conduit(?=[ .])", f"from {package}", source, flags=re.MULTILINE).replace("8080", port)
    exec(compile(source, block, "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
