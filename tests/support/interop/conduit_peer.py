"""A real netconduit release, or our drop-in, as a client or a server, driven by lines of JSON. Run, never imported.

``PYTHONPATH=<the release>:<what it needs> python conduit_peer.py client conduit`` (or ``server``; or the drop-in's name). A line
``[number, method, *arguments]`` on stdin calls a method of the class below; ``[number, null, result]`` or ``[number, name of the
exception, its text]`` comes back on stdout. ``["ready" | "connected" | "received" | "disconnected", ...]`` tells what happened by
itself. Bytes travel as ``{"hex": digits}``.

Ends with stdin. But for the package that it is given it imports pydantic and the standard library.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from importlib import import_module
from typing import Any

from pydantic import BaseModel

PASSWORD = "secret"
TYPES = ("greeting", "greeting_response", "echo", "echo_response", "news", "welcome", "late")

logging.disable(logging.CRITICAL)
_LINES = os.dup(1)
os.dup2(2, 1)


def tell(*what: object) -> None:
    """Write one line, whole."""
    line = json.dumps(what, default=lambda value: {"hex": value.hex()}).encode() + b"\n"
    while line:
        line = line[os.write(_LINES, line) :]


def from_json(value: Any) -> Any:
    """Return a value with its bytes."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if list(value) == ["hex"] else {key: from_json(each) for key, each in value.items()}
    return [from_json(each) for each in value] if isinstance(value, list) else value


class Order(BaseModel):
    """Arguments of a method."""

    item: str
    count: int = 1


class Client:
    """A client."""

    def __init__(self, conduit: Any) -> None:
        self.conduit = conduit
        self.end: Any = None

    async def connect(self, port: int, settings: dict[str, Any] | None = None) -> bool:
        """Connect, with settings of its descriptor; return whether that worked."""
        given = {"server_host": "127.0.0.1", "password": PASSWORD, "name": "real", "reconnect_enabled": False, "connect_timeout": 5}
        self.end = self.conduit.Client(self.conduit.ClientDescriptor(server_port=port, **{**given, **(settings or {})}))
        for name in TYPES:
            self.listen_to(name)

        @self.end.on_connect
        async def connected(client: Any) -> None:
            tell("connected", client.server_info)

        @self.end.on_disconnect
        async def disconnected(client: Any) -> None:
            tell("disconnected")

        @self.end.on_reconnect
        async def reconnected(client: Any) -> None:
            tell("reconnected")

        return bool(await self.end.connect())

    def listen_to(self, name: str) -> None:
        """Tell of each message of a type."""

        @self.end.on(name)
        async def received(data: Any) -> None:
            tell("received", name, data)

    async def send(self, name: str, data: Any) -> None:
        """Send a message."""
        await self.end.send(name, data)

    async def call(self, method: str, params: Any) -> Any:
        """Call a procedure; return what the release makes of the answer."""
        return await self.end.rpc.call(method, args=params, timeout=5)

    async def discover(self) -> Any:
        """Ask which methods there are; return what the release makes of the answer."""
        return await self.end.rpc.discover()

    async def call_no_wait(self, method: str, params: Any) -> Any:
        """Call a procedure and wait for no answer."""
        return await self.end.rpc.call_no_wait(method, args=params)

    async def connected(self) -> bool:
        """Return whether it is connected."""
        return bool(self.end.is_connected)

    async def disconnect(self) -> None:
        """Leave."""
        await self.end.disconnect()


class Server:
    """A server, which echoes."""

    def __init__(self, conduit: Any) -> None:
        self.conduit = conduit
        self.end: Any = None

    async def listen(self, settings: dict[str, Any] | None = None) -> int:
        """Listen, with settings of its descriptor; return the port, a free one unless it is given."""
        given = {"host": "127.0.0.1", "port": 0, "password": PASSWORD, "name": "real", "version": "5.6", **(settings or {})}
        if not given["port"]:
            with socket.socket(socket.AF_INET6 if given.get("ipv6") else socket.AF_INET) as probe:
                probe.bind((given["host"], 0))
                given["port"] = probe.getsockname()[1]
        self.end = self.conduit.Server(self.conduit.ServerDescriptor(**given))

        @self.end.on("greeting")
        async def greeting(connection: Any, data: Any) -> Any:
            tell("received", "greeting", data)
            return {"reply": f"Hello, {data['name']}!"}

        @self.end.on("echo")
        async def echo(connection: Any, data: Any) -> Any:
            tell("received", "echo", data)
            return data

        @self.end.on("echo_response")
        async def echoed(connection: Any, data: Any) -> None:
            tell("received", "echo_response", data)

        @self.end.rpc
        async def add(a: int, b: int) -> int:
            return a + b

        @self.end.rpc
        async def refuse() -> Any:
            return self.conduit.Error()("not now", code=6000, details={"wait": 1})

        @self.end.rpc
        async def order(request: Order) -> str:
            return f"{request.count} x {request.item}"

        @self.end.rpc(name="fail")
        def raises() -> None:
            raise RuntimeError("secret of the house")

        @self.end.rpc
        async def repeat(text: str) -> str:
            await asyncio.sleep(0)
            return text

        @self.end.rpc
        def page() -> Any:
            return self.conduit.Response().with_pagination([1, 2], total=3, page_size=2)

        @self.end.on_client_disconnect
        async def disconnected(connection: Any) -> None:
            tell("disconnected")

        @self.end.on_client_connect
        async def connected(connection: Any) -> None:
            tell("connected")

        await self.end.start()
        return int(given["port"])

    async def stop(self) -> None:
        """Stop, which a real one does not while a client is connected."""
        await self.end.stop()

    async def broadcast(self, name: str, data: Any) -> int:
        """Send a message to all."""
        return int(await self.end.broadcast(name, data))

    async def count(self) -> int:
        """Return how many connections it counts."""
        return int(self.end.connection_count)


async def main() -> None:
    """Do what stdin says until it ends."""
    conduit = import_module(sys.argv[2])
    peer: Any = {"client": Client, "server": Server}[sys.argv[1]](conduit)
    reader = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell("ready", conduit.__version__)

    async def call(number: int, method: str, *arguments: Any) -> None:
        try:
            tell(number, None, await getattr(peer, method)(*map(from_json, arguments)))
        except Exception as error:
            tell(number, type(error).__name__, str(error))

    calls = set()
    while line := await reader.readline():
        calls.add(asyncio.ensure_future(call(*json.loads(line))))
    os._exit(0)  # its stop() waits for ever while a client is connected


if __name__ == "__main__":
    asyncio.run(main())
