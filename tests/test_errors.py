from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import pytest

from veltix_tx import errors
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    AuthenticationFailed,
    BackplaneRefused,
    BackplaneUnavailable,
    CannotAwait,
    CredentialsUnavailable,
    Dropped,
    EarlyMessage,
    EndlessMessage,
    FrameTimeout,
    FrameTooLarge,
    HandshakeError,
    HandshakeTimeout,
    InvalidArguments,
    InvalidContent,
    LocalProtocolError,
    MalformedFrame,
    MalformedHello,
    MessageTooLarge,
    MethodNotFound,
    NodeGone,
    NoSuchNode,
    NoSuchSession,
    NotReady,
    NotVeltix,
    PlaintextCredentials,
    ProtocolError,
    QueueFull,
    Rejected,
    RemoteError,
    RemoteProtocolError,
    RequestError,
    RequestTimeout,
    RoomError,
    RpcError,
    RpcTimeout,
    RpcUnsupported,
    ServerFull,
    SessionClosed,
    SettingsError,
    StreamEnded,
    TlsFailed,
    TooManyPings,
    TooManyProtocolErrors,
    TooManyRequests,
    UnvalidatedAddress,
    VeltixError,
    VersionRefused,
    excerpt,
)

SAID: list[tuple[VeltixError, dict[str, Any], list[str]]] = [
    (SettingsError("port", -1, "a port"), {"name": "port", "value": -1, "rule": "a port"}, ["port", "-1", "a port"]),
    (NotReady(), {}, ["handshake"]),
    (MessageTooLarge(1001, 1000), {"size": 1001, "limit": 1000}, ["1001", "max_message_size 1000"]),
    (FrameTooLarge(1001, 1000), {"size": 1001, "limit": 1000}, ["1001", "1000"]),
    (MalformedFrame("type", 99, "from 1 to 16"), {"part": "type", "value": 99, "rule": "from 1 to 16"}, ["type", "99", "16"]),
    (QueueFull(900, 1000), {"queued": 900, "limit": 1000}, ["900 bytes", "1000", "when_writable()"]),
    (UnvalidatedAddress(90, 10), {"size": 90, "left": 10}, ["90 bytes", "10", "validate()"]),
    (TooManyProtocolErrors(32), {"count": 32}, ["over 32 frames"]),
    (TooManyPings(), {}, ["pings"]),
    (FrameTimeout(5000, 30.5), {"size": 5000, "seconds": 30.5, "hint": ""}, ["5000 bytes", "30.5 s"]),
    (FrameTimeout(5000, 3, "much is kept"), {"hint": "much is kept"}, ["3 s: much is kept"]),
    (MalformedHello("not one"), {}, ["not one"]),
    (EarlyMessage(200), {"code": 200, "first": b""}, ["200", "handshake"]),
    (EarlyMessage(200, b"GE\x1b"), {"first": b"GE\x1b"}, ["it begins with b'GE\\x1b'"]),
    (FrameTooLarge(1001, 1000, b"GE"), {"first": b"GE"}, ["1001", "1000", "it begins with b'GE'"]),
    (
        errors.NotVeltix("client", "HTTP", b"GET /\r\n"),
        {"peer": "client", "looks_like": "HTTP", "first": b"GET /\r\n"},
        ["the client", "b'GET /\\r\\n'", "HTTP"],
    ),
    (errors.NotVeltix("server", "SSH", b"SSH-2.0-x"), {"peer": "server"}, ["the server", "SSH", "right port?"]),
    (VersionRefused("9.9", "1.x"), {"version": "9.9", "accepted": "1.x"}, ["'9.9'", "1.x"]),
    (HandshakeTimeout(2.5), {"seconds": 2.5, "hint": ""}, ["2.5 s"]),
    (HandshakeTimeout(2.5, "TLS was not through"), {"hint": "TLS was not through"}, ["2.5 s: TLS was not through"]),
    (TlsFailed("it has expired"), {}, ["it has expired"]),
    (ServerFull("server_full"), {"detail": "server_full"}, ["'server_full'"]),
    (PlaintextCredentials("h:8080"), {"server": "h:8080"}, ["h:8080", "tls=True", "allow_plaintext_credentials=True"]),
    (CredentialsUnavailable("OSError was raised"), {"detail": "OSError was raised"}, ["OSError was raised"]),
    (SessionClosed(DisconnectReason.MANUAL), {"reason": DisconnectReason.MANUAL, "cause": None}, ["this side closed"]),
    (SessionClosed(DisconnectReason.PEER_CLOSED), {}, ["the peer closed"]),
    (SessionClosed(DisconnectReason.RESET), {}, ["was reset"]),
    (SessionClosed(DisconnectReason.PROTOCOL_ERROR, TooManyProtocolErrors(32)), {}, ["was closed: the peer sent over 32 frames"]),
    (RequestTimeout(5.0), {"seconds": 5.0, "held_up": 0}, ["no reply within 5 s"]),
    (RequestTimeout(5.0, 1), {"held_up": 1}, ["5 s, and 1 message of the peer waits here", "concurrent=True"]),
    (RequestTimeout(5.0, 3), {"held_up": 3}, ["3 messages of the peer wait here", "concurrent=True"]),
    (TooManyRequests(10), {"limit": 10, "given_up": 0}, ["10 requests"]),
    (TooManyRequests(10, 7), {"limit": 10, "given_up": 7}, ["all 10", "7 requests that were given up", "new connection"]),
    (RemoteError(b"no"), {"detail": b"no"}, ["b'no'"]),
    (RemoteError(b""), {"detail": b"", "code": "", "message": ""}, ["could not answer"]),
    (RemoteError(b"{}", "no_route", "no\n"), {"code": "no_route", "message": "no\n"}, [r"answer: 'no\n' (no_route)"]),
    (RemoteError(b"{}", "no_route"), {"code": "no_route", "message": ""}, ["answer (no_route)"]),
]


