"""Rooms with a history: positions, recovery, gaps, and peers that know nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from veltix_tx import (
    Client,
    Delivery,
    DisconnectReason,
    Gap,
    History,
    Limits,
    MessageRegistry,
    MessageType,
    Position,
    RoomError,
    RoomMessage,
    Server,
    SessionClosed,
)
from veltix_tx.app.portable import to_message
from veltix_tx.backplane.interface import BackplaneLimits
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.errors import BackplaneError, BackplaneRefused, BackplaneUnavailable, MessageTooLarge, SettingsError
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.messages import RESUME, ROOM, ROOM_POSITION
from veltix_tx.wire.rooms import Presented, RoomContent, RoomPosition, encode_room


class Place:
    """Two nodes whose clients are in a room with a history as soon as they are connected, and a client that writes down."""

    def __init__(self, history: History | None = None, **settings: Any) -> None:
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.number = MessageType(201, "number", content=int, registry=self.types)
        self.network = MemoryNetwork()
        self.hub = MemoryHub()
        self.history = history or History(size=5, ttl=60)
        self.servers = [self.serve(**settings) for _ in range(2)]
        self.got: list[Any] = []
        self.client = self.make_client()

    def serve(self, **settings: Any) -> Server:
        """Start one more node."""
        server = Server(types=self.types, backplane=MemoryBackplane(self.hub), **settings)
        server.set_callback("on_connect", server.room("room", history=self.history).join)
        self.network.serve(server)
        return server

    def make_client(self, **settings: Any) -> Client:
        """Return a client that writes down what it gets."""
        client = Client(types=self.types, **settings)
        client.set_callback("on_recv", lambda message: self.got.append((message.content, message.position.offset)))
        client.on_gap(self.got.append)
        return client

    def connect(self, node: int = 0) -> Any:
        """Connect the client to a node; return its session."""
        session = self.network.connect(self.client, to=self.servers[node])
        self.network.pump()
        return session

    def away(self) -> None:
        """Disconnect the client."""
        self.network.result(self.client.disconnect())

    def say(self, *contents: bytes, node: int = 0) -> Delivery:
        """Broadcast to the room."""
        for content in contents:
            said = self.servers[node].room("room").broadcast(self.chat, content)
        self.network.pump()
        return self.network.result(said)


@pytest.fixture
def place() -> Iterator[Place]:
    """Two nodes and a client."""
    made = Place()
    yield made
    made.network.stop()


def test_messages_have_positions(place: Place) -> None:
    """A message tells its client the room and the place in it, and the broadcast its sender the same place."""
    messages: list[RoomMessage[bytes]] = []
    place.client.set_callback("on_recv", messages.append)
    place.connect()

    delivery = place.say(b"hello", node=1)

    assert [(each.content, each.room, each.position, each.type) for each in messages] == [
        (b"hello", "room", delivery.position, place.chat)
    ]
    assert place.client.room_positions == {"room": delivery.position}
    assert delivery.position is not None
    assert (delivery.sessions, delivery.position.offset) == (0, 1)


def test_who_comes_back_gets_what_it_missed(place: Place) -> None:
    """A client that comes back, to whichever node, gets what it missed in order and once, and both sides know that it is whole."""
    assert place.connect().recovered is None
    place.say(b"1", b"2")
    place.away()
    place.say(b"3", node=1)
    place.say(b"4")

    session = place.connect(1)
    place.say(b"5")

    assert place.got == [(b"1", 1), (b"2", 2), (b"3", 3), (b"4", 4), (b"5", 5)]
    assert session.recovered is True
    assert place.servers[1].clients[0].recovered is True
    assert place.servers[1].counters["rooms_resumed"] == 1


def test_who_missed_nothing_has_recovered_too(place: Place) -> None:
    """A client that comes back to a room in which nothing was said has all there is."""
    place.connect()
    place.say(b"1")
    place.away()
    assert place.connect(1).recovered is True
    assert place.got == [(b"1", 1)]


def test_a_gap_tells_what_the_history_has_no_more(place: Place) -> None:
    """Where more was said than is kept, the client is told from where to where it misses messages, and gets the rest."""
    place.connect()
    first = place.say(b"1").position
    assert first is not None
    place.away()
    place.say(*(b"%d" % number for number in range(2, 10)))

    session = place.connect(1)

    gap = Gap("room", first, Position(first.epoch, 4), "history_expired")
    assert place.got == [(b"1", 1), gap, *((b"%d" % number, number) for number in range(5, 10))]
    assert session.recovered is False
    assert place.servers[1].clients[0].recovered is False
    assert place.client.counters["room_gaps"] == 1


def test_a_gap_tells_that_the_history_was_lost(place: Place) -> None:
    """After the history was lost, a client that is there and one that comes back are told so, and go on in the new epoch."""
    other: list[Any] = []
    watcher = Client(types=place.types)
    watcher.set_callback("on_recv", other.append)
    watcher.on_gap(other.append)
    place.network.connect(watcher, to=place.servers[1])
    place.connect()
    old = place.say(b"1").position
    place.away()
    place.hub.flush()
    new = place.say(b"2").position
    assert old is not None
    assert new is not None

    place.connect()

    gap = Gap("room", old, Position(new.epoch, 0), "history_lost")
    assert place.got == [(b"1", 1), gap, (b"2", 1)]
    assert [each if isinstance(each, Gap) else each.content for each in other] == [b"1", gap, b"2"]


def test_a_client_that_joins_later_recovers_too() -> None:
    """A client whose handler lets it join only after it asked gets what it missed then."""
    place = Place()
    for server in place.servers:
        server.set_callback("on_connect", lambda client: None)
        server.route(place.number)(lambda client, message, server=server: server.room("room").join(client))
    place.connect()
    place.client.send(place.number, 1)
    place.network.pump()
    place.say(b"1")
    place.away()
    place.say(b"2")
    session = place.connect(1)
    assert session.recovered is None

    place.client.send(place.number, 1)
    place.network.pump()

    assert place.got == [(b"1", 1), (b"2", 2)]
    assert session.recovered is True
    place.network.stop()


def test_who_was_excluded_does_not_get_it_later(place: Place) -> None:
    """A message that left a session out is not given to its client when that comes back, and is no gap for it."""
    place.connect()
    place.say(b"1")
    (session,) = place.servers[0].clients
    place.servers[0].room("room").broadcast(place.chat, b"not for you", exclude=[session])
    place.away()
    place.connect(1)
    place.say(b"3")
    assert place.got == [(b"1", 1), (b"3", 3)]


def test_who_leaves_is_not_given_more(place: Place) -> None:
    """A client that has left a room presents nothing of it, and gets nothing it missed when it joins again."""
    place.connect()
    place.say(b"1")
    (session,) = place.servers[0].clients
    place.servers[0].room("room").leave(session)
    place.say(b"2")
    assert place.client.room_positions == {}
    place.away()
    assert place.connect(1).recovered is None
    assert place.got == [(b"1", 1)]


def test_a_message_sent_without_the_history_comes_once(place: Place) -> None:
    """While the node is cut off its members hear each other at once, without places; that is not repeated and is no gap later."""
    messages: list[RoomMessage[bytes]] = []
    place.client.set_callback("on_recv", messages.append)
    place.connect()
    place.say(b"1")
    place.hub.cut(place.servers[0].backplane)
    delivery = place.say(b"alone")
    place.say(b"2", node=1)
    place.hub.restore(place.servers[0].backplane)
    place.say(b"3")

    assert (delivery.sessions, delivery.position) == (1, None)
    assert delivery.error is not None
    assert [(each.content, each.position and each.position.offset) for each in messages] == [
        (b"1", 1),
        (b"alone", None),
        (b"2", 2),
        (b"3", 3),
    ]


class Doubtful(MemoryBackplane):
    """A backplane that goes down while a message is under way, and keeps it all the same."""

    doubtful = False

    def publish(self, topic: str, payload: bytes, history: History | None = None) -> Deferred[Position | None]:
        """Publish; nobody hears that it was done."""
        published = super().publish(topic, payload, history)
        return published.addCallback(self._outcome)

    def _outcome(self, position: Position | None) -> Position | None:
        if self.doubtful:
            raise BackplaneUnavailable("it broke", uncertain=True)
        return position


NARROW = Limits(write_low=500, write_high=1000, write_hard=4000)
LONG = [b"%02d" % number * 300 for number in range(1, 41)]


def narrow_place() -> Place:
    """Return a place whose queues are short, with all that is in LONG behind the first message."""
    place = Place(History(size=100), limits=NARROW)
    place.connect()
    place.say(b"first")
    return place


def test_who_missed_more_than_a_queue_holds_gets_it_as_it_reads() -> None:
    """A client that reads gets all it missed, however much, and behind it what was said meanwhile; its queue stays bounded."""
    place = narrow_place()
    place.away()
    place.say(*LONG)
    place.servers[1].set_callback("on_connect", lambda session: None)
    place.connect(1)
    (session,) = place.servers[1].clients
    session._flow.pauseProducing()
    place.servers[1].room("room").join(session)
    place.network.pump()
    assert session.write_buffer_size <= NARROW.write_hard
    assert len(place.got) == 1
    place.say(b"meanwhile")

    session._flow.resumeProducing()
    place.network.pump()
    place.say(b"live")

    assert [content for content, _ in place.got] == [b"first", *LONG, b"meanwhile", b"live"]
    assert session.recovered is True
    place.network.stop()


def test_a_live_member_of_a_node_that_was_cut_off_gets_the_rest_as_it_reads() -> None:
    """What a node missed while it was cut off does not fill its members' queues: they have it as they read it, in order."""
    place = narrow_place()
    (session,) = place.servers[0].clients
    place.hub.cut(place.servers[0].backplane)
    place.say(*LONG, node=1)
    session._flow.pauseProducing()
    place.servers[0].backplane._limits = BackplaneLimits(page_bytes=1000)

    place.hub.restore(place.servers[0].backplane)
    place.say(b"meanwhile")
    assert session.write_buffer_size <= NARROW.write_hard
    session._flow.resumeProducing()
    place.network.pump()
    place.say(b"live")

    assert [content for content, _ in place.got] == [b"first", *LONG, b"meanwhile", b"live"]
    place.network.stop()


