"""``async for message in client.messages(TYPE)``: in order, bounded, from the call to the end of the session."""

from __future__ import annotations

import asyncio
import gc

import pytest
from twisted.internet.error import ConnectError

from tests.support.aio.ends import CHAT, NEWS, TYPES, Run, make_client, make_server
from veltix_tx import Limits, Response, RetryPolicy, SettingsError
from veltix_tx.aio import Client, Session


def test_they_come_in_order_and_end_with_the_session(run: Run) -> None:
    """All that was sent before the end is there, whoever ends the session, also what had to wait for room."""
    server = make_server()

    @server.set_callback("on_connect")
    def on_connect(client: Session) -> None:
        for number in range(200):
            client.send(NEWS, b"%d" % number)

    async def main() -> None:
        async with server:
            client = make_client(server)
            news = client.messages(NEWS, maxsize=3)  # before it connects: none is missed
            async with client:
                await server.clients[0].disconnect()
                assert [message.content async for message in news] == [b"%d" % number for number in range(200)]
                assert [message async for message in news] == []

    run(main())


def test_what_nobody_takes_holds_the_server_back(run: Run) -> None:
    """While as many wait as may, the client reads no more, and the server that awaits its sends waits, too; replies go on."""
    server = make_server()
    sent = 0

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        nonlocal sent
        for _ in range(1000):
            await client.send(NEWS, bytes(64 * 1024))
            sent += 1

    async def main() -> None:
        async with server, make_client(server, limits=Limits(inflight=8)) as client:
            news = client.messages(NEWS, maxsize=4)
            client.send(CHAT)
            while not client.counters["reads_paused"]:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            assert before < 1000
            assert client.counters["reads_paused"] == 1
            taken = [await news.__anext__() for _ in range(1000)]
            assert {len(message.content) for message in taken} == {64 * 1024}

    run(main())


@pytest.mark.parametrize("how", ["aclose", "dropped"])
def test_who_stops_iterating_holds_nobody_back(run: Run, how: str) -> None:
    """Closed, or referred to by nobody, it has no route any more, and the session's other messages go on."""
    server = make_server()
    told: list[bytes] = []

    @server.route(CHAT)
    def on_chat(client: Session, message: Response) -> bytes:
        for number in range(10):
            client.send(NEWS, b"%d" % number)
        return b"answer"

    async def main() -> None:
        async with server, make_client(server) as client:
            client.set_callback("on_recv", lambda message: told.append(message.content))
            news = client.messages(NEWS, maxsize=2)
            await client.send_and_wait(CHAT)
            async for message in news:
                assert message.content == b"0"
                break
            if how == "aclose":
                await news.aclose()
                assert [message async for message in news] == []
            else:
                del news
                gc.collect()
            await client.send_and_wait(CHAT)
            assert told[-10:] == [b"%d" % number for number in range(10)]
            client.messages(NEWS)

    run(main())


def test_it_goes_on_with_the_next_session(run: Run) -> None:
    """Asked for again when it has ended, it waits for the session that a client with a retry policy makes."""
    server = make_server()
    server.set_callback("on_connect", lambda client: client.send(NEWS, b"welcome"))

    async def main() -> None:
        async with server:
            client = make_client(server, retry=RetryPolicy(initial_delay=0.01, jitter=False, stable_after=0))
            count = 0
            news = client.messages(NEWS)
            async with client:
                while count < 3:
                    async for message in news:
                        assert message.content == b"welcome"
                        count += 1
                        await server.clients[0].disconnect()
                    news = client.messages(NEWS)

    run(main())


def test_it_raises_why_there_is_no_session(run: Run) -> None:
    """Where the client cannot connect, who waits for messages is told as who connects is."""

    async def main() -> None:
        async with make_server() as server:
            port = server.port
        client = Client("127.0.0.1", port, types=TYPES)
        news = client.messages(NEWS)
        waiting = asyncio.ensure_future(news.__anext__())
        with pytest.raises(ConnectError):
            await client.connect()
        with pytest.raises(ConnectError):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await news.__anext__()

    run(main())


def test_a_type_has_one_iterator_or_a_route() -> None:
    """A second one, a route beside it, and a size that cannot be, are refused."""
    client = Client(types=TYPES)
    news = client.messages(NEWS)
    with pytest.raises(SettingsError, match="a type that has no route yet"):
        client.messages(NEWS)
    with pytest.raises(SettingsError, match="a type that has no route yet"):
        client.route(NEWS)(print)
    with pytest.raises(SettingsError, match="maxsize is 0"):
        client.messages(CHAT, maxsize=0)
    assert news.__aiter__() is news
