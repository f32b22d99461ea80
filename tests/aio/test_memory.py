"""MemoryNetwork serves aio: what is sent is delivered while the test awaits, and time passes when the test says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError

from tests.support.aio.ends import CHAT, NEWS, TYPES, Run
from veltix_tx import Client as NativeClient
from veltix_tx import HandshakeTimeout, Response, SettingsError, Timeouts
from veltix_tx.aio import Client, Server, Session
from veltix_tx.testing import MemoryNetwork


def test_handlers_of_every_kind_are_served(run: Run) -> None:
    """Coroutines that await both kinds of things, ask back and take real time, and functions in threads."""
    server = Server(types=TYPES)

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> bytes:
        await asyncio.sleep(0.001)
        deferred: Deferred[None] = Deferred()
        asyncio.get_running_loop().call_soon(deferred.callback, None)
        await deferred
        return (await client.send_and_wait(NEWS, message.content)).content

    @server.route(NEWS, thread=True)
    def on_news(client: Session, message: Response) -> bytes:
        return client.blocking.send_and_wait(NEWS, message.content).content + b" by thread"

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            client = Client(types=TYPES)

            @client.route(NEWS)
            async def on_question(message: Response) -> bytes:
                await asyncio.sleep(0.001)
                return message.content.upper()

            session = await network.connect(client)
            assert session is client.session
            assert (await client.send_and_wait(CHAT, b"hello")).content == b"HELLO"
            assert (await client.send_and_wait(NEWS, b"hello")).content == b"HELLO by thread"
            assert await client.ping() == 0.0  # no time has passed
            news = client.messages(CHAT)
            assert server.broadcast(CHAT, b"to all") == 1
            assert (await news.__anext__()).content == b"to all"

    run(main())


def test_time_is_the_tests(run: Run, logged_failures: Any) -> None:
    """Timeouts of handlers come when the test lets time pass, and cancel tasks; what is real time goes on by itself."""
    server = Server(types=TYPES, timeouts=Timeouts(handler=3600))
    ended: list[str] = []

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        try:
            await Deferred()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            client = Client(types=TYPES)
            await network.connect(client)
            client.send(CHAT)
            await client.ping()
            network.advance(3599)
            await asyncio.sleep(0)
            assert ended == []
            network.advance(1)
            await client.ping()
            assert ended == ["cancelled"]

    run(main())
    assert len(logged_failures.flush()) == 1


def test_the_end_lets_tasks_come_to_theirs(run: Run) -> None:
    """At the end of the block handlers are cancelled, on_disconnect has been called and is done, and all is given back."""
    server, network, told = Server(types=TYPES), MemoryNetwork(), list[str]()

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        try:
            await Deferred()
        finally:
            await asyncio.sleep(0)
            told.append("handler")

    @server.set_callback("on_disconnect")
    async def on_disconnect(client: Session) -> None:
        await asyncio.sleep(0)
        told.append("on_disconnect")

    async def main() -> None:
        for _ in range(2):
            async with network:
                network.serve(server)
                with pytest.raises(SettingsError, match="stopped first"):
                    MemoryNetwork().serve(server)
                client = Client(types=TYPES)
                await network.connect(client)
                client.send(CHAT)
                await client.ping()
            assert told == ["handler", "on_disconnect"]
            told.clear()
        server.configure(host="127.0.0.1", port=0)
        async with server, Client("127.0.0.1", server.port, types=TYPES) as client:
            assert await client.ping() > 0

    for _ in range(2):  # in another loop, too
        run(main())
        assert told == ["on_disconnect"]
        told.clear()


def test_it_stops_and_disconnects_as_elsewhere(run: Run) -> None:
    """Stop and disconnect can be awaited in the network, and clients that reconnect do so on its clock."""

    async def main() -> None:
        async with MemoryNetwork() as network:
            server = Server(types=TYPES)
            network.serve(server)
            client = Client(types=TYPES, retry=1, retry_delay=60)
            first = await network.connect(client)
            await server.clients[0].disconnect()
            await first.when_closed()
            waiting = asyncio.ensure_future(client.when_connected())
            await asyncio.sleep(0)
            network.advance(60)
            assert await waiting is not first
            await client.disconnect()
            await server.stop()
            with pytest.raises(ConnectError):
                await network.connect(Client(types=TYPES))

    run(main())


def test_scripted_peers_meet_both(run: Run) -> None:
    """A client of aio's may be answered by bytes of the test's, and a server dialled; a client of Twisted's may be there, too."""

    async def main() -> None:
        async with MemoryNetwork() as network:
            peer, connecting = network.answer(Client(types=TYPES))
            network.advance(10)
            with pytest.raises(HandshakeTimeout):
                await connecting
            assert peer.closed
        async with MemoryNetwork() as network:
            server = Server(types=TYPES)
            network.serve(server)
            peer = network.dial()
            peer.send(b"GET / HTTP/1.1\r\n\r\n")
            assert peer.closed
            native = NativeClient(types=TYPES)
            assert network.connect(native).closed is None
            assert len(server.clients) == 1

    run(main())


def test_it_needs_a_running_loop() -> None:
    """Outside a coroutine a server of aio's cannot be served, and nothing has changed then."""
    server = Server(types=TYPES)
    with MemoryNetwork() as network, pytest.raises(RuntimeError, match="no running event loop"):
        network.serve(server)
    assert "not listening" in repr(server)
