"""Requests and responses as objects and as bytes in 1.6.3's format."""

from __future__ import annotations

import struct
import time
import zlib

import pytest

from tests.support.dropin.loopback import new_type
from veltix_tx.dropin.veltix import HELLO, HELLO_ACK, PING, PONG, MessageType, MessageTypeRegistry, Request, RequestError, Response
from veltix_tx.dropin.veltix.network import request as request_module
from veltix_tx.dropin.veltix.network.request import id_as_bytes, id_as_int, parse_all

CAPTURED = [
    ("000a00000007853cf6ee000001a1fcb38798a968cc460005312e362e33", 10, b"\x00\x051.6.3"),
    ("000b00000007853cf6ee000001a1fcb3879ca968cc460005312e362e33", 11, b"\x00\x051.6.3"),
    ("00000000000000000000000001a1fcb387a0dec73ecd", 0, b""),
    ("00010000000000000000000001a1fcb387a0dec73ecd", 1, b""),
    ("00c80000000c87b24c10000001a1fcb3879cc0b97d9568656c6c6f2076656c746978", 200, b"hello veltix"),
    ("00c90000000e8846fd09000001a1fcb387a02e5dcb8c636c69656e742073617973206869", 201, b"client says hi"),
    ("00ca0000000c2cd11778000001a1fcb388cde5d4dc1577686f2061726520796f753f", 202, b"who are you?"),
    ("00ca0000000bb68ea666000001a1fcb388cde5d4dc156920616d20636c69656e74", 202, b"i am client"),
]
"""Frames of a real 1.6.3: as hex, with their codes and contents."""


def known(code: int) -> MessageType:
    """Return the type of a code, made if need be."""
    found = MessageTypeRegistry.get(code)
    return found if isinstance(found, MessageType) else MessageType(code)


@pytest.mark.parametrize(("frame", "code", "content"), CAPTURED)
def test_parses_what_a_real_one_sent(frame: str, code: int, content: bytes) -> None:
    """A captured frame is read to its last field, and written back as it was."""
    kind, data = known(code), bytes.fromhex(frame)
    response = Request.parse(data)
    assert (response.type, response.content, response.request_id) == (kind, content, data[18:22])
    assert (response.hash, response.timestamp) == (data[6:10], int.from_bytes(data[10:18], "big"))
    assert abs(response.received_at - time.time() * 1000) < 5000
    assert response.compile() == data


def test_compiles_what_a_real_one_sends() -> None:
    """A message is code, size, CRC-32 of the content, milliseconds since 1970, id, content."""
    kind = new_type()
    before = int(time.time() * 1000)
    data = Request(kind, b"hello", b"\x21\xcf\x4e\xd5").compile()
    code, size, digest, stamp, request_id = struct.unpack(">HII Q4s", data[:22])
    assert (code, size, digest, request_id) == (kind.code, 5, zlib.crc32(b"hello"), b"\x21\xcf\x4e\xd5")
    assert before <= stamp <= time.time() * 1000
    assert data[22:] == b"hello"


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000, bytearray(b"array"), memoryview(b"view")])
def test_compile_and_parse_again(content: bytes) -> None:
    """What is compiled parses to the same, whatever kind of bytes it is."""
    kind = new_type()
    request = Request(kind, content)
    response = Request.parse(request.compile())
    assert (response.type, response.content, response.request_id) == (kind, bytes(content), request.request_id)
    assert type(response.content) is bytes
    assert 0 <= response.latency < 5000


def test_request_ids() -> None:
    """An id is drawn once, 4 bytes; empty is none; short ones are filled up and long ones cut on the wire."""
    kind = new_type()
    request = Request(kind, b"")
    assert len(request.request_id) == 4
    assert request.compile()[18:22] == request.compile()[18:22] == request.request_id
    assert len({Request(kind, b"").request_id for _ in range(100)}) > 95
    assert len(Request(kind, b"", b"").request_id) == 4
    assert Request(kind, b"", b"ab").compile()[18:22] == b"ab\0\0"
    assert Request(kind, b"", b"abcdef").compile()[18:22] == b"abcd"


