"""The protocol: one deadline, every kind of bad input, one write per read, the polite close."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection

from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import (
    EarlyMessage,
    FrameTimeout,
    FrameTooLarge,
    HandshakeError,
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
from veltix_tx.net.transport.sockets import acknowledged, round_trip
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.events import HandshakeCompleted
from veltix_tx.wire.messages import MessageRegistry, MessageType
from veltix_tx.wire.veltix.layouts import W15, W22
from veltix_tx.wire.veltix.releases import AUTO_HELLOS


def warnings_of(log_events: list[Any]) -> list[str]:
    """The warnings among the events, as text."""
    return [event["log_format"].format(**event) for event in log_events if event["log_level"].name == "warn"]


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


KIB64 = 64 * 1024

GENERATIONS = ["1.4.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "2.0.2", "3.3.0"]


# The handshake and its deadline.


@pytest.mark.parametrize("wire", ["1.3.0", *GENERATIONS])
@pytest.mark.parametrize("role", ["server", "client"])
def test_each_generation_becomes_ready_in_both_roles(role: str, wire: str, server_line: Any, client_line: Any) -> None:
    """A pinned side and its peer of the same release end in a session, told to the application first."""
    line = (server_line if role == "server" else client_line)(wire)
    session = line.shake()
    line.say(b"hello")
    assert line.application.calls == [("connected",), ("received", b"hello")]
    session.send(line.chat, b"back")
    assert line.answers() == [b"back"]
    assert len(line.clock.getDelayedCalls()) == 1  # the heartbeat's


@pytest.mark.parametrize("wire", ["1.3.0", *GENERATIONS])
def test_a_client_that_finds_out_becomes_ready(wire: str, client_line: Any) -> None:
    """A client on auto finds out what a server of each generation speaks."""
    line = client_line(wire, pinned=False)
    line.connect()
    if wire == "1.3.0":
        line.clock.advance(1.6)
    for _ in range(6):
        line.take()
        line.deliver()
    assert line.protocol.session is not None


def test_a_transport_without_tcp_gets_no_tcp_calls(server_line: Any) -> None:
    """A protocol works on a transport that has neither TCP options nor a host in its address."""
    line = server_line()
    line.transport.peerAddr = UNIXAddress(b"/somewhere")
    session = line.shake()
    assert (session.ip, session.port) == ("", 0)


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


def test_the_handshake_deadline_is_lifted_when_it_is_complete(server_line: Any) -> None:
    """A ready connection whose peer may be silent is not closed."""
    line = server_line(timeouts=Timeouts(ping_interval=1_000_000))
    line.shake()
    line.clock.advance(100_000)
    assert not line.transport.disconnecting


def test_a_peer_that_closes_in_its_handshake_is_told_from_one_that_closes_later(client_line: Any) -> None:
    """A close in the middle of the handshake has a HandshakeError for its cause, a later one has none."""
    line = client_line()
    line.connect()
    closed = outcome(line.protocol.when_lost())
    line.lose()
    assert closed[0].reason is DisconnectReason.PEER_CLOSED
    assert isinstance(closed[0].cause, HandshakeError)
    assert outcome(line.protocol.when_lost())[0].reason is DisconnectReason.PEER_CLOSED
    late = client_line()
    late.shake()
    closed = outcome(late.protocol.when_lost())
    late.lose()
    assert (closed[0].reason, closed[0].cause) == (DisconnectReason.PEER_CLOSED, None)


@pytest.mark.parametrize(
    ("role", "first", "said"),
    [
        ("client", b"", "the server closed the connection before it said a word: is it a Veltix server, and one without TLS?"),
        (
            "client",
            b"\0",
            "the server closed the connection in the middle of the handshake, as servers do that refuse a client's version",
        ),
        ("server", b"", "the client closed the connection before it said a word"),
        (
            "server",
            b"\0",
            "the client closed the connection in the middle of the handshake, as clients do that refuse a server's version",
        ),
    ],
)
def test_a_close_in_the_handshake_is_a_sentence(role: str, first: bytes, said: str, server_line: Any, client_line: Any) -> None:
    """What a peer that leaves before the handshake is complete leaves behind says who did what, as a cause and by itself."""
    line = {"server": server_line, "client": client_line}[role]("1.6.3")
    line.connect()
    if first:
        line.protocol.dataReceived(first)
    closed = outcome(line.protocol.when_lost())
    line.lose()
    assert str(closed[0].cause) == str(closed[0]) == said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionDone(), DisconnectReason.PEER_CLOSED),
        (ConnectionLost(), DisconnectReason.RESET),
        (RuntimeError("tls"), DisconnectReason.ERROR),
    ],
)
def test_the_reason_of_a_lost_connection_is_named(error: Exception, reason: DisconnectReason, server_line: Any) -> None:
    """A clean end, a reset and any other error of the transport are three different reasons."""
    line = server_line()
    session = line.shake()
    closed = outcome(session.when_closed())
    line.lose(error)
    assert closed[0].reason is reason
    assert line.application.calls[-1][1].reason is reason


def test_a_cancelled_listener_is_forgotten(server_line: Any) -> None:
    """Cancelling when_lost only takes that one listener away."""
    line = server_line()
    line.shake()
    first, second = line.protocol.when_lost(), line.protocol.when_lost()
    cancelled = outcome(first)
    first.cancel()
    closed = outcome(second)
    line.lose()
    assert isinstance(closed[0], SessionClosed)
    assert len(cancelled) == 1


# The hellos of a server that finds out.


def test_the_hellos_of_an_auto_server_are_staged_and_stop_at_the_first_byte(server_line: Any) -> None:
    """A server on auto says one hello after another on its clock, and nothing after the client's first byte."""
    line = server_line(pinned=False)
    line.connect()
    sizes = [len(line.transport.value())]
    line.clock.advance(0.14)
    assert len(line.transport.value()) == sizes[0]
    for _ in range(3):
        line.clock.advance(0.16)
        sizes.append(len(line.transport.value()))
    assert sizes == sorted(set(sizes))
    line.protocol.dataReceived(b"\0")
    line.clock.pump([0.2] * 10)
    assert len(line.transport.value()) == sizes[-1]
    assert not line.transport.disconnecting


