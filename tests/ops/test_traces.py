"""Traces of single sessions: each frame as it comes and goes, bounded, without secrets, on any wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.administration import NEWS, TYPES, World
from tests.support.wires import Texts
from veltix_tx import TEXT, Client, Identity, Lines, MessageRegistry, MessageType, Netconduit, Server, Session, Token
from veltix_tx.ops.administration import Administration
from veltix_tx.ops.traces import MOST_FRAMES, MOST_TRACES, TooManyTraces, Traces
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.annotation import HIDDEN
from veltix_tx.wire.messages import CALL, RESULT


@pytest.fixture
def peer(world: World) -> Any:
    """A session of the server, and its client in ``peer.client``."""
    client = Client(types=TYPES)
    world.server.router.unregister_route(NEWS)
    world.server.route(NEWS)(lambda client, message: message.content)
    session = world.network.connect(client)
    (peer,) = world.server.clients
    return client, session, peer


def _rows(world: World, peer: Session, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = world.get(f"sessions/{peer.id}/trace{query}")["frames"]
    return rows


def test_frames_are_shown_with_their_headers(world: World, peer: Any) -> None:
    """Each frame is a row with its direction, type, id and size, pings among them, and no content unless asked for."""
    _, session, peer = peer
    begun = world.ask("POST", f"/api/v1/sessions/{peer.id}/trace", {"seconds": 10})
    assert (begun.status, begun.json["remaining"], begun.json["frames"]) == (200, 10, [])
    world.network.result(session.send_and_wait(NEWS, b"hello"))
    world.network.result(session.ping())
    world.network.result(peer.ping())
    rows = _rows(world, peer)
    assert [(row["direction"], row["name"], row.get("type"), row["size"]) for row in rows] == [
        *(("in", "news", 200, 5), ("out", "news", 200, 5)),
        *(("in", "PING", None, 0), ("out", "PONG", None, 0)),
        *(("out", "PING", None, 0), ("in", "PONG", None, 0)),
    ]
    assert rows[0]["id"] == rows[1]["id"]
    assert not any("content" in row for row in rows)
    assert _rows(world, peer, "?after=5") == rows[5:]
    assert _rows(world, peer, "?limit=2") == rows[4:]


def test_contents_are_shown_when_asked_for(world: World, peer: Any) -> None:
    """The begin of each content is shown, safe for a terminal, and as hexadecimal digits where it is no text."""
    client, _, peer = peer
    world.ask("POST", f"/api/v1/sessions/{peer.id}/trace", {"seconds": 10, "contents": True})
    for content in (b"one\x1b", b"\xff\x00", "\u00e4".encode() * 1000):
        world.network.result(client.send_and_wait(NEWS, content))
    shown = [row["content"] for row in _rows(world, peer)]
    assert shown == ["one\\x1b"] * 2 + ["hex:ff00"] * 2 + ["\u00e4" * 128] * 2


def test_a_trace_ends_and_leaves_nothing_behind(world: World, peer: Any, log_events: list[Any]) -> None:
    """After its seconds, or at once when told, the session's connection is its own again; what was traced is still there."""
    client, _, peer = peer
    own = peer._transport.connection
    for end in (lambda: world.network.advance(10), lambda: world.ask("POST", f"/api/v1/sessions/{peer.id}/trace", {"seconds": 0})):
        world.ask("POST", f"/api/v1/sessions/{peer.id}/trace", {"seconds": 10})
        assert peer._transport.connection is not own
        client.send(NEWS, b"")
        world.network.pump()
        end()
        assert peer._transport.connection is own
        client.send(NEWS, b"")
        world.network.pump()
        found = world.get(f"sessions/{peer.id}/trace")
        assert (found["remaining"], len(found["frames"])) == (0, 2)
    client.disconnect()
    world.network.pump()
    assert len(_rows(world, peer)) == 2
    assert any("traces the frames of" in event["log_format"] for event in log_events)


def test_a_trace_is_bounded(world: World, peer: Any) -> None:
    """So many frames are kept, the last ones, and so many sessions are traced; one whose trace has ended gives way."""
    client, _, peer = peer
    traces = Traces(lambda: world.server.clocks, TYPES)
    for _ in range(MOST_TRACES):
        world.network.connect(Client(types=TYPES))
    sessions = world.server.clients
    for session in sessions[:MOST_TRACES]:
        traces.begin(session, 5)
    with pytest.raises(TooManyTraces):
        traces.begin(sessions[MOST_TRACES], 5)
    traces.end(sessions[1].id)
    traces.begin(sessions[MOST_TRACES], 5)
    assert traces.find(sessions[1].id) is None
    for _ in range(MOST_FRAMES):
        client.send(NEWS, b"")
        world.network.pump()
    trace = traces.find(peer.id)
    assert trace is not None
    assert (trace.last, len(trace.after(0, 10_000))) == (2 * MOST_FRAMES, MOST_FRAMES)


