"""Messages. Other names of netconduit's say, when they are imported, what to use."""

from veltix_tx.dropin.conduit.left_out import refuse as __getattr__  # noqa: F401
from veltix_tx.dropin.conduit.messages.message import Message

__all__ = ["Message"]
