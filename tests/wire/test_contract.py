"""The contract of WireConnection, run over every registered wire, both roles, and over the two wires that only the tests have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from veltix_tx.errors import (
    AuthenticationFailed,
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    MessageTooLarge,
    NotReady,
    RemoteProtocolError,
    StreamEnded,
    TooManyRequests,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RequestFailed,
)
from veltix_tx.wire.interface import Role, Wire, WireConnection, WireContext
from veltix_tx.wire.messages import CALL, RESULT, TEXT, MessageRegistry, MessageType, Response
from veltix_tx.wire.netconduit.wire import Netconduit
from veltix_tx.wire.plain.options import Delimited, Lines, Prefixed, Raw
from veltix_tx.wire.registry import find_wire, wire_names
from veltix_tx.wire.rpc import DISCOVER

from ..support.wires import Objects, Texts

SERVER, CLIENT = Role.SERVER, Role.CLIENT
LIMIT = 2000
NOW = 1_795_000_000_000
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)

Cut = Callable[[bytes], Iterator[bytes]]


@dataclass(frozen=True)
class Case:
    """A wire in the contract.

    Attributes:
        wire: a server's.
        value: a number of bytes -> a value whose content has as many.
        client: a client's, where that is another.
        type: the type of its messages.
        authenticates: True if its handshake asks for a verdict.
        messages: how many messages a side may send on one connection.
        stream: True if the network decides what is a message.
    """

    wire: Wire
    value: Callable[[int], object] = field(default=lambda size: b"x" * size)
    client: Wire | None = None
    type: MessageType = CHAT
    authenticates: bool = False
    messages: int = 1000
    stream: bool = False

    def joined(self, values: list[Any]) -> list[Any]:
        """Values as they can be compared: of a stream, all in one."""
        return [reduce(add, values)] if self.stream and values else values


def text(size: int) -> str:
    """A value of the wires of texts."""
    return "x" * size


def named(size: int) -> object:
    """A value of the wire of objects, whose content begins with the type's name."""
    return {"": "x" * (size - len(json.dumps(["chat", {"": ""}])))}


def packed(size: int) -> object:
    """A value of netconduit's wire, whose payload is the packed value and a map around it, with the type's name."""
    room = size - len(b"\x82\xa4type\xa4chat\xa4data")
    values = (value for length in range(room) for value in ("x" * length, ["x" * length]))
    return next(value for value in values if len(msgpack.encode(value)) == room)


def plain(wire: str | Wire, value: Callable[[int], object] = text, **options: Any) -> Case:
    """A plain wire, of texts or of what is given."""
    return Case(find_wire(wire), value, type=TEXT, **options)


CASES: dict[str, Case] = {
    **{name: Case(find_wire(name)) for name in wire_names()},
    **{name: plain(name) for name in ("lines", "delimited", "fixed-1024", "prefixed-1", "prefixed-2", "prefixed-4")},
    "eof": plain("eof", messages=1),
    "raw": plain("raw", stream=True),
    "lines that end with |;|": plain(Lines(b"|;|")),
    "lines that are kept": plain(Lines(b"\r\n", keep=True), lambda size: "x" * (size - 2) + "\r\n"),
    "lines of bytes": plain(Lines(text=False), bytes),
    "short lines": plain(Lines(max_line=300)),
    "lines of latin-1": plain(Lines(encoding="latin-1"), lambda size: "\xe9" * size),
    "little-endian": plain(Prefixed(2, "little", text=False, replies="in-order"), bytes),
    "no escape": plain(Delimited(b"<", b">", escape=None)),
    "raw bytes": plain(Raw(text=False), bytes, stream=True),
    "texts": Case(Texts(CHAT), text),
    "netconduit": Case(find_wire("netconduit"), packed, client=Netconduit("secret"), authenticates=True),
    "netconduit with a password": Case(Netconduit("secret"), packed),
    "objects": Case(Objects(), named, client=Objects("secret"), authenticates=True),
}
"""Every wire. Another one is one more line here, with a value of its own where it does not carry bytes."""

