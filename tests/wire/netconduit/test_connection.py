"""The connection: its handshake in both roles, messages, heartbeat, calls, and what a peer may not do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack

from tests.support.netconduit import (
    COMPRESSED,
    HASH,
    LOGIN,
    NOW_MS,
    PASSWORD,
    RECEIVED_MS,
    connection,
    frame,
    frames_in,
    ready,
    sent,
)
from veltix_tx.errors import (
    AuthenticationFailed,
    EarlyMessage,
    FrameTooLarge,
    HandshakeError,
    InvalidContent,
    LocalProtocolError,
    MalformedFrame,
    MalformedHello,
    MessageTooLarge,
    NotReady,
    ServerFull,
    SettingsError,
    TooManyRequests,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    FrameRejected,
    HandshakeCompleted,
    PingsAnswered,
    Pong,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import CALL, RESULT, MessageRegistry, MessageType, Response
from veltix_tx.wire.netconduit.connection import SERVER_FULL, NetconduitConnection
from veltix_tx.wire.netconduit.peer import NetconduitCredentials
from veltix_tx.wire.netconduit.rpc import NetconduitRpc
from veltix_tx.wire.netconduit.states import STATES, State, Trigger
from veltix_tx.wire.netconduit.wire import SETTLE, Netconduit

from .conftest import Feed

CHAT = MessageType(name="chat", registry=MessageRegistry())

MESSAGE, REQUEST, ANSWER, ERROR, PING, PONG = 1, 2, 3, 4, 5, 6


def started(role: Role, **settings: Any) -> Any:
    """Return a connection that has begun."""
    made = connection(role, **settings)
    assert made.start() == []
    return made


# The handshake.


def test_a_server_says_nothing_first() -> None:
    """A server waits for its client's word, without a timer of the wire's own."""
    server = started(Role.SERVER)
    assert (server.data_to_send(), server.next_timeout, server.peer) == ([], None, None)


def test_a_client_says_its_passwords_hash_in_one_write() -> None:
    """A client's AUTH_REQUEST is one buffer: a real server reads it with one read."""
    client = started(Role.CLIENT)
    (buffer,) = client.data_to_send()
    ((kind, flags, correlation, payload),) = frames_in(buffer)
    assert (kind, flags, correlation, payload["password_hash"]) == (7, 0, 0, HASH)
    assert list(payload) == ["password_hash", "client_info"]


def test_auth_success_travels_alone_to_a_real_client(feed: Feed) -> None:
    """Until a real client has said something or some time has passed, nothing follows its AUTH_SUCCESS."""
    server = started(Role.SERVER)
    assert feed(server, LOGIN) == []
    ((kind, _, _, payload),) = sent(server)
    assert (kind, len(payload["session_token"]), list(payload["server_info"])) == (8, 128, ["name", "version"])
    assert (server.next_timeout, server.peer) == (SETTLE, None)
    with pytest.raises(NotReady):
        server.send(CHAT, 1)

    (completed,) = server.handle_timeout()
    assert isinstance(completed, HandshakeCompleted)
    assert (completed.peer.wire, completed.peer.version, server.next_timeout) == ("netconduit", "9", None)
    server.send(CHAT, 1)
    assert server.handle_timeout() == []


def test_a_clients_first_frame_completes_the_handshake(feed: Feed) -> None:
    """A frame of the client says that it has read its AUTH_SUCCESS: it is taken, and answered, at once."""
    server = started(Role.SERVER)
    feed(server, LOGIN)
    completed, message = feed(server, frame(MESSAGE, {"type": "chat", "data": 1}))
    assert isinstance(completed, HandshakeCompleted)
    assert message.value == 1  # type: ignore[union-attr]
    assert server.next_timeout is None


def test_a_pipelining_client_is_served(feed: Feed) -> None:
    """Frames behind AUTH_REQUEST in the same bytes are taken."""
    server = started(Role.SERVER)
    first, *others = feed(server, LOGIN + frame(PING) + frame(MESSAGE, {"type": "chat", "data": 2}))
    assert isinstance(first, HandshakeCompleted)
    assert [type(event).__name__ for event in others] == ["PingsAnswered", "PackedMessage"]
    assert [kind for kind, *_ in sent(server)] == [8, PONG]


def test_the_wait_grows_with_the_round_trip() -> None:
    """A link with a delay has two round trips more for its AUTH_SUCCESS."""
    wire = Netconduit(PASSWORD)
    server = wire.connect(Role.SERVER, started(Role.SERVER)._context, round_trip=0.2, encrypted=False)
    server.start()
    server.receive_data(LOGIN, RECEIVED_MS)
    assert server.next_timeout == SETTLE + 0.4


def test_a_client_is_ready_with_auth_success(feed: Feed) -> None:
    """A client is ready with the server's word, and takes what follows in the same bytes."""
    client = started(Role.CLIENT)
    word = frame(8, {"session_token": "x", "server_info": {"name": "real", "version": "3"}, "more": [1]})
    completed, message = feed(client, word + frame(MESSAGE, {"type": "news", "data": None}))
    assert isinstance(completed, HandshakeCompleted)
    assert (client.peer.name, client.peer.version, client.peer.features) == ("real", "3", ())
    assert client.peer.session_token == "x"
    assert "'x'" not in repr(client.peer)
    assert message.value is None  # type: ignore[union-attr]


