"""Sessions reached by their ids, tags and identities, on this node and on others."""

from __future__ import annotations

from typing import Any

import pytest

from veltix_tx import (
    BackplaneUnavailable,
    Client,
    Delivery,
    MessageRegistry,
    MessageType,
    MethodNotFound,
    NoSuchSession,
    RemoteError,
    RpcError,
    RpcTimeout,
    Server,
    Session,
    SettingsError,
)
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.errors import NodeGone
from veltix_tx.testing import MemoryNetwork


class Pair:
    """Two nodes, and a client on each: the first server's is near, the second's far."""

    def __init__(self, **settings: Any) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.network = MemoryNetwork()
        self.hub = MemoryHub()
        self.servers = [Server(types=self.types, backplane=MemoryBackplane(self.hub), **settings) for _ in range(2)]
        self.heard: list[list[bytes]] = [[], []]
        self.clients: list[Client] = []
        for server, heard in zip(self.servers, self.heard, strict=True):
            self.network.serve(server)
            client = Client(types=self.types)
            client.set_callback("on_recv", lambda message, heard=heard: heard.append(message.content))
            client.register_rpc(_divide, "divide")
            self.network.connect(client, to=server)
            self.clients.append(client)
        self.server = self.servers[0]
        self.sessions: list[Session] = [server.clients[0] for server in self.servers]
        self.result = self.network.result


def _divide(a: int, b: int) -> float:
    if a > 100:
        raise RpcError("too_large", "no more than 100", {"limit": 100})
    return a / b


@pytest.fixture
def pair() -> Any:
    """Two nodes with a client each."""
    made = Pair()
    yield made
    made.network.stop()


def test_an_id_names_the_node_of_its_session(pair: Pair) -> None:
    """A connection's id begins with its node's id, in the session, in logs and in the list of nodes alike."""
    nodes = [each.node for each in pair.result(pair.server.nodes())]
    assert [session.id.rpartition("-")[0] for session in pair.sessions] == [server.backplane.node_id for server in pair.servers]
    assert sorted(nodes) == sorted(server.backplane.node_id for server in pair.servers)


@pytest.mark.parametrize("where", [0, 1])
def test_a_message_reaches_a_session_by_its_id(where: int, pair: Pair) -> None:
    """A message to an id reaches that session alone, wherever it is."""
    assert pair.result(pair.server.send_to(pair.sessions[where].id, pair.chat, b"hello")) is None
    pair.network.pump()
    assert pair.heard[where] == [b"hello"]
    assert pair.heard[1 - where] == []


@pytest.mark.parametrize("where", [0, 1])
def test_a_call_reaches_a_session_by_its_id(where: int, pair: Pair, logged_failures: Any) -> None:
    """A call of an id's method gives its result, typed where asked; its errors are those of a call of the session."""
    connection_id = pair.sessions[where].id
    call = pair.server.call_to
    assert pair.result(call(connection_id, "divide", 9, b=3, returns=float)) == 3.0
    with pytest.raises(RpcError) as refused:
        pair.result(call(connection_id, "divide", 101, 1))
    assert (refused.value.code, refused.value.details) == ("too_large", {"limit": 100})
    with pytest.raises(RpcError, match="invalid_arguments"):
        pair.result(call(connection_id, "divide", "x", 1))
    with pytest.raises(MethodNotFound):
        pair.result(call(connection_id, "nothing"))
    with pytest.raises(RemoteError):
        pair.result(call(connection_id, "divide", 1, 0))
    logged_failures.flush(ZeroDivisionError)


@pytest.mark.parametrize("where", [0, 1])
def test_a_call_by_id_times_out(where: int, pair: Pair) -> None:
    """A call that is not answered in time errbacks with RpcTimeout, which names the method."""
    from twisted.internet.defer import Deferred

    pair.clients[where].register_rpc(Deferred, "never", timeout=60)
    waiting = pair.server.call_to(pair.sessions[where].id, "never", timeout=2)
    pair.network.advance(3)
    with pytest.raises(RpcTimeout, match="'never'"):
        pair.result(waiting)


@pytest.mark.parametrize("where", [0, 1])
def test_a_session_is_closed_by_its_id(where: int, pair: Pair) -> None:
    """Disconnect closes that session alone."""
    pair.result(pair.server.disconnect(pair.sessions[where].id))
    pair.network.pump()
    assert [client.is_connected for client in pair.clients] == [where == 1, where == 0]


@pytest.mark.parametrize(
    "unknown", ["", "x", "nobody-1", "{own}-999999", "{other}-999999", "-1", "{own}-x", "\ud800-1", "\xe9-1", "{other}-\ud800"]
)
def test_an_unknown_id_fails_at_once(unknown: str, pair: Pair) -> None:
    """An id that no session has is NoSuchSession without any waiting, for every way to use one."""
    own, other = (server.backplane.node_id for server in pair.servers)
    connection_id = unknown.format(own=own, other=other)
    for attempt in (
        pair.server.send_to(connection_id, pair.chat, b""),
        pair.server.call_to(connection_id, "divide", 1, 1),
        pair.server.disconnect(connection_id),
    ):
        with pytest.raises(NoSuchSession) as caught:
            pair.result(attempt)
        assert caught.value.connection_id == connection_id


@pytest.mark.parametrize("wrong", [None, 7, b"1-1", ["1-1"]])
def test_what_is_no_text_is_no_id(wrong: Any, pair: Pair) -> None:
    """An id that is no text is a SettingsError that names it, for every way to use one."""
    for use in (
        lambda: pair.server.send_to(wrong, pair.chat, b""),
        lambda: pair.server.call_to(wrong, "divide", 1, 1),
        lambda: pair.server.disconnect(wrong),
    ):
        with pytest.raises(SettingsError, match="connection_id"):
            use()