def test_each_frame_is_a_line_in_the_log_when_asked_for(world: World, peer: Any) -> None:
    """With ``log`` each frame is a line with the connection's id."""
    client, _, peer = peer
    world.ask("POST", f"/api/v1/sessions/{peer.id}/trace", {"seconds": 10, "log": True, "contents": True})
    client.send(NEWS, b"hello")
    world.network.pump()
    lines = [event["text"] for event in world.get(f"events?search={peer.id}")]
    assert lines[-2:] == [f"{peer.id} in news, 5 bytes: hello", f"{peer.id} out news, 5 bytes: hello"]


def test_what_cannot_be_traced_is_refused(world: World, peer: Any) -> None:
    """No trace, no such session, and seconds that cannot be are told."""
    *_, peer = peer
    path = f"/api/v1/sessions/{peer.id}/trace"
    assert world.ask("GET", path).status == 404
    assert world.ask("POST", "/api/v1/sessions/1-99/trace", {"seconds": 1}).status == 404
    for seconds in (-1, 1e9, "1", True, None):
        assert world.ask("POST", path, {"seconds": seconds}).status == 400


def test_the_messages_of_a_plain_wire_are_traced(network: MemoryNetwork) -> None:
    """A wire without types and ids has rows with sizes and, when asked for, contents."""
    server, client = Server(types=MessageRegistry(), wire=Lines()), Client(types=MessageRegistry(), wire=Lines())
    server.route(TEXT)(lambda client, message: message.value.upper())
    network.serve(server)
    session = network.connect(client)
    (peer,) = server.clients
    api = Administration(server, measured=False)._api
    api._traces.begin(peer, 5, contents=True)
    session.send(TEXT, "one")
    network.pump()
    trace = api._traces.find(peer.id)
    assert trace is not None
    assert [(row["direction"], row["size"], row["content"]) for row in trace.after(0, 9)] == [
        ("in", 3, "one"),
        ("out", 3, "ONE\\n"),
    ]
    assert not any("id" in row for row in trace.after(0, 9))


def test_the_frames_of_netconduit_are_traced(network: MemoryNetwork) -> None:
    """Messages have the names of their types, calls and their results are told, and so are heartbeats."""
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server, client = Server(types=types, wire=Netconduit("pw")), Client(types=types, wire=Netconduit("pw"))
    server.route(chat)(lambda client, message: message.value)
    server.rpc("three")(lambda: 3)
    network.serve(server)
    session = network.connect(client)
    (peer,) = server.clients
    traces = Traces(lambda: server.clocks, types)
    traces.begin(peer, 5, contents=True)
    session.send(chat, {"a": 1})
    network.pump()
    assert network.result(session.call("three")) == 3
    network.result(session.ping())
    rows = traces.find(peer.id).after(0, 9)  # type: ignore[union-attr]
    assert [(row["direction"], row["name"], row.get("type")) for row in rows] == [
        *(("in", "chat", 200), ("out", "chat", 200)),
        *(("in", "CALL", CALL.key), ("out", "RPC_RESPONSE", RESULT.key)),
        *(("in", "PING", None), ("out", "HEARTBEAT_PONG", None)),
    ]
    assert rows[1]["content"] == '{"type":"chat_response","data":{"a":1}}'
    assert "content" not in rows[5]


def test_a_wire_of_the_programs_own_is_traced(network: MemoryNetwork) -> None:
    """What is sent on a wire that cannot be cut into frames is told by its size, and what comes is shown as on any other."""
    line = MessageType(200, "line", registry=MessageRegistry())
    server, client = Server(types=MessageRegistry(), wire=Texts(line)), Client(types=MessageRegistry(), wire=Texts(line))
    server.route(line)(lambda client, message: message.value)
    network.serve(server)
    session = network.connect(client)
    traces = Traces(lambda: server.clocks, server.types)
    (peer,) = server.clients
    traces.begin(peer, 5, contents=True)
    session.send(line, "hello")
    network.pump()
    trace = traces.find(peer.id)
    assert trace is not None
    shown = [(row["direction"], row["name"], row["size"], row.get("content")) for row in trace.after(0, 9)]
    assert shown == [("in", "line", 5, "hello"), ("out", "bytes that are not looked at", 6, None)]


def test_no_credentials_are_shown(network: MemoryNetwork) -> None:
    """Credentials that a client presents anew are hidden, on both sides, contents or not."""
    server = Server(types=TYPES, authenticate=lambda credentials: credentials.token and Identity("ann"))
    client = Client(types=TYPES, credentials=lambda: Token("s3cret"))
    network.serve(server)
    session = network.connect(client)
    (peer,) = server.clients
    traces = Traces(lambda: server.clocks, TYPES)
    for each in (peer, session):
        traces.begin(each, 5, contents=True)
    network.result(client.reauthenticate())
    rows = [(each, traces.find(each.id).after(0, 9)) for each in (peer, session)]  # type: ignore[union-attr]
    assert [row["name"] for _, frames in rows for row in frames] == [
        *("AuthenticationRequested", "AUTHENTICATE"),
        *("AUTHENTICATE", "CredentialsAccepted"),
    ]
    assert rows[1][1][0]["content"] == HIDDEN
    assert "s3cret" not in str(rows)
