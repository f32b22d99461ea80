"""Real flexi_socket releases, and the drop-in in their place: one program for both, in which only the import differs."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from typing import Any

import pytest

from tests.support.interop.flexi_sockets import OURS, FlexiSockets

LAST, OLD = "0.0.10", "0.0.6"

PAIRS = [(OURS, LAST), (LAST, OURS), (OURS, OURS)]
"""Server and client."""

pairs = pytest.mark.parametrize(("serving", "connecting"), PAIRS)

TEXT = "h\u00e9 \u2713"


INTERNAL = {"tcp_socket", "handle_new_connection_tcp", "process_first_message", "receive"}
"""Methods of the last release that its own classes call alone."""


def test_the_drop_in_has_the_names_of_the_last_release(flexi_sockets: FlexiSockets) -> None:
    """Its modules, their classes, the methods of these and the parameters of each, in their order, are the drop-in's.

    Strategies are made alike, and work in another way.
    """
    checked = 0
    for path in (flexi_sockets.folders[LAST] / "flexi_socket").glob("*.py"):
        ours = import_module(f"veltix_tx.dropin.flexi_socket.{path.stem}".removesuffix(".__init__"))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for each in ast.walk(tree):
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__":
                assert set(ast.literal_eval(each.value)) <= set(ours.__all__)
        for kind in [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name != "TimeoutStrategy"]:
            own = getattr(ours, kind.name)
            for method in [each for each in kind.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]:
                strategy, made = kind.name.endswith("Strategy"), method.name == "__init__"
                if method.name in INTERNAL or (strategy and not made) or (kind.name == "Connection" and made):
                    continue
                named = [each.arg for each in method.args.args]
                has = getattr(own, method.name)
                assert isinstance(has, property) or list(inspect.signature(has).parameters)[: len(named)] == named, method.name
                checked += 1
    assert checked > 25


@pairs
async def test_one_message_each_way_in_a_stream(serving: str, connecting: str, flexi_sockets: FlexiSockets) -> None:
    """With EOFStrategy, the default, a client's message is answered by one of its server, and both see the end."""
    async with flexi_sockets.run(serving) as server, flexi_sockets.run(connecting) as client:
        port = await server.call("server", {"strategy": "EOFStrategy"}, None, True)
        await client.call("client", port, {"strategy": "EOFStrategy"})
        await client.next("connected")
        await client.call("send", TEXT)
        assert await server.next("received") == [TEXT]
        if connecting == OURS:  # a real client that speaks first hands no answer over
            assert await client.next("received") == [f"echo {TEXT}"]
        await server.next("disconnected")
        await client.next("disconnected")


@pytest.mark.parametrize("connecting", [LAST, OURS])
async def test_a_server_of_streams_may_speak_first(connecting: str, flexi_sockets: FlexiSockets) -> None:
    """With EOFStrategy our server's greeting, behind which its stream ends, is answered by a client."""
    async with flexi_sockets.run(OURS) as server, flexi_sockets.run(connecting) as client:
        port = await server.call("server", {}, TEXT)
        await client.call("client", port, {}, None, True)
        assert await client.next("received") == [TEXT]
        assert await server.next("received") == [f"echo {TEXT}"]
        await server.next("disconnected")
        await client.next("disconnected")


@pairs
@pytest.mark.parametrize("size", [10, 50_000])
async def test_lines(serving: str, connecting: str, size: int, flexi_sockets: FlexiSockets) -> None:
    """With SeparatorStrategy a server greets, a client answers each line, and messages have their separators."""
    text = "x" * size
    async with flexi_sockets.run(serving) as server, flexi_sockets.run(connecting) as client:
        port = await server.call("server", {"strategy": "SeparatorStrategy"}, TEXT if serving == OURS else None)
        await client.call("client", port, {"strategy": "SeparatorStrategy"}, None, True)
        await client.next("connected")
        if serving == OURS:
            assert await client.next("received") == [f"{TEXT}\n"]
            assert await server.next("received") == [f"echo {TEXT}\n"]
        else:  # a real server that speaks first hands nothing over
            await client.call("send", TEXT)
            assert await server.next("received") == [f"{TEXT}\n"]
        for number in range(5):
            await server.call("send", f"{text} {number}")
            assert await client.next("received") == [f"{text} {number}\n"]
            assert await server.next("received") == [f"echo {text} {number}\n"]


@pairs
async def test_blocks(serving: str, connecting: str, flexi_sockets: FlexiSockets) -> None:
    """With FixedLengthStrategy messages are blocks of 1024 bytes, filled up with spaces, both ways."""
    async with flexi_sockets.run(serving) as server, flexi_sockets.run(connecting) as client:
        port = await server.call("server", {"strategy": "FixedLengthStrategy"}, "hello" if serving == OURS else None)
        await client.call("client", port, {"strategy": "FixedLengthStrategy"}, None, True)
        await client.next("connected")
        if serving == OURS:
            assert await client.next("received") == ["hello".ljust(1024)]
        else:
            await client.call("send", "echo hello")
        assert await server.next("received") == ["echo hello".ljust(1024)]
        for number in range(5):
            await server.call("send", f"block {number}")
            assert await client.next("received") == [f"block {number}".ljust(1024)]
            assert await server.next("received") == [f"echo block {number}".ljust(1024)]


@pytest.mark.parametrize("settings", [{}, {"read_buffer_size": 1024}], ids=["streams", "reads"])
async def test_clients_before_the_strategies(settings: dict[str, Any], flexi_sockets: FlexiSockets) -> None:
    """A client of 0.0.6, which ends its stream behind its message and never reads, reaches our server, which answers it."""
    async with flexi_sockets.run(OURS) as server, flexi_sockets.run(OLD) as client:
        port = await server.call("server", settings, None, True)
        await client.call("client", port, settings, TEXT)
        assert await server.next("received") == [TEXT]
        await server.next("disconnected")


@pytest.mark.parametrize("settings", [{}, {"read_buffer_size": 1024}], ids=["streams", "reads"])
async def test_servers_before_the_strategies(settings: dict[str, Any], flexi_sockets: FlexiSockets) -> None:
    """A server of 0.0.6 gets our client's message, and its answer, behind which it ends its stream, reaches our client."""
    async with flexi_sockets.run(OLD) as server, flexi_sockets.run(OURS) as client:
        port = await server.call("server", settings, None, True)
        await client.call("client", port, settings)
        await client.next("connected")
        await client.call("send", TEXT)
        assert await server.next("received") == [TEXT]
        assert await client.next("received") == [f"echo {TEXT}"]
        await client.next("disconnected")


async def test_one_server_serves_many_real_clients(flexi_sockets: FlexiSockets) -> None:
    """Two real clients of one server of ours have conversations of their own."""
    async with flexi_sockets.run(OURS) as server, flexi_sockets.run(LAST) as one, flexi_sockets.run(LAST) as other:
        port = await server.call("server", {"strategy": "SeparatorStrategy"}, "hello")
        for client in (one, other):
            await client.call("client", port, {"strategy": "SeparatorStrategy"})
            assert await client.next("received") == ["hello\n"]
        for client, text in ((one, "from one"), (other, "from the other")):
            await client.call("send", text)
            assert await server.next("received") == [f"{text}\n"]
        await server.call("send", "to the last")
        assert await other.next("received") == ["to the last\n"]
