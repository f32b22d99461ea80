"""File transfer: not here. Its names say, when they are imported, what to use."""

from veltix_tx.dropin.conduit.left_out import refuse as __getattr__  # noqa: F401
