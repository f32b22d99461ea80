"""Guesses what a peer speaks that does not speak Veltix, by its first bytes."""

from __future__ import annotations

__all__ = ["QUOTED", "looks_like", "may_look_like", "signature_of"]

QUOTED = 20
"""Bytes of a peer that an error quotes."""

_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "HTTP": (
        *(b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"TRACE ", b"CONNECT "),
        *(b"PRI * HTTP/2", b"HTTP/1.", b"HTTP/2"),
    ),
    "TLS": (
        *(b"\x16\x03\x00", b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03"),
        *(b"\x15\x03\x01", b"\x15\x03\x02", b"\x15\x03\x03"),
    ),
    "SSH": (b"SSH-2.0-", b"SSH-1."),
    "the PROXY protocol of a load balancer": (b"PROXY TCP", b"PROXY UNKNOWN", b"\r\n\r\n\x00\r\nQUIT\n"),
    "SMTP": (b"EHLO ", b"HELO "),
    "SMTP or FTP": (b"220 ", b"220-"),
    "IMAP": (b"* OK ",),
    "POP3 or Redis": (b"+OK",),
    "Redis": (b"*1\r\n$", b"*2\r\n$", b"*3\r\n$", b"-ERR ", b"-NOAUTH ", b"-DENIED "),
    "AMQP": (b"AMQP\x00", b"AMQP\x01", b"AMQP\x03"),
    "NATS": (b"INFO {",),
    "RDP (remote desktop)": (b"\x03\x00\x00",),
    "VNC": (b"RFB 003.", b"RFB 004."),
    "SOCKS": (b"\x05\x01\x00", b"\x05\x02\x00", b"\x05\x03\x00"),
    "Telnet": (b"\xff\xfb\x01", b"\xff\xfd\x01", b"\xff\xfd\x03", b"\xff\xfd\x18"),
}
"""Signatures of other protocols. None is the beginning of a Veltix hello (a JSON hello's third byte is ``{``) or of another one."""

_NAMES = {signature: name for name, signatures in _SIGNATURES.items() for signature in signatures}
_ANY = tuple(_NAMES)
_BEGINNINGS = frozenset(signature[:length] for signature in _NAMES for length in range(1, len(signature)))


def signature_of(data: bytes) -> bytes:
    """Return the part of a peer's first bytes by which another protocol is known; empty where none is."""
    if not data.startswith(_ANY):  # one call for the usual case: it is asked in every handshake
        return b""
    return next(signature for signature in _NAMES if data.startswith(signature))


def looks_like(data: bytes) -> str:
    """Return the protocol that a peer's first bytes look like; empty where none is known."""
    return _NAMES.get(signature_of(data), "")


def may_look_like(data: bytes) -> bool:
    """Return True if these are the first bytes of a known beginning, and more are needed to tell."""
    return data in _BEGINNINGS
