"""Routes with ``thread=True``, over loopback: handlers that block, and what they may call from their threads."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from veltix_tx import DisconnectReason, RemoteError, RequestTimeout, Session, SessionClosed, SettingsError, Timeouts


class Gate:
    """Lets a handler block until the test opens it; it opens by itself after some seconds."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        """Block, in a handler's thread."""
        self.entered.set()
        assert self._open.wait(5)

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


async def until(true: Any) -> None:
    """Let the reactor turn until something is true."""
    from twisted.internet import reactor

    while not true():
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.002, turn.callback, None)
        await turn


async def test_a_handler_that_blocks_stops_nobody_else(loopback: Any) -> None:
    """While a handler blocks in its thread, others are served, and pings of its own connection answered."""
    server, gate = await loopback.server(), Gate()

    @server.route(loopback.news, thread=True)
    def slow(client: Session, message: Any) -> bytes:
        gate.wait()
        return b"at last"

    busy, other = loopback.client(server.port), loopback.client(server.port)
    await gatherResults([busy.connect(), other.connect()])
    waiting = busy.send_and_wait(loopback.news, b"")
    await until(gate.entered.is_set)
    assert (await other.send_and_wait(loopback.chat, b"there?")).content == b"there?"
    assert await busy.ping_server() < 1000
    assert not waiting.called
    gate.open()
    assert (await waiting).content == b"at last"


async def test_one_connections_messages_stay_in_order(loopback: Any) -> None:
    """A connection's messages are handled one after another, in threads and out of them, however long one takes."""
    server, handled = await loopback.server(max_workers=4), []

    @server.route(loopback.news, thread=True)
    def slow(client: Session, message: Any) -> bytes:
        time.sleep(0.03 if message.content == b"0" else 0)
        handled.append(message.content)
        return message.content

    server.unregister_route(loopback.chat)
    server.register_route(loopback.chat, lambda client, message: handled.append(message.content))
    client = loopback.client(server.port)
    await client.connect()
    for number in range(9):
        client.send(loopback.chat if number % 3 == 2 else loopback.news, b"%d" % number)
    assert (await client.send_and_wait(loopback.news, b"end")).content == b"end"
    assert handled == [b"%d" % number for number in range(9)] + [b"end"]


async def test_concurrent_threads_of_one_connection(loopback: Any) -> None:
    """With ``concurrent`` too, one connection's messages are in up to max_workers threads at once, no more."""
    server = await loopback.server(max_workers=2)
    both, peak, lock, now = threading.Barrier(2), [0], threading.Lock(), [0]

    @server.route(loopback.news, thread=True, concurrent=True)
    def meet(client: Session, message: Any) -> bytes:
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        both.wait(5)
        with lock:
            now[0] -= 1
        return message.content

    client = loopback.client(server.port)
    await client.connect()
    replies = await gatherResults([client.send_and_wait(loopback.news, b"%d" % number) for number in range(6)])
    assert [reply.content for reply in replies] == [b"%d" % number for number in range(6)]
    assert peak == [2]


async def test_what_a_handler_in_a_thread_may_call(loopback: Any) -> None:
    """send, broadcast, select, tags, a blocking send_and_wait and ping work from a handler's thread."""
    server, told, heard = await loopback.server(), [], []

    @server.route(loopback.news, thread=True)
    def work(client: Session, message: Any) -> bytes:
        told.append(threading.get_ident())
        told.append(client.add_tag("asked", message.content))
        told.append(client.add_tag("asked"))
        told.append(server.select(["asked"]) == [client] == server.get_clients_by_tag("asked", b"?"))
        told.append(client.send(loopback.chat, b"to you") is not None)
        told.append(server.broadcast(loopback.chat, b"to all"))
        told.append(server.broadcast(loopback.chat, b"to others", exclude=[client]))
        told.append(0 <= server.ping_client(client) < 1000)
        told.append(client.remove_tag("asked"))
        client.clear_tags()
        reply = client.send_and_wait(loopback.news, b"and you?", timeout=2)
        return b"you said " + reply.content

    client, other = loopback.client(server.port), loopback.client(server.port)
    for name, each in (("client", client), ("other", other)):
        each.route(loopback.chat)(lambda message, name=name: heard.append((name, message.content)))
        each.route(loopback.news)(lambda message: b"me, too")
        await each.connect()
    await until(lambda: len(server.clients) == 2)
    assert (await client.send_and_wait(loopback.news, b"?")).content == b"you said me, too"
    assert told[0] != threading.get_ident()
    assert told[1:] == [True, False, True, True, 2, 1, True, True]
    await until(lambda: len(heard) == 4)
    assert sorted(heard) == [("client", b"to all"), ("client", b"to you"), ("other", b"to all"), ("other", b"to others")]
    assert [content for name, content in heard if name == "client"] == [b"to you", b"to all"]


