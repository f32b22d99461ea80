"""A script of the real 1.6.3 and its drop-in twin: the same source, the same lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dropin.stage import OURS, REAL, Script, Stage

each_server = pytest.mark.parametrize("server", [REAL, OURS])
TWINS = (REAL, OURS)


async def serve(stage: Stage, package: str) -> Script:
    """Start the server that tells on request."""
    server = stage.peer("server", package=package)
    await server.listening
    return server


def assert_same(said: dict[str, str]) -> None:
    """Both have said the same, line by line."""
    assert said[OURS].splitlines() == said[REAL].splitlines()


@each_server
async def test_client_twins(stage: Stage, server: str, folders: dict[str, Path]) -> None:
    """Connecting, all ways to send and receive, pinging and disconnecting look the same."""
    said = {}
    for package in TWINS:
        peer = await serve(stage, server)
        await peer.do("""
def tell_all(client, response):
    print("received", response.content[:20])
    if response.content == b"tell all":
        send(201, b"told all")
    if response.type.code == 202:
        server.get_sender().send(Request(response.type, response.content, request_id=response.request_id), client=client.conn)

server.set_callback(Events.ON_RECV, tell_all)
""")
        said[package] = await stage.twin("client", package).ends()
        await peer.says("^disconnected$")
        await peer.kill()
    assert_same(said)
    assert said[REAL].endswith("left: 0\n")


async def test_twins_of_a_client_nobody_answers(stage: Stage, folders: dict[str, Path]) -> None:
    """The states, their order and their times look the same."""
    said = {package: await stage.twin("refused", package).ends() for package in TWINS}
    assert_same(said)
    assert said[REAL].count("permanent=True") == 3


@each_server
async def test_twins_of_a_client_that_is_dropped(stage: Stage, server: str, folders: dict[str, Path]) -> None:
    """Coming back when the server does, and giving up when it does not, look the same."""
    said = {}
    for package in TWINS:
        peer = await serve(stage, server)
        twin = stage.twin("dropped", package)
        await twin.says("start it again...\n")
        again = stage.peer("server", package=server, pause="server.start()")
        await again.pauses()  # ready to listen at once: the twin's attempts end after two seconds
        await peer.kill()
        await again.resume()
        await again.listening
        twin.enter()
        await twin.says("Stop the server...\n")
        await again.kill()
        twin.enter()
        said[package] = await twin.ends()
    assert_same(said)
    assert said[REAL].endswith("is_connected False\n")


@pytest.mark.parametrize("client", [REAL, OURS])
async def test_server_twins(stage: Stage, client: str, folders: dict[str, Path]) -> None:
    """Serving, asking, pinging, tagging and stopping look the same, to the server and to its client."""
    said = {}
    for package in TWINS:
        server = stage.twin("server", package)
        await server.listening
        asker = stage.twin("asker", client)
        await server.says("^come again: None$")
        asker.enter()
        said[package] = await server.ends() + await asker.ends()
    assert_same(said)
    assert "left: 0\n" in said[REAL]
