"""What is fuzzed: functions from bytes to None that raise where a rule of the package is broken.

The first bytes of an input choose the settings (the layout or release, the limits, how the rest is cut into reads), so that
the one input of a fuzzer reaches them all. The rest is what the peer says.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from veltix_tx.encodings import decode_json, decode_utf8
from veltix_tx.errors import InvalidContent, RemoteProtocolError, VeltixError
from veltix_tx.wire.events import ConnectionFailed, Event, FrameRejected, HandshakeCompleted, PingsAnswered, RejectReason
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import MessageRegistry, Response
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.frames import FrameDecoder
from veltix_tx.wire.veltix.layouts import ALL_LAYOUTS, W62, Layout
from veltix_tx.wire.veltix.releases import RELEASES, SUPERSET, HandshakeKind, Release

__all__ = ["CHOSEN_BY", "DICTIONARY", "TARGETS", "Target", "seeds"]

Target = Callable[[bytes], None]

CHOSEN_BY = 3
"""Bytes of an input that choose the settings."""

_SIZES = (100, 1500, 70_000)
_STEPS = (1, 2, 3, 7, 16, 61, 255, 4096)
_WIRES: tuple[Release | None, ...] = (None, *RELEASES.values())
_REQUEST_ID = 5
_ROOM_FOR_HELLOS = 4096


def _types() -> MessageRegistry:
    return MessageRegistry(open=True)


def _cut(data: bytes, choice: int) -> list[bytes]:
    """Return the data in reads: of one size, or of sizes drawn at random."""
    if choice < len(_STEPS):
        step = _STEPS[choice]
        return [data[at : at + step] for at in range(0, len(data), step)]
    dice = Random(choice)
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(1 + choice % 13))
    return [data[start:stop] for start, stop in pairwise([0, *cuts, len(data)]) if start < stop]


def _seen(events: Iterable[Event]) -> list[Any]:
    """Return events in a form that compares equal, having looked at every fact of them."""
    return [_facts(event) for event in events]


def _facts(event: Event) -> Any:
    if isinstance(event, Response):
        assert event.latency is None or event.latency >= 0
        return event.type.code, event.content, event.request_id, event.hash, event.timestamp
    if isinstance(event, ConnectionFailed):
        text = str(event.error)
        assert isinstance(event.error, RemoteProtocolError), repr(event.error)
        assert len(text) < 500, text
        assert text.isprintable(), text
        return type(event.error), text
    return event


# Frames


class _Weighed(bytes):
    """Bytes that count how many of them are copied."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        _Weighed.copied += len(found)
        return _Weighed(found)

    def __add__(self, other: bytes) -> _Weighed:
        joined = _Weighed(super().__add__(other))
        _Weighed.copied += len(joined)
        return joined


def frames(data: bytes) -> None:
    """A decoder of any layout: the same for every chunking, within its limit, its work bounded by the length of its input."""
    if len(data) < CHOSEN_BY:
        return
    layout = ALL_LAYOUTS[data[0] % len(ALL_LAYOUTS)]
    limit, max_violations = _SIZES[data[1] % len(_SIZES)], 1 + data[1] // len(_SIZES)
    stream = data[CHOSEN_BY:]
    checked = 0

    def checksum(content: bytes) -> int | bytes:
        nonlocal checked
        checked += len(content)
        return layout.checksum(content)

    watched = replace(layout, checksum=checksum)
    _Weighed.copied = 0
    whole = FrameDecoder(watched, _types().get, limit, max_violations)
    expected = _fed(whole, [_Weighed(stream)], limit)
    assert _Weighed.copied <= 4 * len(stream), f"{_Weighed.copied} bytes were copied for {len(stream)}"
    assert checked <= 18 * len(stream), f"{checked} bytes were checked for {len(stream)}"
    garbage = sum(event == FrameRejected(RejectReason.GARBAGE) for event in expected)
    assert len(expected) - garbage <= len(stream) // layout.header_size
    assert garbage <= (len(expected) - garbage) + len(stream) // limit + 2
    assert whole.violations <= max_violations
    parts = FrameDecoder(layout, _types().get, limit, max_violations)
    assert _fed(parts, _cut(stream, data[2]), limit) == expected
    assert (str(parts.error), parts.violations) == (str(whole.error), whole.violations)
    if whole.error is None:
        assert (parts.buffered_size, parts.incoming_size) == (whole.buffered_size, whole.incoming_size)