async def test_a_client_has_thread_routes_too(loopback: Any) -> None:
    """On a client a handler in a thread may block in the client's own send_and_wait, ping and send."""
    server = await loopback.server()
    client = loopback.client(server.port, max_workers=1)

    @client.route(loopback.news, thread=True)
    def work(message: Any) -> bytes:
        assert client.ping_server() < 1000
        assert client.connect() is client.session
        return threading.current_thread().name.encode() + client.send_and_wait(loopback.chat, message.content).content

    await client.connect()
    await until(lambda: server.clients)
    reply = await server.clients[0].send_and_wait(loopback.news, b"!")
    assert reply.content.endswith(b"!")
    assert reply.content != threading.current_thread().name.encode() + b"!"


async def test_errors_reach_the_handler_with_their_types(loopback: Any) -> None:
    """What send_and_wait would errback, and send raise, is raised in the handler's thread."""
    server, raised = await loopback.server(), []

    @server.route(loopback.news, thread=True)
    def work(client: Session, message: Any) -> bytes:
        with pytest.raises(RequestTimeout):
            client.send_and_wait(loopback.chat, b"silence", timeout=0.02)
        with pytest.raises(TypeError):
            client.send(loopback.chat, "text")  # type: ignore[arg-type]
        closed = client.disconnect()
        with pytest.raises(SessionClosed) as caught:
            client.send(loopback.chat, b"too late")
        raised.append((closed, caught.value.reason))
        return b"not sent any more"

    client = loopback.client(server.port)
    client.set_callback("on_recv", lambda message: None)
    await client.connect()
    with pytest.raises(SessionClosed):
        await client.send_and_wait(loopback.news, b"")
    await until(lambda: raised)
    ((closed, reason),) = raised
    assert closed.reason is reason is DisconnectReason.MANUAL


