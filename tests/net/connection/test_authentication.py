"""Who is let in on one connection: before the verdict nothing is handled or sent, and whatever goes wrong lets nobody in."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from zope.interface import directlyProvides

from veltix_tx import AuthenticationFailed, CredentialsUnavailable, DisconnectReason, Password, PlaintextCredentials, Token
from veltix_tx.errors import HandshakeTimeout, LocalProtocolError, SessionClosed, TooManyProtocolErrors
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.shared.authentication import Credentials, SourceBackoff
from veltix_tx.wire.events import AuthenticationRequested, CredentialsRequested, Event, HandshakeCompleted
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import AUTHENTICATE, CALL, PING, RESULT, Response
from veltix_tx.wire.veltix.connection import VeltixConnection
from veltix_tx.wire.veltix.layouts import W15

GENERATIONS = ["1.3.0", "1.6.1", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.3", "3.3.0"]
ELSEWHERE = IPv4Address("TCP", "10.1.2.3", 50000)
NOW = 1_700_000_000.0

Lines = Callable[..., Any]


class Hook:
    """An ``authenticate`` that answers when it is told to, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Credentials] = []
        self.verdicts: list[Deferred[object]] = []
        self.cancelled = 0

    def __call__(self, credentials: Credentials) -> Deferred[object]:
        """Take the question."""
        self.asked.append(credentials)
        self.verdicts.append(Deferred(self._cancel))
        return self.verdicts[-1]

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class Identity:
    """An identity with an end."""

    def __init__(self, expires_at: object) -> None:
        self.expires_at = expires_at


def veltix(line: Any, **options: Any) -> VeltixConnection:
    """A far end of this package in place of one of a release."""
    role = Role.CLIENT if line.side.role is Role.SERVER else Role.SERVER
    clocks = {"calendar_ms": line.clocks.calendar_ms, "uptime_ms": line.clocks.uptime_ms}
    line.far = VeltixConnection(role, None, **clocks, getrandbits=Random(2).getrandbits, types=line.types, **options)
    far: VeltixConnection = line.far
    return far


def knock(line: Any, credentials: Token | Password | None = None) -> None:
    """Connect a client of this package up to its credentials."""
    far = veltix(line)
    line.connect()
    assert line.take() == [CredentialsRequested()]
    assert far.present(credentials) == []
    line.deliver()


def let_in(line: Any, credentials: Token | Password | None = None) -> Any:
    """Connect a client of this package that is let in at once; return the session."""
    knock(line, credentials)
    assert isinstance(line.take()[0], HandshakeCompleted)
    return line.protocol.session


def renew(line: Any, credentials: Token | Password, request_id: int = 5) -> list[Event]:
    """Present new credentials; return what the client hears."""
    line.far.reauthenticate(credentials, request_id)
    line.deliver()
    heard: list[Event] = line.take()
    return heard


# Nothing before the verdict


@pytest.mark.parametrize("release", GENERATIONS)
def test_nothing_is_handled_or_sent_before_the_verdict(server_line: Lines, release: str) -> None:
    """On every generation the application hears of nobody, and the peer gets no answer, until the hook has let it in."""
    hook = Hook()
    line = server_line(release, authenticate=hook)
    line.connect()
    for _ in range(4):
        line.take()
        line.deliver()
    if not hook.asked:  # a release without a handshake of its own is asked for at once
        line.deliver()
    (credentials,) = hook.asked
    said = b"".join(line.far.data_to_send())
    assert said == b""
    if line.far.peer is not None:  # the others wait for the result, as real ones do
        line.far.send(line.chat, b"early")
        line.far.send(PING, b"", 7)
        line.deliver()
    assert line.transport.value() == b""
    assert line.application.calls == []
    assert line.protocol.session is None
    assert line.transport.producerState == "paused"
    hook.verdicts[0].callback("ann")
    assert line.transport.producerState == "producing"
    assert line.protocol.session.identity == "ann"
    assert line.application.calls[0] == ("connected",)
    line.take()
    if line.application.contents:
        assert line.application.contents == [b"early"]
    line.say(b"next")
    assert line.application.contents[-1] == b"next"
    assert (credentials.token, credentials.name, credentials.password, credentials.presented) == (None,) * 4
    assert (credentials.ip, credentials.encrypted, credentials.certificate) == ("127.0.0.1", False, None)
    assert credentials.version in ("", release, "1.6.0")


