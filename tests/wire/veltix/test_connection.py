"""Connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.errors import (
    FrameTooLarge,
    LocalProtocolError,
    MessageTooLarge,
    NotReady,
    RemoteProtocolError,
    TooManyProtocolErrors,
    TooManyRequests,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.events import (
    ConnectionFailed,
    Event,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import ERROR, HELLO, HELLO_ACK, INVALID_REQUEST, PING, PONG, MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.layouts import W15, W22, W62, Layout
from veltix_tx.wire.veltix.releases import RELEASES
from veltix_tx.wire.veltix.states import STATES, Trigger

Make = Callable[..., VeltixConnection]
Converse = Callable[..., tuple[list[Event], list[Event]]]

SERVER, CLIENT = Role.SERVER, Role.CLIENT
ALL = list(RELEASES)
WITH_IDS = [name for name in ALL if name != "1.0"]
CALENDAR_MS, UPTIME_MS = 1_795_000_000_000, 1_000_000
TYPES = MessageRegistry(open=True)
CHAT = MessageType(200, "chat", registry=TYPES)

every_release = pytest.mark.parametrize("release", ALL)
with_ids = pytest.mark.parametrize("release", WITH_IDS)
both_roles = pytest.mark.parametrize("role", Role)


def framed(layout: Layout, code: int, content: bytes = b"", request_id: int = 5, ms: int = 0) -> bytes:
    """The frame of these fields."""
    return layout.pack(code, content, request_id, ms) + content


def taken(connection: VeltixConnection) -> bytes:
    """All bytes a connection has to send."""
    return b"".join(connection.data_to_send())


def seen(events: Iterable[Event]) -> list[Any]:
    """Events in a form that compares equal."""
    return [
        (event.type.code, event.content, event.request_id, event.timestamp)
        if isinstance(event, Response)
        else str(event.error)
        if isinstance(event, ConnectionFailed)
        else event
        for event in events
    ]


def ready_pair(make: Make, converse: Converse, release: str, **options: Any) -> tuple[VeltixConnection, VeltixConnection]:
    """A server and a client of one release, both ready."""
    server, client = make(SERVER, release, **options), make(CLIENT, release, **options)
    converse(server, client)
    assert server.state is client.state is State.READY
    return server, client


def chopped(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data cut at the given places."""
    return [data[start:stop] for start, stop in pairwise([0, *sorted(cut for cut in cuts if cut < len(data)), len(data)])]


# The state table


def test_each_state_has_exactly_these_ways_out() -> None:
    """A connection begins once, agrees once, fails once, and may be ended at any time; nothing leaves CLOSED."""
    assert {state: "".join(trigger.name[0] for trigger in moves) for state, moves in STATES.items()} == {
        State.NEW: "SRE",
        State.HANDSHAKE: "AFE",
        State.READY: "FE",
        State.FAILED: "E",
        State.CLOSED: "E",
    }
    assert {(trigger, to) for moves in STATES.values() for trigger, to in moves.items()} == {
        (Trigger.START, State.HANDSHAKE),
        (Trigger.AGREED, State.READY),
        (Trigger.REFUSE, State.CLOSED),
        (Trigger.FAULT, State.FAILED),
        (Trigger.END, State.CLOSED),
    }


@both_roles
@every_release
def test_a_closed_connection_neither_reads_nor_speaks(make: Make, converse: Converse, role: Role, release: str) -> None:
    """After the end bytes are ignored, whether the connection was ready or still in its handshake."""
    pair = ready_pair(make, converse, release)
    waiting = make(role, release)
    waiting.start()
    waiting.data_to_send()
    for side in (pair[0] if role is SERVER else pair[1], waiting):
        side.connection_lost()
        assert side.state is State.CLOSED
        assert side.next_timeout is None
        assert side.receive_data(framed(RELEASES[release].layout, 0), 0) == []
        assert side.receive_data(b"\xff" * 1000, 0) == []
        assert taken(side) == b""
        side.connection_lost()


