"""Server, Client and MemoryNetwork on wires they have never heard of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.wires import Objects, Texts
from veltix_tx import Client, DisconnectReason, MessageRegistry, MessageType, Server
from veltix_tx.errors import AuthenticationFailed, LocalProtocolError
from veltix_tx.limits import Limits
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.messages import Response

Pair = tuple[MemoryNetwork, Server, Client, MessageType]


def texts(**settings: Any) -> Pair:
    """Return a network, a server and a client, not yet connected, of the wire of texts."""
    types = MessageRegistry()
    line = MessageType(name="line", registry=types)
    network, wire = MemoryNetwork(), Texts(line)
    return network, Server(wire=wire, types=types, **settings), Client(wire=wire, types=types), line


def objects(token: str = "secret", **settings: Any) -> Pair:
    """Return the same of the wire of objects; the server lets in who says "secret"."""
    types = MessageRegistry()
    order = MessageType(name="order", registry=types)
    settings.setdefault("authenticate", lambda credentials: "ann" if credentials == {"token": "secret"} else None)
    return MemoryNetwork(), Server(wire=Objects(), types=types, **settings), Client(wire=Objects(token), types=types), order


SAID: dict[Callable[..., Pair], Any] = {texts: "hello", objects: {"item": "tea", "count": 2}}

both = pytest.mark.parametrize("pair", [texts, objects])


@both
def test_a_route_gets_the_wires_value_and_answers_with_one(pair: Callable[..., Pair]) -> None:
    """A route sees ``message.value`` as its wire means it, and may return a value of the wire."""
    network, server, client, kind = pair()
    seen: list[object] = []
    answers: list[object] = []

    @server.route(kind)
    def handle(session: Any, message: Response) -> object:
        seen.append(message.value)
        return message.value

    client.set_callback("on_recv", lambda message: answers.append(message.value))
    network.serve(server)
    network.connect(client)
    client.send(kind, SAID[pair])
    network.pump()

    assert seen == answers == [SAID[pair]]


@both
def test_a_broadcast_reaches_every_session_of_the_wire(pair: Callable[..., Pair]) -> None:
    """A broadcast is encoded by the wire, once for all sessions that take the same bytes."""
    network, server, client, kind = pair()
    heard: list[object] = []
    client.set_callback("on_recv", lambda message: heard.append(message.value))
    network.serve(server)
    network.connect(client)

    assert server.broadcast(kind, SAID[pair]) == 1
    network.pump()
    assert heard == [SAID[pair]]


@both
def test_what_the_wire_cannot_do_fails_typed(pair: Callable[..., Pair]) -> None:
    """Requests and pings fail with LocalProtocolError on a wire without them, and nothing is sent."""
    network, server, client, kind = pair()
    network.serve(server)
    network.connect(client)

    with pytest.raises(LocalProtocolError, match="no request ids"):
        network.result(client.send_and_wait(kind, SAID[pair]))
    with pytest.raises(LocalProtocolError):
        network.result(client.ping_server())
    assert client.is_connected


@both
def test_a_value_of_another_kind_is_refused_where_it_is_sent(pair: Callable[..., Pair]) -> None:
    """What a wire cannot carry raises TypeError at the caller; the session goes on."""
    network, server, client, kind = pair()
    network.serve(server)
    network.connect(client)

    with pytest.raises(TypeError, match="a message of this wire is"):
        client.send(kind, 17)
    assert client.is_connected


@both
def test_a_message_over_the_limit_ends_the_connection(pair: Callable[..., Pair]) -> None:
    """``max_message_size`` holds on every wire: a peer that declares or sends more is closed."""
    network, server, client, _ = pair(max_message_size=1000)
    network.serve(server)
    network.connect(client)
    (session,) = server.clients
    network.dial().send((5000).to_bytes(4, "big") + b"x" * 5000)
    network.pump()

    assert server.counters["closed_protocol_error"] == 1
    assert session.closed is None


@both
def test_a_stop_drains_what_has_arrived(pair: Callable[..., Pair]) -> None:
    """A stopping server handles and answers what it has taken before it closes."""
    network, server, client, kind = pair()
    answers: list[object] = []

    @server.route(kind, concurrent=True)
    def handle(session: Any, message: Response) -> object:
        return message.value

    client.set_callback("on_recv", lambda message: answers.append(message.value))
    network.serve(server)
    network.connect(client)
    for _ in range(3):
        client.send(kind, SAID[pair])
    network.pump()
    stopped = server.stopService()
    network.advance(1)

    assert network.result(stopped) is not None or stopped.called
    assert answers == [SAID[pair]] * 3


@both
def test_the_heartbeat_does_not_ask_a_peer_that_cannot_answer(pair: Callable[..., Pair]) -> None:
    """On a wire without pings a silent peer is not pinged, and not closed for its silence."""
    network, server, client, _ = pair()
    network.serve(server)
    network.connect(client)
    network.advance(120)

    assert len(server.clients) == 1
    assert client.is_connected


def test_the_identity_is_what_authenticate_returned() -> None:
    """A handshake that authenticates asks the server's hook; the session has what that returned."""
    network, server, client, _ = objects()
    network.serve(server)
    network.connect(client)

    assert [session.identity for session in server.clients] == ["ann"]


@pytest.mark.parametrize(
    "authenticate",
    [lambda credentials: None, lambda credentials: 1 / 0, None],
    ids=["refuses", "fails", "is not there"],
)
def test_authentication_fails_closed(authenticate: Any, logged_failures: Any) -> None:
    """A hook that says None, fails, or is not there lets nobody in, and the refusal is counted."""
    network, server, client, _ = objects(authenticate=authenticate)
    network.serve(server)

    with pytest.raises(AuthenticationFailed):
        network.connect(client)
    assert server.clients == []
    assert server.counters["authentications_failed"] == 1
    assert server.counters[f"closed_{DisconnectReason.AUTHENTICATION_FAILED.name.lower()}"] == 1
    logged_failures.flush(ZeroDivisionError)


def test_nothing_is_handled_before_the_peer_is_let_in() -> None:
    """A message that comes before the verdict ends the connection; no handler sees it."""
    network, server, _, order = objects(limits=Limits())
    seen: list[object] = []
    server.register_route(order, lambda session, message: seen.append(message))
    network.serve(server)
    body = b'["order", {}]'
    network.dial().send(len(body).to_bytes(4, "big") + body)
    network.pump()

    assert seen == []
    assert server.counters["closed_protocol_error"] == 1