def _fed(decoder: FrameDecoder, chunks: Iterable[bytes], limit: int) -> list[Any]:
    found: list[Any] = []
    for chunk in chunks:
        before = decoder.error
        events = decoder.receive_data(chunk, 0)
        assert before is None or not events, "something was decoded after an error"
        assert decoder.error is not None or decoder.buffered_size <= decoder.incoming_size <= limit
        found += _seen(events)
    assert decoder.error is None or isinstance(decoder.error, RemoteProtocolError)
    return found


# Connections


def _side(role: Role, release: Release | None, limit: int, *, long_headers: bool) -> VeltixConnection:
    return VeltixConnection(
        *(role, release),
        calendar_ms=lambda: 1_795_000_000_000,
        uptime_ms=lambda: 1_000_000,
        getrandbits=lambda bits: _REQUEST_ID,
        types=_types(),
        max_message_size=limit,
        long_headers=long_headers,
    )


def _heard(side: VeltixConnection, chunks: Iterable[bytes], limit: int, ready: int) -> Iterator[Any]:
    """Yield what a connection makes of the reads, and check what must hold after each."""
    failed = False
    for chunk in chunks:
        events = side.receive_data(chunk, 1_795_000_000_000)
        for event in events:
            assert not failed, "something happened after ConnectionFailed"
            failed = isinstance(event, ConnectionFailed)
            ready += isinstance(event, HandshakeCompleted)
            assert ready == 1 or failed, "something happened before HandshakeCompleted, or that twice"
        assert failed == (side.state is State.FAILED)
        assert (ready == 1) == (side.peer is not None)
        assert side._handshake is None or len(side._handshake._buffer) <= 4098 + len(chunk)
        assert failed or side.incoming_size <= limit
        assert side._decoder is None or side._decoder.buffered_size <= limit
        yield from _seen(events)


def _connection(role: Role, data: bytes, *, ready: bool) -> None:
    if len(data) < CHOSEN_BY:
        return
    release = _WIRES[data[0] % len(_WIRES)]
    limit = _SIZES[data[1] % len(_SIZES)]
    wakes = data[1] // len(_SIZES) % 16
    stream = data[CHOSEN_BY:]
    results = []
    for chunks in ([stream], _cut(stream, data[2])):
        side = _side(role, release, limit, long_headers=data[1] >= 128)
        begun = _seen(side.start())
        for _ in range(wakes):
            side.handle_timeout()
        if ready and not begun:
            begun += _heard(side, [_agreeing(role, release)], limit, 0)
        said = b"".join(side.data_to_send())
        heard = list(_heard(side, chunks, limit, len(begun)))
        out = b"".join(side.data_to_send())
        assert len(out) <= len(stream) + _ROOM_FOR_HELLOS, "it says more than it hears"
        pings = sum(event.count for event in heard if isinstance(event, PingsAnswered))
        heard = [event for event in heard if not isinstance(event, PingsAnswered)]
        results.append((said, begun, heard, pings, out, side.state, side.incoming_size if side.state is State.READY else 0))
    assert results[0] == results[1], "the chunking makes a difference"


def _agreeing(role: Role, release: Release | None) -> bytes:
    """Return what a good peer says in the handshake."""
    found_out, release = release is None, release or RELEASES["3.3.0"]
    if release.handshake is HandshakeKind.HELLO:
        text = release.announces.encode()
        content = len(text).to_bytes(2, "big") + text
        return release.layout.pack(10 if role is Role.CLIENT else 11, content, _REQUEST_ID, 0) + content
    hello = _as_json({**release.hello, "meta": {"features": ["errors"]} if found_out else {}})
    return hello + _as_json({"result": "ok"}) if role is Role.CLIENT else hello


