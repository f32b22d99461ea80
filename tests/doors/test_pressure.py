"""Peers that do not read, do not finish, do not answer or come in crowds, over real sockets; the others are served."""

from __future__ import annotations

import gc
import socket
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from veltix_tx import Client, DisconnectReason, Limits, Server, Session, SessionClosed, Timeouts
from veltix_tx.errors import FrameTimeout, TooManyPings
from veltix_tx.wire.veltix.layouts import W15

MIB = 1024 * 1024


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not true():
        await sleep(0.01)


async def sleep(seconds: float) -> None:
    """Wait."""
    from twisted.internet import reactor

    await deferLater(reactor, seconds, lambda: None)


def deaf(client: Client) -> None:
    """Let a client read nothing from now on."""
    client.session._transport.transport.pauseProducing()  # type: ignore[union-attr]


def ended(server: Server) -> list[tuple[Session, SessionClosed]]:
    """Collect the ends of a server's sessions."""
    ends: list[tuple[Session, SessionClosed]] = []
    server.set_callback("on_disconnect", lambda client: ends.append((client, client.closed)))
    return ends


async def crowd(loopback: Any, server: Server, count: int) -> list[Client]:
    """Connect clients that count what they hear in ``client.heard``."""
    clients = []
    for _ in range(count):
        client = loopback.client(server.port)
        client.heard = []
        client.set_callback("on_recv", lambda message, client=client: client.heard.append(len(message.content)))
        await client.connect()
        clients.append(client)
    await until(lambda: len(server.clients) >= count)
    return clients


@pytest.mark.parametrize("slow", ["close", "drop"])
async def test_a_broadcast_storm_over_deaf_peers(slow: Any, loopback: Any) -> None:
    """Readers hear everything, memory is one queue's and not one for each deaf peer, who is closed or misses what is counted."""
    server = await loopback.server(limits=Limits(write_high=MIB, write_hard=4 * MIB), timeouts=Timeouts(write=1000))
    ends = ended(server)
    clients = await crowd(loopback, server, 24)
    reader, *others = clients
    for client in others:
        deaf(client)
    (reader_session,) = [each for each in server.clients if each.port == reader.session._transport.transport.getHost().port]
    gc.collect()
    tracemalloc.start()
    rounds, most_queued = 400, 0
    for number in range(rounds):
        server.broadcast(loopback.news, number.to_bytes(4, "big") * 16384, slow=slow)
        most_queued = max(most_queued, *(each.write_buffer_size for each in server.clients))
        await reader_session.when_writable()
        if number % 10 == 0:
            await sleep(0)
            assert (await reader.send_and_wait(loopback.chat, b"and you?")).content == b"and you?"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    await until(lambda: len(reader.heard) == rounds)
    assert set(reader.heard) == {65536}
    assert most_queued <= 4 * MIB
    # 4 MiB shared, and for each of 23 deaf peers what its transport has joined; 92 MiB were there a queue each.
    assert peak < 4 * MIB + 23 * (192 * 1024 + 65536 + 100_000) + 16 * MIB
    if slow == "close":
        await until(lambda: len(ends) == 23)
        assert {closed.reason for _, closed in ends} == {DisconnectReason.WRITE_TIMEOUT}
        assert len(server.clients) == 1
    else:
        assert ends == []
        missed = [each.broadcasts_dropped for each in server.clients if each is not reader_session]
        assert all(each > 100 for each in missed)
        assert reader_session.broadcasts_dropped == 0
        heard = others[0]
        heard.session._transport.transport.resumeProducing()  # type: ignore[union-attr]
        await until(lambda: len(heard.heard) + min(missed) >= rounds - 1)


async def test_a_peer_that_asks_and_does_not_read_is_closed(loopback: Any) -> None:
    """Its requests are not read any more, its replies are bounded, and it is given up after the stall time; others are served."""
    server = loopback.made_server(timeouts=Timeouts(write=0.5))
    server.route(loopback.chat)(lambda client, message: b"x" * 300_000)
    server.startService()
    ends = ended(server)
    (greedy, good) = await crowd(loopback, server, 2)
    session = next(each for each in server.clients if each.port == greedy.session._transport.transport.getHost().port)
    deaf(greedy)
    most = 0
    for number in range(3000):
        if session.closed is not None or greedy.session is None or greedy.session.closed is not None:
            break
        greedy.session.send(loopback.chat, b"?" * 1000)
        most = max(most, session.write_buffer_size)
        if number % 50 == 0:
            assert len((await good.send_and_wait(loopback.chat)).content) == 300_000
    await until(lambda: len(ends) == 1)
    assert ends[0][1].reason is DisconnectReason.WRITE_TIMEOUT
    assert 300_000 < most < 2 * MIB
    assert session.write_buffer_size == 0