def test_an_auto_server_reads_before_it_says_the_next_hello(server_line: Any) -> None:
    """A server held up until its next hello is due first reads what has arrived: the answer to the last may be there."""
    line = server_line(pinned=False)
    line.connect()
    said = line.transport.value()
    line.clock.rightNow += 0.35
    [due] = [call for call in line.clock.getDelayedCalls() if call.getTime() <= line.clock.rightNow]
    line.clock.calls.remove(due)
    due.called = 1
    due.func(*due.args, **due.kw)  # the reactor's turn: timers, then reading
    assert line.transport.value() == said
    line.transport.clear()
    line.far.receive_data(said, 0)
    line.deliver()
    line.clock.pump([0.2] * 10)
    assert [type(event) for event in line.take()] == [HandshakeCompleted]


def test_an_auto_server_says_each_hello_once(server_line: Any) -> None:
    """After the last of its hellos a server on auto is silent until the deadline."""
    line = server_line(pinned=False)
    line.connect()
    line.clock.pump([0.15] * (len(AUTO_HELLOS) + 1))
    everything = line.transport.value()
    line.clock.advance(1)
    assert line.transport.value() == everything
    assert b'"v": "2.0.0"' in everything
    assert b"1.7.0" in everything


async def test_the_round_trip_of_a_real_socket_is_known() -> None:
    """The kernel's round trip of a loopback connection is a small number of seconds, 0 or more; of anything else, 0."""
    from twisted.internet import reactor

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
    protocol = Protocol()
    gone: Deferred[None] = Deferred()
    protocol.connectionLost = lambda reason=None: gone.callback(None)  # type: ignore[method-assign]
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), protocol)
    assert 0 <= round_trip(protocol.transport) < 1
    assert acknowledged(protocol.transport) in (0, 1)
    protocol.transport.loseConnection()  # type: ignore[union-attr]
    await gone
    await port.stopListening()
    assert round_trip(StringTransport()) == 0.0


def test_a_kernel_that_does_not_tell_the_round_trip_is_no_error() -> None:
    """A socket option that is missing or shorter than expected counts as no delay."""

    class Handle:
        def __init__(self, answer: bytes | None) -> None:
            self.answer = answer

        def getsockopt(self, *_: int) -> bytes:
            if self.answer is None:
                raise OSError
            return self.answer

    for answer in (None, b"short"):
        transport = StringTransport()
        transport.getHandle = lambda answer=answer: Handle(answer)  # type: ignore[attr-defined]
        assert round_trip(transport) == 0.0
        assert acknowledged(transport) is None


# Bad input.

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)


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
    assert waiting[0].value.cause is session.closed.cause
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


def test_garbage_between_frames_is_scanned_over(server_line: Any) -> None:
    """On a layout with a magic, garbage and unknown types are dropped and the next message arrives."""
    line = server_line("3.3.0")
    session = line.shake()
    line.protocol.dataReceived(b"garbage" + W15.pack(300, b"", 1, 0) + W15.pack(200, b"x", 1, 0) + b"x")
    assert line.application.contents == [b"x"]
    assert session.frames_rejected == 2