@pytest.mark.parametrize("info", [None, 5, "x", [], {}, {"name": 1, "version": [], "features": 2}, {"features": [{}, 1, "else"]}])
def test_what_a_peer_says_of_itself_may_be_anything(info: object, feed: Feed) -> None:
    """An info of any kind is taken, as real peers take it, and means nothing."""
    server = started(Role.SERVER)
    assert feed(server, frame(7, {"password_hash": HASH, "client_info": info})) == []
    (completed,) = server.handle_timeout()
    assert (completed.peer.name, completed.peer.version, completed.peer.features) == ("", "", ())


def test_what_is_kept_of_a_peers_words_is_bounded() -> None:
    """Of a name and a version 128 characters are kept."""
    server = started(Role.SERVER)
    server.receive_data(frame(7, {"password_hash": HASH, "client_info": {"name": "n" * 500, "version": "v" * 500}}), RECEIVED_MS)
    (completed,) = server.handle_timeout()
    assert (len(completed.peer.name), len(completed.peer.version)) == (128, 128)


@pytest.mark.parametrize("said", ["0" * 64, "", HASH.upper(), HASH[:-1], HASH + "0", "é" * 64])
def test_a_wrong_password_is_refused(said: str, feed: Feed) -> None:
    """Any other hash gets AUTH_FAILURE, ends the handshake, and nothing behind it is read."""
    server = started(Role.SERVER)
    (failed,) = feed(server, frame(7, {"password_hash": said}) + frame(MESSAGE, {"type": "chat", "data": 1}))
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, AuthenticationFailed)
    assert sent(server) == [(9, 0, 0, {"reason": "Invalid password"})]
    assert feed(server, LOGIN) == []
    assert said[:32] == "" or said[:32] not in str(failed.error)


def test_a_refused_client_says_so(feed: Feed) -> None:
    """A server's AUTH_FAILURE is AuthenticationFailed with its words, "server_full" ServerFull."""
    for reason, error in (("Invalid password", AuthenticationFailed), (None, AuthenticationFailed), (SERVER_FULL, ServerFull)):
        (failed,) = feed(started(Role.CLIENT), frame(9, {"reason": reason}))
        assert isinstance(failed, ConnectionFailed)
        assert type(failed.error) is error
        assert repr(reason) in str(failed.error)


def test_a_client_without_a_password_sends_nothing() -> None:
    """A client needs a password: it fails at once, saying how to give one."""
    client = connection(Role.CLIENT, password=None)
    (failed,) = client.start()
    assert isinstance(failed.error, AuthenticationFailed)
    assert "Netconduit(password=...)" in str(failed.error)
    assert client.data_to_send() == []


def test_without_a_password_the_local_side_judges(feed: Feed) -> None:
    """A server without a password asks for a verdict on the hash; accepted, the client is let in."""
    server = started(Role.SERVER, password=None)
    (asked,) = feed(server, LOGIN)
    assert isinstance(asked, AuthenticationRequested)
    assert asked.credentials == NetconduitCredentials(HASH, "real", "9")
    assert HASH not in repr(asked)
    assert (server.data_to_send(), server.peer, server.next_timeout) == ([], None, None)
    assert server.accept() == []
    assert [kind for kind, *_ in sent(server)] == [8]
    assert isinstance(server.handle_timeout()[0], HandshakeCompleted)
    with pytest.raises(LocalProtocolError):
        server.accept()


def test_a_rejected_client_is_told() -> None:
    """Rejected, the client gets the AUTH_FAILURE of a real server, and is read no more."""
    server = started(Role.SERVER, password=None)
    server.receive_data(LOGIN, RECEIVED_MS)
    server.reject()
    assert sent(server) == [(9, 0, 0, {"reason": "Invalid password"})]
    assert server.receive_data(LOGIN, RECEIVED_MS) == []
    for verdict in (server.accept, server.reject):
        with pytest.raises(LocalProtocolError):
            verdict()


def test_nothing_may_come_before_the_verdict(feed: Feed) -> None:
    """A frame that comes while the verdict is pending ends the connection."""
    server = started(Role.SERVER, password=None)
    *_, failed = feed(server, LOGIN + frame(MESSAGE, {"type": "chat", "data": 1}))
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, EarlyMessage)


def test_two_of_this_package_agree_and_do_not_wait() -> None:
    """A client of this package says what it can; the server agrees, and follows its AUTH_SUCCESS at once."""
    server, client = started(Role.SERVER), started(Role.CLIENT)
    (completed,) = server.receive_data(b"".join(client.data_to_send()), RECEIVED_MS)
    server.send(CHAT, "at once")
    events = client.receive_data(b"".join(server.data_to_send()), RECEIVED_MS)
    assert [type(event).__name__ for event in events] == ["HandshakeCompleted", "PackedMessage"]
    assert completed.peer.features == client.peer.features == ("bare-results",)


