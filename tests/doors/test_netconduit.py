"""Server and Client on netconduit's wire: all that a wire has, in memory, and what a hostile peer comes to."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import msgpack
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent

from tests.support.netconduit import HASH, LOGIN, PASSWORD, frame, frames_in
from veltix_tx import (
    AuthenticationFailed,
    Client,
    DisconnectReason,
    InvalidArguments,
    Limits,
    MessageRegistry,
    MessageType,
    MethodNotFound,
    Netconduit,
    RemoteError,
    Request,
    Response,
    RetryPolicy,
    RpcError,
    RpcTimeout,
    Server,
    ServerFull,
    Session,
    SettingsError,
    Timeouts,
)
from veltix_tx.errors import FrameTooLarge, HandshakeError, HandshakeTimeout, InvalidContent, LocalProtocolError, MessageTooLarge
from veltix_tx.testing import MemoryNetwork, ScriptedPeer

MIB = 2**20


class Pair:
    """A server, a client that is not connected yet, and their network."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.types = MessageRegistry()
        self.chat = MessageType(name="chat", registry=self.types)
        self.chatted = MessageType(name="chat_response", registry=self.types)
        self.order = MessageType(201, "order", registry=self.types)
        self.heard: list[tuple[str, Any]] = []
        self.ended: list[Any] = []

    def server(self, **settings: Any) -> Server:
        """Serve."""
        settings.setdefault("wire", Netconduit(PASSWORD))
        self.made = Server(types=self.types, **settings)
        self.network.serve(self.made)
        return self.made

    def client(self, password: str | None = PASSWORD, **settings: Any) -> Client:
        """Return a client that keeps what it hears."""
        client = Client(wire=Netconduit(password), types=self.types, **settings)
        client.set_callback("on_recv", lambda message: self.heard.append((message.type.name, message.value)))
        client.set_callback("on_disconnect", self.ended.append)
        return client

    def connected(self, **settings: Any) -> Client:
        """Return a client that is connected."""
        client = self.client(**settings)
        self.network.connect(client)
        return client

    def real(self) -> ScriptedPeer:
        """Return a peer that has logged in as real clients do, and whose session is there."""
        peer = self.network.dial()
        peer.send(LOGIN)
        self.network.advance(0.2)
        peer.received.clear()
        return peer


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return a network with a server and a client still to be made."""
    with MemoryNetwork() as network:
        yield Pair(network)


def said(events: list[LogEvent]) -> list[str]:
    """Return the lines of the log."""
    return [formatEvent(event) for event in events if event["log_namespace"].startswith("veltix_tx")]


# Messages.


def test_routes_are_picked_by_name_and_answers_have_names_of_their_own(pair: Pair) -> None:
    """A route is picked by its type's name, be there a code or not; what it returns is a message ``<name>_response``."""
    server = pair.server()
    server.register_route(pair.chat, lambda session, message: {"said": message.value})
    server.register_route(pair.order, lambda session, message: None)
    client = pair.connected()
    client.send(pair.chat, "hello")
    client.send(pair.order, [1])
    pair.network.pump()
    assert pair.heard == [("chat_response", {"said": "hello"})]


def test_a_request_that_is_returned_keeps_its_name(pair: Pair) -> None:
    """A handler that returns a Request sends a message of that type, not an answer."""
    server = pair.server()
    server.register_route(pair.chat, lambda session, message: Request(pair.order, b"raw"))
    client = pair.connected()
    client.send(pair.chat, 1)
    pair.network.pump()
    assert pair.heard == [("order", b"raw")]


def test_a_message_can_be_answered_by_hand(pair: Pair) -> None:
    """``reply`` and ``request_id=`` answer a message as a handler's result does."""
    server = pair.server()

    @server.route(pair.chat)
    def handle(session: Session, message: Response) -> None:
        session.send(message.type, "one", request_id=message.request_id)
        session.reply(message, "two")
        session.send(message.type, "three")

    client = pair.connected()
    client.send(pair.chat, 1)
    with pytest.raises(LocalProtocolError, match="no request ids"):
        pair.network.result(client.send_and_wait(pair.chat, 1))
    pair.network.pump()
    assert pair.heard == [("chat_response", "one"), ("chat_response", "two"), ("chat", "three")]


