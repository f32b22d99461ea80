"""Network addresses as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from veltix_tx.net.addresses import is_local, shown


@pytest.mark.parametrize(
    ("address", "text", "local"),
    [
        (IPv4Address("TCP", "127.0.0.1", 8080), "127.0.0.1:8080", True),
        (IPv4Address("TCP", "0.0.0.0", 8080), "0.0.0.0:8080", False),
        (IPv6Address("TCP", "::1", 8080), "[::1]:8080", True),
        (IPv6Address("TCP", "::", 8080), "[::]:8080", False),
        (UNIXAddress(b"/run/veltix.sock"), "unix:/run/veltix.sock", True),
        (UNIXAddress(b"/run/\xff"), r"unix:/run/\xff", True),
        (UNIXAddress(None), "unix:", True),
    ],
)
def test_an_address_is_shown_as_people_write_it(address: Any, text: str, local: bool) -> None:
    """Each kind of address has its usual notation, and is known as reachable from outside or not."""
    assert (shown(address), is_local(address)) == (text, local)


def test_any_other_address_is_shown_as_it_is() -> None:
    """An address of another kind is shown by its own text."""
    address = HostnameAddress(b"example", 80)
    assert shown(address) == str(address)