TALK = frame(MESSAGE, {"type": "chat", "data": 1})
EARLY = [
    *((Role.SERVER, each) for each in (TALK, frame(PING), frame(8, {}), frame(9, {}), frame(0x10))),
    *((Role.CLIENT, each) for each in (TALK, frame(REQUEST, {}), frame(PONG), LOGIN)),
]


@pytest.mark.parametrize(("role", "data"), EARLY)
def test_other_frames_may_not_come_first(role: Role, data: bytes, feed: Feed) -> None:
    """A frame that is not the handshake's next one ends the connection, and is not answered."""
    made = started(role)
    made.data_to_send()
    (failed,) = feed(made, data)
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, EarlyMessage)
    assert made.data_to_send() == []


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\n", "netconduit: the magic of a frame is b'GET '"),
        (b"\x00\x01\x02\x03", "the magic"),
        (b"CNDT\x01\x01" + bytes(26), "the version of a frame is 257: it must be 256"),
        (b"CNDT\x01\x00\x00\x63" + bytes(24), "the type of a frame is 99: it must be from 1 to 16"),
    ],
)
def test_another_protocol_is_told(role: Role, data: bytes, says: str, feed: Feed) -> None:
    """Bytes of another protocol end the handshake with what is wrong with them."""
    (failed,) = feed(started(role), data)
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, MalformedHello)
    assert str(failed.error).startswith(f"the {'client' if role is Role.SERVER else 'server'} does not speak netconduit: ")
    assert says in str(failed.error)


def test_http_is_named(feed: Feed) -> None:
    """A request of HTTP is named."""
    (failed,) = feed(started(Role.SERVER), b"GET / HTTP/1.1\r\n")
    assert "looks like HTTP" in str(failed.error)  # type: ignore[union-attr]


LOGINS = {
    "no map": frame(7, [1]),
    "nothing": frame(7),
    "no hash": frame(7, {"client_info": {}}),
    "no text": frame(7, {"password_hash": b"x" * 64}),
    "number": frame(7, {"password_hash": 5}),
    "int key": frame(7, {"password_hash": HASH, 5: 5}),
    "broken": frame(7, raw=b"\x82\xadpassword_hash\xd9\x40" + HASH.encode() + b"\xa1"),
    "trailing": frame(7, raw=msgpack.encode({"password_hash": HASH}) + b"\x00"),
    "deep": frame(7, raw=b"\x82\xadpassword_hash\xd9\x40" + HASH.encode() + b"\xabclient_info" + b"\x91" * 3000 + b"\xc0"),
}


@pytest.mark.parametrize("data", LOGINS.values(), ids=LOGINS)
def test_a_login_that_is_none_is_refused_without_quoting_it(data: bytes, feed: Feed) -> None:
    """An AUTH_REQUEST that cannot be read ends the handshake, and its error has nothing of the hash in it."""
    server = started(Role.SERVER)
    (failed,) = feed(server, data)
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, MalformedHello)
    assert HASH[:6] not in repr(failed.error) + str(failed.error)
    assert server.data_to_send() == []


def test_the_handshake_is_bounded(feed: Feed) -> None:
    """Before the password is checked a frame may have ``limits.json_hello_size`` bytes of payload, declared or inflated."""
    limits = Limits(json_hello_size=1000)
    fits = {"password_hash": HASH, "client_info": {"name": "n" * 800}}
    assert feed(started(Role.SERVER, limits=limits), frame(7, fits, flags=COMPRESSED)) == []
    big = {"password_hash": HASH, "client_info": {"name": "n" * 1000}}
    for role, kind, payload in ((Role.SERVER, 7, big), (Role.CLIENT, 8, {"server_info": {"name": "n" * 1000}})):
        (failed,) = feed(started(role, limits=limits), frame(kind, payload))
        assert isinstance(failed.error, FrameTooLarge)  # type: ignore[union-attr]
        (failed,) = feed(started(role, limits=limits), frame(kind, payload, flags=COMPRESSED))
        assert isinstance(failed.error, MalformedHello)  # type: ignore[union-attr]
        assert "at most 1000 bytes" in str(failed.error)  # type: ignore[union-attr]
        assert "x\\x9c" not in str(failed.error)  # type: ignore[union-attr]


def test_a_full_server_says_so() -> None:
    """A full server refuses with a reason of its own, which a client of this package tells from a wrong password."""
    server, client = connection(Role.SERVER), started(Role.CLIENT)
    server.refuse()
    (failed,) = client.receive_data(b"".join(server.data_to_send()), RECEIVED_MS)
    assert isinstance(failed.error, ServerFull)
    with pytest.raises(LocalProtocolError):
        connection(Role.CLIENT).refuse()
    with pytest.raises(LocalProtocolError):
        server.start()


# Messages.


