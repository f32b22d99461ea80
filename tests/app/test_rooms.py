"""Rooms of one server and of several that share a hub in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from veltix_tx import (
    TEXT,
    Client,
    Delivery,
    Limits,
    Lines,
    MessageRegistry,
    MessageType,
    PresenceChange,
    RoomError,
    Server,
    Session,
    SessionClosed,
    SettingsError,
)
from veltix_tx.backplane.interface import PresenceEntry
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.errors import BackplaneUnavailable, InvalidContent, LocalProtocolError, MessageTooLarge
from veltix_tx.testing import MemoryNetwork


class LateLists(MemoryBackplane):
    """A backplane whose lists of members come when they are let come, as they were when they were asked for."""

    late: list[Deferred[None]] | None = None

    def members(self, topic: str) -> Deferred[list[PresenceEntry]]:
        """List members, later."""
        listed = super().members(topic)
        if self.late is None:
            return listed
        self.late.append(Deferred())
        return self.late[-1].addCallback(lambda _: listed)


class Nodes:
    """Servers that share a hub, and clients whose sessions and messages are kept under their names."""

    def __init__(self, count: int = 2, **settings: Any) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.network = MemoryNetwork()
        self.hub = MemoryHub(lease=10)
        self.servers = [Server(types=self.types, backplane=MemoryBackplane(self.hub), **settings) for _ in range(count)]
        for server in self.servers:
            self.network.serve(server)
        self.heard: dict[str, list[bytes]] = {}
        self.clients: dict[str, Client] = {}

    def client(self, name: str, node: int = 0, **settings: Any) -> Session:
        """Connect a client to a node; return the server's session."""
        client = self.clients[name] = Client(types=self.types, **settings)
        heard = self.heard[name] = []
        client.set_callback("on_recv", lambda message: heard.append(message.content))
        before = set(self.servers[node].clients)
        self.network.connect(client, to=self.servers[node])
        return next(session for session in self.servers[node].clients if session not in before)

    def result(self, deferred: Any) -> Any:
        """Return what a Deferred has fired with."""
        return self.network.result(deferred)


@pytest.fixture
def nodes() -> Iterator[Callable[..., Nodes]]:
    """Make servers that share a hub; the first argument says how many."""
    made: list[Nodes] = []

    def make(*args: Any, **settings: Any) -> Nodes:
        made.append(Nodes(*args, **settings))
        return made[-1]

    yield make
    for each in made:
        each.network.stop()


# Members.


def test_a_broadcast_reaches_the_members_on_all_nodes_once(nodes: Any) -> None:
    """Members of a room hear what is broadcast to it on any node, once, in order; others hear nothing."""
    place = nodes()
    for name, node in (("a", 0), ("b", 0), ("c", 1), ("outside", 1)):
        session = place.client(name, node)
        if name != "outside":
            place.result(place.servers[node].room("lobby").join(session))

    first = place.result(place.servers[0].room("lobby").broadcast(place.chat, b"1"))
    second = place.result(place.servers[1].room("lobby").broadcast(place.chat, b"2"))
    place.servers[0].room("lobby").broadcast(place.chat, b"3")
    place.network.pump()

    assert (first, second) == (Delivery(2), Delivery(1))
    assert place.heard == {"a": [b"1", b"2", b"3"], "b": [b"1", b"2", b"3"], "c": [b"1", b"2", b"3"], "outside": []}


def test_a_broadcast_can_leave_sessions_out(nodes: Any) -> None:
    """A session that is excluded does not hear it, on this node or where it is a session of another."""
    place = nodes()
    a, b, c = place.client("a"), place.client("b"), place.client("c", 1)
    for server, session in ((0, a), (0, b), (1, c)):
        place.servers[server].room("lobby").join(session)

    place.servers[0].room("lobby").broadcast(place.chat, b"1", exclude=[a])
    place.servers[0].room("lobby").broadcast(place.chat, b"2", exclude=[c])
    place.network.pump()

    assert place.heard == {"a": [b"2"], "b": [b"1", b"2"], "c": [b"1"]}


