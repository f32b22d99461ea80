"""Trying again: the steps that ``on_disconnect`` is told, and what outlives a connection."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.support.dropin.loopback import Ends, both_wires, free_port, new_type, until
from veltix_tx.dropin.veltix import Client, DisconnectReason, DisconnectState, Request, Server
from veltix_tx.errors import SettingsError

ERROR, CLOSED, MANUAL = DisconnectReason.ERROR, DisconnectReason.SERVER_CLOSED, DisconnectReason.MANUAL

Told = list[tuple[bool, int, int, DisconnectReason]]


def told(client: Client) -> Told:
    """Return the list in which the states appear that a client's ``on_disconnect`` is told."""
    states: Told = []

    def tell(state: DisconnectState) -> None:
        states.append((state.permanent, state.attempt, state.retry_max, state.reason))

    client.set_callback("on_disconnect", tell)
    return states


def drop(server: Server) -> None:
    """Close the connection of a server's only client; the server goes on."""
    (info,) = until(lambda: server.clients)
    assert server.close_client(info)
    until(lambda: info not in server.clients)


def test_refused(ends: Ends) -> None:
    """A refused connection without tries: one step, permanent, and connect() is False; the same again the next time."""
    client = ends.client(free_port(), connect=False)
    states = told(client)
    assert [client.connect(), client.connect()] == [False, False]
    assert states == [(True, 0, 0, ERROR)] * 2
    assert not client.is_connected


def test_refused_with_tries(ends: Ends) -> None:
    """A step after each try that failed and a permanent one, ``retry_delay`` before each try, all before connect() returns."""
    client = ends.client(free_port(), connect=False, retry=2, retry_delay=0.2)
    states = told(client)
    started = time.monotonic()
    assert client.connect() is False
    assert 0.4 <= time.monotonic() - started < 3
    assert states == [(False, 1, 2, ERROR), (False, 2, 2, ERROR), (True, 2, 2, ERROR)]


def test_tries_are_counted_anew(ends: Ends) -> None:
    """connect() again after giving up tries as often as the first time; upstream's tries no more."""
    client = ends.client(free_port(), connect=False, retry=1, retry_delay=0.02)
    states = told(client)
    assert [client.connect(), client.connect()] == [False, False]
    assert states == [(False, 1, 1, ERROR), (True, 1, 1, ERROR)] * 2


def test_server_comes_up_between_tries(ends: Ends) -> None:
    """A try that succeeds is no step: ``on_connect`` is called, and connect() is True."""
    port = free_port()
    client = ends.client(port, connect=False, retry=10, retry_delay=0.1)
    states, connected = told(client), []  # type: ignore[var-annotated]
    server = ends.server(port=port, start=False)

    def step(state: DisconnectState) -> None:
        states.append((state.permanent, state.attempt, state.retry_max, state.reason))
        server.start()

    client.set_callback("on_disconnect", step)
    client.set_callback("on_connect", lambda: connected.append(client.is_connected))
    assert client.connect() is True
    assert connected == [True]
    assert not [state for state in states if state[0]]
    assert states[0] == (False, 1, 10, ERROR)
    client.set_callback("on_disconnect", None)


def test_dropped_without_tries(ends: Ends) -> None:
    """A connection the server closes is one permanent step, SERVER_CLOSED."""
    server, client = ends.pair()
    states = told(client)
    drop(server)
    assert until(lambda: states) == [(True, 0, 0, CLOSED)]
    assert not client.is_connected


def test_dropped_with_tries_and_the_server_gone(ends: Ends) -> None:
    """No step at the loss itself; then one after each failed try, with the loss's reason, and the permanent one."""
    server = ends.server()
    client = ends.client(server, retry=2, retry_delay=0.1)
    states = told(client)
    server.close_all()
    until(lambda: len(states) == 3)
    assert states == [(False, 1, 2, CLOSED), (False, 2, 2, CLOSED), (True, 2, 2, CLOSED)]


@both_wires
def test_a_server_that_closes_at_once(ends: Ends) -> None:
    """Sessions that end before they have lived are tries that failed: told as such, and ended after ``retry``; upstream's go on."""
    server = ends.server()
    server.set_callback("on_connect", server.close_client)
    client = ends.client(server, connect=False, retry=2, retry_delay=0.02)
    states, connected = told(client), []  # type: ignore[var-annotated]
    client.set_callback("on_connect", lambda: connected.append(1))
    client.connect()
    until(lambda: states and states[-1][0])
    assert states == [(False, 1, 2, CLOSED), (False, 2, 2, CLOSED), (True, 2, 2, CLOSED)]
    assert len(connected) == 3