VALUES = [None, True, 7, -1.5, "text", b"bytes", [1, [2]], {"k": {"deep": [None]}}, "x" * 70_000, b"y" * 200_000]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_message_comes_with_its_name_and_value(role: Role, value: object, feed: Feed) -> None:
    """A MESSAGE is a message of the type of its name: its content is its packed data, its value that unpacked."""
    made = ready(role)
    (message,) = feed(made, frame(MESSAGE, {"type": "chat", "data": value}))
    assert (message.type, message.value, message.content) == (CHAT, value, msgpack.encode(value))  # type: ignore[union-attr]
    assert (message.timestamp, message.received_at, message.latency) == (NOW_MS, RECEIVED_MS, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [None, "text", b"bytes", {"a": [1]}, b"y" * 200_000])
@pytest.mark.parametrize("role", Role)
def test_a_message_is_sent_by_its_types_name(role: Role, value: object) -> None:
    """The name of a type goes out, whatever its code; an answer has ``_response`` behind it, and no message an id."""
    made = ready(role)
    size = made.send(MessageType(201, "order", registry=MessageRegistry()), value)
    made.send(CHAT, value, 0)
    out = b"".join(made.data_to_send())
    assert frames_in(out) == [
        (MESSAGE, 0, 0, {"type": "order", "data": value}),
        (MESSAGE, 0, 0, {"type": "chat_response", "data": value}),
    ]
    assert size == out.index(b"CNDT", 1)


def test_a_long_value_is_not_copied_behind_its_header() -> None:
    """Of a long value the packed bytes are a buffer of their own."""
    buffers = ready(Role.SERVER).encode(CHAT, b"x" * 100_000)
    assert [len(each) > 1000 for each in buffers] == [False, True]


def test_what_is_encoded_once_is_sent_by_all_of_its_kind() -> None:
    """Connections with an equal key send the same buffers, be their peers real or of this package."""
    one, other = ready(Role.SERVER), ready(Role.SERVER)
    packing = ready(Role.SERVER, compress=True)
    assert one.encoding_key == other.encoding_key != packing.encoding_key
    other.send_encoded(one.encode(CHAT, {"a": 1}))
    assert sent(other) == [(MESSAGE, 0, 0, {"type": "chat", "data": {"a": 1}})]


def test_a_type_that_is_not_known_is_refused_by_its_name(feed: Feed) -> None:
    """A message of an unknown type is dropped, named; the next one is taken."""
    types = MessageRegistry()
    MessageType(name="chat", registry=types)
    made = ready(Role.SERVER, types=types)
    refused, taken = feed(made, frame(MESSAGE, {"type": "else", "data": 1}) + frame(MESSAGE, {"type": "chat", "data": 1}))
    assert refused == FrameRejected(RejectReason.UNKNOWN_TYPE, name="else")
    assert taken.type == CHAT  # type: ignore[union-attr]


@pytest.mark.parametrize("payload", [None, [1], 5, {}, {"data": 1}, {"type": 5}, {"type": None}, {"type": b"chat"}, {5: 6}])
def test_a_message_of_another_shape_is_refused(payload: object, feed: Feed) -> None:
    """A MESSAGE that is no map with a text for its type is dropped and counted; the next one is taken."""
    refused, taken = feed(ready(Role.SERVER), frame(MESSAGE, payload) + frame(MESSAGE, {"type": "chat", "data": 1}))
    assert refused == FrameRejected(RejectReason.MALFORMED, MESSAGE)
    assert taken.value == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["", "\x1b[2J", "a\nb", "n" * 256])
def test_an_open_registry_takes_no_name_that_could_not_be_shown(name: str) -> None:
    """A name that a peer makes up is a type of an open registry only if it can be printed and is not too long."""
    (refused,) = ready(Role.SERVER).receive_data(frame(MESSAGE, {"type": name, "data": 1}), RECEIVED_MS)
    assert refused == FrameRejected(RejectReason.UNKNOWN_TYPE, name=name)


def test_names_that_peers_make_up_are_bounded() -> None:
    """An open registry keeps 1,024 types for names of peers; further ones are served, and forgotten."""
    types = MessageRegistry(open=True)
    made = ready(Role.SERVER, types=types)
    for number in range(1100):
        (message,) = made.receive_data(frame(MESSAGE, {"type": f"n{number}", "data": number}), RECEIVED_MS)
        assert (message.type.name, message.value) == (f"n{number}", number)  # type: ignore[union-attr]
    assert len(types) == 1024


RESULT_OF_A_REAL_SERVER = b"\x82\xa7success\xc3\xa6result\x82\xa7success\xc3\xa4data"