@both_roles
@with_ids
def test_what_came_before_a_fault_may_still_be_answered(make: Make, converse: Converse, role: Role, release: str) -> None:
    """A reply to a message in front of a fault leaves, and nothing more is read; after the end nothing more is sent."""
    pair = ready_pair(make, converse, release, max_message_size=1000)
    side, other = pair if role is SERVER else pair[::-1]
    layout = RELEASES[release].layout
    message, failed = side.receive_data(framed(layout, 200, b"ask") + framed(layout, 200, bytes(1000)), 0)
    assert isinstance(message, Response)
    assert isinstance(failed, ConnectionFailed)
    buffers = side.encode(CHAT, b"reply", message.request_id)
    side.send(CHAT, b"reply", message.request_id)
    side.send_encoded(buffers)
    assert [event[1] for event in seen(other.receive_data(taken(side), 0))] == [b"reply", b"reply"]
    side.connection_lost()
    for attempt in (
        lambda: side.send(CHAT, b"late"),
        lambda: side.send_encoded(buffers),
        lambda: side.send_ping(1),
        lambda: side.reply_error(1),
    ):
        with pytest.raises(LocalProtocolError, match="closed"):
            attempt()
    assert taken(side) == b""


# Sending


@both_roles
@pytest.mark.parametrize("release", [None, "1.6.3", "1.7.5", "1.9.0", "3.3.0"])
def test_nothing_is_sent_before_the_handshake_is_complete(make: Make, role: Role, release: str | None) -> None:
    """Messages, pings and request ids are refused locally until the connection is ready; no byte leaves."""
    side = make(role, release)
    side.start()
    side.data_to_send()
    for attempt in (
        lambda: side.send(CHAT, b"early"),
        lambda: side.encode(CHAT, b"early"),
        lambda: side.send_ping(1),
        lambda: side.allocate_id(()),
    ):
        with pytest.raises(NotReady):
            attempt()
    assert taken(side) == b""


@every_release
def test_a_message_arrives_as_it_was_sent(make: Make, converse: Converse, release: str) -> None:
    """Each way, for each release: type, content, request id and the sender's clock come out at the other end."""
    server, client = ready_pair(make, converse, release)
    layout = RELEASES[release].layout
    clock = None if not layout.clock else UPTIME_MS if release == "1.6.9" else CALENDAR_MS
    for near, far in ((server, client), (client, server)):
        for content in (b"", b"hi", bytes(70_000)):
            near.send(CHAT, content, 3 if layout.id_size else 0)
            (event,) = far.receive_data(taken(near), 77)
            assert isinstance(event, Response)
            assert seen([event]) == [(200, content, 3 if layout.id_size else 0, clock)]
            assert event.received_at == 77


@pytest.mark.parametrize("release", ["1.6.3", "3.3.0"])
def test_large_content_is_not_copied(make: Make, converse: Converse, release: str) -> None:
    """Content over 64 KiB goes out as the caller's own bytes behind its header; smaller content in one piece."""
    server, _ = ready_pair(make, converse, release)
    large, small = bytes(65537), bytes(65536)
    header, content = server.encode(CHAT, large, 1)
    assert content is large
    assert len(header) == RELEASES[release].layout.header_size
    assert len(server.encode(CHAT, small, 1)) == 1


@every_release
def test_a_message_over_the_limit_is_refused_before_a_byte_leaves(make: Make, converse: Converse, release: str) -> None:
    """The largest message a peer accepts is sent, one byte more is refused locally."""
    server, client = ready_pair(make, converse, release, max_message_size=1000)
    room = 1000 - RELEASES[release].layout.header_size
    for near, far in ((server, client), (client, server)):
        with pytest.raises(MessageTooLarge) as caught:
            near.send(CHAT, bytes(room + 1))
        assert (caught.value.size, caught.value.limit) == (1001, 1000)
        assert near.data_to_send() == []
        near.send(CHAT, bytes(room))
        (event,) = far.receive_data(taken(near), 0)
        assert isinstance(event, Response)
        assert len(event.content) == room


@with_ids
@pytest.mark.parametrize("request_id", [-1, 2**128])
def test_an_id_that_does_not_fit_is_refused(make: Make, converse: Converse, release: str, request_id: int) -> None:
    """A request id out of the wire's range is a local error, and nothing leaves."""
    server, _ = ready_pair(make, converse, release)
    with pytest.raises(LocalProtocolError, match="request id"):
        server.send(CHAT, b"hi", request_id)
    assert server.data_to_send() == []


