"""``before_send``: a plain function sees each message before it is sent, and changes, drops or refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, formatEvent

from tests.support.netconduit import PASSWORD
from veltix_tx import (
    TEXT,
    Client,
    Dropped,
    Limits,
    Lines,
    MessageRegistry,
    MessageTooLarge,
    MessageType,
    Netconduit,
    RemoteError,
    Request,
    RpcError,
    Server,
    Session,
    SettingsError,
)
from veltix_tx.errors import InvalidContent
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.veltix.connection import VeltixConnection

WIRES: dict[str, Any] = {"lines": Lines(), "netconduit": Netconduit(PASSWORD), "veltix": "auto"}


@pytest.fixture
def network() -> Iterator[MemoryNetwork]:
    """A network in memory."""
    with MemoryNetwork() as network:
        yield network


class Post:
    """A server whose before_send does as the content of a message says, and clients of it."""

    def __init__(self, network: MemoryNetwork, **settings: Any) -> None:
        self.network = network
        self.types = MessageRegistry()
        self.note = MessageType(200, "note", registry=self.types)
        self.other = MessageType(201, "other", registry=self.types)
        self.asked: list[tuple[Session, Request[Any, Any]]] = []
        self.server = Server(types=self.types, **settings)
        self.server.before_send(self.before_send)
        self.server.route(self.note)(lambda session, message: message.content)
        self.network.serve(self.server)
        self.heard: list[tuple[str, bytes]] = []

    def before_send(self, session: Session, message: Request[Any, Any]) -> Request[Any, Any] | None:
        """Do as the content says."""
        self.asked.append((session, message))
        said = bytes(message.content)
        if said == b"drop" or (said == b"drop for ann" and session.has_tag("ann")):
            raise Dropped("it said so")
        if said == b"refuse" or (said == b"refuse for ann" and session.has_tag("ann")):
            raise RpcError("secret", "not for you")
        if said == b"change":
            return Request(self.other, session.id.encode())
        if said == b"nothing":
            return 7  # type: ignore[return-value]
        return None

    def client(self, name: str = "ann") -> Client:
        """Return a connected client, whose session is tagged with its name."""
        client = Client(types=self.types)
        client.set_callback("on_recv", lambda message: self.heard.append((name, message.content)))
        self.network.connect(client)
        self.server.clients[-1].add_tag(name)
        return client

    def session(self, name: str = "ann") -> Session:
        """Return a client's session."""
        return self.server.get_clients_by_tag(name)[0]


# What it sees


@pytest.mark.parametrize("name", WIRES)
def test_it_changes_what_is_sent_on_every_wire(network: MemoryNetwork, name: str) -> None:
    """Messages, answers and broadcasts alike."""
    types, heard = MessageRegistry(), list[Any]()
    chat = TEXT if name == "lines" else MessageType(200, "chat", registry=types, content=str if name == "veltix" else bytes)
    MessageType(201, "chat_response", registry=types)  # the name of netconduit's answers
    server, client = (door(wire=WIRES[name], types=types) for door in (Server, Client))
    client.set_callback("on_recv", lambda message: heard.append(message.value))
    server.route(chat)(lambda session, message: "answer")

    @server.before_send
    def shout(session: Session, message: Request[Any, Any]) -> Request[Any, Any]:
        content = message.content
        return replace(message, content=content.upper() if isinstance(content, (str, bytes)) else content)

    network.serve(server)
    network.connect(client)
    server.clients[0].send(chat, "sent")
    server.broadcast(chat, "broadcast")
    client.send(chat, "")
    network.pump()
    assert heard == ["SENT", "BROADCAST", "ANSWER"]


def test_it_sees_answers_of_every_kind(network: MemoryNetwork) -> None:
    """Of handlers that answer now, later and with whole Requests, with the id of what they answer."""
    post, answers = Post(network), list[Any]()
    post.server.route(post.other)(lambda session, message: answers.pop(0))
    client = post.client()
    for content, answer in ((b"1", b"1"), (b"2", succeed(b"2")), (b"3", Request(post.other, b"3"))):
        answers.append(answer)
        assert network.result(client.send_and_wait(post.other)).content == content
    assert [bytes(message.content) for _, message in post.asked] == [b"1", b"2", b"3"]
    assert all(message.request_id is not None for _, message in post.asked)
    assert {session for session, _ in post.asked} == {post.session()}


