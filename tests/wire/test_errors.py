from __future__ import annotations

import pickle
from typing import Any

import pytest

from veltix_tx import errors
from veltix_tx.errors import (
    DisconnectReason,
    EarlyMessage,
    FrameTimeout,
    FrameTooLarge,
    HandshakeTimeout,
    MalformedHello,
    MessageTooLarge,
    NotReady,
    ProtocolError,
    QueueFull,
    RemoteError,
    RemoteProtocolError,
    RequestError,
    RequestTimeout,
    ServerFull,
    SessionClosed,
    SettingsError,
    TlsFailed,
    TooManyPings,
    TooManyRequests,
    TooManyStrikes,
    VeltixError,
    VersionRefused,
    excerpt,
)

SAID: list[tuple[VeltixError, dict[str, Any], list[str]]] = [
    (SettingsError("port", -1, "a port"), {"name": "port", "value": -1, "rule": "a port"}, ["port", "-1", "a port"]),
    (NotReady(), {}, ["handshake"]),
    (MessageTooLarge(1001, 1000), {"size": 1001, "limit": 1000}, ["1001", "max_message_size 1000"]),
    (FrameTooLarge(1001, 1000), {"size": 1001, "limit": 1000}, ["1001", "1000"]),
    (QueueFull(900, 1000), {"queued": 900, "limit": 1000}, ["900 bytes", "1000", "when_writable()"]),
    (TooManyStrikes(32), {"strikes": 32}, ["over 32 frames"]),
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
    (SessionClosed(DisconnectReason.MANUAL), {"reason": DisconnectReason.MANUAL, "cause": None}, ["this side closed"]),
    (SessionClosed(DisconnectReason.PEER_CLOSED), {}, ["the peer closed"]),
    (SessionClosed(DisconnectReason.RESET), {}, ["was reset"]),
    (SessionClosed(DisconnectReason.PROTOCOL_ERROR, TooManyStrikes(32)), {}, ["was closed: over 32 frames"]),
    (RequestTimeout(5.0), {"seconds": 5.0}, ["5 s"]),
    (TooManyRequests(10), {"limit": 10}, ["10 requests"]),
    (RemoteError(b"no"), {"detail": b"no"}, ["b'no'"]),
    (RemoteError(b""), {"detail": b""}, ["could not answer"]),
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
    assert len(raised) == len(errors.__all__) - 2
    assert all(issubclass(each, VeltixError) for each in raised)


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (SettingsError, (ValueError,)),
        (errors.MessageTypeError, (ValueError,)),
        (MessageTooLarge, (errors.LocalProtocolError, ProtocolError)),
        (NotReady, (errors.LocalProtocolError,)),
        (QueueFull, (errors.LocalProtocolError,)),
        (TooManyPings, (RemoteProtocolError,)),
        (FrameTimeout, (RemoteProtocolError,)),
        (FrameTooLarge, (RemoteProtocolError, ProtocolError)),
        (TooManyStrikes, (RemoteProtocolError,)),
        (MalformedHello, (errors.HandshakeError, RemoteProtocolError)),
        (errors.NotVeltix, (MalformedHello, errors.HandshakeError)),
        (EarlyMessage, (errors.HandshakeError,)),
        (VersionRefused, (errors.HandshakeError,)),
        (HandshakeTimeout, (errors.HandshakeError,)),
        (ServerFull, (errors.HandshakeError,)),
        (TlsFailed, (errors.HandshakeError,)),
        (RequestTimeout, (RequestError,)),
        (TooManyRequests, (RequestError,)),
        (RemoteError, (RequestError,)),
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
        (TooManyStrikes, DisconnectReason.PROTOCOL_ERROR),
        (TooManyPings, DisconnectReason.PROTOCOL_ERROR),
        (FrameTimeout, DisconnectReason.PROTOCOL_ERROR),
        (MalformedHello, DisconnectReason.PROTOCOL_ERROR),
        (EarlyMessage, DisconnectReason.PROTOCOL_ERROR),
        (VersionRefused, DisconnectReason.VERSION_REFUSED),
        (HandshakeTimeout, DisconnectReason.HANDSHAKE_TIMEOUT),
        (ServerFull, DisconnectReason.SERVER_FULL),
        (TlsFailed, DisconnectReason.TLS_FAILED),
    ],
)
def test_a_broken_rule_says_why_the_connection_ended(kind: type[RemoteProtocolError], reason: DisconnectReason) -> None:
    """Every error of the peer's knows its disconnect reason."""
    assert kind.reason is reason


def test_upstreams_reasons_keep_their_numbers() -> None:
    """SERVER_CLOSED, ERROR and MANUAL are 1, 2 and 3."""
    assert DisconnectReason.SERVER_CLOSED is DisconnectReason.PEER_CLOSED
    assert [DisconnectReason(number).name for number in (1, 2, 3)] == ["PEER_CLOSED", "ERROR", "MANUAL"]
