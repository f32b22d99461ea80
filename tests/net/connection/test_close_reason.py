"""Close reasons of connections that the peer or the network ended."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tests.support.deferreds import outcome
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import HandshakeError, TlsFailed
from veltix_tx.net.connection.close_reason import classify_close
from veltix_tx.wire.interface import Role


@pytest.mark.parametrize(
    ("role", "first", "ready", "secure", "kind", "reason"),
    [
        (Role.CLIENT, b"", False, False, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.CLIENT, b"", False, True, HandshakeError, DisconnectReason.PEER_CLOSED),
        (Role.CLIENT, b"\x15\x03", False, True, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.CLIENT, b"\x15\x03", True, True, type(None), DisconnectReason.PEER_CLOSED),
        (Role.SERVER, b"\x16\x03", False, True, TlsFailed, DisconnectReason.TLS_FAILED),
        (Role.SERVER, b"", False, False, HandshakeError, DisconnectReason.PEER_CLOSED),
    ],
)
def test_why_a_connection_ended(role: Role, first: bytes, ready: bool, secure: bool, kind: type, reason: DisconnectReason) -> None:
    """A close before the handshake is complete is TLS's where TLS was not through or the peer's first bytes are its."""
    closed = classify_close(Failure(ConnectionDone()), role, first, ready=ready, secure=secure)
    assert type(closed.cause) is kind
    assert closed.reason is reason


def test_an_openssl_error_after_the_handshake_is_the_connections() -> None:
    """Once a session is ready, a failure of TLS is told as an error of the connection."""
    closed = classify_close(Failure(SSL.Error([("", "", "bad record mac")])), Role.CLIENT, b"", ready=True, secure=True)
    assert closed.reason is DisconnectReason.ERROR


def test_a_peer_that_closes_in_its_handshake_is_told_from_one_that_closes_later(client_line: Any) -> None:
    """A close in the middle of the handshake has a HandshakeError for its cause, a later one has none."""
    line = client_line()
    line.connect()
    closed = outcome(line.protocol.when_lost())
    line.lose()
    assert closed[0].reason is DisconnectReason.PEER_CLOSED
    assert isinstance(closed[0].cause, HandshakeError)
    assert outcome(line.protocol.when_lost())[0].reason is DisconnectReason.PEER_CLOSED
    late = client_line()
    late.shake()
    closed = outcome(late.protocol.when_lost())
    late.lose()
    assert (closed[0].reason, closed[0].cause) == (DisconnectReason.PEER_CLOSED, None)


@pytest.mark.parametrize(
    ("role", "first", "said"),
    [
        ("client", b"", "the server closed the connection before it said a word: is it a Veltix server, and one without TLS?"),
        (
            "client",
            b"\0",
            "the server closed the connection in the middle of the handshake, as servers do that refuse a client's version",
        ),
        ("server", b"", "the client closed the connection before it said a word"),
        (
            "server",
            b"\0",
            "the client closed the connection in the middle of the handshake, as clients do that refuse a server's version",
        ),
    ],
)
def test_a_close_in_the_handshake_is_a_sentence(role: str, first: bytes, said: str, server_line: Any, client_line: Any) -> None:
    """What a peer that leaves before the handshake is complete leaves behind says who did what, as a cause and by itself."""
    line = {"server": server_line, "client": client_line}[role]("1.6.3")
    line.connect()
    if first:
        line.protocol.dataReceived(first)
    closed = outcome(line.protocol.when_lost())
    line.lose()
    assert str(closed[0].cause) == str(closed[0]) == said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionDone(), DisconnectReason.PEER_CLOSED),
        (ConnectionLost(), DisconnectReason.RESET),
        (RuntimeError("tls"), DisconnectReason.ERROR),
    ],
)
def test_the_reason_of_a_lost_connection_is_named(error: Exception, reason: DisconnectReason, server_line: Any) -> None:
    """A clean end, a reset and any other error of the transport are three different reasons."""
    line = server_line()
    session = line.shake()
    closed = outcome(session.when_closed())
    line.lose(error)
    assert closed[0].reason is reason
    assert line.application.calls[-1][1].reason is reason