def test_who_reads_slowly_is_told_that_the_history_was_lost() -> None:
    """An engine that has lost the last messages while a client reads what it missed is a gap for that, too; new ones come."""
    place = narrow_place()
    place.away()
    place.say(*LONG)
    place.servers[1].set_callback("on_connect", lambda session: None)
    place.connect(1)
    (session,) = place.servers[1].clients
    session._flow.pauseProducing()
    room = place.servers[1].room("room")
    place.network.result(room.join(session))

    (kept,) = place.hub._logs.values()
    kept.top = 2
    while kept.items[-1][0].offset > 2:
        kept.items.pop()
    assert room._log is not None
    room._log.interrupted()
    session._flow.resumeProducing()
    place.network.pump()
    place.say(b"new")

    (gap,) = (each for each in place.got if isinstance(each, Gap))
    assert (gap.reason, gap.until.offset) == ("history_lost", 2)
    assert place.got[-1] == (b"new", 3)
    place.network.stop()


class Paged(MemoryBackplane):
    """A backplane whose pages come when they are let come."""

    def __init__(self, hub: MemoryHub) -> None:
        super().__init__(hub, limits=BackplaneLimits(page_bytes=20))
        self.asked: list[Deferred[Any]] = []
        self.pages = 0

    def history(self, topic: str, since: Position | None, limit: int) -> Deferred[Any]:
        """Hold pages; where the room is comes at once."""
        page = super().history(topic, since, limit)
        if not limit:
            return page
        self.pages += 1
        self.asked.append(Deferred())
        return self.asked[-1].addCallback(lambda _: page)


