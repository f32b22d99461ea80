"""Bytes to messages and back with no network in between: this package's connection, or the minimal one's decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from random import Random
from time import process_time
from typing import Any

from veltix_tx.benchmark.peers.delivery import contents
from veltix_tx.benchmark.peers.headers import HEADERS
from veltix_tx.benchmark.peers.minimal import Decoder, Message
from veltix_tx.benchmark.peers.program import CODE, begin, obey, ready
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageType
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.releases import find_release

_READ = 64 * 1024
_TURN = 1000

Codec = tuple[Callable[[Sequence[bytes]], bytes], Callable[[bytes], Iterable[Any]]]
"""Encodes contents; decodes what a read brought, and returns the messages."""

_SPOKEN = {15: "3.3.0", 22: "1.6.3", 62: "1.6.1"}


def own(header: int) -> Codec:
    """Return two connections of this package that have shaken hands."""
    message, random, release = MessageType(CODE, "benchmark"), Random(), find_release(_SPOKEN[header])

    def make(role: Role) -> VeltixConnection:
        return VeltixConnection(role, release, calendar_ms=lambda: 0, uptime_ms=lambda: 0, getrandbits=random.getrandbits)

    server, client = make(Role.SERVER), make(Role.CLIENT)
    server.start()
    client.start()
    for _ in range(3):
        client.receive_data(b"".join(server.data_to_send()), 0)
        server.receive_data(b"".join(client.data_to_send()), 0)

    def put(messages: Sequence[bytes]) -> bytes:
        for content in messages:
            client.send(message, content, None)
        return b"".join(client.data_to_send())

    return put, lambda data: server.receive_data(data, 0)


def minimal(header: int) -> Codec:
    """Return the minimal peer's functions."""
    kind = HEADERS[header]
    arrived: list[Message] = []
    decoder = Decoder(kind, arrived.append)

    def take(data: bytes) -> list[Message]:
        arrived.clear()
        decoder.feed(data)
        return arrived

    return lambda messages: b"".join(map(kind.frame, messages)), take


class Codecs:
    """Operations on a codec.

    Args:
        codec: which.
        size: bytes of a message.
    """

    def __init__(self, codec: Codec, size: int) -> None:
        self._put, self._take = codec
        self._messages = list(islice(cycle(contents(size)), _TURN))

    def check(self) -> int:
        """Return how many of some messages are not what they were, encoded and decoded again."""
        data = self._put(self._messages)
        came = [message.content for read in self._reads(data) for message in self._take(read)]
        differ: int = sum(one != other for one, other in zip(came, self._messages, strict=False))
        return differ + abs(len(came) - len(self._messages))

    def encode(self, number: int) -> dict[str, float]:
        """Encode so many messages; return the seconds of CPU."""
        put, messages = self._put, self._messages
        begun = process_time()
        for _ in range(number // _TURN):
            put(messages)
        return {"seconds": process_time() - begun}

    def decode(self, number: int) -> dict[str, float]:
        """Decode so many messages, in reads as from a socket; return the seconds of CPU."""
        data, take = self._put(self._messages), self._take
        seconds = 0.0
        for _ in range(number // _TURN):
            reads = self._reads(data)
            begun = process_time()
            for each in reads:
                take(each)
            seconds += process_time() - begun
        return {"seconds": seconds}

    def _reads(self, data: bytes) -> list[bytes]:
        return [data[at : at + _READ] for at in range(0, len(data), _READ)]


if __name__ == "__main__":
    task = begin()
    codecs = Codecs({"own": own, "minimal": minimal}[task["codec"]](task["header"]), task["size"])
    ready()
    obey({"encode": codecs.encode, "decode": codecs.decode, "check": codecs.check})
