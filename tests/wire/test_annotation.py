"""Annotation of recorded streams: every wire's own bytes are told apart, and what is none of them is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from veltix_tx.errors import SettingsError
from veltix_tx.limits import Limits
from veltix_tx.wire.annotation import Piece
from veltix_tx.wire.interface import Role, WireContext
from veltix_tx.wire.messages import MessageRegistry, MessageType
from veltix_tx.wire.registry import annotate_stream, find_wire, with_password
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, Layout

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)


def recorded(name: str) -> tuple[bytes, bytes]:
    """Return what a client and a server of a wire have sent each other: their handshake, and a message each."""
    wire = with_password("netconduit", "secret") if name == "netconduit" else find_wire(name)
    clock = dict.fromkeys(("calendar_ms", "uptime_ms"), lambda: 1_700_000_000_000)
    context = WireContext(**clock, getrandbits=lambda bits: 7, types=TYPES, limits=Limits(), max_message_size=10_000)
    sides = [wire.connect(role, context, round_trip=0.0, encrypted=False) for role in (Role.CLIENT, Role.SERVER)]
    sent = [b"", b""]
    for side in sides:
        side.start()

    def carry() -> None:
        for _ in range(10):
            for number, (source, target) in enumerate((sides, sides[::-1])):
                data = b"".join(source.data_to_send())
                sent[number] += data
                target.receive_data(data, 0)
            for side in sides:
                if side.next_timeout is not None and side.peer is None:
                    side.handle_timeout()

    carry()
    for side in sides:
        side.send(wire.type or CHAT, "hello" if name == "netconduit" else b"hello" if name != "lines" else "hello")
    carry()
    return sent[0], sent[1]


@pytest.mark.parametrize(
    "name", ["auto", "1.6.1", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "3.3.0", "netconduit", "lines", "prefixed-4"]
)
def test_each_wires_own_bytes_are_told_apart(name: str) -> None:
    """Both directions of a connection, handshake and messages, are cut into parts that are all of the wire, and are whole."""
    for data in recorded(name):
        pieces = annotate_stream(name, data)
        assert b"".join(piece.data for piece in pieces) == data
        assert [piece for piece in pieces if not piece.sound] == []
        assert any(b"hello" in piece.data for piece in pieces)
        assert [piece.offset for piece in pieces] == [sum(len(each.data) for each in pieces[:n]) for n in range(len(pieces))]


def frames(layout: Layout) -> bytes:
    """Return a message, an empty one and another of a layout."""
    contents = [(200, b"hello"), (0, b""), (65535, b"x" * 100)]
    return b"".join(layout.pack(code, content, 7, 1_700_000_000_000) + content for code, content in contents)


@pytest.mark.parametrize("layout", ALL_LAYOUTS, ids=lambda layout: layout.name)
def test_the_layout_is_found_out(layout: Layout) -> None:
    """Frames of any layout are known by their checksums; type, size, request id and clock are told."""
    headers = [piece for piece in annotate_stream("auto", frames(layout)) if piece.title.endswith("header")]
    assert {piece.title for piece in headers} == {f"{layout.name} header"}
    assert [(piece.fields["type"], piece.fields["size"]) for piece in headers] == [(200, 5), (0, 0), (65535, 100)]
    assert headers[1].fields["name"] == "PING"
    assert ("ms since 1970" in headers[0].fields) is layout.clock
    assert headers[0].fields["request id"] == (7 if layout.id_size else 0)


def test_what_is_wrong_is_told() -> None:
    """A wrong checksum, a content that is cut off, and garbage are not sound, and what stands before them is."""
    whole = frames(find_layout("W22"))
    spoilt = whole[:24] + b"X" + whole[25:]
    first, content, *others = annotate_stream("1.6.3", spoilt)
    assert (first.fields["checksum"], first.sound, content.sound) == ("WRONG", False, False)
    assert all(piece.sound for piece in others)
    *_, header, cut = annotate_stream("1.6.3", whole[:-1])
    assert (header.fields["checksum"], cut.title) == ("of what is missing", "content, the rest of which is missing")
    *good, garbage = annotate_stream("auto", whole + b"garbage")
    assert (garbage.data, garbage.sound, garbage.complete) == (b"garbage", False, True)
    assert all(piece.sound for piece in good)


@pytest.mark.parametrize("name", ["auto", "3.3.0", "netconduit"])
def test_a_stream_that_is_cut_off_is_incomplete(name: str) -> None:
    """Wherever a stream ends within a part, what is left of that is incomplete, and never something else than the wire's."""
    data = recorded(name)[0]
    pieces = annotate_stream(name, data)
    ends = {piece.offset + len(piece.data) for piece in pieces if not piece.fields.get("size")}
    first = min(piece.offset for piece in pieces if piece.title.endswith("header"))
    for end in range(first + 2, len(data)):
        *_, last = annotate_stream(name, data[:end])
        assert (last.complete, last.sound) == ((True, True) if end in ends else (False, False)), end
    *_, hello = annotate_stream("auto", b'\x00\x20{"version": ')
    assert (hello.title, hello.complete) == ("JSON handshake, the rest of which is missing", False)