def test_many_who_come_back_share_the_pages() -> None:
    """The history of a room is read for one page at a time, which all have who need it, wherever they were and whoever they are."""
    place = Place(History(size=100))
    backplane = Paged(place.hub)
    slow = Server(types=place.types, backplane=backplane)
    slow.set_callback("on_connect", slow.room("room", history=place.history).join)
    place.network.serve(slow)
    heard: list[list[bytes]] = []
    clients = []
    for number in range(12):
        client = Client(types=place.types)
        contents: list[bytes] = []
        client.set_callback("on_recv", lambda message, contents=contents: contents.append(message.content))
        heard.append(contents)
        clients.append(client)
        place.network.connect(client, to=place.servers[0])
        place.say(b"%d" % number)
        if number % 2:
            place.network.result(client.disconnect())
    for client in clients[::2]:
        place.network.result(client.disconnect())
    place.say(*(b"%d" % number for number in range(12, 30)))
    clients[0]._follower._rooms["room"].position = Position("another", 3)

    for client in clients:
        place.network.connect(client, to=slow)
    while backplane.asked:
        (page,) = backplane.asked
        backplane.asked.clear()
        page.callback(None)
        place.network.pump()

    for number, contents in enumerate(heard):
        assert contents[-18:] == [b"%d" % each for each in range(12, 30)]
        assert contents == [*dict.fromkeys(contents)] or number == 0
    assert slow.counters["rooms_resumed"] == 12
    assert backplane.pages <= 2 * 30 + 12  # of one message each, and 30 are kept
    place.network.stop()


