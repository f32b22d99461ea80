"""The server: hooks, handlers, broadcasts, connections, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from tests.conftest import LoggedFailures
from tests.support.authority import Authority
from tests.support.dropin.conduit_ends import Run, connected, make_client, make_server, serving, until
from veltix_tx.dropin.conduit import Connection, ConnectionPool, ConnectionState, NotConnectedError, Server


def test_hooks_are_called_once_each_in_their_order(run: Run) -> None:
    """Startup comes before the port is open, a client's hooks around its stay, shutdown last; plain functions are hooks, too."""
    told: list[Any] = []
    server = make_server()

    @server.on_startup
    async def starting(each: Server) -> None:
        with socket.socket() as probe:
            told.append(("startup", each is server, probe.connect_ex(("127.0.0.1", server.config.port)) != 0))

    @server.on_shutdown
    def stopped(each: Server) -> None:
        told.append(("shutdown", each.is_running))

    @server.on_client_connect
    async def came(connection: Connection) -> None:
        told.append(("came", connection.state))

    @server.on_client_disconnect
    async def left(connection: Connection) -> None:
        told.append(("left", connection.state))

    async def main() -> None:
        async with connected(server):
            assert server.is_running

    run(main())
    assert told == [
        ("startup", True, True),
        ("came", ConnectionState.ACTIVE),
        ("left", ConnectionState.DISCONNECTED),
        ("shutdown", False),
    ]


def test_a_client_hook_that_raises_is_logged_and_the_client_stays(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """As in netconduit, an exception of ``on_client_connect`` keeps nobody out, nor the next hook from being called."""
    server, came = make_server(), []

    @server.on_client_connect
    async def broken(connection: Connection) -> None:
        raise RuntimeError("not today")

    server.on_client_connect(came.append)

    async def main() -> None:
        async with connected(server) as client:
            await client.rpc.discover()

    run(main())
    assert len(came) == 1
    assert [record.levelname for record in caplog.records if "broken" in record.getMessage()] == ["ERROR"]


def test_a_startup_hook_that_raises_keeps_the_server_from_starting(run: Run) -> None:
    """An exception of ``on_startup`` is raised by ``start()``, and nothing listens."""
    server = make_server()

    @server.on_startup
    async def broken(each: Server) -> None:
        raise RuntimeError("not today")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="not today"):
            await server.start()
        assert not server.is_running

    run(main())


def test_a_message_sent_in_on_client_connect_arrives_and_a_broadcast_leaves_the_client_out(run: Run) -> None:
    """The hook may send to the new client; a broadcast in it goes to the others."""
    server, sent = make_server(), []
    first, second = make_client(server), make_client(server)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    for client in (first, second):
        client.on("welcome")(heard.put)
        client.on("news")(heard.put)

    @server.on_client_connect
    async def came(connection: Connection) -> None:
        await connection.send_message("welcome", {"you": connection.id})
        sent.append(await server.broadcast("news", {"new": connection.id}))

    async def main() -> None:
        async with connected(server, first):
            one = (await heard.get())["you"]
            await second.connect()
            two = [await heard.get(), await heard.get()]
            others = [each.id for each in server.connections if each.id != one]
            assert sorted(two, key=str) == [{"new": others[0]}, {"you": others[0]}]
            await second.disconnect()

    run(main())
    assert sent == [0, 1]