@pytest.mark.parametrize(("error", "facts", "words"), SAID, ids=lambda each: type(each).__name__)
def test_an_error_has_its_facts_and_says_them(error: VeltixError, facts: dict[str, Any], words: list[str]) -> None:
    """Facts are attributes, and the sentence names each of them."""
    assert {name: getattr(error, name) for name in facts} == facts
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    "error", [error for error, _, _ in SAID if vars(error).get("cause") is None], ids=lambda error: type(error).__name__
)
def test_an_error_survives_pickling(error: VeltixError) -> None:
    """An error can be carried to another process with its facts."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("wire", "x" * 10_000, "short"),
        VersionRefused("\r\n\x1b[2J" * 1000, "1.x"),
        ServerFull({"long": "\x1b" * 1000}),
        RemoteError(b"\r\n" * 1000),
        RemoteError(b"\r\n", "x" * 32, "\x1b[2J" * 1000),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_peers_words_are_excerpted(error: VeltixError) -> None:
    """What a peer says is shown as a repr, cut short: no control characters, no flood."""
    assert len(str(error)) < 160
    assert str(error).isprintable()
    assert "…" in str(error)


@pytest.mark.parametrize("value", ["x" * 62, "x" * 61, "", None])
def test_a_short_value_is_not_cut(value: object) -> None:
    """An excerpt of up to 64 characters is the repr itself."""
    assert excerpt(value) == repr(value)


@pytest.mark.parametrize("value", ["x" * 63, "x" * 1000])
def test_a_long_value_is_cut_to_64_characters(value: object) -> None:
    """An excerpt has 64 characters at most and shows that it is one."""
    assert len(excerpt(value)) == 64
    assert excerpt(value) == repr(value)[:63] + "…"


def test_every_error_of_the_package_has_its_root() -> None:
    """Whoever catches VeltixError catches everything."""
    exported = [getattr(errors, name) for name in errors.__all__]
    raised = [each for each in exported if isinstance(each, type) and issubclass(each, Exception)]
    assert len(raised) == len(errors.__all__) - 1  # excerpt
    assert all(issubclass(each, VeltixError) for each in raised)


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (SettingsError, (ValueError,)),
        (errors.MessageTypeError, (ValueError,)),
        (MessageTooLarge, (errors.LocalProtocolError, ProtocolError)),
        (NotReady, (errors.LocalProtocolError,)),
        (QueueFull, (errors.LocalProtocolError,)),
        (UnvalidatedAddress, (errors.LocalProtocolError,)),
        (TooManyPings, (RemoteProtocolError,)),
        (FrameTimeout, (RemoteProtocolError,)),
        (FrameTooLarge, (RemoteProtocolError, ProtocolError)),
        (TooManyProtocolErrors, (RemoteProtocolError,)),
        (MalformedHello, (errors.HandshakeError, RemoteProtocolError)),
        (errors.NotVeltix, (MalformedHello, errors.HandshakeError)),
        (EarlyMessage, (errors.HandshakeError,)),
        (VersionRefused, (errors.HandshakeError,)),
        (HandshakeTimeout, (errors.HandshakeError,)),
        (ServerFull, (errors.HandshakeError,)),
        (TlsFailed, (errors.HandshakeError,)),
        (AuthenticationFailed, (errors.HandshakeError,)),
        (PlaintextCredentials, (errors.LocalProtocolError,)),
        (RequestTimeout, (RequestError,)),
        (TooManyRequests, (RequestError,)),
        (RemoteError, (RequestError,)),
        (RpcTimeout, (RequestTimeout,)),
        (MethodNotFound, (RpcError, RequestError)),
        (InvalidArguments, (RpcError, RequestError)),
        (RpcUnsupported, (LocalProtocolError,)),
    ],
)
def test_the_tree_is_the_documented_one(kind: type, bases: tuple[type, ...]) -> None:
    """Each error is caught by the families the module's tree shows it in."""
    assert issubclass(kind, bases[0])
    assert all(issubclass(kind, base) for base in bases)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FrameTooLarge, DisconnectReason.PROTOCOL_ERROR),
        (TooManyProtocolErrors, DisconnectReason.PROTOCOL_ERROR),
        (TooManyPings, DisconnectReason.PROTOCOL_ERROR),
        (FrameTimeout, DisconnectReason.PROTOCOL_ERROR),
        (MalformedHello, DisconnectReason.PROTOCOL_ERROR),
        (EarlyMessage, DisconnectReason.PROTOCOL_ERROR),
        (VersionRefused, DisconnectReason.VERSION_REFUSED),
        (HandshakeTimeout, DisconnectReason.HANDSHAKE_TIMEOUT),
        (ServerFull, DisconnectReason.SERVER_FULL),
        (TlsFailed, DisconnectReason.TLS_FAILED),
        (AuthenticationFailed, DisconnectReason.AUTHENTICATION_FAILED),
    ],
)
def test_a_broken_rule_says_why_the_connection_ended(kind: type[RemoteProtocolError], reason: DisconnectReason) -> None:
    """Every error of the peer's knows its disconnect reason."""
    assert kind.reason is reason


