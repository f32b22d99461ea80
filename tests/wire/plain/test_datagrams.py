"""Plain wires in datagrams: each holds whole messages, nothing is kept of it, and none ends anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veltix_tx.errors import LocalProtocolError, MessageTooLarge, SettingsError
from veltix_tx.limits import Limits
from veltix_tx.wire.events import Event, FrameRejected, RejectReason
from veltix_tx.wire.interface import MAX_DATAGRAM, DatagramWire, Role, WireContext
from veltix_tx.wire.messages import TEXT, MessageRegistry, Response
from veltix_tx.wire.plain.datagrams import PlainDatagrams
from veltix_tx.wire.plain.options import Delimited, EndOfStream, Fixed, Lines, PlainWire, Prefixed, Raw
from veltix_tx.wire.registry import find_datagram_wire, find_wire

GARBAGE, MALFORMED = FrameRejected(RejectReason.GARBAGE), FrameRejected(RejectReason.MALFORMED)


def begun(wire: PlainWire, role: Role = Role.SERVER, *, limit: int = 10_000_000) -> PlainDatagrams:
    """A connection that has begun."""
    context = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(), limit)
    connection = wire.connect_datagrams(role, context)
    connection.start()
    return connection


def heard(events: list[Event]) -> list[object]:
    """Values of messages, and the other events as they are."""
    return [event.value if isinstance(event, Response) else event for event in events]


HE = "h\u00e9".encode()
DATAGRAMS: dict[str, tuple[PlainWire, list[tuple[bytes, list[object]]]]] = {
    "lines": (
        Lines(),
        [
            (b"one\n", ["one"]),
            (b"one\r\n", ["one"]),
            (b"one", ["one"]),
            (b"one\r", ["one"]),
            (b"one\ntwo\r\n\nthree", ["one", "two", "", "three"]),
            (b"\n", [""]),
            (HE + b"\n" + HE[:2], ["h\u00e9", MALFORMED]),
            (b"\0\n", ["\0"]),
            (b"", []),
        ],
    ),
    "lines that are kept": (Lines(b"||", keep=True), [(b"a|b||", ["a|b||"]), (b"||c|", ["||", "c|"]), (b"|", ["|"])]),
    "short lines": (
        Lines(max_line=17),
        [(b"one\n" + b"x" * 17 + b"\ntwo\n", ["one", GARBAGE, "two"]), (b"x" * 17, [GARBAGE]), (b"x" * 16, ["x" * 16])],
    ),
    "fixed": (Fixed(4), [(b"one two ", ["one", "two"]), (b"one", [GARBAGE]), (b"one two", ["one", GARBAGE])]),
    "prefixed": (
        Prefixed(2),
        [(b"\0\x03one\0\0", ["one", ""]), (b"\0\x03on", [GARBAGE]), (b"e\0", [GARBAGE]), (b"\0\x01x", ["x"])],
    ),
    "delimited": (
        Delimited(),
        [
            (b"\x02one\x03\r\n\x02\x10\x03\x03", ["one", "\x03"]),
            (b"\x02one", [GARBAGE]),
            (b"two\x03", [GARBAGE]),
            (b"\x02a\x03z", ["a", GARBAGE]),
        ],
    ),
    "raw": (Raw(), [(HE, ["h\u00e9"]), (b"\n", ["\n"]), (HE[:2], [MALFORMED])]),
    "raw bytes": (Raw(text=False), [(b"\xff" * MAX_DATAGRAM, [b"\xff" * MAX_DATAGRAM])]),
}


@pytest.mark.parametrize("name", DATAGRAMS)
def test_a_datagram_holds_whole_messages(name: str) -> None:
    """Each datagram means the same, whatever came before it: the framing inside it, its end ending a line, too."""
    wire, cases = DATAGRAMS[name]
    connection = begun(wire)
    for datagram, said in cases * 2:
        assert heard(connection.receive_data(datagram, 0)) == said
        assert connection.buffered_size == 0


@pytest.mark.parametrize("name", DATAGRAMS)
@given(datagrams=st.lists(st.binary(max_size=300) | st.sampled_from([b"\n" * 300, b"\x02" * 300, b"\0\xff\0", b"\xff" * 300])))
def test_no_datagram_ends_anything(name: str, datagrams: list[bytes]) -> None:
    """Whatever comes is messages or rejected, in any number: anybody may have sent it in the peer's name."""
    connection = begun(DATAGRAMS[name][0], limit=200)
    for datagram in datagrams:
        events = connection.receive_data(datagram, 0)
        assert all(isinstance(event, (Response, FrameRejected)) for event in events)
        assert connection.buffered_size == 0
    assert len(connection.receive_data(b"\0\x01x" if name == "prefixed" else b"\x02x\x03", 0)) >= 1