def test_a_clients_answers_go_back_too(pair: Pair) -> None:
    """What a client's route returns is a message to the server."""
    server = pair.server()
    heard: list[Any] = []
    server.register_route(pair.chatted, lambda session, message: heard.append(message.value))
    client = pair.client()
    client.register_route(pair.chat, lambda message: message.value + 1)
    pair.network.connect(client)
    server.broadcast(pair.chat, 1)
    pair.network.pump()
    assert heard == [2]


def test_messages_are_answered_in_their_order(pair: Pair) -> None:
    """One client's messages are handled one after another; pings are answered meanwhile."""
    server = pair.server()
    waiting: list[Deferred[Any]] = []

    @server.route(pair.chat)
    def handle(session: Session, message: Response) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    client = pair.connected()
    client.send(pair.chat, 1)
    client.send(pair.chat, 2)
    assert pair.network.result(client.ping_server()) == 0
    assert len(waiting) == 1
    waiting[0].callback("first")
    pair.network.pump()
    waiting[1].callback("second")
    pair.network.pump()
    assert [value for _, value in pair.heard] == ["first", "second"]


def test_broadcasts_and_tags_work_as_on_any_wire(pair: Pair) -> None:
    """A broadcast reaches all, or those of a tag, real peers among them; it is encoded once for all."""
    server = pair.server()
    pair.connected()
    other: Pair = Pair(pair.network)
    other.types, other.chat = pair.types, pair.chat
    other.connected()
    real = pair.real()
    assert server.broadcast(pair.chat, "all") == 3
    tagged = server.clients[1]
    tagged.add_tag("room", "one")
    assert server.broadcast(pair.chat, "some", to=server.get_clients_by_tag("room")) == 1
    pair.network.pump()
    assert (pair.heard, other.heard) == ([("chat", "all")], [("chat", "all"), ("chat", "some")])
    assert frames_in(bytes(real.received)) == [(1, 0, 0, {"type": "chat", "data": "all"})]
    with pytest.raises(InvalidContent):
        server.broadcast(pair.chat, {1: 2})


def test_what_cannot_be_sent_is_refused_where_it_is_sent(pair: Pair) -> None:
    """Values that a real peer cannot take, or that are too long, raise at the sender; the session goes on."""
    pair.server()
    client = pair.connected(max_message_size=1000)
    for value, error in (({1: 2}, InvalidContent), (2**64, InvalidContent), (object(), TypeError), ("x" * 1000, MessageTooLarge)):
        with pytest.raises(error):
            client.send(pair.chat, value)
    assert client.is_connected


@pytest.mark.parametrize("result", [{1: 2}, object(), [2**64], "\ud800"], ids=["int key", "object", "huge", "surrogate"])
def test_a_result_that_cannot_be_packed_is_the_handlers_failure(pair: Pair, result: object, logged_failures: Any) -> None:
    """A handler's result that cannot be sent is logged and counted; the peer's next message is handled."""
    server = pair.server()
    results = [result, "good"]
    server.register_route(pair.chat, lambda session, message: results.pop(0))
    client = pair.connected()
    client.send(pair.chat, 1)
    client.send(pair.chat, 2)
    pair.network.pump()
    assert pair.heard == [("chat_response", "good")]
    assert server.counters["handlers_failed"] == 1
    logged_failures.flush(InvalidContent, TypeError)


def test_a_stop_answers_what_has_arrived(pair: Pair) -> None:
    """A stopping server handles and answers what it has taken, then closes."""
    server = pair.server()
    server.register_route(pair.chat, lambda session, message: message.value, concurrent=True)
    client = pair.connected()
    for number in range(5):
        client.send(pair.chat, number)
    pair.network.pump()
    stopped = server.stopService()
    pair.network.advance(1)
    assert stopped.called
    assert [value for _, value in pair.heard] == list(range(5))
    assert pair.ended[0].reason is DisconnectReason.PEER_CLOSED