@pytest.mark.parametrize("release", GENERATIONS)
def test_a_refused_peer_is_closed_and_was_never_there(server_line: Lines, release: str) -> None:
    """A peer that is refused gets not one byte more, and the application never hears of it or of what it sent."""
    hook = Hook()
    line = server_line(release, authenticate=hook)
    line.connect()
    for _ in range(4):
        line.take()
        line.deliver()
    if line.far.peer is not None:
        line.far.send(line.chat, b"early")
        line.far.send(PING, b"", 7)
        line.deliver()
    line.transport.clear()
    hook.verdicts[0].callback(None)
    assert line.transport.value() == b""
    assert line.transport.lost
    line.lose()
    assert line.application.calls == []
    assert line.side.shared.counters["closed_authentication_failed"] == line.side.shared.counters["authentications_failed"] == 1
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize("identity", ["ann", None])
def test_no_method_is_called_before_the_verdict(server_line: Lines, identity: object) -> None:
    """A call that comes behind the credentials is served once its peer is let in, and never where it is refused."""
    hook, calls = Hook(), list[bytes]()
    line = server_line(pinned=False, authenticate=hook, serve_call=lambda session, message: calls.append(message.content))
    knock(line, Token("s3cret"))
    line.protocol.dataReceived(W15.pack(CALL.code, b"call", 5, 0) + b"call")
    assert (calls, line.transport.value()) == ([], b"")
    hook.verdicts[0].callback(identity)
    assert calls == ([] if identity is None else [b"call"])


@pytest.mark.parametrize("release", ["1.3.0", "1.6.1", "1.6.3", "1.7.5"])
def test_a_verdict_at_once_costs_no_turn(server_line: Lines, release: str) -> None:
    """A plain function's verdict counts in the same read: what came behind the hello is handled in it."""
    line = server_line(release, authenticate=lambda credentials: "ann")
    line.connect()
    line.take()
    line.far.send(line.chat, b"early")
    line.deliver()
    assert line.application.calls == [("connected",), ("received", b"early")]
    assert line.protocol.session.identity == "ann"


@pytest.mark.parametrize("credentials", [Token("s3cret"), Password("ann", "s3cret"), None])
def test_the_hook_sees_what_is_presented(server_line: Lines, credentials: Any) -> None:
    """A token, or a name and a password, come to the hook as they were presented."""
    hook = Hook()
    line = server_line(pinned=False, authenticate=hook)
    knock(line, credentials)
    (asked,) = hook.asked
    assert asked.token == (credentials.token if isinstance(credentials, Token) else None)
    assert (asked.name, asked.password) == (
        (credentials.name, credentials.password) if isinstance(credentials, Password) else (None, None)
    )
    assert (asked.wire, asked.version, asked.address) == ("W15", "2.0.0", line.transport.getPeer())
    assert "s3cret" not in repr(asked)


# Whatever goes wrong refuses


async def _raises(credentials: Credentials) -> object:
    raise LookupError("no such user")


async def _none(credentials: Credentials) -> object:
    return None


