"""Routes: one function for one type, before ``on_recv``."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, Lines, both_wires, new_type, until
from veltix_tx.dropin.veltix import ClientConfig, Request, Response, ServerConfig


@both_wires
def test_routes_come_before_on_recv(ends: Ends) -> None:
    """A routed type goes to its route, every other one to ``on_recv``; a server's route gets (response, client)."""
    server, client = ends.pair()
    routed, plain, seen = new_type(), new_type(), []  # type: ignore[var-annotated]

    @server.route(routed)
    def route(response: Response, info: Any) -> None:
        seen.append(("route", response.content, info))

    server.set_callback("on_recv", lambda info, response: seen.append(("on_recv", response.content, info)))
    for kind in (routed, plain, routed):
        client.get_sender().send(Request(kind, kind.name.encode()))
    info = server.clients[0]
    until(lambda: len(seen) == 3)
    assert seen == [
        ("route", routed.name.encode(), info),
        ("on_recv", plain.name.encode(), info),
        ("route", routed.name.encode(), info),
    ]
    assert callable(route)


@both_wires
def test_a_clients_route_gets_the_response_only(ends: Ends) -> None:
    """A client's route is called with the message alone."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.route(kind)(lambda response: seen.append(response.content))
    server.get_sender().broadcast(Request(kind, b"to you"), server.get_all_clients_sockets())
    assert until(lambda: seen) == [b"to you"]


def test_second_route_of_a_type_is_ignored(ends: Ends, log: Lines) -> None:
    """The first route of a type stays; the second function is returned as it is, and a line says so."""
    server, client = ends.pair()
    kind, seen = new_type("chat"), []  # type: ignore[var-annotated]
    server.route(kind)(lambda *_: seen.append("first"))

    def second(*_: object) -> None:
        seen.append("second")

    assert server.route(kind)(second) is second
    client.get_sender().send(Request(kind, b""))
    assert until(lambda: seen) == ["first"]
    assert log.about(f"Route for type MessageType(code={kind.code}, name='chat') already registered — ignoring")


def test_routes_by_hand(ends: Ends, log: Lines) -> None:
    """``request_handler`` registers and unregisters while messages come; it tells whether it did."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    handler, sender = server.request_handler, client.get_sender()
    server.set_callback("on_recv", lambda *_: seen.append("on_recv"))

    def route(*_: object) -> None:
        seen.append("route")

    assert (handler.has_route(kind), handler.get_route(kind)) == (False, None)
    assert handler.register_route(kind, route) is True
    assert handler.register_route(kind, lambda *_: None) is False
    assert (handler.has_route(kind), handler.get_route(kind)) == (True, route)
    sender.send(Request(kind, b""))
    until(lambda: len(seen) == 1)
    assert handler.unregister_route(kind) is True
    assert handler.unregister_route(kind) is False
    sender.send(Request(kind, b""))
    until(lambda: len(seen) == 2)
    assert handler.register_route(kind, route) is True
    sender.send(Request(kind, b""))
    assert until(lambda: len(seen) == 3 and seen) == ["route", "on_recv", "route"]
    assert len(log.about("not registered — ignoring")) == 1


def test_a_route_that_raises(ends: Ends, log: Lines) -> None:
    """What a route raises, or a wrong number of arguments, is logged; the next message is handled."""
    server, client = ends.pair()
    failing, wrong, good, seen = new_type(), new_type(), new_type(), []  # type: ignore[var-annotated]

    @server.route(failing)
    def fail(response: Response, info: Any) -> None:
        raise ValueError("bad")

    server.route(wrong)(lambda response: None)
    server.route(good)(lambda *_: seen.append("good"))
    for kind in (failing, wrong, good):
        client.get_sender().send(Request(kind, b""))
    assert until(lambda: seen) == ["good"]
    first, second = log.about("Error in callback")
    assert "fail: ValueError: bad" in first
    assert "TypeError" in second
    assert "2 were given" in second


def test_types_nobody_knows_are_dropped(ends: Ends) -> None:
    """A message of a code that has no type here is dropped; the next one arrives."""
    from veltix_tx.wire.messages import MessageRegistry
    from veltix_tx.wire.messages import MessageType as Unregistered

    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    server.set_callback("on_recv", lambda _, response: seen.append(response.type))
    unknown = Unregistered(29_999, registry=MessageRegistry(codes=range(65536)))
    assert client.get_sender().send(Request(unknown, b""))  # type: ignore[arg-type]
    client.get_sender().send(Request(kind, b""))
    assert until(lambda: seen) == [kind]


def test_codes_below_200(ends: Ends) -> None:
    """Upstream allows every code that it does not use itself; here, too."""
    from veltix_tx.dropin.veltix import MessageType

    kind, seen = MessageType(199), []  # type: ignore[var-annotated]
    server, client = ends.pair()
    server.set_callback("on_recv", lambda _, response: seen.append(response.type))
    client.get_sender().send(Request(kind, b""))
    assert until(lambda: seen) == [kind]


def test_an_answer_is_seen_by_who_asked_only(ends: Ends) -> None:
    """The answer to a request goes to who waits for it, whatever routes there are for its type."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.route(kind)(seen.append)
    server.route(kind)(lambda response, info: server.get_sender().send(Request(kind, b"a", response.request_id), info.conn))
    assert client.send_and_wait(Request(kind, b"q")) is not None
    server.get_sender().broadcast(Request(kind, b"b"), server.get_all_clients_sockets())
    assert until(lambda: seen)[0].content == b"b"
    assert len(seen) == 1


def test_a_peer_cannot_flood_the_log_with_failing_callbacks(ends: Ends, log: Lines) -> None:
    """However often a peer makes a callback fail, a handful of lines and tracebacks comes of it; all are called."""
    server, client = ends.pair()
    kind, calls = new_type(), []

    def failing(response: Response, info: Any) -> None:
        calls.append(response)
        raise ValueError("bad")

    server.route(kind)(failing)
    for _ in range(500):
        client.get_sender().send(Request(kind, b""))
    until(lambda: len(calls) == 500)
    assert 1 <= len(log.about("Error in callback")) < 100


def test_callbacks_take_as_long_as_they_take() -> None:
    """A handler has a time limit, but upstream's callbacks have none."""
    for config in (ServerConfig(), ClientConfig()):
        assert config.native().timeouts.handler == math.inf


def test_route_without_parentheses_says_how(ends: Ends) -> None:
    """``@server.route`` in place of ``@server.route(TYPE)`` raises TypeError instead of registering nothing."""
    for each in ends.pair():
        with pytest.raises(TypeError, match=r"not @server\.route"):
            each.route(lambda response, client: None)