def test_one_server_has_several_wires(pair: Pair) -> None:
    """An endpoint may be a pair of a wire and where it is spoken; others have the server's own."""
    server = Server(endpoints=("tcp:1", (Netconduit(PASSWORD), "tcp:2"), ("1.9.0", "tcp:3")))
    assert [place.wire.name for place in server._places] == ["auto", "netconduit", "1.9.0"]
    assert PASSWORD not in repr(server) + repr(server.config)
    for wrong in (((Netconduit(PASSWORD),),), (("netconduit", "tcp:1", "more"),), "tcp:1"):
        with pytest.raises(SettingsError, match="endpoints"):
            Server(endpoints=wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="wire"):
        Server(endpoints=(("no-wire", "tcp:1"),))


# Who is let in.


def test_a_wrong_password_is_told_counted_and_not_tried_again(pair: Pair, log_events: list[LogEvent]) -> None:
    """A client with a wrong password fails with AuthenticationFailed and does not retry; the server counts it in one line."""
    server = pair.server()
    client = pair.client("wrong", retry=RetryPolicy(initial_delay=0))
    with pytest.raises(AuthenticationFailed, match="Invalid password"):
        pair.network.connect(client)
    pair.network.advance(60)
    assert (server.counters["authentications_failed"], server.counters["closed_authentication_failed"]) == (1, 1)
    assert (client.counters["authentications_failed"], client.counters["closed_authentication_failed"]) == (0, 1)
    assert (server.counters["accepted"], server.counters["ready"], server.clients) == (1, 0, [])
    assert sum("the client's password is wrong" in line for line in said(log_events)) == 1
    assert not any(word in repr(log_events) for word in (PASSWORD, HASH, "wrong'"))


def test_a_client_without_a_password_is_told_how_to_give_one(pair: Pair) -> None:
    """``wire="netconduit"`` alone makes no client: connecting fails at once, and says what to do."""
    pair.server()
    client = Client(wire="netconduit", types=pair.types)
    with pytest.raises(AuthenticationFailed, match="Netconduit"):
        pair.network.connect(client)


@pytest.mark.parametrize("verdict", ["ann", None])
def test_authenticate_judges_where_there_is_no_password(pair: Pair, verdict: str | None) -> None:
    """A server without a password asks its ``authenticate``, which may take its time; nothing is sent before."""
    asked: list[Any] = []
    judged: Deferred[Any] = Deferred()

    def authenticate(credentials: Any) -> Deferred[Any]:
        asked.append(credentials)
        return judged

    server = pair.server(wire=Netconduit(), authenticate=authenticate)
    real = pair.network.dial()
    real.send(LOGIN)
    presented = asked[0].presented
    assert (presented.password_hash, presented.name, presented.version) == (HASH, "real", "9")
    assert HASH not in repr(asked)
    assert not real.received
    judged.callback(verdict)
    pair.network.pump()
    (kind, _, _, payload), *more = frames_in(bytes(real.received))
    assert not more
    if verdict is None:
        assert (kind, payload, real.closed) == (9, {"reason": "Invalid password"}, True)
        assert server.counters["authentications_failed"] == 1
    else:
        assert kind == 8
        pair.network.advance(0.2)
        assert [session.identity for session in server.clients] == ["ann"]


@pytest.mark.parametrize("verdict", ["ann", None])
def test_a_password_is_not_enough_where_authenticate_judges(pair: Pair, verdict: str | None) -> None:
    """A server with a password and ``authenticate`` says nothing before both have let the client in."""
    judged: Deferred[Any] = Deferred()
    server = pair.server(wire=Netconduit(PASSWORD), authenticate=lambda credentials: judged)
    real = pair.network.dial()
    real.send(LOGIN)
    pair.network.advance(0.2)
    assert (bytes(real.received), server.clients) == (b"", [])
    judged.callback(verdict)
    pair.network.advance(0.2)
    (kind, _, _, _), *_ = frames_in(bytes(real.received))
    assert kind == (8 if verdict else 9)
    assert [session.identity for session in server.clients] == ([verdict] if verdict else [])


