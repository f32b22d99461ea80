"""Sockets in both modes: their handlers in order, their ends, and that errors end nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import LoggedFailures
from tests.support.aio.ends import Run
from tests.support.dropin.sockets import RawPeer, Seen, begins_in_thread, client_of, dial, make_server, running, until
from tests.support.ports import free_port
from veltix_tx.dropin.flexi_socket import (
    EOFStrategy,
    FlexiSocket,
    Listener,
    Mode,
    SeparatorStrategy,
    State,
)
from veltix_tx.errors import MessageTooLarge, StreamEnded

LINES = SeparatorStrategy()


# What a socket is.


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "port"),
        ({"port": 70000}, "port"),
        ({"port": 1, "mode": "server"}, "mode"),
        ({"port": 1, "protocol": "tcp"}, "protocol"),
        ({"port": 1, "read_buffer_size": 0}, "read_buffer_size"),
    ],
)
def test_what_cannot_be_is_refused_when_a_socket_is_made(settings: dict[str, Any], said: str) -> None:
    """A socket without a port, as one with a setting that cannot be, raises ValueError, which names the setting."""
    with pytest.raises(ValueError, match=said):
        FlexiSocket(**settings)


def test_a_decorator_without_parentheses_is_refused() -> None:
    """A function in place of a type of peer is a mistake, which is told at once."""
    with pytest.raises(TypeError, match="parentheses"):
        make_server().on_message(print)


def test_states(run: Run) -> None:
    """A socket is stopped, runs, and is stopped again; a second start beside the first does nothing."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        assert (server.state, server.port) == (State.STOPPED, 0)
        async with running(server):
            assert server.state is State.RUNNING
            assert server.port
            await server.start_async()
            assert str(server) == f"FlexiSocket: Mode.SERVER, Protocol.TCP, 127.0.0.1:{server.port}"
        assert server.state is State.STOPPED

    run(main())


# Handlers.


def test_handlers_of_a_connection_are_called_one_after_another(run: Run) -> None:
    """``on_connect`` ends before the first message is handled, each message before the next, all before ``on_disconnect``."""

    async def main() -> None:
        server, order = make_server(message_strategy=LINES), list[str]()

        async def slowly(event: str) -> None:
            order.append(f"{event} begins")
            await asyncio.sleep(0.01)
            order.append(f"{event} ends")

        server.add_listener(Listener.ON_CONNECT, lambda connection: slowly("connect"))
        server.add_listener(Listener.ON_MESSAGE, lambda connection, message: slowly(message.strip()))
        server.add_listener(Listener.ON_DISCONNECT, lambda connection: slowly("disconnect"))
        async with running(server):
            async with dial(server) as peer:
                peer.send(b"one\ntwo\n")
            await until(lambda: not server.connections and order)
        events = ("connect", "one", "two", "disconnect")
        assert order == [f"{event} {when}" for event in events for when in ("begins", "ends")]

    run(main())


def test_connections_do_not_wait_for_each_other(run: Run) -> None:
    """While one connection's handler takes its time another's messages are handled."""

    async def main() -> None:
        server, go_on = make_server(message_strategy=LINES), asyncio.Event()

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            if message == "wait\n":
                await go_on.wait()
            await connection.send(message)

        async with running(server), dial(server) as slow, dial(server) as quick:
            slow.send(b"wait\n")
            quick.send(b"now\n")
            assert await quick.hears(4) == b"now\n"
            go_on.set()
            assert await slow.hears(5) == b"wait\n"

    run(main())


