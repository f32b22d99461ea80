"""Calls of methods over aio: what is served and called is awaited, in either direction, with what identity and wire there is."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
import pytest
from twisted.logger import LogLevel

import veltix_tx
from tests.support.aio.ends import CHAT, OTHER, TYPES, Run
from veltix_tx import TEXT, InvalidArguments, Lines, MethodNotFound, RemoteError, Response, RpcTimeout, SettingsError, Token
from veltix_tx.aio import CallContext, Client, Server, Session
from veltix_tx.testing import MemoryNetwork


class Sums(Protocol):
    async def add(self, a: int, b: int = 0) -> int: ...


class Point(msgspec.Struct):
    x: int


def test_calls_are_awaited_both_ways(run: Run) -> None:
    """A method may await asyncio's things, return a future and call the caller back; errors are those of calls elsewhere."""
    server, client = Server(types=TYPES), Client(types=TYPES)

    @server.rpc
    async def add(session: Session, a: int, b: int = 0) -> int:
        await asyncio.sleep(0)
        return int(await session.call("double", a)) + b

    @client.rpc("double", concurrent=False)
    async def twice(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            await network.connect(client)
            assert await client.call("add", 3, b=4) == 10
            assert await client.service(Sums).add(3) == 6  # type: ignore[type-abstract]
            assert await server.clients[0].service(Sums, prefix="").add(1) == 0  # type: ignore[type-abstract]

    client.register_rpc(lambda a: asyncio.ensure_future(asyncio.sleep(0, 0)), "add")
    run(main())


def test_errors_of_calls_are_raised(run: Run) -> None:
    """Arguments that do not fit and methods that are not there; a result is of the type asked for; what there is can be asked."""
    server, client = Server(types=TYPES), Client(types=TYPES)

    @server.rpc
    def point(x: int) -> dict[str, int]:
        return {"x": x}

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            session = await network.connect(client)
            with pytest.raises(InvalidArguments, match="x: Expected `int`"):
                await client.call("point", "one")
            assert await client.call("point", 1, returns=Point) == Point(1)
            assert (
                [method.name for method in await client.methods()] == ["point"] == [each.name for each in await session.methods()]
            )
            assert server.unregister_rpc("point")
            with pytest.raises(MethodNotFound):
                await session.call("point", 1)

    run(main())


def test_a_parameter_gets_the_session_of_its_annotation(run: Run) -> None:
    """Both of aio's classes give aio's session, those of the package the package's; in a thread as well."""
    server = Server(types=TYPES)
    got: list[object] = []

    class Service:
        async def view(self, session: Session) -> None:
            got.append(session)

        def context(self, number: int, *, context: CallContext) -> None:
            got.append((number, context.session, context.method, context.timeout, dict(context.metadata)))

        def native(self, session: veltix_tx.Session) -> None:
            got.append(session)

    @server.rpc("at_work", thread=True)
    def at_work(session: Session) -> float:
        return session.blocking.ping()

    server.register_service(Service(), prefix="of.")

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            client = Client(types=TYPES)
            await network.connect(client)
            await client.call("of.view")
            await client.call("of.context", 5, timeout=3, metadata={"trace": "t"})
            await client.call("of.native")
            assert await client.call("at_work") == 0.0
            (session,) = server.clients
            assert got == [session, (5, session, "of.context", 3.0, {"trace": "t"}), session._native]

    run(main())


def test_a_call_given_up_cancels_the_task_that_serves_it(run: Run, log_events: Any) -> None:
    """Cancelled or out of time: the method sees asyncio's CancelledError where it waits, and the log hears nothing."""
    server, client = Server(types=TYPES), Client(types=TYPES)
    begun, ended = asyncio.Queue[str](), asyncio.Queue[str]()

    @server.rpc
    async def rest() -> None:
        begun.put_nowait("rest")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.put_nowait("rest")
            raise

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            await network.connect(client)
            call = asyncio.ensure_future(client.call("rest"))
            await begun.get()
            call.cancel()
            assert await ended.get() == "rest"
            with pytest.raises(asyncio.CancelledError):
                await call
            call = asyncio.ensure_future(client.call("rest", timeout=5))
            await begun.get()
            network.advance(5)
            assert await ended.get() == "rest"
            with pytest.raises(RpcTimeout):
                await call
            await client.ping()
        assert [event for event in log_events if event.get("log_level") in (LogLevel.warn, LogLevel.error, LogLevel.critical)] == []

    run(main())


def test_identity_is_asked_for_and_given_by_coroutines(run: Run) -> None:
    """Authenticate and credentials await asyncio's things; allow gets aio's session; new credentials make a new identity."""
    tokens = {"t-ann": "ann", "t-bob": "bob"}
    given = ["t-ann"]
    allowed: list[object] = []

    async def authenticate(credentials: veltix_tx.Credentials) -> str | None:
        await asyncio.sleep(0)
        return tokens.get(credentials.token or "")

    async def present() -> Token:
        await asyncio.sleep(0)
        return Token(given[-1])

    def only_bob(session: Session) -> bool:
        allowed.append(session)
        return session.identity == "bob"

    async def later(session: Session) -> bool:
        return True

    server = Server(types=TYPES, authenticate=authenticate)
    client = Client(types=TYPES, credentials=present, allow_plaintext_credentials=True)

    @server.route(CHAT, allow=only_bob)
    async def on_chat(session: Session, message: Response) -> bytes:
        return b"bob"

    @server.rpc(allow=only_bob)
    def whoami(session: Session) -> str:
        return str(session.identity)

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            await network.connect(client)
            (session,) = server.select(identity="ann")
            for asking in (client.send_and_wait(CHAT), client.call("whoami")):
                with pytest.raises((RemoteError, veltix_tx.RpcError), match="forbidden"):
                    await asking
            given.append("t-bob")
            await client.reauthenticate()
            assert (await client.send_and_wait(CHAT)).content == b"bob"
            assert await client.call("whoami") == "bob"
            assert server.select(identity="bob") == [session] == list(dict.fromkeys(allowed))
            given.append("t-eve")
            with pytest.raises(veltix_tx.AuthenticationFailed):
                await client.reauthenticate()

    assert server.authenticates
    run(main())
    with pytest.raises(SettingsError, match="allow"):
        server.register_route(OTHER, on_chat, allow=later)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="allow"):
        server.register_rpc(whoami, "other", allow=later)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="authenticate"):
        server.set_authenticate(authenticate)


def test_replies_in_order_are_awaited(run: Run) -> None:
    """On a plain wire whose replies come in order several tasks may ask at once, each for its own reply."""
    lines = Lines(replies="in-order")
    server, client = Server(wire=lines), Client(wire=lines)

    @server.route(TEXT)
    async def on_line(session: Session, message: Response[Any]) -> str:
        await asyncio.sleep(0)
        return message.value.upper()  # type: ignore[no-any-return]

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            await network.connect(client)
            replies = await asyncio.gather(*[client.send_and_wait(TEXT, text) for text in ("a", "b", "c")])
            assert [reply.value for reply in replies] == ["A", "B", "C"]

    run(main())
