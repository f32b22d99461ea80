from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from veltix_tx.errors import (
    EarlyMessage,
    FrameTooLarge,
    HandshakeError,
    MalformedHello,
    RemoteProtocolError,
    ServerFull,
    VersionRefused,
)
from veltix_tx.limits import Limits
from veltix_tx.wire.events import ConnectionFailed, Event, HandshakeCompleted, PingsAnswered
from veltix_tx.wire.interface import Role
from veltix_tx.wire.messages import HELLO, HELLO_ACK, PING, PONG, Response
from veltix_tx.wire.veltix.connection import State, VeltixConnection
from veltix_tx.wire.veltix.extensions import ERRORS, RPC
from veltix_tx.wire.veltix.handshake import _ACTIONS, _MOST_ANSWERED, Handshake, _answered
from veltix_tx.wire.veltix.layouts import W14, W15, W16, W22, W46, W62, Layout
from veltix_tx.wire.veltix.releases import AUTO_HELLOS, PAD, RELEASES, HandshakeKind
from veltix_tx.wire.veltix.states import DETECTION, ON_TIMEOUT, OTHERWISE, SCRIPTS, SIGNATURES, Step

Make = Callable[..., VeltixConnection]
Converse = Callable[..., tuple[list[Event], list[Event]]]

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
SERVER, CLIENT = Role.SERVER, Role.CLIENT
ALL = list(RELEASES)
HELLO_FRAMES = [name for name, release in RELEASES.items() if release.handshake is HandshakeKind.HELLO]
JSON = [name for name, release in RELEASES.items() if release.handshake is HandshakeKind.JSON]
SILENT = [name for name, release in RELEASES.items() if release.handshake is HandshakeKind.NONE]
FULL = "00187b226572726f72223a20227365727665725f66756c6c227d"


def framed(layout: Layout, code: int, content: bytes, request_id: int = 5) -> bytes:
    """The frame of these fields."""
    return layout.pack(code, content, request_id, 0) + content


def versioned(version: bytes, tail: bytes = b"") -> bytes:
    """The content of a HELLO or HELLO_ACK."""
    return len(version).to_bytes(2, "big") + version + tail


def lengthed(message: object) -> bytes:
    """A message of the JSON handshake."""
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(text).to_bytes(2, "big") + text


def taken(connection: VeltixConnection) -> bytes:
    """All bytes a connection has to send."""
    return b"".join(connection.data_to_send())


def started(connection: VeltixConnection) -> VeltixConnection:
    """The connection, started; it says at most a hello."""
    assert connection.start() == []
    return connection


def failure(events: list[Event]) -> RemoteProtocolError:
    """The error of a batch that failed and did nothing else."""
    (event,) = events
    assert isinstance(event, ConnectionFailed)
    return event.error


def readied(events: list[Event]) -> HandshakeCompleted:
    """The HandshakeCompleted that a batch begins with."""
    event = events[0]
    assert isinstance(event, HandshakeCompleted)
    return event


# The tables


def test_every_handshake_has_a_script_for_both_roles() -> None:
    """The script table is complete, and every step of it can be walked."""
    assert set(SCRIPTS) == {(kind, role) for kind in HandshakeKind for role in Role}
    assert set(_ACTIONS) == set(Step)
    assert set(DETECTION) == set(Role)
    assert set(SIGNATURES) == set(OTHERWISE) == {Step.DETECT_CLIENT, Step.DETECT_SERVER, Step.DETECT_AFTER_PING}
    assert set(ON_TIMEOUT) <= set(SIGNATURES)


def test_the_server_speaks_first() -> None:
    """In every handshake the server's script begins by speaking and the client's by reading."""
    for (_, role), script in SCRIPTS.items():
        if script:
            assert (script[0] is Step.SAY_HELLO) == (role is SERVER)


# Long headers, between two of this package


def test_long_headers_are_used_where_they_are_offered_and_wanted(make: Make, converse: Converse) -> None:
    """A client that wants them gets W22 from a server that finds out, W15 from one that is pinned, as one that does not."""
    for release, wanted, layout in ((None, True, W22), (None, False, W15), ("3.3.0", True, W15), ("1.6.3", True, W22)):
        server, client = make(SERVER, release), make(CLIENT, long_headers=wanted)
        for heard in converse(server, client):
            assert readied(heard).peer.layout is layout
    server, client = make(SERVER), make(CLIENT, "3.3.0", long_headers=True)
    for heard in converse(server, client):
        assert readied(heard).peer.layout is W15


@pytest.mark.parametrize("offer", [None, "W22", "xW22x", {"W22": 1}, [], ["W16"], [["W22"]], 5])
def test_an_offer_that_is_none_is_not_taken(make: Make, offer: object) -> None:
    """A client answers any other ``layouts`` as a real one would: with an empty ``meta``, on the newest wire."""
    client = started(make(CLIENT, long_headers=True))
    client.receive_data(lengthed({"v": "2.0.0", "pv": "1.0", "meta": {"layouts": offer}}), 0)
    assert json.loads(taken(client)[2:])["meta"] == {}
    assert readied(client.receive_data(lengthed({"result": "ok"}), 0)).peer.layout is W15


@pytest.mark.parametrize("chosen", [None, "W16", "W62", ["W22"], 5])
def test_a_choice_that_was_not_offered_changes_nothing(make: Make, chosen: object) -> None:
    """A server stays on the newest wire, whatever else a client's ``layout`` says; a pinned one does so always."""
    for release, layout in ((None, chosen), ("3.3.0", "W22")):
        server = started(make(SERVER, release))
        hello = {"v": "3.3.0", "pv": "1.0", "meta": {"layout": layout}}
        assert readied(server.receive_data(lengthed(hello), 0)).peer.layout is W15


# Who talks to whom


@pytest.mark.parametrize("release", ALL)
def test_both_sides_pinned_to_a_release_agree(make: Make, converse: Converse, release: str) -> None:
    """Our server and our client of one release become ready on its layout, each knowing the other's version."""
    server, client = make(SERVER, release), make(CLIENT, release)
    for heard in converse(server, client):
        peer = readied(heard).peer
        assert peer.layout is RELEASES[release].layout
        assert peer.handshake is RELEASES[release].handshake
        assert peer.version == RELEASES[release].announces
    assert server.state is client.state is State.READY