BROKEN = [
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data"),
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data\xc1"),
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data\x01\x02"),
    frame(MESSAGE, {"type": "chat", "data": {1: 2}}),
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data" + b"\x91" * 600 + b"\xc0"),
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data\xa1\xff"),
    frame(MESSAGE, raw=b"\x82\xa4type\xa4chat\xa4data\xdd\x00\x00\x10\x00" + b"\x80" * 2**12),
    frame(MESSAGE, {"type": "chat", "data": bytes(3 * 2**20)}, flags=COMPRESSED),
    frame(REQUEST, {"method": "add", "params": {1: 2}}),
    frame(REQUEST, {"method": "add", "params": {1: 2}}, correlation=1),
    frame(REQUEST, raw=b"\x82\xa6method\xa3add\xa6params\x81\xa1a\xa1\xff", correlation=1),
    frame(REQUEST, raw=b"\x82\xa6method\xa3add\xa6params\x81\xa1a\x01\x02", correlation=1),
    frame(ANSWER, {"success": True, "result": {"success": True, "data": {1: 2}}}),
    frame(ANSWER, raw=b"\x81"),
    *(frame(ANSWER, raw=RESULT_OF_A_REAL_SERVER + data) for data in (b"", b"\x01\x02", b"\xc4\x02x", b"\xa1\xff")),
    frame(ANSWER, raw=RESULT_OF_A_REAL_SERVER + b"\xdd\x00\x00\x10\x00" + b"\x80" * 2**12),
    frame(ERROR, raw=b"\xc1"),
    b"CNDX" + bytes(28),
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_cannot_be_read_ends_the_connection(data: bytes, feed: Feed) -> None:
    """What a real peer would end its connection for ends ours, with a typed error; what came before it counts."""
    made = ready(Role.SERVER, limits=Limits(values=2000))
    chat = frame(MESSAGE, {"type": "chat", "data": 1})
    first, failed = feed(made, chat + data + chat)
    assert first.value == 1  # type: ignore[union-attr]
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, MalformedFrame)
    assert not isinstance(failed.error, HandshakeError)
    made.send(CHAT, "what was taken may still be answered")
    assert feed(made, chat) == []
    made.connection_lost()
    with pytest.raises(LocalProtocolError):
        made.send(CHAT, 1)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (frame(REQUEST, {"method": "m", "params": {"a": 1}}, correlation=1), 7),
        (frame(ANSWER, raw=RESULT_OF_A_REAL_SERVER + b"\x01"), 9),
    ],
)
def test_the_number_of_values_is_bounded_in_short_payloads_too(data: bytes, values: int, feed: Feed) -> None:
    """``limits.values`` holds for a call and an answer of any size, and takes those with just so many."""
    assert not isinstance(feed(ready(Role.SERVER, limits=Limits(values=values)), data)[0], ConnectionFailed)
    (failed,) = feed(ready(Role.SERVER, limits=Limits(values=values - 1)), data)
    assert isinstance(failed, ConnectionFailed)
    assert "limits.values" in str(failed.error)


def test_a_size_over_the_limit_is_refused_both_ways(feed: Feed) -> None:
    """``max_message_size`` holds for what comes, declared or inflated, and for what is sent, before compression."""
    made = ready(Role.SERVER, max_message_size=1000, compress=True)
    with pytest.raises(MessageTooLarge):
        made.send(CHAT, "x" * 1000)
    assert made.data_to_send() == []
    (failed,) = feed(made, frame(MESSAGE, {"type": "chat", "data": "x" * 1000}, flags=COMPRESSED))
    assert "at most 968 bytes" in str(failed.error)  # type: ignore[union-attr]
    (failed,) = feed(ready(Role.SERVER, max_message_size=1000), frame(MESSAGE, {"type": "chat", "data": "x" * 1000}))
    assert isinstance(failed.error, FrameTooLarge)  # type: ignore[union-attr]


def test_no_message_is_larger_than_real_peers_read() -> None:
    """Whatever the setting, a payload has at most 100 MiB."""
    assert ready(Role.SERVER, max_message_size=2**31).max_message_size == 100 * 2**20 + 32


@pytest.mark.parametrize("compress", [True, False])
def test_long_payloads_are_compressed_where_it_is_asked_for(compress: bool, feed: Feed) -> None:
    """A payload over 1,024 bytes is sent compressed where that is set; what comes compressed is read in any case."""
    made = ready(Role.SERVER, compress=compress)
    size = made.send(CHAT, "x" * 5000)
    made.send(CHAT, "short")
    out = b"".join(made.data_to_send())
    assert [(flags, payload["data"]) for _, flags, _, payload in frames_in(out)] == [(int(compress), "x" * 5000), (0, "short")]
    assert (size < 200) is compress
    (message,) = feed(ready(Role.CLIENT, compress=compress), out[:size])
    assert message.value == "x" * 5000  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [{1: 2}, 2**64, "\ud800"])
def test_what_a_real_peer_cannot_take_is_not_sent(value: object) -> None:
    """A value that would end the connection at the peer raises InvalidContent; nothing is queued."""
    made = ready(Role.SERVER)
    for send in (made.send, made.encode):
        with pytest.raises(InvalidContent):
            send(CHAT, value)
    with pytest.raises(InvalidContent):
        made.rpc.encode_result(value)
    with pytest.raises(TypeError):
        made.send(CHAT, object())
    assert made.data_to_send() == []


# The heartbeat.


@pytest.mark.parametrize("role", Role)
def test_a_ping_is_answered_at_once(role: Role, feed: Feed) -> None:
    """Each HEARTBEAT_PING, with a payload or without, is answered with a HEARTBEAT_PONG, and told first."""
    made = ready(role)
    events = feed(made, frame(MESSAGE, {"type": "chat", "data": 1}) + frame(PING) + frame(PING, {"x": 1}, flags=COMPRESSED))
    assert sent(made) == [(PONG, 0, 0, None)] * 2
    assert sum(event.count for event in events if isinstance(event, PingsAnswered)) == 2