def test_upstreams_reasons_keep_their_numbers() -> None:
    """SERVER_CLOSED, ERROR and MANUAL are 1, 2 and 3."""
    assert DisconnectReason.SERVER_CLOSED is DisconnectReason.PEER_CLOSED
    assert [DisconnectReason(number).name for number in (1, 2, 3)] == ["PEER_CLOSED", "ERROR", "MANUAL"]


# Whole sentences

CHURN = ConnectionError("it broke")
WHOLE = {
    NotVeltix("server", "SSH", b"SSH-2.0-"): (
        "the server does not speak Veltix: it begins with b'SSH-2.0-', which looks like SSH: is this the right port?"
    ),
    Rejected("the guest list is full"): "the guest list is full",
    Rejected(): "the session was refused without a reason given",
    SessionClosed(DisconnectReason.REJECTED): "this side closed the connection because on_connect refused the session",
    NoSuchSession("a-1"): "there is no open session 'a-1'",
    NoSuchNode("a"): "there is no node 'a'",
    NodeGone("a"): "node 'a' is gone, and did not answer",
    RoomError("lobby", "it has too many members", 5): "room 'lobby': it has too many members (at most 5)",
    RoomError("lobby", "the session is no member"): "room 'lobby': the session is no member",
    BackplaneUnavailable("it was cut off"): "the backplane is down: it was cut off",
    BackplaneUnavailable("it broke", uncertain=True): "the backplane is down: it broke (it may have been done all the same)",
    BackplaneRefused("payload", 10): "the backplane takes no more: its limit payload is 10",
    NotReady(): "the handshake is not complete: nothing can be sent yet",
    MessageTooLarge(1001, 1000): "the message has 1001 bytes with its header, over max_message_size 1000",
    UnvalidatedAddress(9, 5): (
        "9 bytes are over the 5 that may be sent to an unvalidated address before more comes from it: "
        "call session.validate() once the peer has shown that the address is its own"
    ),
    QueueFull(9, 10): "9 bytes wait for the peer to read, and at most 10 may: wait for when_writable()",
    FrameTooLarge(1001, 1000): "the peer declared a frame of 1001 bytes, over the limit of 1000",
    MalformedFrame("version", 1, "256"): "the version of a frame is 1: it must be 256",
    TooManyProtocolErrors(32): (
        "the peer sent over 32 frames that had to be refused: "
        "bad checksums, garbage, unknown types, malformed errors, pongs never asked for"
    ),
    EndlessMessage(1001, 1000): "the peer sent 1001 bytes or more without the end of a message, and one may have 1000",
    StreamEnded(): (
        "the wire carries one message in each direction, and this side has sent its own: the next needs a new connection"
    ),
    TooManyPings(): "the peer sent more pings than limits.pings and limits.ping_burst allow",
    FrameTimeout(5000, 30.5): "a message of about 5000 bytes was begun and not finished within 30.5 s",
    EarlyMessage(200): "a message of type 200 came before the handshake was complete",
    VersionRefused("9.9", "pv 1.x"): "the peer announces version '9.9', and this side accepts pv 1.x",
    HandshakeTimeout(2.5): "the handshake was not complete after 2.5 s",
    HandshakeTimeout(2.5, "TLS was not through"): "the handshake was not complete after 2.5 s: TLS was not through",
    ServerFull("full"): "the server refuses the connection: 'full'",
    PlaintextCredentials("10.0.0.1:8080"): (
        "the credentials for 10.0.0.1:8080 would go over the network in the open, and nothing was sent: connect with tls=True, "
        "or give allow_plaintext_credentials=True where the network itself is trusted"
    ),
    Dropped("a duplicate"): "a duplicate",
    Dropped(): "the message was dropped without a reason given",
    CredentialsUnavailable("a str was given"): "this client's credentials cannot be had: a str was given",
    SessionClosed(DisconnectReason.IDENTITY_EXPIRED): ("this side closed the connection because its peer's identity has expired"),
    SessionClosed(DisconnectReason.UNCLASSIFIED): (
        "this side closed the connection because its classifier could not tell the session's kind"
    ),
    RequestTimeout(5): "no reply within 5 s",
    TooManyRequests(10): "10 requests are waiting for their replies already, as many as limits.pending allows",
    RemoteError(): "the peer could not answer",
    RemoteError(b"", "no_route", "no"): "the peer could not answer: 'no' (no_route)",
    SettingsError("port", -1, "a port"): "port is -1: it must be a port",
    RpcError("sold_out"): "the request failed (sold_out)",
    RpcError("sold_out", "no pens"): "the request failed: 'no pens' (sold_out)",
    MethodNotFound("nope"): "the request failed: \"there is no method 'nope'\" (method_not_found)",
    InvalidArguments("add", "a", "Expected `int`"): "the request failed: 'add: a: Expected `int`' (invalid_arguments)",
    RpcTimeout("add", 3): "'add': no reply within 3 s",
    RpcUnsupported("W15"): (
        "the peer has not agreed on calls of methods (wire W15): both sides must be veltix_tx on wire 'auto'; send_and_wait() "
        "asks any peer whose messages have request ids"
    ),
    InvalidContent(b"x", "JSON"): "b'x' is not JSON",
    InvalidContent(b"3", "Order in JSON", "Expected `str`", "$.item"): "b'3' is not Order in JSON: Expected `str` at $.item",
    CannotAwait(): (
        "asyncio's loop does not run under this reactor, so a handler awaits Deferreds only: install Twisted's asyncio reactor "
        "(twistd --reactor asyncio), or use veltix_tx.aio"
    ),
    SessionClosed(DisconnectReason.PEER_CLOSED): "the peer closed the connection",
    SessionClosed(DisconnectReason.PEER_CLOSED, HandshakeError("the server closed the connection before it said a word")): (
        "the server closed the connection before it said a word"
    ),
    SessionClosed(DisconnectReason.ERROR): "the connection failed",
    SessionClosed(DisconnectReason.ERROR, CHURN): "the connection failed: it broke",
    SessionClosed(DisconnectReason.MANUAL): "this side closed the connection",
    SessionClosed(DisconnectReason.RESET): "the connection was reset",
    SessionClosed(DisconnectReason.RESET, CHURN): "the connection was reset: it broke",
    SessionClosed(DisconnectReason.SERVER_FULL): "this side closed the connection because it has as many as it may",
    SessionClosed(DisconnectReason.WRITE_TIMEOUT): "this side closed the connection because its peer did not read what it was sent",
    SessionClosed(DisconnectReason.PING_TIMEOUT): (
        "this side closed the connection because its peer was silent, and did not answer a ping either"
    ),
    SessionClosed(DisconnectReason.COMPLETED): "each side has sent the one message that the wire carries",
    SessionClosed(DisconnectReason.UNANSWERED): (
        "this side closed the connection because it gave a request up whose late reply could not be told from the next one"
    ),
    SessionClosed(DisconnectReason.IDLE): (
        "this side closed the connection because its peer was silent for timeouts.idle (over UDP datagram_idle)"
    ),
    SessionClosed(DisconnectReason.EVICTED): "this side ended the session to make room for another peer's (limits.datagram_peers)",
    SessionClosed(DisconnectReason.UNREACHABLE): "the peer cannot be reached",
    SessionClosed(DisconnectReason.UNREACHABLE, CHURN): "the peer cannot be reached: it broke",
    SessionClosed(DisconnectReason.OVERLOAD): (
        "this side closed the connection because all together kept too much, and this one the most"
    ),
    SessionClosed(DisconnectReason.PROTOCOL_ERROR, EarlyMessage(5)): (
        "the connection was closed: a message of type 5 came before the handshake was complete"
    ),
}