@pytest.mark.parametrize("release", [*HELLO_FRAMES, *JSON])
def test_a_client_finds_out_what_a_pinned_server_speaks(make: Make, converse: Converse, release: str) -> None:
    """Our auto client mirrors the version of a server pinned to any release."""
    server, client = make(SERVER, release), make(CLIENT)
    heard_by_server, heard_by_client = converse(server, client)
    for heard in (heard_by_server, heard_by_client):
        peer = readied(heard).peer
        assert peer.layout is RELEASES[release].layout
        assert peer.version == RELEASES[release].announces
    assert readied(heard_by_client).peer.meta == RELEASES[release].meta
    assert client.next_timeout is None


def test_two_sides_that_find_out_agree_on_the_newest(make: Make, converse: Converse) -> None:
    """Our auto server and our auto client need no stage but the first."""
    server, client = make(SERVER), make(CLIENT)
    for heard in converse(server, client):
        peer = readied(heard).peer
        assert (peer.layout, peer.version, peer.handshake) == (W15, "2.0.0", HandshakeKind.JSON)
    assert server.next_timeout is None


@pytest.mark.parametrize("release", ["1.2.0", "1.2.1", "1.3.0"])
def test_a_silent_server_is_asked(make: Make, converse: Converse, release: str) -> None:
    """Our auto client asks a server that says nothing with a W62 PING, and is ready with the PONG, not before."""
    server, client = make(SERVER, release), started(make(CLIENT))
    assert isinstance(server.start()[0], HandshakeCompleted)
    assert taken(server) == b""
    assert client.next_timeout == 1.5
    client.handle_timeout()
    assert client.next_timeout is None
    ping = taken(client)
    header = W62.unpack(ping)
    assert (len(ping), header.code, header.size) == (62, PING.code, 0)
    assert client.state is State.HANDSHAKE
    assert server.receive_data(ping, 0) == [PingsAnswered(1)]
    pong = taken(server)
    for at in range(len(pong) - 1):
        assert client.receive_data(pong[at : at + 1], 0) == []
    peer = readied(client.receive_data(pong[-1:], 0)).peer
    assert (peer.layout, peer.version, peer.handshake) == (W62, "", HandshakeKind.NONE)


def test_another_pong_does_not_make_a_silent_server_ready(make: Make) -> None:
    """Only the PONG with the PING's id proves that the server understands."""
    client = started(make(CLIENT))
    client.handle_timeout()
    request_id = W62.unpack(taken(client)).request_id
    assert client.receive_data(framed(W62, PONG.code, b"", request_id ^ 1), 0) == []
    assert client.state is State.HANDSHAKE
    assert isinstance(client.receive_data(framed(W62, PONG.code, b"", request_id), 0)[0], HandshakeCompleted)


def test_the_right_pong_behind_another_in_one_read_counts(make: Make) -> None:
    """How a silent server's PONGs are cut into reads makes no difference."""
    client = started(make(CLIENT))
    client.handle_timeout()
    request_id = W62.unpack(taken(client)).request_id
    both = framed(W62, PONG.code, b"", request_id ^ 1) + framed(W62, PONG.code, b"", request_id)
    assert any(isinstance(event, HandshakeCompleted) for event in client.receive_data(both, 0))


@pytest.mark.parametrize("answer", [b"\xff" * 62, lengthed([1]), b"VXgarbage that is no HELLO"], ids=["FF", "no object", "VX"])
def test_a_silent_server_that_answers_otherwise_is_refused(make: Make, answer: bytes) -> None:
    """After the PING what is neither a PONG nor a hello ends the handshake."""
    client = started(make(CLIENT))
    client.handle_timeout()
    failure(client.receive_data(answer, 0))
    assert client.state is State.FAILED


