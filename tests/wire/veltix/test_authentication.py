"""The feature ``identity``: who is asked and when, the frozen bytes of credentials and verdicts, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.errors import (
    AuthenticationFailed,
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    MalformedHello,
    RemoteProtocolError,
    ServerFull,
    SettingsError,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.credentials import MAX_SECRET_SIZE, Password, Token
from veltix_tx.wire.events import (
    AuthenticationRequested,
    ConnectionFailed,
    CredentialsAccepted,
    CredentialsRequested,
    Event,
    FrameRejected,
    HandshakeCompleted,
    RejectReason,
    RequestFailed,
)
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import AUTHENTICATE, CALL, MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix import codec
from veltix_tx.wire.veltix.authentication import MAX_CREDENTIALS_SIZE, decode_credentials, encode_credentials
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.extensions import ERRORS, IDENTITY, RPC
from veltix_tx.wire.veltix.layouts import W15, W22
from veltix_tx.wire.veltix.releases import RELEASES, SUPERSET, HandshakeKind

Make = Callable[..., VeltixConnection]

SERVER, CLIENT = Role.SERVER, Role.CLIENT
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
JSON = [name for name, release in RELEASES.items() if release.handshake is HandshakeKind.JSON]
OTHERS = [name for name, release in RELEASES.items() if release.handshake is not HandshakeKind.JSON]
TOKEN, PASSWORD = Token("s3cret"), Password("ann", "pässword")

HELLO = bytes.fromhex("0078") + (
    b'{"v": "2.0.0", "pv": "1.0", "meta": {"id_window": 30000, "layouts": ["W22"], "features": ["errors", "rpc", "identity"]}}'
)
ANSWER = bytes.fromhex("0050") + b'{"v": "2.0.0", "pv": "1.0", "meta": {"features": ["errors", "rpc", "identity"]}}'
PRESENTED = {
    TOKEN: bytes.fromhex("0024") + b'{"credentials": {"token": "s3cret"}}',
    PASSWORD: bytes.fromhex("003d") + b'{"credentials": {"name": "ann", "password": "p\\u00e4ssword"}}',
    None: bytes.fromhex("0015") + b'{"credentials": null}',
}
ACCEPTED = bytes.fromhex("0010") + b'{"result": "ok"}'
REFUSED = bytes.fromhex("0022") + b'{"error": "authentication_failed"}'
FRAMES = {
    TOKEN: bytes.fromhex("5658 00 006e 00000013 2da06381 0000") + b'{"token": "s3cret"}',
    PASSWORD: bytes.fromhex("5658 00 006e 0000002c faf7a601 0000") + b'{"name": "ann", "password": "p\\u00e4ssword"}',
}
FRAME_ACCEPTED = bytes.fromhex("5658 00 006e 00000010 4e81f799 0000") + b'{"result": "ok"}'
FRAME_REFUSED = bytes.fromhex("5658 00 006e 00000022 85276918 0000") + b'{"error": "authentication_failed"}'


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
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


def whole(connection: VeltixConnection, data: bytes) -> list[Event]:
    """What a connection hears of bytes in one piece."""
    return connection.receive_data(data, 0)


def bytewise(connection: VeltixConnection, data: bytes) -> list[Event]:
    """What it hears of them one at a time."""
    return [event for at in range(len(data)) for event in connection.receive_data(data[at : at + 1], 0)]


in_pieces = pytest.mark.parametrize("read", [whole, bytewise])


def server(make: Make, release: str | None = None, **options: Any) -> VeltixConnection:
    """A server that decides who is let in, started."""
    side = make(SERVER, release, **{"types": TYPES, "authenticates": True} | options)
    assert side.start() == []
    return side


def client(make: Make, **options: Any) -> VeltixConnection:
    """A client, started."""
    side = make(CLIENT, **{"types": TYPES} | options)
    assert side.start() == []
    return side


def asked(make: Make, credentials: Token | Password | None = TOKEN, read: Callable[..., list[Event]] = whole) -> VeltixConnection:
    """A server that waits for its verdict on a client of ours."""
    side = server(make)
    taken(side)
    (requested,) = read(side, ANSWER + PRESENTED[credentials])
    assert isinstance(requested, AuthenticationRequested)
    assert requested.credentials == credentials
    return side


def agreed(make: Make) -> tuple[VeltixConnection, VeltixConnection]:
    """A server and a client that it has let in."""
    near, far = server(make), client(make)
    far.receive_data(taken(near), 0)
    far.present(TOKEN)
    near.receive_data(taken(far), 0)
    near.accept()
    (completed,) = far.receive_data(taken(near), 0)
    assert isinstance(completed, HandshakeCompleted)
    return near, far


def failure(events: list[Event]) -> RemoteProtocolError:
    """The error of a batch that failed and did nothing else."""
    (event,) = events
    assert isinstance(event, ConnectionFailed)
    return event.error


# The handshake


@in_pieces
@pytest.mark.parametrize("credentials", PRESENTED)
def test_a_client_is_let_in_by_these_bytes(make: Make, read: Callable[..., list[Event]], credentials: Any) -> None:
    """The frozen handshake: the offer, the agreement, the credentials behind it, the verdict as the result, and then messages."""
    near, far = server(make), client(make)
    assert taken(near) == HELLO
    assert read(far, HELLO) == [CredentialsRequested()]
    assert taken(far) == ANSWER
    assert far.present(credentials) == []
    assert taken(far) == PRESENTED[credentials]
    assert read(near, ANSWER) == []
    (requested,) = read(near, PRESENTED[credentials])
    assert isinstance(requested, AuthenticationRequested)
    assert requested.credentials == credentials
    assert requested.peer is not None
    assert (requested.peer.wire, requested.peer.version) == ("W15", "2.0.0")
    assert (taken(near), near.peer, near.state) == (b"", None, State.HANDSHAKE)
    (completed,) = near.accept()
    assert completed == HandshakeCompleted(requested.peer)
    assert taken(near) == ACCEPTED
    assert isinstance(read(far, ACCEPTED)[0], HandshakeCompleted)
    assert [side.peer.features for side in (near, far) if side.peer is not None] == [(ERRORS, RPC, IDENTITY)] * 2
    far.send(CHAT, b"hello")
    (message,) = read(near, taken(far))
    assert isinstance(message, Response)


@in_pieces
def test_a_client_is_refused_by_these_bytes(make: Make, read: Callable[..., list[Event]]) -> None:
    """The refusal is the handshake's error and says no more; the client's own error says whether it had presented anything."""
    for credentials, said in ((TOKEN, "refused the credentials"), (None, "this client has none")):
        near, far = asked(make, credentials, read), client(make)
        far.receive_data(HELLO, 0)
        far.present(credentials)
        near.reject()
        assert taken(near) == REFUSED
        assert near.state is State.FAILED
        error = failure(read(far, REFUSED))
        assert isinstance(error, AuthenticationFailed)
        assert said in str(error)


def test_what_comes_behind_the_clients_hello_waits_for_the_verdict(make: Make) -> None:
    """Frames that a client sends too early are read when it is let in, and never when it is not."""
    frame = W15.pack(200, b"early", 5, 0) + b"early"
    near = server(make)
    (requested,) = near.receive_data(ANSWER + PRESENTED[TOKEN] + frame, 0)
    assert isinstance(requested, AuthenticationRequested)
    assert near.receive_data(frame, 0) == []
    completed, *messages = near.accept()
    assert isinstance(completed, HandshakeCompleted)
    assert [message.content for message in messages if isinstance(message, Response)] == [b"early"] * 2
    near = server(make)
    near.receive_data(ANSWER + PRESENTED[TOKEN] + frame, 0)
    near.reject()
    assert near.receive_data(frame, 0) == []


def test_a_call_of_a_method_waits_for_the_verdict(make: Make) -> None:
    """A CALL behind the credentials is none until the client is let in, and never one where it is not."""
    call = W15.pack(CALL.code, b"call", 5, 0) + b"call"
    near = server(make)
    (requested,) = near.receive_data(ANSWER + PRESENTED[TOKEN] + call, 0)
    assert isinstance(requested, AuthenticationRequested)
    assert near.rpc is None
    completed, message = near.accept()
    assert isinstance(completed, HandshakeCompleted)
    assert isinstance(message, Response)
    assert (message.type, message.content) == (CALL, b"call")
    near = server(make)
    near.receive_data(ANSWER + PRESENTED[TOKEN] + call, 0)
    near.reject()
    assert (near.receive_data(call, 0), near.rpc) == ([], None)


def test_what_waits_for_the_verdict_is_bounded(make: Make) -> None:
    """A client that goes on sending before it is let in is closed above ``max_message_size``."""
    near = server(make, max_message_size=1000)
    near.receive_data(ANSWER + PRESENTED[TOKEN], 0)
    for _ in range(10):
        assert near.receive_data(b"x" * 100, 0) == []
    assert isinstance(failure(near.receive_data(b"x", 0)), HandshakeError)
    with pytest.raises(LocalProtocolError):
        near.accept()


@pytest.mark.parametrize("release", JSON)
def test_a_real_client_is_asked_for_before_its_result(make: Make, release: str) -> None:
    """A client of a release that knows nothing of this presents nothing, and has no result before the verdict."""
    for verdict in (True, False):
        near, far = server(make, release), make(CLIENT, release, types=TYPES)
        far.start()
        far.receive_data(taken(near), 0)
        (requested,) = near.receive_data(taken(far), 0)
        assert isinstance(requested, AuthenticationRequested)
        assert requested.credentials is None
        assert requested.peer is not None
        assert requested.peer.version == RELEASES[release].announces
        assert taken(near) == b""
        if verdict:
            assert isinstance(near.accept()[0], HandshakeCompleted)
            assert taken(near) == ACCEPTED
        else:
            near.reject()
            assert taken(near) == b""  # as real servers refuse: without a word


@pytest.mark.parametrize("release", OTHERS)
def test_a_handshake_that_cannot_ask_is_complete_without(make: Make, converse: Any, release: str) -> None:
    """Releases without JSON have no place for a verdict: their connections complete, and the floor above asks."""
    near, far = make(SERVER, release, types=TYPES, authenticates=True), make(CLIENT, release, types=TYPES)
    heard, _ = converse(near, far)
    assert [type(event) for event in heard] == [HandshakeCompleted]


def test_a_server_that_lets_in_everybody_asks_nobody(make: Make) -> None:
    """Without a hook nothing is offered or asked: the bytes are those of before, and a client has no place for secrets."""
    near, far = make(SERVER, types=TYPES), client(make)
    near.start()
    hello = taken(near)
    assert b"identity" not in hello
    assert far.receive_data(hello, 0) == []
    assert b"credentials" not in taken(far)
    with pytest.raises(LocalProtocolError, match="asks for no credentials"):
        far.present(TOKEN)
    assert taken(far) == b""


@pytest.mark.parametrize(
    "features", [None, [], ["errors"], "identity", {"identity": 1}, ["Identity"], [["identity"]], ["errors", "identity2"]]
)
def test_no_secret_is_sent_to_a_server_that_did_not_offer(make: Make, features: object) -> None:
    """A client presents nothing, and cannot, unless the server's hello offers exactly this feature."""
    far = client(make)
    assert far.receive_data(lengthed({"v": "3.3.0", "pv": "1.0", "meta": {"features": features}}), 0) == []
    assert b"credentials" not in taken(far)
    with pytest.raises(LocalProtocolError):
        far.present(TOKEN)


