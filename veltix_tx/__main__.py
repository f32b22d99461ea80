"""``python -m veltix_tx``: the ``veltix`` command."""

from veltix_tx.cli import main

if __name__ == "__main__":
    main()
