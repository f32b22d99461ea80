"""UDP in asyncio's loop: answers, validation, and the end of what nobody is there for."""

from __future__ import annotations

import asyncio

from tests.support.aio.ends import Run
from tests.support.ports import free_port
from veltix_tx import TEXT, DisconnectReason, Response
from veltix_tx.aio import Client, Server, Session
from veltix_tx.testing import MemoryNetwork


def make_server(endpoint: str) -> Server:
    """Return a server that validates who says so, and answers with much."""
    server = Server(endpoint=endpoint)

    @server.route(TEXT)
    async def on_text(client: Session, message: Response[str]) -> str:
        await asyncio.sleep(0)
        if message.value == "validate":
            client.validate()
        return message.value * 100 if message.value == "validate" else message.value

    return server


def test_a_server_and_a_client_over_udp(run: Run) -> None:
    """Datagrams go both ways in a loop, in asyncio's and in uvloop's; a stop closes the ports."""

    async def main() -> list[str]:
        heard: list[str] = []
        async with make_server("lines@udp:0:interface=127.0.0.1") as server:
            client = Client(endpoint=f"udp:127.0.0.1:{server.port}", wire="lines")
            async with client:
                messages = client.messages(TEXT)
                for said in ("one", "validate", "two"):
                    client.send(TEXT, said)
                    heard.append((await anext(messages)).value)
        return heard

    assert run(main()) == ["one", "validate" * 100, "two"]


def test_a_client_hears_that_nobody_is_there(run: Run) -> None:
    """The kernel's answer ends the session, with the reason UNREACHABLE."""

    async def main() -> DisconnectReason:
        client = Client(endpoint=f"udp:127.0.0.1:{free_port()}", wire="lines")
        session = await client.connect()
        client.send(TEXT, "one")
        closed = await session.when_closed()
        await client.disconnect()
        return closed.reason

    assert run(main()) is DisconnectReason.UNREACHABLE


def test_datagrams_in_memory(run: Run) -> None:
    """A MemoryNetwork delivers datagrams while a test awaits."""

    async def main() -> str:
        async with MemoryNetwork() as network:
            network.serve(make_server("lines@udp:7001"))
            client = Client(endpoint="udp:127.0.0.1:7001", wire="lines")
            messages = client.messages(TEXT)
            await network.connect(client)
            client.send(TEXT, "one")
            return (await anext(messages)).value

    assert run(main()) == "one"
