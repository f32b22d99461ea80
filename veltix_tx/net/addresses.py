"""Network addresses as people write them, and the source that a connection counts for."""

from __future__ import annotations

from ipaddress import IPv6Address as Number6

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from veltix_tx.sanitize import escape_controls

__all__ = [
    "SOURCE_BITS",
    "host_of",
    "is_local",
    "is_loopback",
    "is_this_machine",
    "is_udp_address",
    "join_address",
    "port_of",
    "shown",
    "source_of",
]


def host_of(address: object) -> str:
    """Return the host of an address, ``""`` for a kind that has none.

    A port that takes IPv6 and IPv4 knows an IPv4 peer as ``::ffff:127.0.0.1``: that is ``127.0.0.1``.
    """
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return ""
    host = str(address.host)
    if not host.lower().startswith("::ffff:"):
        return host
    mapped = Number6(host.partition("%")[0]).ipv4_mapped
    return host if mapped is None else str(mapped)


def port_of(address: object) -> int:
    """Return the port of an address, 0 for a kind that has none."""
    return int(address.port) if isinstance(address, (IPv4Address, IPv6Address)) else 0


def is_udp_address(address: object) -> bool:
    """Return True for an address of UDP."""
    return isinstance(address, (IPv4Address, IPv6Address)) and address.type == "UDP"


def shown(address: IAddress) -> str:
    """Return an address for logs: ``127.0.0.1:8080``, ``[::1]:8080``, ``unix:/run/veltix.sock``."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return join_address(host_of(address), address.port)
    if isinstance(address, UNIXAddress):
        name = address.name
        return f"unix:{escape_controls(name.decode(errors='backslashreplace') if isinstance(name, bytes) else name or '')}"
    return str(address)


def join_address(host: str, port: int) -> str:
    """Return a host and a port as one text, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return True if an IP address, or an IPv6 network of 64 bits, is this machine's own."""
    return host.startswith("127.") or host in ("::1", "::")


def is_local(address: IAddress) -> bool:
    """Return True if only this machine can reach a listener on this address."""
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return True
    host = host_of(address)
    return is_loopback(host) and host != "::"  # which is every address of the machine there


def is_this_machine(address: IAddress) -> bool:
    """Return True if a peer with this address is on this machine, where nobody else sees what goes to it; not for unknown kinds."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return is_local(address)
    return isinstance(address, UNIXAddress)


def source_of(address: object) -> str:
    """Return where a connection comes from: an IPv4 address, an IPv6 network, or ``""`` for this machine's own kinds."""
    host = host_of(address)
    if isinstance(address, IPv6Address) and ":" in host:
        number = int(Number6(host.partition("%")[0]))
        return str(Number6(number >> SOURCE_BITS << SOURCE_BITS))
    if isinstance(address, (IPv4Address, IPv6Address)):
        return host
    return ""


SOURCE_BITS = 64
"""Bits of an IPv6 address that are one source: who has one address there has them all."""
