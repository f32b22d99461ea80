"""Plain wires, bytes in and values out: each framing whole, byte by byte and cut anywhere, and what none of them carries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veltix_tx.errors import (
    EndlessMessage,
    FrameTooLarge,
    HandshakeError,
    LocalProtocolError,
    MessageTooLarge,
    SettingsError,
    TooManyProtocolErrors,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.events import ConnectionFailed, Event, FrameRejected, RejectReason
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.messages import TEXT, MessageRegistry, MessageType, Response
from veltix_tx.wire.plain.connection import PlainConnection
from veltix_tx.wire.plain.options import Delimited, EndOfStream, Fixed, Lines, PlainWire, Prefixed, Raw

SERVER, CLIENT = Role.SERVER, Role.CLIENT
ORDER = MessageType(201, "order", registry=MessageRegistry())
GARBAGE, MALFORMED = FrameRejected(RejectReason.GARBAGE), FrameRejected(RejectReason.MALFORMED)


def begun(wire: PlainWire, role: Role = SERVER, *, limit: int = 10_000, encrypted: bool = False, **limits: int) -> PlainConnection:
    """A connection that has begun."""
    context = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(**limits), limit)
    connection = wire.connect(role, context, round_trip=0.0, encrypted=encrypted)
    connection.start()
    return connection


def heard(events: list[Event]) -> list[object]:
    """Values of messages, and the other events as they are."""
    return [event.value if isinstance(event, Response) else event for event in events]


def received(connection: PlainConnection, pieces: Iterator[bytes] | list[bytes], *, end: bool = False) -> list[object]:
    """What a connection makes of bytes that come in pieces."""
    events = [event for piece in pieces for event in connection.receive_data(piece, 0)]
    return heard(events + (connection.receive_eof(0) if end else []))


def bytewise(data: bytes) -> list[bytes]:
    """Bytes one at a time."""
    return [data[at : at + 1] for at in range(len(data))]


HE = "h\u00e9".encode()
READS: dict[str, tuple[PlainWire, bytes, list[object]]] = {
    "LF": (Lines(), b"one\n\ntwo\n" + HE + b"\n", ["one", "", "two", "h\u00e9"]),
    "CRLF": (Lines(), b"one\r\n\r\ntwo\r\r\n\n", ["one", "", "two\r", ""]),
    "LF alone": (Lines(separator=b"\n"), b"one\r\ntwo\n", ["one\r", "two"]),
    "a bar": (Lines(separator=b"|"), b"one|two\n|", ["one", "two\n"]),
    "three bytes": (Lines(separator=b"<>;"), b"o<>ne<>;<<>;>;<>;", ["o<>ne", "<", ">;"]),
    "a separator that overlaps itself": (Lines(separator=b"aab"), b"aaabxaab", ["a", "x"]),
    "kept": (Lines(keep=True), b"one\r\ntwo\n\n", ["one\r\n", "two\n", "\n"]),
    "NULs": (Lines(), b"\0\n\0\0\n", ["\0", "\0\0"]),
    "bytes": (Lines(text=False), b"\xff\xfe\r\n\n", [b"\xff\xfe", b""]),
    "latin-1": (Lines(encoding="latin-1"), b"h\xe9\n", ["h\u00e9"]),
    "no UTF-8": (Lines(), b"\xff\n" + HE[:2] + b"\nok\n", [MALFORMED, MALFORMED, "ok"]),
    "UTF-8 of surrogates and beyond": (Lines(), b"\xed\xa0\x80\n\xf4\x90\x80\x80\n\xc0\xaf\n", [MALFORMED] * 3),
    "an encoding with errors of its own": (Lines(encoding="idna"), b"\xff\nok\n", [MALFORMED, "ok"]),
    "replaced": (Lines(errors="replace"), b"\xff\n", ["\ufffd"]),
    "UTF-16": (Lines(separator=b"\n\0", encoding="utf-16-le"), "one\ntwo\n".encode("utf-16-le"), ["one", "two"]),
    "fixed": (Fixed(4), b"one abcd    " + HE + b" ", ["one", "abcd", "", "h\u00e9"]),
    "fixed, padded with NUL": (Fixed(4, b"\0"), b"one\0ab \0", ["one", "ab "]),
    "fixed, unpadded": (Fixed(4, None), b"one abcd", ["one ", "abcd"]),
    "1 byte": (Prefixed(1), b"\x03one\0\x01x", ["one", "", "x"]),
    "2 bytes": (Prefixed(2), b"\0\x03one\0\0", ["one", ""]),
    "4 bytes": (Prefixed(), b"\0\0\0\x03one\0\0\0\0", ["one", ""]),
    "4 bytes, little-endian": (Prefixed(4, "little"), b"\x03\0\0\0one", ["one"]),
    "STX": (Delimited(), b"\x02one\x03\x02\x03\x02\x10\x03\x10\x02\x10\x10a\x03", ["one", "", "\x03\x02\x10a"]),
    "STX in lines": (Delimited(), b"\r\n\x02one\x03\r\n\x02two\x03\n", ["one", "two"]),
    "outside": (Delimited(), b"abc\x02one\x03def\x03ghi\x02two\x03", [GARBAGE, "one", GARBAGE, "two"]),
    "interrupted": (Delimited(), b"\x02one\x02two\x03", [GARBAGE, "two"]),
    "an escape before the end": (Delimited(), b"\x02one\x10\x03two\x03", ["one\x03two"]),
    "no escape": (Delimited(b"<", b">", None), b"<one><\\><>", ["one", "\\", ""]),
}


@pytest.mark.parametrize("name", READS)
def test_these_bytes_are_these_messages(name: str) -> None:
    """A frozen table for each wire, read whole, byte by byte, and with each cut in two."""
    wire, data, values = READS[name]
    for pieces in ([data], bytewise(data), *([data[:at], data[at:]] for at in range(1, len(data)))):
        connection = begun(wire)
        assert received(connection, pieces) == values
        assert connection.buffered_size == connection.incoming_size == 0


WRITES: list[tuple[PlainWire, object, bytes]] = [
    (Lines(), "one", b"one\n"),
    (Lines(), b"one", b"one\n"),
    (Lines(), "h\u00e9", HE + b"\n"),
    (Lines(separator=b"\r\n"), "one\r", b"one\r\r\n"),
    (Lines(separator=b"\r\n"), "one\ntwo", b"one\ntwo\r\n"),
    (Lines(keep=True), "one\n", b"one\n"),
    (Lines(keep=True), "one", b"one\n"),
    (Lines(text=False), memoryview(b"\xff"), b"\xff\n"),
    (Fixed(4), "one", b"one "),
    (Fixed(4, None), "four", b"four"),
    (Prefixed(1), "one", b"\x03one"),
    (Prefixed(2, "little"), "one", b"\x03\0one"),
    (Delimited(), "a\x02\x03\x10", b"\x02a\x10\x02\x10\x03\x10\x10\x03"),
    (Raw(), "one", b"one"),
    (EndOfStream(), "one", b"one"),
]


@pytest.mark.parametrize(("wire", "value", "data"), WRITES)
def test_these_values_are_these_bytes(wire: PlainWire, value: object, data: bytes) -> None:
    """What is sent is frozen, too; a reply is sent as any message, its request id meaning nothing."""
    connection = begun(wire)
    assert b"".join(connection.encode(TEXT, value)) == data
    assert connection.send(TEXT, value, 5) == len(data)
    assert b"".join(connection.data_to_send()) == data


REFUSED: list[tuple[PlainWire, object, type[Exception], str]] = [
    (Lines(), "a\nb", LocalProtocolError, "a line has no LF"),
    (Lines(), "a\r", LocalProtocolError, "no CR at its end"),
    (Lines(separator=b"aa"), "xa", LocalProtocolError, "b'aa'"),
    (Lines(keep=True), "a\nb\n", LocalProtocolError, "a line has no"),
    (Lines(), b"\xff", LocalProtocolError, "text in utf-8, not"),
    (Lines(), "\ud800", LocalProtocolError, "text in utf-8, not"),
    (Lines(encoding="ascii"), "h\u00e9", LocalProtocolError, "text in ascii, not"),
    (Lines(), 5, TypeError, "a message of the wire lines is text, or bytes of it, not int"),
    (Lines(), None, TypeError, "not NoneType"),
    (Lines(text=False), "one", TypeError, "bytes, not str"),
    (Lines(max_line=20), "x" * 20, MessageTooLarge, "21 bytes"),
    (Fixed(4), "x" * 5, MessageTooLarge, "5 bytes"),
    (Fixed(4, None), "x", LocalProtocolError, "a message without padding has 4 bytes, not 1"),
    (Prefixed(1), "x" * 256, MessageTooLarge, "257 bytes"),
    (Delimited(b"<", b">", None), "a>b", LocalProtocolError, "no delimiter"),
    (Raw(), "", LocalProtocolError, "not empty"),
    (EndOfStream(), b"", LocalProtocolError, "not empty"),
]


@pytest.mark.parametrize(("wire", "value", "error", "said"), REFUSED)
def test_what_the_peer_would_take_for_something_else_is_refused(
    wire: PlainWire, value: object, error: type[Exception], said: str
) -> None:
    """A value that would not arrive as it is raises where it is sent, and nothing is queued."""
    connection = begun(wire)
    for call in (connection.send, connection.encode):
        with pytest.raises(error, match=said):
            call(TEXT, value)
    assert connection.data_to_send() == []


def test_a_wire_carries_its_own_type_alone() -> None:
    """Types do not go over such a wire: what is sent has the wire's, or one of the same key, or is an error."""
    connection = begun(Lines(type=ORDER))
    (message,) = connection.receive_data(b"tea\n", 0)
    assert isinstance(message, Response)
    assert message.type is ORDER
    connection.send(MessageType(201, "order", registry=MessageRegistry()), "tea")
    with pytest.raises(LocalProtocolError, match="carries messages of type order alone, not text"):
        connection.send(TEXT, "tea")