def test_a_pinned_client_presents_nothing(make: Make) -> None:
    """A client that is pinned to a release says that release's hello to the byte, whatever is offered."""
    far = make(CLIENT, "3.3.0", types=TYPES)
    far.start()
    assert far.receive_data(HELLO, 0) == []
    assert taken(far) == lengthed({"v": "3.3.0", "pv": "1.0", "meta": {}})


def test_credentials_that_were_not_agreed_on_are_nothing(make: Make) -> None:
    """A client that presents some without the feature presents none: what it sends behind its hello is no frame."""
    near = server(make)
    answer = {"v": "3.3.0", "pv": "1.0", "meta": {"features": ["errors"], "credentials": {"token": "s3cret"}}}
    (requested,) = near.receive_data(lengthed(answer) + PRESENTED[TOKEN], 0)
    assert isinstance(requested, AuthenticationRequested)
    assert requested.credentials is None
    near.accept()
    assert near.state is State.READY


def test_a_server_over_tls_offers_the_same(make: Make) -> None:
    """The one hello that is said over TLS offers it as the auto port does."""
    near = VeltixConnection(
        *(SERVER, SUPERSET),
        calendar_ms=lambda: 0,
        uptime_ms=lambda: 0,
        getrandbits=lambda bits: 1,
        types=TYPES,
        authenticates=True,
    )
    near.start()
    assert taken(near) == HELLO


