"""The commands that look at a backplane from outside, and servers of ``twistd`` that share one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import deferLater

from tests.support.ports import free_port
from veltix_tx import BackplaneState, Client, MessageRegistry, Server, SettingsError


@pytest.fixture
def veltix(spawn: Any, scripts: str) -> Callable[..., Any]:
    """Run the ``veltix`` command; return its status, and what it has said on both outputs."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = spawn(os.path.join(scripts, "veltix"), *arguments)
        status = await process.exited
        return status, process.out.decode(), process.err.decode()

    return run


@pytest.fixture
def server(redis: Any, clean_reactor: None, finish: Callable[..., Any]) -> Iterator[Any]:
    """Return a server on the test's Redis whose clients are in the room ``lobby`` at once."""
    server = Server(port=0, host="127.0.0.1", types=MessageRegistry(), backplane=redis.url)

    @server.set_callback("on_connect")
    def on_connect(client: Any) -> Any:
        return server.room("lobby").join(client, state={"name": "ann"})

    server.startService()
    yield server
    finish(server.stopService())


async def test_nodes_rooms_and_members_are_seen_from_outside(redis: Any, server: Any, veltix: Any) -> None:
    """``veltix nodes``, ``rooms`` and ``members`` show what the servers share, for people and for programs, and not themselves."""
    client = Client("127.0.0.1", server.port, types=MessageRegistry())
    await client.connect()
    while server.backplane.state is not BackplaneState.UP:
        await deferLater(server.reactor, 0.01)

    nodes = json.loads((await veltix("nodes", redis.url, "-o", "json"))[1])
    rooms = await veltix("rooms", redis.url, "lo*")
    none = await veltix("rooms", redis.url, "other*", "-o", "json")
    members = json.loads((await veltix("members", redis.url, "lobby", "-o", "json"))[1])
    shown = await veltix("members", redis.url, "lobby")

    assert [(each["node"], each["pid"]) for each in nodes] == [(server.backplane.node_id, os.getpid())]
    assert rooms == (0, "lobby  1\n", "")
    assert none == (0, "{}\n", "")
    assert [(each["node"], each["state"]) for each in members] == [(server.backplane.node_id, {"name": "ann"})]
    assert shown[1].startswith("id ")
    assert '{"name":"ann"}' in shown[1]
    await client.disconnect()


async def test_a_backplane_that_is_not_there_is_told(veltix: Any) -> None:
    """A command that cannot reach the backplane fails with status 1 and says why; a URL that is none is wrong usage."""
    url = f"redis://127.0.0.1:{free_port()}"
    status, _, said = await veltix("nodes", url, "--timeout", "0.5")
    assert status == 1
    assert said.startswith(f"veltix: {url}: the backplane is down: Connection was refused")

    status, _, said = await veltix("nodes", "redis://user:secret@host:port")
    assert status == 2
    assert "URL redis:***@host:port" in said
    assert "secret" not in said


async def test_twistd_servers_share_rooms_through_their_backplane(redis: Any, twistd: Any, veltix: Any) -> None:
    """Two servers of ``twistd --backplane`` are nodes of one service, and stop without a warning; what is no URL is one line."""
    servers = [twistd("--port", "0", "--interface", "127.0.0.1", "--backplane", redis.url) for _ in range(2)]
    for each in servers:
        await each.port()

    while True:
        nodes = json.loads((await veltix("nodes", redis.url, "-o", "json"))[1])
        if len(nodes) == 2:
            break

    wrong = twistd("--backplane", "redis://")
    assert await wrong.exited == 1
    assert b"twistd veltix: --backplane redis://: it must be redis://" in wrong.err
    for each in servers:
        each.signal(15)
        await each.exited
        assert b"is down" not in each.out  # a stop is no trouble


async def test_a_server_in_use_keeps_its_backplane() -> None:
    """A backplane can be given until the server listens, and no later."""
    server = Server(port=0, host="127.0.0.1", types=MessageRegistry())
    server.startService()
    with pytest.raises(SettingsError):
        server.set_backplane("redis://localhost")
    await server.stopService()


async def test_a_process_hosts_the_backplane_of_others(spawn: Any, scripts: str, twistd: Any, veltix: Any, tmp_path: Any) -> None:
    """``veltix backplane`` is joined by servers and asked by commands; with its end they go on, and no failure is logged."""
    socket = tmp_path / "backplane.sock"
    host = spawn(os.path.join(scripts, "veltix"), "backplane", "--listen", f"unix:{socket}", "--lease", "5")
    url = (await host.says(rb"a backplane is hosted, for --backplane (\S+)")).group(1).decode()
    assert url == f"veltix+unix:{socket}"
    assert socket.stat().st_mode & 0o777 == 0o600
    server = twistd("--port", "0", "--interface", "127.0.0.1", "--backplane", url)
    await server.port()

    while len(nodes := json.loads((await veltix("nodes", url, "-o", "json"))[1])) != 1:
        pass
    assert nodes[0]["pid"] == server.transport.pid
    host.signal(15)
    assert await host.exited == 0
    await server.says(rb"the backplane of node \w+ is down")
    server.signal(15)
    await server.exited
    assert b"Traceback" not in host.out + host.err + server.out + server.err

    status, _, said = await veltix("backplane", "--listen", "tcp:0:interface=0.0.0.0")
    assert status == 2
    assert "on this machine's own address, or password given" in said