@pytest.mark.parametrize("release", ["1.4.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "3.3.0"])
def test_a_hello_that_comes_after_the_question_still_counts(make: Make, release: str) -> None:
    """A server behind a slow link is found out although the client has asked it with a PING already."""
    client, server = started(make(CLIENT)), started(make(SERVER, release))
    client.handle_timeout()
    taken(client)
    client.receive_data(taken(server), 0)
    assert any(isinstance(event, HandshakeCompleted) for event in server.receive_data(taken(client), 0))


@pytest.mark.parametrize("piece", [1, 61, 1000])
@pytest.mark.parametrize("release", [None, "1.4.0", "1.6.3", "1.6.10", "1.7.5", "1.9.0", "3.3.0"])
def test_a_server_that_comes_late_does_not_mind_the_question(make: Make, release: str | None, piece: int) -> None:
    """A server whose client had to wait, and has asked already, drops the question: its hello is the answer."""
    client, server = started(make(CLIENT)), make(SERVER, release)
    client.handle_timeout()
    question = taken(client)
    server.start()
    client.receive_data(taken(server), 0)
    said = question + taken(client)
    heard = [event for at in range(0, len(said), piece) for event in server.receive_data(said[at : at + piece], 0)]
    assert any(isinstance(event, HandshakeCompleted) for event in heard)


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("late", range(1, len(AUTO_HELLOS) + 1))
def test_a_client_that_comes_late_does_not_mind_the_other_hellos(make: Make, late: int, piece: int) -> None:
    """A client that was held up while the server went on with hellos for others finds the result behind them."""
    client, server = started(make(CLIENT)), started(make(SERVER))
    said = taken(server)
    for _ in range(late):
        if server.next_timeout is not None:
            server.handle_timeout()
            said += taken(server)
    for at in range(0, len(said), piece):
        client.receive_data(said[at : at + piece], 0)
    assert any(isinstance(event, HandshakeCompleted) for event in server.receive_data(taken(client), 0))
    result = taken(server)
    heard = [event for at in range(0, len(result), piece) for event in client.receive_data(result[at : at + piece], 0)]
    assert any(isinstance(event, HandshakeCompleted) for event in heard)


def test_a_ping_that_is_no_question_is_still_an_early_message(make: Make) -> None:
    """A real client's PING has its time in it: it is told at once, as before."""
    server = started(make(SERVER, "1.6.1"))
    assert isinstance(failure(server.receive_data(W62.pack(PING.code, b"", 5, 1_795_000_000_000), 0)), EarlyMessage)


def stand_in(make: Make, release: str, server: VeltixConnection) -> tuple[VeltixConnection, list[Event]]:
    """A real client of the release: it survives hellos it does not understand and answers the first it does."""
    for _ in range(len(AUTO_HELLOS) + 1):
        hello = taken(server)
        client = started(make(CLIENT, release))
        events = client.receive_data(hello, 0)
        if not any(isinstance(event, ConnectionFailed) for event in events) and client.state is not State.FAILED:
            answer = taken(client)
            if answer:
                return client, server.receive_data(answer, 0)
        assert server.next_timeout
        server.handle_timeout()
    raise AssertionError("no hello was understood")


@pytest.mark.parametrize("release", [name for name in [*HELLO_FRAMES, *JSON] if not name.startswith(("1.8", "1.9"))])
def test_a_server_that_finds_out_is_understood_by_every_release(make: Make, release: str) -> None:
    """A client of each release that is not excluded finds its hello among the staged ones, and the server its layout."""
    server = started(make(SERVER))
    client, events = stand_in(make, release, server)
    peer = readied(events).peer
    assert peer.layout is RELEASES[release].layout
    assert peer.version == RELEASES[release].announces
    assert server.next_timeout is None
    if client.state is not State.READY:
        assert isinstance(client.receive_data(taken(server), 0)[0], HandshakeCompleted)


def test_the_stages_of_a_server_that_finds_out(make: Make) -> None:
    """Hellos go out in the documented order, each after the gap (the first after two), the last with nothing to wake for."""
    server = started(make(SERVER, gap=0.25))
    for number, stage in enumerate(AUTO_HELLOS):
        hello = taken(server)
        if stage is PAD:
            assert hello == b"\xff" * 128
        elif stage.handshake is HandshakeKind.JSON:
            said, captured = (json.loads(each[2:]) for each in (hello, bytes.fromhex(VECTORS["extra"]["superset_hello"])))
            assert said.pop("meta") == {**captured.pop("meta"), "layouts": ["W22"], "features": [ERRORS, RPC]}
            assert said == captured
        else:
            header = stage.layout.unpack(hello)
            assert (header.code, hello[stage.layout.header_size :]) == (HELLO.code, versioned(stage.announces.encode()))
        if number < len(AUTO_HELLOS) - 1:
            assert server.next_timeout == (0.25 if number else 0.5)
            server.handle_timeout()
    assert server.next_timeout is None
    assert server.state is State.HANDSHAKE


def test_the_first_byte_of_an_answer_stops_the_stages(make: Make) -> None:
    """Once a client has begun to answer no further hello is said."""
    server = started(make(SERVER))
    taken(server)
    assert server.receive_data(b"\x00", 0) == []
    assert server.next_timeout is None


def test_an_answer_to_an_earlier_stage_counts(make: Make) -> None:
    """A client may answer any hello that was said, not only the last."""
    server = started(make(SERVER))
    hellos = []
    for _ in AUTO_HELLOS:
        hellos.append(taken(server))
        if server.next_timeout is not None:
            server.handle_timeout()
    client = started(make(CLIENT, "1.6.3"))
    client.receive_data(hellos[3], 0)
    assert readied(server.receive_data(taken(client), 0)).peer.version == "1.6.3"


@pytest.mark.parametrize("server_release", [*HELLO_FRAMES, *JSON])
def test_pinned_sides_agree_exactly_where_real_ones_do(make: Make, converse: Converse, server_release: str) -> None:
    """Two pinned releases of one handshake become ready if the client's table names the server, and refuse otherwise."""
    ours = RELEASES[server_release]
    for client_release in HELLO_FRAMES if server_release in HELLO_FRAMES else JSON:
        theirs = RELEASES[client_release]
        server, client = make(SERVER, server_release), make(CLIENT, client_release)
        heard_by_server, heard_by_client = converse(server, client)
        accepted = theirs.layout is ours.layout and theirs.accepts(ours.announces, ours.protocol)
        mutual = accepted and (ours.handshake is HandshakeKind.HELLO or ours.accepts(theirs.announces, theirs.protocol))
        assert (server.state is State.READY) == mutual, client_release
        if mutual:
            assert client.state is State.READY
        else:
            failed = [event for event in heard_by_server + heard_by_client if isinstance(event, ConnectionFailed)]
            assert len(failed) <= 1, client_release  # none where a longer header is waited for, until the deadline
            assert all(isinstance(event.error, (VersionRefused, MalformedHello)) for event in failed)
            assert client.state is not State.READY


MIXING = {
    "1.7.0": "1.7.0 1.7.1 1.7.2 1.7.5",
    "1.7.5": "1.7.5",
    "1.6.6": "1.6.6 1.6.8 1.6.9",
    "1.6.8": "1.6.8 1.6.9",
    "1.6.9": "1.6.9",
    "1.6.4": "1.6.4 1.6.5",
    "1.6.5": "1.6.4 1.6.5",
    "1.6.1": "1.4.0 1.5.0 1.6.1",
    "1.9.0": "1.9.0",
    "2.0.0": "2.0.0",
    "2.0.2": "2.0.2",
    "2.0.3": "2.0.3 3.0.0 3.0.1 3.0.2 3.1.0 3.1.1 3.2.0 3.2.1 3.3.0",
    "3.3.0": "2.0.3 3.0.0 3.0.1 3.0.2 3.1.0 3.1.1 3.2.0 3.2.1 3.3.0",
}


@pytest.mark.parametrize("server_release", MIXING)
def test_the_compatibility_matrix(make: Make, converse: Converse, server_release: str) -> None:
    """Which clients a server of a release gets is the matrix that real ones were run to find."""
    got = []
    for client_release in ALL:
        server, client = make(SERVER, server_release), make(CLIENT, client_release)
        if RELEASES[client_release].handshake is RELEASES[server_release].handshake:
            converse(server, client)
            if server.state is client.state is State.READY:
                got.append(client_release)
    assert got == MIXING[server_release].split()


# Recorded handshakes


@pytest.mark.parametrize("release", [name for name in VECTORS["sessions"] if name in JSON])
def test_a_recorded_json_handshake_is_reproduced(make: Make, release: str) -> None:
    """With a recorded peer our server and our clients say, byte for byte, what the real one said."""
    hello, answer, result = (bytes.fromhex(each["hex"]) for each in VECTORS["sessions"][release] if "json" in each)
    for client in (make(CLIENT, release), make(CLIENT)):
        started(client)
        for at in range(len(hello)):
            assert client.receive_data(hello[at : at + 1], 0) == []
        assert taken(client) == answer
        assert client.receive_data(result[:-1], 0) == []
        assert isinstance(client.receive_data(result[-1:], 0)[0], HandshakeCompleted)
    server = started(make(SERVER, release))
    assert taken(server) == hello
    for at in range(len(answer) - 1):
        assert server.receive_data(answer[at : at + 1], 0) == []
    assert isinstance(server.receive_data(answer[-1:], 0)[0], HandshakeCompleted)
    assert taken(server) == result


@pytest.mark.parametrize("release", [name for name in VECTORS["sessions"] if name in HELLO_FRAMES])
def test_a_recorded_hello_handshake_is_reproduced(release: str) -> None:
    """With a recorded peer our side's HELLO or HELLO_ACK is the real one's but for the clock."""
    layout = RELEASES[release].layout
    hello, answer = (bytes.fromhex(each["hex"]) for each in VECTORS["sessions"][release] if each.get("code") in (10, 11))

    def timeless(data: bytes) -> bytes:
        header = layout.unpack(data)
        content = data[layout.header_size :]
        return layout.pack(header.code, content, header.request_id, 0) + content

    for pinned in (RELEASES[release], None):
        client = Handshake(CLIENT, pinned, Random(1).getrandbits, Limits(), 0.15)
        client.start()
        for at in range(len(hello)):
            assert client.peer is None
            client.receive_data(hello[at : at + 1])
        assert b"".join(client.outgoing) == timeless(answer)
        assert client.peer is not None
        assert client.peer.layout is layout
    server = Handshake(SERVER, RELEASES[release], lambda bits: layout.unpack(hello).request_id, Limits(), 0.15)
    server.start()
    assert b"".join(server.outgoing) == timeless(hello)
    for at in range(len(answer)):
        assert server.peer is None
        server.receive_data(answer[at : at + 1])
    assert server.peer is not None


@pytest.mark.parametrize("release", VECTORS["sessions"])
def test_a_recorded_session_runs_to_its_end(make: Make, release: str) -> None:
    """Each side of a recorded session, fed at once what the real peer said, hears every message of it."""
    frames = VECTORS["sessions"][release]
    said = {side: b"".join(bytes.fromhex(each["hex"]) for each in frames if each["from"] == side) for side in ("server", "client")}
    client = make(CLIENT, release)
    events = [*client.start(), *client.receive_data(said["server"], 0)]
    expected = [each["content"] for each in frames if each["from"] == "server" and each.get("code", 0) >= 200]
    assert isinstance(events[0], HandshakeCompleted)
    assert [event.content.hex() for event in events if isinstance(event, Response)] == expected
    assert not any(isinstance(event, ConnectionFailed) for event in events)


def test_the_hello_every_17_client_accepts_is_taken(make: Make) -> None:
    """The recorded HELLO of 1.7.0 is understood by our 1.7.x clients and by the one that finds out."""
    for release in (None, "1.7.0", "1.7.1", "1.7.2", "1.7.5"):
        client = started(make(CLIENT, release))
        assert isinstance(client.receive_data(bytes.fromhex(VECTORS["extra"]["hello_1.7.0"]), 0)[0], HandshakeCompleted)


# Refusals


@pytest.mark.parametrize("pv", ["1.0", "1.1", "1.99"])
@pytest.mark.parametrize("release", ["2.0.3", "3.3.0", None])
def test_any_minor_protocol_version_is_accepted(make: Make, release: str | None, pv: str) -> None:
    """From 2.0.3 on ``pv`` 1.x is accepted by server and client, whatever the version says."""
    hello = lengthed({"v": "whatever", "pv": pv, "meta": {}})
    server = started(make(SERVER, release))
    peer = readied(server.receive_data(hello, 0)).peer
    assert (peer.version, peer.protocol) == ("whatever", pv)
    client = started(make(CLIENT, release))
    assert client.receive_data(hello, 0) == []
    assert isinstance(client.receive_data(lengthed({"result": "ok"}), 0)[0], HandshakeCompleted)


@pytest.mark.parametrize("pv", ["2.0", "0.9", "1", "1.0.0", "x", "", 1.0, None, [], {"1": 0}])
@pytest.mark.parametrize("release", ["2.0.3", "3.3.0", None])
def test_another_protocol_version_is_refused(make: Make, release: str | None, pv: object) -> None:
    """A ``pv`` that is not 1.x is refused by server and client, and nothing is sent in answer."""
    hello = lengthed({"v": "3.3.0", "pv": pv, "meta": {}})
    for role in (SERVER, CLIENT):
        side = started(make(role, release))
        taken(side)
        error = failure(side.receive_data(hello, 0))
        assert isinstance(error, VersionRefused)
        assert "3.3.0" in str(error)
        assert "pv 1.x" in str(error)
        assert taken(side) == b""
        assert side.state is State.FAILED


@pytest.mark.parametrize("release", ["2.0.3", "3.0.0", "3.3.0"])
def test_a_missing_protocol_version_is_refused(make: Make, release: str) -> None:
    """From 2.0.3 on a hello without ``pv`` is refused on both sides."""
    for role in (SERVER, CLIENT):
        assert isinstance(
            failure(started(make(role, release)).receive_data(lengthed({"v": release, "meta": {}}), 0)), VersionRefused
        )


def test_a_refused_hello_is_refused_for_its_version(make: Make) -> None:
    """Server and client with HELLO frames refuse a version their table does not name, and send nothing."""
    client = started(make(CLIENT, "1.7.1"))
    error = failure(client.receive_data(framed(W16, HELLO.code, versioned(b"1.7.2")), 0))
    assert isinstance(error, VersionRefused)
    assert (error.version, error.accepted) == ("1.7.2", "1.7.0 or 1.7.1")
    assert taken(client) == b""
    server = started(make(SERVER, "1.6.8"))
    request_id = W22.unpack(taken(server)).request_id
    error = failure(server.receive_data(framed(W22, HELLO_ACK.code, versioned(b"1.6.6"), request_id), 0))
    assert isinstance(error, VersionRefused)
    assert (error.version, error.accepted) == ("1.6.6", "1.6.8 1.6.9")


@pytest.mark.parametrize("release", HELLO_FRAMES)
@pytest.mark.parametrize("code", [0, 1, 10, 200, 65535])
def test_a_message_before_the_handshake_is_refused(make: Make, release: str, code: int) -> None:
    """A server takes no message of any type before the HELLO_ACK, even with the HELLO's id."""
    server = started(make(SERVER, release))
    layout = RELEASES[release].layout
    request_id = layout.unpack(taken(server)).request_id
    error = failure(server.receive_data(framed(layout, code, b"early", request_id), 0))
    assert isinstance(error, EarlyMessage)
    assert error.code == code
    assert server.receive_data(framed(layout, HELLO_ACK.code, versioned(RELEASES[release].announces.encode()), request_id), 0) == []


@pytest.mark.parametrize("release", [*HELLO_FRAMES, None])
def test_a_hello_ack_with_another_id_is_refused(make: Make, release: str | None) -> None:
    """An acknowledgement counts only with the id of a HELLO that was said."""
    server = started(make(SERVER, release))
    server.handle_timeout() if release is None else None
    layout = RELEASES[release or "1.6.6"].layout
    said = layout.unpack(taken(server)[-layout.header_size - 7 :]) if release is None else layout.unpack(taken(server))
    version = RELEASES[release or "1.6.6"].announces.encode()
    answer = framed(layout, HELLO_ACK.code, versioned(version), said.request_id ^ 1)
    error = failure(server.receive_data(answer, 0))
    assert isinstance(error, MalformedHello)
    assert "another id" in str(error)


def test_a_hello_ack_on_another_layout_than_its_hello_is_refused(make: Make) -> None:
    """An id said on one layout is no answer on another, and one of a stage not said yet neither."""
    server = started(make(SERVER))
    taken(server)
    server.handle_timeout()
    request_id = W22.unpack(taken(server)).request_id
    for layout in (W14, W16):
        other = started(make(SERVER))
        other.handle_timeout()
        assert isinstance(
            failure(other.receive_data(framed(layout, HELLO_ACK.code, versioned(b"1.6.6"), request_id), 0)), MalformedHello
        )


BAD_JSON: dict[str, bytes] = {
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "a text": b'"3.3.0"',
    "not JSON": b"GET / HTTP/1.1",
    "cut": b'{"v": "3.3.0", "pv": "1.0"',
    "trailing": b'{"v": "3.3.0", "pv": "1.0"} x',
    "not UTF-8": b'{"v": "\xff\xfe", "pv": "1.0"}',
    "deep": b"[" * 2000,
    "deep inside": b'{"v": ' + b"[" * 2000,
    "a huge int": b'{"v": ' + b"9" * 4000 + b"}",
    "no version": b'{"pv": "1.0", "meta": {}}',
    "an empty version": b'{"v": "", "pv": "1.0"}',
    "a numeric version": b'{"v": 3, "pv": "1.0"}',
    "a list as version": b'{"v": ["3.3.0"], "pv": "1.0"}',
    "a long version": b'{"v": "' + b"3" * 65 + b'", "pv": "1.0"}',
    "a deep version": b'{"v": ' + b"[" * 900 + b"]" * 900 + b', "pv": "1.0"}',
    "an empty object": b"{}",
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
@pytest.mark.parametrize("release", ["1.9.0", "3.3.0", None])
def test_malformed_json_is_refused(make: Make, release: str | None, text: bytes) -> None:
    """Whatever is not a JSON object with a version ends the handshake with a HandshakeError, in both roles."""
    for role in (SERVER, CLIENT):
        if release is None and len(text) in (10, 11):
            continue
        side = started(make(role, release))
        error = failure(side.receive_data(lengthed(text), 0))
        assert isinstance(error, MalformedHello)
        assert len(str(error)) < 300
        assert str(error).isprintable()


@pytest.mark.parametrize("release", ["1.9.0", "3.3.0", None])
def test_an_empty_json_is_refused(make: Make, release: str | None) -> None:
    """By a client at once; by a server once it cannot be the beginning of a client's question any more."""
    client, server = started(make(CLIENT, release)), started(make(SERVER, release))
    assert isinstance(failure(client.receive_data(lengthed(b""), 0)), MalformedHello)
    assert server.receive_data(lengthed(b""), 0) == []
    assert isinstance(failure(server.receive_data(b"x", 0)), MalformedHello)


def test_the_reply_that_kills_a_real_server_is_refused(make: Make) -> None:
    """The recorded five bytes that end real servers' selector threads end one handshake here."""
    for release in ("1.8.0", "3.0.0", None):
        assert isinstance(
            failure(started(make(SERVER, release)).receive_data(bytes.fromhex(VECTORS["extra"]["json_list"]), 0)), MalformedHello
        )


@pytest.mark.parametrize("meta", [None, 7, "x", [1], [[[[]]]]])
def test_a_meta_that_is_no_object_is_none(make: Make, meta: object) -> None:
    """``meta`` is never validated by real peers: one that is no object counts as empty."""
    server = started(make(SERVER, "3.3.0"))
    assert readied(server.receive_data(lengthed({"v": "3.3.0", "pv": "1.0", "meta": meta}), 0)).peer.meta == {}


def test_unknown_keys_are_ignored_and_meta_is_kept(make: Make) -> None:
    """Extra keys make no difference in hello and result; those of ``meta`` are handed on (our room for extensions)."""
    meta = {"tx": ["a", {"b": 1}], "more": "x"}
    hello = lengthed({"x": [1, 2], "meta": meta, "pv": "1.0", "v": "3.3.0"})
    assert readied(started(make(SERVER, "3.3.0")).receive_data(hello, 0)).peer.meta == meta
    client = started(make(CLIENT))
    client.receive_data(hello, 0)
    assert json.loads(taken(client)[2:]) == {"v": "3.3.0", "pv": "1.0", "meta": {}}
    assert readied(client.receive_data(lengthed({"motd": "hi", "result": "ok"}), 0)).peer.meta == meta


@pytest.mark.parametrize("tail", [b"\x00", b" extra", b"\xff" * 100])
@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_bytes_behind_the_version_are_ignored(make: Make, release: str, tail: bytes) -> None:
    """What follows the version text in HELLO and HELLO_ACK makes no difference (our room for extensions)."""
    layout, version = RELEASES[release].layout, RELEASES[release].announces.encode()
    client = started(make(CLIENT, release))
    assert isinstance(client.receive_data(framed(layout, HELLO.code, versioned(version, tail)), 0)[0], HandshakeCompleted)
    server = started(make(SERVER, release))
    request_id = layout.unpack(taken(server)).request_id
    peer = readied(server.receive_data(framed(layout, HELLO_ACK.code, versioned(version, tail), request_id), 0)).peer
    assert peer.version == version.decode()


def twisted(version: str) -> list[str]:
    """Texts that a tolerant reader of numbers would take for a version, and that no release announces."""
    major, minor, patch = version.split(".")
    return [
        *(f"{version}.4.5", f"{version}.0", f"{version}.", f"{version}.post1", f"{version}a", f"{version}+x", f"{version}-1"),
        *(f"{major}.{minor}", major, f"{major}..{patch}", f".{minor}.{patch}", f"{major}.{minor}.", "", "..", "..."),
        *(f"+{version}", f"-{version}", f"{major}.+{minor}.{patch}", f"{major}.{minor}.-{patch}"),
        *(f" {version}", f"{version} ", f"{version}\n", f"{major}. {minor}.{patch}", f"{version}\0", f"\t{version}"),
        *(f"0{version}", f"{major}.0{minor}.{patch}", f"{major}.{minor}.0{patch}", f"{major}.{minor}.{patch}_0"),
        *(f"{chr(0x660 + int(major))}.{minor}.{patch}", f"{major}.{minor}.{chr(0xFF10 + int(patch[0]))}", f"\xb9.{minor}.{patch}"),
        *(f"V{version}", f"vv{version}", f"v {version}", f"v{version}.1", f"v0{version}", f"={version}", f"0x{version}"),
        *(f"{major}.{minor}.{10**18}", f"{version}," + "9" * 40),
    ]


def refused(side: VeltixConnection, data: bytes) -> None:
    """Have a side refuse what comes, for a version, and say nothing."""
    taken(side)
    error = failure(side.receive_data(data, 0))
    assert isinstance(error, (MalformedHello, VersionRefused))
    assert str(error).isprintable()
    assert (taken(side), side.state) == (b"", State.FAILED)


@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_version_in_a_hello_frame_is_the_exact_text(make: Make, release: str) -> None:
    """No other text with the same numbers opens a session: not to a server, not to a client, pinned or not."""
    layout = RELEASES[release].layout
    for text in twisted(RELEASES[release].announces):
        content = versioned(text.encode())
        for pinned in (release, None):
            refused(started(make(CLIENT, pinned)), framed(layout, HELLO.code, content))
        server = started(make(SERVER, release))
        refused(server, framed(layout, HELLO_ACK.code, content, layout.unpack(taken(server)).request_id))
        auto, request_id = all_hellos(make, layout)
        refused(auto, framed(layout, HELLO_ACK.code, content, request_id))


def all_hellos(make: Make, layout: Layout) -> tuple[VeltixConnection, int]:
    """A server that has said all its hellos, and the request id of the last one on a layout."""
    server, request_id = started(make(SERVER)), -1
    for stage in AUTO_HELLOS:
        hello = taken(server)
        if stage is not PAD and stage.layout is layout:
            request_id = layout.unpack(hello).request_id
        server.handle_timeout()
    assert request_id >= 0
    return server, request_id


@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_leading_v_is_read_by_the_releases_that_do(make: Make, release: str) -> None:
    """From 1.6.6 on a version with a v in front is the same one; before, and always without one, it is the text."""
    layout, version = RELEASES[release].layout, RELEASES[release].announces
    content = versioned(f"v{version}".encode())
    client, server = started(make(CLIENT, release)), started(make(SERVER, release))
    hello = framed(layout, HELLO.code, content)
    ack = framed(layout, HELLO_ACK.code, content, layout.unpack(taken(server)).request_id)
    if layout in (W14, W16) or version in ("1.6.6", "1.6.8", "1.6.9"):
        for side, data in ((client, hello), (server, ack)):
            assert readied(side.receive_data(data, 0)).peer.version == version
        assert readied(started(make(CLIENT)).receive_data(hello, 0)).peer.version == version
    else:
        assert client.receive_data(hello, 0) == []
        assert (taken(client), client.state) == (b"", State.HANDSHAKE)
        refused(server, ack)


@pytest.mark.parametrize("release", [name for name in JSON if RELEASES[name].protocol is None])
def test_a_version_in_a_json_hello_without_pv_is_the_exact_text(make: Make, release: str) -> None:
    """Before 2.0.3 the version decides: no other text with the same numbers opens a session, to either role, pinned or not."""
    for text in [*twisted(release), f"v{release}"]:
        hello = lengthed({"v": text, "meta": {}})
        for role, pinned in ((SERVER, release), (CLIENT, release), (SERVER, None), (CLIENT, None)):
            refused(started(make(role, pinned)), hello)


@pytest.mark.parametrize("release", [*(name for name in JSON if RELEASES[name].protocol is not None), None])
def test_a_pv_is_exactly_two_numbers(make: Make, release: str | None) -> None:
    """From 2.0.3 on ``pv`` decides: a text that only looks like 1.0 opens no session, to either role."""
    looks = ["1.0.0", "1", "1.", "1..0", "+1.0", "1.+0", "1.-0", " 1.0", "1.0 ", "1.0\n", "1. 0", "01.0", "1.00", "1.01"]
    looks += ["\u0661.0", "1.\u0660", "v1.0", "1.0a", "1,0", "1_0.0", "0x1.0", "1.10000", "", "."]
    for text in looks:
        for role in Role:
            refused(started(make(role, release)), lengthed({"v": release or "3.3.0", "pv": text, "meta": {}}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        versioned(b""),
        b"\x00\x051.6",
        b"\xff\xff1.6.3",
        versioned(b"1.6.3\n"),
        versioned(b"1.6.\xff"),
        versioned("1.6.٣".encode()),
        versioned(b"1.6 3"),
        versioned(b"\x1b[2J"),
        versioned(b"1" * 200),
        versioned(b"..."),
    ],
)
def test_a_malformed_version_is_refused(make: Make, content: bytes) -> None:
    """A version that is cut, empty, too long or no version at all ends the handshake in both roles."""
    client = started(make(CLIENT, "1.6.3"))
    assert isinstance(failure(client.receive_data(framed(W22, HELLO.code, content), 0)), MalformedHello)
    server = started(make(SERVER, "1.6.3"))
    request_id = W22.unpack(taken(server)).request_id
    error = failure(server.receive_data(framed(W22, HELLO_ACK.code, content, request_id), 0))
    assert isinstance(error, MalformedHello)
    assert str(error).isprintable()


@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_an_oversize_hello_is_refused_on_its_header(make: Make, release: str) -> None:
    """A HELLO_ACK, or a HELLO to a client that finds out, that declares more than hello_size is refused before its content."""
    layout = RELEASES[release].layout
    for role, code, pinned in ((CLIENT, HELLO.code, None), (SERVER, HELLO_ACK.code, release)):
        for size, too_large in ((64, False), (65, True)):
            side = started(make(role, pinned, limits=Limits(hello_size=64)))
            events = side.receive_data(framed(layout, code, bytes(size))[: W62.header_size], 0)
            if too_large:
                error = failure(events)
                assert isinstance(error, FrameTooLarge)
                assert error.size - 65 == error.limit - 64 == (layout.header_size if layout.magic or role is SERVER else 14)
            else:
                assert events == []


def test_a_hello_that_came_before_is_judged_the_same_and_few_are_remembered(make: Make) -> None:
    """A client's hello has one outcome however often it comes, also behind hundreds of others; other limits judge anew."""
    hellos = [lengthed({"v": "3.3.0", "pv": f"1.{minor}", "meta": {}}) for minor in range(200)]
    said = []
    for hello in [hellos[0], hellos[0], *hellos, hellos[0]]:
        server = started(make(SERVER, None))
        taken(server)
        readied(server.receive_data(hello, 0))
        assert server.peer is not None
        said.append((taken(server), server.peer, server.next_timeout))
    assert said[0] == said[1] == said[2] == said[-1]
    assert len({peer.protocol for _, peer, _ in said}) == 200  # type: ignore[union-attr]
    assert len(_answered) <= _MOST_ANSWERED
    long = lengthed({"v": "3.3.0", "pv": "1.0", "meta": {}, "more": "x" * 1000})
    for most, fits in [(4096, True), (4096, True), (512, False)]:
        server = started(make(SERVER, None, limits=Limits(json_hello_size=most)))
        assert isinstance(server.receive_data(long, 0)[0], HandshakeCompleted if fits else ConnectionFailed)


@pytest.mark.parametrize("release", [*JSON, None])
def test_an_oversize_json_message_is_refused_on_its_length(make: Make, release: str | None) -> None:
    """A JSON message longer than json_hello_size is refused on its first two bytes, in both roles."""
    for role in (CLIENT, SERVER):
        side = started(make(role, release, limits=Limits(json_hello_size=1000)))
        assert side.receive_data((1000).to_bytes(2, "big"), 0) == []
        side = started(make(role, release, limits=Limits(json_hello_size=1000)))
        error = failure(side.receive_data((1001).to_bytes(2, "big"), 0))
        assert isinstance(error, FrameTooLarge)
        assert (error.size, error.limit) == (1001, 1000)


@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_hello_with_a_bad_checksum_is_refused(make: Make, release: str) -> None:
    """The handshake's frames are checked as every frame is: a client that finds out fails, a pinned one waits for a good one."""
    layout, version = RELEASES[release].layout, RELEASES[release].announces.encode()
    good = framed(layout, HELLO.code, versioned(version))
    bad = good[:-1] + b"x"
    error = failure(started(make(CLIENT)).receive_data(bad + bytes(64), 0))
    assert isinstance(error, MalformedHello)
    assert "checksum" in str(error)
    client = started(make(CLIENT, release))
    assert client.receive_data(bad, 0) == []
    assert taken(client) == b""
    assert readied(client.receive_data(good, 0)).peer.version == version.decode()


FOREIGN = (b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(80), b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(80))


@pytest.mark.parametrize("release", [*JSON, "1.2.0", "1.3.0", None])
def test_a_client_tells_a_foreign_server(make: Make, release: str | None) -> None:
    """Bytes of another protocol end a client's handshake at once or within the bytes of a header."""
    for foreign in FOREIGN:
        client = make(CLIENT, release)
        client.start()
        events = client.receive_data(foreign, 0)
        assert isinstance(events[-1], ConnectionFailed)


# A pinned client waits for its hello


@pytest.mark.parametrize(
    "foreign",
    [b"Who is there? Nobody." + bytes(80), b"\xff" * 200, b"VX" * 100, b"\0\x0a" * 100],
    ids=["words", "FF", "VX", "HELLO"],
)
@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_pinned_client_waits_for_its_hello(make: Make, release: str, foreign: bytes) -> None:
    """Whatever else a server says, a client pinned to HELLO frames finds its HELLO behind it, however that is cut."""
    layout, version = RELEASES[release].layout, RELEASES[release].announces.encode()
    hello = framed(layout, HELLO.code, versioned(version), 0x0A0A)
    for size in (1, 7, 1000):
        client = started(make(CLIENT, release))
        said = foreign + hello
        for at in range(0, len(said) - 1, size):
            assert client.receive_data(said[at : min(at + size, len(said) - 1)], 0) == []
            assert taken(client) == b""
        assert client.next_timeout is None
        events = client.receive_data(said[-1:] + framed(layout, 200, b"behind"), 0)
        assert readied(events).peer.version == version.decode()
        assert [event.content for event in events[1:] if isinstance(event, Response)] == [b"behind"]
        assert layout.unpack(taken(client)).request_id == 0x0A0A


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_pinned_client_does_not_wait_for_ever(make: Make, release: str, size: int) -> None:
    """With json_hello_size bytes that are not its HELLO it gives up, says what came, and how to find out."""
    client = started(make(CLIENT, release, limits=Limits(json_hello_size=600)))
    said, heard = b"Who is there? Nobody.\r\n" + bytes(1000), 0
    while client.state is State.HANDSHAKE:
        events = client.receive_data(said[heard : heard + size], 0)
        heard += size
        assert heard <= 600 + size + 100
    error = failure(events)
    assert isinstance(error, MalformedHello)
    assert all(part in str(error) for part in ("Who is there? ", release, "wire='auto'"))
    assert (
        client.receive_data(framed(RELEASES[release].layout, HELLO.code, versioned(RELEASES[release].announces.encode())), 0) == []
    )
    assert taken(client) == b""


@pytest.mark.parametrize("release", HELLO_FRAMES)
def test_a_pinned_client_refuses_a_version_as_its_release_does(make: Make, release: str) -> None:
    """After the HELLO of a version it refuses a client waits for the next one up to 1.6.9; from 1.6.10 on it closes."""
    layout, version = RELEASES[release].layout, RELEASES[release].announces.encode()
    client = started(make(CLIENT, release))
    events = client.receive_data(framed(layout, HELLO.code, versioned(b"1.0.7"), 3), 0)
    assert taken(client) == b""
    if layout in (W14, W16):
        assert isinstance(failure(events), VersionRefused)
        return
    assert (events, client.state) == ([], State.HANDSHAKE)
    fault = client.handshake_fault
    assert isinstance(fault, VersionRefused)
    assert (fault.version, fault.accepted) == ("1.0.7", RELEASES[release].rule)
    assert readied(client.receive_data(framed(layout, HELLO.code, versioned(version), 4), 0)).peer.version == version.decode()
    assert layout.unpack(taken(client)).request_id == 4
    assert client.handshake_fault is None


@pytest.mark.parametrize("release", [name for name in [*HELLO_FRAMES, *JSON] if not name.startswith(("1.8", "1.9"))])
def test_a_pinned_client_finds_its_hello_at_the_auto_port(make: Make, release: str) -> None:
    """One client, which hears every stage of a server that finds out, answers the first that is for its release."""
    server, client = started(make(SERVER)), started(make(CLIENT, release))
    events: list[Event] = []
    for _ in AUTO_HELLOS:
        assert not any(isinstance(event, ConnectionFailed) for event in client.receive_data(taken(server), 0))
        answer = taken(client)
        if answer:
            events = server.receive_data(answer, 0)
            break
        server.handle_timeout()
    peer = readied(events).peer
    assert (peer.layout, peer.version) == (RELEASES[release].layout, RELEASES[release].announces)


@pytest.mark.parametrize("release", ["1.8.0", "1.8.1", "1.9.0"])
def test_a_client_of_the_first_json_handshake_refuses_the_auto_port_at_once(make: Make, release: str) -> None:
    """1.8.0 to 1.9.0 take the first hello for theirs and close, as the real ones do."""
    error = failure(started(make(CLIENT, release)).receive_data(taken(started(make(SERVER))), 0))
    assert isinstance(error, VersionRefused)


# A full server


@pytest.mark.parametrize("release", [None, "2.0.3", "3.3.0"])
def test_a_full_server_says_so_where_clients_understand(make: Make, release: str | None) -> None:
    """In place of a hello goes server_full, byte for byte as real servers send it, and the connection is over."""
    server = make(SERVER, release)
    server.refuse()
    assert taken(server).hex() == FULL == VECTORS["extra"]["server_full"]
    assert server.state is State.CLOSED
    assert server.next_timeout is None


@pytest.mark.parametrize("release", ["1.2.0", "1.6.3", "1.7.5", "1.9.0", "2.0.2"])
def test_a_full_server_of_an_old_release_just_closes(make: Make, release: str) -> None:
    """Before 2.0.3 there are no words for it."""
    server = make(SERVER, release)
    server.refuse()
    assert taken(server) == b""
    assert server.state is State.CLOSED


@pytest.mark.parametrize("release", [None, "1.9.0", "3.3.0"])
@pytest.mark.parametrize("detail", ["server_full", "go away", 7, None, {"x": []}])
def test_a_client_is_told_that_the_server_is_full(make: Make, release: str | None, detail: object) -> None:
    """Any error in place of the hello or the result is a ServerFull with the server's words."""
    client = started(make(CLIENT, release))
    error = failure(client.receive_data(lengthed({"error": detail}), 0))
    assert isinstance(error, ServerFull)
    assert error.detail == detail
    client = started(make(CLIENT, release))
    client.receive_data(lengthed({"v": release or "3.3.0", "meta": {}, **({} if release == "1.9.0" else {"pv": "1.0"})}), 0)
    assert isinstance(failure(client.receive_data(lengthed({"error": detail}), 0)), ServerFull)


@pytest.mark.parametrize("result", [{}, {"result": "no"}, {"result": None}, {"result": ["ok"]}, {"result": "OK"}, {"v": "3.3.0"}])
def test_a_result_that_is_not_ok_is_refused(make: Make, result: object) -> None:
    """The handshake is complete with ``ok`` and nothing else."""
    client = started(make(CLIENT, "3.3.0"))
    client.receive_data(lengthed({"v": "3.3.0", "pv": "1.0", "meta": {}}), 0)
    assert isinstance(failure(client.receive_data(lengthed(result), 0)), MalformedHello)


# What follows


@pytest.mark.parametrize("release", [*HELLO_FRAMES, *JSON])
def test_frames_glued_to_the_handshake_are_delivered(make: Make, release: str) -> None:
    """Messages right behind the handshake, in the same read, are not lost; however they are cut."""
    layout = RELEASES[release].layout
    server, client = started(make(SERVER, release)), started(make(CLIENT, release))
    client.receive_data(taken(server), 0)
    behind = framed(layout, 200, b"first") + framed(layout, 201, b"x" * 5000)
    answer = taken(client) + behind
    for size in (len(answer), 1, 7, 20):
        other = started(make(SERVER, release))
        taken(other)
        events = [event for at in range(0, len(answer), size) for event in other.receive_data(answer[at : at + size], 9)]
        assert isinstance(events[0], HandshakeCompleted)
        contents = [(event.content, event.received_at) for event in events if isinstance(event, Response)]
        assert contents == [(b"first", 9), (b"x" * 5000, 9)]
        said = taken(other) + behind
        if release in JSON:
            again = started(make(CLIENT, release))
            hello = started(make(SERVER, release))
            again.receive_data(taken(hello), 0)
            heard = [event for at in range(0, len(said), size) for event in again.receive_data(said[at : at + size], 9)]
            assert [type(event) for event in heard] == [HandshakeCompleted, Response, Response]


def test_a_client_without_a_handshake_is_served_at_once(make: Make) -> None:
    """Releases before 1.4.0 are ready with the connection."""
    for release in SILENT:
        for role in Role:
            side = make(role, release)
            assert isinstance(side.start()[0], HandshakeCompleted)
            assert taken(side) == b""
            assert side.next_timeout is None
            layout = RELEASES[release].layout
            assert layout in (W46, W62)
            (event,) = side.receive_data(framed(layout, 200, b"hi"), 0)
            assert isinstance(event, Response)


def test_every_handshake_error_is_a_peers_fault() -> None:
    """What a handshake raises is a RemoteProtocolError: the connection ends, the program goes on."""
    assert issubclass(HandshakeError, RemoteProtocolError)
    assert issubclass(FrameTooLarge, RemoteProtocolError)
