"""The server."""

from veltix_tx.dropin.veltix.server.client_info import ClientInfo
from veltix_tx.dropin.veltix.server.server import Server
from veltix_tx.dropin.veltix.settings import ServerConfig

__all__ = ["ClientInfo", "Server", "ServerConfig"]
