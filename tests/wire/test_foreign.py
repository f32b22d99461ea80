"""What a peer speaks that does not speak Veltix: told by its first bytes, in both roles, however they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from veltix_tx.errors import FrameTooLarge, NotVeltix
from veltix_tx.wire import foreign
from veltix_tx.wire.events import ConnectionFailed
from veltix_tx.wire.interface import Role
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import RELEASES, HandshakeKind

Make = Callable[..., VeltixConnection]

OTHERS = {
    b"GET / HTTP/1.1\r\nHost: example\r\n\r\n": "HTTP",
    b"POST /api HTTP/1.1\r\n": "HTTP",
    b"CONNECT a:1 HTTP/1.1\r\n": "HTTP",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "HTTP",
    b"HTTP/1.1 400 Bad Request\r\n": "HTTP",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": "TLS",
    b"\x15\x03\x01\x00\x02\x02\x46": "TLS",
    b"SSH-2.0-OpenSSH_9.6\r\n": "SSH",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": "the PROXY protocol of a load balancer",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c": "the PROXY protocol of a load balancer",
    b"EHLO example\r\n": "SMTP",
    b"220 mail.example ESMTP\r\n": "SMTP or FTP",
    b"* OK IMAP4rev1\r\n": "IMAP",
    b"+OK ready\r\n": "POP3 or Redis",
    b"*1\r\n$4\r\nPING\r\n": "Redis",
    b"-ERR unknown command\r\n": "Redis",
    b"AMQP\x00\x00\x09\x01": "AMQP",
    b'INFO {"server_id":"x"}\r\n': "NATS",
    b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00": "RDP (remote desktop)",
    b"RFB 003.008\n": "VNC",
    b"\x05\x01\x00": "SOCKS",
    b"\xff\xfd\x18\xff\xfd\x20": "Telnet",
}

WITH_HANDSHAKE = [None, *(name for name, release in RELEASES.items() if release.handshake is not HandshakeKind.NONE)]


def failed(side: VeltixConnection, data: bytes, step: int) -> Any:
    """Return the error that a side ends with."""
    side.start()
    events: list[Any] = []
    for at in range(0, len(data), step):
        events += side.receive_data(data[at : at + step], 0)
    (event,) = events
    assert isinstance(event, ConnectionFailed)
    return event.error


@pytest.mark.parametrize("step", [1, 2, 100])
@pytest.mark.parametrize("release", WITH_HANDSHAKE)
@pytest.mark.parametrize("role", Role)
def test_other_protocols_are_told(role: Role, release: str | None, step: int, make: Make) -> None:
    """What looks like another protocol ends the handshake at once, with its name and the bytes it is known by, for any chunking."""
    for data, name in OTHERS.items():
        error = failed(make(role, release), data, step)
        assert isinstance(error, NotVeltix)
        assert (error.looks_like, error.peer) == (name, "client" if role is Role.SERVER else "server")
        assert data.startswith(error.first)
        assert f"looks like {name}" in str(error)
        assert repr(error.first) in str(error)
        assert ("right port?" in str(error)) is (role is Role.CLIENT)


def test_a_client_that_has_asked_tells_them_too(make: Make) -> None:
    """A server that answers the client's question in another protocol is told as well."""
    for data, name in OTHERS.items():
        client = make(Role.CLIENT)
        client.start()
        client.handle_timeout()
        (event,) = client.receive_data(data, 0)
        assert event.error.looks_like == name


@pytest.mark.parametrize("release", RELEASES)
def test_no_handshake_is_taken_for_another_protocol(release: str, make: Make, converse: Callable[..., Any]) -> None:
    """Nothing that a release says first looks like something else."""
    for role in Role:
        side, other = make(role, release), make(Role.CLIENT if role is Role.SERVER else Role.SERVER, release)
        side.start()
        other.start()
        other.receive_data(b"".join(side.data_to_send()), 0)
        said = b"".join(other.data_to_send())
        assert not foreign.looks_like(said)
        assert not any(foreign.may_look_like(said[:length]) for length in range(3, len(said)))


def test_no_signature_can_begin_a_hello() -> None:
    """A JSON hello of any length is none of them, and no signature is the beginning of another."""
    for signature, name in foreign._NAMES.items():
        assert len(signature) >= 3
        assert signature[2:3] != b"{"
        assert foreign.looks_like(signature + b"more") == name
        assert not signature.startswith(b"VX")
        assert not foreign.may_look_like(signature)


@pytest.mark.parametrize("release", ["1.2.0", "1.3.0"])
def test_a_wire_without_a_handshake_tells_by_the_size(release: str, make: Make) -> None:
    """Where there is no handshake, a size over the limit quotes what the header begins with, if that is another protocol's."""
    side = make(Role.SERVER, release)
    side.start()
    (event,) = side.receive_data(b"GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: something\r\nAccept: */*\r\n\r\n", 0)
    assert isinstance(event.error, FrameTooLarge)
    assert "it begins with b'GET '" in str(event.error)
    other = make(Role.SERVER, release)
    other.start()
    (event,) = other.receive_data(b"\x00\xc8" + b"\xff" * 100, 0)
    assert event.error.first == b""
