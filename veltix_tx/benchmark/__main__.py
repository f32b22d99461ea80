"""``python -m veltix_tx.benchmark``."""

from __future__ import annotations

import sys

from veltix_tx.benchmark.options import main

if __name__ == "__main__":
    sys.exit(main())