class Full(MemoryBackplane):
    """A backplane that cannot enter members while it has an error to give."""

    error: Exception | None = None

    def track(self, topic: str, member: str, info: bytes) -> Deferred[bool]:
        """Enter a member, unless there is an error."""
        return super().track(topic, member, info) if self.error is None else fail(self.error)


@pytest.mark.parametrize(
    ("error", "stays"), [(BackplaneError("OOM"), True), (BackplaneRefused("presence", 1), False)], ids=["engine", "limit"]
)
def test_a_join_that_fails_loses_nothing(error: Exception, stays: bool) -> None:
    """A client whose join the backplane could not do keeps its place, and has what it missed when it is in: at once or later."""
    place = Place()
    backplane = Full(place.hub)
    full = Server(types=place.types, backplane=backplane)
    room = full.room("room", history=place.history)
    full.set_callback("on_connect", lambda session: room.join(session).addErrback(lambda failure: failure.trap(BackplaneRefused)))
    place.network.serve(full)
    place.servers.append(full)
    place.connect()
    place.say(b"1")
    place.away()
    place.say(b"2", b"3")

    backplane.error = error
    place.connect(2)
    assert len(room.sessions) == stays
    backplane.error = None
    place.away()
    session = place.connect(2)

    assert place.got == [(b"1", 1), (b"2", 2), (b"3", 3)]
    assert session.recovered is True
    place.network.stop()


def test_a_message_that_may_have_been_kept_comes_once() -> None:
    """Where nobody knows whether a message was kept the members here have it at once, and not again when it turns out to be."""
    place = Place()
    backplane = Doubtful(place.hub)
    doubtful = Server(types=place.types, backplane=backplane)
    doubtful.set_callback("on_connect", doubtful.room("room", history=place.history).join)
    place.network.serve(doubtful)
    place.servers.append(doubtful)
    place.client.set_callback("on_recv", lambda message: place.got.append(message.content))
    place.connect(2)

    place.say(b"1", node=2)
    backplane.doubtful = True
    delivery = place.say(b"2", node=2)
    backplane.doubtful = False
    place.say(b"3", node=0)
    place.network.advance(1)
    place.say(b"4", node=2)

    assert delivery.error is not None
    assert (delivery.sessions, delivery.position) == (1, None)
    assert place.got == [b"1", b"2", b"3", b"4"]
    assert place.client.room_positions["room"].offset == 4
    place.away()
    place.connect(0)
    assert place.got == [b"1", b"2", b"3", b"4"]
    place.network.stop()


def test_as_many_as_may_wait_for_a_backplane_that_hangs_come_once(place: Place) -> None:
    """Thousands of messages of which nobody knows whether they were kept come once to whom understands places, and to others."""
    backplane = Doubtful(place.hub)
    doubtful = Server(types=place.types, backplane=backplane)
    room = doubtful.room("room", history=History(size=5000))
    doubtful.set_callback("on_connect", room.join)
    place.network.serve(doubtful)
    place.servers.append(doubtful)
    place.client.set_callback("on_recv", lambda message: place.got.append(message.content))
    place.connect(2)
    plain: list[bytes] = []
    room._send_plain = lambda message: plain.append(message.content) or 0  # type: ignore[method-assign,func-returns-value]
    room._log._send_plain = room._send_plain  # type: ignore[union-attr]
    said = [b"%d" % number for number in range(1500)]

    backplane.doubtful = True
    place.say(*said, node=2)
    backplane.doubtful = False
    place.servers[0].room("room", history=History(size=5000)).broadcast(place.chat, b"other")
    place.network.advance(1)
    place.say(b"last", node=2)

    assert place.got == plain == [*said, b"other", b"last"]