@pytest.mark.parametrize("sides", [{True}, {False}, {True, False}, set()], ids=["server", "client", "both", "none"])
def test_ids_are_drawn_for_the_only_side_there_is(sides: set[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process with servers only, ids have the first bit set; with clients only, clear; one drawn stays what it is."""
    monkeypatch.setattr(request_module, "_SIDES_HERE", sides)
    kind = new_type()
    requests = [Request(kind, b"") for _ in range(64)]
    first_bits = {bool(each.request_id[0] & 0x80) for each in requests}
    assert first_bits == (sides if len(sides) == 1 else {True, False})
    assert all(each.sent_by(server) == each.request_id for each in requests for server in (True, False))
    assert not any(each.answers for each in requests)
    for server in (True, False):
        unread = [Request(kind, b"") for _ in range(64)]
        assert {bool(each.sent_by(server)[0] & 0x80) for each in unread} == {server}
        assert all(each.sent_by(server) == each.request_id for each in unread)


@pytest.mark.parametrize("request_id", [0, 1, 0x8000, 2**32 - 1, 2**128 - 1])
def test_ids_of_every_wire_are_bytes(request_id: int) -> None:
    """An id of any wire goes into bytes and comes back."""
    as_bytes = id_as_bytes(request_id)
    assert len(as_bytes) in (4, 16)
    assert id_as_int(as_bytes) == request_id


def test_respond() -> None:
    """``respond`` takes the id of a message, and returns None."""
    kind = new_type()
    asked = Request.parse(Request(kind, b"?").compile())
    answer = Request(kind, b"!")
    assert not answer.answers
    assert answer.respond(asked) is None  # type: ignore[func-returns-value]
    assert answer.request_id == asked.request_id
    assert answer.answers
    by_hand = Request(kind, b"!")
    by_hand.request_id = asked.request_id
    assert by_hand.answers


@pytest.mark.parametrize(
    ("data", "most", "text"),
    [
        (b"\x00", 1000, "Data too short: 1 bytes (minimum 22)"),
        (b"", 1000, "Data too short: 0 bytes (minimum 22)"),
        (None, 5, "Message too large: 27 bytes (maximum 5)"),
        ("longer", 1000, "Size mismatch: expected 5 bytes, got 6"),
        ("shorter", 1000, "Size mismatch: expected 5 bytes, got 4"),
        ("changed", 1000, "Hash mismatch — corrupted data"),
        ("unknown", 1000, "Unknown message type code: 29998"),
        ("text", 1000, "Data too short: a str (minimum 22)"),
    ],
)
def test_what_is_no_message(data: bytes | str | None, most: int, text: str) -> None:
    """What is no message is a RequestError that says what is wrong."""
    good = Request(new_type(), b"hello").compile()
    given = {
        None: good,
        "longer": good + b"x",
        "shorter": good[:-1],
        "changed": good[:-1] + b"X",
        "unknown": (29_998).to_bytes(2, "big") + good[2:],
        "text": "text",
    }.get(data, data)  # type: ignore[arg-type, call-overload]
    with pytest.raises(RequestError) as caught:
        Request.parse(given, most)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_several_messages() -> None:
    """Compiled messages one behind another are taken apart; half a one is an error."""
    kind = new_type()
    data = b"".join(Request(kind, b"%d" % number).compile() for number in range(3))
    assert [request.content for request in parse_all(data)] == [b"0", b"1", b"2"]
    for wrong in (data[:-1], data + b"x", b""):
        with pytest.raises(RequestError):
            parse_all(wrong)


def test_taking_apart_copies_nothing_twice() -> None:
    """The time to take messages apart grows with their number, not with its square."""
    data = Request(new_type(), b"").compile()

    def seconds(number: int) -> float:
        started = time.perf_counter()
        parse_all(data * number)
        return time.perf_counter() - started

    assert min(seconds(64_000) for _ in range(2)) < 40 * min(seconds(4_000) for _ in range(3))


@pytest.mark.parametrize("content", ["text", None, 5, ["x"]])
def test_content_that_is_not_bytes(content: object) -> None:
    """Content is checked when it is compiled: anything but bytes is a TypeError. It can be shown all the same."""
    request = Request(new_type(), content)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        request.compile()
    assert "Request(type=" in repr(request)


def test_how_a_request_is_shown() -> None:
    """A long content is shown by its first 20 bytes."""
    kind = new_type("chat")
    assert repr(Request(kind, b"hello", b"!\xcfN\xd5")) == r"Request(type=chat, content=b'hello', id=b'!\xcfN\xd5')"
    assert repr(Request(kind, b"x" * 20, b"abcd")) == f"Request(type=chat, content=b'{'x' * 20}', id=b'abcd')"
    assert repr(Request(kind, b"x" * 21, b"abcd")) == f"Request(type=chat, content=b'{'x' * 20}...', id=b'abcd')"
    assert Request(kind, b"x", b"abcd") != Request(kind, b"x", b"abcd")


def test_response_is_a_plain_dataclass() -> None:
    """A Response is made of six values in 1.6.3's order, compared by them, shown by them, and can be changed."""
    kind = new_type("chat")
    response = Response(kind, b"hi", 1000, b"abcd", 1007, b"1234")
    assert response == Response(kind, b"hi", 1000, b"abcd", 1007, b"1234")
    assert response != Response(kind, b"ho", 1000, b"abcd", 1007, b"1234")
    assert response.latency == 7
    assert repr(response) == (
        f"Response(type=MessageType(code={kind.code}, name='chat'), content=b'hi', timestamp=1000, "
        "hash=b'abcd', received_at=1007, request_id=b'1234')"
    )
    with pytest.raises(TypeError):
        hash(response)
    response.content = b"changed"
    assert Response(kind, b"", 1007, b"", 1000, b"").latency == 0
    with pytest.raises(TypeError):
        Response(kind, b"hi")  # type: ignore[call-arg]


def test_types_of_parsed_system_messages() -> None:
    """What is parsed of Veltix's own types equals the types that are exported."""
    for kind in (PING, PONG, HELLO, HELLO_ACK):
        parsed = Request.parse(Request(kind, b"").compile())
        assert parsed.type == kind
        assert kind == parsed.type
        assert hash(parsed.type) == hash(kind)
