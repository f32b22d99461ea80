"""The server."""

from veltix_tx.dropin.server.client_info import ClientInfo
from veltix_tx.dropin.server.server import Server
from veltix_tx.dropin.settings import ServerConfig

__all__ = ["ClientInfo", "Server", "ServerConfig"]
