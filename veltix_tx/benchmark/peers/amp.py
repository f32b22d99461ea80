"""Twisted's AMP: named arguments, replies by tag, at most 64 KiB for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally


class Ask(amp.Command):
    """A request."""

    arguments = [(b"content", amp.String())]  # noqa: RUF012
    response = [(b"content", amp.String())]  # noqa: RUF012


class Note(amp.Command):
    """A message without a reply."""

    arguments = [(b"content", amp.String())]  # noqa: RUF012
    requiresAnswer = False  # noqa: N815 (Twisted's name)


class ServerEnd(amp.AMP):
    """A server's connection."""

    transport: Any

    def __init__(self, ends: set[ServerEnd], handle: Callable[[bytes], object]) -> None:
        super().__init__()
        self._ends = ends
        self._handle = handle

    def connectionMade(self) -> None:
        """Keep it."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        self._ends.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it."""
        super().connectionLost(reason)
        self._ends.discard(self)

    @Ask.responder
    def asked(self, content: bytes) -> dict[str, bytes]:
        """Answer a request."""
        return {"content": content}

    @Note.responder
    def noted(self, content: bytes) -> dict[str, bytes]:
        """Take a message."""
        self._handle(content)
        return {}


class ClientEnd(amp.AMP):
    """A client's connection."""

    transport: Any

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        self.room = twisting.Room(self.transport).wait

    def send(self, content: bytes) -> None:
        """Send a message."""
        self.callRemote(Note, content=content)

    def ask(self, content: bytes) -> Deferred[Any]:
        """Send a request."""
        reply: Deferred[Any] = self.callRemote(Ask, content=content)
        return reply

    def ping(self) -> Deferred[Any]:
        """Send an empty request."""
        return self.ask(b"")

    def content(self, reply: dict[str, bytes]) -> bytes:
        """Return a reply's content."""
        return reply["content"]


def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    tally, ends = Tally(), set[ServerEnd]()

    def broadcast(content: bytes) -> None:
        for _ in range(task["in_a_row"]):
            for each in ends:
                each.callRemote(Note, content=content)

    handles = {"broadcast": broadcast, "sink": tally.take_content, "streams": tally.take_stream_content}
    handle = handles.get(task["mode"], tally.take_content)
    return twisting.listen(lambda _: ServerEnd(ends, handle)), tally.commands


async def connect(task: dict[str, Any]) -> ClientEnd:
    """Connect a client."""
    return await twisting.dial(ClientEnd, task["port"])


if __name__ == "__main__":
    twisting.run(serve, connect)
