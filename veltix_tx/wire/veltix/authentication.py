"""The feature ``identity``: JSON objects that carry credentials and verdicts, in the handshake and in AUTHENTICATE frames.

A server that decides who is let in offers ``identity`` in its hello. A client that agrees sends its credentials as a message of
their own behind its hello, never before it has read the offer, and reads the verdict as the handshake's result. Once both are
ready, AUTHENTICATE (code 110) carries new credentials to the server, and the verdict back under the same request id.
"""

from __future__ import annotations

import json

from veltix_tx.errors import LocalProtocolError, MalformedHello, SettingsError
from veltix_tx.wire.credentials import Password, Token
from veltix_tx.wire.events import (
    AuthenticationRequested,
    CredentialsAccepted,
    Event,
    FrameRejected,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import AUTHENTICATE, Response
from veltix_tx.wire.peer import Peer

__all__ = [
    "ACCEPTED",
    "CREDENTIALS",
    "MAX_CREDENTIALS_SIZE",
    "REFUSED",
    "REFUSED_CODE",
    "Reauthentication",
    "decode_credentials",
    "encode_credentials",
]

CREDENTIALS = "credentials"
"""The key of the message of the handshake that carries them."""

REFUSED_CODE = "authentication_failed"

ACCEPTED, REFUSED = {"result": "ok"}, {"error": REFUSED_CODE}
"""The verdicts. Why credentials are refused is not told."""

MAX_CREDENTIALS_SIZE = 4096
"""Maximum bytes of an AUTHENTICATE frame's content, either way. A longer one is rejected as malformed."""


def encode_credentials(credentials: Token | Password) -> dict[str, object]:
    """Return credentials as the JSON object that carries them."""
    if isinstance(credentials, Token):
        return {"token": credentials.token}
    return {"name": credentials.name, "password": credentials.password}


def decode_credentials(presented: object) -> Token | Password | None:
    """Return what a JSON value of a peer presents, None for null.

    Raises:
        MalformedHello: it is neither null nor the object of a token or of a name and a password. It says nothing of the value.
    """
    if presented is None:
        return None
    keys = set(presented) if isinstance(presented, dict) else set()
    try:
        if keys == {"token"}:
            return Token(presented["token"])  # type: ignore[index]
        if keys == {"name", "password"}:
            return Password(presented["name"], presented["password"])  # type: ignore[index]
    except SettingsError:
        pass
    raise MalformedHello("the peer's credentials are neither a token nor a name and a password")


class Reauthentication:
    """AUTHENTICATE frames of one connection that agreed on the feature.

    Args:
        role: role of the local side. Only a client presents credentials, only a server judges them.
        peer: the other side.
    """

    __slots__ = ("_peer", "_pending_id", "_role")

    def __init__(self, role: Role, peer: Peer) -> None:
        self._role = role
        self._peer = peer
        self._pending_id: int | None = None

    @property
    def may_present(self) -> bool:
        """True on the side of a client."""
        return self._role is Role.CLIENT

    def take_pending(self) -> int:
        """Return the request id that waits for a verdict, and wait no more.

        Raises:
            LocalProtocolError: none does.
        """
        request_id, self._pending_id = self._pending_id, None
        if request_id is None:
            raise LocalProtocolError("the connection waits for no verdict")
        return request_id

    def receive(self, message: Response) -> Event:
        """Return what an AUTHENTICATE frame of the peer means."""
        return self._receive_credentials(message) if self._role is Role.SERVER else _read_verdict(message)

    def _receive_credentials(self, message: Response) -> Event:
        presented = _parse(message.content)
        if presented is None or self._pending_id is not None:
            return _MALFORMED  # a client asks once at a time
        try:
            credentials = decode_credentials(presented)
        except MalformedHello:
            return _MALFORMED
        self._pending_id = message.request_id
        return AuthenticationRequested(credentials, self._peer)


_MALFORMED = FrameRejected(RejectReason.MALFORMED, AUTHENTICATE.code)


def _parse(content: bytes) -> dict[str, object] | None:
    """Return the JSON object of a frame's content, None where it is none."""
    try:
        parsed = json.loads(content.decode()) if len(content) <= MAX_CREDENTIALS_SIZE else None
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _read_verdict(message: Response) -> Event:
    verdict = _parse(message.content)
    if verdict == ACCEPTED:
        return CredentialsAccepted(message.request_id)
    if verdict == REFUSED:
        return RequestFailed(message.request_id, message.content, REFUSED_CODE, "the server refused the credentials")
    return _MALFORMED
