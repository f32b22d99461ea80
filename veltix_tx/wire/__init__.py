"""Bytes to events and back. Standard library only: no Twisted, no sockets, no clocks."""