def test_members_are_listed_and_counted_by_every_node(nodes: Any) -> None:
    """Every node lists the same members, with node, time, identity and state, and what the latter was set to."""
    place = nodes(authenticate=lambda credentials: "ann")
    a, b = place.client("a"), place.client("b", 1)
    place.network.advance(5)
    place.servers[0].room("lobby").join(a, {"mood": "good"})
    place.servers[1].room("lobby").join(b)
    place.servers[1].room("lobby").set_state(b, ["typing"])

    listed = [place.result(server.room("lobby").members()) for server in place.servers]

    assert listed[0] == listed[1]
    assert [(each.id, each.node, each.identity, each.state) for each in sorted(listed[0], key=lambda each: str(each.state))] == [
        (b.id, place.servers[1].backplane.node_id, "ann", ["typing"]),
        (a.id, place.servers[0].backplane.node_id, "ann", {"mood": "good"}),
    ]
    assert {each.since for each in listed[0]} == {place.network.clocks.calendar()}
    assert [place.result(server.room("lobby").count()) for server in place.servers] == [2, 2]
    assert place.servers[0].room("lobby").sessions == [a]


def test_a_session_leaves_by_itself_when_it_ends(nodes: Any) -> None:
    """A session that has ended is in no room any more, on any node; one that left hears nothing more."""
    place = nodes()
    a, b = place.client("a"), place.client("b")
    room = place.servers[0].room("lobby")
    for session in (a, b):
        room.join(session)
        place.servers[0].room("attic").join(session)
    room.leave(b)
    room.leave(b)
    assert place.servers[0].rooms_of(b) == [place.servers[0].room("attic")]

    place.clients["a"].disconnect()
    place.network.pump()
    room.broadcast(place.chat, b"anybody?")
    place.network.pump()

    assert place.result(place.servers[1].rooms()) == {"attic": 1}
    assert place.heard["b"] == []
    assert place.servers[0].rooms_of(a) == []


def test_rooms_are_listed_by_a_pattern(nodes: Any) -> None:
    """Rooms with members on any node are listed by a glob of their names, with how many each has."""
    place = nodes()
    a, b = place.client("a"), place.client("b", 1)
    for name in ("game:1", "game:2", "lobby"):
        place.servers[0].room(name).join(a)
    place.servers[1].room("game:2").join(b)

    assert place.result(place.servers[0].rooms("game:*")) == {"game:1": 1, "game:2": 2}
    assert place.result(place.servers[1].rooms()) == {"game:1": 1, "game:2": 2, "lobby": 1}
    with pytest.raises(SettingsError, match="pattern"):
        place.servers[0].rooms("x" * 257)


def test_joining_again_changes_the_state_alone(nodes: Any) -> None:
    """A member that joins again is one member still, with the new state where one was given."""
    place = nodes()
    a = place.client("a")
    room = place.servers[0].room("lobby")
    room.join(a, 1)
    room.join(a)
    assert [each.state for each in place.result(room.members())] == [1]
    room.join(a, 2)
    assert [each.state for each in place.result(room.members())] == [2]
    room.broadcast(place.chat, b"once")
    place.network.pump()
    assert place.heard["a"] == [b"once"]


# Limits.


def test_rooms_are_bounded(nodes: Any) -> None:
    """Over each limit a RoomError names the room and the limit, and nothing has changed."""
    place = nodes(1, limits=Limits(rooms=2, room_members=2, rooms_per_session=2, member_state=16))
    server = place.servers[0]
    a, b, c = (place.client(name) for name in "abc")
    for session in (a, b):
        server.room("one").join(session)

    with pytest.raises(RoomError, match=r"room 'one': it has too many members \(at most 2\)"):
        server.room("one").join(c)
    with pytest.raises(RoomError, match=r"state of 24 bytes is too large \(at most 16\)"):
        server.room("two").join(a, "0123456789" * 2 + "012")
    server.room("two").join(a)
    with pytest.raises(RoomError, match=r"room 'three': .* too many rooms \(at most 2\)"):
        server.room("three").join(c)
    with pytest.raises(RoomError, match=r"there are too many rooms"):
        server.room("three", history=None).on_presence(print)
    server.room("two").join(c)
    server.room("one").leave(a)
    with pytest.raises(RoomError):
        server.room("three").join(b)
    server.room("one").leave(b)
    server.room("three").join(b)

    assert place.result(server.rooms()) == {"two": 2, "three": 1}


@pytest.mark.parametrize("name", ["", "x" * 129, "ä" * 65, b"bytes", None, "\ud800"])
def test_a_room_has_a_name(name: Any, nodes: Any) -> None:
    """A name is a text of 1 to 128 bytes; anything else is a RoomError."""
    with pytest.raises(RoomError, match="its name must be a text of 1 to 128 bytes"):
        nodes(1).servers[0].room(name)


