"""Transport: the states of a connection. Its other names say, when they are imported, what to use."""

from veltix_tx.dropin.conduit.data.connection import ConnectionState
from veltix_tx.dropin.conduit.left_out import refuse as __getattr__  # noqa: F401

__all__ = ["ConnectionState"]