@both_wires
def test_what_outlives_a_reconnect(ends: Ends) -> None:
    """Callbacks, routes and senders fetched before work on the next connection; no step is told."""
    server = ends.server()
    client = ends.client(server, retry=3, retry_delay=0.02)
    states, sender, connected = told(client), client.get_sender(), []  # type: ignore[var-annotated]
    routed, plain, seen = new_type(), new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_connect", lambda: connected.append(1))
    client.set_callback("on_recv", lambda response: seen.append(("on_recv", response.content)))
    client.route(routed)(lambda response: seen.append(("route", response.content)))
    server.set_callback("on_recv", lambda _, response: seen.append(("server", response.content)))
    for number in range(2):
        drop(server)
        until(lambda number=number: len(connected) == number + 1)  # type: ignore[misc]
        until(lambda: server.clients)
        assert sender.send(Request(plain, b"up")) is True
        until(lambda: ("server", b"up") in seen)
        assert server.get_sender().broadcast(Request(plain, b"down"), server.get_all_clients_sockets()) is True
        assert server.get_sender().broadcast(Request(routed, b"down"), server.get_all_clients_sockets()) is True
        until(lambda: len(seen) == 3)
        assert sorted(seen) == [("on_recv", b"down"), ("route", b"down"), ("server", b"up")]
        seen.clear()
    assert client.get_sender() is sender
    assert client.is_connected
    assert not states


def test_sending_while_it_waits_for_its_next_try(ends: Ends) -> None:
    """Between two connections nothing can be sent, and send() says so."""
    server = ends.server()
    client = ends.client(server, retry=100, retry_delay=0.05)
    port = server.port
    server.close_all()
    until(lambda: not client.is_connected)
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    assert client.get_sender().send(Request(kind, b"lost")) is False
    again = ends.server(port=port)
    again.set_callback("on_recv", lambda _, response: seen.append(response.content))
    until(lambda: client.is_connected)
    assert client.get_sender().send(Request(kind, b"found")) is True
    assert until(lambda: seen) == [b"found"]


def test_stop_retry_ends_the_waiting(ends: Ends) -> None:
    """``stop_retry()`` ends the waiting for the next try at once, with a permanent step, and connect() with it."""
    client = ends.client(free_port(), connect=False, retry=5, retry_delay=60)
    states, results = told(client), []  # type: ignore[var-annotated]
    thread = threading.Thread(target=lambda: results.append(client.connect()))
    thread.start()

    def stopped() -> bool:
        client.stop_retry()
        return bool(states)

    until(stopped)
    thread.join(5)
    assert results == [False]
    assert states == [(True, 0, 5, ERROR)]


def test_stop_retry_inside_on_disconnect(ends: Ends) -> None:
    """``stop_retry()`` may be called from ``on_disconnect``."""
    client = ends.client(free_port(), connect=False, retry=5, retry_delay=0.05)
    states: Told = []

    def step(state: DisconnectState) -> None:
        states.append((state.permanent, state.attempt, state.retry_max, state.reason))
        if state.attempt == 2:
            client.stop_retry()

    client.set_callback("on_disconnect", step)
    assert client.connect() is False
    assert states[:2] == [(False, 1, 5, ERROR), (False, 2, 5, ERROR)]
    assert states[-1][0] is True
    assert len(states) <= 4


def test_stop_retry_of_a_connected_client(ends: Ends) -> None:
    """The connection stays, and is the last one."""
    server = ends.server()
    client = ends.client(server, retry=5, retry_delay=0.01)
    states = told(client)
    client.stop_retry()
    assert client.ping_server() is not None
    drop(server)
    assert until(lambda: states) == [(True, 0, 5, CLOSED)]


def test_stop_retry_before_anything(ends: Ends) -> None:
    """There is nothing to stop."""
    client = ends.client(ends.server(), connect=False)
    client.stop_retry()
    assert client.connect() is True


@pytest.mark.parametrize("spelling", ["max_", "max"])
def test_retry_with_a_number(ends: Ends, spelling: str) -> None:
    """``retry(max_=N)`` and ``retry(max=N)`` try now and, if that fails, N times more; upstream ignores N or raises."""
    client = ends.client(free_port(), connect=False, retry=0, retry_delay=0.02)
    client.connect()
    states = told(client)
    assert client.retry(**{spelling: 2}) is None  # type: ignore[func-returns-value, arg-type]
    until(lambda: states and states[-1][0])
    assert states == [(False, 1, 2, ERROR), (False, 2, 2, ERROR), (True, 2, 2, ERROR)]