SMALL = 40
"""Bytes of content that every wire can carry in a message."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every wire in turn."""
    return CASES[request.param]


def connection(case: Case, role: Role, limit: int = LIMIT, seed: int = 0) -> WireConnection:
    """A connection that has not begun."""
    wire = case.wire if role is SERVER or case.client is None else case.client
    context = WireContext(
        calendar_ms=lambda: NOW,
        uptime_ms=lambda: 1_000_000,
        getrandbits=Random(f"{role} {seed}").getrandbits,
        types=TYPES,
        limits=Limits(),
        max_message_size=limit,
    )
    return wire.connect(role, context, round_trip=0.0, encrypted=False)


def whole(data: bytes) -> Iterator[bytes]:
    """Bytes in one piece."""
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    """Bytes one at a time."""
    return (data[at : at + 1] for at in range(len(data)))


class Pair:
    """A server and a client of one wire, and what each has heard.

    Args:
        case: the wire.
        cut: how what one sends arrives at the other.
        verdict: what a server says of credentials: accept, reject, or None for nothing yet.
        limits: ``max_message_size`` of the server and of the client.
    """

    def __init__(
        self, case: Case, cut: Cut = whole, *, verdict: str | None = "accept", limits: tuple[int, int] = (LIMIT, LIMIT)
    ) -> None:
        self.server, self.client = (
            connection(case, role, limit, limit) for role, limit in zip((SERVER, CLIENT), limits, strict=True)
        )
        self.heard: dict[Role, list[Event]] = {SERVER: [], CLIENT: []}
        self._case, self._cut, self._verdict = case, cut, verdict

    @property
    def sides(self) -> dict[Role, WireConnection]:
        """Both, by their roles."""
        return {SERVER: self.server, CLIENT: self.client}

    def take(self, role: Role, events: list[Event]) -> None:
        """Note events, and judge credentials."""
        for event in events:
            self.heard[role].append(event)
            if isinstance(event, AuthenticationRequested) and self._verdict == "accept":
                self.take(role, self.sides[role].accept())
            elif isinstance(event, AuthenticationRequested) and self._verdict == "reject":
                self.sides[role].reject()

    def begin(self) -> Pair:
        """Do the handshake."""
        for role, side in self.sides.items():
            self.take(role, side.start())
        return self.carry()

    def carry(self) -> Pair:
        """Carry bytes both ways until there are none."""
        while any([self._carry(self.server, CLIENT), self._carry(self.client, SERVER)]):
            pass
        return self

    def _carry(self, source: WireConnection, role: Role) -> bool:
        return self.deliver(source.data_to_send(), role)

    def deliver(self, buffers: list[bytes], role: Role) -> bool:
        """Let a side receive what the other one has sent, and the end of the stream where that says so."""
        for piece in self._cut(b"".join(buffers)):
            self.take(role, self.sides[role].receive_data(piece, NOW))
        if buffers and not buffers[-1]:
            assert self.sides[role].half_closes
            self.take(role, self.sides[role].receive_eof(NOW))
        return bool(buffers)

    def messages(self, role: Role) -> list[object]:
        """The values of the messages that a side has heard, all in one where there are no messages on the wire."""
        return self._case.joined([event.value for event in self.heard[role] if isinstance(event, Response)])


def ready(case: Case, cut: Cut = whole, **options: Any) -> Pair:
    """A pair whose handshake is complete."""
    pair = Pair(case, cut, **options).begin()
    for role, side in pair.sides.items():
        assert [event.peer for event in pair.heard[role] if isinstance(event, HandshakeCompleted)] == [side.peer]
        pair.heard[role].clear()
    return pair