REFUSING: dict[str, Any] = {
    "none": lambda credentials: None,
    "false": lambda credentials: False,
    "empty": lambda credentials: "",
    "zero": lambda credentials: 0,
    "deferred of none": lambda credentials: succeed(None),
    "coroutine of none": _none,
    "expired": lambda credentials: Identity(NOW - 1),
    "expires now": lambda credentials: Identity(NOW),
    "expires never was": lambda credentials: Identity(-math.inf),
}
FAILING: dict[str, Any] = {
    "raises": lambda credentials: 1 / 0,
    "coroutine raises": _raises,
    "takes no argument": lambda: "ann",
    "expires no day": lambda credentials: Identity("tomorrow"),
    "expires nan": lambda credentials: Identity(math.nan),
    "expires yes": lambda credentials: Identity(True),
    "expires too late": lambda credentials: Identity(10**400),
    "exits": lambda credentials: sys.exit("not for me"),
    "has no truth": lambda credentials: type("Odd", (), {"__bool__": lambda self: 1 / 0})(),
}


@pytest.mark.parametrize("hook", [*REFUSING.values(), *FAILING.values()], ids=[*REFUSING, *FAILING])
def test_it_fails_closed(server_line: Lines, logged_failures: Any, hook: Any) -> None:
    """What is false, an error, and an identity that has ended, or of which that cannot be told, let nobody in."""
    line = server_line(pinned=False, authenticate=hook)
    knock(line, Token("s3cret"))
    (failed,) = line.take()
    assert isinstance(failed.error, AuthenticationFailed)
    assert line.protocol.session is None
    assert line.side.shared.counters["authentications_failed"] == 1
    assert bool(logged_failures.flush()) == (hook in FAILING.values())


@pytest.mark.parametrize("identity", ["ann", True, 7, object(), Identity(None), Identity(NOW + 1), Identity(math.inf)])
def test_anything_else_is_an_identity(server_line: Lines, identity: object) -> None:
    """What the hook returns is the session's identity, whatever it is."""
    assert let_in(server_line(pinned=False, authenticate=lambda credentials: identity)).identity is identity


def test_a_hook_that_does_not_answer_has_the_handshakes_time(server_line: Lines) -> None:
    """The deadline holds for the verdict: the hook is cancelled, the connection ends, and a late verdict is nothing."""
    hook = Hook()
    line = server_line(pinned=False, authenticate=hook, handshake_timeout=2)
    knock(line, Token("s3cret"))
    line.clock.advance(1.9)
    assert not line.transport.aborted
    line.clock.advance(0.1)
    assert line.transport.aborted
    assert hook.cancelled == 1
    line.lose()
    assert line.application.calls == []
    assert line.side.shared.counters["closed_handshake_timeout"] == 1
    assert line.clock.getDelayedCalls() == []


def test_the_deadlines_error_says_what_was_missing(server_line: Lines) -> None:
    """An operator reads that it was the hook that took too long."""
    line = server_line(pinned=False, authenticate=Hook(), handshake_timeout=2)
    closed: list[Any] = []
    knock(line)
    line.protocol.when_lost().addCallback(closed.append)
    line.clock.advance(2)
    line.lose()
    assert isinstance(closed[0].cause, HandshakeTimeout)
    assert "authenticate was not done" in str(closed[0].cause)


def test_a_peer_that_leaves_cancels_the_hook(server_line: Lines) -> None:
    """Nobody is let in any more: the hook is cancelled, and its answer after all changes nothing."""
    for answer in (None, "ann"):
        hook = Hook()
        line = server_line(pinned=False, authenticate=hook)
        knock(line)
        if answer is not None:
            hook.verdicts[0]._canceller = None  # one that cannot be stopped, such as a thread's
        line.lose()
        if answer is not None:
            hook.verdicts[0].callback(answer)
        assert line.application.calls == []
        assert line.side.shared.counters["authentications_failed"] == 0


def test_a_client_that_goes_on_before_it_is_let_in_is_bounded(server_line: Lines) -> None:
    """Reading is paused until the verdict; what a transport still delivers is bounded by the longest message."""
    line = server_line(pinned=False, authenticate=Hook(), max_message_size=1000)
    knock(line)
    assert line.transport.producerState == "paused"
    for _ in range(11):
        line.protocol.dataReceived(b"x" * 100)
    assert line.transport.lost
    line.lose()
    assert line.side.shared.counters["closed_protocol_error"] == 1