def test_retry_with_no_more(ends: Ends) -> None:
    """``retry(max_=0)`` tries once."""
    client = ends.client(free_port(), connect=False, retry=3, retry_delay=0.02)
    states = told(client)
    client.retry(max_=0)
    until(lambda: states and states[-1][0])
    assert states == [(True, 0, 0, ERROR)]


@pytest.mark.parametrize("wrong", [-1, "2", 1.5])
def test_retry_with_a_wrong_number(ends: Ends, wrong: Any) -> None:
    """A number that cannot be is told at once."""
    client = ends.client(free_port(), connect=False)
    with pytest.raises(SettingsError, match="max_retries"):
        client.retry(max_=wrong)


def test_retry_connects_again(ends: Ends) -> None:
    """``retry()`` brings a client back that was dropped, or that disconnected; it does not wait for it."""
    server, client = ends.pair()
    connected: list[int] = []
    client.set_callback("on_connect", lambda: connected.append(1))
    drop(server)
    until(lambda: not client.is_connected)
    client.retry()
    until(lambda: client.is_connected and connected)
    client.disconnect()
    client.retry()
    until(lambda: client.is_connected and len(connected) == 2)
    assert client.ping_server() is not None
    assert client.running


def test_retry_while_waiting(ends: Ends) -> None:
    """``retry()`` does not wait for the next try that is due."""
    port = free_port()
    client = ends.client(port, connect=False, retry=1, retry_delay=60)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(client.connect()))
    thread.start()
    ends.server(port=port)

    def tried() -> bool:
        client.retry()
        return client.is_connected

    until(tried)
    thread.join(5)
    assert results == [True]


def test_disconnect_during_the_tries(ends: Ends) -> None:
    """``disconnect()`` ends the tries, and connect() with them: one permanent step, MANUAL."""
    client = ends.client(free_port(), connect=False, retry=50, retry_delay=0.05)
    states, results = told(client), []  # type: ignore[var-annotated]
    thread = threading.Thread(target=lambda: results.append(client.connect()))
    thread.start()
    until(lambda: len(states) >= 2)
    assert client.disconnect() is True
    thread.join(5)
    assert results == [False]
    assert [state for state in states if state[0]] == [(True, states[-1][1], 50, MANUAL)]
    assert states[-1][0] is True


def test_disconnect_is_no_reason_to_try_again(ends: Ends) -> None:
    """After ``disconnect()`` a client with tries stays disconnected."""
    server = ends.server()
    client = ends.client(server, retry=5, retry_delay=0.01)
    states = told(client)
    client.disconnect()
    until(lambda: not server.clients)
    assert states == [(True, 0, 5, MANUAL)]
    assert not client.is_connected


def test_connect_inside_on_disconnect(ends: Ends) -> None:
    """A callback may connect the client again itself."""
    server, client = ends.pair()
    connected: list[bool] = []
    client.set_callback("on_disconnect", lambda state: connected.append(client.connect()))
    drop(server)
    assert until(lambda: connected) == [True]
    assert client.ping_server() is not None
    client.set_callback("on_disconnect", None)


def test_connect_as_soon_as_a_request_has_failed(ends: Ends) -> None:
    """A program that connects again when ``send_and_wait`` gave None because the connection went is connected."""
    server = ends.server()
    server.set_callback("on_recv", lambda info, response: server.close_client(info))
    client, kind = ends.client(server), new_type()
    for _ in range(10):
        assert client.send_and_wait(Request(kind, b"?")) is None
        assert client.connect() is True
    assert client.ping_server() is not None


def test_states_are_plain_objects() -> None:
    """A DisconnectState is compared by its fields, can be changed, and reads as upstream's."""
    state = DisconnectState(True, 0, 0, MANUAL)
    assert state == DisconnectState(permanent=True, attempt=0, retry_max=0, reason=MANUAL)
    assert repr(state) == "DisconnectState(permanent=True, attempt=0, retry_max=0, reason=<DisconnectReason.MANUAL: 3>)"
    state.attempt = 3
    assert state != DisconnectState(True, 0, 0, MANUAL)


def test_clients_that_have_ended_are_not_kept(ends: Ends) -> None:
    """A client whose connection is over for good is not kept alive by the package."""
    import gc
    import weakref

    from veltix_tx.dropin.veltix import ClientConfig

    server = ends.server()
    clients = [Client(ClientConfig(port=port)) for port in (server.port, server.port, free_port())]
    assert [each.connect() for each in clients] == [True, True, False]
    clients[0].disconnect()
    until(lambda: len(server.clients) == 1)
    drop(server)
    until(lambda: not clients[1].is_connected)
    kept = [weakref.ref(each) for each in clients]
    clients.clear()

    def gone() -> bool:
        gc.collect()
        return not any(each() for each in kept)

    until(gone)