def test_wires_alike_with_types_of_one_key_are_apart() -> None:
    """Types of other registries may share a key and not what their contents are: each wire's messages are of its own type."""
    types = [MessageType(205, "alike", registry=MessageRegistry(), content=content) for content in (str, int)]
    for message_type, value in zip(types, ("5", 5), strict=True):
        (message,) = begun(Lines(type=message_type)).receive_data(b"5\n" if value == 5 else b'"5"\n', 0)
        assert isinstance(message, Response)
        assert (message.type is message_type, message.value) == (True, value)


# Limits

ENDLESS = {
    "a line": (Lines(max_line=50), b"x" * 50),
    "a line that has come whole": (Lines(max_line=50), b"x" * 50 + b"\n"),
    "NULs": (Lines(max_line=50), b"\0" * 200),
    "half of a separator": (Lines(separator=b"||", max_line=50), b"|x" * 30),
    "no end of a message": (Delimited(), b"\x02" + b"x" * 99),
    "escapes alone": (Delimited(), b"\x02" + b"\x10" * 99),
    "a stream": (EndOfStream(), b"x" * 101),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_message_without_end_ends_the_connection_at_the_limit(name: str) -> None:
    """Whole and byte by byte, exactly one byte too many is the end; what came before has been heard, and nothing is kept."""
    wire, data = ENDLESS[name]
    for pieces in ([data], bytewise(data)):
        connection = begun(wire, limit=100)
        (failed,) = received(connection, pieces)
        assert isinstance(failed, ConnectionFailed)
        assert isinstance(failed.error, EndlessMessage)
        assert connection.buffered_size == 0
        assert received(connection, [b"one\n"], end=True) == []


def test_messages_before_the_one_that_is_too_long_are_heard() -> None:
    """One read may bring both."""
    (first, second, failed) = received(begun(Lines(max_line=20)), [b"one\ntwo\n" + b"x" * 30 + b"\nthree\n"])
    assert (first, second) == ("one", "two")
    assert isinstance(failed, ConnectionFailed)


def test_a_declared_length_over_the_limit_is_not_waited_for() -> None:
    """The length alone ends the connection, before a byte of the content has come."""
    connection = begun(Prefixed(4), limit=100)
    (failed,) = received(connection, [b"\xff\xff\xff\xff"])
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, FrameTooLarge)
    assert (failed.error.size, failed.error.limit) == (2**32 + 3, 100)


