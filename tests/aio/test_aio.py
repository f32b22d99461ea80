"""A server and a client awaited in a loop: handlers, callbacks, sessions, cancellation."""

from __future__ import annotations

import asyncio
import math
import sys
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from socket import create_server
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout

from tests.support.aio.ends import CHAT, NEWS, OTHER, TYPES, Run, make_client, make_server
from veltix_tx import (
    DisconnectReason,
    DisconnectState,
    NotReady,
    Rejected,
    RemoteError,
    Request,
    RequestTimeout,
    Response,
    RetryPolicy,
    SessionClosed,
    SettingsError,
    Timeouts,
)
from veltix_tx.aio import Client, Server, Session


def later(value: Any, seconds: float = 0.01) -> Deferred[Any]:
    """Return a Deferred that fires in a while."""
    deferred: Deferred[Any] = Deferred(lambda _: call.cancel())
    call = asyncio.get_running_loop().call_later(seconds, deferred.callback, value)
    return deferred


# The first connection.


@pytest.mark.parametrize("enters", [True, False])
def test_the_first_connection_is_bounded_whatever_the_retries_are(run: Run, enters: bool) -> None:
    """Endless tries do not hang the start of an application: it raises what the last try failed with, and makes no further one."""
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    policy = RetryPolicy(initial_delay=0.01, max_delay=0.01)
    client = Client("127.0.0.1", port, types=TYPES, retry=policy, start_timeout=0.1)
    states: list[DisconnectState] = []
    client.set_callback("on_disconnect", states.append)

    async def main() -> None:
        with pytest.raises(ConnectTimeout, match=r"no session within 0\.1 s, and the last try failed: Connection was ref") as late:
            await (client.__aenter__() if enters else client.connect(timeout=0.1))
        assert isinstance(late.value.__cause__, ConnectError)
        assert len(states) > 2
        tried = len(states)
        await asyncio.sleep(0.05)
        assert len(states) == tried

    run(main())


def test_a_start_that_may_take_for_ever(run: Run) -> None:
    """With start_timeout=math.inf a client waits for its server as long as it tries."""
    server = make_server()

    async def main() -> None:
        async with server:
            port = server.port
        server.configure(port=port)
        client = Client("127.0.0.1", port, types=TYPES, retry=RetryPolicy(initial_delay=0.01, jitter=False), start_timeout=math.inf)
        entering = asyncio.create_task(client.__aenter__())
        await asyncio.sleep(0.03)
        async with server:
            await entering
            await client.disconnect()

    run(main())


@pytest.mark.parametrize("seconds", [0, -1, "5", None])
def test_a_start_timeout_is_checked(seconds: Any) -> None:
    """It is a number above 0."""
    with pytest.raises(SettingsError, match="start_timeout"):
        Client(start_timeout=seconds)


# Handlers.


async def coroutine(client: Session, message: Response) -> bytes:
    """Wait for nothing."""
    return message.content


async def waiting(client: Session, message: Response) -> bytes:
    """Wait for something of asyncio's."""
    await asyncio.sleep(0.001)
    return message.content


def plain(client: Session, message: Response) -> bytes:
    """Answer at once."""
    return message.content


def future(client: Session, message: Response) -> Awaitable[bytes]:
    """Answer with a future."""
    return asyncio.ensure_future(waiting(client, message))


def deferred(client: Session, message: Response) -> Deferred[bytes]:
    """Answer with a Deferred."""
    return later(message.content)


async def mixed(client: Session, message: Response) -> bytes:
    """Wait for both kinds of things, in turns."""
    await succeed(None)
    await asyncio.sleep(0)
    content: bytes = await later(message.content)
    async with asyncio.Lock():
        reply = await client.send_and_wait(NEWS, content)
    await asyncio.sleep(0.001)
    return reply.content


@pytest.mark.parametrize("handler", [coroutine, waiting, plain, future, deferred, mixed], ids=lambda each: each.__name__)
def test_a_handler_of_any_kind_answers(run: Run, handler: Callable[[Session, Response], Any]) -> None:
    """Coroutine functions, which may await both kinds of things in one body; functions that return bytes, a future, a Deferred."""
    server = make_server()
    server.register_route(CHAT, handler)

    async def main() -> None:
        async with server, make_client(server) as client:
            client.route(NEWS)(lambda message: message.content)
            replies = await asyncio.gather(*[client.send_and_wait(CHAT, b"%d" % number) for number in range(20)])
            assert [reply.content for reply in replies] == [b"%d" % number for number in range(20)]

    run(main())