async def test_a_failing_handler_is_logged_and_answered_as_any(loopback: Any, logged_failures: Any) -> None:
    """An exception in a thread is logged; where the wire has words for it the asking peer is told, the next goes on."""
    server = await loopback.server(wire="1.6.3")

    @server.route(loopback.news, thread=True)
    def work(client: Session, message: Any) -> object:
        return {b"raise": lambda: 1 // 0, b"type": lambda: "text", b"late": Deferred}[message.content]()

    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()
    for content, kind in ((b"raise", ZeroDivisionError), (b"type", TypeError), (b"late", TypeError)):
        with pytest.raises(RemoteError):
            await client.send_and_wait(loopback.news, content)
        (event,) = logged_failures.flush(kind)
        assert event["type"] == "news"
    assert (await client.send_and_wait(loopback.chat, b"still there?")).content == b"still there?"


async def test_stopping_waits_for_a_handler_in_a_thread(loopback: Any) -> None:
    """StopService lets what a thread works on be answered."""
    server, gate = await loopback.server(), Gate()

    @server.route(loopback.news, thread=True)
    def slow(client: Session, message: Any) -> bytes:
        gate.wait()
        return b"done"

    client = loopback.client(server.port)
    await client.connect()
    waiting = client.send_and_wait(loopback.news, b"")
    await until(gate.entered.is_set)
    stopped = server.stopService()
    gate.open()
    await stopped
    assert (await waiting).content == b"done"


async def test_stopping_does_not_wait_for_ever(loopback: Any, logged_failures: Any) -> None:
    """After the drain deadline a handler that waits in its thread gets SessionClosed, and the service has stopped."""
    server, raised, entered = await loopback.server(timeouts=Timeouts(drain=0.1)), [], threading.Event()

    @server.route(loopback.news, thread=True)
    def waits(client: Session, message: Any) -> None:
        entered.set()
        try:
            client.send_and_wait(loopback.chat, b"never answered", timeout=60)
        except SessionClosed as error:
            raised.append(error)
            raise

    client = loopback.client(server.port)
    client.set_callback("on_recv", lambda message: None)
    await client.connect()
    client.send(loopback.news, b"")
    await until(entered.is_set)
    await server.stopService()
    await until(lambda: logged_failures.flush(SessionClosed))
    assert len(raised) == 1


async def test_a_handler_that_is_stuck_does_not_keep_the_service(loopback: Any) -> None:
    """A thread that never comes back is left behind after the drain deadline."""
    server, gate = await loopback.server(timeouts=Timeouts(drain=0.1)), Gate()
    server.register_route(loopback.news, lambda client, message: gate.wait(), thread=True)
    client = loopback.client(server.port)
    await client.connect()
    client.send(loopback.news, b"")
    await until(gate.entered.is_set)
    await server.stopService()
    gate.open()


async def test_max_workers_can_be_changed_between_two_runs(loopback: Any) -> None:
    """What ``configure(max_workers=...)`` says holds from the next listening on."""
    server, lock, now, peaks = await loopback.server(max_workers=1), threading.Lock(), [0], []

    @server.route(loopback.news, thread=True, concurrent=True)
    def work(client: Session, message: Any) -> bytes:
        with lock:
            now[0] += 1
            peaks.append(now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return b""

    for workers in (1, 3):
        peaks.clear()
        client = loopback.client(server.port)
        await client.connect()
        await gatherResults([client.send_and_wait(loopback.news, b"") for _ in range(6)])
        assert max(peaks) == workers
        await client.disconnect()
        await server.stopService()
        server.configure(max_workers=3)
        server.startService()


async def test_a_coroutine_function_cannot_run_in_a_thread(loopback: Any) -> None:
    """``thread=True`` refuses a coroutine function where it is registered; the type stays free."""
    server = await loopback.server()
    with pytest.raises(SettingsError, match="coroutine"):

        @server.route(loopback.news, thread=True)
        async def work(client: Session, message: Any) -> None:
            """Not to be called."""

    server.register_route(loopback.news, lambda client, message: None, thread=True)
    assert server.unregister_route(loopback.news)
    assert not server.unregister_route(loopback.news)


@pytest.mark.parametrize("left_by", ["client", "server"])
async def test_on_disconnect_waits_for_a_thread(left_by: str, loopback: Any) -> None:
    """A thread cannot be cancelled: what it returns is dropped, and on_disconnect comes when it has ended."""
    server, gate, told = loopback.made_server(), Gate(), []

    @server.route(loopback.news, thread=True, timeout=60)
    def works(client: Session, message: Any) -> bytes:
        gate.wait()
        told.append("worked")
        return b"to nobody"

    server.set_callback("on_disconnect", lambda client: told.append("gone"))
    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    client.send(loopback.news, b"")
    await until(gate.entered.is_set)
    (session,) = server.clients
    closed = session.when_closed()
    await (client if left_by == "client" else session).disconnect()
    await closed
    await client.disconnect()
    assert told == []
    gate.open()
    await until(lambda: "gone" in told)
    assert told == ["worked", "gone"]
    assert server.counters["handlers_failed"] == server.counters["handlers_late"] == 0


async def test_on_disconnect_does_not_wait_for_a_thread_for_ever(loopback: Any) -> None:
    """A thread that goes on for longer than timeouts.close after the end is left behind, and a stop does not wait for it."""
    server, gate, told = loopback.made_server(timeouts=Timeouts(close=0.1, drain=60)), Gate(), []

    @server.route(loopback.news, thread=True, timeout=60)
    def stuck(client: Session, message: Any) -> bytes:
        gate.wait()
        return b"to nobody"

    server.set_callback("on_disconnect", lambda client: told.append("gone"))
    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    client.send(loopback.news, b"")
    await until(gate.entered.is_set)
    await client.disconnect()
    await until(lambda: told == ["gone"])
    await server.stopService()
    gate.open()
    await until(lambda: server.counters["handlers_late"] == 1)


async def test_a_thread_that_has_not_begun_never_runs_for_a_peer_that_left(loopback: Any) -> None:
    """A handler that waits for a free thread is cancelled with its session."""
    server, gate, runs, told = loopback.made_server(max_workers=1), Gate(), [], []

    @server.route(loopback.news, thread=True, concurrent=True)
    def works(client: Session, message: Any) -> None:
        runs.append(message.content)
        gate.wait()

    server.set_callback("on_disconnect", lambda client: told.append("gone"))
    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    for content in (b"1", b"2"):
        client.send(loopback.news, content)
    await until(gate.entered.is_set)
    closed = server.clients[0].when_closed()
    await client.disconnect()
    await closed
    gate.open()
    await until(lambda: told == ["gone"])
    assert runs == [b"1"]