@pytest.mark.parametrize("error", WHOLE, ids=lambda error: f"{type(error).__name__} {error.args}")
def test_an_error_read_by_itself_is_a_sentence(error: VeltixError) -> None:
    """What str() gives has a subject and a verb, whether it is read alone, in a line of the log or as another error's cause."""
    assert str(error) == WHOLE[error]


def test_every_error_is_among_them() -> None:
    """Of the errors whose words are their class's, and of the reasons that have no cause, none is left out."""
    worded = {kind for kind in map(errors.__dict__.get, errors.__all__) if isinstance(kind, type) and "__str__" in vars(kind)}
    assert worded - {type(error) for error in WHOLE} == set()
    without_cause = {error.reason for error in WHOLE if isinstance(error, SessionClosed) and error.cause is None}
    has_cause = {"AUTHENTICATION_FAILED", "PROTOCOL_ERROR", "HANDSHAKE_TIMEOUT", "VERSION_REFUSED", "TLS_FAILED"}
    assert {reason.name for reason in DisconnectReason} - {reason.name for reason in without_cause} == has_cause


SUBJECTS = ("the ", "a ", "only a ", "too many ", "request id ", "TLS with ")
"""How a sentence begins here."""


def test_words_given_where_an_error_is_raised_are_sentences() -> None:
    """HandshakeError and its kind say what they are given: that, too, begins with its subject, wherever it is written."""
    found = 0
    package = Path(errors.__file__).parent
    for path in (*package.glob("wire/**/*.py"), *package.glob("net/**/*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id
            if named in ("HandshakeError", "MalformedHello", "TlsFailed", "LocalProtocolError"):
                for text in said_by(call.args[0]):
                    found += 1
                    assert text.startswith(SUBJECTS), f"{path.name}: {text!r}"
    assert found > 15


def said_by(node: ast.expr) -> list[str]:
    """The literal beginnings of a text; of a name or a call, which is read elsewhere, none."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        first = node.values[0]
        return [str(first.value)] if isinstance(first, ast.Constant) else ["the "]
    return said_by(node.left) if isinstance(node, ast.BinOp) else []