def test_a_handler_in_a_thread_blocks_there(run: Run) -> None:
    """With thread=True it runs beside the loop, and asks its client with what blocks."""
    server = make_server()

    @server.route(CHAT, thread=True)
    def on_chat(client: Session, message: Response) -> bytes:
        client.add_tag("asked")
        return client.blocking.send_and_wait(NEWS, message.content).content

    async def main() -> None:
        async with server, make_client(server) as client:

            @client.route(NEWS)
            async def on_news(message: Response) -> bytes:
                await asyncio.sleep(0.001)
                return message.content.upper()

            assert (await client.send_and_wait(CHAT, b"what")).content == b"WHAT"
            assert server.get_clients_by_tag("asked") == server.clients

    run(main())


def test_a_coroutine_function_in_a_thread_is_refused() -> None:
    """What cannot be is refused as at the other door, and so is a decorator without parentheses."""
    server, client = make_server(), Client(types=TYPES)
    with pytest.raises(SettingsError, match="thread is True"):
        server.route(CHAT, thread=True)(coroutine)  # type: ignore[type-var]
    with pytest.raises(SettingsError, match="a function"):
        server.register_route(CHAT, None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"write @server.route\(TYPE\)"):
        server.route(coroutine)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"write @client.set_callback"):
        client.set_callback(print)  # type: ignore[call-overload]
    server.register_route(CHAT, coroutine)
    assert server.unregister_route(CHAT)


def test_one_clients_messages_are_handled_one_after_another(run: Run) -> None:
    """A coroutine that waits holds back its session's later messages and nobody else's; with concurrent they go ahead."""
    server = make_server()
    order: list[bytes] = []

    async def handle(client: Session, message: Response) -> bytes:
        await asyncio.sleep(0.02 if message.content == b"slow" else 0)
        order.append(message.content)
        return b""

    server.register_route(CHAT, handle)
    server.register_route(NEWS, handle, concurrent=True)

    async def main() -> None:
        async with server, make_client(server) as one, make_client(server) as other:
            for message_type, expected in ((CHAT, [b"other", b"slow", b"quick"]), (NEWS, [b"quick", b"other", b"slow"])):
                order.clear()
                asked = [one.send_and_wait(message_type, content) for content in (b"slow", b"quick")]
                await asyncio.gather(*asked, other.send_and_wait(message_type, b"other"))
                assert sorted(order) == sorted(expected)
                assert (order.index(b"quick") < order.index(b"slow")) == (message_type is NEWS)
                assert order.index(b"other") < order.index(b"slow")

    run(main())


async def never(client: Session, message: Response) -> None:
    """Wait without an end."""
    await asyncio.get_running_loop().create_future()


def test_a_handler_that_takes_too_long_is_cancelled(run: Run, logged_failures: Any) -> None:
    """``timeouts.handler`` cancels the task of a coroutine, which counts as failed; the session goes on."""
    server = make_server(timeouts=Timeouts(handler=0.05))
    cancelled: list[BaseException] = []

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        try:
            await never(client, message)
        except CancelledError as error:
            cancelled.append(error)
            raise

    server.register_route(NEWS, coroutine)

    async def main() -> None:
        async with server, make_client(server) as client:
            client.send(CHAT)
            assert (await client.send_and_wait(NEWS, b"next")).content == b"next"
            assert len(cancelled) == 1
            assert server.counters["handlers_failed"] == 1
            assert server.counters["handlers_late"] == 0

    run(main())
    assert len(logged_failures.flush()) == 1


def test_a_future_has_the_time_of_a_coroutine(run: Run, logged_failures: Any) -> None:
    """What returns a future is limited by its route's timeout, and an on_connect that does is waited for."""
    server = make_server()
    futures: list[asyncio.Future[Any]] = []

    @server.set_callback("on_connect")
    def on_connect(client: Session) -> asyncio.Future[None]:
        assert server.clients == []
        return asyncio.ensure_future(asyncio.sleep(0.02))

    @server.route(CHAT, timeout=0.02)
    def on_chat(client: Session, message: Response) -> asyncio.Future[Any]:
        assert server.clients == [client]
        futures.append(asyncio.get_running_loop().create_future())
        return futures[0]

    async def main() -> None:
        async with server, make_client(server) as client:
            with pytest.raises(RemoteError):
                await client.send_and_wait(CHAT)
            assert futures[0].cancelled()

    run(main())
    assert len(logged_failures.flush()) == 1


