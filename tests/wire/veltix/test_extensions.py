"""What two of this package agree on in the JSON handshake: who does, the frozen bytes of a failed request, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.errors import InvalidContent, LocalProtocolError
from veltix_tx.wire.contents import MAX_DEPTH
from veltix_tx.wire.events import ConnectionFailed, Event, FrameRejected, HandshakeCompleted, RejectReason, RequestFailed
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import (
    EXTENSION_TYPES,
    FAILED,
    RESUME,
    ROOM,
    ROOM_LEFT,
    ROOM_POSITION,
    SYSTEM_TYPES,
    MessageRegistry,
    MessageType,
    Response,
)
from veltix_tx.wire.rooms import (
    RESUMES,
    ROOMS,
    Presented,
    decode_resume,
    decode_room_content,
    decode_room_left,
    decode_room_position,
    encode_room,
)
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.extensions import ERRORS, MAX_DETAILS_SIZE, MAX_ERROR_SIZE, RPC, decode_error, encode_error
from veltix_tx.wire.veltix.layouts import W15, W22
from veltix_tx.wire.veltix.releases import RELEASES, SUPERSET
from veltix_tx.wire.veltix.request_ids import CLIENT_IDS, PLAIN_IDS, SERVER_IDS

Make = Callable[..., VeltixConnection]
Converse = Callable[..., tuple[list[Event], list[Event]]]

SERVER, CLIENT = Role.SERVER, Role.CLIENT
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
NEW = [name for name, release in RELEASES.items() if release.layout is W15]
OPEN = (ERRORS, RPC)
"""What two agree on whose server lets everybody in."""
ERROR_CONTENT = b'{"code": "handler_failed", "message": "the handler failed"}'


@pytest.fixture(autouse=True, scope="module", params=codec.available())
def each_codec(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this module holds for every codec that is there."""
    before = codec.in_use()
    codec.use(request.param)
    yield
    codec.use(before)


def taken(connection: VeltixConnection) -> bytes:
    """All bytes a connection has to send."""
    return b"".join(connection.data_to_send())


def lengthed(message: object) -> bytes:
    """One message of the JSON handshake."""
    text = json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


def met(make: Make, converse: Converse, server: str | None = None, client: str | None = None, **options: Any) -> list[Any]:
    """A server and a client whose handshake is complete; each knows CHAT alone unless ``types`` says otherwise."""
    options = {"types": TYPES} | options
    pair = [make(SERVER, server, **options), make(CLIENT, client, **options)]
    converse(*pair)
    assert [side.state for side in pair] == [State.READY] * 2
    return pair


def features(pair: list[Any]) -> list[tuple[str, ...]]:
    """What each side thinks was agreed on."""
    return [side.peer.features for side in pair]


# Who agrees


def test_the_handshake_and_a_failed_request_are_these_bytes(make: Make) -> None:
    """The frozen conversation between two that find out: both hellos, the result, a request on 15 bytes and its failure."""
    server, client = make(SERVER, types=TYPES), make(CLIENT, types=TYPES)
    server.start(), client.start()
    hello = bytes.fromhex("006c") + (
        b'{"v": "2.0.0", "pv": "1.0", "meta": {"id_window": 30000, "layouts": ["W22"], "features": ["errors", "rpc"]}}'
    )
    answer = bytes.fromhex("0044") + b'{"v": "2.0.0", "pv": "1.0", "meta": {"features": ["errors", "rpc"]}}'
    assert taken(server) == hello
    client.receive_data(hello, 0)
    assert taken(client) == answer
    assert isinstance(server.receive_data(answer, 0)[0], HandshakeCompleted)
    result = taken(server)
    assert result == bytes.fromhex("0010") + b'{"result": "ok"}'
    assert isinstance(client.receive_data(result, 0)[0], HandshakeCompleted)
    client.send(CHAT, b"?", client.allocate_id(()))
    request = bytes.fromhex("5658 00 00c8 00000001 6464c2b0 0000 3f".replace(" ", ""))
    assert taken(client) == request
    (message,) = server.receive_data(request, 0)
    assert isinstance(message, Response)
    assert server.reply_error(message.request_id) is True
    failed = bytes.fromhex("5658 00 0064 0000003b 9562a069 0000".replace(" ", "")) + ERROR_CONTENT
    assert taken(server) == failed
    assert client.receive_data(failed, 0) == [RequestFailed(0, ERROR_CONTENT, "handler_failed", "the handler failed")]