def described(events: list[Event], stream: bool = False) -> list[object]:
    """Events as what can be compared."""
    messages = [event for event in events if isinstance(event, Response)]
    if stream and messages:
        others = [event for event in events if not isinstance(event, Response)]
        return [*others, b"".join(message.content for message in messages)]
    return [
        (event.type, event.content, event.value, event.request_id, event.timestamp) if isinstance(event, Response) else event
        for event in events
    ]


def largest(side: WireConnection) -> int:
    """The most bytes that the content of a message may have."""
    return side.max_message_size - side.overhead


def frame(side: WireConnection, case: Case, size: int = SMALL) -> bytes:
    """A message with so many bytes of content."""
    return b"".join(side.encode(case.type, case.value(size)))


def failures(events: list[Event]) -> list[RemoteProtocolError]:
    """The errors that have ended a connection."""
    return [event.error for event in events if isinstance(event, ConnectionFailed)]


# The handshake


def test_every_registered_wire_has_the_contract() -> None:
    """A wire that is registered and not here would be no wire of this package."""
    assert set(wire_names()) <= set(CASES)
    assert "auto" in wire_names()


@pytest.mark.parametrize("role", Role)
def test_the_handshake_completes_the_same_whole_and_byte_by_byte(case: Case, role: Role) -> None:
    """Each side becomes ready once, and knows its peer then and not before; however the bytes arrive, the events are the same."""
    for cut in (whole, bytewise):
        pair = Pair(case, cut)
        assert [side.peer for side in pair.sides.values()] == [None, None]
        pair.begin()
        assert [type(event) for event in pair.heard[role] if not isinstance(event, AuthenticationRequested)] == [HandshakeCompleted]
        assert described(pair.heard[role]) == described(Pair(case).begin().heard[role])
        peer = pair.sides[role].peer
        assert peer is not None
        assert peer.wire


@pytest.mark.parametrize("role", Role)
def test_it_begins_once(case: Case, role: Role) -> None:
    """What is received before the start, a second start and a refusal after it are errors of this side."""
    side = connection(case, role)
    with pytest.raises(LocalProtocolError):
        side.receive_data(b"x", NOW)
    side.start()
    with pytest.raises(LocalProtocolError):
        side.start()
    with pytest.raises(LocalProtocolError):
        side.refuse()


@pytest.mark.parametrize("role", Role)
def test_nothing_is_sent_before_the_handshake_is_complete(case: Case, role: Role) -> None:
    """Every way to send is NotReady before, and queues nothing."""
    side = connection(case, role)
    calls: list[Callable[[], object]] = [
        lambda: side.encode(case.type, case.value(SMALL)),
        lambda: side.send(case.type, case.value(SMALL)),
        lambda: side.send_encoded([b"x"]),
    ]
    for call in calls:
        with pytest.raises(NotReady):
            call()
    assert side.data_to_send() == []
    side.start()
    side.data_to_send()
    if side.peer is None:
        for call in calls:
            with pytest.raises(NotReady):
                call()
        assert side.data_to_send() == []


@pytest.mark.parametrize("role", Role)
def test_nothing_is_accepted_before_the_handshake_is_complete(case: Case, role: Role) -> None:
    """A message that comes first is no message: a side hears of none before HandshakeCompleted, verdict or not."""
    for verdict in ("accept", None):
        other = CLIENT if role is SERVER else SERVER
        early = frame(ready(case).sides[other], case)
        pair = Pair(case, verdict=verdict)
        pair.take(role, pair.sides[role].start())
        pair.take(role, pair.sides[role].receive_data(early, NOW))
        kinds = [type(event) for event in pair.heard[role]]
        assert Response not in map(_base, kinds[: kinds.index(HandshakeCompleted) if HandshakeCompleted in kinds else None])


def _base(kind: type) -> type:
    return Response if issubclass(kind, Response) else kind


