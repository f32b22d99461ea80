"""This package: Server and Client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from veltix_tx import Client, Limits, MessageType, Response, Server, Session
from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.program import CODE
from veltix_tx.wire.veltix.peer import VeltixPeer
from veltix_tx.wire.veltix.wire import Auto

MESSAGE = MessageType(CODE, "benchmark")

PINNED = {22: "1.6.3", 62: "1.6.1"}
"""The release that is spoken for the sake of a longer header, where not both sides are this package's."""


def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    header = task["header"]
    wire = PINNED[header] if header == 62 or (header == 22 and task["raw"]) else "auto"
    server, tally = Server(host="127.0.0.1", port=0, wire=wire, **sizes(task)), Tally()

    def echo(client: Session, message: Response) -> bytes:
        return message.content

    def broadcast(client: Session, message: Response) -> None:
        for _ in range(task["in_a_row"]):
            server.broadcast(MESSAGE, message.content)

    handlers: dict[str, Callable[..., object]] = {
        "sink": tally.take,
        "streams": tally.take_stream,
        "echo": echo,
        "broadcast": broadcast,
    }
    server.register_route(MESSAGE, handlers[task["mode"]])
    server.startService()
    return server.port, tally.commands


async def connect(task: dict[str, Any]) -> Own:
    """Connect a client."""
    header = task["header"]
    wire = PINNED[62] if header == 62 else Auto(long_headers=header == 22)
    client = Client("127.0.0.1", task["port"], wire=wire, **sizes(task))
    await client.connect()
    assert client.session is not None
    if (size := cast(VeltixPeer, client.session.peer).layout.header_size) != header:
        raise ValueError(f"headers of {size} bytes instead of {header}")
    return Own(client)


class Own:
    """A connected client."""

    def __init__(self, client: Client) -> None:
        self.send = partial(client.send, MESSAGE)
        self.ask = partial(client.send_and_wait, MESSAGE)
        self.ping = client.ping_server
        assert client.session is not None
        self.room = client.session.when_writable

    def content(self, reply: Response) -> bytes:
        """Return a reply's content."""
        return reply.content


def sizes(task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings for messages over the usual limit."""
    most = task.get("most")
    return {"max_message_size": most, "limits": Limits(write_hard=2 * most)} if most else {}


if __name__ == "__main__":
    twisting.run(serve, connect)