@pytest.mark.parametrize("release", NEW)
def test_a_pinned_side_agrees_on_nothing(make: Make, converse: Converse, release: str) -> None:
    """Pinned sides say their release's hello to the byte, and then there is nothing to agree on, whatever the other side is."""
    assert features(met(make, converse, release, release)) == [(), ()]
    assert features(met(make, converse, release, None)) == [(), ()]
    if RELEASES[release].accepts(SUPERSET.announces, SUPERSET.protocol):
        assert features(met(make, converse, None, release)) == [(), ()]
    server = make(SERVER, release)
    server.start()
    assert taken(server) == lengthed({**RELEASES[release].hello, "meta": dict(RELEASES[release].meta)})


def test_two_that_find_out_agree(make: Make, converse: Converse) -> None:
    """Both find out: both know, with long headers, too."""
    assert features(met(make, converse)) == [OPEN, OPEN]
    server, client = make(SERVER, types=TYPES), make(CLIENT, types=TYPES, long_headers=True)
    converse(server, client)
    assert features([server, client]) == [OPEN, OPEN]
    assert server.peer is not None
    assert server.peer.layout is W22


def test_a_server_over_tls_agrees_as_one_that_finds_out(make: Make, converse: Converse) -> None:
    """A server that says the one hello for all of 2.x and 3.x, as one over TLS does, offers what the auto port offers."""
    server = VeltixConnection(
        *(SERVER, SUPERSET), calendar_ms=lambda: 0, uptime_ms=lambda: 0, getrandbits=lambda bits: 1, types=TYPES
    )
    client = make(CLIENT, types=TYPES)
    converse(server, client)
    assert features([server, client]) == [OPEN, OPEN]


def test_a_registry_with_system_codes_agrees_on_nothing(make: Make, converse: Converse) -> None:
    """Where a program may have a type 100 of its own, as the drop-in's may, that code keeps the program's meaning."""
    own = MessageRegistry(codes=range(65536))
    hundred = MessageType(100, "mine", registry=own)
    for server, client in ((own, own), (own, TYPES), (TYPES, own)):
        pair = [make(SERVER, types=server), make(CLIENT, types=client)]
        converse(*pair)
        assert features(pair) == [(), ()]
    pair = met(make, converse, types=own)
    pair[0].send(hundred, b"hello", 5)
    (message,) = pair[1].receive_data(taken(pair[0]), 0)
    assert (message.type, message.content) == (hundred, b"hello")


@pytest.mark.parametrize("said", [None, "errors", {"errors": 1}, [], ["other"], [["errors"]], [None, 5], 5, {}])
def test_what_is_no_list_with_a_known_feature_agrees_on_nothing(make: Make, said: object) -> None:
    """An offer or an answer that is anything else leaves the connection as a real peer's is, and is no error."""
    client = make(CLIENT, types=TYPES)
    client.start()
    client.receive_data(lengthed({"v": "2.0.0", "pv": "1.0", "meta": {"features": said}}), 0)
    assert json.loads(taken(client)[2:])["meta"] == {}
    client.receive_data(lengthed({"result": "ok"}), 0)
    server = make(SERVER, types=TYPES)
    server.start()
    server.receive_data(lengthed({"v": "3.3.0", "pv": "1.0", "meta": {"features": said}}), 0)
    assert features([server, client]) == [(), ()]


def test_unknown_features_are_passed_over(make: Make) -> None:
    """Of what later versions of this package may say, each side takes what it knows."""
    client = make(CLIENT, types=TYPES)
    client.start()
    client.receive_data(lengthed({"v": "2.0.0", "pv": "1.0", "meta": {"features": ["zstd", "errors", 5]}}), 0)
    assert json.loads(taken(client)[2:])["meta"] == {"features": ["errors"]}
    server = make(SERVER, types=TYPES)
    server.start()
    server.receive_data(lengthed({"v": "2.0.0", "pv": "1.0", "meta": {"features": ["errors", "zstd"]}}), 0)
    assert features([server]) == [(ERRORS,)]