def test_what_is_encoded_once_can_be_sent_to_equals(make: Make, converse: Converse) -> None:
    """Two connections of equal encoding take the same bytes; another release, clock or role is another encoding."""
    first, its_client = ready_pair(make, converse, "3.3.0")
    second, other_client = ready_pair(make, converse, "2.0.3")
    assert first.encoding_key == second.encoding_key
    buffers = first.encode(CHAT, b"to all")
    second.send_encoded(buffers)
    assert seen(other_client.receive_data(taken(second), 0)) == [(200, b"to all", 0xFFFF, None)]
    kinds = [first, its_client] + [
        ready_pair(make, converse, release)[0] for release in ("1.6.3", "1.6.9", "1.7.5", "1.6.10", "1.4.0")
    ]
    assert len({side.encoding_key for side in kinds}) == len(kinds)


@pytest.mark.parametrize(("release", "client", "server"), [("2.0.3", 0x7FFF, 0xFFFF), ("3.3.0", 0x7FFF, 0xFFFF)])
def test_an_unsolicited_message_answers_nothing(make: Make, converse: Converse, release: str, client: int, server: int) -> None:
    """On 16-bit ids a plain message carries the last id of its side's half."""
    ours, theirs = ready_pair(make, converse, release)
    ours.send(CHAT, b"")
    theirs.send(CHAT, b"")
    assert W15.unpack(taken(ours)).request_id == server
    assert W15.unpack(taken(theirs)).request_id == client


# Request ids


@pytest.mark.parametrize(
    ("release", "first"),
    [("2.0.0", 30000), ("2.0.2", 30000), ("2.0.3", 30000), ("3.0.0", 30000), ("3.0.1", 0), ("3.1.0", 0), ("3.3.0", 0)],
)
def test_ids_stay_out_of_the_other_sides_way(make: Make, converse: Converse, release: str, first: int) -> None:
    """A client counts below 32768, past 30000 where the server numbers from 0; a server counts from 32768."""
    server, client = ready_pair(make, converse, release)
    assert [client.allocate_id(()) for _ in range(3)] == [first, first + 1, first + 2]
    assert [server.allocate_id(()) for _ in range(3)] == [0x8000, 0x8001, 0x8002]


def test_the_whole_half_is_used_with_our_own_auto_server(make: Make, converse: Converse) -> None:
    """A server of ours that finds out numbers its requests from 32768: its clients have ids from 0 on."""
    server, client = make(SERVER), make(CLIENT)
    converse(server, client)
    assert (client.allocate_id(()), server.allocate_id(())) == (0, 0x8000)


def test_ids_skip_what_is_taken_until_none_is_left(make: Make, converse: Converse) -> None:
    """A request that would need an id that waits already is refused."""
    server, client = ready_pair(make, converse, "3.3.0")
    assert client.allocate_id({0, 1, 3}) == 2
    with pytest.raises(TooManyRequests, match="32768 requests"):
        client.allocate_id(range(0x8000))
    with pytest.raises(TooManyRequests):
        server.allocate_id(range(0x8000, 0x10000))


@pytest.mark.parametrize("release", ["1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0"])
def test_wide_ids_fill_their_width(make: Make, converse: Converse, release: str) -> None:
    """On the other layouts ids are drawn from all of the header's bits."""
    server, client = ready_pair(make, converse, release)
    bits = 8 * RELEASES[release].layout.id_size
    for side in (server, client):
        drawn = [side.allocate_id(()) for _ in range(50)]
        assert len(set(drawn)) == 50
        assert 2 ** (bits - 8) < max(drawn) < 2**bits


def test_the_46_byte_wire_has_no_requests(make: Make, converse: Converse) -> None:
    """The paper format carries no request id: asking is a local error."""
    server, _ = ready_pair(make, converse, "1.0")
    with pytest.raises(LocalProtocolError, match="no request ids"):
        server.allocate_id(())


# Receiving