def test_bytes_behind_a_close_are_not_read(server_line: Any) -> None:
    """Nothing that arrives after this side closed reaches the application."""
    line = server_line()
    session = line.shake()
    session.disconnect()
    line.say(b"late")
    assert line.application.contents == []
    line.lose()


def test_a_message_in_the_read_that_completes_the_handshake_is_handled(server_line: Any) -> None:
    """A message right behind the handshake's last byte is handled after connected()."""
    line = server_line("1.6.3")
    line.connect()
    line.take()
    line.far.send(line.chat, b"first")
    line.deliver()
    assert line.application.calls == [("connected",), ("received", b"first")]


def test_one_byte_at_a_time_is_the_same(server_line: Any) -> None:
    """A connection that arrives byte by byte, handshake and all, is no different."""
    line = server_line("3.3.0")
    line.connect()
    for _ in range(3):
        line.take()
        for byte in b"".join(line.far.data_to_send()):
            line.protocol.dataReceived(bytes([byte]))
    line.far.send(line.chat, b"slowly")
    for byte in b"".join(line.far.data_to_send()):
        line.protocol.dataReceived(bytes([byte]))
    assert line.application.contents == [b"slowly"]


# Writing.


def test_the_answers_of_one_read_leave_in_one_write(server_line: Any) -> None:
    """The answers to all that one read holds and the handlers' sends are written at once; what one turn sends elsewhere, too."""
    line = server_line()
    session = line.shake()

    def answer(session: Any, message: Any) -> bytes:
        session.send(line.news, b"news")
        return b"re " + bytes(message.content)

    line.application.on_message = answer
    line.far.send_ping(5)
    line.say(b"1", b"2", b"3")
    assert line.transport.writes == 1
    assert line.answers() == [b"news", b"re 1", b"news", b"re 2", b"news", b"re 3"]
    session.send(line.chat, b"own")
    session.send(line.chat, b"own")
    assert line.transport.writes == 1
    line.clock.advance(0)
    assert line.transport.writes == 2


def test_a_read_without_answers_writes_nothing(server_line: Any) -> None:
    """A read that causes nothing to be sent causes no write."""
    line = server_line()
    line.shake()
    line.say(b"1")
    assert line.transport.writes == 0


# Closing.


def test_a_close_writes_what_is_queued_first(server_line: Any) -> None:
    """disconnect() in a handler sends the answers queued so far, then closes once."""
    line = server_line()
    session = line.shake()

    def answer(session: Any, message: Any) -> bytes | None:
        if message.content == b"bye":
            session.disconnect()
            session.disconnect()
            return None
        return bytes(message.content)

    line.application.on_message = answer
    line.say(b"1", b"2", b"bye", b"3")
    assert line.answers() == [b"1", b"2"]
    assert (line.transport.lost, line.transport.aborted) == (1, 0)
    assert line.application.contents == [b"1", b"2", b"bye"]
    assert line.transport.producer is None
    line.lose()
    assert session.closed.reason is DisconnectReason.MANUAL
    assert line.application.calls[-1][0] == "disconnected"
    assert line.clock.getDelayedCalls() == []


def test_a_close_that_hangs_is_aborted(server_line: Any) -> None:
    """A polite close that takes longer than timeouts.close is aborted at exactly that time."""
    line = server_line(timeouts=Timeouts(close=2.0))
    session = line.shake()
    closed = outcome(session.disconnect())
    line.clock.advance(1.999)
    assert (line.transport.aborted, closed) == (0, [])
    line.clock.advance(0.001)
    assert line.transport.aborted == 1
    line.lose(ConnectionLost())
    assert closed[0].reason is DisconnectReason.MANUAL


def test_the_first_reason_stays(server_line: Any) -> None:
    """An abort or a loss after a close does not change why the connection ended."""
    line = server_line()
    session = line.shake()
    closed = outcome(session.disconnect())
    line.protocol.abort(SessionClosed(DisconnectReason.ERROR))
    line.lose(ConnectionLost())
    assert closed[0].reason is DisconnectReason.MANUAL


def test_a_protocol_without_a_transport_can_be_closed(server_line: Any) -> None:
    """Closing, aborting or flushing before there is a transport does nothing."""
    protocol = server_line().protocol
    protocol.close(SessionClosed(DisconnectReason.MANUAL))
    protocol.abort(SessionClosed(DisconnectReason.MANUAL))
    protocol.flush()
    assert protocol.session is None