def test_a_closed_session_cannot_join(nodes: Any) -> None:
    """A session that is closed is refused with why, and is no member."""
    place = nodes(1)
    a = place.client("a")
    place.clients["a"].disconnect()
    place.network.pump()
    with pytest.raises(SessionClosed):
        place.servers[0].room("lobby").join(a)
    with pytest.raises(RoomError, match="no member"):
        place.servers[0].room("lobby").set_state(a, 1)
    assert place.result(place.servers[0].rooms()) == {}


def test_an_empty_room_without_settings_leaves_nothing_behind(nodes: Any) -> None:
    """A room that nobody is in, holds or has given settings is forgotten; a session in no room has nothing of rooms."""
    place = nodes(1)
    server = place.servers[0]
    a = place.client("a")
    before = (len(vars(a)), a._on_closed)
    for number in range(100):
        server.room(f"game:{number}").join(a)
        server.room(f"game:{number}").leave(a)
    gc.collect()

    assert (len(vars(a)), a._on_closed) == before
    assert len(server._rooms._rooms) == len(server._rooms._kept) == len(server._rooms._of) == 0


# Contents.


def test_members_of_any_wire_get_what_their_wire_carries(nodes: Any) -> None:
    """A typed value reaches Veltix clients as JSON on both nodes; a wire that cannot carry a type is left out and counted."""
    place = nodes()
    typed = MessageType(201, "typed", content=dict, registry=place.types)
    a, b = place.client("a"), place.client("b", 1)
    place.servers[0].room("lobby").join(a)
    place.servers[1].room("lobby").join(b)

    place.servers[0].room("lobby").broadcast(typed, {"x": 1})
    place.network.pump()
    assert place.heard == {"a": [b'{"x":1}'], "b": [b'{"x":1}']}
    with pytest.raises(InvalidContent):
        place.servers[0].room("lobby").broadcast(typed, 5)
    with pytest.raises(TypeError):
        place.servers[0].room("lobby").broadcast(place.chat, "text")
    with pytest.raises(MessageTooLarge):
        place.servers[0].room("lobby").broadcast(place.chat, bytes(11 << 20))

    lines = Server(types=place.types, wire=Lines(), backplane=MemoryBackplane(place.hub))
    place.network.serve(lines)
    peer = place.network.dial()
    lines.room("lobby").join(lines.clients[0])
    place.servers[0].room("lobby").broadcast(place.chat, b"frames")
    lines.room("lobby").broadcast(TEXT, "a line")
    place.network.pump()

    assert bytes(peer.received) == b"a line\n"
    assert place.heard["a"] == place.heard["b"] == [b'{"x":1}', b"frames"]
    assert lines.counters["room_messages_uncarried"] == 1
    assert [server.counters["room_messages_uncarried"] for server in place.servers] == [1, 1]
    with pytest.raises(LocalProtocolError):
        lines.room("lobby").broadcast(place.chat, b"frames")


def test_a_type_that_a_node_does_not_know_is_counted(nodes: Any) -> None:
    """A message of a type that another node lacks is counted there, and nothing breaks."""
    place = nodes()
    other = Server(types=MessageRegistry(), backplane=MemoryBackplane(place.hub))
    place.network.serve(other)
    place.network.connect(client := Client(types=MessageRegistry()), to=other)
    other.room("lobby").join(other.clients[0])

    delivery = place.result(place.servers[0].room("lobby").broadcast(place.chat, b"?"))

    assert delivery == Delivery(0)
    assert other.counters["room_messages_uncarried"] == 1
    assert client.is_connected