@with_ids
def test_a_ping_is_answered_and_kept_from_the_user(make: Make, converse: Converse, release: str) -> None:
    """A PING gets its PONG with the same id, both ways; the asking side hears of it once."""
    for near, far in (pair := ready_pair(make, converse, release), pair[::-1]):
        near.send_ping(0x1234)
        assert far.receive_data(taken(near), 0) == [PingsAnswered(1)]
        assert near.receive_data(taken(far), 0) == [Pong(0x1234)]
        assert far.data_to_send() == []


@both_roles
@with_ids
def test_other_system_messages_are_kept_from_the_user(make: Make, converse: Converse, release: str, role: Role) -> None:
    """HELLO, HELLO_ACK and INVALID_REQUEST after the handshake are refused; ERROR is told; users' messages pass."""
    pair = ready_pair(make, converse, release)
    side = pair[0] if role is SERVER else pair[1]
    layout = RELEASES[release].layout
    codes = (HELLO.code, 200, HELLO_ACK.code, INVALID_REQUEST.code, ERROR.code, PONG.code, PING.code, 201)
    events = side.receive_data(b"".join(framed(layout, code, b"x" if code > 1 else b"") for code in codes), 0)
    assert [
        event.code if isinstance(event, FrameRejected) else event.type.code if isinstance(event, Response) else type(event)
        for event in events
    ] == [
        PingsAnswered,
        HELLO.code,
        200,
        HELLO_ACK.code,
        INVALID_REQUEST.code,
        RequestFailed,
        Pong,
        201,
    ]
    assert layout.unpack(taken(side)).code == PONG.code


@both_roles
@with_ids
@pytest.mark.parametrize("code", [2, 12, 100, 150, 199])
def test_unknown_system_codes_never_reach_the_user(make: Make, converse: Converse, release: str, role: Role, code: int) -> None:
    """Even an open registry makes no type of a reserved code."""
    pair = ready_pair(make, converse, release)
    side = pair[0] if role is SERVER else pair[1]
    assert side.receive_data(framed(RELEASES[release].layout, code, b"x"), 0) == [FrameRejected(RejectReason.UNKNOWN_TYPE, code)]


@pytest.mark.parametrize(
    ("release", "told"), [("1.3.0", True), ("1.6.3", True), ("1.7.5", True), ("1.9.0", True), ("2.0.3", False), ("3.3.0", False)]
)
def test_a_failure_is_told_where_there_is_a_word_for_it(make: Make, converse: Converse, release: str, told: bool) -> None:
    """Up to 1.9.0 a failed request gets an ERROR with its id; later releases have none, and nothing is sent."""
    server, client = ready_pair(make, converse, release)
    assert server.reply_error(9) is told
    events = client.receive_data(taken(server), 0)
    assert events == ([RequestFailed(9, b"")] if told else [])


@both_roles
@every_release
def test_a_frame_over_the_limit_closes(make: Make, converse: Converse, release: str, role: Role) -> None:
    """What came before it is delivered, then the connection has failed and nothing more is read."""
    pair = ready_pair(make, converse, release, max_message_size=1000)
    side = pair[0] if role is SERVER else pair[1]
    layout = RELEASES[release].layout
    events = side.receive_data(framed(layout, 200, b"before") + framed(layout, 200, bytes(1000)) + framed(layout, 200, b"after"), 0)
    assert [type(event) for event in events] == [Response, ConnectionFailed]
    assert isinstance(events[-1], ConnectionFailed)
    assert isinstance(events[-1].error, FrameTooLarge)
    assert side.state is State.FAILED
    assert side.receive_data(framed(layout, 200, b"later"), 0) == []


@both_roles
@every_release
def test_too_many_strikes_close(make: Make, converse: Converse, release: str, role: Role) -> None:
    """Frames with bad checksums are counted over the whole connection; at the limit it has failed."""
    pair = ready_pair(make, converse, release, limits=Limits(protocol_errors=3))
    side = pair[0] if role is SERVER else pair[1]
    layout = RELEASES[release].layout
    bad = framed(layout, 200, b"good")[:-1] + b"!"
    for _ in range(2):
        assert side.receive_data(bad + framed(layout, 300, b"fine"), 0)[0] == FrameRejected(RejectReason.BAD_CHECKSUM, 200)
    events = side.receive_data(bad, 0)
    assert events[0] == FrameRejected(RejectReason.BAD_CHECKSUM, 200)
    assert isinstance(events[1], ConnectionFailed)
    assert isinstance(events[1].error, TooManyProtocolErrors)
    assert events[1].error.count == 3
    assert side.state is State.FAILED