def test_long_headers_go_with_it(make: Make) -> None:
    """Both extensions are agreed on in one hello."""
    near, far = server(make), client(make, long_headers=True)
    far.receive_data(taken(near), 0)
    far.present(TOKEN)
    near.receive_data(taken(far), 0)
    near.accept()
    assert near.peer is not None
    assert (near.peer.layout, near.peer.features) == (W22, (ERRORS, RPC, IDENTITY))


def test_a_registry_with_system_codes_still_asks(make: Make) -> None:
    """Where a program may have a type 110 of its own nothing is agreed on; the verdict is asked for all the same."""
    near = server(make, types=MessageRegistry(codes=range(65536)))
    assert b"identity" not in taken(near)
    (requested,) = near.receive_data(ANSWER, 0)
    assert isinstance(requested, AuthenticationRequested)
    assert requested.credentials is None


def test_the_peer_keeps_no_secret(make: Make) -> None:
    """What a server remembers of its client does not hold the credentials, and most clients share one object."""
    peers = []
    for credentials in (TOKEN, PASSWORD):
        near = asked(make, credentials)
        near.accept()
        peers.append(near.peer)
    assert peers[0] is peers[1]
    assert peers[0] is not None
    assert peers[0].meta == {"features": ["errors", "rpc", "identity"]}


