"""This package: Server and Client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred

from veltix_tx import TEXT, Client, Limits, Lines, MessageType, Netconduit, Raw, Response, Server
from veltix_tx.benchmark.peers import twisting
from veltix_tx.benchmark.peers.delivery import Tally
from veltix_tx.benchmark.peers.program import CODE
from veltix_tx.benchmark.peers.values import Fields, Values
from veltix_tx.benchmark.peers.wires import PASSWORD
from veltix_tx.wire.veltix.peer import VeltixPeer
from veltix_tx.wire.veltix.wire import Auto

MESSAGE = MessageType(CODE, "benchmark")

TYPED = {
    form: MessageType(CODE + code, f"benchmark_{form}", content=Fields, format=form)  # type: ignore[call-overload]
    for code, form in enumerate(("json", "msgpack"), 1)
}

PINNED = {22: "1.6.3", 62: "1.6.1"}
"""The release that is spoken for the sake of a longer header, where not both sides are this package's."""


def server_settings(task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a server."""
    header = task["header"]
    if "plain" in task:
        places = {"lines": (Lines(text=False), "tcp:0:interface=127.0.0.1"), "udp": (Raw(text=False), "udp:0:interface=127.0.0.1")}
        return {"endpoints": (places[task["plain"]],)}
    wire: Any = PINNED[header] if header == 62 or (header == 22 and task["raw"]) else "auto"
    if task.get("speaks"):
        wire = Netconduit(PASSWORD)
    return {"host": "127.0.0.1", "port": 0, "wire": wire, **_sizes(task)}


def handler(task: dict[str, Any], send_to_all: Callable[..., object], tally: Tally) -> Callable[[Any, Response], bytes | None]:
    """Return what the task says is to be done with messages.

    Args:
        task: the task.
        send_to_all: the broadcast of the server, or of a room.
        tally: counts what comes.
    """

    def echo(client: object, message: Response) -> bytes:
        return message.content

    def broadcast(client: object, message: Response) -> None:
        for _ in range(task["in_a_row"]):
            send_to_all(MESSAGE, message.content)

    def take_value(client: object, message: Response) -> None:
        take_content(message.value)

    take_content = tally.take_content
    handlers: dict[str, Callable[..., Any]] = {
        "sink": take_value if task.get("speaks") else tally.take,
        "streams": tally.take_stream,
        "echo": echo,
        "broadcast": broadcast,
        "room": broadcast,
    }
    return handlers[task["mode"]]


def serve(task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Listen, and do what the task says with messages."""
    server, tally = Server(**server_settings(task)), Tally(lines="plain" in task)

    def echo_value(client: object, message: Response[Fields]) -> Fields:
        return message.value

    def echo_call(content: bytes) -> bytes:
        return content

    send_to_all: Callable[..., object] = server.broadcast
    if task["mode"] == "room":
        room = server.room("all")
        server.set_callback("on_connect", room.join)
        send_to_all = room.broadcast
    server.register_route(TEXT if "plain" in task else MESSAGE, handler(task, send_to_all, tally))
    for message_type in TYPED.values():
        server.register_route(message_type, echo_value)
    server.register_rpc(echo_call, "echo")
    server.startService()
    return server.port, tally.commands


def client_settings(task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a client."""
    header = task["header"]
    wire: Any = PINNED[62] if header == 62 else Auto(long_headers=header == 22)
    if task.get("speaks"):
        wire = Netconduit(PASSWORD)
    return {"server_addr": "127.0.0.1", "port": task["port"], "wire": wire, **_sizes(task)}


def check_header(peer: object, task: dict[str, Any]) -> None:
    """Raise ValueError where messages have another header than was asked for."""
    if (size := cast(VeltixPeer, peer).layout.header_size) != task["header"]:
        raise ValueError(f"headers of {size} bytes instead of {task['header']}")


async def connect(task: dict[str, Any]) -> Own:
    """Connect a client."""
    client = Client(**client_settings(task))
    session = await client.connect()
    if not task.get("speaks"):
        check_header(session.peer, task)
    if task.get("speaks"):
        return Calling(client, named=True) if task.get("content") == "call" else Own(client)
    return _ENDS[task.get("content", "bytes")](client)


class Own:
    """A connected client."""

    def __init__(self, client: Client) -> None:
        self.send = partial(client.send, MESSAGE)
        self.ask: Callable[[bytes], Deferred[Any]] = partial(client.send_and_wait, MESSAGE)
        self.ping = client.ping_server
        assert client.session is not None
        self.room = client.session.when_writable

    def content(self, reply: Response) -> bytes:
        """Return a reply's content."""
        return reply.content


class Calling(Own):
    """A connected client that calls a method.

    Args:
        client: the client.
        named: whether its argument has a name, as netconduit's always have.
    """

    def __init__(self, client: Client, named: bool = False) -> None:
        super().__init__(client)
        call = client.call
        self.ask = lambda content: call("echo", content=content) if named else call("echo", content)

    def content(self, reply: Any) -> bytes:
        """Return a call's result."""
        return cast(bytes, reply)


class Typed(Own):
    """A connected client that sends values: one for each content there is.

    Args:
        client: the client.
        form: their format.
    """

    def __init__(self, form: str, client: Client) -> None:
        super().__init__(client)
        self._values = Values()
        send_and_wait, message_type, value_of = client.send_and_wait, TYPED[form], self._values.of
        self.ask = lambda content: send_and_wait(message_type, value_of(content))

    def content(self, reply: Any) -> bytes:
        """Return the content that a reply's value stands for."""
        return self._values.content(reply.value)


_ENDS: dict[str, Callable[[Client], Own]] = {
    "bytes": Own,
    "call": Calling,
    "json": partial(Typed, "json"),
    "msgpack": partial(Typed, "msgpack"),
}
"""Content of what is asked -> a connected client that asks so."""


def _sizes(task: dict[str, Any]) -> dict[str, Any]:
    """Return the settings for messages over the usual limit."""
    most = task.get("most")
    return {"max_message_size": most, "limits": Limits(write_hard=2 * most)} if most else {}


if __name__ == "__main__":
    twisting.run(serve, connect)
