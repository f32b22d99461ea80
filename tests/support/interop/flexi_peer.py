"""A flexi_socket server or client, real or the drop-in, driven by lines of JSON. Run, never imported.

``PYTHONPATH=<where it is> python flexi_peer.py PACKAGE``. A line ``[number, method, *arguments]`` on stdin calls a method of
the class below; ``[number, null, result]`` or ``[number, name of the exception, its text]`` comes back on stdout. ``["ready" |
"connected" | "received" | "disconnected", ...]`` tells what happened by itself.

Ends with stdin. The program is the same for both packages but for the name it imports: it uses what both have.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sys
from typing import Any

_LINES = os.dup(1)
os.dup2(2, 1)


def tell(*what: object) -> None:
    """Write one line, whole."""
    line = json.dumps(what).encode() + b"\n"
    while line:
        line = line[os.write(_LINES, line) :]


class Peer:
    """A server or client."""

    def __init__(self, package: str) -> None:
        self.package = importlib.import_module(package)
        self.end: Any = None
        self.task: Any = None

    async def server(self, settings: dict[str, Any], greeting: str | None = None, echoes: bool = False) -> int:
        """Listen; return the port, a free one. It may greet in ``on_connect``, and answer each message with itself."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._begin(self.package.Mode.SERVER, port, settings, greeting, echoes)
        while self.end.state.name != "RUNNING":  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)
        return port

    async def client(self, port: int, settings: dict[str, Any], greeting: str | None = None, echoes: bool = False) -> None:
        """Connect."""
        self._begin(self.package.Mode.CLIENT, port, settings, greeting, echoes)

    def _begin(self, mode: Any, port: int, settings: dict[str, Any], greeting: str | None, echoes: bool) -> None:
        given = dict(settings)
        strategy = given.pop("strategy", None)
        if strategy is not None:
            given["message_strategy"] = getattr(self.package, strategy)()
        end = self.end = self.package.FlexiSocket(mode=mode, host="127.0.0.1", port=port, **given)

        @end.on_connect()
        async def on_connect(connection: Any) -> None:
            if mode is self.package.Mode.CLIENT:
                tell("connected")
            if greeting is not None:
                await connection.send(greeting)

        @end.on_message()
        async def on_message(connection: Any, message: str) -> None:
            tell("received", message)
            if echoes:
                await connection.send("echo " + message.strip())

        @end.on_disconnect()
        async def on_disconnect(connection: Any) -> None:
            tell("disconnected")

        self.task = asyncio.create_task(end.start_async())

    async def send(self, message: str) -> None:
        """Send a message on the last connection."""
        await self.end.connections[-1].send(message)


async def main() -> None:
    """Do what stdin says until it ends."""
    peer = Peer(sys.argv[1])
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell("ready")
    while line := await reader.readline():
        number, method, *arguments = json.loads(line)
        try:
            tell(number, None, await getattr(peer, method)(*arguments))
        except Exception as error:
            tell(number, type(error).__name__, str(error))
    os._exit(0)  # a real one that is stopped raises


asyncio.run(main())