def test_every_handler_of_a_type_is_called_and_the_last_result_answers(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Several handlers of one type run in their order; one that raises is logged, and the others go on."""
    server, called = make_server(), []

    @server.on("ask")
    def first(connection: Connection, data: Any) -> str:
        called.append("first")
        return "first"

    @server.on("ask")
    async def second(connection: Connection, data: Any) -> str:
        called.append("second")
        return f"second {data}"

    @server.on("ask")
    async def third(connection: Connection, data: Any) -> str:
        raise RuntimeError("not today")

    async def main() -> None:
        client = make_client(server)
        answers: asyncio.Queue[Any] = asyncio.Queue()
        client.on("ask_response")(answers.put)
        async with connected(server, client):
            await client.send("ask", 1)
            assert await answers.get() == "second 1"

    run(main())
    assert called == ["first", "second"]
    assert "third" in caplog.text


def test_a_handler_that_raises_answers_nothing(run: Run, logged_failures: LoggedFailures) -> None:
    """The exception is logged; later messages are handled."""
    server = make_server()

    @server.on("ask")
    async def handler(connection: Connection, data: Any) -> Any:
        return 1 / data

    async def main() -> None:
        client = make_client(server)
        answers: asyncio.Queue[Any] = asyncio.Queue()
        client.on("ask_response")(answers.put)
        async with connected(server, client):
            await client.send("ask", 0)
            await client.send("ask", 2)
            assert await answers.get() == 0.5

    run(main())
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_messages_without_a_handler_are_logged_and_dropped(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """However many messages of unknown types a client sends, it stays; the log names their types, and is not flooded."""
    server = make_server()

    async def main() -> None:
        async with connected(server) as client:
            for number in range(200):
                await client.send(f"unknown-{number}", None)
            await client.rpc.discover()
            assert server.connection_count == 1

    run(main())
    said = [record.getMessage() for record in caplog.records if record.name == "conduit.server"]
    assert said[0] == "No handler for message type: unknown-0"
    assert len(said) <= 50


def test_a_broadcast_leaves_out_the_ids_it_is_given(run: Run) -> None:
    """``exclude`` takes ids of connections; the number of clients it was sent to is returned."""
    server = make_server()
    clients = [make_client(server) for _ in range(3)]
    heard: list[list[Any]] = [[], [], []]

    async def main() -> None:
        async with serving(server):
            for client, told in zip(clients, heard, strict=True):
                client.on("news")(told.append)
                assert await client.connect()
            first, second, _ = server.connections
            assert await server.broadcast("news", 1) == 3
            assert await server.broadcast("news", 2, exclude={first.id, second.id, "nobody"}) == 1
            for client in clients:
                await client.rpc.discover()  # what was sent before has come
                await client.disconnect()

    run(main())
    assert heard == [[1], [1], [1, 2]]


def test_a_connection_tells_of_itself_and_can_be_closed(run: Run) -> None:
    """Id, address, state and counts of a connection are there; ``stop()`` closes it, and nothing can be sent then."""
    server = make_server()
    server.on("note")(lambda connection, data: "thanks")

    async def main() -> None:
        async with connected(server) as client:
            (connection,) = server.connections
            await client.send("note", "x" * 1000)
            await client.rpc.discover()
            assert len(connection.id) == 36
            assert connection.remote_address[0] == "127.0.0.1"
            assert (connection.is_connected, connection.is_authenticated) == (True, True)
            stats = connection.stats
            assert (stats.messages_received, stats.errors) == (2, 0)
            assert stats.messages_sent >= 1
            assert stats.bytes_received > 1000
            await connection.stop()
            assert connection.state is ConnectionState.DISCONNECTED
            with pytest.raises(NotConnectedError):
                await connection.send_message("news", 1)
            with pytest.raises(ConnectionError):  # Python's own: as programs for netconduit have it
                await connection.send_message("news", 1)

    run(main())


def test_a_pool_keeps_a_programs_choice_of_connections(run: Run) -> None:
    """A pool has its limit, finds connections by id, sends to them but for some, and closes them."""
    server, pool = make_server(), ConnectionPool(max_connections=2)
    clients = [make_client(server) for _ in range(3)]
    heard: list[list[Any]] = [[], [], []]

    async def main() -> None:
        async with serving(server):
            for client, told in zip(clients, heard, strict=True):
                client.on("news")(told.append)
                assert await client.connect()
            first, second, third = server.connections
            assert [await pool.add(each) for each in (first, second, third)] == [True, True, False]
            assert (len(pool), pool.count, pool.is_full, pool.available_slots) == (2, 2, True, 0)
            assert first.id in pool
            assert (pool.get(second.id), pool.get(third.id)) == (second, None)
            assert pool.get_all() == pool.get_authenticated() == [first, second]
            assert await pool.broadcast("news", 1) == 2
            assert await pool.broadcast("news", 2, exclude={first.id}) == 1
            for client in clients:
                await client.rpc.discover()
            assert (await pool.remove(first.id), await pool.remove(first.id)) == (True, False)
            await pool.close_all()
            assert (pool.count, second.is_connected, third.is_connected) == (0, False, True)
            for client in clients:
                await client.disconnect()

    run(main())
    assert heard == [[1], [1, 2], []]


def test_a_full_server_refuses_at_once(run: Run) -> None:
    """With ``max_connections`` clients the next one's ``connect()`` is False, long before its timeout; a free place is taken."""
    server = make_server(max_connections=1)

    async def main() -> None:
        async with connected(server) as first:
            second = make_client(server)
            assert await asyncio.wait_for(second.connect(), 3) is False
            await first.disconnect()
            await until(lambda: not server.connection_count)
            assert await second.connect() is True
            await second.disconnect()

    run(main())


def test_back_pressure_slows_the_sender_down(run: Run) -> None:
    """While a handler is slow, reading pauses at ``receive_queue_size``: the sender waits, little is kept, nothing is lost."""
    server, go_on, handled = make_server(receive_queue_size=5), asyncio.Event(), []

    @server.on("work")
    async def work(connection: Connection, data: dict[str, Any]) -> None:
        await go_on.wait()
        handled.append(data["n"])

    async def main() -> None:
        async with connected(server) as client:

            async def send_all() -> None:
                for number in range(500):
                    await client.send("work", {"n": number, "padding": "x" * 100_000})

            sending = asyncio.ensure_future(send_all())
            (connection,) = server.connections
            before = -1
            while connection.stats.bytes_received != before:  # until nothing more is read
                before = connection.stats.bytes_received
                await asyncio.sleep(0.2)
            assert not sending.done()
            assert before < 5_000_000
            go_on.set()
            await sending
            await until(lambda: len(handled) == 500)

    run(main())
    assert handled == list(range(500))


def test_a_slow_handler_blocks_neither_heartbeat_nor_calls(run: Run) -> None:
    """While a method runs for several heartbeats, others are called, and the connection lives."""
    server = make_server()
    quick = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.2}  # shorter than a descriptor takes
    server = Server(server.config.model_copy(update=quick))
    client = make_client(server)
    client = type(client)(client.config.model_copy(update=quick))

    @server.rpc
    async def slow() -> str:
        await asyncio.sleep(0.8)
        return "done"

    @server.rpc
    async def fast() -> str:
        return "fast"

    async def main() -> None:
        async with connected(server, client):
            waiting = asyncio.ensure_future(client.rpc.call("slow"))
            assert await asyncio.wait_for(client.rpc.call("fast"), 0.5) == "fast"
            assert await waiting == "done"

    run(main())