def test_peers_that_agreed_on_the_same_share_an_object(make: Make, converse: Converse) -> None:
    """A connection keeps no peer of its own: those that said the same are one object, those that said anything else are not."""
    peers = [met(make, converse)[0].peer for _ in range(3)]
    assert peers[0] is peers[1] is peers[2]
    assert met(make, converse, None, "3.3.0")[0].peer is not peers[0]
    others = []
    for extra in ("a", "b"):
        server = make(SERVER, types=TYPES)
        server.start()
        server.receive_data(lengthed({"v": "2.0.0", "pv": "1.0", "meta": {"features": ["errors"], "extra": extra}}), 0)
        others.append(server.peer)
    assert [peer.meta["extra"] for peer in others if peer is not None] == ["a", "b"]


# The frame


def test_its_code_is_known_to_no_registry() -> None:
    """The codes of extensions are system codes that no registry knows: only a connection that agreed looks them up."""
    assert EXTENSION_TYPES[100] is FAILED
    for code in EXTENSION_TYPES:
        assert code not in SYSTEM_TYPES
        assert TYPES.get(code) is None
        assert MessageRegistry(open=True).get(code) is None
        assert MessageRegistry(codes=range(65536)).get(code) is None


@pytest.mark.parametrize("release", NEW)
def test_without_an_agreement_it_is_an_unknown_type(make: Make, converse: Converse, release: str) -> None:
    """To and from a peer that did not agree nothing is different from what it was: nothing is sent, and 100 is unknown."""
    server, client = met(make, converse, release, release)
    for side in (server, client):
        assert side.reply_error(5) is False
        assert taken(side) == b""
        frame = W15.pack(100, ERROR_CONTENT, 5, 0) + ERROR_CONTENT
        assert side.receive_data(frame, 0) == [FrameRejected(RejectReason.UNKNOWN_TYPE, 100)]


def test_releases_with_error_are_sent_error(make: Make, converse: Converse) -> None:
    """Peers up to 1.9.0 get the ERROR that they know, whatever the code and the message."""
    for release in ("1.3.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0"):
        server, client = met(make, converse, release, release)
        assert server.reply_error(5, "no_route", "type 200 has no route") is True
        assert client.receive_data(taken(server), 0) == [RequestFailed(5, b"")]


@pytest.mark.parametrize("which", [0, 1])
def test_either_side_tells_the_other(make: Make, converse: Converse, which: int) -> None:
    """A server's request may fail as well as a client's."""
    pair = met(make, converse)
    teller, asker = pair[which], pair[1 - which]
    assert teller.reply_error(9, "no_route", "type 200 has no route")
    (declined,) = asker.receive_data(taken(teller), 0)
    assert (declined.request_id, declined.code, declined.message) == (9, "no_route", "type 200 has no route")


def test_an_id_that_asks_nothing_is_not_answered(make: Make, converse: Converse) -> None:
    """On 16-bit ids the last of each half are plain messages': nobody waits, so that nothing is sent."""
    assert PLAIN_IDS == (CLIENT_IDS.stop, SERVER_IDS.stop) == (0x7FFF, 0xFFFF)
    for side in met(make, converse):
        for request_id in PLAIN_IDS:
            assert side.reply_error(request_id) is False
        assert taken(side) == b""
        assert side.reply_error(PLAIN_IDS[0] - 1) is True