def test_it_keeps_a_requests_id(network: MemoryNetwork) -> None:
    """A changed request is answered as the one that was sent."""
    post = Post(network)
    client = post.client()
    client.register_route(post.other, lambda message: message.content + b"!")
    reply = network.result(post.session().send_and_wait(post.note, b"change"))
    assert reply.content == post.session().id.encode() + b"!"


def test_calls_are_not_shown(network: MemoryNetwork) -> None:
    """Their contents are the package's; they go both ways as they are."""
    post = Post(network)
    client = post.client()
    post.server.rpc(abs)
    client.rpc("negate")(lambda number: -number)
    assert network.result(client.call("abs", -1)) == 1
    assert network.result(post.session().call("negate", 1)) == -1
    waiting = post.session().call("negate", 1)
    waiting.cancel()
    waiting.addErrback(lambda _: None)
    network.pump()
    assert post.asked == []


def test_several_are_asked_in_their_order(network: MemoryNetwork) -> None:
    """Each gets what the one before made of the message. A client has them, too."""
    types, heard = MessageRegistry(), list[bytes]()
    note = MessageType(200, "note", registry=types)
    server, client = Server(types=types), Client(types=types)
    for added in (b"a", b"b"):
        client.before_send(lambda session, message, added=added: replace(message, content=bytes(message.content) + added))
    server.route(note)(lambda session, message: heard.append(message.content))
    network.serve(server)
    network.connect(client)
    client.send(note, b"x")
    network.pump()
    assert heard == [b"xab"]


# Drops and refusals


def test_a_drop_is_quiet(network: MemoryNetwork, log_events: list[LogEvent]) -> None:
    """Nothing is sent; it is counted, has a line of the log, and only who waits for a reply is told."""
    post = Post(network)
    client = post.client()
    post.session().send(post.other, b"drop")
    client.send(post.note, b"drop")
    network.pump()
    assert (post.heard, post.server.counters["messages_dropped"]) == ([], 2)
    assert sum("was dropped, for <Session" in (formatEvent(event) or "") for event in log_events) == 2
    with pytest.raises(Dropped, match="it said so"):
        network.result(post.session().send_and_wait(post.other, b"drop"))
    assert post.session().pending_requests == 0
    assert post.server.counters["messages_dropped"] == 3
    assert post.server.counters["handlers_failed"] == 0


def test_a_refusal_is_the_senders(network: MemoryNetwork, logged_failures: Any) -> None:
    """Whoever sends gets the error, and nothing is sent. For an answer it is the handler's: the asker gets an RpcError's words."""
    post = Post(network)
    client = post.client()
    for ask in (post.session().send, post.session().send_and_wait):
        with pytest.raises(RpcError, match="not for you"):
            ask(post.other, b"refuse")
        with pytest.raises(TypeError, match="before_send returned 7, and not a Request or None"):
            ask(post.other, b"nothing")
    with pytest.raises(RemoteError, match="not for you"):
        network.result(client.send_and_wait(post.note, b"refuse"))
    with pytest.raises(RemoteError, match="handler_failed"):
        network.result(client.send_and_wait(post.note, b"nothing"))
    assert (post.server.counters["handlers_refused"], len(logged_failures.flush(TypeError))) == (1, 1)
    assert post.heard == []


def test_a_request_in_order_that_is_dropped_holds_up_none(network: MemoryNetwork) -> None:
    """On a wire whose replies come in order the next one is asked all the same."""
    server, client = Server(wire="lines"), Client(wire=Lines(replies="in-order"))

    @client.before_send
    def drop(session: Session, message: Request[Any, Any]) -> None:
        if message.content == "drop":
            raise Dropped

    server.route(TEXT)(lambda session, message: message.value)
    network.serve(server)
    network.connect(client)
    with pytest.raises(Dropped):
        network.result(client.send_and_wait(TEXT, "drop"))
    assert network.result(client.send_and_wait(TEXT, "next")).value == "next"