def _as_json(message: object) -> bytes:
    text = json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


# Above the wire


def contents(data: bytes) -> None:
    """A content that is taken for JSON or text is one, or an InvalidContent."""
    for decode in (decode_json, decode_utf8):
        text = str(_refused(decode, data) or "")
        assert len(text) < 500
        assert text.isprintable()


def _refused(decode: Callable[[bytes], object], data: bytes) -> InvalidContent | None:
    try:
        decode(data)
    except InvalidContent as error:
        return error
    return None


class _Dice(Random):
    """Throws what the inputs expect as the request id of a HELLO."""

    def getrandbits(self, k: int, /) -> int:
        return _REQUEST_ID


@contextmanager
def _no_failure_logged() -> Iterator[None]:
    from twisted.logger import globalLogPublisher

    failures: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_failure") is not None:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
        gc.collect(0)  # a Deferred that failed unheard says so when it goes
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures, failures[0].getTraceback()


@_no_failure_logged()
def server(data: bytes) -> None:
    """A whole server: whatever one peer says, the next is served, and nothing is left when they are gone."""
    from veltix_tx import Server
    from veltix_tx.testing import MemoryNetwork

    if len(data) < CHOSEN_BY:
        return
    types = MessageRegistry(open=True)
    network = MemoryNetwork()
    made = Server(types=types, wire=_pinned(data[0]), random=_Dice())
    made.set_callback("on_recv", lambda session, message: message.content)
    network.serve(made)
    peer = network.dial()
    for chunk in _cut(data[CHOSEN_BY:], data[2]):
        if peer.closed:
            break
        peer.send(chunk)
    network.advance(data[1] % 8)
    good = network.dial()
    good.send(_agreeing(Role.SERVER, _WIRES[data[0] % len(_WIRES)]))
    assert not good.closed, "the next peer is not served"
    for each in (peer, good):
        if not each.closed:
            each.hang_up()
    network.advance(60)
    assert len(made.clients) == len(made._hub) == len(made._connections) == 0
    stopped = made.stopService()
    network.advance(60)
    assert stopped is None or stopped.called
    assert network.clock.getDelayedCalls() == []


@_no_failure_logged()
def client(data: bytes) -> None:
    """A whole client: whatever its server says, connecting ends in a session or an error, and closing leaves nothing."""
    from veltix_tx import Client
    from veltix_tx.testing import MemoryNetwork

    if len(data) < CHOSEN_BY:
        return
    network = MemoryNetwork()
    made = Client(types=MessageRegistry(open=True), wire=_pinned(data[0]), retry=0, random=_Dice())
    peer, connecting = network.answer(made)
    outcome: list[object] = []
    connecting.addBoth(outcome.append)
    for chunk in _cut(data[CHOSEN_BY:], data[2]):
        if peer.closed:
            break
        peer.send(chunk)
    network.advance(data[1] % 8)
    if not peer.closed:
        peer.hang_up()
    network.advance(60)
    assert len(outcome) == 1, "connect() has no outcome, or two"
    failure = getattr(outcome[0], "value", None)
    assert failure is None or isinstance(failure, VeltixError), repr(failure)
    stopped = made.stopService() if made.running else None
    network.advance(60)
    assert stopped is None or stopped.called
    assert network.clock.getDelayedCalls() == []


def _pinned(choice: int) -> str:
    release = _WIRES[choice % len(_WIRES)]
    return "auto" if release is None else release.name


TARGETS: dict[str, Target] = {
    "frames": frames,
    "server-handshake": partial(_connection, Role.SERVER, ready=False),
    "client-handshake": partial(_connection, Role.CLIENT, ready=False),
    "server-connection": partial(_connection, Role.SERVER, ready=True),
    "client-connection": partial(_connection, Role.CLIENT, ready=True),
    "contents": contents,
    "server": server,
    "client": client,
}