async def test_a_slow_but_steady_reader_is_kept(loopback: Any) -> None:
    """A peer that reads a little now and then, far less than it is sent, is not closed, and gets everything in order."""
    server = loopback.made_server(timeouts=Timeouts(write=0.4), limits=Limits(write_high=100_000, write_low=50_000))
    done: Deferred[None] = Deferred()

    @server.route(loopback.chat)
    async def much(client: Any, message: Any) -> None:
        for number in range(80):
            await client.send(loopback.news, number.to_bytes(4, "big") * 25_000)
        done.callback(None)

    server.startService()
    client, heard = loopback.client(server.port), []
    client.set_callback("on_recv", lambda message: heard.append(message.content))
    await client.connect()
    transport = client.session._transport.transport  # type: ignore[union-attr]
    transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.send(loopback.chat)
    transport.bufferSize = 16384
    for _ in range(30):
        transport.pauseProducing()
        await sleep(0.1)
        transport.resumeProducing()
        await sleep(0.01)
    assert len(server.clients) == 1
    transport.bufferSize = 65536
    await done
    await until(lambda: len(heard) == 80)
    assert heard == [number.to_bytes(4, "big") * 25_000 for number in range(80)]


async def test_a_coroutine_that_awaits_its_sends_keeps_the_queue_short(loopback: Any) -> None:
    """``await session.send()`` keeps what waits near write_high, however much is sent, and ends with the connection."""
    server = loopback.made_server(limits=Limits(write_high=200_000, write_low=50_000))
    most, sent, errors = [0], [0], []

    @server.route(loopback.chat)
    async def much(client: Any, message: Any) -> None:
        try:
            while True:
                await client.send(loopback.news, b"x" * 50_000)
                sent[0] += 1
                most[0] = max(most[0], client.write_buffer_size)
        except SessionClosed as error:
            errors.append(error)

    server.startService()
    (client,) = await crowd(loopback, server, 1)
    client.send(loopback.chat)
    await until(lambda: len(client.heard) > 300)
    deaf(client)
    before = -1
    while before != sent[0]:
        before = sent[0]
        await sleep(0.1)
    assert most[0] <= 200_000 + 50_015
    client.session._transport.transport.abortConnection()  # type: ignore[union-attr]
    await until(lambda: len(errors) == 1)


@pytest.mark.parametrize("role", ["server", "client"])
async def test_a_dead_peer_is_noticed_in_time(role: str, loopback: Any) -> None:
    """A peer that keeps its socket open and says nothing is dropped after silence and pong, in both roles; a live one is not."""
    times = Timeouts(ping_interval=0.3, ping_timeout=0.3)
    server = await loopback.server(timeouts=times if role == "server" else Timeouts())
    ends = ended(server)
    client = loopback.client(server.port, timeouts=times if role == "client" else Timeouts())
    states: list[Any] = []
    client.set_callback("on_disconnect", states.append)
    await client.connect()
    await sleep(1.0)
    assert ends == []
    assert client.is_connected
    if role == "server":
        deaf(client)
        await sleep(0.5)
        await until(lambda: len(ends) == 1)
        assert ends[0][1].reason is DisconnectReason.PING_TIMEOUT
    else:
        server.clients[0]._flow.pause("a test")
        await sleep(0.5)
        await until(lambda: len(states) == 1)
        assert states[0].reason is DisconnectReason.PING_TIMEOUT


@pytest.mark.parametrize("role", ["server", "client"])
async def test_the_kernel_looks_for_dead_peers_too(role: str, loopback: Any) -> None:
    """Where the system has them, TCP's own keep-alive and user timeout are set by the heartbeat's times; nothing is held back."""
    times = Timeouts(ping_interval=3, ping_timeout=2)
    server = await loopback.server(timeouts=times if role == "server" else Timeouts())
    client = loopback.client(server.port, timeouts=times if role == "client" else Timeouts())
    session = await client.connect()
    await until(lambda: len(server.clients) == 1)
    handle = (server.clients[0] if role == "server" else session)._transport.transport.getHandle()
    wanted = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 5000}
    known = {name: value for name, value in wanted.items() if hasattr(socket, name)}
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert {name: handle.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in known} == known