def test_a_closed_connection_tells_nobody(make: Make, converse: Converse) -> None:
    """After the end it is an error of this side, as every other send is."""
    for side in met(make, converse):
        side.connection_lost()
        with pytest.raises(LocalProtocolError):
            side.reply_error(5)


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"text"',
    b"{}",
    b'{"code": "x"}',
    b'{"message": "x"}',
    b'{"code": 5, "message": "x"}',
    b'{"code": "x", "message": null}',
    b'{"code": "x", "message": ["x"]}',
    b'{"code": "", "message": "x"}',
    b'{"code": "Upper", "message": "x"}',
    b'{"code": "a b", "message": "x"}',
    b'{"code": "a\\n", "message": "x"}',
    b'{"code": "' + b"x" * 33 + b'", "message": "x"}',
    b'{"code": "x", "message": "\\ud800"}',
    b'{"code": "x", "message": "\xff"}',
    b'{"code": "x", "message": "x", "details": {"a": ["\\ud800"]}}',
    b'{"code": "x", "message": "x", "details": NaN}',
    b'{"code": "x", "message": "x", "details": ' + b"[" * 1900 + b"]" * 1900 + b"}",
    '{"code": "x", "message": "x"}'.encode("utf-16"),
    '{"code": "x", "message": "x"}'.encode("utf-8-sig"),
    b"[" * 4000,
    b'{"a":' * 800,
    b'{"code": "x", "message": "' + b"x" * MAX_ERROR_SIZE + b'"}',
    bytes(range(256)),
]