def test_a_server_that_begins_anew_with_the_ids_of_its_messages_is_heard() -> None:
    """Messages of a node that has the id of one before it, as a process in a container has, are new ones in the new history."""
    place = Place()
    for contents in ((b"1", b"2"), (b"3", b"4")):
        place.hub = MemoryHub()
        server = Server(types=place.types, backplane=MemoryBackplane(place.hub, node_id="1"))
        server.set_callback("on_connect", server.room("room", history=place.history).join)
        place.network.serve(server)
        place.servers.append(server)
        place.connect(-1)
        place.say(*contents, node=-1)
        place.away()

    assert [each for each in place.got if not isinstance(each, Gap)] == [(b"1", 1), (b"2", 2), (b"3", 1), (b"4", 2)]
    place.network.stop()


def test_values_and_answers_work_as_in_any_message(place: Place) -> None:
    """A typed message of a room has its value, a wrong one is counted, and what its handler returns answers as its own type."""
    values: list[int] = []
    answers: list[Any] = []

    @place.client.route(place.number)
    def on_number(message: Any) -> int:
        values.append(message.value)
        return message.value + 1

    place.servers[0].set_callback("on_recv", lambda client, message: answers.append((message.type, message.value)))
    place.connect()
    place.servers[0].room("room").broadcast(place.number, 41)
    place.servers[0].room("room").broadcast(place.number, b"no number")
    place.network.pump()

    assert values == [41]
    assert answers == [(place.number, 42)]
    assert place.client.counters["contents_invalid"] == 1


def test_a_peer_that_knows_no_rooms_gets_ordinary_messages(place: Place) -> None:
    """A real release's client gets each message once as any other, and nothing that it does not know."""
    from veltix_tx.wire.veltix.layouts import W22

    peer = place.network.dial()
    place.network.advance(2)
    hello = bytes(peer.received)
    begin = hello.find(W22.pack(10, b"\0\x051.6.6", 0, 0)[:4])
    header = W22.unpack(hello[begin : begin + W22.header_size])
    version = b"\0\x051.6.6"
    peer.send(W22.pack(11, version, header.request_id, 0) + version)
    peer.received.clear()

    place.say(b"hello", node=1)

    frame = W22.unpack(bytes(peer.received[: W22.header_size]))
    assert frame.code == place.chat.code
    assert bytes(peer.received[W22.header_size :]) == b"hello"


def test_low_level_factories_agree_on_no_rooms(place: Place) -> None:
    """A client made without the door, which has nothing to handle places with, gets ordinary messages."""
    from veltix_tx import VeltixClientFactory
    from veltix_tx.testing import _ClientEndpoint

    heard: list[bytes] = []

    class Application:
        def connected(self, session: Any) -> None: ...

        def received(self, session: Any, message: Any) -> None:
            heard.append(message.content)

        def disconnected(self, session: Any, reason: Any) -> None: ...

    factory = VeltixClientFactory(Application(), reactor=place.network.clocks, types=place.types)
    connecting: Deferred[Any] = _ClientEndpoint(place.network).connect(factory)
    protocol = place.network.result(connecting)
    place.network.pump()
    assert protocol.session.peer.features == ("errors", "rpc")

    place.say(b"plain")

    assert heard == [b"plain"]
    protocol.abort(SessionClosed(DisconnectReason.MANUAL))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xc1", encode_room([]), encode_room([1, 2]), encode_room(RoomPosition("room", "e", 1, "", ""))],
)
def test_what_cannot_be_read_is_refused(content: bytes, place: Place) -> None:
    """A RESUME that is none is counted as invalid content; nothing breaks, and later messages come."""
    session = place.connect()
    session.send(RESUME, content)
    session.send(ROOM, content)
    session.send(ROOM_POSITION, content)
    place.network.pump()
    assert place.client.is_connected
    place.say(b"1")
    assert place.got == [(b"1", 1)]