def test_unknown_types_are_no_strikes(make: Make, converse: Converse) -> None:
    """A peer may send any number of messages of types that are not known here."""
    server, _ = ready_pair(make, converse, "3.3.0", limits=Limits(protocol_errors=1), types=MessageRegistry())
    events = server.receive_data(framed(W15, 777) * 1000, 0)
    assert events == [FrameRejected(RejectReason.UNKNOWN_TYPE, 777)] * 1000
    assert server.state is State.READY


def test_nothing_behind_the_last_strike_is_delivered(make: Make, converse: Converse) -> None:
    """The strike that closes ends the stream there and then, however the bytes were cut into reads."""
    server, _ = ready_pair(make, converse, "3.3.0", limits=Limits(protocol_errors=2))
    bad = framed(W15, 200, b"good")[:-1] + b"!"
    events = server.receive_data(bad + bad + framed(W15, 200, b"behind"), 0)
    assert not any(isinstance(event, Response) for event in events)


def test_a_clock_of_169_is_the_uptime(make: Make, converse: Converse) -> None:
    """A peer of 1.6.9 gets the uptime in its headers, one of 1.6.8 on the same server the calendar."""
    for client_release, ms in (("1.6.9", UPTIME_MS), ("1.6.8", CALENDAR_MS), ("1.6.6", CALENDAR_MS)):
        server, client = make(SERVER, "1.6.6"), make(CLIENT, client_release)
        converse(server, client)
        server.send(CHAT, b"")
        assert W22.unpack(taken(server)).timestamp == ms


# The whole of it, in pieces


def session_bytes(make: Make, converse: Converse, release: str, messages: list[bytes]) -> tuple[bytes, bytes]:
    """What a client says in a session that opens with a handshake, and the server's words that made it say so."""
    server, client = make(SERVER, release), make(CLIENT, release)
    said = b""
    for side in (server, client):
        side.start()
    for _ in range(3):
        client.receive_data(taken(server), 0)
        heard = taken(client)
        said += heard
        server.receive_data(heard, 0)
    for content in messages:
        client.send(CHAT, content, 1 if RELEASES[release].layout.id_size else 0)
    return said, said + taken(client)


@pytest.mark.parametrize("release", ["1.0", "1.3.0", "1.6.1", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "3.3.0"])
def test_a_session_is_the_same_for_every_split(make: Make, converse: Converse, release: str) -> None:
    """Handshake and 40 messages of up to 70000 bytes: every cut in the first 600 bytes and 60 random choppings are equal."""
    dice = Random(release)
    sizes = [0, 1, 13, 4095, 4096, 4097, 70_000] + [int(2 ** dice.uniform(0, 13)) for _ in range(33)]
    dice.shuffle(sizes)
    messages = [dice.randbytes(size) for size in sizes]
    handshake, said = session_bytes(make, converse, release, messages)
    choppings: list[list[int]] = [[cut] for cut in range(600)]
    choppings += [sorted(dice.sample(range(len(said)), dice.choice([3, 30, 300]))) for _ in range(60)]
    choppings.append(list(range(len(handshake) + 40)))
    expected = None
    for cuts in choppings:
        server = make(SERVER, release)
        events = list(server.start())
        for chunk in chopped(said, cuts):
            events += server.receive_data(chunk, 0)
        result = seen(events)
        if expected is None:
            assert isinstance(result[0], HandshakeCompleted)
            assert [event[1] for event in result[1:]] == messages
            expected = result
        assert result == expected


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Role, str | None, bytes]:
    """A role, a release or none, and bytes between nonsense and what a peer would say."""
    role = draw(st.sampled_from(Role))
    release = draw(st.sampled_from([None, *ALL]))
    layout = RELEASES[release].layout if release else draw(st.sampled_from([W15, W22, W62]))
    version = (RELEASES[release].announces if release else "1.6.6").encode()
    hello = len(version).to_bytes(2, "big") + version
    text = b'{"v": "%s", "pv": "1.0", "meta": {}, "result": "ok"}' % (version or b"3.3.0")
    opening = st.one_of(
        st.just(b""),
        st.binary(max_size=100),
        st.just(framed(layout, 10 if role is CLIENT else 11, hello)),
        st.integers(1, 2).map(lambda times: (len(text).to_bytes(2, "big") + text) * times),
        st.sampled_from([b'{"error": "full"}', b"[1]", b"[" * 60, b'{"v": 1}', b"\xff", b"{}"]).map(
            lambda t: len(t).to_bytes(2, "big") + t
        ),
    )
    body = st.one_of(
        st.binary(max_size=60),
        st.tuples(st.sampled_from([0, 1, 10, 11, 20, 21, 100, 200, 201, 65535]), st.binary(max_size=40), st.integers(0, 65535)).map(
            lambda each: framed(layout, *each)
        ),
        st.binary(min_size=1, max_size=40).map(lambda content: framed(layout, 200, content)[:-1] + bytes([content[-1] ^ 1])),
        st.just(framed(layout, 200, bytes(2000))),
    )
    return role, release, draw(opening) + b"".join(draw(st.lists(body, max_size=6)))


