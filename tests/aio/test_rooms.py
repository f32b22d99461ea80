"""Rooms, presence, recovery and addressing over aio: begun at once, and awaited where that matters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.aio.ends import CHAT, TYPES, Run
from veltix_tx import Delivery, Gap, History, NoSuchSession, PresenceChange
from veltix_tx.aio import Client, Room, Server, Session
from veltix_tx.backplane.memory import MemoryBackplane, MemoryHub
from veltix_tx.testing import MemoryNetwork


def test_rooms_are_joined_and_sent_to_over_two_nodes(run: Run) -> None:
    """A broadcast reaches the members of both nodes; members, counts, rooms and nodes are awaited; sessions are those of aio."""
    hub = MemoryHub()
    servers = [Server(types=TYPES, backplane=MemoryBackplane(hub)) for _ in range(2)]
    clients = [Client(types=TYPES) for _ in range(2)]
    heard: list[list[bytes]] = [[], []]
    changes: list[PresenceChange] = []
    for client, messages in zip(clients, heard, strict=True):
        client.set_callback("on_recv", lambda message, messages=messages: messages.append(message.content))
    clients[1].register_rpc(lambda: "far", "where")

    @servers[0].room("lobby").on_presence
    async def on_presence(change: PresenceChange) -> None:
        await asyncio.sleep(0)
        changes.append(change)

    async def main() -> None:
        async with MemoryNetwork() as network:
            for server, client in zip(servers, clients, strict=True):
                network.serve(server)
                await network.connect(client, to=server)
                (session,) = server.clients
                await server.room("lobby").join(session, {"n": 1})
            near, far = servers[0].clients[0], servers[1].clients[0]
            room = servers[0].room("lobby")
            assert (room.name, room.history, room.presence) == ("lobby", None, None)
            assert room == servers[0].room("lobby")
            assert servers[0].rooms_of(near) == [room]
            assert len({room, servers[0].room("lobby")}) == 1
            assert room.sessions == [near]
            assert [each.state for each in await room.members()] == [{"n": 1}] * 2
            await room.set_state(near, 2)
            assert await room.count() == 2
            assert await servers[1].rooms("l*") == {"lobby": 2}
            assert len(await servers[1].nodes()) == 2
            assert await room.broadcast(CHAT, b"1") == Delivery(1)
            room.broadcast(CHAT, b"2", exclude=[near])
            servers[0].broadcast_everywhere(CHAT, b"3")
            await servers[0].send_to(far.id, CHAT, b"4")
            assert await servers[0].call_to(far.id, "where") == "far"
            assert await servers[0].select_everywhere() == [near.id, far.id]
            room.leave(near)
            await servers[0].disconnect(far.id)
            with pytest.raises(NoSuchSession):
                await servers[0].send_to("nobody-1", CHAT)
            await asyncio.sleep(0)
            assert servers[0].backplane.counters["published"] == 3

    run(main())
    assert heard == [[b"1", b"3"], [b"1", b"2", b"3", b"4"]]
    assert [len(change.joined) - len(change.left) for change in changes][:4] == [1, 1, 0, -1]


def test_a_client_that_comes_back_gets_what_it_missed(run: Run) -> None:
    """Recovery and gaps work as elsewhere; both sessions tell."""
    server, client = Server(types=TYPES), Client(types=TYPES)
    got: list[Any] = []
    client.set_callback("on_recv", lambda message: got.append(message.content))
    client.on_gap(got.append)

    @server.set_callback("on_connect")
    async def on_connect(session: Session) -> None:
        await server.room("room", history=History(2, 60)).join(session)

    async def main() -> None:
        async with MemoryNetwork() as network:
            network.serve(server)
            room = server.room("room")
            session = await network.connect(client)
            await room.broadcast(CHAT, b"1")
            await asyncio.sleep(0)
            await client.disconnect()
            for content in (b"2", b"3"):
                await room.broadcast(CHAT, content)
            assert (await network.connect(client)).recovered
            assert session.recovered is None
            assert isinstance(room, Room)
            await asyncio.sleep(0)
            await client.disconnect()
            for content in (b"4", b"5", b"6"):
                room.broadcast(CHAT, content)
            await network.connect(client)
            await asyncio.sleep(0)
            assert server.clients[0].recovered is False
            assert client.room_positions["room"].offset == 6
            room.close()

    run(main())
    assert [each.reason if isinstance(each, Gap) else each for each in got] == [
        b"1",
        b"2",
        b"3",
        "history_expired",
        b"5",
        b"6",
    ]