def test_a_handler_that_fails_is_logged_and_its_session_goes_on(run: Run, logged_failures: Any) -> None:
    """An exception of a coroutine's ends no connection: who asks gets RemoteError, and the log names the user's function."""
    server = make_server()

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError(message.content)

    async def main() -> None:
        async with server, make_client(server) as client:
            with pytest.raises(RemoteError):
                await client.send_and_wait(CHAT, b"by zero")
            assert client.is_connected

    run(main())
    (event,) = logged_failures.flush(ZeroDivisionError)
    assert event["handler"].endswith("on_chat")


# Cancellation.


@pytest.mark.parametrize("who", ["server", "client"])
def test_the_end_of_a_session_cancels_its_handlers(run: Run, who: str) -> None:
    """Whoever closes it: a coroutine gets asyncio.CancelledError where it waits, be that asyncio's or a Deferred."""
    server = make_server()
    begun, ended = [], []

    def wait_for(what: Callable[[], Awaitable[Any]]) -> Callable[[Session, Response], Awaitable[None]]:
        async def handle(client: Session, message: Response) -> None:
            begun.append(asyncio.current_task())
            try:
                await what()
            except CancelledError:
                ended.append(asyncio.current_task())
                raise

        return handle

    server.register_route(CHAT, wait_for(lambda: asyncio.sleep(60)), concurrent=True)
    server.register_route(NEWS, wait_for(Deferred), concurrent=True)
    tasks: list[asyncio.Future[None]] = []

    @server.set_callback("on_recv")
    def on_recv(client: Session, message: Response) -> asyncio.Future[None]:
        tasks.append(asyncio.ensure_future(never(client, message)))
        return tasks[0]

    async def main() -> None:
        async with server, make_client(server) as client:
            for message_type in (CHAT, NEWS, OTHER):
                client.send(message_type)
            await client.ping()
            (session,) = server.clients
            assert len(begun) == 2
            await (session if who == "server" else client).disconnect()
            await session.when_idle()
            assert ended == begun
            assert all(task.cancelled() for task in [*ended, *tasks])
            assert len(tasks) == 1
            assert server.counters["handlers_failed"] == 0

    run(main())


def test_cancelling_a_task_gives_its_request_up(run: Run) -> None:
    """Nothing waits for the reply any more; a late one is dropped and counted."""
    server = make_server()
    late: asyncio.Future[bytes]

    server.route(CHAT)(lambda client, message: late)

    async def main() -> None:
        nonlocal late
        late = asyncio.get_running_loop().create_future()
        async with server, make_client(server) as client:
            session = await client.connect()
            asking = asyncio.ensure_future(client.send_and_wait(CHAT))
            await client.ping()
            assert session.pending_requests == 1
            asking.cancel()
            with pytest.raises(CancelledError):
                await asking
            assert session.pending_requests == 0
            late.set_result(b"too late")
            await client.ping()
            assert session.late_replies == 1

    run(main())


async def timeout(asking: Coroutine[Any, Any, Any]) -> None:
    """Wait for something that does not come, as one does in asyncio."""
    if sys.version_info >= (3, 11):
        async with asyncio.timeout(0.02):
            await asking
    else:
        await asyncio.wait_for(asking, 0.02)


def test_a_timeout_of_asyncios_gives_a_request_up(run: Run) -> None:
    """asyncio.timeout, or wait_for, ends the waiting for replies, pings and sessions with its TimeoutError."""
    server = make_server()
    server.register_route(CHAT, never)

    async def main() -> None:
        async with server, make_client(server) as client:
            with pytest.raises(asyncio.TimeoutError):
                await timeout(client.send_and_wait(CHAT))
            assert (await client.connect()).pending_requests == 0
            with pytest.raises(asyncio.TimeoutError):
                await timeout(make_client(server).when_connected())
            with pytest.raises(asyncio.TimeoutError):
                await make_client(server).when_connected(timeout=0.02)
            with pytest.raises(RequestTimeout):
                await client.send_and_wait(CHAT, timeout=0.02)

    run(main())