def test_a_presented_place_is_bounded(place: Place) -> None:
    """A server keeps no more presented places than a session may have rooms, and none beyond the session."""
    place = Place(limits=Limits(rooms_per_session=3))
    place.connect()
    place.say(b"1")
    place.away()
    rooms = place.client._follower._rooms
    for number in range(50):
        rooms[f"other {number}"] = rooms["room"]
    place.connect(1)
    (session,) = place.servers[1].clients
    kept = place.servers[1]._rooms._presented
    assert len(kept[session] or ()) <= 3
    place.away()
    place.network.pump()
    assert kept == {}
    place.network.stop()


def test_a_resume_is_read_up_to_a_size(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a RESUME that is far larger than the rooms of a session need nothing is decoded; its client is told a gap, and goes on."""
    place.connect()
    place.say(b"1")
    place.away()
    place.say(b"2")
    rooms = place.client._follower._rooms
    for number in range(2_000):
        rooms[f"other {number} {'x' * 100}"] = replace(rooms["room"])
    decoded: list[bytes] = []
    monkeypatch.setattr("veltix_tx.app.rooms.decode_resume", lambda content: decoded.append(content) or [])

    place.connect(1)
    place.say(b"3")

    assert decoded == []
    assert [each if isinstance(each, tuple) else each.reason for each in place.got] == [(b"1", 1), "dropped", (b"3", 3)]


def test_a_place_beyond_the_rooms_of_a_session_is_a_gap() -> None:
    """A client that presents more places than its session may have rooms is told a gap where its place was not read."""
    place = Place(limits=Limits(rooms_per_session=3))
    place.connect()
    place.say(b"1")
    place.away()
    place.say(b"2")
    rooms = place.client._follower._rooms
    for number in range(5):
        rooms[f"other {number}"] = replace(rooms["room"])
    rooms.move_to_end("room")

    place.connect(1)
    place.say(b"3")

    assert [each if isinstance(each, tuple) else each.reason for each in place.got] == [(b"1", 1), "dropped", (b"3", 3)]
    place.network.stop()


def test_a_client_follows_no_more_rooms_than_its_limit() -> None:
    """A client forgets the place in the room that has been silent for longest, beyond its limit."""
    place = Place()
    client = Client(types=place.types, limits=Limits(rooms_per_session=2))
    place.network.connect(client, to=place.servers[0])
    server = place.servers[0]
    (session,) = server.clients
    for name in ("b", "c"):
        server.room(name, history=History()).join(session)
    place.network.pump()
    assert set(client.room_positions) == {"b", "c"}
    place.network.stop()


def test_places_that_do_not_fit_are_not_presented() -> None:
    """A client whose messages must be small presents nothing where its places do not fit, and gets on from where the rooms are."""
    place = Place()
    place.client = place.make_client(max_message_size=200)
    place.connect()
    (session,) = place.servers[0].clients
    for number in range(20):
        place.servers[0].room(f"further {number}", history=History()).join(session)
    place.say(b"1")
    place.away()
    place.say(b"2")
    place.connect(1)
    place.say(b"3")
    assert [each if isinstance(each, tuple) else each.reason for each in place.got] == [(b"1", 1), "dropped", (b"3", 3)]
    place.network.stop()


def test_a_server_that_skips_messages_makes_a_gap_of_them(place: Place) -> None:
    """Where places jump without a word the client tells a gap: it believes nobody that nothing is missing."""
    place.connect()
    position = place.say(b"1").position
    assert position is not None
    (session,) = place.servers[0].clients
    said = RoomContent("room", position.epoch, 5, "x:1", place.chat.code, b"5")
    session.send(ROOM, encode_room(said))
    session.send(ROOM, encode_room(said))
    place.network.pump()
    assert place.got == [(b"1", 1), Gap("room", position, Position(position.epoch, 4), "dropped"), (b"5", 5)]
    assert place.client.counters["room_messages_repeated"] == 1


def test_a_server_believes_no_place_beyond_its_own(place: Place) -> None:
    """A client that presents a place that was never given is told a gap, and gets on with the others."""
    place.connect()
    place.say(b"1")
    place.away()
    followed = place.client._follower._rooms["room"]
    assert followed.position is not None
    followed.position = Position(followed.position.epoch, 99)
    place.got.clear()
    place.connect(1)
    place.say(b"2")
    assert place.servers[1].clients[0].recovered is False


def test_a_message_that_does_not_fit_with_its_place_is_refused(place: Place) -> None:
    """A message that would be too large for a member with its place is refused, and is in no history."""
    place.connect()
    with pytest.raises(MessageTooLarge):
        place.servers[0].room("room").broadcast(place.chat, bytes(10 * 1024 * 1024 - 500))
    assert place.say(b"1").position is not None
    assert place.got == [(b"1", 1)]


def test_history_is_given_before_the_first_joins(place: Place) -> None:
    """A room that is in use without a history cannot get one; a size or ttl that cannot be is named."""
    place.connect()
    (session,) = place.servers[0].clients
    place.servers[0].room("plain").join(session)
    with pytest.raises(RoomError, match="before the first joins"):
        place.servers[0].room("plain", history=History())
    for wrong in ({"size": 0}, {"size": True}, {"size": 10_001}, {"ttl": 0}, {"ttl": float("inf")}):
        with pytest.raises(SettingsError):
            History(**wrong)


def test_presented_is_what_was_told(place: Place) -> None:
    """What a client presents is the member and the place that the server told it last."""
    place.connect()
    position = place.say(b"1").position
    followed = place.client._follower._rooms["room"]
    assert followed.position == position
    assert Presented("room", "e", 1, followed.member).member == place.servers[0].clients[0].id


def test_a_message_beyond_the_history_is_not_waited_for(place: Place) -> None:
    """A message with a place that the history never gave, as a forged one, is dropped, and the history is not asked for ever."""
    place.connect()
    position = place.say(b"1").position
    assert position is not None
    log = place.servers[0].room("room")._log
    assert log is not None
    asked: list[Position | None] = []
    history = place.servers[0].backplane.history

    def counted(topic: str, since: Position | None, limit: int) -> Any:
        asked.append(since)
        return history(topic, since, limit)

    place.servers[0].backplane.history = counted  # type: ignore[method-assign]
    forged = to_message(1, place.chat, b"forged")

    log.add(Position(position.epoch, 1_000_000), forged, "somebody")
    for _ in range(50):
        place.network.advance(0.1)
    place.say(b"2", node=1)

    assert len(asked) == 1
    assert place.got == [(b"1", 1), (b"2", 2)]
    assert place.servers[0].counters["envelopes_unreadable"] == 1


def test_a_message_that_a_node_cannot_read_is_a_gap() -> None:
    """What was made with another key, or none, leaves a gap in the room, for who is there and for who comes back."""
    place = Place()
    keyed = place.serve(backplane_key=b"k" * 16)
    place.servers.insert(0, keyed)
    place.connect()
    place.say(b"1")
    place.say(b"2", node=1)
    at_once = list(place.got)
    place.say(b"3")
    place.away()
    place.say(b"4", node=1)
    place.say(b"5")
    session = place.connect()

    shown = [(each.since.offset, each.until.offset, each.reason) if isinstance(each, Gap) else each for each in place.got]
    assert shown == [(b"1", 1), (1, 2, "unreadable"), (b"3", 3), (3, 4, "unreadable"), (b"5", 5)]
    assert len(at_once) == 2
    assert session.recovered is keyed.clients[0].recovered is False
    assert keyed.counters["room_gaps"] == 2
    place.network.stop()


def test_messages_of_a_history_are_not_shown_to_before_send() -> None:
    """They are the same for every member, whenever it gets them; what is sent otherwise is shown to it."""
    place = Place()
    plain = MessageType(202, "plain", registry=place.types)
    place.client.route(plain)(lambda message: place.got.append(message.content))
    shown: list[bytes] = []
    hooked = Server(types=place.types, backplane=MemoryBackplane(place.hub))
    hooked.before_send(lambda session, message: shown.append(message.content))
    hooked.set_callback("on_connect", hooked.room("room", history=place.history).join)
    place.network.serve(hooked)
    session = place.network.connect(place.client, to=hooked)
    place.network.pump()

    place.say(b"kept")
    hooked.clients[0].send(plain, b"plain")
    place.network.pump()

    assert session.closed is None
    assert place.got == [(b"kept", 1), b"plain"]
    assert shown == [b"plain"]