def test_a_declared_length_is_told_before_its_bytes_have_come() -> None:
    """``incoming_size`` is the whole message's as soon as its length is known."""
    connection = begun(Prefixed(2))
    connection.receive_data(b"\x01", 0)
    assert (connection.incoming_size, connection.buffered_size) == (1, 1)
    connection.receive_data(b"\x00x", 0)
    assert (connection.incoming_size, connection.buffered_size) == (258, 3)
    assert connection.beginning == b"\x01\x00x"


@pytest.mark.parametrize("pieces", [[b"x\x02a\x03" * 9], bytewise(b"x\x02a\x03" * 9)])
def test_garbage_in_runs_ends_the_connection(pieces: list[bytes]) -> None:
    """A run of bytes outside every message is one rejected frame; more than ``limits.protocol_errors`` are the end."""
    *before, failed = received(begun(Delimited(), protocol_errors=3), pieces)
    assert before == [GARBAGE, "a"] * 3 + [GARBAGE]
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, TooManyProtocolErrors)


def test_a_long_message_in_single_bytes_costs_its_length() -> None:
    """Each byte is looked at once: what has come is not searched, or copied, again with every read."""

    class Counted(bytearray):
        searched = 0

        def find(self, sub: Any, start: Any = 0, *rest: Any) -> int:
            Counted.searched += len(self) - start
            return super().find(sub, start, *rest)

    connection = begun(Lines(separator=b"|;|"))
    connection._framing.partial = Counted()
    size = 5000
    for piece in bytewise(b"x" * size + b"|;|"):
        connection.receive_data(piece, 0)
    assert size < Counted.searched <= 4 * size