@pytest.mark.parametrize("content", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_one_is_refused(make: Make, converse: Converse, content: bytes) -> None:
    """A FAILED whose content is not the object agreed on, or too long, is a refused frame; the connection goes on."""
    for side in met(make, converse):
        frames = W15.pack(100, content, 5, 0) + content + W15.pack(200, b"next", 6, 0) + b"next"
        refused, message = side.receive_data(frames, 0)
        assert refused == FrameRejected(RejectReason.MALFORMED, 100)
        assert message.content == b"next"


def test_unknown_keys_are_ignored(make: Make, converse: Converse) -> None:
    """Later versions may say more, and use other codes."""
    content = b'{"details": {"retry_after": 5}, "message": "\\u00e9\\n", "code": "rate_limited", "code2": null}'
    _, client = met(make, converse)
    (declined,) = client.receive_data(W15.pack(100, content, 5, 0) + content, 0)
    assert declined == RequestFailed(5, content, "rate_limited", "é\n", {"retry_after": 5})


def test_the_content_is_the_same_for_every_split(make: Make, converse: Converse) -> None:
    """However the frame is cut into reads, it says the same once it is whole."""
    frame = W15.pack(100, ERROR_CONTENT, 5, 0) + ERROR_CONTENT
    for cut in range(1, len(frame)):
        _, client = met(make, converse)
        assert client.receive_data(frame[:cut], 0) == []
        assert client.receive_data(frame[cut:], 0) == [RequestFailed(5, ERROR_CONTENT, "handler_failed", "the handler failed")]


DETAILS = [None, 0, "", [], {"left": 0, "names": ["é", None, 1.5]}, "x" * (MAX_DETAILS_SIZE - 2)]


@given(message=st.text(max_size=5000) | st.sampled_from(["\0" * 9000, "😀" * 9000, "x" * 4096]), details=st.sampled_from(DETAILS))
def test_what_one_side_says_the_other_understands(message: str, details: object) -> None:
    """Any message arrives, from its beginning on, and any details that are not too long, in a content that is not too long."""
    content = encode_error("handler_failed", message, details)
    assert len(content) <= MAX_ERROR_SIZE
    decoded = decode_error(content)
    assert decoded is not None
    code, arrived, added = decoded
    assert (code, message.startswith(arrived), added) == ("handler_failed", True, details)
    assert arrived == message or len(content) > MAX_ERROR_SIZE // 2


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_details_that_are_nested_too_deep_are_left_out(opened: str, closed: str) -> None:
    """What is sent is what every Python takes, and what is deeper than that is malformed, whatever this one would take."""

    def nested(depth: int) -> str:
        return opened * depth + "1" + closed * depth

    for depth, kept in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        details = json.loads(nested(depth))
        assert decode_error(encode_error("sold_out", "no pens", details)) == ("sold_out", "no pens", details if kept else None)
        came = f'{{"code": "x", "message": "[[", "details": {nested(depth)}}}'.encode()
        assert (decode_error(came) is not None) is kept


def test_details_that_are_too_long_are_left_out() -> None:
    """The message arrives all the same."""
    assert decode_error(encode_error("sold_out", "no pens", "x" * (MAX_DETAILS_SIZE - 1))) == ("sold_out", "no pens", None)
    assert decode_error(encode_error("sold_out", "no pens", "é" * 400)) == ("sold_out", "no pens", None)


def test_a_message_with_half_a_character_arrives() -> None:
    """What no peer would take is replaced, so that the asker hears of its failure at all."""
    assert decode_error(encode_error("sold_out", "no \ud800 pens")) == ("sold_out", "no ? pens", None)


@given(content=st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(lambda each: json.dumps(each).encode()))
def test_any_content_is_understood_or_refused(content: bytes) -> None:
    """Nothing a peer says raises."""
    decoded = decode_error(content)
    assert decoded is None or all(isinstance(part, str) for part in decoded[:2])


def test_many_malformed_ones_do_not_fail_the_wire(make: Make, converse: Converse) -> None:
    """The wire counts them and goes on; how many are too many is decided above it, as for unknown types."""
    _, client = met(make, converse)
    events = client.receive_data((W15.pack(100, b"!", 5, 0) + b"!") * 1000, 0)
    assert events == [FrameRejected(RejectReason.MALFORMED, 100)] * 1000
    assert not any(isinstance(event, ConnectionFailed) for event in events)
    assert client.state is State.READY


# Rooms


def test_rooms_are_agreed_on_where_both_floors_above_want_them(make: Make, converse: Converse) -> None:
    """A side offers and wants ``rooms`` and ``resume`` only where the floors above it do, and either may do without."""
    both = (ROOMS, RESUMES)
    for server, client, agreed in ((both, both, both), (both, (ROOMS,), (ROOMS,)), (both, (), ()), ((), both, ())):
        pair = [make(SERVER, types=TYPES, wanted=server), make(CLIENT, types=TYPES, wanted=client)]
        converse(*pair)
        assert features(pair) == [(*OPEN, *agreed)] * 2


@pytest.mark.parametrize("name", NEW)
def test_a_pinned_release_is_told_nothing_of_rooms(name: str, make: Make, converse: Converse) -> None:
    """A real release sees upstream's bytes: nothing of rooms is agreed on with one that is pinned, in either role."""
    for pinned in (SERVER, CLIENT):
        releases = {SERVER: None, CLIENT: None} | {pinned: name}
        pair = [make(role, releases[role], types=TYPES, wanted=(ROOMS, RESUMES)) for role in (SERVER, CLIENT)]
        converse(*pair)
        assert features(pair) == [()] * 2


@pytest.mark.parametrize("message_type", [ROOM, ROOM_POSITION, ROOM_LEFT, RESUME])
def test_messages_of_rooms_are_given_to_the_floor_above(message_type: MessageType, make: Make, converse: Converse) -> None:
    """What is about rooms comes as a message where they were agreed on."""
    pair = [make(role, types=TYPES, wanted=(ROOMS, RESUMES)) for role in (SERVER, CLIENT)]
    converse(*pair)
    pair[0].send(message_type, b"content")
    events: list[Any] = pair[1].receive_data(taken(pair[0]), 0)
    assert [(event.type, event.content) for event in events] == [(message_type, b"content")]


@given(st.binary(max_size=64))
def test_no_content_of_rooms_raises_anything_else(content: bytes) -> None:
    """Whatever a peer sends about rooms is read, or is InvalidContent."""
    for decode in (decode_room_content, decode_room_position, decode_room_left, decode_resume):
        with suppress(InvalidContent):
            decode(content)


def test_fields_of_a_later_version_are_ignored() -> None:
    """A field added behind those known changes nothing, and one with a default may be missing."""
    assert decode_room_position(encode_room(["room", "e", 1, "m", "why", "more"])).gap == "why"
    assert decode_room_position(encode_room(["room", "e", 1, "m"])).gap == ""
    assert decode_resume(encode_room([["room", "e", 1, "m", 5]])) == [Presented("room", "e", 1, "m")]


def test_names_and_places_of_rooms_are_bounded() -> None:
    """What a peer may have the other side keep of a room is no longer than its rules say, and no offset is below 0."""
    for wrong in (["r" * 257, "e", 1, "m"], ["r", "e" * 129, 1, "m"], ["r", "e", -1, "m"], ["r", "e", 1, "m" * 129]):
        with pytest.raises(InvalidContent):
            decode_room_position(encode_room(wrong))
        with pytest.raises(InvalidContent):
            decode_resume(encode_room([wrong]))
