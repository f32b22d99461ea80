"""Classifiers, middleware and before_send over aio: they get the sessions of aio, and wait for what asyncio serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.aio.ends import CHAT, NEWS, TYPES, Run
from veltix_tx import TEXT, ByConnection, DisconnectReason, Request, Response, SettingsError, Timeouts
from veltix_tx.aio import Client, Server, Session
from veltix_tx.testing import MemoryNetwork


async def by_prefix(session: Session, message: Response) -> str | None:
    """Name the kind after a wait."""
    assert isinstance(session, Session)
    await asyncio.sleep(0.001)
    return str(message.value)[:3]


async def by_address(session: Session) -> str:
    """Name the kind before any message."""
    await asyncio.sleep(0.001)
    assert session.certificate is None
    return session.ip


@pytest.mark.parametrize(("classifier", "kind"), [(by_prefix, "001"), (ByConnection(by_address), "127.0.0.1")])
def test_a_coroutine_names_the_kind(run: Run, classifier: Any, kind: str) -> None:
    """Routes of the kind get the view of the session, which knows its kind; later messages wait for it."""
    server = Server(wire="lines", classifier=classifier)

    @server.route(TEXT, kind=kind)
    async def on_line(session: Session, message: Response) -> str:
        assert session.kind == kind
        return f"{session.kind}: {message.value}"

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            device, answers = Client(wire="lines"), asyncio.Queue[str]()
            device.set_callback("on_recv", lambda message: answers.put_nowait(message.value))
            await network.connect(device)
            for line in ("001 a", "b"):
                device.send(TEXT, line)
            assert [await answers.get(), await answers.get()] == [f"{kind}: 001 a", f"{kind}: b"]
            assert [session.kind for session in server.select([kind])] == [kind]

    run(main())
    assert server.unregister_route(TEXT, kind)


def test_one_that_takes_too_long_is_cancelled(run: Run, logged_failures: Any) -> None:
    """The session is closed with the reason UNCLASSIFIED."""
    ended: list[object] = []
    closed = asyncio.Event()

    async def classify(session: Session, message: Response) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "001"

    server = Server(wire="lines", classifier=classify, timeouts=Timeouts(classifier=3))

    @server.set_callback("on_disconnect")
    def on_disconnect(session: Session) -> None:
        ended.append(session.closed and session.closed.reason)
        closed.set()

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            network.dial().send(b"001\n")
            network.advance(3)
            await closed.wait()

    run(main())
    assert set(ended) == {"cancelled", DisconnectReason.UNCLASSIFIED}
    assert len(logged_failures.flush()) == 1


def test_what_cannot_be_called_is_refused() -> None:
    """As by the server of Twisted's."""
    with pytest.raises(SettingsError, match="classifier is '001'"):
        Server(classifier="001")  # type: ignore[arg-type]


# Middleware and before_send


def test_middleware_awaits_both_kinds_of_things(run: Run) -> None:
    """In every form, around coroutines and around calls; what passes a message on can be given to asyncio's functions."""
    server, seen = Server(types=TYPES), list[str]()

    @server.use
    async def limited(session: Session, message: Response, next: Any) -> Any:
        assert isinstance(session, Session)
        result = await asyncio.wait_for(next(message), 5)
        await asyncio.sleep(0.001)
        seen.append("coroutine")
        return result

    @server.use
    async def log(session: Session, message: Response) -> AsyncIterator[Any]:
        assert isinstance(session, Session)
        await asyncio.sleep(0.001)
        yield replace(message, content=message.content.upper()) if message.type is CHAT else None
        seen.append("asynchronous generator")

    @server.use
    def count(session: Session, message: Response) -> Iterator[Any]:
        assert isinstance(session, Session)
        yield
        seen.append("generator")

    @server.use
    def passed(session: Session, message: Response, next: Any) -> Any:
        seen.append("function")
        return next(message)

    @server.route(CHAT)
    async def on_chat(session: Session, message: Response) -> bytes:
        await asyncio.sleep(0.001)
        return message.content + b"!"

    @server.rpc
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0.001)
        return a + b

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            client = Client(types=TYPES)
            await network.connect(client)
            assert (await client.send_and_wait(CHAT, b"hello")).content == b"HELLO!"
            assert await client.call("add", 1, 2) == 3

    run(main())
    assert seen == ["function", "generator", "asynchronous generator", "coroutine"] * 2


def test_a_cancelled_middleware_cancels_the_handler(run: Run) -> None:
    """The end of the connection ends both."""
    server, ended, began = Server(types=TYPES), list[str](), asyncio.Event()

    @server.use
    async def log(session: Session, message: Response, next: Any) -> Any:
        try:
            return await next(message)
        except asyncio.CancelledError:
            ended.append("middleware")
            raise

    @server.route(CHAT)
    async def on_chat(session: Session, message: Response) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("handler")
            raise

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            client = Client(types=TYPES)
            await network.connect(client)
            client.send(CHAT)
            await began.wait()
            await client.disconnect()

    run(main())
    assert set(ended) == {"handler", "middleware"}


def test_before_send_gets_the_view(run: Run) -> None:
    """On both sides; it is a plain function."""
    server, client = Server(types=TYPES), Client(types=TYPES)

    @client.use
    async def shout(session: Session, message: Response, next: Any) -> Any:
        return await next(replace(message, content=message.content.upper()))

    for door in (server, client):

        @door.before_send
        def sign(session: Session, message: Request) -> Request:
            assert isinstance(session, Session)
            return replace(message, content=bytes(message.content) + b"!")

        with pytest.raises(SettingsError, match="before_send is "):
            door.before_send(by_prefix)  # type: ignore[type-var]

    server.route(CHAT)(lambda session, message: message.content)
    heard = asyncio.Queue[bytes]()

    @client.set_callback("on_recv")
    def on_recv(message: Response) -> None:
        heard.put_nowait(message.content)

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            await network.connect(client)
            assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello!!"
            server.broadcast(NEWS, b"to all")
            assert await heard.get() == b"TO ALL!"

    run(main())
