"""Close reasons: why a connection ended that its peer or the network ended, or that was not ready in time."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import HandshakeError, HandshakeTimeout, SessionClosed, TlsFailed, VersionRefused, excerpt
from veltix_tx.net.transport.tls_errors import beginning_of_tls, tls_failure
from veltix_tx.wire.interface import Role, WireConnection

__all__ = ["classify_close", "late_handshake"]

SILENT_SERVER = "is it a Veltix server, and one without TLS?"
"""What to ask of a server that has not said a word."""


def _left(role: Role, first: bytes) -> str:
    """Say that the peer closed the connection before the handshake was complete."""
    if role is Role.SERVER:
        if not first:
            return "the client closed the connection before it said a word"
        return "the client closed the connection in the middle of the handshake, as clients do that refuse a server's version"
    if not first:
        return f"the server closed the connection before it said a word: {SILENT_SERVER}"
    return "the server closed the connection in the middle of the handshake, as servers do that refuse a client's version"


def classify_close(
    reason: Failure, role: Role, first: bytes, *, ready: bool, secure: bool, fault: HandshakeError | None = None
) -> SessionClosed:
    """Say why a transport ended without our doing.

    Args:
        reason: the transport's.
        role: of this side.
        first: the first bytes received.
        ready: whether the handshake was complete.
        secure: whether TLS below it was, or there is none.
        fault: what was wrong with the peer's part of the handshake so far.
    """
    if not ready:
        failed: HandshakeError | None = tls_failure(reason, role) or beginning_of_tls(first, role)
        if failed is None and isinstance(fault, VersionRefused):
            failed = fault
        if failed is None and role is Role.CLIENT and not secure:
            failed = TlsFailed("the server ended the connection before TLS was through: is that its TLS port?")
        if failed is not None:
            return SessionClosed(failed.reason, failed)
    if isinstance(reason.value, ConnectionDone):
        return SessionClosed(DisconnectReason.PEER_CLOSED, None if ready else fault or HandshakeError(_left(role, first)))
    if isinstance(reason.value, ConnectionLost):
        return SessionClosed(DisconnectReason.RESET, reason.value)
    return SessionClosed(DisconnectReason.ERROR, reason.value)


def late_handshake(
    connection: WireConnection, role: Role, first: bytes, seconds: float, *, secure: bool, waits_for: str = ""
) -> HandshakeError:
    """Return why a handshake was not complete in time.

    Args:
        connection: the wire.
        role: of this side.
        first: the first bytes received.
        seconds: the time there was.
        secure: whether TLS below it was through, or there is none.
        waits_for: what this side has not got done, of its own part; empty for nothing.
    """
    fault = connection.handshake_fault
    if isinstance(fault, VersionRefused):
        return fault
    hint = ""
    if not secure:
        hint = "TLS was not through"
    elif fault is not None:
        hint = str(fault)
    elif role is Role.CLIENT and not first:
        hint = f"the server has not said a word: {SILENT_SERVER}"
    elif waits_for:
        hint = waits_for
    elif connection.beginning:
        hint = f"the peer's part is not finished, it begins with {excerpt(connection.beginning)}"
    return HandshakeTimeout(seconds, hint)