def test_what_is_not_asked_for_is_an_error_of_this_side(make: Make) -> None:
    """A verdict without a question, a second one, and credentials in the wrong place raise LocalProtocolError and send nothing."""
    for side in (server(make), client(make), make(SERVER, types=TYPES)):
        taken(side)
        for call in (side.accept, side.reject, partial(side.present, TOKEN), partial(side.reauthenticate, TOKEN, 5)):
            with pytest.raises(LocalProtocolError):
                call()
        assert taken(side) == b""
    near = asked(make)
    near.reject()
    taken(near)
    for call in (near.accept, near.reject):
        with pytest.raises(LocalProtocolError):
            call()
    near = asked(make)
    with pytest.raises(LocalProtocolError):
        near.present(TOKEN)
    near.connection_lost()
    with pytest.raises(LocalProtocolError):
        near.accept()


MALFORMED: list[object] = [
    5,
    "s3cret",
    [],
    ["s3cret"],
    {},
    {"token": None},
    {"token": ""},
    {"token": 5},
    {"token": ["s3cret"]},
    {"token": {"token": "s3cret"}},
    {"token": "x" * (MAX_SECRET_SIZE + 1)},
    {"token": "\ud800"},
    {"token": "s3cret", "name": "ann"},
    {"name": "ann"},
    {"password": "s3cret"},
    {"name": "", "password": "s3cret"},
    {"name": "ann", "password": ""},
    {"name": "ann", "password": None},
    {"name": "ann", "password": "s3cret", "token": "s3cret"},
    {"Token": "s3cret"},
    True,
]