def test_without_password_and_authenticate_nobody_is_let_in(pair: Pair) -> None:
    """A server with neither lets nobody in."""
    server = pair.server(wire="netconduit")
    with pytest.raises(AuthenticationFailed):
        pair.network.connect(pair.client())
    assert server.counters["authentications_failed"] == 1


def test_a_full_server_says_so_and_is_tried_again(pair: Pair) -> None:
    """A client of this package tells a full server from a wrong password: it fails with ServerFull, and retries."""
    server = pair.server(max_connections=1)
    pair.connected()
    late = pair.client()
    with pytest.raises(ServerFull):
        pair.network.connect(late)
    late.configure(retry=RetryPolicy(max_retries=1, initial_delay=1, jitter=False))
    failed: list[Any] = []
    late.connect().addErrback(failed.append)
    pair.network.advance(2)
    assert failed[0].check(ServerFull)
    assert late.counters["closed_server_full"] == 3
    assert len(server.clients) == 1


def test_a_real_clients_session_waits_until_it_has_read_its_welcome(pair: Pair) -> None:
    """``on_connect`` comes a moment after AUTH_SUCCESS, or with the client's first frame: what it sends is in no one segment."""
    server = pair.server()
    server.set_callback("on_connect", lambda session: session.send(pair.chat, "welcome"))
    for wait, data in ((0.2, b""), (0.0, frame(5))):
        real = pair.network.dial()
        real.send(LOGIN)
        assert [kind for kind, *_ in frames_in(bytes(real.received))] == [8]
        real.received.clear()
        real.send(data)
        pair.network.advance(wait)
        assert (1, 0, 0, {"type": "chat", "data": "welcome"}) in frames_in(bytes(real.received))


def test_a_client_comes_back_and_logs_in_again(pair: Pair) -> None:
    """A client whose connection is lost logs in again; its routes and its server's are as they were."""
    server = pair.server()
    server.register_route(pair.chat, lambda session, message: message.value)
    client = pair.connected(retry=RetryPolicy(initial_delay=1, jitter=False))
    server.clients[0].disconnect()
    pair.network.advance(2)
    client.send(pair.chat, "again")
    pair.network.pump()
    assert pair.heard == [("chat_response", "again")]
    assert server.counters["ready"] == 2


async def test_tls_is_below_it(loopback: Any, authority: Any) -> None:
    """Over TLS it is the same, and the password crosses nothing that others can read."""
    files = authority.issue("server", "localhost", "127.0.0.1")
    server = loopback.made_server(wire=Netconduit(PASSWORD), tls_cert=files.cert, tls_key=files.key)
    server.register_route(loopback.chat, lambda session, message: {"over": "TLS"})
    server.startService()
    client = loopback.client(server.port, wire=Netconduit(PASSWORD), tls=True, tls_ca=authority.ca)
    answered: Deferred[Any] = Deferred()
    MessageType(name="chat_response", registry=loopback.types)
    client.set_callback("on_recv", lambda message: answered.callback(message.value))
    await client.connect()
    client.send(loopback.chat, None)
    assert await answered == {"over": "TLS"}


@pytest.mark.parametrize("wire", [Netconduit(PASSWORD), "auto"])
async def test_the_server_says_who_can_get_in(wire: Any, loopback: Any, log_events: list[LogEvent]) -> None:
    """Where others can reach a port without TLS, the log says that all can connect, or that what they log in with can be read."""
    server = loopback.made_server(wire=wire, host="0.0.0.0")
    server.startService()
    lines = said(log_events)
    assert any("can read credentials and messages" in line and "no TLS" in line for line in lines) is (wire != "auto")
    assert any("neither TLS nor authentication" in line for line in lines) is (wire == "auto")


# What a hostile peer comes to.


