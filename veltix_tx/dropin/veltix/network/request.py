"""A message to send, and one received, as upstream's 1.6.3 has them."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass, field
from zlib import crc32

from veltix_tx.dropin.veltix.exceptions import RequestError
from veltix_tx.dropin.veltix.network.types import REGISTRY
from veltix_tx.wire import messages
from veltix_tx.wire.messages import MessageType
from veltix_tx.wire.veltix.layouts import W22

__all__ = ["Request", "Response", "id_as_bytes", "id_as_int", "parse_all", "take_side"]

_ID_SIZE = 4
_SHOWN = 20


def id_as_bytes(request_id: int) -> bytes:
    """Return a request id as upstream's programs see it: 4 bytes, 16 for ids of release 1.6.1 and before."""
    return request_id.to_bytes(_ID_SIZE if request_id < 1 << 8 * _ID_SIZE else 16, "big")


def id_as_int(request_id: bytes) -> int:
    """Return what :func:`id_as_bytes` was given; a short id counts as filled up with zeros."""
    return int.from_bytes(request_id.ljust(_ID_SIZE, b"\0"), "big")


_SIDES_HERE: set[bool] = set()
"""The sides of connections that this process has: True for servers, False for clients."""


def take_side(server: bool) -> None:
    """Draw ids of a server, or of a client, from now on, while this process has no other side."""
    _SIDES_HERE.add(server)


def _draw(server: bool | None) -> bytes:
    """Return a random id of a side's, any side's for None. Of two of this package a server's ids have the first bit set."""
    drawn = bytearray(os.urandom(_ID_SIZE))
    if server is not None:
        drawn[0] = drawn[0] | 0x80 if server else drawn[0] & 0x7F
    return bytes(drawn)


class Request:
    """A message to send.

    Args:
        _type: its type.
        content: its bytes.
        request_id: 4 bytes, those of the message it answers; drawn at random without it.
    """

    def __init__(self, _type: MessageType, content: bytes, request_id: bytes | None = None) -> None:
        self.type = _type
        self.content = content
        self._drawn: list[bytes] = []
        self._given = request_id

    @property
    def request_id(self) -> bytes:
        """Its id, drawn when it is first looked at or sent."""
        (side,) = _SIDES_HERE if len(_SIDES_HERE) == 1 else (None,)
        return self._given or self._draw(side)

    @request_id.setter
    def request_id(self, request_id: bytes) -> None:
        self._given = request_id

    def sent_by(self, server: bool) -> bytes:
        """Return its id, which is drawn as one of the sender's side if it has none yet."""
        return self._given or self._draw(server)

    def _draw(self, server: bool | None) -> bytes:
        if not self._drawn:
            self._drawn.append(_draw(server))  # of two threads the first one's counts
        return self._drawn[0]

    def __repr__(self) -> str:
        content = self.content
        if isinstance(content, (bytes, bytearray)) and len(content) > _SHOWN:
            content = content[:_SHOWN] + b"..."
        return f"Request(type={getattr(self.type, 'name', self.type)}, content={content!r}, id={self.request_id!r})"

    @property
    def outline(self) -> str:
        """Text for the log: everything but its content."""
        size = len(self.content) if isinstance(self.content, (bytes, bytearray)) else type(self.content).__name__
        return f"Request(type={getattr(self.type, 'name', self.type)}, content of {size}, id={self.request_id!r})"

    @property
    def answers(self) -> bool:
        """True if ``request_id`` is another message's."""
        return bool(self._given) and self._given not in self._drawn

    def respond(self, response: Response) -> None:
        """Make this the answer to a message."""
        self.request_id = response.request_id

    def compile(self) -> bytes:
        """Return the message in 1.6.3's format, whatever the wire it will be sent on.

        Raises:
            TypeError: the content is not bytes.
        """
        return _compile(self.type, self.content, self.request_id, int(time.time() * 1000))

    @staticmethod
    def parse(data: bytes, max_message_size: int = 10 * 1024 * 1024) -> Response:
        """Return the one message that ``data`` holds in 1.6.3's format.

        Raises:
            RequestError: it holds anything else; the text says what.
        """
        response, size = _parse(data, max_message_size)
        if size != len(data):
            raise RequestError(f"Size mismatch: expected {size - W22.header_size} bytes, got {len(data) - W22.header_size}")
        return response


@dataclass
class Response:
    """A message as received.

    Attributes:
        type: its type.
        content: its bytes.
        timestamp: the sender's clock when it was sent, ms; the receiver's where the wire has none.
        hash: the checksum as it stood on the wire.
        received_at: the receiver's clock, ms.
        request_id: what an answer to it must carry.
    """

    type: MessageType
    content: bytes
    timestamp: int
    hash: bytes
    received_at: int
    request_id: bytes
    _round_trip: float | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, message: messages.Response, request: Request | None = None, round_trip: float | None = None) -> Response:
        """Return the package's own kind of message as upstream's, for a reply with its request and the round trip in ms."""
        known = message.timestamp if message.latency is not None else None
        response = cls(
            message.type,
            message.content,
            message.received_at if known is None else known,
            message.hash,
            message.received_at,
            id_as_bytes(message.request_id) if request is None else request.request_id,
        )
        response._round_trip = round_trip
        return response

    @property
    def latency(self) -> float:
        """Of a reply, the round trip in ms; else the way from the sender as the two clocks have it, not below 0."""
        return max(0, self.received_at - self.timestamp) if self._round_trip is None else self._round_trip

    def compile(self) -> bytes:
        """Return it in 1.6.3's format, to be passed on."""
        return _compile(self.type, self.content, self.request_id, self.timestamp)


def parse_all(data: bytes) -> list[Request]:
    """Return the messages that ``data`` holds one after another, ready to be sent on.

    Raises:
        RequestError: it holds anything else.
    """
    requests: list[Request] = []
    rest: bytes | memoryview = data
    while rest or not requests:
        response, size = _parse(rest, len(data))
        requests.append(Request(response.type, response.content, response.request_id))
        rest = memoryview(rest)[size:]  # no copy of all that is left
    return requests


def _compile(message_type: MessageType, content: bytes, request_id: bytes, timestamp: int) -> bytes:
    body = messages.as_content(content)
    return W22.pack(message_type.code, body, id_as_int(request_id[:_ID_SIZE]), timestamp) + body


def _parse(data: bytes | memoryview, most: int) -> tuple[Response, int]:
    """Return the message at the start of ``data``, and how many bytes it has."""
    try:
        header = W22.unpack(data)
    except (struct.error, TypeError) as error:
        given = f"{len(data)} bytes" if isinstance(data, (bytes, bytearray, memoryview)) else f"a {type(data).__name__}"
        raise RequestError(f"Data too short: {given} (minimum {W22.header_size})") from error
    size = W22.header_size + header.size
    if size > most:
        raise RequestError(f"Message too large: {size} bytes (maximum {most})")
    content = bytes(data[W22.header_size : size])
    if len(content) != header.size:
        raise RequestError(f"Size mismatch: expected {header.size} bytes, got {len(content)}")
    if crc32(content) != header.digest:
        raise RequestError("Hash mismatch — corrupted data")
    message_type = REGISTRY.get(header.code)
    if message_type is None:
        raise RequestError(f"Unknown message type code: {header.code}")
    now = int(time.time() * 1000)
    digest = crc32(content).to_bytes(4, "big")
    return Response(message_type, content, header.timestamp, digest, now, id_as_bytes(header.request_id)), size