# Identities that end, and new credentials


def test_an_expired_identity_ends_its_session(server_line: Lines) -> None:
    """At its time the session is closed with a reason of its own, not before."""
    line = server_line(pinned=False, authenticate=lambda credentials: Identity(NOW + 100))
    session = let_in(line)
    line.clock.advance(99.9)
    assert session.closed is None
    line.clock.advance(0.2)
    assert session.closed.reason is DisconnectReason.IDENTITY_EXPIRED
    line.lose()
    assert line.side.shared.counters["closed_identity_expired"] == 1


def test_the_end_is_the_calendars(server_line: Lines) -> None:
    """A calendar that is set forward, as after a machine's sleep, ends the identity within a minute; set back, not early."""
    jump = 0.0
    timeouts = Timeouts(ping_interval=10**6)
    line = server_line(pinned=False, authenticate=lambda credentials: Identity(NOW + 7200), timeouts=timeouts)
    object.__setattr__(line.clocks, "calendar", lambda: NOW + line.clock.seconds() + jump)
    session = let_in(line)
    line.clock.advance(30)
    jump = -3600
    line.clock.advance(7200)
    assert session.closed is None
    jump = 36000
    line.clock.advance(60)
    assert session.closed.reason is DisconnectReason.IDENTITY_EXPIRED


def test_new_credentials_renew_the_identity(server_line: Lines) -> None:
    """The hook is asked again; what it returns is the identity from then on, with an end of its own or none."""
    ends = iter([NOW + 100, NOW + 200, None])
    timeouts = Timeouts(ping_interval=10**6)
    line = server_line(pinned=False, authenticate=lambda credentials: Identity(next(ends)), timeouts=timeouts)
    session = let_in(line, Token("old"))
    first = session.identity
    line.clock.advance(90)
    assert [type(event).__name__ for event in renew(line, Token("new"))] == ["CredentialsAccepted"]
    assert session.identity is not first
    line.clock.advance(100)
    renew(line, Token("newer"))
    line.clock.advance(10_000)
    assert session.closed is None
    assert line.application.calls == [("connected",)]


def test_refused_new_credentials_change_nothing(server_line: Lines) -> None:
    """The session goes on with the identity it has; the client is told, the refusal counted, and it is a violation."""
    line = server_line(pinned=False, authenticate=lambda credentials: credentials.token != "bad" and "ann")
    session = let_in(line, Token("good"))
    for number in range(1, 33):
        (refused,) = renew(line, Token("bad"), number)
        assert (refused.request_id, refused.code) == (number, "authentication_failed")
    assert (session.identity, session.closed) == ("ann", None)
    renew(line, Token("bad"))
    assert isinstance(session.closed.cause, TooManyProtocolErrors)
    assert line.side.shared.counters["authentications_failed"] == 33


def test_a_late_verdict_is_not_one_on_later_credentials(server_line: Lines) -> None:
    """A hook that answers after its time was given up lets nobody in: not with the credentials it was asked of, nor with others."""
    hook, late = Hook(), Deferred[str]()

    async def stubborn(credentials: Credentials) -> object:
        with suppress(CancelledError):
            await hook(credentials)
        return await late

    hooks: dict[str | None, Any] = {"first": lambda credentials: "ann", "slow": stubborn, "wrong": hook}
    line = server_line(pinned=False, authenticate=lambda credentials: hooks[credentials.token](credentials))
    session = let_in(line, Token("first"))
    assert renew(line, Token("slow"), 1) == []
    line.clock.advance(5)
    assert [event.code for event in line.take()] == ["authentication_failed"]
    assert renew(line, Token("wrong"), 2) == []
    late.callback("mallory")
    assert line.take() == []
    assert session.identity == "ann"
    hook.verdicts[1].callback(None)
    assert [event.code for event in line.take()] == ["authentication_failed"]
    assert session.identity == "ann"


