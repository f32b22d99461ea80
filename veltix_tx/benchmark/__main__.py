"""``python -m veltix_tx.benchmark``."""

from __future__ import annotations

import sys

from veltix_tx.benchmark.options import main
from veltix_tx.stdio import command_output

if __name__ == "__main__":
    with command_output("python -m veltix_tx.benchmark"):
        sys.exit(main())