async def test_a_paused_peer_that_is_gone_is_noticed(loopback: Any) -> None:
    """While a handler never ends and reading is paused, a peer whose connection is reset is noticed by the pings."""
    server = loopback.made_server(timeouts=Timeouts(ping_interval=0.2, ping_timeout=0.2, drain=0.2), limits=Limits(inflight=2))
    server.route(loopback.chat)(lambda client, message: Deferred())
    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    for _ in range(5):
        client.send(loopback.chat)
    await until(lambda: bool(server.clients) and server.clients[0]._flow.paused)
    (session,) = server.clients
    await sleep(0.6)
    assert session.closed is None
    closed = session.when_closed()
    client.session._transport.transport.abortConnection()  # type: ignore[union-attr]
    assert (await closed).reason in (DisconnectReason.RESET, DisconnectReason.PEER_CLOSED, DisconnectReason.ERROR)


async def test_half_a_message_is_not_waited_for(loopback: Any) -> None:
    """A peer that begins a message and stops, or drips, is closed after timeouts.frame."""
    server = await loopback.server(timeouts=Timeouts(frame=0.3))
    ends = ended(server)
    client = loopback.client(server.port)
    await client.connect()
    half = W15.pack(200, b"x" * 5000, 1, 0) + b"x"
    client.session._transport.transport.write(half)  # type: ignore[union-attr]
    for _ in range(8):
        await sleep(0.1)
        if client.session is not None and client.session.closed is None:
            client.session._transport.transport.write(b"x")
    await until(lambda: len(ends) == 1)
    assert isinstance(ends[0][1].cause, FrameTimeout)


async def test_a_ping_flood_ends_and_steady_pings_do_not(loopback: Any) -> None:
    """A peer that floods with pings is closed with its reason; one that pings steadily meanwhile is answered each time."""
    server = await loopback.server(limits=Limits(pings=1000, ping_burst=2000))
    ends = ended(server)
    flooder, steady = await crowd(loopback, server, 2)
    flooder.session._transport.transport.write(W15.pack(0, b"", 1, 0) * 100_000)
    for _ in range(50):
        assert await steady.ping_server() < 1000
        await sleep(0.01)
    assert [type(closed.cause) for _, closed in ends] == [TooManyPings]


async def test_half_open_peers_do_not_keep_clients_out(loopback: Any) -> None:
    """With 300 peers that never finish their handshake, and room for fewer, new clients are served at once."""
    limits = Limits(half_open=50, half_open_per_source=40)
    server = await loopback.server(limits=limits, max_connections=320, handshake_timeout=20)
    raws = [await loopback.raw(server.port) for _ in range(300)]
    await sleep(3.1)
    for _ in range(25):
        client = loopback.client(server.port)
        await client.connect()
        assert (await client.send_and_wait(loopback.chat, b"in")).content == b"in"
    assert len(server.clients) == 25
    assert 25 <= server.counters["evicted"] <= 300
    for raw in raws:
        raw.transport.abortConnection()
        await raw.gone
    await until(lambda: not server._connections.half_open())


async def test_a_producer_is_paused_by_a_real_connection(loopback: Any) -> None:
    """A producer that sends as fast as it may is paused and resumed, and stopped when its peer has gone."""
    server = loopback.made_server(limits=Limits(write_high=200_000, write_low=50_000))
    steps: list[str] = []

    class Endless:
        """Sends until it is paused."""

        def __init__(self, session: Session) -> None:
            self.session = session
            self.going = False

        def resumeProducing(self) -> None:
            """Send."""
            steps.append("resume")
            self.going = True
            while self.going:
                self.session.send(loopback.news, b"x" * 20_000)

        def pauseProducing(self) -> None:
            """Wait."""
            steps.append("pause")
            self.going = False

        def stopProducing(self) -> None:
            """End."""
            steps.append("stop")
            self.going = False

    @server.route(loopback.chat)
    def produce(client: Any, message: Any) -> None:
        producer = Endless(client)
        client.register_producer(producer)
        producer.resumeProducing()

    server.startService()
    (client,) = await crowd(loopback, server, 1)
    client.send(loopback.chat)
    await until(lambda: len(client.heard) > 300)
    assert steps[:4] == ["resume", "pause", "resume", "pause"]
    await client.disconnect()
    await until(lambda: steps[-1] == "stop")
    assert steps.count("stop") == 1