@pytest.mark.parametrize("failing", ["on_connect", "on_message", "after_receive", "before_send", "classify"])
def test_an_error_in_a_handler_ends_nothing(failing: str, run: Run, logged_failures: LoggedFailures) -> None:
    """Whichever handler raises, the error is logged, and the connection's next message is handled and answered."""

    async def main() -> None:
        server, failed = make_server(message_strategy=LINES), list[str]()

        def fail_once(event: str) -> None:
            if event == failing and not failed:
                failed.append(event)
                raise LookupError(event)

        class Classifier:
            def classify(self, message: str) -> str:
                fail_once("classify")
                return "default"

        server.classifier = Classifier()  # type: ignore[assignment]
        server.on_connect()(lambda connection: fail_once("on_connect"))
        server.after_receive()(lambda connection, message: fail_once("after_receive"))
        server.before_send()(lambda connection, message: fail_once("before_send"))
        ended = Seen(make_server()).disconnected
        server.on_disconnect()(ended.append)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            fail_once("on_message")
            await connection.send(message)

        async with running(server):
            async with dial(server) as peer:
                peer.send(b"one\ntwo\n")
                answer = await peer.hears(4)
                if failing in ("on_connect", "classify"):
                    assert answer == b"one\n"
                    answer = await peer.hears(4)
                assert answer == b"two\n"
            await until(lambda: ended)
        assert len(ended) == 1

    run(main())
    assert len(logged_failures.flush(LookupError)) == 1


def test_a_cancelled_task_of_a_handlers_is_an_error_like_others(run: Run, logged_failures: LoggedFailures) -> None:
    """CancelledError out of what a handler awaits ends that handler, and not the connection."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            if message == "one\n":
                task = asyncio.create_task(asyncio.sleep(60))
                task.cancel()
                await task
            await connection.send(message)

        async with running(server), dial(server) as peer:
            peer.send(b"one\ntwo\n")
            assert await peer.hears(4) == b"two\n"

    run(main())
    assert len(logged_failures.flush(asyncio.CancelledError)) == 1


@pytest.mark.parametrize("how", ["leaves", "resets", "is closed", "is stopped", "sends too long a line", "while it is served"])
def test_on_disconnect_comes_once(how: str, run: Run) -> None:
    """However a connection ends, ``on_disconnect`` is called once, and the connection is no longer among the socket's."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        seen = Seen(server)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            seen.messages.append(message)
            if how == "is closed":
                await connection.close()
            elif how == "while it is served":
                await until(lambda: not connection.is_connected)

        async with running(server):
            async with dial(server) as peer:
                peer.send(b"x" * 70_000 if how == "sends too long a line" else b"hello\n")
                if how == "sends too long a line":
                    assert await peer.hears_rest() == b""
                else:
                    await until(lambda: seen.messages)
                if how in ("resets", "while it is served"):
                    peer.reset()
                elif how == "is stopped":
                    await server.stop_async()
            await until(lambda: seen.disconnected)
            await until(lambda: not server.connections)
        (connection,) = seen.connected
        assert seen.disconnected == [connection]
        assert (connection.status, connection.is_connected) == ("disconnected", False)

    run(main())


def test_a_handler_runs_to_its_end_when_its_peer_leaves(run: Run) -> None:
    """A peer that leaves at once has all its messages handled, each to the end, before ``on_disconnect``."""

    async def main() -> None:
        server, done = make_server(message_strategy=LINES), list[str]()

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            await until(lambda: not connection.is_connected)
            await asyncio.sleep(0.01)
            done.append(message)

        server.on_disconnect()(lambda connection: done.append("gone"))
        async with running(server):
            async with dial(server) as peer:
                peer.send(b"one\ntwo\n")
                await until(lambda: server.connections)
                peer.reset()
            await until(lambda: "gone" in done)
        assert done == ["one\n", "two\n", "gone"]

    run(main())


def test_a_connection_that_is_gone_takes_nothing(run: Run) -> None:
    """``send`` on a connection that has ended raises ConnectionResetError; in a handler that is no line of the log."""

    async def main() -> None:
        server, errors = make_server(message_strategy=LINES), list[BaseException]()

        @server.on_disconnect()
        async def on_disconnect(connection: Any) -> None:
            try:
                await connection.send("too late")
            except ConnectionError as error:
                errors.append(error)
                raise

        async with running(server):
            async with dial(server) as peer:
                peer.send(b"hello\n")
            await until(lambda: errors)
        assert isinstance(errors[0], ConnectionResetError)

    run(main())


# Beginning and end.