DICTIONARY = (
    *(b"VX", b"V", b"X", b"\0\x0a", b"\0\x0b", b"\0\0", b"\0\x01", b"\0\x14", b"\0\xc8", b"\0\0\0\0", b"\xff\xff\xff\xff"),
    *(
        b"\0\0\x10\0",
        b"\0\0\x10\x01",
        b"\0\0\0\x64",
        b"\0\0\x05\xdc",
        b"\0\0\0\x05",
        b"\0\x05",
        b'{"',
        b'"}',
        b"[",
        b"null",
        b"1e999",
    ),
    *(b'"v"', b'"pv"', b'"meta"', b'"error"', b'"result"', b'"ok"', b'"1.0"', b'"layouts"', b'"layout"', b'"W22"', b'"id_window"'),
    *(b"\0\x64", b'"features"', b'"errors"', b'"code"', b'"message"'),
    *(release.announces.encode() for release in RELEASES.values() if release.announces),
)
"""What a mutation may put in: bytes that mean something on some wire."""


def seeds(name: str) -> list[bytes]:
    """Return the inputs a fuzzer of this target begins with: recorded sessions, and what peers of each release say."""
    if name == "contents":
        return [b'{"a": [1, 2.5, null, "x"]}', b"text", b"[" * 100, b"1" * 5000, b"\xff\xfe", b'"\\ud800"', b"NaN", b"-1e999"]
    vectors = json.loads((Path(__file__).parents[1] / "wire" / "veltix" / "vectors.json").read_text())
    found = []
    for release, recorded in vectors["sessions"].items():
        wire = _WIRES.index(RELEASES[release])
        layout = RELEASES[release].layout
        for side in ("server", "client"):
            said = b"".join(bytes.fromhex(each["hex"]) for each in recorded if each["from"] == side)
            first = ALL_LAYOUTS.index(layout) if name == "frames" else wire
            found += [bytes([first, 1, 6]) + said, bytes([0 if name != "frames" else first, 20, 2]) + said]
    for wire, release in enumerate(_WIRES):
        role = Role.CLIENT if "client" in name else Role.SERVER
        layout = (release or SUPERSET).layout
        talk = b"".join(
            _frame(layout, *each) for each in ((0, b""), (200, b"hello"), (1, b""), (20, b"no"), (100, _FAILED), (200, bytes(200)))
        )
        first = ALL_LAYOUTS.index(layout) if name == "frames" else wire
        opening = b"" if name == "frames" or "connection" in name else _agreeing(role, release)
        found += [bytes([first, 1, 3]) + opening + talk, bytes([first, 0, 9]) + opening + _spoiled(layout)]
    choice = {"v": "2.0.0", "pv": "1.0", "meta": {"layouts": ["W22"], "layout": "W22"}}
    for opening in (_as_json(choice) + _as_json({"result": "ok"}), _as_json({"error": "full"}), _as_json([1]), _frame(W62, 1, b"")):
        found += [bytes([0, settings, 2]) + opening for settings in (1, 4, 130)] if "handshake" in name else []
    for number, layout in enumerate(ALL_LAYOUTS) if name == "frames" else ():
        large = _frame(layout, 200, bytes(5000))
        found += [bytes([number, 2, 7]) + large[:-100] + large, bytes([number, 1, 4]) + b"V" * 40 + b"z" * 1500]
    return found


def _frame(layout: Layout, code: int, content: bytes, request_id: int = _REQUEST_ID) -> bytes:
    return layout.pack(code, content, request_id, 0) + content


_FAILED = b'{"code": "handler_failed", "message": "no"}'


def _spoiled(layout: Layout) -> bytes:
    """Return frames whose contents are not what their checksums say, sent again from a part on, and garbage between."""
    good = _frame(layout, 200, b"0123456789")
    return good[:-3] + good + good[:-1] + b"!" + b"VVX garbage V" + good + _frame(layout, 300, b"x")[:-1]