def test_a_session_of_a_node_that_is_gone(pair: Pair) -> None:
    """A node that was cut off fails what waits for it when its lease ends, and is unknown from then on."""
    connection_id = pair.sessions[1].id
    pair.hub.cut(pair.servers[1].backplane)
    waiting = pair.server.call_to(connection_id, "divide", 1, 1, timeout=60)
    pair.network.advance(10)
    with pytest.raises(NodeGone):
        pair.result(waiting)
    with pytest.raises(NoSuchSession):
        pair.result(pair.server.send_to(connection_id, pair.chat, b""))
    with pytest.raises(BackplaneUnavailable):
        pair.result(pair.servers[1].send_to(pair.sessions[0].id, pair.chat, b""))


def test_what_cannot_be_sent_there_is_told(pair: Pair) -> None:
    """A message whose type the other node does not know is a RemoteError there, and a wrong one is refused here."""
    unknown = MessageType(201, "unknown", registry=MessageRegistry())
    with pytest.raises(RemoteError, match="failed"):
        pair.result(pair.server.send_to(pair.sessions[1].id, unknown, b""))
    with pytest.raises(TypeError):
        pair.server.send_to(pair.sessions[0].id, pair.chat, "text")  # type: ignore[arg-type]


def test_sessions_are_found_on_all_nodes(pair: Pair) -> None:
    """Ids are found by tags on every node, those of this one first."""
    near, far = pair.sessions
    near.add_tag("vip")
    far.add_tag("vip")
    far.add_tag("new")

    assert pair.result(pair.server.select_everywhere(["vip"])) == [near.id, far.id]
    assert pair.result(pair.servers[1].select_everywhere(["vip"])) == [far.id, near.id]
    assert pair.result(pair.server.select_everywhere(["vip", "new"])) == [far.id]
    assert pair.result(pair.server.select_everywhere(any_of=["new", "old"])) == [far.id]
    assert pair.result(pair.server.select_everywhere()) == [near.id, far.id]
    with pytest.raises(SettingsError):
        pair.server.select_everywhere("vip")


def test_sessions_are_found_by_identity_on_all_nodes() -> None:
    """An identity finds its sessions on every node, be it a text or of a class."""
    identities = iter([("ann", 1), ("ann", 2), ("ann", 1)])
    place = Pair(authenticate=lambda credentials: next(identities))
    near, far = place.sessions

    assert place.result(place.server.select_everywhere(identity=("ann", 1))) == [near.id]
    assert place.result(place.server.select_everywhere(identity=("ann", 2))) == [far.id]
    assert place.result(place.server.select_everywhere(identity="eve")) == []
    place.network.stop()


def test_a_broadcast_reaches_everybody_on_all_nodes(pair: Pair) -> None:
    """With everywhere=True every session of every node hears it once, but for those excluded."""
    assert pair.result(pair.server.broadcast(pair.chat, b"all", everywhere=True)) == Delivery(1)
    assert pair.result(pair.servers[1].broadcast(pair.chat, b"some", everywhere=True, exclude=[pair.sessions[0]])) == Delivery(1)
    assert pair.server.broadcast(pair.chat, b"here") == 1
    pair.network.pump()
    assert pair.heard == [[b"all", b"here"], [b"all", b"some"]]
    with pytest.raises(SettingsError, match="must be left out"):
        pair.server.broadcast(pair.chat, b"", to=[], everywhere=True)  # type: ignore[call-overload]


def test_nodes_with_another_key_are_not_heard() -> None:
    """With a key, what a node without it says is counted and dropped; nodes with the same key hear each other."""
    types, hub, network = MessageRegistry(), MemoryHub(), MemoryNetwork()
    chat = MessageType(200, "chat", registry=types)
    heard: list[bytes] = []
    keys = [b"0123456789abcdef", b"0123456789abcdef", None]
    servers = [Server(types=types, backplane=MemoryBackplane(hub), backplane_key=key) for key in keys]
    for server in servers:
        network.serve(server)
    client = Client(types=types)
    client.set_callback("on_recv", lambda message: heard.append(message.content))
    network.connect(client, to=servers[0])

    servers[1].broadcast(chat, b"from a friend", everywhere=True)
    servers[2].broadcast(chat, b"from a foe", everywhere=True)
    network.pump()

    assert heard == [b"from a friend"]
    assert servers[0].counters["envelopes_unreadable"] == 1
    network.stop()


def test_a_forged_answer_ends_no_question() -> None:
    """With a key, replies that are not made with it are counted, and the question waits for the one that is."""
    hub, types = MemoryHub(), MessageRegistry()
    network = MemoryNetwork()
    key = b"0123456789abcdef"
    a, b = (Server(types=types, backplane=MemoryBackplane(hub), backplane_key=key) for _ in range(2))
    for server in (a, b):
        network.serve(server)
    client = Client(types=types)
    network.connect(client, to=b)
    (session,) = b.clients
    genuine = b.backplane._serve  # type: ignore[attr-defined]

    def forge_first(payload: bytes, node: str, reply: Any, receiver: Any) -> None:
        reply(b"\x01junk")
        reply(b"")
        genuine(payload, node, reply, receiver)

    b.backplane._serve = forge_first  # type: ignore[attr-defined]

    network.result(a.disconnect(session.id))

    assert not client.is_connected
    assert a.counters["envelopes_unreadable"] == 2
    network.stop()
