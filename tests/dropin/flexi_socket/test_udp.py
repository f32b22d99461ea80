"""Sockets over UDP: a connection for each address, a message in each datagram."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.aio.ends import Run
from tests.support.dropin.sockets import Seen, client_of, make_server, running, until
from veltix_tx.dropin.flexi_socket import FixedLengthStrategy, FlexiSocket, Protocol, SeparatorStrategy, State
from veltix_tx.errors import MessageTooLarge, SettingsError, UnvalidatedAddress


class Datagrams(asyncio.DatagramProtocol):
    """A peer that is nothing but a socket; what it has heard is in ``heard``."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        """Take down a datagram."""
        self.heard.append(data)


@asynccontextmanager
async def peer_of(server: FlexiSocket) -> AsyncIterator[Datagrams]:
    """Open a socket whose datagrams go to a server."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(Datagrams, remote_addr=(server.host, server.port))
    try:
        yield peer
    finally:
        transport.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_datagram_is_a_message(host: str, run: Run) -> None:
    """A server answers each address on a connection of its own, and a message is a datagram, whatever is in it."""

    async def main() -> None:
        server = make_server(protocol=Protocol.UDP, host=host)
        seen = Seen(server)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            await connection.send(f"{message}!")

        async with running(server), peer_of(server) as one, peer_of(server) as other:
            for peer, said in ((one, "hé\n\n"), (other, "a"), (one, "b")):
                peer.transport.sendto(said.encode())
                await until(lambda peer=peer, said=said: f"{said}!".encode() in peer.heard)  # type: ignore[misc]
            assert [one.heard, other.heard] == [["hé\n\n!".encode(), b"b!"], [b"a!"]]
            assert len(server.connections) == 2
            assert {each.port for each in server.connections} == {
                peer.transport.get_extra_info("sockname")[1] for peer in (one, other)
            }
        assert len(seen.disconnected) == 2
        assert server.connections == []

    run(main())


def test_a_client_and_its_server(run: Run) -> None:
    """A client's ``send`` reaches its server; a server's reaches all whom it may write to."""

    async def main() -> None:
        server = make_server(protocol=Protocol.UDP)
        seen = Seen(server)
        async with running(server):
            clients = [client_of(server, protocol=Protocol.UDP) for _ in range(2)]
            heard = [Seen(client) for client in clients]
            async with running(*clients):
                for client in clients:
                    await client.send("hello")
                await until(lambda: len(seen.messages) == 2)
                assert await server.send("all") == 2
                await until(lambda: all(each.messages == ["all"] for each in heard))

    run(main())


def test_no_answer_amplifies(run: Run) -> None:
    """An address is sent three times what came from it, until it is validated; a message to all leaves it out."""

    async def main() -> None:
        server = make_server(protocol=Protocol.UDP)
        async with running(server), peer_of(server) as peer:
            peer.transport.sendto(b"1234567890")
            await until(lambda: server.connections and server.connections[0].history)
            (connection,) = server.connections
            with pytest.raises(UnvalidatedAddress):
                await connection.send("x" * 31)
            assert await server.send("x" * 31) == 0
            connection.validate()
            assert await server.send("x" * 31) == 1
            await until(lambda: peer.heard)
            with pytest.raises(MessageTooLarge):
                await connection.send("x" * 65_508)

    run(main())


@pytest.mark.parametrize(
    ("strategy", "sent", "messages", "answered"),
    [
        (SeparatorStrategy("|"), b"a|b|c", ["a|", "b|", "c"], [b"ok|"]),
        (FixedLengthStrategy(4), b"a   b   ", ["a   ", "b   "], [b"ok  "]),
    ],
    ids=["lines", "blocks"],
)
def test_strategies_within_datagrams(strategy: Any, sent: bytes, messages: list[str], answered: list[bytes], run: Run) -> None:
    """With another strategy than the default a datagram may have several messages, each of them whole."""

    async def main() -> None:
        server = make_server(protocol=Protocol.UDP, message_strategy=strategy)
        seen = Seen(server)
        async with running(server), peer_of(server) as peer:
            peer.transport.sendto(sent)
            await until(lambda: len(seen.messages) == len(messages))
            assert await server.send("ok") == 1
            await until(lambda: peer.heard)
            assert (seen.messages, peer.heard) == (messages, answered)

    run(main())


def test_an_interface_is_an_address(run: Run) -> None:
    """A server over UDP that is to listen on what is no address says so when it is started, and is stopped."""

    async def main() -> None:
        server = make_server(protocol=Protocol.UDP, host="nowhere")
        with pytest.raises(SettingsError, match="nowhere"):
            await server.start_async()
        assert server.state is State.STOPPED

    run(main())
