"""Bytes of one connection: protocol, factories, reconnection, policing."""