def test_stop_returns_and_answers_what_has_arrived(run: Run) -> None:
    """``stop()`` with a client connected returns, a method that runs being answered; the server can start again."""
    server, running = make_server(), asyncio.Event()

    @server.rpc
    async def slow() -> str:
        running.set()
        await asyncio.sleep(0.1)
        return "done"

    async def main() -> None:
        client = make_client(server)
        for _ in range(2):
            running.clear()
            await server.start()
            await server.start()  # which does nothing
            assert await client.connect()
            waiting = asyncio.ensure_future(client.rpc.call("slow"))
            await running.wait()
            await asyncio.gather(server.stop(), server.stop())
            assert await waiting == "done"
            assert not client.is_connected
            await client.disconnect()

    run(main())


def test_run_serves_until_it_is_stopped_or_cancelled(run: Run) -> None:
    """``run()`` returns when ``stop()`` is called or it is cancelled, and everything is closed then."""
    server = make_server()
    server.rpc("one")(lambda: 1)

    async def main() -> None:
        for end in ("stop", "cancel"):
            serving = asyncio.ensure_future(server.run())
            await until(lambda: server.is_running)
            client = make_client(server)
            assert await client.connect()
            assert await client.rpc.call("one") == 1
            if end == "stop":
                await server.stop()
            else:
                serving.cancel()
            await serving
            assert not server.is_running
            await client.disconnect()

    run(main())


def test_a_taken_port_is_an_os_error(run: Run) -> None:
    """``start()`` raises the system's OSError, and the server can be started when the port is free."""
    first = make_server()
    second = Server(first.config)

    async def main() -> None:
        async with serving(first):
            with pytest.raises(OSError, match="in use"):
                await second.start()
            assert not second.is_running
        async with serving(second):
            assert second.address == ("127.0.0.1", first.config.port)

    run(main())


def test_a_host_of_the_other_family_is_an_os_error(run: Run) -> None:
    """``ipv6`` chooses the addresses that a host may have."""

    async def main() -> None:
        with pytest.raises(OSError):  # noqa: PT011 (its text is the system's)
            await make_server(host="127.0.0.1", ipv6=True).start()

    run(main())


def test_rate_limit_slows_a_client_down(run: Run) -> None:
    """With ``rate_limit_enabled`` messages over the rate wait for their turn; none is lost."""
    server, handled = make_server(rate_limit_enabled=True, rate_limit_messages_per_second=100), []
    server.on("note")(lambda connection, data: handled.append(data))

    async def main() -> None:
        async with connected(server) as client:
            begun = asyncio.get_running_loop().time()
            for number in range(150):
                await client.send("note", number)
            await until(lambda: len(handled) == 150)
            assert asyncio.get_running_loop().time() - begun > 0.4

    run(main())
    assert handled == list(range(150))


def test_the_password_is_in_no_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password is one line of the log, and neither it nor the right one is in it, nor in a descriptor's repr."""
    caplog.set_level(logging.DEBUG)
    server = make_server(password="correct horse")

    async def main() -> None:
        async with serving(server):
            assert await make_client(server, password="battery staple").connect() is False

    run(main())
    assert "correct horse" not in caplog.text + repr(server.config)
    assert "battery staple" not in caplog.text


def test_tls_is_spoken_where_it_is_enabled(run: Run, authority: Authority) -> None:
    """``ssl_enabled`` with its files encrypts and verifies both ways; a client without TLS, or without a certificate, stays out."""
    server_files, client_files = authority.issue("server", "localhost", "127.0.0.1"), authority.issue("client", client=True)
    server = make_server(
        ssl_enabled=True,
        ssl_cert_file=str(server_files.cert),
        ssl_key_file=str(server_files.key),
        ssl_verify_client=True,
        ssl_ca_file=str(authority.ca),
    )
    server.rpc("one")(lambda: 1)
    ours = {"ssl_enabled": True, "ssl_ca_file": str(authority.ca), "connect_timeout": 1}

    async def main() -> None:
        certified = make_client(server, **ours, ssl_cert_file=str(client_files.cert), ssl_key_file=str(client_files.key))
        async with connected(server, certified):
            assert await certified.rpc.call("one") == 1
            assert await make_client(server, connect_timeout=1).connect() is False
            assert await make_client(server, **ours).connect() is False

    run(main())