def served(pair: Pair) -> bool:
    """Return whether somebody else is served."""
    other = Pair(pair.network)
    other.types = pair.types
    client = other.connected()
    client.send(pair.chat, "still there?")
    pair.network.pump()
    return other.heard == [("chat_response", "still there?")]


BEFORE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "Veltix": b"\x00\x1d" + b'{"v":"3.3.0","pv":"1.0"}',
    "zeros": bytes(1000),
    "version": b"CNDT\x02\x00" + bytes(26),
    "type": b"CNDT\x01\x00\x00\x55" + bytes(24),
    "100 MiB declared": struct.pack(">4sHHHHIQQ", b"CNDT", 256, 7, 0, 0, 100 * MIB, 0, 0),
    "bomb": frame(7, {"password_hash": HASH, "client_info": bytes(60 * MIB)}, flags=1),
    "no map": frame(7, [1, 2]),
    "int key": frame(7, {1: 2}),
    "trailing bytes": frame(7, raw=msgpack.encode({"password_hash": HASH}) + b"\x00"),
    "deep": frame(7, raw=b"\x82\xadpassword_hash\xd9\x40" + HASH.encode() + b"\xabclient_info" + b"\x91" * 3900 + b"\xc0"),
    "a message first": frame(1, {"type": "chat", "data": 1}),
    "a call first": frame(2, {"method": "add", "params": {}}),
}


@pytest.mark.parametrize("data", BEFORE.values(), ids=BEFORE)
def test_before_it_is_let_in_a_peer_comes_to_nothing(pair: Pair, data: bytes, log_events: list[LogEvent]) -> None:
    """Whatever comes in place of a login ends the connection in one line, reaches no handler, and troubles nobody else."""
    server = pair.server()
    handled: list[Any] = []
    server.register_route(pair.chat, lambda session, message: handled.append(message.value) or message.value)
    peer = pair.network.dial()
    peer.send(data)
    assert peer.closed
    assert (handled, bytes(peer.received)) == ([], b"")
    assert server.counters["closed_protocol_error"] == 1
    assert sum("closing" in line for line in said(log_events)) == 1
    assert HASH[:8] not in repr(said(log_events))
    assert served(pair)