def test_the_end_of_a_session_cancels_the_hook(server_line: Lines) -> None:
    """Nothing waits for a verdict on a session that is gone."""
    hook = Hook()
    line = server_line(pinned=False, authenticate=lambda credentials: "ann" if credentials.token == "first" else hook(credentials))
    let_in(line, Token("first"))
    renew(line, Token("second"))
    line.lose()
    assert hook.cancelled == 1
    assert line.side.shared.counters["authentications_failed"] == 0


# Sources that guess


def refused(server_line: Lines, line: Any, address: Any) -> Any:
    """Let another client with bad credentials knock at the same server."""
    other = server_line(pinned=False)
    other.side = line.side
    other.clock, other.clocks = line.clock, line.clocks
    other.protocol = type(line.protocol)(line.side)
    other.transport.peerAddr = address
    knock(other, Token("bad"))
    assert isinstance(other.take()[0].error, AuthenticationFailed)
    other.lose()
    return other


def test_a_source_that_guesses_is_refused_unasked(server_line: Lines) -> None:
    """After six refusals in a minute the hook is not asked for 15 s, then 30: another source, and a session, never notice."""
    asked: Any = []
    line = server_line(pinned=False, authenticate=asked.append)
    for _ in range(10):
        refused(server_line, line, ELSEWHERE)
    assert len(asked) == 6
    assert line.side.shared.counters["authentications_held_off"] == 4
    refused(server_line, line, IPv4Address("TCP", "10.1.2.4", 1))
    assert len(asked) == 7
    line.clock.advance(15.1)
    for _ in range(5):
        refused(server_line, line, ELSEWHERE)
    assert len(asked) == 9  # the minute's forgiveness had one more by then
    line.clock.advance(29)
    refused(server_line, line, ELSEWHERE)
    assert len(asked) == 9
    line.clock.advance(1)
    refused(server_line, line, ELSEWHERE)
    assert len(asked) == 10


def test_this_machine_is_never_held_off(server_line: Lines) -> None:
    """Its own addresses may be a proxy's: one guesser behind it must not lock out everybody."""
    asked: Any = []
    line = server_line(pinned=False, authenticate=asked.append)
    for address in (IPv4Address("TCP", "127.0.0.1", 1), IPv6Address("TCP", "::1", 1), UNIXAddress("veltix.sock")):
        for _ in range(20):
            refused(server_line, line, address)
    assert len(asked) == 60


def test_sources_are_remembered_for_a_while_and_in_a_number() -> None:
    """A wait doubles up to ten minutes and is forgotten ten minutes later; of 100,000 sources the latest are remembered."""
    clock = Clock()
    backoff = SourceBackoff(clock.seconds, 5)
    waits = []
    for _ in range(9):
        while not backoff.remaining("10.0.0.1"):
            backoff.count("10.0.0.1")
        waits.append(backoff.remaining("10.0.0.1"))
        clock.advance(waits[-1])
    assert waits == [15, 30, 60, 120, 240, 480, 600, 600, 600]
    clock.advance(601)
    while not backoff.remaining("10.0.0.1"):
        backoff.count("10.0.0.1")
    assert backoff.remaining("10.0.0.1") == 15
    for number in range(100_000):
        backoff.count(f"10.1.{number // 256}.{number % 256}")
    assert len(backoff._sources) == 16_384
    assert backoff.remaining("10.0.0.1") == 0


def test_honest_mistakes_are_forgiven(server_line: Lines) -> None:
    """Five wrong ones a minute never hold a source off."""
    clock = Clock()
    backoff = SourceBackoff(clock.seconds, 5)
    for _ in range(100):
        backoff.count("10.0.0.1")
        assert not backoff.remaining("10.0.0.1")
        clock.advance(12.1)


# A client's credentials


