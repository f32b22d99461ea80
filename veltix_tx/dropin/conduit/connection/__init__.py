"""Connections of a server."""

from veltix_tx.dropin.conduit.connection.connection import Connection
from veltix_tx.dropin.conduit.connection.pool import ConnectionPool

__all__ = ["Connection", "ConnectionPool"]