# The end of the stream


def test_the_end_of_the_stream_is_the_end_of_the_message() -> None:
    """Nothing is heard before; what has come is one message, and a stream without a byte has none."""
    for pieces in ([b"one\ntwo"], bytewise(b"one\ntwo")):
        connection = begun(EndOfStream())
        assert received(connection, pieces) == []
        assert connection.incoming_size == 7
        assert received(connection, [], end=True) == ["one\ntwo"]
        assert connection.incoming_size == 0
    assert received(begun(EndOfStream()), [], end=True) == []
    assert received(begun(EndOfStream()), [b"\xff"], end=True) == [MALFORMED]


@pytest.mark.parametrize("wire", [Lines(), Fixed(9), Prefixed(4), Delimited(b"o", b"t")])
def test_a_message_that_the_end_leaves_unfinished_is_rejected(wire: PlainWire) -> None:
    """Half a message is none: its end may be missing by accident, or for a purpose."""
    assert received(begun(wire), [b"one"], end=True) == [GARBAGE]
    assert received(begun(wire), [], end=True) == []


def test_its_own_end_follows_the_message() -> None:
    """The empty buffer behind a message tells the transport to end the stream."""
    connection = begun(EndOfStream(), CLIENT)
    connection.send(TEXT, "one")
    assert connection.data_to_send() == [b"one", b""]