def test_stop_stops(run: Run) -> None:
    """``stop`` ends ``start_async`` and all connections; nobody listens any more, and the socket can be started again."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        seen = Seen(server)
        for _ in range(2):
            task = asyncio.create_task(server.start_async())
            await until(lambda: server.state is State.RUNNING)
            async with dial(server) as peer:
                await until(lambda: server.connections)
                server.stop()
                assert await peer.hears_rest() == b""
            await task
            assert (server.state, server.connections) == (State.STOPPED, [])
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
        assert seen.connected == seen.disconnected
        assert len(seen.disconnected) == 2

    run(main())


def test_a_stop_lets_messages_be_handled(run: Run) -> None:
    """What has arrived when a server is stopped is handled and answered."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            await server.stop_async()  # which does not wait for this handler
            await asyncio.sleep(0.01)
            await connection.send(message)

        task = asyncio.create_task(server.start_async())
        await until(lambda: server.state is State.RUNNING)
        async with dial(server) as peer:
            peer.send(b"one\ntwo\n")
            assert await peer.hears_rest() == b"one\ntwo\n"
        await task

    run(main())


def test_a_handler_that_does_not_end_is_cancelled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop gives handlers their time, then cancels them; ``on_disconnect`` comes all the same."""
    monkeypatch.setattr("veltix_tx.dropin.flexi_socket.flexi_socket._LAST_HANDLERS", 0.05)

    async def main() -> None:
        server, done = make_server(message_strategy=LINES), list[str]()

        @server.on_connect()
        async def on_connect(connection: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                done.append("cancelled")

        server.on_disconnect()(lambda connection: done.append("gone"))
        async with running(server), dial(server):
            await until(lambda: server.connections)
        assert done == ["cancelled", "gone"]

    run(main())


def test_cancelling_start_async_stops(run: Run) -> None:
    """A task of ``start_async`` that is cancelled closes everything, then ends as cancelled."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        seen = Seen(server)
        task = asyncio.create_task(server.start_async())
        await until(lambda: server.state is State.RUNNING)
        async with dial(server) as peer:
            await until(lambda: server.connections)
            task.cancel()
            assert await peer.hears_rest() == b""
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.state is State.STOPPED
        assert seen.connected == seen.disconnected

    run(main())


def test_start_blocks_until_another_thread_stops_it() -> None:
    """``start`` runs a loop of its own; ``stop`` works in any thread."""
    server = make_server(message_strategy=LINES)
    blocked = begins_in_thread(server, server.start)
    assert server.state is State.RUNNING
    server.stop()
    blocked.join(5)
    assert not blocked.is_alive()
    assert server.state is State.STOPPED


def test_what_cannot_be_opened_is_an_oserror(run: Run) -> None:
    """A client whom nobody answers, and a server whose port is taken, raise the builtin errors, and are stopped."""

    async def main() -> None:
        client = FlexiSocket(Mode.CLIENT, host="127.0.0.1", port=free_port())
        waiting = asyncio.create_task(client.send("hello"))
        with pytest.raises(ConnectionRefusedError):
            await client.start_async()
        with pytest.raises(ConnectionRefusedError):
            await waiting
        assert client.state is State.STOPPED
        first = make_server()
        async with running(first):
            second = make_server(port=first.port)
            with pytest.raises(OSError, match="in use"):
                await second.start_async()
            assert second.state is State.STOPPED

    run(main())


