"""The client: connecting, hooks, reconnecting, sending."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.dropin.conduit_ends import Run, connected, make_client, make_server, serving, until
from veltix_tx.dropin.conduit import (
    Client,
    ClientDescriptor,
    ConnectionState,
    NotConnectedError,
    ProtocolError,
    RPCException,
    Server,
)
from veltix_tx.dropin.conduit.response.error import ErrorCode

AGAIN: dict[str, Any] = {"reconnect_enabled": True, "reconnect_delay": 0.1, "reconnect_delay_max": 1.0}


def test_connect_is_false_and_raises_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listening, a wrong password and a host that cannot be give False after one try, and a line of the log each."""
    server = make_server()

    async def main() -> None:
        lost = make_client(server, **AGAIN)
        begun = time.monotonic()
        assert await lost.connect() is False
        assert time.monotonic() - begun < 0.1  # no second try
        assert lost.state is ConnectionState.FAILED
        async with serving(server):
            assert await make_client(server, password="wrong", **AGAIN).connect() is False
            assert await lost.connect() is True  # the same one, later
            assert lost.state is ConnectionState.ACTIVE
            await lost.disconnect()
        assert await make_client(server, server_host="no-such-host.invalid").connect() is False

    run(main())
    said = [record.getMessage() for record in caplog.records if record.name == "conduit.client"]
    assert len(said) == 3
    assert "Invalid password" in said[1]


def test_a_cancelled_connect_leaves_nothing_behind(run: Run) -> None:
    """A try that is cancelled, at a server that says nothing, is given up."""

    async def main() -> None:
        kept: list[Any] = []
        silent = await asyncio.start_server(lambda *streams: kept.append(streams), "127.0.0.1", 0)
        client = Client(ClientDescriptor(server_host="127.0.0.1", server_port=silent.sockets[0].getsockname()[1], password="x"))
        connecting = asyncio.ensure_future(client.connect())
        await until(lambda: client.state is ConnectionState.CONNECTING)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert client.state is ConnectionState.DISCONNECTED
        await client.disconnect()
        silent.close()
        for _, writer in kept:
            writer.close()

    run(main())


def test_connecting_twice_is_connecting_once(run: Run) -> None:
    """``connect()`` of a connected client is True, and there is one connection, one call of the hooks."""
    server, told = make_server(), []

    async def main() -> None:
        client = make_client(server)
        client.on_connect(told.append)
        async with connected(server, client):
            assert await client.connect() is True
            assert server.connection_count == 1

    run(main())
    assert len(told) == 1


def test_a_client_knows_its_server(run: Run) -> None:
    """Name, version and token of the server are known once it is connected; ``health()`` has them."""
    server = make_server(name="Ours", version="7")

    async def main() -> None:
        client = make_client(server)
        assert (client.server_info, client.session_token, client.is_authenticated) == ({}, None, False)
        async with connected(server, client):
            assert client.server_info == {"name": "Ours", "version": "7"}
            assert len(client.session_token or "") == 128
            assert client.health() == {
                "connected": True,
                "state": "ACTIVE",
                "authenticated": True,
                "reconnect_attempts": 0,
                "server_info": {"name": "Ours", "version": "7"},
            }

    run(main())


def test_on_disconnect_is_called_once_whoever_ends_the_connection(run: Run) -> None:
    """The hooks of each end of a connection run once, and are done when ``disconnect()`` returns."""
    server, told = make_server(), []

    async def main() -> None:
        client = make_client(server)

        @client.on_connect
        async def connected(each: Client) -> None:
            told.append("connected")

        @client.on_disconnect
        async def disconnected(each: Client) -> None:
            await asyncio.sleep(0.01)
            told.append(f"disconnected {each.is_connected}")

        async with serving(server):
            await client.connect()
            await client.disconnect()
            await client.disconnect()
            assert told == ["connected", "disconnected False"]
            await client.connect()
            await server.connections[0].stop()
            await until(lambda: len(told) == 4)
            assert client.state is ConnectionState.FAILED
            await client.disconnect()
            assert client.state is ConnectionState.DISCONNECTED

    run(main())
    assert told == ["connected", "disconnected False"] * 2


def test_a_lost_client_comes_back_and_says_so(run: Run) -> None:
    """After a loss the client connects again: on_disconnect, on_connect, on_reconnect; its handlers stay."""
    server = make_server()
    told: list[str] = []

    async def main() -> None:
        client = make_client(server, **AGAIN)
        back: asyncio.Queue[Any] = asyncio.Queue()
        client.on("news")(back.put)
        client.on_connect(lambda each: told.append("connect"))
        client.on_disconnect(lambda each: told.append("disconnect"))

        @client.on_reconnect
        async def again(each: Client) -> None:
            assert each.is_connected
            told.append("reconnect")
            back.put_nowait("back")

        async with serving(server):
            await client.connect()
        assert client.state in (ConnectionState.CONNECTING, ConnectionState.DISCONNECTED)
        async with serving(server):
            assert await back.get() == "back"
            await server.broadcast("news", 1)
            assert await back.get() == 1
            await client.disconnect()

    run(main())
    assert told == ["connect", "disconnect", "connect", "reconnect", "disconnect"]


