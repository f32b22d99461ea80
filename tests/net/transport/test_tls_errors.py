"""Texts of TLS errors, each with its remedy."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from veltix_tx.errors import TlsFailed
from veltix_tx.net.transport.tls_errors import beginning_of_tls, tls_failure
from veltix_tx.wire.interface import Role


@pytest.mark.parametrize(
    ("said", "role", "meaning"),
    [
        ("certificate verify failed", Role.CLIENT, "the server's certificate could not be verified"),
        ("wrong version number", Role.SERVER, "the client does not speak TLS here"),
        ("http request", Role.SERVER, "the client does not speak TLS here"),
        ("tlsv13 alert certificate required", Role.CLIENT, "give one with tls_cert"),
        ("sslv3 alert handshake failure", Role.CLIENT, "give one with tls_cert"),
        (
            "ssl/tls alert unknown ca",
            Role.SERVER,
            "not trust its issuer): see the client's tls_ca, and tls_cert on this side",
        ),
        (
            "tlsv1 alert unknown ca",
            Role.CLIENT,
            "not trust its issuer): see the server's tls_client_ca, and tls_cert on this side",
        ),
        ("SSL/TLS ALERT CERTIFICATE EXPIRED", Role.SERVER, "(it has expired)"),
        ("no shared cipher", Role.SERVER, "no cipher in common"),
        ("tlsv1 alert protocol version", Role.CLIENT, "no TLS version in common"),
        ("flux capacitor", Role.CLIENT, "TLS with the server failed: flux capacitor"),
    ],
)
def test_openssls_words_are_told_with_their_remedy(said: str, role: Role, meaning: str) -> None:
    """What OpenSSL says in its own words is told as what it means to this side."""
    failed = tls_failure(Failure(SSL.Error([("SSL routines", "", said)])), role)
    assert isinstance(failed, TlsFailed)
    assert meaning in str(failed)


@pytest.mark.parametrize("queue", [(), ([],), ("text",)])
def test_openssl_may_say_nothing(queue: tuple[Any, ...]) -> None:
    """An OpenSSL error without words is a TlsFailed as well."""
    assert "OpenSSL does not say why" in str(tls_failure(Failure(SSL.Error(*queue)), Role.CLIENT))


def test_other_errors_are_none_of_tls() -> None:
    """Errors of the network say nothing about TLS, and first bytes that are not its are none of it."""
    assert tls_failure(Failure(ConnectionLost()), Role.CLIENT) is None
    assert beginning_of_tls(b"\x16\x03", Role.CLIENT) is None
    assert beginning_of_tls(b"\x15\x03", Role.SERVER) is None
    assert beginning_of_tls(b"\x16", Role.SERVER) is None
    assert "give the server a tls_cert" in str(beginning_of_tls(b"\x16\x03", Role.SERVER))
    assert "connect with tls=True" in str(beginning_of_tls(b"\x15\x03", Role.CLIENT))
