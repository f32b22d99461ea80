"""The benchmark: this package against its peers, each side in a process of its own.

Run it as ``python -m veltix_tx.benchmark`` or ``veltix bench``; the documentation says how to read what it prints.
"""