def replies(side: VeltixConnection, chunks: Iterable[bytes], *, awake: bool) -> Iterator[Any]:
    """What a connection does for the chunks: events and bytes, each event that is not a message as itself."""
    yield from seen(side.start())
    if awake and side.next_timeout is not None:
        side.handle_timeout()
    for chunk in chunks:
        yield from seen(side.receive_data(chunk, 0))


@settings(max_examples=500, deadline=None)
@given(conversation=conversations(), cuts=st.lists(st.integers(0, 3000), max_size=8), awake=st.booleans())
def test_any_bytes_are_events_whatever_the_chunking(
    make: Make, conversation: tuple[Role, str | None, bytes], cuts: list[int], awake: bool
) -> None:
    """In both roles, for each release and none, bytes are events, or ConnectionFailed as the last, the same however they arrive."""
    role, release, data = conversation
    options: dict[str, Any] = {"max_message_size": 1500, "types": MessageRegistry(open=True)}
    whole, parts = make(role, release, **options), make(role, release, **options)
    # Fixed dice: a server's HELLO then carries the id 5 that the conversation answers with.
    for side in (whole, parts):
        side._handshake._getrandbits = lambda bits: 5
    expected = list(replies(whole, [data] if data else [], awake=awake))
    events = list(replies(parts, (chunk for chunk in chopped(data, cuts) if chunk), awake=awake))
    pings = [sum(event.count for event in each if isinstance(event, PingsAnswered)) for each in (events, expected)]
    assert pings[0] == pings[1]
    events, expected = ([event for event in each if not isinstance(event, PingsAnswered)] for each in (events, expected))
    assert events == expected
    assert (parts.state, taken(parts)) == (whole.state, taken(whole))
    assert sum(isinstance(event, str) for event in events) == (parts.state is State.FAILED)
    assert parts._decoder is None or parts._decoder.buffered_size <= 1500


@settings(max_examples=300, deadline=None)
@given(role=st.sampled_from(Role), release=st.sampled_from([None, *ALL]), data=st.binary(max_size=400))
def test_noise_is_never_an_exception(make: Make, role: Role, release: str | None, data: bytes) -> None:
    """Pure noise, one byte at a time: events, or a RemoteProtocolError in a ConnectionFailed, and then silence."""
    side = make(role, release, max_message_size=300)
    side.start()
    failed = False
    for at in range(len(data)):
        for event in side.receive_data(data[at : at + 1], 0):
            assert not failed
            failed = isinstance(event, ConnectionFailed)
            assert not isinstance(event, ConnectionFailed) or isinstance(event.error, RemoteProtocolError)
        assert side._handshake is None or len(side._handshake._buffer) <= 65537
        assert side._decoder is None or side._decoder.buffered_size <= 300
    assert failed == (side.state is State.FAILED)
