"""Twisted transports: sockets, TLS, flow control, endpoints."""