def test_pongs_answer_pings_in_their_order(feed: Feed) -> None:
    """Pings carry no ids here: each PONG answers the oldest ping, one that nobody asked for none."""
    made = ready(Role.CLIENT)
    one, two = made.allocate_id(()), made.allocate_id(())
    for request_id in (one, None, two):
        made.send_ping(request_id)
    assert sent(made) == [(PING, 0, 0, None)] * 3
    assert feed(made, frame(PONG) * 4) == [Pong(one), Pong(None), Pong(two), Pong(None)]


def test_pings_without_answers_are_bounded() -> None:
    """A peer that answers no ping gets at most ``limits.pending``."""
    made = ready(Role.CLIENT, limits=Limits(pending=2))
    made.send_ping(1)
    made.send_ping(2)
    with pytest.raises(TooManyRequests):
        made.send_ping(3)


@pytest.mark.parametrize("kind", range(0x0A, 0x11))
@pytest.mark.parametrize("role", Role)
def test_frames_that_no_release_sends_are_ignored(role: Role, kind: int, feed: Feed) -> None:
    """PAUSE, RESUME, ACK, NACK, CLOSE, CLOSE_ACK and RPC_LIST mean nothing, whatever they hold, and are not answered."""
    made = ready(role)
    assert feed(made, frame(kind) + frame(kind, raw=b"\xc1", correlation=5)) == []
    assert (made.data_to_send(), made.state) == ([], State.READY)


@pytest.mark.parametrize("kind", [7, 8, 9])
def test_the_handshakes_frames_are_refused_later(kind: int, feed: Feed) -> None:
    """A frame of the handshake behind it is dropped and counted, and not looked into."""
    made = ready(Role.SERVER)
    assert feed(made, frame(kind, raw=b"\xc1")) == [FrameRejected(RejectReason.MALFORMED, kind)]
    assert made.data_to_send() == []


# Calls.


def both() -> tuple[Any, Any]:
    """Return a server and a client of this package that have agreed."""
    server, client = started(Role.SERVER), started(Role.CLIENT)
    server.receive_data(b"".join(client.data_to_send()), RECEIVED_MS)
    client.receive_data(b"".join(server.data_to_send()), RECEIVED_MS)
    return server, client


def called(event: Any) -> tuple[str, object, int]:
    """Return method, keyword arguments and id of a CALL."""
    assert event.type is CALL
    call = NetconduitRpc(ours=False).decode_call(event.content)
    return call.method, msgpack.decode(call.kwargs), event.request_id


def test_a_call_arrives_with_its_arguments(feed: Feed) -> None:
    """An RPC_REQUEST is a CALL: its method, its arguments by name, and its id."""
    made = ready(Role.SERVER)
    (call,) = feed(made, frame(REQUEST, {"method": "add", "params": {"a": 1, "b": [2]}, "more": 1}, correlation=2**63))
    assert called(call) == ("add", {"a": 1, "b": [2]}, 2**63)


def test_a_call_without_arguments_has_none(feed: Feed) -> None:
    """Where ``params`` is missing or nil there are no arguments."""
    for payload in ({"method": "m"}, {"method": "m", "params": None}):
        (call,) = feed(ready(Role.SERVER), frame(REQUEST, payload, correlation=1))
        assert called(call) == ("m", {}, 1)


def test_a_call_without_an_id_is_rejected(feed: Feed) -> None:
    """An RPC_REQUEST with the correlation id 0, which is that of messages, cannot be answered: it is dropped and counted."""
    made = ready(Role.SERVER)
    for payload in ({"method": "m"}, {"method": "m", "params": {"a": 1}}):
        assert feed(made, frame(REQUEST, payload)) == [FrameRejected(RejectReason.MALFORMED, REQUEST)]
    assert made.data_to_send() == []


def test_a_call_with_arguments_that_cannot_be_ends_the_connection(feed: Feed) -> None:
    """Arguments are checked when they arrive, as a message's data is: a key of a map is text or bytes."""
    made = ready(Role.SERVER)
    (failed,) = feed(made, frame(REQUEST, {"method": "m", "params": {"a": {1: 2}}}, correlation=1))
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, MalformedFrame)


def test_a_real_peer_gets_results_as_from_a_real_server() -> None:
    """To a real peer a result has netconduit's two envelopes, and so has a failure, inside a success, with a number."""
    made = ready(Role.SERVER)
    made.send(RESULT, made.rpc.encode_result({"x": 1}), 1)
    assert made.reply_error(2, "method_not_found", "there is no method 'x'", {"method": "x"})
    assert made.reply_error(3, "sold_out", "no more")
    assert made.reply_error(4, "netconduit_6000", "slower")
    assert made.reply_error(5)
    told = [
        {"success": False, "error": "there is no method 'x'", "code": 4000, "details": {"method": "x"}},
        {"success": False, "error": "no more", "code": 4002},
        {"success": False, "error": "slower", "code": 6000},
        {"success": False, "error": "the handler failed", "code": 1001},
    ]
    assert sent(made) == [
        (ANSWER, 0, 1, {"success": True, "result": {"success": True, "data": {"x": 1}}}),
        *((ANSWER, 0, at, {"success": True, "result": each}) for at, each in enumerate(told, 2)),
    ]


