"""Per-peer limits: deadlines, bad input, pings, silence; a violation closes the connection."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from tests.support.deferreds import outcome
from tests.support.line import half_of, together
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    EarlyMessage,
    FrameTimeout,
    FrameTooLarge,
    HandshakeTimeout,
    MalformedHello,
    NotVeltix,
    SessionClosed,
    TooManyPings,
    TooManyProtocolErrors,
    VersionRefused,
)
from veltix_tx.limits import Limits, Timeouts
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.factory import VeltixServerFactory
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.messages import MessageRegistry, MessageType
from veltix_tx.wire.veltix.layouts import W15, W22

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)


def warnings_of(log_events: list[Any]) -> list[str]:
    """The warnings among the events, as text."""
    return [event["log_format"].format(**event) for event in log_events if event["log_level"].name == "warn"]


@pytest.mark.parametrize("role", ["server", "client"])
def test_the_handshake_deadline_is_absolute(role: str, server_line: Any, client_line: Any, log_events: list[Any]) -> None:
    """Bytes never prolong the handshake's deadline; the late peer is aborted and logged once, with its address."""
    line = (server_line if role == "server" else client_line)("1.6.3", handshake_timeout=3.0)
    line.connect()
    line.take()
    hello = W22.pack(11 if role == "server" else 10, b"\0\x051.6.3", 1, 0)
    closed = outcome(line.protocol.when_lost())
    for position in range(5):
        line.clock.advance(0.5)
        line.protocol.dataReceived(hello[position : position + 1])
    line.clock.advance(0.499)
    assert line.transport.aborted == 0
    line.clock.advance(0.001)
    assert line.transport.aborted == 1
    line.lose(ConnectionLost())
    assert closed[0].reason is DisconnectReason.HANDSHAKE_TIMEOUT
    assert isinstance(closed[0].cause, HandshakeTimeout)
    assert closed[0].cause.seconds == 3.0
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert "handshake was not complete after 3 s" in said
    assert line.application.calls == []
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize("seconds", [0.25, 0.5, 1.0, 60.0])
@pytest.mark.parametrize("role", ["server", "client"])
def test_who_finds_out_has_no_longer_than_the_deadline(role: str, seconds: float, server_line: Any, client_line: Any) -> None:
    """The deadline holds whether it comes before the wire's own next step, between two of them, or after the last."""
    line = (server_line if role == "server" else client_line)(pinned=False, handshake_timeout=seconds)
    line.connect()
    while line.clock.seconds() < seconds - 0.01:
        line.clock.advance(min(0.05, seconds - 0.01 - line.clock.seconds()))
    assert line.transport.aborted == 0
    line.clock.advance(0.01)
    assert line.transport.aborted == 1
    assert line.clock.getDelayedCalls() == []


def test_the_handshake_deadline_is_lifted_when_it_is_complete(server_line: Any) -> None:
    """A ready connection whose peer may be silent is not closed."""
    line = server_line(timeouts=Timeouts(ping_interval=1_000_000))
    line.shake()
    line.clock.advance(100_000)
    assert not line.transport.disconnecting


@pytest.mark.parametrize(
    ("wire", "data", "kind"),
    [
        ("auto", b"GET / HTTP/1.1\r\n\r\n", NotVeltix),
        ("auto", b"\0\x05hello", MalformedHello),
        ("auto", b"\0\x02[]", MalformedHello),
        ("auto", b'\0\x0d{"v":"9.9.9"}', VersionRefused),
        ("1.6.3", W22.pack(200, b"", 1, 0), EarlyMessage),
        ("1.6.3", W22.pack(11, b"\0\x059.9.9", 1, 0) + b"\0\x059.9.9", MalformedHello),
        ("1.7.5", b"\0" * 64, MalformedHello),
        ("3.3.0", b"\xff" * 64, FrameTooLarge),
    ],
    ids=["http", "no json", "no object", "version", "early", "strange id", "no magic", "padding"],
)
def test_bad_handshakes_close_that_connection_only(
    wire: str, data: bytes, kind: type, recorder: Any, log_events: list[Any]
) -> None:
    """Bad input in a handshake closes with the reason logged once, with the address; the factory's others feel nothing."""
    clock = Clock()
    clocks = Clocks(clock, clock.seconds, clock.seconds)
    factory = VeltixServerFactory(recorder, ServerConfig(wire=wire), reactor=clocks, types=TYPES)
    bad, good = factory.buildProtocol(None), factory.buildProtocol(None)
    transports = [StringTransportWithDisconnection(), StringTransportWithDisconnection()]
    for protocol, transport in zip((bad, good), transports, strict=True):
        transport.protocol = protocol
        protocol.makeConnection(transport)
    closed = outcome(bad.when_lost())
    bad.dataReceived(data)
    assert isinstance(closed[0].cause, kind)
    assert not transports[0].connected
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert str(closed[0].cause) in said
    assert transports[1].connected
    assert list(factory.connections) == [good]
    good.abort(SessionClosed(DisconnectReason.MANUAL))
    assert clock.getDelayedCalls() == []
    assert recorder.calls == []