def test_a_broadcast_is_encoded_once_for_all_that_are_alike(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that take the same bytes cost one encoding together."""
    place = nodes(1)
    for name in "abcdef":
        place.servers[0].room("lobby").join(place.client(name))
    encoded: list[object] = []
    encode = Session._encode
    monkeypatch.setattr(Session, "_encode", lambda *args: encoded.append(args) or encode(*args))

    place.servers[0].room("lobby").broadcast(place.chat, b"x")

    assert len(encoded) == 1


# Presence.


def test_changes_are_told_to_callbacks_on_every_node(nodes: Any) -> None:
    """Who joins, changes or leaves is told once on each node that asks, those of its own and of other nodes alike."""
    place = nodes()
    changes: list[list[PresenceChange]] = [[], []]
    for server, seen in zip(place.servers, changes, strict=True):
        server.room("lobby").on_presence(seen.append)
    a = place.client("a")
    room = place.servers[0].room("lobby")

    room.join(a, 1)
    room.set_state(a, 2)
    room.set_state(a, 2)
    room.leave(a)

    for seen in changes:
        assert [(len(each.joined), len(each.updated), len(each.left)) for each in seen] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
        assert [member.state for each in seen for member in (*each.joined, *each.updated, *each.left)] == [1, 2, 2]
        assert {member.id for each in seen for member in (*each.joined, *each.updated, *each.left)} == {a.id}


def test_changes_are_told_to_members_when_asked(nodes: Any) -> None:
    """With a presence type the members of all nodes are sent each change; an identity that is no text or number is not told."""
    place = nodes(authenticate=lambda credentials: {"secret": 1})
    change = MessageType(202, "presence", content=PresenceChange, registry=place.types)
    seen: list[PresenceChange] = []
    a = place.client("a")
    place.clients["a"].route(change)(lambda message: seen.append(message.value))
    for server in place.servers:
        server.room("lobby", presence=change)
    place.servers[0].room("lobby").join(a)
    b = place.client("b", 1)
    place.servers[1].room("lobby").join(b, "hello")
    place.servers[1].room("lobby").leave(b)
    place.network.pump()

    assert [[member.id for member in each.joined] for each in seen] == [[a.id], [b.id], []]
    assert [member.id for member in seen[2].left] == [b.id]
    assert [(member.identity, member.state) for member in seen[1].joined] == [(None, "hello")]
    with pytest.raises(SettingsError, match="content=PresenceChange"):
        place.servers[0].room("attic", presence=place.chat)


@pytest.mark.parametrize("early", [True, False])
def test_who_joins_is_told_of_changes_alone(early: bool, nodes: Any) -> None:
    """Of other nodes' members that are there already a joiner is told nothing, whenever its node has found out about them."""
    place = nodes(1)
    change = MessageType(202, "presence", content=PresenceChange, registry=place.types)
    place.result(place.servers[0].room("lobby").join(place.client("there")))
    backplane = LateLists(place.hub)
    place.servers.append(Server(types=place.types, backplane=backplane))
    place.network.serve(place.servers[1])
    seen: list[PresenceChange] = []
    joiner = place.client("joiner", 1)
    place.clients["joiner"].route(change)(lambda message: seen.append(message.value))

    backplane.late = None if early else []
    lobby = place.servers[1].room("lobby", presence=change)
    place.result(lobby.join(joiner))
    for each in backplane.late or ():
        each.callback(None)
    later = place.client("later")
    place.result(place.servers[0].room("lobby").join(later))
    place.network.pump()

    assert [member.id for each in seen for member in each.joined] == [joiner.id, later.id]


def test_a_killed_nodes_members_disappear_within_its_lease(nodes: Any) -> None:
    """When a node vanishes its members are gone from every list after its lease, and callbacks are told that they left."""
    place = nodes()
    seen: list[PresenceChange] = []
    place.servers[1].room("lobby").on_presence(seen.append)
    a = place.client("a")
    place.servers[0].room("lobby").join(a)

    place.hub.cut(place.servers[0].backplane)
    place.network.advance(9)
    assert place.result(place.servers[1].room("lobby").count()) == 1
    place.network.advance(1)

    assert place.result(place.servers[1].room("lobby").members()) == []
    assert [member.id for member in seen[-1].left] == [a.id]


def test_a_callback_that_fails_is_logged_and_the_others_are_called(nodes: Any, logged_failures: Any) -> None:
    """An exception of a presence callback reaches neither the joiner nor the other callbacks."""
    place = nodes(1)
    seen: list[PresenceChange] = []
    place.servers[0].room("lobby").on_presence(lambda change: 1 / 0)
    place.servers[0].room("lobby").on_presence(seen.append)
    place.result(place.servers[0].room("lobby").join(place.client("a")))
    assert len(seen) == 1
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    place.servers[0].room("lobby").close()
    with pytest.raises(SettingsError):
        place.servers[0].room("lobby").on_presence(None)


def test_settings_given_before_listening_are_in_effect(nodes: Any) -> None:
    """A room's callbacks given before the server listens hear of other nodes' members that were there before."""
    place = nodes()
    a = place.client("a")
    place.servers[0].room("lobby").join(a)
    late = Server(types=place.types, backplane=MemoryBackplane(place.hub))
    seen: list[PresenceChange] = []
    late.room("lobby").on_presence(seen.append)

    place.network.serve(late)

    assert [member.id for each in seen for member in each.joined] == [a.id]


# Without the others.


def test_without_the_backplane_the_service_goes_on_here(nodes: Any) -> None:
    """A node that is cut off serves its own members, says that the others were not told, and is whole again afterwards."""
    place = nodes()
    states: list[Any] = []
    place.servers[0].on_backplane_state(lambda state: states.append(state.value))
    a, b = place.client("a"), place.client("b", 1)
    room = place.servers[0].room("lobby")
    room.join(a)
    place.servers[1].room("lobby").join(b)
    place.hub.cut(place.servers[0].backplane)
    c = place.client("c")

    place.result(room.join(c))
    delivery = place.result(room.broadcast(place.chat, b"alone"))
    room.leave(a)

    assert (delivery.sessions, type(delivery.error)) == (2, BackplaneUnavailable)
    with pytest.raises(BackplaneUnavailable):
        place.result(room.members())
    assert place.servers[0].local_rooms == {"lobby": 1}
    place.network.advance(20)
    place.hub.restore(place.servers[0].backplane)
    assert {each.id for each in place.result(place.servers[1].room("lobby").members())} == {b.id, c.id}
    assert place.result(place.servers[1].room("lobby").broadcast(place.chat, b"together")).error is None
    place.network.pump()
    assert place.heard == {"a": [b"alone"], "b": [b"together"], "c": [b"alone", b"together"]}
    assert states == ["down", "up"]


def test_a_server_that_stops_leaves_nothing(nodes: Any) -> None:
    """A stopped server's members and node are gone for the others, and it can be started again."""
    place = nodes()
    a = place.client("a")
    place.servers[0].room("lobby").join(a)
    assert len(place.result(place.servers[1].nodes())) == 2

    stopped = place.servers[0].stopService()
    place.result(stopped)

    assert [each.node for each in place.result(place.servers[1].nodes())] == [place.servers[1].backplane.node_id]
    assert place.result(place.servers[1].rooms()) == {}
    place.servers[0].startService()
    assert len(place.result(place.servers[1].nodes())) == 2


def test_a_room_can_be_used_from_a_thread(nodes: Any) -> None:
    """In a route that runs in a thread, joining, broadcasting and listing block and return plain values."""
    place = nodes(1)
    server = place.servers[0]
    told: list[Any] = []

    @server.route(place.chat, thread=True)
    def on_chat(client: Session, message: Any) -> None:
        room = server.room("lobby")
        room.join(client)
        told.append((room.broadcast(place.chat, b"from a thread"), [each.id for each in room.members()], room.count()))

    a = place.client("a")
    place.clients["a"].send(place.chat, b"go")
    place.network.pump()

    assert told == [(Delivery(1), [a.id], 1)]
    assert place.heard["a"] == [b"from a thread"]


def test_closing_a_room_lets_everybody_go(nodes: Any) -> None:
    """A closed room has no members of this server and no settings; it can be used again."""
    place = nodes(1)
    server = place.servers[0]
    seen: list[Any] = []
    room = server.room("lobby")
    room.on_presence(seen.append)
    room.join(place.client("a"))

    room.close()

    assert (room.sessions, place.result(server.rooms())) == ([], {})
    server.room("lobby").join(place.client("b"))
    assert len(seen) == 1


def test_changes_that_come_while_members_are_listed_are_newer_than_the_list(nodes: Any) -> None:
    """Who joined and left while a list was under way is told so once, and no older list brings back who is gone."""
    place = nodes(1)
    backplane = LateLists(place.hub)
    watcher = Server(types=place.types, backplane=backplane)
    place.network.serve(watcher)
    gone, stays = place.client("gone"), place.client("stays")
    place.result(place.servers[0].room("room").join(gone))
    told: list[tuple[str, str]] = []

    @watcher.room("room").on_presence
    def on_presence(change: PresenceChange) -> None:
        for kind in ("joined", "updated", "left"):
            told.extend((kind, member.id) for member in getattr(change, kind))

    backplane.late = []
    for _ in range(2):  # the second is asked for when the first has come
        place.hub.cut(backplane)
        place.hub.restore(backplane)
    (first,) = backplane.late
    place.servers[0].room("room").leave(gone)
    place.result(place.servers[0].room("room").join(stays))
    now = [("joined", gone.id), ("left", gone.id), ("joined", stays.id)]
    assert told == now

    first.callback(None)
    assert told == now
    assert len(backplane.late) == 2
    backplane.late[1].callback(None)
    assert told == now
