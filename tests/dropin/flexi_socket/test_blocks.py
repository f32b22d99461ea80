"""Every block of flexi-socket's document, with only its import line changed, does what the words around it promise."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio.ends import Run
from tests.support.dropin.sockets import begins_in_thread, dial, running, until
from tests.support.ports import free_port
from veltix_tx.dropin.flexi_socket import ClientClassifier, Mode, State

BLOCKS = Path(__file__).with_name("blocks")

ADDRESS = r"Connection: 127\.0\.0\.1:\d+, "


def test_every_block_is_run() -> None:
    """The tests here name every file in ``blocks/``."""
    named = re.findall(r'"(004_\w+)"', Path(__file__).read_text(encoding="utf-8"))
    assert {path.stem for path in BLOCKS.iterdir()} == set(named)


class Program:
    """A program put together from blocks, its ports those of the test's and its hosts loopback.

    Attributes:
        names: its names.
        sockets: the sockets it has made, a server and a client.
    """

    def __init__(self, **settings: Any) -> None:
        self.names: dict[str, Any] = {}
        self.sockets: list[Any] = []
        self._source("004_0_imports")
        made, port = self.names["FlexiSocket"], free_port()

        def make(**given: Any) -> Any:
            socket = made(**given | {"host": "127.0.0.1", "port": port} | settings)
            self.sockets.append(socket)
            return socket

        self.names["FlexiSocket"] = make
        self._source("004_1_creating")

    def run(self, name: str) -> None:
        """Run a block in which nothing is awaited."""
        self._source(name)

    def begin(self, name: str, number: int, socket: Any) -> Any:
        """Run one statement of a block, with ``socket`` for the server or the client; return what is to be awaited, if anything."""
        self.names["socket"] = socket
        statement = ast.parse(self._text(name)).body[number]
        return eval(compile(ast.Module([statement], []), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), self.names)

    def _source(self, name: str) -> None:
        exec(compile(self._text(name), name, "exec"), self.names)

    @staticmethod
    def _text(name: str) -> str:
        text = (BLOCKS / f"{name}.py").read_text(encoding="utf-8")
        return re.sub(r"^from flexi_socket import", "from veltix_tx.dropin.flexi_socket import", text, flags=re.MULTILINE)


def test_sockets_are_made() -> None:
    """The two ways to make a socket are a server's, whose reads are its messages, and a client's."""
    server, client = Program().sockets
    assert (server.mode, client.mode) == (Mode.SERVER, Mode.CLIENT)
    assert (server.state, client.state) == (State.STOPPED, State.STOPPED)


def test_handlers_hooks_and_send(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A server with the document's handlers prints who comes, what they say and who goes; the client's ``send`` reaches it.

    Hooks that return nothing leave messages as they are.
    """

    async def main() -> None:
        program = Program()
        server, client = program.sockets
        program.names["socket"] = server
        for block in ("004_2_on_connect", "004_3_on_disconnect", "004_4_on_message", "004_5_hooks"):
            program.run(block)
        listening = asyncio.create_task(program.begin("004_7_start", 1, server))  # await socket.start_async()
        await until(lambda: server.state is State.RUNNING)
        async with running(client):
            await program.begin("004_6_send", 0, client)
            await until(lambda: client.connections == [])
        async with dial(server) as peer:
            await until(lambda: server.connections)
            await program.begin("004_6_send", 0, server)  # to all its connections
            assert await peer.hears(17) == b"Your message here"
        await until(lambda: not server.connections)
        server.stop()
        await listening

    run(main())
    said = capsys.readouterr().out.splitlines()
    patterns = [
        f"Connected to {ADDRESS}connected.*",
        f"Received message from {ADDRESS}.*: Your message here",  # after_receive
        f"Received message from {ADDRESS}.*: Your message here",  # on_message
        f"Disconnected from {ADDRESS}disconnected.*",
        f"Connected to {ADDRESS}connected.*",
        f"Sending message to {ADDRESS}.*: Your message here",
        f"Disconnected from {ADDRESS}disconnected.*",
    ]
    assert len(said) == len(patterns)
    for line, pattern in zip(said, patterns, strict=True):
        assert re.fullmatch(pattern, line)


def test_start_blocks() -> None:
    """``socket.start()`` serves until the socket is stopped."""
    program = Program()
    server, _ = program.sockets

    thread = begins_in_thread(server, program.begin, "004_7_start", 0, server)
    assert server.state is State.RUNNING
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(("first", "kind"), [("!!hello", "001"), ("##hello", "002"), ("hello", "default")])
def test_classification(first: str, kind: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Clients that begin with ``!!`` get the handler of their type; those of another type, with no handler, the default one."""

    async def main() -> None:
        program = Program()
        program.names["ClientClassifier"] = ClientClassifier
        program.run("004_8_classifier")
        server, _ = program.sockets
        server.classifier = program.names["ClientTypes"]()
        program.names["socket"] = server
        program.run("004_9_classified")

        @server.on_message()
        async def on_message(connection: Any, message: str) -> None:
            await connection.send(f"default {message}")

        async with running(server), dial(server) as peer:
            for number, said in enumerate((first, "##again")):
                peer.send(said.encode())
                answer = "Hello from server! You are type 001" if kind == "001" else f"default {said}"
                assert (await peer.hears(len(answer))).decode() == answer
                (connection,) = server.connections
                assert connection.selected_classifier == connection.client_type == kind
                assert connection.is_first_message_from_client == (number == 0)

    run(main())
    said = capsys.readouterr().out.splitlines()
    assert said[:1] == (["First message from client"] if kind == "001" else [])
    assert [re.sub(ADDRESS + ".*, RawStrategy", "X", line) for line in said[1:]] == (
        [f"Client X sent {first}", "Client X sent ##again"] if kind == "001" else []
    )