@pytest.mark.parametrize("role", Role)
def test_a_silent_peers_timeouts_come_to_an_end(case: Case, role: Role) -> None:
    """A connection's timeouts are 0 s or more from now, and a peer that says nothing has no end of them in a handshake."""
    side = connection(case, role)
    side.start()
    for _ in range(50):
        if side.peer is not None or side.next_timeout is None:
            break
        assert side.next_timeout >= 0
        assert failures(side.handle_timeout()) == []
        side.data_to_send()
    assert side.peer is not None or side.next_timeout is None
    side.handle_timeout()  # one that is called late does no harm
    side.connection_lost()
    assert side.next_timeout is None
    assert side.handle_timeout() == []


def test_a_server_that_is_full_refuses(case: Case) -> None:
    """Its client hears of no message, and is not let in by what a refusal says; the server reads and says nothing more."""
    pair = Pair(case)
    pair.server.refuse()
    pair.take(CLIENT, pair.client.start())
    before = len(pair.heard[CLIENT])  # a wire without a handshake is ready by then
    pair.carry()
    assert pair.heard[SERVER] == []
    assert HandshakeCompleted not in map(type, pair.heard[CLIENT][before:])
    assert pair.messages(CLIENT) == []
    with pytest.raises(LocalProtocolError):
        pair.server.start()
    with pytest.raises(LocalProtocolError):
        connection(case, CLIENT).refuse()


def test_authentication_lets_in_who_is_accepted(case: Case) -> None:
    """A wire that asks for a verdict does so once, is ready after accept() alone, and ends its client after reject()."""
    pair = Pair(case, verdict=None).begin()
    asked = [event for event in pair.heard[SERVER] if isinstance(event, AuthenticationRequested)]
    assert len(asked) == case.authenticates
    if not case.authenticates:
        for side in pair.sides.values():
            for answer in (side.accept, side.reject):
                with pytest.raises(LocalProtocolError):
                    answer()
        return
    assert (pair.server.peer, pair.client.peer) == (None, None)
    pair.take(SERVER, pair.server.accept())
    pair.carry()
    assert None not in (pair.server.peer, pair.client.peer)
    with pytest.raises(LocalProtocolError):
        pair.server.accept()

    pair = Pair(case, verdict="reject").begin()
    assert (pair.server.peer, pair.client.peer) == (None, None)
    assert [type(error) for error in failures(pair.heard[CLIENT])] == [AuthenticationFailed]
    for answer in (pair.server.accept, pair.server.reject):
        with pytest.raises(LocalProtocolError):
            answer()


