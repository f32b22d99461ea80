"""Network addresses as people write them."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from veltix_tx.net.plain import escaped

__all__ = ["is_local", "is_loopback", "shown"]


def shown(address: IAddress) -> str:
    """Return an address for logs: ``127.0.0.1:8080``, ``[::1]:8080``, ``unix:/run/veltix.sock``."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        name = address.name
        return f"unix:{escaped(name.decode(errors='backslashreplace') if isinstance(name, bytes) else name or '')}"
    return str(address)


def is_loopback(host: str) -> bool:
    """Whether an IP address, or an IPv6 network of 64 bits, is this machine's own."""
    return host.startswith("127.") or host in ("::1", "::")


def is_local(address: IAddress) -> bool:
    """Whether only this machine can reach a listener on this address."""
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return True
    return is_loopback(address.host) and address.host != "::"  # which is every address of the machine there