if sys.version_info >= (3, 11):

    def test_a_task_group_gives_up_what_its_failed_task_leaves(run: Run) -> None:
        """One task of a TaskGroup fails: the others are cancelled, and their requests given up. So it is in a handler."""
        server = make_server()
        server.register_route(CHAT, never)
        groups: list[BaseException] = []

        async def fail() -> None:
            raise ZeroDivisionError

        async def together(asked: Coroutine[Any, Any, Any]) -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asked)
                    group.create_task(fail())
            except Exception as error:  # an ExceptionGroup
                groups.extend(error.exceptions)  # type: ignore[attr-defined]

        @server.route(NEWS)
        async def on_news(client: Session, message: Response) -> bytes:
            await together(client.send_and_wait(CHAT))
            return b"%d" % client.pending_requests

        async def main() -> None:
            async with server, make_client(server) as client:
                client.route(CHAT)(lambda message: Deferred())
                assert (await client.send_and_wait(NEWS)).content == b"0"
                await together(client.send_and_wait(CHAT))
                assert (await client.connect()).pending_requests == 0

        run(main())
        assert [type(error) for error in groups] == [ZeroDivisionError] * 2


def test_cancelling_a_connect_gives_it_up(run: Run) -> None:
    """A client whose connect() is cancelled tries no more, and leaves nothing behind."""

    async def main() -> None:
        with create_server(("127.0.0.1", 0)) as silent:
            client = Client("127.0.0.1", silent.getsockname()[1], types=TYPES)
            with pytest.raises(asyncio.TimeoutError):
                await timeout(client.connect())
            assert not client.is_connected

    run(main())


def test_cancelling_a_stop_cuts_off(run: Run) -> None:
    """A handler that is not done keeps a stop waiting; cancelled, the stop cuts its connection off."""
    server = make_server()
    ended: list[bool] = []

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        try:
            await never(client, message)
        finally:
            ended.append(True)

    async def main() -> None:
        await server.listen()
        async with make_client(server) as client:
            session = await client.connect()
            client.send(CHAT)
            await client.ping()
            with pytest.raises(asyncio.TimeoutError):
                await timeout(server.stop())
            assert (await session.when_closed()).reason in (DisconnectReason.RESET, DisconnectReason.PEER_CLOSED)
        await asyncio.sleep(0)
        assert ended == [True]

    run(main())


# Callbacks and ContextVars.


def test_callbacks_are_coroutines(run: Run) -> None:
    """on_connect, on_recv and on_disconnect of both sides may wait; nobody gets a session before its on_connect is done."""
    server = make_server()
    told: list[Any] = []

    @server.set_callback("on_connect")
    async def on_connect(client: Session) -> None:
        assert server.clients == []
        await asyncio.sleep(0.01)
        client.add_tag("name", await client.ping() > 0)
        told.append("connected")

    @server.set_callback("on_recv")
    async def on_recv(client: Session, message: Response) -> Request:
        await asyncio.sleep(0)
        return Request(NEWS, message.content)

    @server.set_callback("on_disconnect")
    async def on_disconnect(client: Session) -> None:
        await asyncio.sleep(0.01)
        assert client.closed is not None
        told.append(client.get_tag("name"))

    async def main() -> None:
        async with server:
            client = make_client(server)

            @client.set_callback("on_connect")
            async def begun() -> None:
                with pytest.raises(NotReady):
                    await asyncio.get_running_loop().run_in_executor(None, client.blocking.send_and_wait, CHAT)
                told.append((await client.send_and_wait(CHAT, b"first")).content)

            @client.set_callback("on_disconnect")
            async def lost(state: DisconnectState) -> None:
                told.append(state.reason)

            async with client:
                reply = await client.send_and_wait(CHAT, b"hello")
                assert (reply.type, reply.content) == (NEWS, b"hello")
            told.append("out")

    run(main())
    assert told == ["connected", b"first", DisconnectReason.MANUAL, "out", True]


def test_on_connect_refuses_a_session(run: Run) -> None:
    """An on_connect that raises Rejected closes the session, and none of its messages is handled."""
    server = make_server()

    @server.set_callback("on_connect")
    async def on_connect(client: Session) -> None:
        await asyncio.sleep(0)
        raise Rejected("no")

    async def main() -> None:
        async with server, make_client(server) as client:
            session = await client.connect()
            assert (await session.when_closed()).reason is DisconnectReason.PEER_CLOSED
            with pytest.raises(SessionClosed):
                await client.send_and_wait(CHAT)
            with pytest.raises(SessionClosed):
                client.send(CHAT)
            assert server.counters["sessions_rejected"] == 1

    run(main())


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="none")