CREDENTIALS = [{"credentials": {"token": "vtx_hush"}}, {"credentials": {"name": "ann", "password": "vtx_hush"}}]


@pytest.mark.parametrize("presented", CREDENTIALS)
def test_credentials_are_secret(presented: dict[str, Any]) -> None:
    """A token or a password is in no field of a handshake or an AUTHENTICATE frame, whole, cut off or wrong."""
    hello = json.dumps(presented).encode()
    again = json.dumps(presented["credentials"]).encode()
    layout = find_layout("W15")
    for data in (len(hello).to_bytes(2, "big") + hello, layout.pack(110, again, 7, 0) + again):
        for end in range(len(data) - len("hush") - 4, len(data) + 1):
            for piece in annotate_stream("auto", data[:end]):
                assert "hush" not in str(dict(piece.fields))
                assert piece.secret or b"vtx_" not in piece.data
    (wrong,) = annotate_stream("auto", layout.pack(110, b"", 7, 0)[:5] + again)
    assert wrong.secret
    verdict = b'{"result": "ok"}'
    _, told = annotate_stream("3.3.0", layout.pack(110, verdict, 7, 0) + verdict)
    assert (told.fields["object"], told.secret) == (verdict.decode(), False)


def test_a_netconduit_hash_is_secret() -> None:
    """The hash that a client of netconduit proves its password with is not shown: it would let in whoever has it."""
    _, payload, *_ = annotate_stream("netconduit", recorded("netconduit")[0])
    assert payload.secret
    assert '"password_hash":"(a secret)"' in str(payload.fields["value"])


@pytest.mark.parametrize(
    ("code", "name"), [(100, "FAILED"), (112, "CALL"), (113, "RESULT"), (123, "RESUME"), (150, "unknown"), (200, "a program's own")]
)
def test_types_have_names(code: int, name: str) -> None:
    """The types of this package have theirs, and a code below a program's that nobody has is unknown."""
    (header,) = annotate_stream("auto", find_layout("W15").pack(code, b"", 7, 0))
    assert header.fields["name"] == name


def find_layout(name: str) -> Layout:
    """Return a layout."""
    return next(layout for layout in ALL_LAYOUTS if layout.name == name)


@pytest.mark.parametrize(
    "name", ["auto", "1.6.3", "3.3.0", "netconduit", "lines", "eof", "fixed-4", "prefixed-2", "delimited", "raw"]
)
@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 40, b"CNDT" + b"\x01" * 40, b"VX" + b"\x00" * 40, b"\x00\x05{" + b"}" * 9]
)
def test_nothing_is_lost_and_nothing_raises(name: str, data: bytes) -> None:
    """Whatever the bytes, their parts are the bytes again."""
    pieces: list[Piece] = annotate_stream(name, data)
    assert b"".join(piece.data for piece in pieces) == data


def test_an_unknown_wire_is_told() -> None:
    """A name of no wire is an error that names those there are."""
    with pytest.raises(SettingsError, match="netconduit"):
        annotate_stream("nothing", b"")