@pytest.mark.parametrize("credentials", [Token("s3cret"), lambda: Token("s3cret"), lambda: succeed(Token("s3cret"))])
def test_a_client_presents_what_it_has(client_line: Lines, credentials: Any) -> None:
    """A Token as it is, or from a function that returns it, itself or in a Deferred."""
    line = client_line(pinned=False, credentials=credentials)
    veltix(line, authenticates=True)
    line.connect()
    line.deliver()
    (asked,) = line.take()
    assert isinstance(asked, AuthenticationRequested)
    assert asked.credentials == Token("s3cret")


def test_a_verdict_settles_no_other_request(client_line: Lines) -> None:
    """A server that sends a verdict under the id of a call, or of a request, does not answer that: both go on waiting."""
    line = client_line(pinned=False, credentials=Token("s3cret"))
    veltix(line, authenticates=True)
    line.connect()
    line.deliver()
    line.take()
    line.far.accept()
    line.deliver()
    session = line.protocol.session
    waiting = [session.call("add"), session.send_and_wait(line.chat)]
    asked = [event.request_id for event in line.take() if isinstance(event, Response)]
    assert len(asked) == 2
    for request_id in asked:
        line.far.send(AUTHENTICATE, b'{"result": "ok"}', request_id)
        line.deliver()
    assert not any(each.called for each in waiting)
    assert session.late_replies == 2
    line.far.send(RESULT, b"\x03", asked[0])
    line.deliver()
    assert waiting[0].result == 3
    waiting[1].addErrback(lambda failure: failure.trap(SessionClosed))
    line.lose()


def test_a_function_of_credentials_is_asked_for_by_servers_that_ask(client_line: Lines) -> None:
    """A server without a hook does not have the client obtain credentials; the log says that they were not sent."""
    made: Any = []
    line = client_line(pinned=False, credentials=lambda: made.append(1))
    veltix(line)
    line.shake()
    assert made == []


@pytest.mark.parametrize("bad", [lambda: 1 / 0, lambda: None, lambda: "s3cret", lambda: {"token": "s3cret"}])
def test_credentials_that_cannot_be_had_end_the_try(client_line: Lines, bad: Any) -> None:
    """An error of the function, and what is no Token or Password, is CredentialsUnavailable without the value; nothing is sent."""
    line = client_line(pinned=False, credentials=bad)
    veltix(line, authenticates=True)
    closed: list[Any] = []
    line.connect()
    line.protocol.when_lost().addCallback(closed.append)
    line.deliver()
    assert b"credentials" not in line.transport.value()
    line.lose()
    assert isinstance(closed[0].cause, CredentialsUnavailable)
    assert "s3cret" not in str(closed[0])


def test_credentials_that_do_not_come_have_the_handshakes_time(client_line: Lines) -> None:
    """The function's Deferred is cancelled at the handshake's deadline, and the error says what had not come."""
    cancelled: list[Any] = []
    line = client_line(pinned=False, credentials=lambda: Deferred(cancelled.append))
    veltix(line, authenticates=True)
    closed: list[Any] = []
    line.connect()
    line.protocol.when_lost().addCallback(closed.append)
    line.deliver()
    line.clock.advance(5)
    line.lose()
    assert len(cancelled) == 1
    assert "this client's credentials had not come" in str(closed[0].cause)
    assert b'"credentials"' not in line.transport.value()


PLAIN = {
    "loopback": (IPv4Address("TCP", "127.0.0.1", 8080), True),
    "mapped": (IPv6Address("TCP", "::ffff:127.0.0.1", 8080), True),
    "loopback6": (IPv6Address("TCP", "::1", 8080), True),
    "unix": (UNIXAddress("veltix.sock"), True),
    "elsewhere": (ELSEWHERE, False),
    "elsewhere6": (IPv6Address("TCP", "2001:db8::1", 8080), False),
    "every": (IPv4Address("TCP", "0.0.0.0", 8080), False),
    "unknown": (object(), False),
}