def test_over_tls_it_cannot_be_spoken() -> None:
    """TLS has no end of one direction: the settings are refused, and a connection that has TLS all the same fails at once."""
    with pytest.raises(SettingsError, match="works over TLS"):
        EndOfStream().check(encrypted=True, max_message_size=1000)
    for wire in (Lines(), Fixed(5), Prefixed(), Delimited(), Raw()):
        wire.check(encrypted=True, max_message_size=1000)
    context = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(), 1000)
    connection = EndOfStream().connect(SERVER, context, round_trip=0.0, encrypted=True)
    (failed,) = connection.start()
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, HandshakeError)
    assert connection.peer is None


# Raw


def test_what_a_read_brings_is_a_message() -> None:
    """Longer ones are cut at the limit; the half of a character waits for the other."""
    connection = begun(Raw(), limit=5)
    assert received(connection, [b"one"]) == ["one"]
    assert received(connection, [b"x" * 12]) == ["x" * 5, "x" * 5, "xx"]
    assert received(connection, [HE[:2]]) == ["h"]
    assert (connection.incoming_size, connection.beginning) == (1, HE[1:2])
    assert received(connection, [HE[2:] + b"y"]) == ["\u00e9y"]
    assert received(connection, [b"abcd" + HE[1:]]) == ["abcd", "\u00e9"]
    assert received(connection, [b"a\xffb"]) == [MALFORMED]
    assert received(connection, [b"ok"]) == ["ok"]
    assert received(connection, [HE[:2]], end=True) == ["h", GARBAGE]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30), data=st.data())
def test_no_cut_breaks_a_character(text: str, data: st.DataObject) -> None:
    """Text on a raw wire is whole again whatever the reads were, and each message's content is its own bytes."""
    connection, sent, values = begun(Raw(), limit=8), text.encode(), list[str]()
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        for event in connection.receive_data(sent[:size], 0):
            assert isinstance(event, Response)
            assert isinstance(event.value, str)
            assert event.content == event.value.encode()
            assert len(event.content) <= 8
            values.append(event.value)
        sent = sent[size:]
    assert "".join(values) == text


# Anything at all

ANY = [Lines(), Lines(separator=b"ab"), Lines(keep=True, text=False), Fixed(3), Prefixed(1), Delimited(b"a", b"b", b"c")]


def comparable(event: object) -> object:
    """An event, of a failure its kind."""
    return type(event.error) if isinstance(event, ConnectionFailed) else event


@settings(max_examples=300, deadline=None)
@given(wire=st.sampled_from(ANY), data=st.text("abc \r\n", max_size=40), cuts=st.data())
def test_any_bytes_are_the_same_events_however_they_are_cut(wire: PlainWire, data: str, cuts: st.DataObject) -> None:
    """No cut changes what is heard, and what is kept is bounded."""
    whole = begun(wire, limit=12, protocol_errors=4)
    expected = received(whole, [data.encode()], end=True)
    parts, sent, events = begun(wire, limit=12, protocol_errors=4), data.encode(), list[object]()
    while sent:
        size = cuts.draw(st.integers(1, len(sent)))
        events += received(parts, [sent[:size]])
        assert parts.buffered_size <= 12
        sent = sent[size:]
    events += received(parts, [], end=True)
    assert [comparable(event) for event in events] == [comparable(event) for event in expected]


@settings(max_examples=300, deadline=None)
@given(wire=st.sampled_from(ANY), values=st.lists(st.text("abc \r\n", max_size=12), max_size=6))
def test_what_is_sent_is_what_is_heard(wire: PlainWire, values: list[str]) -> None:
    """A value is refused where it is sent, or heard as it was; padding apart, which cannot be told from content."""
    near, far, sent = begun(wire, CLIENT, limit=30), begun(wire, limit=30), list[object]()
    for value in values:
        content: object = value if wire.text else value.encode()
        try:
            near.send(TEXT, content)
        except LocalProtocolError:
            continue
        sent.append(value.rstrip(" ") if isinstance(wire, Fixed) else content)
    expected = [value + b"\n" if isinstance(value, bytes) and not value.endswith(b"\n") else value for value in sent]
    assert received(far, bytewise(b"".join(near.data_to_send()))) == expected