@pytest.mark.parametrize("role", ["server", "client"])
def test_an_oversized_frame_closes_before_it_is_buffered(
    role: str, server_line: Any, client_line: Any, log_events: list[Any]
) -> None:
    """A header that declares too much closes at once, is logged once with the address, and fails what waits."""
    line = (server_line if role == "server" else client_line)("3.3.0", max_message_size=1000)
    session = line.shake()
    waiting = outcome(session.send_and_wait(line.chat, b"?"))
    header = bytearray(W15.pack(200, b"", 1, 0))
    header[5:9] = (986).to_bytes(4, "big")
    line.protocol.dataReceived(bytes(header))
    assert line.transport.lost == 1
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.PROTOCOL_ERROR
    assert isinstance(session.closed.cause, FrameTooLarge)
    assert waiting[0].cause is session.closed.cause
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert "1001 bytes" in said
    line.lose()
    line.protocol.dataReceived(b"more")
    assert len(warnings_of(log_events)) == 1
    assert line.application.calls[-1] == ("disconnected", session.closed)


def test_strikes_close_when_there_are_too_many(server_line: Any, log_events: list[Any]) -> None:
    """Frames with a bad checksum are dropped whole and counted; the last strike closes, logged once."""
    line = server_line("3.3.0", limits=Limits(protocol_errors=3))
    session = line.shake()
    bad = W15.pack(200, b"right", 1, 0) + b"wrong"
    line.protocol.dataReceived(bad + bad)
    line.say(b"good")
    assert line.application.contents == [b"good"]
    assert session.frames_rejected == 2
    line.protocol.dataReceived(bad)
    assert isinstance(session.closed.cause, TooManyProtocolErrors)
    assert line.transport.lost == 1
    assert len(warnings_of(log_events)) == 1
    line.lose()


def test_what_comes_behind_the_last_strike_is_not_logged(server_line: Any, log_events: list[Any]) -> None:
    """Frames of the same read as the one that closes are refused without a word: one line for one close."""
    line = server_line("3.3.0", limits=Limits(protocol_errors=3))
    session = line.shake()
    line.protocol.dataReceived(W15.pack(300, b"", 1, 0) * 4 + b"".join(W15.pack(code, b"", 1, 0) for code in range(301, 340)))
    assert isinstance(session.closed.cause, TooManyProtocolErrors)
    named, closing = warnings_of(log_events)
    assert "type 300" in named
    assert "closing" in closing
    line.lose()


# Frames that are begun and not finished.


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("cut", [1, 14, 16, 500_000])
def test_a_message_that_is_begun_has_its_time(
    role: str, cut: int, server_line: Any, client_line: Any, log_events: list[Any]
) -> None:
    """A message must be finished in timeouts.frame and a second for each 64 KiB, wherever it stops, however it drips."""
    line = (server_line if role == "server" else client_line)(timeouts=Timeouts(frame=10, ping_interval=10_000))
    session = line.shake()
    line.clock.advance(100)
    first, rest = half_of(line, b"x" * 655_360, cut)
    line.protocol.dataReceived(first)
    seconds = 10 + (655_360 / 65536 if cut > 15 else 0)
    for position in range(int(seconds) - 1):
        line.clock.advance(1)
        if cut > 15:
            line.protocol.dataReceived(rest[position : position + 1])
    line.clock.advance(0.9)
    assert session.closed is None
    line.clock.advance(0.2)
    assert isinstance(session.closed.cause, FrameTimeout)
    assert session.closed.reason is DisconnectReason.PROTOCOL_ERROR
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert "not finished" in said
    line.lose()
    assert line.clock.getDelayedCalls() == []