@pytest.mark.parametrize("name", DATAGRAMS)
@given(values=st.lists(st.text("abc", min_size=1, max_size=2), max_size=5))
def test_each_message_sent_is_a_datagram_that_arrives_as_it_was(name: str, values: list[str]) -> None:
    """What one side sends in some datagrams the other gets as so many messages, be they lost and reordered or not."""
    wire = DATAGRAMS[name][0]
    near, far = begun(wire, Role.CLIENT), begun(wire)
    contents = [value if wire.text else value.encode() for value in values]
    for content in contents:
        near.send(TEXT, content)
    datagrams = near.data_to_send()
    assert len(datagrams) == len(values)
    received = [value for datagram in datagrams for value in heard(far.receive_data(datagram, 0))]
    kept = "||" if name == "lines that are kept" else ""
    assert received == [content + kept if isinstance(content, str) else content for content in contents]


@pytest.mark.parametrize(
    ("wire", "one"), [(Lines(), b"\n"), (Fixed(1), b" "), (Prefixed(1), b"\0"), (Delimited(), b"\x02\x03"), (Lines(), b"\xff\n")]
)
def test_a_datagram_of_more_than_1024_messages_is_rejected(wire: PlainWire, one: bytes) -> None:
    """It is one rejection: the next messages of a peer must not have to wait for 65,507 empty ones."""
    connection = begun(wire)
    assert len(connection.receive_data(one * 1024, 0)) == 1024
    assert connection.receive_data(one * 1025, 0) == [GARBAGE]
    assert len(connection.receive_data(one, 0)) == 1


def test_what_no_datagram_carries_is_refused_where_it_is_sent() -> None:
    """65,507 bytes, the framing's included, go into one, and not a byte more; the error names size and limit."""
    connection = begun(Raw(text=False))
    assert connection.send(TEXT, bytes(MAX_DATAGRAM)) == MAX_DATAGRAM
    connection.data_to_send()
    for wire, most in (
        (Raw(text=False), MAX_DATAGRAM),
        (Prefixed(4, text=False), MAX_DATAGRAM - 4),
        (Lines(max_line=100, text=False), 99),
    ):
        connection = begun(wire)
        connection.send(TEXT, b"x" * most)
        connection.data_to_send()
        with pytest.raises(MessageTooLarge) as caught:
            connection.send(TEXT, b"x" * (most + 1))
        limit = 100 if most == 99 else MAX_DATAGRAM
        assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
        assert connection.data_to_send() == []


@pytest.mark.parametrize(
    ("wire", "name"),
    [(EndOfStream(), "wire"), (Lines(replies="in-order"), "replies"), (Fixed(MAX_DATAGRAM + 1), "length")],
)
def test_what_cannot_be_spoken_in_datagrams_is_a_settings_error(wire: PlainWire, name: str) -> None:
    """No stream to end, no replies in an order that the network may change, no length that no datagram has."""
    with pytest.raises(SettingsError) as caught:
        wire.check_datagrams(10_000_000)
    assert caught.value.name == name


def test_the_registry_knows_what_can_be_spoken_in_datagrams() -> None:
    """A plain wire is a DatagramWire; Veltix's and netconduit's are not, and asking for one of them is a SettingsError."""
    assert isinstance(find_datagram_wire("lines"), DatagramWire)
    for name in ("auto", "1.6.3", "netconduit"):
        assert not isinstance(find_wire(name), DatagramWire)
        with pytest.raises(SettingsError, match="lines"):
            find_datagram_wire(name)


def test_what_datagrams_have_not_is_a_typed_error() -> None:
    """No request ids and no pings; the error names the wire. There is no end of a stream either."""
    connection = begun(Lines())
    with pytest.raises(LocalProtocolError, match="wire lines has no replies in datagrams"):
        connection.allocate_id(())
    with pytest.raises(LocalProtocolError, match=r"wire lines has no pings: timeouts\.datagram_idle"):
        connection.send_ping(None)
    assert connection.receive_eof(0) == []
    flags = (connection.half_closes, connection.in_order_replies, connection.supports_requests, connection.supports_ping)
    assert not any(flags)


def test_streams_and_datagrams_share_no_encoded_message() -> None:
    """Their limits differ, so a broadcast encodes for each."""
    context = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(), 10_000)
    stream = Lines().connect(Role.SERVER, context, round_trip=0.0, encrypted=False)
    assert stream.encoding_key != begun(Lines()).encoding_key == begun(Lines()).encoding_key


def test_nothing_is_received_before_the_beginning_or_after_the_end() -> None:
    """Before it is an error of this side's; after it datagrams are ignored, and none can be sent."""
    context = WireContext(lambda: 0, lambda: 0, lambda bits: 0, MessageRegistry(), Limits(), 10_000)
    connection = Lines().connect_datagrams(Role.SERVER, context)
    with pytest.raises(LocalProtocolError):
        connection.receive_data(b"one\n", 0)
    connection.start()
    connection.connection_lost()
    assert connection.receive_data(b"one\n", 0) == []
    with pytest.raises(LocalProtocolError):
        connection.send(TEXT, "one")