def test_handlers_have_context_variables_of_their_own(run: Run) -> None:
    """A coroutine sees what was set where its server began to listen, keeps what it sets, and shows it to no other."""
    server = make_server()
    seen: list[str] = []

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(message.content.decode())
        await asyncio.sleep(0.001)
        seen.append(VARIABLE.get())
        await later(None)
        seen.append(await asyncio.create_task(read()))

    async def read() -> str:
        return VARIABLE.get()

    async def main() -> None:
        VARIABLE.set("listening")
        async with server, make_client(server) as client:
            VARIABLE.set("later")
            client.send(CHAT, b"one")
            client.send(CHAT, b"two")
            await client.ping()
            (session,) = server.clients
            await session.when_idle()

    run(main())
    assert seen == ["listening", "one", "one", "listening", "two", "two"]


# Sessions, broadcasts, applications.


def test_a_session_is_one_object(run: Run) -> None:
    """Wherever it comes from it is the same: it can be kept, compared, excluded; it has what a session has."""
    server = make_server()
    connected: list[Session] = []
    server.set_callback("on_connect", connected.append)

    @server.route(CHAT)
    def on_chat(client: Session, message: Response) -> bytes:
        assert client is connected[0]
        return b"%d" % server.broadcast(NEWS, message.content, exclude=[client])

    async def main() -> None:
        async with server, make_client(server) as one, make_client(server) as other:
            news = other.messages(NEWS)
            assert (await one.send_and_wait(CHAT, b"new")).content == b"1"
            assert (await news.__anext__()).content == b"new"
            session = await one.connect()
            assert session is one.session
            assert server.clients == connected
            assert server.clients[0] != server.clients[1]
            assert server.broadcast(NEWS, b"more", to=[connected[1]]) == 1
            assert (await news.__anext__()).content == b"more"
            with pytest.raises(SettingsError, match="several sessions"):
                server.broadcast(NEWS, to="all")  # type: ignore[arg-type]
            first = connected[0]
            assert first.add_tag("vip", 1)
            assert server.select(["vip"]) == [first]
            assert (first.has_tag("vip"), first.get_tag("vip"), first.has_all_tags(["vip"]), first.has_any_tags(["x"])) == (
                *(True, 1, True),
                False,
            )
            assert first.remove_tag("vip")
            first.clear_tags()
            assert await server.ping_client(first) > 0
            assert (first.ip, first.port, first.peer.version) == (
                "127.0.0.1",
                session._native._transport.transport.getHost().port,
                "2.0.0",
            )
            assert (first.admitted, first.closed, first.is_gone, first.identity) == (True, None, False, None)
            assert first.can_send(10)
            assert (first.write_buffer_size, first.pending_requests, first.frames_rejected, first.broadcasts_dropped) == (
                0,
                0,
                0,
                0,
            )
            await first.when_writable()
            await first.drain()
            assert (await first.when_closed()).reason is DisconnectReason.MANUAL
            assert (await session.when_closed()).reason is DisconnectReason.PEER_CLOSED
            assert first.is_gone

    run(main())


def test_a_reply_can_be_given_later(run: Run) -> None:
    """session.reply answers with a coroutine's result, and is awaited until that is done."""
    server = make_server()

    async def answer() -> bytes:
        await asyncio.sleep(0.01)
        return b"later"

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        asyncio.get_running_loop().call_soon(lambda: replies.append(asyncio.ensure_future(client.reply(message, answer()))))

    replies: list[asyncio.Future[None]] = []

    async def main() -> None:
        async with server, make_client(server) as client:
            assert (await client.send_and_wait(CHAT)).content == b"later"
            await replies[0]

    run(main())


def test_who_sends_much_awaits_room(run: Run) -> None:
    """send() sends at once; awaited, it waits while a peer does not read, until that reads again or its session ends."""
    server = make_server()
    sent = 0
    go_on: asyncio.Event

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> None:
        nonlocal sent
        with suppress(SessionClosed):
            while True:
                await client.send(NEWS, bytes(64 * 1024))
                sent += 1

    async def main() -> None:
        nonlocal go_on
        go_on = asyncio.Event()
        async with server, make_client(server) as client:

            @client.route(NEWS)
            async def on_news(message: Response) -> None:
                await go_on.wait()

            client.send(CHAT)
            while not server.clients[0].write_buffer_size:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            assert server.clients[0].write_buffer_size > 0
            go_on.set()
            while sent < before + 10:  # noqa: ASYNC110 (what is counted is the handler's)
                await asyncio.sleep(0.01)

    run(main())