def test_the_time_counts_from_the_whole_size_though_the_header_came_in_two(server_line: Any) -> None:
    """A header cut in the middle does not shorten the time of its message."""
    line = server_line(timeouts=Timeouts(frame=10, ping_interval=10_000))
    session = line.shake()
    first, rest = half_of(line, b"x" * 655_360, 3)
    line.protocol.dataReceived(first)
    line.clock.advance(1)
    line.protocol.dataReceived(rest[:1000])
    line.clock.pump([1] * 18)
    assert session.closed is None
    line.protocol.dataReceived(rest[1000:])
    line.clock.pump([1] * 100)
    assert session.closed is None
    assert len(line.application.contents) == 1


@pytest.mark.parametrize("kind", ["messages", "pings"])
def test_each_message_has_its_own_time(kind: str, server_line: Any) -> None:
    """A peer whose every read ends in the middle of a message is served for ever, pings included."""
    line = server_line(timeouts=Timeouts(frame=10, ping_interval=10_000))
    session = line.shake()
    kept = b""
    for number in range(100):
        if kind == "pings":
            line.far.send_ping(number)
        else:
            line.far.send(line.chat, b"%d" % number)
        data = kept + b"".join(line.far.data_to_send())
        line.protocol.dataReceived(data[:-3])
        kept = data[-3:]
        line.clock.advance(3)
    assert session.closed is None
    assert len(line.application.contents) == (99 if kind == "messages" else 0)


def test_time_does_not_run_while_reading_is_paused(server_line: Any) -> None:
    """A message whose rest we do not read is not late; when reading goes on its time begins anew."""
    line = server_line(timeouts=Timeouts(frame=10, ping_interval=10_000))
    session = line.shake()
    first, _ = half_of(line, b"x" * 5000, 100)
    line.protocol.dataReceived(first)
    line.protocol.flow.pause("a test")
    line.clock.pump([1] * 49)
    assert session.closed is None
    line.protocol.flow.resume("a test")
    line.clock.pump([1] * 9)
    assert session.closed is None
    line.clock.pump([1] * 11)
    assert isinstance(session.closed.cause, FrameTimeout)


# Pings.


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_ping_flood_is_closed(role: str, server_line: Any, client_line: Any, log_events: list[Any]) -> None:
    """The burst is answered; one ping more in the same moment closes, with its reason, logged once."""
    line = (server_line if role == "server" else client_line)(limits=Limits(pings=10, ping_burst=30))
    session = line.shake()
    for number in range(30):
        line.far.send_ping(number)
    line.deliver()
    assert session.closed is None
    line.far.send_ping(30)
    line.deliver()
    assert isinstance(session.closed.cause, TooManyPings)
    assert line.transport.lost == 1
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert "pings" in said
    line.lose()


def test_fifty_pings_a_second_are_served(server_line: Any) -> None:
    """A peer that pings fifty times a second for minutes is answered each time."""
    line = server_line()
    session = line.shake()
    pongs = 0
    for number in range(50 * 120):
        line.far.send_ping(number % 30_000)
        line.deliver()
        pongs += len(line.take())
        line.clock.advance(0.02)
    assert session.closed is None
    assert pongs == 50 * 120


# The heartbeat.


@pytest.mark.parametrize("wire", ["1.3.0", "1.4.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.2", "3.3.0"])
@pytest.mark.parametrize("role", ["server", "client"])
def test_a_silent_peer_is_pinged_then_dropped(
    role: str, wire: str, server_line: Any, client_line: Any, log_events: list[Any]
) -> None:
    """In both roles and every generation: a peer that answers pings lives, one that does not is aborted in silence + pong."""
    line = (server_line if role == "server" else client_line)(wire, timeouts=Timeouts(ping_interval=20, ping_timeout=10))
    session = line.shake()
    closed = outcome(session.when_closed())
    for _ in range(200):
        line.clock.advance(1)
        line.take()
        line.deliver()
    assert session.closed is None
    assert (session.late_replies, session.pending_requests) == (0, 0)
    line.clock.advance(20)
    assert line.transport.value()
    line.clock.advance(9.9)
    assert line.transport.aborted == 0
    line.clock.advance(0.2)
    assert line.transport.aborted == 1
    line.lose(ConnectionLost())
    assert closed[0].reason is DisconnectReason.PING_TIMEOUT
    (said,) = warnings_of(log_events)
    assert "54321" in said
    assert "silent" in said
    assert line.clock.getDelayedCalls() == []


