"""The protocol: the way to ready, one write per read, the polite close."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport

from tests.support.deferreds import outcome
from tests.support.line import half_of
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import SessionClosed
from veltix_tx.limits import Timeouts
from veltix_tx.wire.events import HandshakeCompleted
from veltix_tx.wire.veltix.layouts import W15
from veltix_tx.wire.veltix.phases import Established
from veltix_tx.wire.veltix.releases import AUTO_HELLOS

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


# Bad input.


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
        line.clock.advance(0)
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


def test_an_idle_connection_keeps_only_what_it_needs(server_line: Any) -> None:
    """Once ready, the wire keeps nothing of its handshake, and what all connections of a side have is kept once."""
    line = server_line()
    line.shake()
    connection, policing = line.protocol.connection, line.protocol._policing
    assert isinstance(connection._phase, Established)
    assert connection._phase.decoder._lookup is line.types.lookup
    kept = (connection, connection._phase, policing, line.protocol.flow, line.protocol.session._dispatcher)
    assert not any(hasattr(each, "__dict__") for each in kept)
    assert not {"limits", "timeouts", "clocks", "shared"} & vars(line.protocol).keys()
