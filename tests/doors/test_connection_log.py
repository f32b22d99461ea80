"""The lines of the log about connections: one at the begin and one at the end, for who asks for them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.logger import formatEvent

from veltix_tx import ServerFull, SettingsError
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.counting import CountingConnection
from veltix_tx.wire.veltix.connection import VeltixConnection

HELLO = b'\x00\x18{"v":"3.3.0","pv":"1.0"}'


def lines(log_events: list[Any]) -> list[str]:
    """Return the lines about connections."""
    return [formatEvent(event) for event in log_events if event.get("log_namespace") == "veltix_tx.net.connection.connection_log"]


def ends(log_events: list[Any]) -> list[dict[str, Any]]:
    """Return the events of ends."""
    return [
        event
        for event in log_events
        if event.get("log_namespace") == "veltix_tx.net.connection.connection_log" and "reason" in event
    ]


async def until_ended(log_events: list[Any], count: int) -> None:
    """Wait for so many ends."""
    from twisted.internet import reactor

    while len(ends(log_events)) < count:
        await deferLater(reactor, 0.005)


async def test_a_connection_has_a_line_at_each_end(loopback: Any, log_events: list[Any]) -> None:
    """Id, peer and port at its begin; id, duration, reason, release, messages and bytes at its end."""
    server = await loopback.server(wire="3.3.0", log_connections=True)
    client = loopback.client(server.port, wire="3.3.0")
    await client.connect()
    (begin,) = lines(log_events)
    found = re.fullmatch(rf"connection (\d+-1) from (127\.0\.0\.1:\d+) on 127\.0\.0\.1:{server.port}", begin)
    assert found is not None, begin
    await client.send_and_wait(loopback.chat, b"12345")
    await client.send_and_wait(loopback.chat, bytes(100_000))
    await client.ping_server()
    server.broadcast(loopback.news, b"all")
    client.send(loopback.chat, b"bye")
    await client.disconnect()
    await until_ended(log_events, 1)
    end = lines(log_events)[1]
    assert end.startswith(f"connection {found[1]} from {found[2]} ended after 0.")
    assert ": PEER_CLOSED (the peer closed the connection); 3.3.0; received 3 messages, " in end
    (event,) = ends(log_events)
    counted = {name: event[name] for name in ("messages_in", "messages_out")}
    assert counted in ({"messages_in": 3, "messages_out": 4}, {"messages_in": 3, "messages_out": 3})
    received = 3 * 15 + 5 + 100_000 + 3 + 15  # three messages, and the ping
    assert received < event["bytes_in"] < received + 200
    assert event["bytes_out"] > 2 * 15 + 5 + 100_000 + 15


async def test_nothing_is_logged_or_counted_where_nobody_asks(loopback: Any, log_events: list[Any]) -> None:
    """Without the setting there is no line, and a connection counts nothing."""
    server = await loopback.server()
    client = loopback.client(server.port)
    await client.connect()
    assert type(server.clients[0]._connection) is VeltixConnection
    await client.disconnect()
    assert lines(log_events) == []
    other = await loopback.server(log_connections=True)
    another = loopback.client(other.port)
    await another.connect()
    assert type(other.clients[0]._connection) is CountingConnection
    assert type(another.session._connection) is VeltixConnection


async def test_every_connection_has_an_id_of_its_own(loopback: Any, log_events: list[Any]) -> None:
    """However many connections and ports a server has, ids are counted up, and no line is left out."""
    server = await loopback.server(log_connections=True, endpoints=("tcp:0:interface=127.0.0.1", "3.3.0@tcp:0:interface=127.0.0.1"))
    for number in range(30):
        raw = await loopback.raw(server._ports[number % 2].getHost().port)
        raw.transport.abortConnection()
        await raw.gone
    await until_ended(log_events, 30)
    assert len(lines(log_events)) == 60
    begun = [event["id"] for event in log_events if "where" in event and "id" in event]
    assert [each.partition("-")[2] for each in begun] == [str(number) for number in range(1, 31)]
    assert {event["id"] for event in ends(log_events)} == set(begun)


async def test_those_who_never_become_clients_have_their_lines_too(loopback: Any, log_events: list[Any]) -> None:
    """Who is refused, speaks something else or ends in the handshake is told with the reason, and what it said is harmless."""
    server = await loopback.server(wire="3.3.0", log_connections=True, max_connections=1)
    client = loopback.client(server.port, wire="3.3.0")
    await client.connect()
    with pytest.raises(ServerFull):
        await loopback.client(server.port, wire="3.3.0").connect()
    await until_ended(log_events, 1)
    await client.disconnect()
    await until_ended(log_events, 2)
    raw = await loopback.raw(server.port)
    raw.transport.write(b"GET /\x1b[2J{log_source} HTTP/1.1\r\n\r\n")
    await raw.gone
    await until_ended(log_events, 3)
    full, left, foreign = [text for text in lines(log_events) if " ended after " in text]
    why = "this side closed the connection because it has as many as it may"
    assert f": SERVER_FULL ({why}); no handshake; received 0 messages, 0 bytes; sent 0 messages, " in full
    assert ": PEER_CLOSED (" in left
    assert ": PROTOCOL_ERROR (the connection was closed: the client does not speak Veltix: it begins with b'GET /" in foreign
    assert all(text.isprintable() for text in lines(log_events))


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_setting_is_yes_or_no(value: object) -> None:
    """Anything else is refused by name."""
    with pytest.raises(SettingsError, match="log_connections"):
        ServerConfig(log_connections=value)  # type: ignore[arg-type]