def test_a_full_server_says_so_to_a_peer_that_understands_it(server_line: Any) -> None:
    """A refused peer gets the JSON error where its release knows it, nothing otherwise, and is closed."""
    for wire, said in (("3.3.0", b"server_full"), ("1.6.3", b"")):
        line = server_line(wire, full=True)
        line.connect()
        assert said in line.transport.value()
        assert bool(line.transport.value()) is bool(said)
        assert line.transport.lost == 1
        closed = outcome(line.protocol.when_lost())
        line.lose()
        assert closed[0].reason is DisconnectReason.SERVER_FULL
        assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize("tls", [False, True])
def test_buffer_size_is_the_transports(tls: bool, server_line: Any) -> None:
    """What reads, which below TLS is another transport, reads buffer_size bytes at once."""
    line = server_line(buffer_size=5000)
    reads = line.transport
    if tls:
        reads = line.transport.transport = StringTransport()
    reads.bufferSize = 65536
    line.connect()
    assert reads.bufferSize == 5000


@pytest.mark.parametrize("tls", [False, True])
def test_more_is_read_at_once_while_a_long_message_arrives(tls: bool, server_line: Any) -> None:
    """Four times 64 KiB while one arrives that is longer than that; as before when it is there, and for others."""
    line = server_line()
    reads = line.transport
    line.shake()
    if tls:
        reads = line.transport.transport = StringTransport()
    reads.bufferSize = KIB64
    for size, expected in ((4 * KIB64 + 1, 4 * KIB64), (4 * KIB64, KIB64)):
        first, rest = half_of(line, b"x" * size, 100)
        line.protocol.dataReceived(first)
        assert reads.bufferSize == expected
        line.protocol.dataReceived(rest)
        assert reads.bufferSize == KIB64
    assert [len(content) for content in line.application.contents] == [4 * KIB64 + 1, 4 * KIB64]


def test_a_long_read_is_handled_in_portions(server_line: Any) -> None:
    """The messages of a long read are not made all at once; all are handled in order, those cut by a portion's end, too."""
    seen = bytearray()
    line = server_line()
    line.shake()
    line.protocol.session._dispatcher._received = lambda session, message: seen.extend(message.content)
    for number in range(16_000):
        line.far.send(line.chat, number.to_bytes(2, "big") * 32)
    read = b"".join(line.far.data_to_send())
    tracemalloc.start()
    try:
        line.protocol.dataReceived(read)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bytes(seen) == b"".join(number.to_bytes(2, "big") * 32 for number in range(16_000))
    assert peak < 2 * len(seen)


def test_a_read_that_is_closed_in_the_middle(server_line: Any) -> None:
    """Of a long read nothing is handled that lies behind the message whose handler closed the connection."""
    line = server_line()
    session = line.shake()
    line.application.on_message = lambda session, message: session.disconnect() and None if message.content[:1] == b"!" else None
    contents = [b"x" * 1000] * 40 + [b"!" * 1000] + [b"y" * 1000] * 40
    line.say(*contents)
    assert line.application.contents == contents[:41]
    assert session.closed is not None


# Frames that are begun and not finished.


def half_of(line: Any, content: bytes, cut: int) -> tuple[bytes, bytes]:
    """A message of the far end, cut."""
    line.far.send(line.chat, content)
    data = b"".join(line.far.data_to_send())
    return data[:cut], data[cut:]


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


def test_bytes_after_a_close_set_no_timer(server_line: Any) -> None:
    """Half a message that comes while the connection closes leaves nothing behind."""
    line = server_line()
    session = line.shake()
    first, _ = half_of(line, b"x" * 5000, 100)
    session.disconnect()
    line.protocol.dataReceived(first)
    assert len(line.clock.getDelayedCalls()) == 1  # the close's
    line.lose()
    assert line.clock.getDelayedCalls() == []


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


@pytest.mark.parametrize("wire", ["1.3.0", *GENERATIONS])
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


def test_an_idle_connection_keeps_only_what_it_needs(server_line: Any) -> None:
    """Once ready, the wire keeps nothing of its handshake, and what all connections of a side have is kept once."""
    line = server_line()
    line.shake()
    connection = line.protocol.connection
    assert (connection._handshake, connection._setup) == (None, None)
    assert connection._decoder._lookup is line.types.lookup
    assert not any(hasattr(each, "__dict__") for each in (connection, line.protocol.flow, line.protocol.session._dispatcher))
    assert not {"limits", "timeouts", "clocks", "shared"} & vars(line.protocol).keys()