def test_a_slow_peers_messages_are_shown_once(network: MemoryNetwork) -> None:
    """Also where they are encoded to see whether they still fit into its queue."""
    post = Post(network, limits=Limits(write_high=64, write_low=16))
    post.client()
    session = post.session()
    session._flow.blocked = True
    session.send(post.other, b"x")
    session.send(post.other, b"drop")
    assert len(post.asked) == 2


# Broadcasts


def test_a_broadcast_is_each_sessions_own(network: MemoryNetwork) -> None:
    """It is changed for each of them, and dropped or refused for one alone; the number tells how many it was sent to."""
    post = Post(network)
    for name in ("ann", "bob"):
        post.client(name)
    assert post.server.broadcast(post.other, b"change") == 2
    assert post.server.broadcast(post.other, b"drop for ann") == 1
    network.pump()
    own = [(name, post.session(name).id.encode()) for name in ("ann", "bob")]
    assert post.heard == [*own, ("bob", b"drop for ann")]


def test_a_refusal_robs_nobody_else_of_a_broadcast(network: MemoryNetwork, logged_failures: Any) -> None:
    """It is logged, and the session left out."""
    post = Post(network)
    for name in ("ann", "bob"):
        post.client(name)
    assert post.server.broadcast(post.other, b"refuse for ann") == 1
    network.pump()
    assert post.heard == [("bob", b"refuse for ann")]
    (event,) = logged_failures.flush(RpcError)
    assert "before_send failed for <Session" in formatEvent(event)


def test_a_senders_mistake_is_still_told(network: MemoryNetwork) -> None:
    """A content that cannot be sent goes to nobody, and no hook is asked."""
    post = Post(network, max_message_size=1000)
    post.client()
    typed = MessageType(202, "typed", registry=post.types, content=int)
    for content, error in ((b"x" * 2000, MessageTooLarge), ("text", TypeError)):
        with pytest.raises(error):
            post.server.broadcast(post.other, content)  # type: ignore[misc]
    with pytest.raises(InvalidContent):
        post.server.broadcast(typed, "text")  # type: ignore[misc]
    assert post.asked == []


def test_without_one_sessions_share_the_bytes_of_a_broadcast(network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is encoded once for all of them; with one, once more for each."""
    encoded: list[object] = []
    encode = VeltixConnection.encode
    monkeypatch.setattr(VeltixConnection, "encode", lambda *given: encoded.append(given) or encode(*given))
    types = MessageRegistry()
    note = MessageType(200, "note", registry=types)
    for hooks in (0, 1):
        server = Server(types=types)
        for _ in range(hooks):
            server.before_send(lambda session, message: None)
        network.serve(server)
        for _ in range(3):
            network.connect(Client(types=types))
        encoded.clear()
        server.broadcast(note, b"x")
        assert len(encoded) == (4 if hooks else 1)
        network.stop()


# Registration


async def later(session: Session, message: Request[Any, Any]) -> None:
    """A coroutine function."""


@pytest.mark.parametrize("hook", [None, "x", later])
def test_it_is_a_plain_function(hook: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(SettingsError, match="before_send is "):
        Server().before_send(hook)


def test_it_is_registered_before_sessions_come(network: MemoryNetwork) -> None:
    """A server that listens takes no more."""
    post = Post(network)
    with pytest.raises(SettingsError, match=r"before_send is .*: it must be registered before"):
        post.server.before_send(lambda session, message: None)


def test_what_returns_a_deferred_refuses(network: MemoryNetwork) -> None:
    """Nothing can be waited for; the message is not sent."""
    types = MessageRegistry()
    note = MessageType(200, "note", registry=types)
    server, client = Server(types=types), Client(types=types)
    client.before_send(lambda session, message: Deferred())  # type: ignore[arg-type, return-value]
    network.serve(server)
    network.connect(client)
    with pytest.raises(TypeError, match="before_send returned <Deferred"):
        client.send(note)
