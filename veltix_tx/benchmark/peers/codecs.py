"""Bytes to messages and back with no network in between: this package's connection, or the minimal one's decoder."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from veltix_tx.benchmark.peers.minimal import Decoder, encode
from veltix_tx.benchmark.peers.program import CODE, Tally, begin, clock, obey, say
from veltix_tx.wire.connection import VeltixConnection
from veltix_tx.wire.handshake import Role
from veltix_tx.wire.messages import MessageType
from veltix_tx.wire.releases import find_release

_READ = 64 * 1024
_TURN = 1000

Codec = tuple[Callable[[bytes, int], bytes], Callable[[bytes], Any]]
"""Encodes a content so many times; decodes what a read brought."""


def own() -> Codec:
    """Return two connections of this package that have shaken hands."""
    message, random, release = MessageType(CODE, "benchmark"), Random(), find_release("3.3.0")

    def make(role: Role) -> VeltixConnection:
        return VeltixConnection(role, release, calendar_ms=lambda: 0, uptime_ms=lambda: 0, getrandbits=random.getrandbits)

    server, client = make(Role.SERVER), make(Role.CLIENT)
    server.start()
    client.start()
    for _ in range(3):
        client.receive(b"".join(server.data_to_send()), 0)
        server.receive(b"".join(client.data_to_send()), 0)

    def put(content: bytes, number: int) -> bytes:
        for _ in range(number):
            client.send(message, content, None)
        return b"".join(client.data_to_send())

    return put, lambda data: server.receive(data, 0)


def minimal() -> Codec:
    """Return the minimal peer's functions."""
    decoder = Decoder(Tally().take)
    return lambda content, number: b"".join([encode(CODE, content, 0) for _ in range(number)]), decoder.feed


class Codecs:
    """What is done with a codec.

    Args:
        codec: which.
    """

    def __init__(self, codec: Codec) -> None:
        self._put, self._take = codec

    def encode(self, number: int, size: int) -> dict[str, float]:
        """Encode so many messages; return the seconds."""
        content, put = b"x" * size, self._put
        begun = clock()
        for _ in range(number // _TURN):
            put(content, _TURN)
        return {"seconds": clock() - begun}

    def decode(self, number: int, size: int) -> dict[str, float]:
        """Decode so many messages, in reads as from a socket; return the seconds."""
        data, take = self._put(b"x" * size, _TURN), self._take
        seconds = 0.0
        for _ in range(number // _TURN):
            reads = [data[at : at + _READ] for at in range(0, len(data), _READ)]
            begun = clock()
            for each in reads:
                take(each)
            seconds += clock() - begun
        return {"seconds": seconds}


if __name__ == "__main__":
    task = begin()
    codecs = Codecs({"own": own, "minimal": minimal}[task["codec"]]())
    say("ready", None)
    obey({"encode": codecs.encode, "decode": codecs.decode})