def test_between_two_of_this_package_results_are_bare() -> None:
    """A peer of this package gets one envelope, and failures as RPC_ERROR with their codes."""
    server, client = both()
    client.send(CALL, client.rpc.encode_call("add", (), {"a": 1}, 5.0, None), 5)
    (call,) = server.receive_data(b"".join(client.data_to_send()), RECEIVED_MS)
    assert called(call) == ("add", {"a": 1}, 5)
    server.send(RESULT, server.rpc.encode_result({"success": False, "data": 1}), 5)
    server.reply_error(6, "sold_out", "no more", {"left": 1})
    out = b"".join(server.data_to_send())
    assert frames_in(out) == [
        (ANSWER, 0, 5, {"success": True, "result": {"success": False, "data": 1}}),
        (ERROR, 0, 6, {"success": False, "error": "no more", "code": "sold_out", "details": {"left": 1}}),
    ]
    result, failed = client.receive_data(out, RECEIVED_MS)
    assert answered(result) == (5, {"success": False, "data": 1})
    assert answered(failed) == (6, "sold_out", "no more", {"left": 1})


def answered(event: Any) -> tuple[object, ...]:
    """Return id and value of a RESULT; id, code, message and details of a failure."""
    if isinstance(event, RequestFailed):
        return event.request_id, event.code, event.message, event.details
    assert isinstance(event, Response)
    assert event.type is RESULT
    return event.request_id, msgpack.decode(event.content)


WITHIN: list[tuple[object, tuple[object, ...]]] = [
    ({"success": True, "data": 30}, (7, 30)),
    ({"success": True, "data": {"success": True, "data": 1}}, (7, {"success": True, "data": 1})),
    ({"success": True, "data": None, "metadata": {}}, (7, None)),
    ({"success": True, "message": "ok"}, (7, {"success": True, "message": "ok"})),
    ({"success": False, "error": "e", "code": 1001}, (7, "handler_failed", "e", None)),
    ({"success": False, "error": "e", "code": 6000}, (7, "netconduit_6000", "e", None)),
    ({"success": False, "error": "e", "code": -1}, (7, "", "e", None)),
    ({"success": False, "error": "e"}, (7, "", "e", None)),
    ({"success": False, "error": "e", "details": b"not JSON's"}, (7, "", "e", None)),
    ({"success": False}, (7, "", "", None)),
    ({"success": False, "error": 5, "code": "No code"}, (7, "", "", None)),
]
ANSWERS: list[tuple[object, tuple[object, ...]]] = [
    *(({"success": True, "result": each}, result) for each, result in WITHIN),
    ({"success": True, "data": 5}, (7, 5)),
    ({"success": True, "result": [1]}, (7, [1])),
    ({"success": True}, (7, None)),
    ({"success": False, "error": "e", "code": 4000, "details": [1]}, (7, "method_not_found", "e", [1])),
]


@pytest.mark.parametrize("kind", [ANSWER, ERROR])
@pytest.mark.parametrize(("payload", "result"), ANSWERS)
def test_a_real_peers_answer_is_unwrapped(payload: object, result: tuple[object, ...], kind: int, feed: Feed) -> None:
    """Of a real peer's answer the dispatcher's envelope is taken off, once, and its failures are failures."""
    (event,) = feed(ready(Role.CLIENT), frame(kind, payload, correlation=7))
    assert answered(event) == result


@pytest.mark.parametrize("payload", [None, 5, [1], {"success": "yes"}, {"success": 1}])
def test_an_answer_of_another_shape_fails_the_call(payload: object, feed: Feed) -> None:
    """An answer that is none fails its call, which would wait until it times out."""
    (failed,) = feed(ready(Role.CLIENT), frame(ANSWER, payload, correlation=7))
    assert isinstance(failed, RequestFailed)
    assert (failed.request_id, failed.code) == (7, "")


def test_ids_of_calls_count_up_from_one() -> None:
    """Each call has an id of its own, from 1, as a real client's have."""
    made = ready(Role.CLIENT)
    assert [made.allocate_id(()) for _ in range(3)] == [1, 2, 3]


def test_what_the_wire_can_do_is_told() -> None:
    """The flags say: calls and pings, no ids of messages, and error replies to calls alone."""
    made = ready(Role.CLIENT)
    assert (made.rpc.cancels, made.supports_ping, made.supports_requests, made.marks_requests) == (False, True, False, True)
    assert (made.reply_error(0, "x", "y"), made.data_to_send()) == (False, [])


# States.


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("trigger", Trigger)
def test_a_step_that_is_in_no_table_is_refused(state: State, trigger: Trigger) -> None:
    """Every pair of state and step leads on as the table says, or raises LocalProtocolError and changes nothing."""
    made = connection(Role.SERVER)
    made.state = state
    if trigger in STATES[state]:
        made._move(trigger)
        assert made.state is STATES[state][trigger]
    else:
        with pytest.raises(LocalProtocolError):
            made._move(trigger)
        assert made.state is state