def test_a_client_ends_with_its_connection(run: Run) -> None:
    """A client's ``start_async`` returns once its server has closed, and ``on_disconnect`` is done."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        async with running(server):
            client = client_of(server)
            seen = Seen(client)
            task = asyncio.create_task(client.start_async())
            await until(lambda: server.connections)
            await server.connections[0].send("bye")
            await server.connections[0].close()
            await task
            assert seen.messages == ["bye\n"]
            assert seen.disconnected == seen.connected
            with pytest.raises(ConnectionError, match="not been started"):
                await client.send("hello")

    run(main())


def test_a_client_is_stopped_while_it_connects(run: Run) -> None:
    """``stop`` ends a client that is still connecting at once, and with it what waits to send."""

    async def main() -> None:
        client = FlexiSocket(Mode.CLIENT, host="127.0.0.1", port=free_port())
        task = asyncio.create_task(client.start_async())
        waiting = asyncio.create_task(client.send("hello"))
        await asyncio.sleep(0)
        assert client.state is State.STARTING
        await client.stop_async()
        await task
        with pytest.raises(ConnectionError):
            await waiting

    run(main())


# Sending.


def test_a_client_sends_to_its_server_and_a_server_to_all(run: Run) -> None:
    """``socket.send`` of a client waits for its connection; a server's reaches each of its connections, and tells how many."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        seen = Seen(server)
        async with running(server):
            clients = [client_of(server) for _ in range(3)]
            heard = [Seen(client) for client in clients]
            tasks = [asyncio.create_task(client.start_async()) for client in clients]
            for client in clients:
                assert await client.send("hé") == 1
            await until(lambda: len(seen.messages) == 3)
            assert seen.messages == ["hé\n"] * 3
            assert await server.send(b"to all") == 3
            await until(lambda: all(each.messages for each in heard))
            assert [each.messages for each in heard] == [["to all\n"]] * 3
            for client, task in zip(clients, tasks, strict=True):
                client.stop()
                await task
            await until(lambda: not server.connections)
            assert await server.send("nobody") == 0

    run(main())


def test_a_message_that_cannot_be_sent_is_refused(run: Run) -> None:
    """What is neither text nor bytes, is too long, or is a second message in a stream of one, raises, and nothing is sent."""

    async def main() -> None:
        server = make_server(message_strategy=EOFStrategy())
        async with running(server), dial(server) as peer:
            await until(lambda: server.connections)
            connection = server.connections[0]
            for message, error in ((1, TypeError), ("x" * 10_500_000, MessageTooLarge)):
                with pytest.raises(error):
                    await connection.send(message)  # type: ignore[arg-type]
                with pytest.raises(error):
                    await server.send(message)  # type: ignore[arg-type]
            await connection.send("once")
            with pytest.raises(StreamEnded):
                await connection.send("twice")
            assert await server.send("twice") == 0
            assert await peer.hears_rest() == b"once"

    run(main())


def test_a_server_does_not_wait_for_a_slow_reader(run: Run) -> None:
    """A message to all is sent at once although one of them does not read; to that one ``Connection.send`` waits."""

    async def main() -> None:
        server = make_server(message_strategy=LINES)
        async with running(server), dial(server) as slow, dial(server) as quick:
            await until(lambda: len(server.connections) == 2)
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            connection = next(each for each in server.connections if each.port == slow.writer.get_extra_info("sockname")[1])
            reading = asyncio.create_task(quick.hears(120 * 60_001))
            for _ in range(120):
                assert await asyncio.wait_for(server.send("x" * 60_000), 1) == 2
            assert len(await reading) == 120 * 60_001
            waits = asyncio.create_task(connection.send("more"))
            await asyncio.sleep(0.02)
            assert not waits.done()
            slow.reset()
            await waits

    run(main())


async def _raw_server(peers: list[RawPeer]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(RawPeer(reader, writer))

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def test_a_client_that_sends_in_on_connect_hears_the_answer(run: Run) -> None:
    """Handlers work on a connection whose client spoke first, in ``on_connect``, as they do where the server did."""

    async def main() -> None:
        peers = list[RawPeer]()
        raw = await _raw_server(peers)
        client = FlexiSocket(Mode.CLIENT, message_strategy=LINES, host="127.0.0.1", port=raw.sockets[0].getsockname()[1])
        seen = Seen(client)
        client.on_connect()(lambda connection: connection.send("hello"))
        async with running(client):
            await until(lambda: peers)
            assert await peers[0].hears(6) == b"hello\n"
            peers[0].send(b"welcome\n")
            await until(lambda: seen.messages)
        assert seen.messages == ["welcome\n"]
        assert await peers[0].hears_rest() == b""
        await peers[0].leave()
        raw.close()
        await raw.wait_closed()

    run(main())