def test_an_application_stands_for_routes(run: Run) -> None:
    """An object with connected, received and disconnected gets sessions of this door, and may be of coroutine functions."""
    told: list[Any] = []

    class Application:
        types = TYPES

        async def connected(self, session: Session) -> None:
            await asyncio.sleep(0)
            told.append(session)

        async def received(self, session: Session, message: Response) -> bytes:
            await asyncio.sleep(0)
            return message.content

        def disconnected(self, session: Session, reason: SessionClosed) -> None:
            told.append((session, reason.reason))

    async def main() -> None:
        async with Server("127.0.0.1", 0, application=Application()) as server:
            async with Client("127.0.0.1", server.port, application=Application()) as client:
                assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
                ours, theirs = client.session, server.clients[0]
            await theirs.when_idle()
        assert told[:2] in ([ours, theirs], [theirs, ours])
        assert set(told[2:]) == {(ours, DisconnectReason.MANUAL), (theirs, DisconnectReason.PEER_CLOSED)}

    run(main())


# Begin and end.


def test_a_server_and_a_client_can_be_used_again(run: Run) -> None:
    """In one loop and in the next: each time on another port, with the same handlers."""
    server = make_server()
    server.register_route(CHAT, coroutine)
    client = Client(types=TYPES)

    async def main() -> None:
        for _ in range(3):
            async with server:
                client.configure(port=server.port)
                async with client:
                    assert (await client.send_and_wait(CHAT, b"again")).content == b"again"
                assert not client.is_connected
            assert server.addresses == []
            await server.stop()
            await client.disconnect()

    run(main())
    run(main())


def test_what_cannot_begin_leaves_nothing_behind(run: Run) -> None:
    """A port that is taken, a server that is not there, an endpoint that is none: the error is raised, and all is let go."""

    async def main() -> None:
        async with make_server() as server:
            with pytest.raises(CannotListenError):
                await make_server(port=server.port).listen()
            with pytest.raises(SettingsError, match="listen is"):
                await server.listen()
            port = server.port
        with pytest.raises(ConnectError):
            await Client("127.0.0.1", port).connect()
        with pytest.raises(SettingsError, match="endpoint is"):
            await Client(endpoint="nonsense:1").connect()
        with pytest.raises(SettingsError, match="endpoint is"):
            await Server(endpoint="nonsense:1").listen()
        with pytest.raises(NotReady):
            await Client().send_and_wait(CHAT)
        with pytest.raises(NotReady):
            Client().send(CHAT)
        with pytest.raises(ValueError, match="timeout"):
            async with make_server() as server, make_client(server) as client:
                await client.send_and_wait(CHAT, timeout=0)

    run(main())


def test_a_loop_is_needed_to_begin() -> None:
    """Outside a loop a coroutine that listens or connects cannot be run, and nothing else needs one."""
    server = make_server()
    with pytest.raises(RuntimeError, match="no running event loop"):
        server.listen().send(None)
    assert "not listening" in repr(server)


def test_a_client_reconnects(run: Run) -> None:
    """With a retry policy a lost connection is made again, and who waits gets the next session."""
    server = make_server()
    server.register_route(CHAT, coroutine)

    async def main() -> None:
        async with server:
            client = make_client(server, retry=RetryPolicy(initial_delay=0.01, jitter=False, stable_after=0))
            async with client:
                first = client.session
                await server.clients[0].disconnect()
                await first.when_closed()  # type: ignore[union-attr]
                second = await client.when_connected()
                assert second is not first
                assert (await client.send_and_wait(CHAT, b"again")).content == b"again"
                assert await client.retry() is second
                client.stop_retry()
                await server.clients[0].disconnect()
                await second.when_closed()
                with pytest.raises(SessionClosed):
                    await client.when_connected()

    run(main())


def test_who_waits_for_the_stop_is_told(run: Run) -> None:
    """when_stopping() ends when a stop begins: a long poll can answer then, and is waited for."""
    server = make_server()

    @server.route(CHAT)
    async def on_chat(client: Session, message: Response) -> bytes:
        await server.when_stopping()
        return b"the server stops"

    async def main() -> None:
        async with server, make_client(server) as client:
            asking = asyncio.ensure_future(client.send_and_wait(CHAT))
            await client.ping()
            await server.stop()
            assert (await asking).content == b"the server stops"

    run(main())