@pytest.mark.parametrize("presented", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_credentials_end_the_handshake(make: Make, presented: object) -> None:
    """What is neither a token nor a name and a password ends the handshake with an error that says nothing of it."""
    near = server(make)
    assert near.receive_data(ANSWER, 0) == []
    error = failure(near.receive_data(lengthed({"credentials": presented}), 0))
    assert isinstance(error, MalformedHello)
    assert "s3cret" not in str(error)


def test_credentials_that_cannot_be_read_are_not_quoted(make: Make) -> None:
    """The error of a broken message of credentials does not show its bytes, and neither does that of half of one."""
    for text in (b'{"credentials": {"token": "s3cret"}', b'["credentials", "s3cret"]', b"s3cret"):
        near = server(make)
        near.receive_data(ANSWER + lengthed(text)[:-1], 0)
        assert near.beginning == b""
        error = failure(near.receive_data(text[-1:], 0))
        assert isinstance(error, MalformedHello)
        assert "s3cret" not in str(error)


def test_credentials_of_a_mebibyte_are_refused_by_their_size(make: Make) -> None:
    """A message longer than ``limits.json_hello_size`` is refused by its first two bytes, and nothing of it is kept."""
    for before in (b"", ANSWER):
        near = server(make)
        assert near.receive_data(before + b"\xff", 0) == []
        assert isinstance(failure(near.receive_data(b"\xff" + b"x" * 2**20, 0)), FrameTooLarge)
        assert (near.beginning, near.buffered_size) == (b"", 0)


def test_the_longest_credentials_fit_into_a_message(make: Make) -> None:
    """What a Token or a Password takes, every server with the default limits reads."""
    for credentials in (Token("\x00" * (MAX_SECRET_SIZE // 6)), Password("x" * MAX_SECRET_SIZE, "x" * MAX_SECRET_SIZE)):
        near, far = server(make, limits=Limits()), client(make, long_headers=True)
        far.receive_data(taken(near), 0)
        far.present(credentials)
        (requested,) = near.receive_data(taken(far), 0)
        assert isinstance(requested, AuthenticationRequested)
        assert requested.credentials == credentials


def test_what_a_server_says_before_it_has_the_credentials(make: Make) -> None:
    """What comes of it while the client's credentials are obtained counts when they are presented; too much of it ends it."""
    for said, kind in ((REFUSED, AuthenticationFailed), (lengthed(b"nonsense"), MalformedHello), (b"\xfe\xff", FrameTooLarge)):
        far = client(make)
        far.receive_data(HELLO, 0)
        assert far.receive_data(said, 0) == []
        assert isinstance(failure(far.present(TOKEN)), kind)
        assert far.state is State.FAILED
    far = client(make)
    far.receive_data(HELLO, 0)
    far.receive_data(ACCEPTED, 0)
    assert isinstance(far.present(TOKEN)[0], HandshakeCompleted)
    far = client(make, max_message_size=1000)
    far.receive_data(HELLO, 0)
    assert isinstance(failure(far.receive_data(b"x" * 1001, 0)), HandshakeError)


def test_another_error_than_the_agreed_one_is_the_servers_own(make: Make) -> None:
    """Only a server that offered the feature refuses credentials by its word; other words mean what they always did."""
    far = client(make)
    far.receive_data(HELLO, 0)
    far.present(TOKEN)
    assert isinstance(failure(far.receive_data(lengthed({"error": "server_full"}), 0)), ServerFull)
    far = client(make)
    far.receive_data(lengthed({"v": "3.3.0", "pv": "1.0", "meta": {}}), 0)
    assert isinstance(failure(far.receive_data(REFUSED, 0)), ServerFull)


@given(
    presented=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_is_understood_or_refused(presented: object) -> None:
    """Nothing a peer presents raises anything but MalformedHello."""
    try:
        decoded = decode_credentials(presented)
    except MalformedHello:
        return
    assert decoded is None or encode_credentials(decoded) == presented


# New credentials of a client that was let in


@in_pieces
@pytest.mark.parametrize("credentials", FRAMES)
def test_new_credentials_are_these_bytes(make: Make, read: Callable[..., list[Event]], credentials: Any) -> None:
    """The frozen frames: credentials under a request id, and the verdict under the same."""
    for accepts in (True, False):
        near, far = agreed(make)
        assert far.reauthenticate(credentials, far.allocate_id(())) == len(FRAMES[credentials])
        assert taken(far) == FRAMES[credentials]
        assert read(near, FRAMES[credentials]) == [AuthenticationRequested(credentials, near.peer)]
        assert taken(near) == b""
        if accepts:
            assert near.accept() == []
            assert taken(near) == FRAME_ACCEPTED
            assert read(far, FRAME_ACCEPTED) == [CredentialsAccepted(0)]
        else:
            near.reject()
            assert taken(near) == FRAME_REFUSED
            (refused,) = read(far, FRAME_REFUSED)
            assert isinstance(refused, RequestFailed)
            assert (refused.request_id, refused.code) == (0, "authentication_failed")
        assert near.state is far.state is State.READY


def test_messages_go_on_while_the_verdict_is_out(make: Make) -> None:
    """New credentials hold nothing up; one verdict is asked for at a time, and a second question counts against the client."""
    near, far = agreed(make)
    far.reauthenticate(TOKEN, 0)
    far.send(CHAT, b"meanwhile")
    far.reauthenticate(TOKEN, 1)
    requested, message, refused = near.receive_data(taken(far), 0)
    assert isinstance(requested, AuthenticationRequested)
    assert isinstance(message, Response)
    assert refused == FrameRejected(RejectReason.MALFORMED, AUTHENTICATE.code)
    near.accept()
    with pytest.raises(LocalProtocolError):
        near.accept()
    far.reauthenticate(TOKEN, 2)
    assert isinstance(near.receive_data(taken(far), 0)[0], AuthenticationRequested)


def test_a_server_presents_nothing(make: Make) -> None:
    """Only a client presents credentials, in the handshake and behind it."""
    near, far = agreed(make)
    for call in (partial(near.reauthenticate, TOKEN, 5), partial(near.present, TOKEN), partial(far.present, TOKEN)):
        with pytest.raises(LocalProtocolError):
            call()
    assert taken(near) == taken(far) == b""


BAD_FRAMES = [
    b"",
    b"null",
    b"5",
    b"{}",
    b'"s3cret"',
    b'{"token": ""}',
    b'{"token": "s3cret", "token2": 1}',
    b'{"token": "\\ud800"}',
    b'{"token": "\xff"}',
    b'{"result": "no"}',
    b'{"result": "ok", "error": "authentication_failed"}',
    b"[" * 4000,
    b'{"a":' * 800,
    b"9" * 4090,
    b'{"token": "' + b"x" * MAX_CREDENTIALS_SIZE + b'"}',
    b"x" * 2**20,
]


@pytest.mark.parametrize("content", BAD_FRAMES, ids=range(len(BAD_FRAMES)))
def test_a_malformed_frame_is_refused(make: Make, content: bytes) -> None:
    """Either side refuses a frame that is not the object agreed on, or too long; the connection goes on."""
    for side in agreed(make):
        frames = W15.pack(110, content, 5, 0) + content + W15.pack(200, b"next", 6, 0) + b"next"
        refused, message = side.receive_data(frames, 0)
        assert refused == FrameRejected(RejectReason.MALFORMED, 110)
        assert isinstance(message, Response)
        assert message.content == b"next"


def test_each_side_reads_its_own_half_only(make: Make) -> None:
    """Credentials sent to a client, and a verdict sent to a server, are malformed."""
    near, far = agreed(make)
    assert (
        near.receive_data(FRAME_ACCEPTED, 0) == far.receive_data(FRAMES[TOKEN], 0) == [FrameRejected(RejectReason.MALFORMED, 110)]
    )


@pytest.mark.parametrize("release", [None, "3.3.0"])
def test_without_an_agreement_it_is_an_unknown_type(make: Make, converse: Any, release: str | None) -> None:
    """A peer that did not agree is sent none, and one of its is a frame of an unknown type."""
    near, far = make(SERVER, release, types=TYPES), make(CLIENT, release, types=TYPES)
    converse(near, far)
    for side in (near, far):
        assert side.receive_data(FRAMES[TOKEN], 0) == [FrameRejected(RejectReason.UNKNOWN_TYPE, 110)]
        for call in (side.accept, side.reject, partial(side.present, TOKEN), partial(side.reauthenticate, TOKEN, 5)):
            with pytest.raises(LocalProtocolError):
                call()
        assert taken(side) == b""
    assert TYPES.get(110) is None


# The credentials themselves


@pytest.mark.parametrize("text", ["", "x" * 1025, "é" * 200, "\ud800", b"bytes", None, 5])
def test_what_no_hello_carries_is_no_secret(text: Any) -> None:
    """A secret is a text of 1 to 1024 bytes in JSON; the error names the limit and does not show the text."""
    for make in (Token, lambda each: Password("ann", each), lambda each: Password(each, "s3cret")):
        with pytest.raises(SettingsError, match="1024") as raised:
            make(text)
        assert "xxx" not in str(raised.value)
        assert "ééé" not in str(raised.value)


def test_no_secret_is_shown() -> None:
    """The repr of credentials, and of what holds them, has the name at most."""
    shown = repr([TOKEN, PASSWORD, AuthenticationRequested(TOKEN)]) + str(TOKEN) + f"{PASSWORD}"
    assert "s3cret" not in shown
    assert "pässword" not in shown
    assert "ann" in shown