AFTER = {
    "magic": b"\x00" * 32,
    "type": b"CNDT\x01\x00\x00\x11" + bytes(24),
    "100 MiB declared": struct.pack(">4sHHHHIQQ", b"CNDT", 256, 1, 0, 0, 100 * MIB, 0, 0),
    "4 GiB declared": struct.pack(">4sHHHHIQQ", b"CNDT", 256, 1, 0, 0, 2**32 - 1, 0, 0),
    "bomb": frame(1, {"type": "chat", "data": bytes(400 * MIB)}, flags=1),
    "no zlib": struct.pack(">4sHHHHIQQ", b"CNDT", 256, 1, 1, 0, 4, 0, 0) + b"oops",
    "int key": frame(1, {"type": "chat", "data": {1: 2}}),
    "trailing bytes": frame(1, raw=msgpack.encode({"type": "chat", "data": 1}) + b"\x00"),
    "deep": frame(1, raw=b"\x82\xa4type\xa4chat\xa4data" + b"\x91" * 100_000 + b"\xc0"),
    "many values": frame(1, raw=b"\x82\xa4type\xa4chat\xa4data\xdd\x00\x10\x00\x00" + b"\x80" * MIB),
    "no UTF-8": frame(1, raw=b"\x82\xa4type\xa4chat\xa4data\xa1\xff"),
    "a broken call": frame(2, raw=b"\xc1"),
    "a broken answer": frame(3, raw=b"\xdf\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("data", AFTER.values(), ids=AFTER)
def test_what_cannot_be_read_ends_one_connection(pair: Pair, data: bytes, log_events: list[LogEvent]) -> None:
    """A frame that cannot be read closes its connection in one line; what came before it was handled and answered."""
    server = pair.server()
    server.register_route(pair.chat, lambda session, message: message.value)
    peer = pair.real()
    peer.send(frame(1, {"type": "chat", "data": "before"}) + data + frame(1, {"type": "chat", "data": "behind"}))
    assert frames_in(bytes(peer.received)) == [(1, 0, 0, {"type": "chat_response", "data": "before"})]
    assert peer.closed
    assert server.counters["closed_protocol_error"] == 1
    (line,) = [line for line in said(log_events) if "closing" in line]
    assert len(line) < 300
    assert served(pair)


def test_what_waits_for_its_turn_is_bounded_by_its_bytes(pair: Pair) -> None:
    """Messages that wait behind a slow handler are kept packed: many empty maps take what they take on the wire."""
    server = pair.server(max_message_size=MIB // 4, limits=Limits(values=100_000))
    started: list[Any] = []
    server.register_route(pair.chat, lambda session, message: started.append(message) or Deferred())
    peer = pair.real()
    maps = frame(1, {"type": "chat", "data": [{}] * 50_000})
    peer.send(maps)
    tracemalloc.start()
    try:
        for _ in range(6):
            peer.send(maps)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (session,) = server.clients
    assert 300_000 < session._inbox_bytes < 301_000
    assert kept < 2 * session._inbox_bytes
    assert session._flow.paused
    assert len(started[0].value) == 50_000


def test_silence_has_an_end(pair: Pair) -> None:
    """Who says nothing, or only begins to, is closed at the handshake's deadline, however slowly it goes on."""
    server = pair.server()
    silent, slow = pair.network.dial(), pair.network.dial()
    for number in range(5):
        slow.send(LOGIN[number : number + 1])
        pair.network.advance(1)
    assert (silent.closed, slow.closed) == (True, True)
    assert server.counters["closed_handshake_timeout"] == 2


def test_a_message_that_is_begun_must_be_finished(pair: Pair) -> None:
    """A frame that stays unfinished ends its connection after ``timeouts.frame``, pings or not."""
    server = pair.server(timeouts=Timeouts(frame=5))
    peer = pair.real()
    peer.send(frame(1, {"type": "chat", "data": "x" * 1000})[:500])
    pair.network.advance(6)
    assert peer.closed
    assert server.counters["frames_timed_out"] == 1


def test_a_silent_peer_is_asked_and_closed_if_it_does_not_answer(pair: Pair) -> None:
    """After ``ping_interval`` a silent peer gets a HEARTBEAT_PING; one that answers stays, one that does not goes."""
    server = pair.server()
    living, dead = pair.real(), pair.real()
    for _ in range(3):
        pair.network.advance(20)
        assert frames_in(bytes(living.received))[-1] == (5, 0, 0, None)
        living.received.clear()
        living.send(frame(6))
    assert (living.closed, dead.closed) == (False, True)
    assert server.counters["closed_ping_timeout"] == 1
    assert server.counters["late_replies"] == 0


def test_pongs_and_types_that_mean_nothing_are_forgiven_not_in_any_number(pair: Pair, log_events: list[LogEvent]) -> None:
    """A few pongs that nobody asked for, unknown names and odd frames are counted; too many close the connection."""
    server = pair.server(limits=Limits(protocol_errors=5))
    for data in (frame(6), frame(1, {"type": "else\x1b[2J", "data": 1}), frame(1, [1]), frame(8, {}), frame(2, [1])):
        peer = pair.real()
        peer.send(data * 5)
        assert not peer.closed
        peer.send(data)
        assert peer.closed
    assert server.counters["closed_protocol_error"] == 5
    named = [line for line in said(log_events) if "not registered" in line]
    assert len(named) == 1
    assert r"'else\x1b[2J'" in named[0]


def test_a_flood_of_pings_ends(pair: Pair) -> None:
    """More pings than ``limits.pings`` and ``ping_burst`` allow close the connection."""
    server = pair.server(limits=Limits(pings=1, ping_burst=10))
    peer = pair.real()
    peer.send(frame(5) * 11)
    assert peer.closed
    assert server.counters["closed_protocol_error"] == 1


def test_a_call_is_told_that_there_is_no_such_method(pair: Pair) -> None:
    """A call that nobody handles, and one that is none, are answered with netconduit's numbers; an answer to no call is counted."""
    server = pair.server()
    peer = pair.real()
    peer.send(frame(2, {"method": "m", "params": {}}, correlation=3) + frame(3, {"success": True}, correlation=9))
    peer.send(
        frame(2, {"method": "m" * 1000, "params": {}}, correlation=4) + frame(2, {"method": "m", "params": [1]}, correlation=5)
    )
    peer.send(frame(4, {"success": False, "error": "x", "code": 1}, correlation=10))
    answers = frames_in(bytes(peer.received))
    assert [(kind, correlation) for kind, _, correlation, _ in answers] == [(3, 3), (3, 4), (3, 5)]
    results = [payload["result"] for *_, payload in answers]
    assert [(each["success"], each["code"]) for each in results] == [(False, 4000), (False, 4001), (False, 4001)]
    assert results[0]["error"] == "there is no method 'm'"
    assert server.counters["late_replies"] == 2
    assert not peer.closed


# Calls.


def serving(pair: Pair, served: Server | Client) -> None:
    """Serve some methods."""

    @served.rpc
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @served.rpc
    def order(what: Order, session: Session) -> Receipt:
        if what.count > 9:
            raise RpcError("sold_out", "no more", {"left": 9})
        return Receipt(what.article, what.count * 1.5)

    @served.rpc
    def slow() -> Deferred[None]:
        return Deferred(pair.ended.append)

    @served.rpc
    def fails() -> None:
        raise RuntimeError("secret")


@pytest.mark.parametrize("served", ["server", "client"])
def test_calls_go_both_ways(pair: Pair, served: str, logged_failures: Any) -> None:
    """@rpc and call() work on netconduit's wire as on Veltix's: typed, with defaults, errors, deadlines and discovery."""
    server = pair.server()
    client = pair.client()
    serving(pair, server if served == "server" else client)
    pair.network.connect(client)
    (session,) = server.clients
    asker = client.session if served == "server" else session
    assert asker is not None
    result = pair.network.result

    assert result(asker.call("add", a=1, b=2)) == 3
    assert result(asker.call("add", 5)) == 6  # between two of this package
    assert result(asker.call("order", what=Order("pen", 2), returns=Receipt)) == Receipt("pen", 3.0)
    with pytest.raises(RpcError) as caught:
        result(asker.call("order", what=Order("pen", 10)))
    assert (caught.value.code, caught.value.message, caught.value.details) == ("sold_out", "no more", {"left": 9})
    with pytest.raises(InvalidArguments) as wrong:
        result(asker.call("add", a="x"))
    assert wrong.value.path == "a"
    with pytest.raises(MethodNotFound):
        result(asker.call("nothing"))
    with pytest.raises(RemoteError) as failed:
        result(asker.call("fails"))
    assert "secret" not in str(failed.value)
    assert len(logged_failures.flush(RuntimeError)) == 1
    late = asker.call("slow", timeout=1)
    pair.network.advance(1.1)
    with pytest.raises(RpcTimeout):
        result(late)
    methods = result(asker.methods())
    assert [each.name for each in methods] == ["add", "order", "slow", "fails"]
    assert methods[0].doc == "Add two numbers."
    with pytest.raises(LocalProtocolError):
        result(asker.send_and_wait(pair.chat, 1))
    with pytest.raises(InvalidContent, match="no metadata"):
        result(asker.call("add", a=1, metadata={"trace": "1"}))


def test_a_real_clients_calls_are_answered_as_by_a_real_server(pair: Pair) -> None:
    """Results and failures have netconduit's envelopes and numbers, and ``listall`` tells of the methods in its form."""
    serving(pair, pair.server())
    peer = pair.real()
    calls = [("add", {"a": 10, "b": 20}), ("add", {"a": "x"}), ("order", {"what": {"article": "x", "count": 99}}), ("listall", {})]
    calls.append(("add", {"_0": 3, "_1": 4}))  # as the release's own helper names them
    for at, (method, params) in enumerate(calls, 1):
        peer.send(frame(2, {"method": method, "params": params}, correlation=at))
    answers = frames_in(bytes(peer.received))
    assert [(kind, at) for kind, _, at, _ in answers] == [(3, at) for at in range(1, 6)]
    results = [payload["result"] for *_, payload in answers]
    assert results[0] == {"success": True, "data": 30}
    assert (results[1]["success"], results[1]["code"], results[1]["details"]["path"]) == (False, 2000, "a")
    assert results[2] == {"success": False, "error": "no more", "code": 4002, "details": {"left": 9}}
    assert results[3]["data"]["count"] == 4
    assert results[3]["data"]["methods"][:2] == [
        {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"a": "int", "b": "int"},
            "return_type": "int",
            "requires_auth": True,
        },
        {"name": "order", "description": "", "parameters": {"what": "Order"}, "return_type": "Receipt", "requires_auth": True},
    ]
    assert results[4] == {"success": True, "data": 7}


def test_positional_arguments_are_refused_for_a_real_peer(pair: Pair) -> None:
    """Netconduit's calls name all arguments: to a real peer a positional one fails at once, and nothing is sent."""
    server = pair.server()
    peer = pair.real()
    (session,) = server.clients
    with pytest.raises(InvalidContent, match="keyword arguments"):
        pair.network.result(session.call("add", 1, b=2))
    assert bytes(peer.received) == b""


# Values.


@dataclass
class Order:
    """A value that a message may have."""

    article: str
    count: int = 1


@dataclass
class Receipt:
    """What answers it."""

    article: str
    price: float


def test_types_with_content_have_their_values(pair: Pair, log_events: list[LogEvent]) -> None:
    """content= and reply= hold on netconduit's wire, packed there whatever format= says; what does not fit reaches no handler."""
    order = MessageType(name="buy", registry=pair.types, content=Order, reply=Receipt)
    bought = MessageType(name="buy_response", registry=pair.types, content=Receipt)
    server = pair.server()
    server.register_route(order, lambda session, message: Receipt(message.value.article, message.value.count * 1.5))
    client = pair.connected()
    client.send(order, Order("pen", 2))
    client.send(order, msgpack.encode({"article": "ink"}))  # a content as it is
    pair.network.pump()
    assert pair.heard == [("buy_response", Receipt("pen", 3.0)), ("buy_response", Receipt("ink", 1.5))]
    with pytest.raises(InvalidContent, match="Order in msgpack"):
        client.send(order, Receipt("pen", 1.0))
    with pytest.raises(InvalidContent, match="one msgpack object"):
        client.send(order, b"\xc1")
    assert bought.content is Receipt

    peer = pair.real()
    peer.send(frame(1, {"type": "buy", "data": {"article": 5}}))
    assert server.counters["contents_invalid"] == 1
    assert bytes(peer.received) == b""
    assert not peer.closed


def test_a_hostile_server_ends_its_clients_connection(pair: Pair) -> None:
    """A server that says something else, too much or nothing is refused by its client with a typed error."""
    for data in (b"HTTP/1.1 400 Bad\r\n", frame(1, {"type": "x", "data": 1}), frame(8, {"server_info": bytes(60 * MIB)}, flags=1)):
        client = pair.client()
        peer, connecting = pair.network.answer(client)
        peer.send(data)
        assert peer.closed
        with pytest.raises(HandshakeError if len(data) < 100 else FrameTooLarge):
            pair.network.result(connecting)
    client = pair.client()
    peer, connecting = pair.network.answer(client)
    pair.network.advance(6)
    assert peer.closed
    with pytest.raises(HandshakeTimeout, match="is it one of netconduit"):
        pair.network.result(connecting)
    client = pair.client()
    peer, connecting = pair.network.answer(client)
    peer.hang_up()
    with pytest.raises(HandshakeError, match="is it one of netconduit"):
        pair.network.result(connecting)
