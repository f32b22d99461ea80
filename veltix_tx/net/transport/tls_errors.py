"""Knowledge of a connection's TLS without importing any of it, which may not be installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from veltix_tx.errors import SettingsError, TlsFailed
from veltix_tx.wire.interface import Role

__all__ = ["OURS", "beginning_of_tls", "not_installed", "tells_when_secure", "tls_failure"]

OURS = "veltix_tx"
"""Library named by the OpenSSL errors that :mod:`veltix_tx.net.transport.tls` raises."""

_CLIENT_HELLO = b"\x16\x03"
_ALERT = b"\x15\x03"
"""First bytes of TLS: the versions after them differ."""

_OTHER = {Role.CLIENT: "the server", Role.SERVER: "the client"}

_ASKS = "the server asks for a client's certificate, and got none it takes: give one with tls_cert"
_NO_VERSION = "the two sides have no TLS version in common: veltix_tx speaks 1.2 and later"


def _plain(role: Role) -> str:
    return f"{_OTHER[role]} does not speak TLS here: use its TLS port, or no TLS on both sides"


def _refused(role: Role, why: str) -> str:
    asks, gives = {Role.CLIENT: ("tls_client_ca", "tls_cert"), Role.SERVER: ("tls_ca", "tls_cert")}[role]
    return f"{_OTHER[role]} refuses this side's certificate ({why}): see {_OTHER[role]}'s {asks}, and {gives} on this side"


_SAYINGS: tuple[tuple[str, Callable[[Role], str]], ...] = (
    ("certificate verify failed", lambda role: f"{_OTHER[role]}'s certificate could not be verified"),
    ("wrong version number", _plain),
    ("http request", _plain),
    ("https proxy request", _plain),
    ("packet length too long", _plain),
    ("unknown protocol", _plain),
    ("peer did not return a certificate", lambda role: "the client shows no certificate, and tls_client_ca asks for one"),
    ("alert certificate required", lambda role: _ASKS),
    ("alert unknown ca", lambda role: _refused(role, "it does not trust its issuer")),
    ("alert certificate expired", lambda role: _refused(role, "it has expired")),
    ("alert certificate unknown", lambda role: _refused(role, "it does not say why")),
    ("alert internal error", lambda role: _refused(role, "it may not be for the name that was expected")),
    ("alert bad certificate", lambda role: _refused(role, "it is bad, or missing")),
    ("alert unsupported certificate", lambda role: _refused(role, "it is not for this use")),
    ("alert certificate revoked", lambda role: _refused(role, "it was revoked")),
    (
        "alert handshake failure",
        lambda role: _ASKS if role is Role.CLIENT else "the client has no TLS version or cipher in common with this side",
    ),
    ("alert protocol version", lambda role: _NO_VERSION),
    ("unsupported protocol", lambda role: _NO_VERSION),
    ("no shared cipher", lambda role: "the two sides have no cipher in common"),
)
"""Part of what OpenSSL says -> what that means, and what helps, to one side."""


def tells_when_secure(transport: object) -> bool:
    """Return True if a transport will call its protocol's ``handshakeCompleted()`` when TLS is through."""
    tls = sys.modules.get("twisted.protocols.tls")
    return tls is not None and isinstance(transport, tls.TLSMemoryBIOProtocol)


def tls_failure(reason: Failure, role: Role) -> TlsFailed | None:
    """Return what the end of a connection says about TLS, None where it says nothing.

    Args:
        reason: the transport's.
        role: of this side.
    """
    if reason.check("service_identity.exceptions.VerificationError"):
        return TlsFailed("the server's certificate is not for the name it was to be for: connect by a name that it has")
    if not reason.check("OpenSSL.SSL.Error"):
        return None
    words = _words(reason.value)
    for library, said in words:
        if library == OURS:
            return TlsFailed(said)
    whole = "; ".join(said for _, said in words)
    for part, meaning in _SAYINGS:
        if part in whole.casefold():
            return TlsFailed(meaning(role))
    return TlsFailed(f"TLS with {_OTHER[role]} failed: {whole or 'OpenSSL does not say why'}")


def _words(error: Any) -> list[tuple[str, str]]:
    """Return an OpenSSL error's queue: whose words, and which."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return [(str(entry[0]), str(entry[-1])) for entry in queue]


def beginning_of_tls(data: bytes, role: Role) -> TlsFailed | None:
    """Return what it means that the peer's first bytes, where this side speaks no TLS, are TLS; None where they are not.

    Args:
        data: the first bytes received.
        role: of this side.
    """
    if role is Role.SERVER and data.startswith(_CLIENT_HELLO):
        return TlsFailed("the client speaks TLS and this port does not: give the server a tls_cert, or the client no tls")
    if role is Role.CLIENT and data.startswith(_ALERT):
        return TlsFailed("the server speaks TLS on this port: connect with tls=True")
    return None


def not_installed(name: str, value: object) -> SettingsError:
    """Return the error for a setting that needs what is not installed."""
    return SettingsError(name, value, "left out, or TLS installed: pip install 'veltix-tx[tls]'")
