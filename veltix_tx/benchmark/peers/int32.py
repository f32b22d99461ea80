"""Twisted's Int32StringReceiver: a length and the content, no type, no checksum, replies in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally


class ServerEnd(Int32StringReceiver):
    """A server's connection."""

    MAX_LENGTH = 2**31

    transport: Any

    def __init__(self, ends: set[ServerEnd], handle: Callable[[bytes], object] | None) -> None:
        self._ends = ends
        self.stringReceived = handle or self.sendString  # type: ignore[method-assign]

    def connectionMade(self) -> None:
        """Keep it."""
        self.transport.setTcpNoDelay(True)
        self._ends.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it."""
        self._ends.discard(self)


class ClientEnd(Int32StringReceiver):
    """A client's connection."""

    MAX_LENGTH = 2**31

    transport: Any

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.setTcpNoDelay(True)
        self._waiting: deque[Deferred[bytes]] = deque()
        self.room = twisting.Room(self.transport).wait
        self.send = self.sendString

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Take a reply."""
        self._waiting.popleft().callback(string)

    def ask(self, content: bytes) -> Deferred[bytes]:
        """Send a request."""
        reply: Deferred[bytes] = Deferred()
        self._waiting.append(reply)
        self.sendString(content)
        return reply

    def ping(self) -> Deferred[bytes]:
        """Send an empty request."""
        return self.ask(b"")

    def content(self, reply: bytes) -> bytes:
        """Return a reply's content."""
        return reply


def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    tally, ends = Tally(), set[ServerEnd]()

    def broadcast(content: bytes) -> None:
        for _ in range(task["in_a_row"]):
            for each in ends:
                each.sendString(content)

    handles = {"sink": tally.take_content, "streams": tally.take_stream_content, "broadcast": broadcast}
    handle = handles.get(task["mode"])  # an echo is of the same connection
    return twisting.listen(lambda _: ServerEnd(ends, handle)), tally.commands


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    return await twisting.dial(ClientEnd, task["port"])


if __name__ == "__main__":
    twisting.run(serve, connect)