def test_a_lost_client_gives_up_after_its_attempts(run: Run) -> None:
    """``reconnect_attempts`` tries after a loss, then FAILED; the waits grow by the multiplier."""
    server = make_server()

    async def main() -> None:
        client = make_client(server, **AGAIN, reconnect_attempts=2, reconnect_delay_multiplier=3)
        async with serving(server):
            await client.connect()
        begun = time.monotonic()
        await until(lambda: client.state is ConnectionState.FAILED)
        assert 0.35 < time.monotonic() - begun < 2  # 0.1 and 0.3
        assert client.health()["reconnect_attempts"] == 2
        await client.disconnect()

    run(main())


def test_disconnect_ends_reconnecting(run: Run) -> None:
    """A client that waits for its next try leaves nothing behind when it disconnects."""
    server = make_server()

    async def main() -> None:
        client = make_client(server, **AGAIN | {"reconnect_delay": 1.0})
        async with serving(server):
            await client.connect()
        await client.disconnect()
        assert client.state is ConnectionState.DISCONNECTED

    run(main())


def test_waiting_calls_fail_at_once_when_the_connection_goes(run: Run) -> None:
    """A call whose connection is lost raises RPCError then, not after its timeout; so does one without a connection."""
    server, begun = make_server(), asyncio.Event()

    @server.rpc
    async def endless() -> None:
        begun.set()
        await asyncio.sleep(1000)

    async def main() -> None:
        async with connected(server) as client:
            waiting = asyncio.ensure_future(client.rpc.call("endless", timeout=1000))
            await begun.wait()
            await server.connections[0].stop()
            with pytest.raises(RPCException) as lost:
                await asyncio.wait_for(waiting, 1)
            assert lost.value.code == ErrorCode.DISCONNECTED
            with pytest.raises(RPCException, match="Not connected"):
                await client.rpc.call("endless")
            with pytest.raises(RPCException, match="Not connected"):
                await client.rpc.call_no_wait("endless")

    run(main())


def test_sending_without_a_connection_is_pythons_connection_error_too(run: Run) -> None:
    """``send`` of a client that is not connected raises what the package names, which is what netconduit raises."""

    async def main() -> None:
        client = make_client(make_server())
        with pytest.raises(NotConnectedError, match="Not connected"):
            await client.send("note", 1)
        with pytest.raises(ConnectionError):
            await client.send("note", 1)

    run(main())


def test_handlers_may_call_methods_and_hooks_may_do_anything(run: Run) -> None:
    """A handler and a hook of the client await calls of the server, and a hook may disconnect."""
    server = make_server()

    @server.rpc
    async def double(n: int) -> int:
        return 2 * n

    async def main() -> None:
        client = make_client(server)
        told: asyncio.Queue[Any] = asyncio.Queue()

        @client.on_connect
        async def connected(each: Client) -> None:
            told.put_nowait(await each.rpc.call("double", n=1))

        @client.on("news")
        async def news(data: int) -> None:
            told.put_nowait(await client.rpc.call("double", n=data))

        async with serving(server):
            await client.connect()
            assert await told.get() == 2
            await server.broadcast("news", 21)
            assert await told.get() == 42
            client.on_connect(Client.disconnect)
            await client.disconnect()
            assert await client.connect() is True
            assert not client.is_connected
            await client.disconnect()

    run(main())


def test_a_clients_handlers_answer_nothing(run: Run) -> None:
    """What a handler of a client returns is dropped, as in netconduit: no message goes back."""
    server, came = make_server(), []
    server.on("news_response")(lambda connection, data: came.append(data))

    async def main() -> None:
        client = make_client(server)
        client.on("news")(lambda data: "plain")

        @client.on("news")
        async def second(data: Any) -> str:
            return "awaited"

        async with connected(server, client):
            await server.broadcast("news", 1)
            await asyncio.sleep(0.05)
            await client.rpc.discover()

    run(main())
    assert came == []


def test_what_cannot_be_sent_is_said_and_the_connection_goes_on(run: Run) -> None:
    """Keys that are numbers, what msgpack does not hold and too much are errors of the sender, who can go on."""
    server = make_server()

    async def main() -> None:
        client = make_client(server, max_message_size=10_000)
        answers: asyncio.Queue[Any] = asyncio.Queue()
        server.on("note")(lambda connection, data: data)
        client.on("note_response")(answers.put)
        async with connected(server, client):
            with pytest.raises(ValueError, match="netconduit takes no other"):
                await client.send("note", {1: "one"})
            with pytest.raises(TypeError):
                await client.send("note", object())
            with pytest.raises(ProtocolError):
                await client.send("note", "x" * 10_001)
            await client.send("note", "fine")
            assert await answers.get() == "fine"

    run(main())


def test_a_sender_waits_for_a_slow_server(run: Run) -> None:
    """However much is sent at once, and by how many, senders wait, nothing raises and nothing is lost."""
    server, handled = make_server(receive_queue_size=1), []

    @server.on("work")
    async def work(connection: Any, data: str) -> None:
        await asyncio.sleep(0)
        handled.append(data[:2])

    async def main() -> None:
        async with connected(server) as client:
            await asyncio.gather(*(client.send("work", f"{number:02}" + "x" * 1_000_000) for number in range(40)))
            await until(lambda: len(handled) == 40)

    run(main())
    assert handled == [f"{number:02}" for number in range(40)]


def test_clients_and_servers_outlive_a_loop(run: Run) -> None:
    """One server and one client, made once, work in one ``asyncio.run`` after another."""
    server = make_server()
    client = make_client(server)
    server.rpc("one")(lambda: 1)

    async def main() -> None:
        async with connected(server, client):
            assert await client.rpc.call("one") == 1

    run(main())
    run(main())
    assert isinstance(server, Server)
