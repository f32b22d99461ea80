"""Calls. Other names of netconduit's say, when they are imported, what to use."""

from veltix_tx.dropin.conduit.left_out import refuse as __getattr__  # noqa: F401
from veltix_tx.dropin.conduit.rpc.helpers import data
from veltix_tx.dropin.conduit.rpc.rpc_class import RPC

__all__ = ["RPC", "data"]