# Messages


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("role", Role)
def test_messages_keep_their_order(case: Case, role: Role, cut: Cut) -> None:
    """What one side sends the other hears, in that order, each with its type and a value equal to what was sent."""
    pair = ready(case, cut)
    other = CLIENT if role is SERVER else SERVER
    values = [case.value(size) for size in (SMALL, SMALL + 1, largest(pair.server), SMALL)][: case.messages]
    for value in values:
        pair.sides[role].send(case.type, value)
    pair.carry()
    assert pair.messages(other) == case.joined(values)
    assert {event.type for event in pair.heard[other] if isinstance(event, Response)} == {case.type}
    assert pair.heard[role] == []


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(list(CASES)), sizes=st.lists(st.integers(SMALL, 200), max_size=5), data=st.data())
def test_no_cut_of_the_bytes_changes_the_events(name: str, sizes: list[int], data: st.DataObject) -> None:
    """Handshake and messages are the same events however the network cuts and joins their bytes."""

    def cut(sent: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(sent):
            size = data.draw(st.integers(1, len(sent) - at))
            yield sent[at : at + size]
            at += size

    case, heard = CASES[name], list[object]()
    for how in (whole, cut):
        pair = Pair(case, how).begin()
        for size in sizes[: case.messages]:
            for side in pair.sides.values():
                side.send(case.type, case.value(size))
        pair.carry()
        heard.append({role: described(events, case.stream) for role, events in pair.heard.items()})
    assert heard[0] == heard[1]


@pytest.mark.parametrize("role", Role)
def test_send_and_encode_agree(case: Case, role: Role) -> None:
    """send() queues what encode() returns, and returns its size; data_to_send() hands that out once."""
    pair = ready(case)
    side, other = pair.sides[role], CLIENT if role is SERVER else SERVER
    request_id = side.allocate_id(()) if side.supports_requests else None
    encoded = side.encode(case.type, case.value(SMALL), request_id)
    assert side.data_to_send() == []
    assert side.send(case.type, case.value(SMALL), request_id) == sum(map(len, encoded))
    assert side.data_to_send() == encoded
    assert side.data_to_send() == []
    assert all(encoded[:-1])
    assert side.key_of(encoded[0]) in (case.type.key, case.type.name)
    if case.messages == 1:
        assert encoded[-1] == b""
        with pytest.raises(StreamEnded):
            side.send_encoded(encoded)
        with pytest.raises(StreamEnded):
            side.send(case.type, case.value(SMALL))
        pair.deliver(encoded, other)
    else:
        side.send_encoded(encoded)
        pair.carry()
    assert pair.messages(other) == [case.value(SMALL)]


@pytest.mark.parametrize("role", Role)
def test_equal_encoding_keys_take_the_same_bytes(case: Case, role: Role) -> None:
    """What one connection has encoded another one with an equal key may send: its peer hears the message."""
    first, second = ready(case), ready(case)
    other = CLIENT if role is SERVER else SERVER
    assert first.sides[role].encoding_key == second.sides[role].encoding_key
    hash(first.sides[role].encoding_key)
    second.sides[role].send_encoded(first.sides[role].encode(case.type, case.value(SMALL)))
    second.carry()
    assert second.messages(other) == [case.value(SMALL)]


@pytest.mark.parametrize("role", Role)
def test_the_limit_is_exact(case: Case, role: Role) -> None:
    """``max_message_size``, ``overhead`` included, passes; one byte more is refused by the sender and by the receiver."""
    pair, other = ready(case), CLIENT if role is SERVER else SERVER
    side = pair.sides[role]
    most = largest(side)
    assert side.max_message_size <= LIMIT
    assert len(frame(side, case, most)) == side.max_message_size
    with pytest.raises(MessageTooLarge) as caught:
        side.send(case.type, case.value(most + 1))
    assert (caught.value.size, caught.value.limit) == (side.max_message_size + 1, side.max_message_size)
    with pytest.raises(MessageTooLarge):
        side.encode(case.type, case.value(most + 1))
    assert side.data_to_send() == []
    side.send(case.type, case.value(most))
    pair.carry()
    assert pair.messages(other) == [case.value(most)]

    for cut in () if case.stream else (whole, bytewise):
        sizes = {role: 2 * LIMIT, other: LIMIT}
        pair = ready(case, cut, limits=(sizes[SERVER], sizes[CLIENT]))
        if pair.sides[role].max_message_size == side.max_message_size:
            return  # the wire itself has no larger ones
        pair.sides[role].send(case.type, case.value(most + 1))
        pair.carry()
        (error,) = failures(pair.heard[other])
        assert isinstance(error, FrameTooLarge)
        assert error.limit == side.max_message_size
        assert pair.messages(other) == []
        assert pair.sides[other].receive_data(frame(side, case), NOW) == []


def test_a_value_of_another_kind_is_refused(case: Case) -> None:
    """What no wire carries is a TypeError, and queues nothing."""
    side = ready(case).server
    for call in (side.send, side.encode):
        with pytest.raises(TypeError):
            call(case.type, object())
    assert side.data_to_send() == []


@pytest.mark.parametrize("role", Role)
def test_a_message_in_part_is_told_by_its_sizes(case: Case, role: Role) -> None:
    """Of a message in part a connection tells that there is one and how much it keeps of it; of a whole one it keeps nothing."""
    pair = ready(case)
    side = pair.sides[role]
    if case.stream:
        return
    encoded = pair.sides[CLIENT if role is SERVER else SERVER].encode(case.type, case.value(SMALL))
    data = b"".join(encoded)
    last = len(data) if not encoded[-1] else len(data) - 1
    assert (side.incoming_size, side.buffered_size, side.beginning) == (0, 0, b"")
    for count, piece in enumerate(bytewise(data[:last]), 1):
        assert side.receive_data(piece, NOW) == []
        assert side.incoming_size > 0
        assert side.buffered_size <= count
        assert data.startswith(side.beginning)
    pair.deliver([data[last:], *encoded[1:]], role)
    assert len(pair.messages(role)) == 1
    assert (side.incoming_size, side.buffered_size) == (0, 0)


# The end


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("early", [True, False])
def test_after_the_end_nothing_is_sent_or_read(case: Case, role: Role, early: bool) -> None:
    """A lost connection, ready or not, refuses every way to send, and ignores what it receives."""
    pair = Pair(case) if early else ready(case)
    side = pair.sides[role]
    data = b"" if early else frame(pair.sides[CLIENT if role is SERVER else SERVER], case)
    if early:
        side.start()
    side.data_to_send()
    side.connection_lost()
    side.connection_lost()
    for call in (lambda: side.send(case.type, case.value(SMALL)), lambda: side.send_encoded([b"x"])):
        with pytest.raises(LocalProtocolError) as caught:
            call()
        assert not isinstance(caught.value, NotReady)
    assert side.receive_data(data or b"xyz", NOW) == []
    assert side.data_to_send() == []
    assert side.buffered_size == 0


# Flags


@pytest.mark.parametrize("role", Role)
def test_requests_have_ids_where_the_flag_says_so(case: Case, role: Role) -> None:
    """With ``supports_requests`` ids are free ones, and come back with the reply; without it the error names the wire."""
    pair, other = ready(case), CLIENT if role is SERVER else SERVER
    side = pair.sides[role]
    assert side.peer is not None
    if not side.supports_requests:
        if side.rpc is None:
            with pytest.raises(LocalProtocolError, match=side.peer.wire) as caught:
                side.allocate_id(())
            assert not isinstance(caught.value, (NotReady, TooManyRequests))
        return
    first = side.allocate_id(())
    second = side.allocate_id({first})
    assert first != second
    side.send(case.type, case.value(SMALL), second)
    pair.carry()
    (asked,) = pair.heard[other]
    assert isinstance(asked, Response)
    pair.sides[other].send(case.type, case.value(SMALL), asked.request_id)
    pair.carry()
    (answer,) = pair.heard[role]
    assert isinstance(answer, Response)
    assert answer.request_id == second


@pytest.mark.parametrize("role", Role)
def test_calls_are_answered_where_there_is_a_codec(case: Case, role: Role) -> None:
    """With ``rpc`` a CALL arrives as it was made, and its RESULT, or why it failed, with its id."""
    pair, other = ready(case), CLIENT if role is SERVER else SERVER
    side, server = pair.sides[role], pair.sides[other]
    if side.rpc is None or server.rpc is None:
        assert side.rpc is server.rpc
        return
    first, second = side.allocate_id(()), side.allocate_id(())
    for request_id, method in ((first, "add"), (second, DISCOVER)):
        side.send(CALL, side.rpc.encode_call(method, (), {"a": 1}, 5.0, None), request_id)
    pair.carry()
    calls = [event for event in pair.heard[other] if isinstance(event, Response)]
    assert [(each.type, each.request_id) for each in calls] == [(CALL, first), (CALL, second)]
    said = [server.rpc.decode_call(each.content) for each in calls]
    assert [(each.method, msgpack.decode(each.args), msgpack.decode(each.kwargs)) for each in said] == [
        ("add", [], {"a": 1}),
        (DISCOVER, [], {"a": 1}),
    ]
    server.reply_error(second, "sold_out", "no more", {"left": 1})
    server.send(RESULT, server.rpc.encode_result({"b": [2]}), first)
    pair.carry()
    failed, result = pair.heard[role]
    assert isinstance(failed, RequestFailed)
    assert (failed.request_id, failed.code, failed.message, failed.details) == (second, "sold_out", "no more", {"left": 1})
    assert isinstance(result, Response)
    assert (result.type, result.request_id) == (RESULT, first)
    assert msgpack.decode(side.rpc.decode_result("add", result.content)) == {"b": [2]}


@pytest.mark.parametrize("role", Role)
def test_pings_are_answered_where_the_flag_says_so(case: Case, role: Role) -> None:
    """With ``supports_ping`` the peer answers by itself, a probe, too; without it the error names the wire."""
    pair, other = ready(case), CLIENT if role is SERVER else SERVER
    side = pair.sides[role]
    assert side.peer is not None
    if not side.supports_ping:
        for request_id in (1, None):
            with pytest.raises(LocalProtocolError, match=side.peer.wire):
                side.send_ping(request_id)
        assert side.data_to_send() == []
        return
    ids = [side.allocate_id(()) if side.supports_requests else None, None]
    for request_id in ids:
        side.send_ping(request_id)
    pair.carry()
    assert pair.heard[other] == [PingsAnswered(2)]
    assert pair.heard[role] == [Pong(request_id) for request_id in ids]


@pytest.mark.parametrize("role", Role)
def test_error_replies_are_sent_where_the_wire_has_them(case: Case, role: Role) -> None:
    """reply_error() queues what fails the peer's request and says True, or queues nothing and says False."""
    pair, other = ready(case), CLIENT if role is SERVER else SERVER
    side = pair.sides[role]
    request_id = pair.sides[other].allocate_id(()) if side.supports_requests or side.rpc is not None else 0
    told = side.reply_error(request_id, "no_route", "nobody handles it")
    pair.carry()
    assert isinstance(side.marks_requests, bool)
    if told:
        (failed,) = pair.heard[other]
        assert isinstance(failed, RequestFailed)
        assert failed.request_id == request_id
    else:
        assert pair.heard[other] == []
        assert not side.marks_requests


# Garbage


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(list(CASES)),
    role=st.sampled_from(Role),
    early=st.booleans(),
    garbage=st.lists(st.binary(max_size=400) | st.sampled_from([b"\0" * 300, b"[" * 900, b"VX" * 100]), max_size=8),
    behind=st.booleans(),
)
def test_garbage_is_an_event_and_never_an_exception(name: str, role: Role, early: bool, garbage: list[bytes], behind: bool) -> None:
    """Any bytes at any time: rejected frames, or a failure, which is the last event; what is kept is bounded."""
    case = CASES[name]
    pair = Pair(case) if early else ready(case)
    side = pair.sides[role]
    if early:
        pair.take(role, side.start())
    elif behind:  # what looks like a message for a while
        garbage = [frame(pair.sides[CLIENT if role is SERVER else SERVER], case)[:-5], *garbage]
    for piece in garbage:
        pair.take(role, side.receive_data(piece, NOW))
        assert side.buffered_size <= max(side.max_message_size, 4 * 1024 if side.peer is None else 0)
    for event in pair.heard[role]:
        if isinstance(event, Response):
            assert event.value == event.value
        elif isinstance(event, ConnectionFailed):
            assert isinstance(event.error, RemoteProtocolError)
            assert str(event.error)
            assert event is pair.heard[role][-1]
        else:
            assert isinstance(
                event, (FrameRejected, HandshakeCompleted, AuthenticationRequested, PingsAnswered, Pong, RequestFailed)
            )
    assert side.handshake_fault is None or isinstance(side.handshake_fault, HandshakeError)