def test_every_state_can_be_reached_and_left() -> None:
    """From NEW every state can be reached, and each has an end."""
    reached, ahead = {State.NEW}, [State.NEW]
    while ahead:
        following = set(STATES[ahead.pop()].values()) - reached
        reached |= following
        ahead += following
    assert reached == set(State)
    assert all(STATES[state][Trigger.END] is State.CLOSED for state in State)


def test_nothing_is_sent_before_the_handshake_or_after_the_end() -> None:
    """Whatever is sent too early raises NotReady, too late LocalProtocolError; nothing is queued."""
    for role in Role:
        made: NetconduitConnection = connection(role)
        with pytest.raises(LocalProtocolError):
            made.receive_data(b"", 0)
        made.start()
        made.data_to_send()
        for send in (
            lambda made=made: made.send(CHAT, 1),
            lambda made=made: made.encode(CHAT, 1),
            lambda made=made: made.send_encoded([b"x"]),
            lambda made=made: made.send_ping(None),
            lambda made=made: made.send(CALL, b"\x80", 1),
            lambda made=made: made.encode(RESULT, b"\xc0", 1),
            lambda made=made: made.reply_error(1, "x", "y"),
            lambda made=made: made.allocate_id(()),
        ):
            with pytest.raises(NotReady):
                send()
        made.connection_lost()
        made.connection_lost()
        with pytest.raises(LocalProtocolError):
            made.send(CHAT, 1)
        assert made.receive_data(LOGIN, 0) == []
        assert (made.data_to_send(), made.buffered_size, made.next_timeout) == ([], 0, None)


def test_the_beginning_of_a_login_that_stalls_has_no_hash_in_it() -> None:
    """What a timeout quotes of an unfinished AUTH_REQUEST is of its header."""
    server = started(Role.SERVER)
    server.receive_data(LOGIN[:100], 0)
    assert server.beginning == LOGIN[:32]
    assert (server.buffered_size, server.incoming_size) == (100, 100)


# Options.


WRONG = [("password", ""), ("password", 5), ("password", b"x"), ("program", 5), ("program", "x" * 129), ("version", None)]


@pytest.mark.parametrize(("name", "value"), [*WRONG, ("compress", 1)])
def test_a_wrong_option_is_refused(name: str, value: Any) -> None:
    """An option that cannot be raises SettingsError with its name; a password's value is not shown."""
    with pytest.raises(SettingsError, match=name):
        Netconduit(**{name: value})


def test_the_password_is_not_shown() -> None:
    """The options' repr has no password in it; equal ones are equal."""
    assert "hunter2" not in repr(Netconduit("hunter2"))
    assert Netconduit("hunter2") == Netconduit("hunter2") != Netconduit("hunter3")
    assert Netconduit().with_password("hunter2") == Netconduit("hunter2")


# Much from few bytes.


@pytest.mark.parametrize("brings", [b"", frame(MESSAGE, {"type": "chat", "data": [9]})])
def test_compressed_payloads_are_inflated_a_few_at_a_time(brings: bytes) -> None:
    """Behind 64 KiB of them the rest waits for the next call, which may bring nothing or more; all come, in order."""
    made = ready(Role.SERVER)
    events = made.receive_data(
        b"".join(frame(MESSAGE, {"type": "chat", "data": [number] + [0] * 50_000}, flags=COMPRESSED) for number in range(6)), 0
    )
    assert len(events) == 2
    calls = 1
    while made.has_more:
        more = made.receive_data(brings if calls == 1 else b"", 0)
        assert 0 < len(more) <= 3
        events += more
        calls += 1
    assert [event.value[0] for event in events] == [0, 1, 2, 3, 4, 5, *([9] if brings else [])]


def test_what_waits_to_be_inflated_goes_with_the_connection() -> None:
    """Nothing of it is decoded after the end."""
    made = ready(Role.SERVER)
    made.receive_data(frame(MESSAGE, {"type": "chat", "data": [0] * 50_000}, flags=COMPRESSED) * 6, 0)
    assert made.has_more
    made.connection_lost()
    assert not made.has_more
    assert made.receive_data(b"", 0) == []


# What is sent, by its type.


@pytest.mark.parametrize("name", ["a", "x" * 40, "y" * 300, "\u00a4data", "type"])
@pytest.mark.parametrize("value", [b"", {"data": 1}, b"z" * 200_000], ids=["empty", "nested", "in two buffers"])
def test_the_type_of_what_is_sent_is_told_by_its_first_buffer(name: str, value: object) -> None:
    """A message's and an answer's first buffer has the type's name, however long it is; a second buffer, and a ping, has none."""
    server, _ = both()
    message_type = MessageType(200, name, registry=MessageRegistry())
    for request_id in (None, 7):
        first, *rest = server.encode(message_type, value, request_id)
        assert server.key_of(first) == name
        assert [server.key_of(each) for each in rest] == [None] * len(rest)
    server.send_ping(None)
    assert [server.key_of(each) for each in server.data_to_send()] == [None]
