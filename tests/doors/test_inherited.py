"""A server that listens on sockets which another process, or this test, made; and one that leaves them to another."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from veltix_tx import Client, MessageRegistry, MessageType, Server, SettingsError

TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)


def answering(answer: bytes, **settings: Any) -> Server:
    """Return a server that answers so."""
    server = Server("127.0.0.1", 0, types=TYPES, **settings)
    server.route(ASK)(lambda client, message: answer)
    return server


async def ask(port: int) -> bytes:
    """Return the answer to a new client."""
    client = Client("127.0.0.1", port, types=TYPES)
    await client.connect()
    answer = (await client.send_and_wait(ASK)).content
    await client.disconnect()
    return answer


async def test_it_listens_on_a_socket_that_it_is_given() -> None:
    """Its port is the socket's, and the socket belongs to the server: it is closed when the server stops."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        server = answering(b"here")
        server.inherit([made.dup().detach()])
        port = made.getsockname()[1]
    server.startService()
    assert server.port == port
    assert await ask(port) == b"here"
    await server.stopService()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


async def test_a_successor_takes_over_while_sessions_go_on() -> None:
    """After stop_listening new clients are the successor's, and the session of before is answered as ever."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        port = made.getsockname()[1]
        old, new = answering(b"old"), answering(b"new")
        old.inherit([made.dup().detach()])
        old.startService()
        staying = Client("127.0.0.1", port, types=TYPES)
        await staying.connect()
        new.inherit([made.dup().detach()])
        new.startService()
        await old.stop_listening()
        assert {await ask(port) for _ in range(5)} == {b"new"}
        assert (await staying.send_and_wait(ASK)).content == b"old"
        await staying.disconnect()
        await old.stopService()
        assert await ask(port) == b"new"
        await new.stopService()


@pytest.mark.parametrize(
    ("settings", "descriptors", "rule"),
    [
        ({}, [3, 4], "one descriptor for each of 1 endpoints"),
        ({"endpoints": ("unix:a.sock",)}, [3], "one of tcp:, tcp6: and tls:PORT, which several processes can listen on"),
    ],
)
def test_other_sockets_than_those_of_its_endpoints_are_refused(settings: Any, descriptors: list[int], rule: str) -> None:
    """As many as there are endpoints, and of kinds that can be inherited."""
    server = Server(types=TYPES, **settings)
    with pytest.raises(SettingsError, match=rule):
        server.inherit(descriptors)


async def test_a_server_that_listens_inherits_nothing() -> None:
    """It is too late then."""
    server = answering(b"")
    server.startService()
    with pytest.raises(SettingsError, match="called before the server listens"):
        server.inherit([3])
    await server.stopService()
