"""The client."""

from veltix_tx.dropin.client.client import Client
from veltix_tx.dropin.client.disconnect import DisconnectReason, DisconnectState
from veltix_tx.dropin.settings import ClientConfig

__all__ = ["Client", "ClientConfig", "DisconnectReason", "DisconnectState"]