def test_a_peer_we_do_not_read_is_pinged_and_kept(server_line: Any) -> None:
    """While a handler is busy and reading is paused, pings go out, nobody is dropped, and reading is not resumed by them."""
    line = server_line(timeouts=Timeouts(ping_interval=20, ping_timeout=10, handler=math.inf), limits=Limits(inflight=2))
    session = line.shake()
    gate: Deferred[None] = Deferred()
    line.application.on_message = lambda session, message: gate
    line.say(b"1", b"2", b"3", b"4")
    assert line.transport.producerState == "paused"
    line.take()
    line.clock.pump([1] * 100)
    assert session.closed is None
    assert line.transport.producerState == "paused"
    assert len(line.transport.value()) == 5 * W15.header_size
    gate.callback(None)
    assert line.transport.producerState == "producing"
    line.clock.pump([1] * 29)
    assert session.closed is None
    line.clock.pump([1] * 3)
    assert session.closed.reason is DisconnectReason.PING_TIMEOUT


def test_a_pong_that_we_did_not_read_in_time_counts(server_line: Any) -> None:
    """A peer whose pong came while reading was paused is not dropped in the moment reading goes on."""
    line = server_line(timeouts=Timeouts(ping_interval=20, ping_timeout=10))
    session = line.shake()
    line.clock.advance(20)
    line.take()
    line.protocol.flow.pause("a test")
    line.clock.advance(9.99)
    line.protocol.flow.resume("a test")
    line.clock.advance(0.02)
    assert session.closed is None
    line.deliver()
    line.clock.pump([1] * 19)
    assert session.closed is None


def test_the_heartbeat_is_not_a_request_of_ours(server_line: Any) -> None:
    """A heartbeat's ping does not count as a request that waits, which would let far more messages pile up."""
    line = server_line(timeouts=Timeouts(ping_interval=20, ping_timeout=10))
    session = line.shake()
    line.clock.advance(20)
    assert len(line.transport.value()) == W15.header_size
    assert session.pending_requests == 0
    line.take()
    line.deliver()
    assert session.late_replies == 0


def test_a_slow_reader_that_never_speaks_is_no_silent_peer(server_line: Any) -> None:
    """While it takes some of what waits for it, the ping among that, a silent peer lives; when it stops, it is dead."""
    line = server_line(timeouts=Timeouts(ping_interval=20, ping_timeout=10, write=10_000))
    session, flow = line.shake(), line.protocol.flow
    flow.pauseProducing()
    for _ in range(60):
        session.send(line.chat, b"x" * 100_000)
    taking = line.transport.writeSequence
    line.transport.writeSequence = lambda data: (taking(data), flow.pauseProducing())
    for _ in range(20):
        line.clock.advance(5)
        flow.resumeProducing()
    assert session.write_buffer_size > 1_000_000
    assert line.transport.aborted == 0
    line.clock.pump([5] * 4)
    assert session.closed.reason is DisconnectReason.PING_TIMEOUT


# Strikes that are forgiven.


@pytest.mark.parametrize("kind", ["type", "pong"])
def test_what_is_harmless_is_forgiven_with_time_but_not_in_any_number(kind: str, server_line: Any) -> None:
    """Unknown types and unasked pongs: one a second for ever is fine, a burst of the strikes is, one more closes."""
    (line,) = together(server_line, 1, protocol_errors=8)

    def strike() -> None:
        if kind == "type":
            line.far.send(unknown, b"")
        else:
            line.far.send_encoded([W15.pack(1, b"", 77, 0)])
        line.deliver()

    unknown = MessageType(299, "unknown", registry=MessageRegistry())
    for _ in range(50):
        strike()
        line.clock.advance(1)
    line.clock.advance(100)
    for _ in range(8):
        strike()
    assert line.transport.lost == 0
    line.say(b"fine")
    assert line.application.contents == [b"fine"]
    strike()
    assert line.transport.lost == 1
    assert line.protocol.session.closed.reason is DisconnectReason.PROTOCOL_ERROR
    assert "8 frames" in str(line.protocol.session.closed)


def test_a_late_pong_is_no_strike(server_line: Any) -> None:
    """The answer to a ping that was given up, or to the heartbeat's, was asked for."""
    (line,) = together(server_line, 1, protocol_errors=1)
    session = line.protocol.session
    for _ in range(5):
        session.ping(timeout=1).addErrback(lambda _: None)
        line.clock.advance(2)
        session._send_probe()
        line.take()
        line.deliver()
    assert line.transport.lost == 0
