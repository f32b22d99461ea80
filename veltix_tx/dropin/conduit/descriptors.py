"""The descriptors, by their path in netconduit."""

from veltix_tx.dropin.conduit.data.descriptors import ClientDescriptor, ServerDescriptor

__all__ = ["ClientDescriptor", "ServerDescriptor"]
