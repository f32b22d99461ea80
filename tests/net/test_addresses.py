"""Network addresses as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from veltix_tx.net.addresses import host_of, is_local, shown, source_of


@pytest.mark.parametrize(
    ("address", "text", "local"),
    [
        (IPv4Address("TCP", "127.0.0.1", 8080), "127.0.0.1:8080", True),
        (IPv4Address("TCP", "0.0.0.0", 8080), "0.0.0.0:8080", False),
        (IPv6Address("TCP", "::1", 8080), "[::1]:8080", True),
        (IPv6Address("TCP", "::", 8080), "[::]:8080", False),
        (IPv6Address("TCP", "fe80::1%eth0", 8080), "[fe80::1%eth0]:8080", False),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 8080), "127.0.0.1:8080", True),
        (IPv6Address("TCP", "::FFFF:192.0.2.7", 8080), "192.0.2.7:8080", False),
        (IPv6Address("TCP", "::ffff:0:1:2", 8080), "[::ffff:0:1:2]:8080", False),
        (UNIXAddress(b"/run/veltix.sock"), "unix:/run/veltix.sock", True),
        (UNIXAddress(b"/run/\xff"), r"unix:/run/\xff", True),
        (UNIXAddress(None), "unix:", True),
    ],
)
def test_an_address_is_shown_as_people_write_it(address: Any, text: str, local: bool) -> None:
    """Each kind of address has its usual notation, and is known as reachable from outside or not."""
    assert (shown(address), is_local(address)) == (text, local)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (IPv4Address("TCP", "192.0.2.7", 1), "192.0.2.7"),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 1), "192.0.2.7"),
        (IPv6Address("TCP", "::ffff:c000:207", 1), "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::1"),
        (UNIXAddress(b"/run/veltix.sock"), ""),
        (None, ""),
    ],
)
def test_the_host_of_an_ipv4_peer_is_ipv4(address: Any, host: str) -> None:
    """An IPv4 address in IPv6's clothes, as a port for both sees it, is the IPv4 address; for limits it is the same source."""
    assert host_of(address) == host
    assert source_of(address) == ("2001:db8::" if host == "2001:db8::1" else host)


def test_any_other_address_is_shown_as_it_is() -> None:
    """An address of another kind is shown by its own text."""
    address = HostnameAddress(b"example", 80)
    assert shown(address) == str(address)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (IPv4Address("TCP", "192.0.2.7", 1), "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (IPv6Address("TCP", "2001:db8:1:2:ffff::1", 1), "2001:db8:1:2::"),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::"),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 1), "192.0.2.7"),
        (UNIXAddress(b"/x"), ""),
        (HostnameAddress(b"example.org", 1), ""),
        (None, ""),
    ],
)
def test_a_source_is_an_address_or_a_network_of_64_bits(address: Any, source: str) -> None:
    """An IPv4 address is a source, an IPv6 network of 64 bits is one, mapped IPv4 is IPv4, local kinds are none."""
    assert source_of(address) == source
