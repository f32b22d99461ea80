"""Stopping: what had arrived when the stop began is read, handled and answered, and nothing after that."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, race
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent

from tests.support.authority import Authority
from tests.support.burst import Burst
from veltix_tx import Client, Limits, MessageRegistry, MessageType, Server, SessionClosed, Timeouts
from veltix_tx.testing import MemoryNetwork

REQUESTS, SIZE = 2_000, 500


Dial = Callable[..., Coroutine[Deferred[Any], Any, Burst]]


@pytest.fixture
def dial(loopback: Any) -> Iterator[Dial]:
    """Connect clients on plain sockets, which are closed in the end."""
    bursts: list[Burst] = []

    async def dial(where: int | Path, step: Callable[[Burst], None] = Burst.shake_hands, **settings: Any) -> Burst:
        bursts.append(await deferToThread(Burst, where, loopback.chat, loopback.types, **settings))
        await deferToThread(step, bursts[-1])
        return bursts[-1]

    yield dial
    for burst in bursts:
        burst.close()


def handle(how: str, server: Any, loopback: Any) -> None:
    """Let a server echo, at once or later."""

    async def later(client: Any, message: Any) -> bytes:
        await deferLater(server.reactor, 0)
        return bytes(message.content)

    server.register_route(loopback.chat, later if how == "later" else lambda client, message: message.content)


@pytest.mark.parametrize("how", ["at once", "later"])
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_what_had_arrived_is_answered(
    kind: str, how: str, loopback: Any, dial: Dial, authority: Authority, tmp_path: Path
) -> None:
    """2,000 requests of 500 bytes that both kernels hold when the stop begins are answered in order, then comes FIN."""
    from twisted.internet import reactor

    settings: dict[str, Any] = {"endpoint": f"unix:{tmp_path / 's'}"} if kind == "unix" else {}
    if kind == "tls":
        files = authority.issue("server", "localhost", "127.0.0.1")
        settings = {"tls_cert": files.cert, "tls_key": files.key}
    server = loopback.made_server(reactor=reactor, timeouts=Timeouts(drain=25), limits=Limits(inflight=16), **settings)
    handle(how, server, loopback)
    server.startService()
    where = tmp_path / "s" if kind == "unix" else server.port
    burst = await dial(where, ca=authority.ca if kind == "tls" else None)
    sent = burst.ask(REQUESTS, SIZE)  # in one turn of the reactor: nothing of it is read by now
    assert sent == REQUESTS or (kind == "unix" and sent > 20)
    stopped = server.stopService()
    assert await deferToThread(burst.answers) == list(range(sent))
    assert burst.ended == "FIN"
    await stopped
    assert server.counters["cut_off"] == 0


async def test_what_comes_after_the_stop_is_not_taken(loopback: Any) -> None:
    """A message that is sent when the stop has begun and all is read is not handled; its request fails with SessionClosed."""
    server, gate, handled = loopback.made_server(), Deferred(), []

    @server.route(loopback.chat)
    async def slow(client: Any, message: Any) -> bytes:
        handled.append(message.content)
        await gate
        return b"done"

    server.startService()
    client = loopback.client(server.port)
    await client.connect()
    reply = client.send_and_wait(loopback.chat, b"1")
    await client.ping_server()
    stopped = server.stopService()
    too_late = client.send_and_wait(loopback.chat, b"2")
    await client.ping_server()
    gate.callback(None)
    assert (await reply).content == b"done"
    with pytest.raises(SessionClosed):
        await too_late
    await stopped
    assert handled == [b"1"]


async def test_a_peer_that_never_stops_sending_does_not_keep_a_server(loopback: Any, dial: Dial) -> None:
    """Reading ends after as many bytes as one message may have, however much more comes all the time."""
    server = loopback.made_server(timeouts=Timeouts(drain=60), max_message_size=100_000)
    server.register_route(loopback.chat, lambda client, message: None)
    server.startService()
    burst = await dial(server.port)
    ending: list[str] = []

    def flood() -> None:
        number = 0
        with suppress(OSError):
            while not ending:
                number += burst.ask(100, SIZE, number)

    burst.ask(1000, SIZE)
    flooding = deferToThread(flood)
    await server.stopService()
    ending.append("over")
    await flooding
    await deferToThread(burst.answers)
    assert server.counters["cut_off"] == 0


async def test_a_handler_that_stops_the_server_does_not_lose_the_rest_of_its_read(loopback: Any, dial: Dial) -> None:
    """Messages that came in one read with the one whose handler stops the server are handled, too."""
    server, stops = loopback.made_server(), []

    @server.route(loopback.chat)
    def on_chat(client: Any, message: Any) -> bytes:
        if not stops:
            stops.append(server.stopService())
        return bytes(message.content)

    server.startService()
    burst = await dial(server.port)
    assert burst.ask(50, SIZE) == 50
    assert await deferToThread(burst.answers) == list(range(50))
    await stops[0]


async def test_a_handshake_that_had_arrived_counts(loopback: Any, dial: Dial) -> None:
    """A client whose last word of the handshake had arrived, with requests behind it, is answered as well; another is dropped."""
    server = loopback.made_server(wire="1.6.3")
    handle("at once", server, loopback)
    server.startService()
    silent, burst = [await dial(server.port, Burst.hear_hello, wire="1.6.3") for _ in range(2)]
    assert burst.ask(50, SIZE) == 50
    stopped = server.stopService()
    assert await deferToThread(burst.answers) == list(range(50))
    assert await deferToThread(silent.answers) == []
    await stopped
    assert (burst.ended, server.counters["cut_off"]) == ("FIN", 0)


async def test_a_drain_of_one_session_takes_what_had_arrived(loopback: Any, dial: Dial) -> None:
    """session.drain() does the same for one connection; the others go on."""
    server = loopback.made_server()
    handle("at once", server, loopback)
    server.startService()
    burst, other = await dial(server.port), loopback.client(server.port)
    await other.connect()
    session = server.clients[0]
    assert burst.ask(REQUESTS, SIZE) == REQUESTS
    drained = session.drain()
    assert len(await deferToThread(burst.answers)) == REQUESTS
    await drained
    assert (await other.send_and_wait(loopback.chat, b"still here")).content == b"still here"


async def test_a_peer_that_breaks_off_ends_its_drain(loopback: Any, dial: Dial) -> None:
    """A connection that is reset with much unread is not waited for."""
    from twisted.internet import reactor

    server = loopback.made_server(reactor=reactor, timeouts=Timeouts(drain=60), limits=Limits(inflight=2))
    server.register_route(loopback.chat, lambda client, message: deferLater(reactor, 0.01))
    server.startService()
    burst = await dial(server.port)
    assert burst.ask(1000, SIZE) == 1000
    stopped = server.stopService()
    burst.reset()
    await stopped
    assert server.counters["cut_off"] == 0


# Peers that read slowly.

MESSAGES, LARGE = 60, 50_000


async def sent_much(kind: str, loopback: Any, dial: Dial, authority: Authority, **timeouts: float) -> tuple[Any, Burst]:
    """Return a server that has sent 3 MB, and the client that has not read them."""
    settings: dict[str, Any] = {}
    if kind == "tls":
        files = authority.issue("server", "localhost", "127.0.0.1")
        settings = {"tls_cert": files.cert, "tls_key": files.key}
    server = loopback.made_server(timeouts=Timeouts(**timeouts), **settings)
    server.startService()
    burst = await dial(server.port, ca=authority.ca if kind == "tls" else None)
    burst.narrow()
    for number in range(MESSAGES):
        server.clients[0].send(loopback.chat, b"%d " % number + bytes(LARGE))
    assert server.clients[0].write_buffer_size > MESSAGES * LARGE // 2
    return server, burst


@pytest.mark.parametrize("how", ["stop", "disconnect"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_slow_reader_gets_everything(
    kind: str, how: str, loopback: Any, dial: Dial, authority: Authority, log_events: Any
) -> None:
    """A peer that takes longer for what is queued than timeouts.close, but reads on, is not cut by that."""
    server, burst = await sent_much(kind, loopback, dial, authority, drain=30, close=0.4)
    closed = server.stopService() if how == "stop" else server.clients[0].disconnect()
    assert await deferToThread(burst.answers, 0.02) == list(range(MESSAGES))
    assert burst.ended == "FIN"
    await closed
    assert server.counters["closes_aborted"] == server.counters["cut_off"] == 0


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_peer_that_stops_reading_is_cut_and_told_of(
    kind: str, loopback: Any, dial: Dial, authority: Authority, log_events: Any
) -> None:
    """One that reads nothing for timeouts.close is cut, which is logged with what is lost, and counted."""
    server, burst = await sent_much(kind, loopback, dial, authority, drain=30, close=0.4)
    await server.stopService()
    assert server.counters["closes_aborted"] == 1
    (said,) = [text for text in map(formatEvent, log_events) if "closing 127.0.0.1:" in text]
    lost = int(re.search(r"(\d+) bytes of which are lost", said).group(1))  # type: ignore[union-attr]
    assert lost > MESSAGES * LARGE // 2
    assert len(await deferToThread(burst.answers)) < MESSAGES


async def test_the_end_of_a_drain_cuts_a_slow_reader(loopback: Any, dial: Dial, authority: Authority, log_events: Any) -> None:
    """Under a stop the outer bound is timeouts.drain, whatever the peer still takes: that, too, is logged and counted."""
    server, burst = await sent_much("tcp", loopback, dial, authority, drain=0.5, close=0.4)
    reading = deferToThread(burst.answers, 0.1)
    await server.stopService()
    assert (server.counters["cut_off"], server.counters["closes_aborted"]) == (1, 0)
    assert any("1 connections were cut off" in text for text in map(formatEvent, log_events))
    assert len(await reading) < MESSAGES


# Handlers that wait.


class Poll:
    """A server in memory whose handler waits for news, or for the server to stop, and its client."""

    def __init__(self) -> None:
        self.network, types = MemoryNetwork(), MessageRegistry()
        self.chat = MessageType(200, "chat", registry=types)
        self.server, self.client = Server(types=types), Client(types=types)
        self.news: list[Deferred[bytes]] = []

        @self.server.route(self.chat, timeout=math.inf, concurrent=True)
        async def on_poll(client: Any, message: Any) -> bytes:
            self.news.append(Deferred())
            _, found = await race([self.news[-1], self.server.when_stopping()])
            return found or b"nothing new"

        self.network.serve(self.server)
        self.network.connect(self.client)

    def ask(self) -> Deferred[Any]:
        """Send a poll."""
        reply = self.client.send_and_wait(self.chat, timeout=60)
        self.network.pump()
        return reply


def test_a_long_poll_is_answered_when_the_server_stops() -> None:
    """when_stopping() fires when a stop begins: who waits for it answers, and the stop need not wait."""
    poll = Poll()
    replies = [poll.ask(), poll.ask()]
    stopped = poll.server.stopService()
    assert [poll.network.result(reply).content for reply in replies] == [b"nothing new"] * 2
    assert poll.network.result(stopped) is None
    assert poll.network.clock.seconds() == 0
    assert all(news.called for news in poll.news)


def test_a_poll_that_is_answered_leaves_nothing_to_be_told() -> None:
    """Each call has a Deferred of its own: one that is cancelled is forgotten, and the others still fire."""
    poll = Poll()
    reply, other = poll.ask(), poll.ask()
    assert len(poll.server._when_stopping) == 2
    poll.news[0].callback(b"news")
    assert poll.network.result(reply).content == b"news"
    assert len(poll.server._when_stopping) == 1
    poll.network.result(poll.server.stopService())
    assert poll.network.result(other).content == b"nothing new"


def test_stopping_is_told_at_once_until_the_server_listens_again() -> None:
    """While it stops, and when it has stopped, when_stopping() fires at once; after the next start it waits for the next stop."""
    poll = Poll()
    early: list[None] = []
    poll.server.when_stopping().addCallback(early.append)
    poll.server.when_stopping().addCallback(lambda _: poll.server.when_stopping().addCallback(early.append))
    assert early == []
    stopped = poll.server.stopService()
    assert early == [None, None]
    poll.network.result(stopped)
    assert poll.network.result(poll.server.when_stopping()) is None
    poll.server.startService()
    later: list[None] = []
    poll.server.when_stopping().addCallback(later.append)
    assert later == []
    poll.network.result(poll.server.stopService())
    assert later == [None]


def test_a_server_that_never_listened_tells_of_its_stop_too() -> None:
    """Who waits before the first start hears of a stop all the same."""
    server, told = Server(), list[None]()
    server.when_stopping().addCallback(told.append)
    server.stopService()
    assert told == [None]
