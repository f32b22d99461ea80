"""What servers and clients count, and the line of the log that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, formatEvent

from veltix_tx import (
    Client,
    DisconnectReason,
    Limits,
    MessageRegistry,
    MessageType,
    QueueFull,
    RequestTimeout,
    Response,
    Server,
    Session,
    SessionClosed,
    Timeouts,
    TooManyRequests,
)
from veltix_tx.net.session.handler_timeouts import HandlerTimeout
from veltix_tx.net.shared.counters import COUNTERS
from veltix_tx.testing import MemoryNetwork

HELLO = b'\x00\x18{"v":"3.3.0","pv":"1.0"}'
"""What a client of 3.3.0 says."""


class Pair:
    """A server and clients of it in memory."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.handle: Callable[[Any, Any], Any] = lambda client, message: message.content
        self.server = Server(types=self.types)
        self.ended: list[Client] = []

    def serve(self, **settings: Any) -> Server:
        """Let a server listen."""
        self.server.configure(wire="3.3.0", **settings)
        self.server.route(self.chat)(self._received)
        self.network.serve(self.server)
        return self.server

    def client(self, **settings: Any) -> Client:
        """Connect a client."""
        client = Client(types=self.types, **settings)
        self.network.connect(client)
        self.ended.append(client)
        return client

    def deaf(self, **settings: Any) -> Session:
        """Connect a client that reads nothing; return the server's session with it."""
        self.client(**settings)
        session = self.server.clients[-1]
        session._flow.pauseProducing()
        return session

    def _received(self, client: Session, message: Response) -> Any:
        return self.handle(client, message)

    def end(self) -> None:
        """Stop everything."""
        for client in self.ended:
            client.disconnect()
        if self.server.running:
            self.server.stopService()
        self.network.advance(60)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give a server and clients in memory."""
    pair = Pair()
    yield pair
    pair.end()


def said(log_events: list[LogEvent], words: str) -> int:
    """Return in how many lines of the log some words are."""
    return sum(words in (formatEvent(event) or "") for event in log_events)


def known(server: Server | Client) -> bool:
    """Whether everything that was counted has a meaning."""
    reasons = {f"closed_{reason.name.lower()}" for reason in DisconnectReason}
    return set(server.counters) <= COUNTERS.keys() | reasons


def test_who_comes_and_goes_is_counted(pair: Pair) -> None:
    """A server counts whom it takes, who is ready, and for which reason each goes; what it gives away is a copy."""
    assert pair.server.counters == {}
    server = pair.serve()
    clients = [pair.client() for _ in range(3)]
    pair.network.dial().hang_up()
    pair.network.result(clients[0].disconnect())
    pair.network.result(server.clients[0].disconnect())
    server.counters["ready"] += 100
    assert server.counters == {"accepted": 4, "ready": 3, "closed_peer_closed": 2, "closed_manual": 1}
    assert known(server)


def test_a_client_counts_over_all_its_connections(pair: Pair) -> None:
    """After disconnect() and connect() again, with other limits, it goes on counting where it was."""
    assert Client().counters == {}
    pair.serve()
    client = pair.client()
    pair.network.result(client.disconnect())
    assert client.counters == {"ready": 1, "closed_manual": 1}
    client.configure(limits=Limits(pending=1))
    pair.network.connect(client)
    waiting: Deferred[Any] = Deferred()
    pair.handle = lambda session, message: waiting
    first = client.send_and_wait(pair.chat, b"?", timeout=1)
    with pytest.raises(TooManyRequests):
        pair.network.result(client.send_and_wait(pair.chat, b"?"))
    pair.network.advance(1)
    with pytest.raises(RequestTimeout):
        pair.network.result(first)
    waiting.callback(b"!")
    pair.network.pump()
    assert client.counters == {"ready": 2, "closed_manual": 1, "requests_refused": 1, "requests_timed_out": 1, "late_replies": 1}
    assert known(client)


@pytest.mark.parametrize(
    ("name", "most"), [("max_connections", {"max_connections": 1}), ("limits.per_source", {"limits": Limits(per_source=1)})]
)
def test_who_is_refused_is_counted_and_told_why(name: str, most: dict[str, Any], loopback: Any, log_events: list[LogEvent]) -> None:
    """Over a limit for connections each is counted; the line of the log names the setting."""
    from twisted.internet.address import IPv4Address

    server = loopback.made_server(endpoint="tcp:0:interface=127.0.0.1", **most)
    server.startService()
    (port,) = server._ports
    address = IPv4Address("TCP", "192.0.2.7", 1)
    made = [port.factory.buildProtocol(address) for _ in range(70)]
    assert (server.counters["accepted"], server.counters["refused"]) == (1, 69)
    assert made[-1] is None
    assert said(log_events, f"): there are 1, as many as may be ({name})") == 20
    assert said(log_events, f"refusing a connection of 192.0.2.7 ({made[1].connection_id}): ") == 1
    assert server.counters["lines_left_out"] == 69 - 20
    for each in filter(None, made):
        server._connections.connection_lost(each, SessionClosed(DisconnectReason.SERVER_FULL))


def test_who_gives_way_is_counted_and_told_why(pair: Pair, log_events: list[LogEvent]) -> None:
    """A half-open connection that is dropped for a new one is counted, and a line of the log says why."""
    server = pair.serve(limits=Limits(half_open=1))
    pair.network.dial()
    pair.network.advance(4)
    pair.network.dial()
    pair.network.pump()
    assert (server.counters["evicted"], server.counters["closed_handshake_timeout"]) == (1, 1)
    assert said(log_events, "): too many connections are in their handshake") == 1
    pair.network.advance(4)
    assert server.counters["closed_handshake_timeout"] == 1
    pair.network.advance(1)
    assert server.counters["closed_handshake_timeout"] == 2
    assert said(log_events, "closing ") == 2


def test_queues_are_counted(pair: Pair) -> None:
    """Senders asked to wait, messages refused, broadcasts left out, and those closed for one, are counted."""
    server = pair.serve(limits=Limits(write_high=1000, write_low=500, write_hard=2000))
    session = pair.deaf()
    for _ in range(2):
        session.send(pair.chat, b"x" * 900)
        pair.network.pump()
    with pytest.raises(QueueFull):
        session.send(pair.chat, b"x" * 900)
    assert (server.counters["writes_paused"], server.counters["queues_full"]) == (1, 1)
    server.broadcast(pair.chat, b"x" * 900, slow="drop")
    assert (server.counters["broadcasts_dropped"], session.broadcasts_dropped) == (1, 1)
    server.broadcast(pair.chat, b"x" * 900, slow="close")
    pair.network.pump()
    assert server.counters["closed_write_timeout"] == 1
    assert known(server)


def test_handlers_are_counted(pair: Pair, logged_failures: Any) -> None:
    """Handlers that fail, block, are not done in time or are done after that, and pauses of reading, are counted."""
    server = pair.serve(timeouts=Timeouts(handler=2, slow_handler=1), limits=Limits(inflight=2))
    client = pair.client()
    late: list[Deferred[None]] = []

    async def handle(session: Any, message: Any) -> None:
        if message.content == b"raise":
            raise ZeroDivisionError
        if message.content == b"block":
            pair.network.clock.rightNow += 1.5
            return
        late.append(Deferred())
        try:
            await Deferred()
        except CancelledError:
            await late[-1]

    pair.handle = handle
    client.send(pair.chat, b"raise")
    client.send(pair.chat, b"block")
    pair.network.pump()
    assert (server.counters["handlers_failed"], server.counters["handlers_slow"]) == (1, 1)
    for _ in range(4):
        client.send(pair.chat, b"wait")
        pair.network.pump()
    assert server.counters["reads_paused"] == 1
    pair.network.advance(2)
    assert server.counters["handlers_failed"] == 2
    pair.network.advance(8)
    late[0].callback(None)
    assert (server.counters["handlers_failed"], server.counters["handlers_late"]) == (5, 1)
    assert known(server)
    logged_failures.flush(ZeroDivisionError, HandlerTimeout)


def test_frames_that_are_refused_are_counted(pair: Pair, log_events: list[LogEvent]) -> None:
    """Each is, and the strike that closes the connection is told."""
    server = pair.serve(limits=Limits(protocol_errors=3))
    peer = pair.network.dial()
    peer.send(HELLO)
    for _ in range(4):
        peer.send(bytes.fromhex("5658 012b 00000000 00000000 00 0001"))
    assert peer.closed
    assert server.counters["frames_refused"] == 4
    assert server.counters["closed_protocol_error"] == 1
    assert said(log_events, "closing ") == 1
    assert known(server)


def test_what_a_stop_cuts_off_is_counted(pair: Pair, log_events: list[LogEvent], logged_failures: Any) -> None:
    """Connections that a stopping server is not done with in time are counted, and told in one line."""
    server = pair.serve(timeouts=Timeouts(drain=3))
    pair.handle = lambda session, message: Deferred()
    clients = [pair.client() for _ in range(2)]
    for client in clients:
        client.send(pair.chat, b"wait")
    pair.network.pump()
    stopped = server.stopService()
    pair.network.advance(3)
    pair.network.result(stopped)
    assert server.counters["cut_off"] == 2
    assert said(log_events, "2 connections were cut off") == 1
    assert known(server)
    logged_failures.flush(CancelledError)


async def test_a_close_that_the_peer_does_not_finish_is_counted(loopback: Any) -> None:
    """A peer that does not read what waits for it is aborted in the end."""
    server = await loopback.server(timeouts=Timeouts(close=0.2), wire="3.3.0")
    raw = await loopback.raw(server.port)
    await raw.some()
    raw.transport.write(HELLO)
    raw.transport.pauseProducing()
    while not server.clients:
        await raw.some(len(raw.received))
        await _turn()
    (session,) = server.clients
    session.send(loopback.chat, bytes(9_000_000))
    await session.disconnect()
    assert (server.counters["closes_aborted"], server.counters["closed_manual"]) == (1, 1)
    raw.transport.resumeProducing()
    await raw.gone


async def _turn() -> None:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.01, lambda: None)