@pytest.mark.parametrize(("address", "allowed"), PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("credentials", [Token("s3cret"), None])
def test_no_secret_goes_over_a_network_in_the_open(client_line: Lines, address: Any, allowed: bool, credentials: Any) -> None:
    """Without TLS a client that has credentials talks to this machine only, unless it is told otherwise."""
    for more, expected in (({}, allowed or credentials is None), ({"allow_plaintext_credentials": True}, True)):
        line = client_line(pinned=False, credentials=credentials, **more)
        veltix(line, authenticates=True)
        closed: list[Any] = []
        line.transport.peerAddr = address
        line.connect()
        line.protocol.when_lost().addCallback(closed.append)
        assert (not line.transport.aborted) == expected
        assert line.transport.value() == b""
        if not expected:
            line.lose()
            assert isinstance(closed[0].cause, PlaintextCredentials)
            assert closed[0].reason is DisconnectReason.AUTHENTICATION_FAILED
            assert line.clock.getDelayedCalls() == []


def test_over_tls_they_go_anywhere(client_line: Lines) -> None:
    """A transport with TLS needs no permission."""
    line = client_line(pinned=False, credentials=Token("s3cret"))
    veltix(line, authenticates=True)
    directlyProvides(line.transport, ISSLTransport)
    line.transport.setTcpNoDelay = lambda on: None
    line.transport.peerAddr = ELSEWHERE
    line.connect()
    line.deliver()
    assert line.take()[0].credentials == Token("s3cret")


def test_a_client_of_a_release_presents_nothing(client_line: Lines) -> None:
    """Pinned to a release, a client says its bytes and nothing else; it has no way to present anything later either."""
    line = client_line("3.3.0", credentials=Token("s3cret"))
    session = line.shake()
    failures: list[Any] = []
    session._reauthenticate(Token("s3cret")).addErrback(failures.append)
    assert failures[0].check(LocalProtocolError)
    assert line.transport.value() == b""


# The log


def test_no_secret_is_logged(server_line: Lines, log_events: list[LogEvent], logged_failures: Any) -> None:
    """Refused, accepted, expired, in a hook's own error: no line of the log has a secret, and each has the connection's id."""
    secrets = ["s3cret", "pass'w\"ord"]

    def look_up(credentials: Credentials) -> object:
        return {"good": Identity(NOW + 1)}[credentials.token or credentials.password or ""]

    for credentials in (Token(secrets[0]), Password("ann", secrets[1])):
        knock(server_line(pinned=False, authenticate=look_up), credentials)
        knock(server_line(pinned=False, authenticate=lambda credentials: None), credentials)
    session = let_in(expired := server_line(pinned=False, authenticate=look_up), Token("good"))
    renew(expired, Token(secrets[0]))
    expired.clock.advance(2)
    assert session.closed is not None
    lines = [
        (formatEvent(event) or "") + (event["log_failure"].getTraceback() if "log_failure" in event else "") for event in log_events
    ]
    about = [event for event in log_events if event["log_namespace"].startswith("veltix_tx.net.connection")]
    assert len(about) == 6
    assert all(f"({event['connection']})" in (formatEvent(event) or "") for event in about)
    for line in lines:
        assert not any(secret in line or repr(secret)[1:-1] in line for secret in secrets)
    logged_failures.flush(KeyError)


def test_lines_about_one_source_are_limited(server_line: Lines, log_events: list[LogEvent]) -> None:
    """Ten thousand wrong tokens of one source are some twenty lines."""
    line = server_line(pinned=False, authenticate=lambda credentials: None, limits=Limits(log_burst=20))
    for _ in range(200):
        refused(server_line, line, IPv4Address("TCP", "127.0.0.1", 1))
    assert len([event for event in log_events if "refusing" in (formatEvent(event) or "")]) == 20
    assert line.side.shared.counters["lines_left_out"] == 180
