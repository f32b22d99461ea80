"""The client."""

from veltix_tx.dropin.veltix.client.client import Client
from veltix_tx.dropin.veltix.client.disconnect import DisconnectReason, DisconnectState
from veltix_tx.dropin.veltix.settings import ClientConfig

__all__ = ["Client", "ClientConfig", "DisconnectReason", "DisconnectState"]
