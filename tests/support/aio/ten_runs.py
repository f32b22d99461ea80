"""Ten loops, one after another, each with TLS in every way it can be asked for: ``python ten_runs.py FOLDER LOOP``.

Says how many threads and descriptors there are after the first and after the last, and whether the global reactor is imported.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from veltix_tx import MessageType
from veltix_tx.aio import Client, Server

CHAT = MessageType(200, "chat")
SSL = "ssl:0:privateKey=server-key.pem:certKey=server-cert.pem:interface=127.0.0.1"
WAYS: list[tuple[dict[str, Any], Callable[[int], Client]]] = [
    (
        {"host": "127.0.0.1", "port": 0, "tls_cert": "server-both.pem"},
        lambda port: Client("localhost", port, tls=True, tls_ca="ca.pem"),
    ),
    ({"endpoint": SSL}, lambda port: Client(endpoint=f"ssl:localhost:{port}:caCertsDir=trusted:hostname=localhost")),
    ({"endpoint": SSL}, lambda port: Client(endpoint=f"tls:localhost:{port}:trustRoots=trusted")),
]


async def serve(settings: dict[str, Any], make_client: Callable[[int], Client]) -> None:
    """Ask a server something, in a thread of its as well."""
    server = Server(**settings)
    server.route(CHAT, thread=True)(lambda client, message: message.content)
    async with server, make_client(server.port) as client:
        assert (await client.send_and_wait(CHAT, b"hello")).content == b"hello"
        assert await client.ping() > 0


async def main() -> None:
    """Do so in every way."""
    for settings, make_client in WAYS:
        await serve(settings, make_client)


def left() -> list[int]:
    """Return how many threads and descriptors there are, once idle threads have ended."""
    gc.collect()
    end = time.monotonic() + 30
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    return [threading.active_count(), len(os.listdir("/dev/fd"))]


def run() -> None:
    """Run a loop of the kind that was asked for."""
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    run()
    first = left()
    for _ in range(9):
        run()
    sys.stdout.write(json.dumps({"first": first, "last": left(), "reactor": "twisted.internet.reactor" in sys.modules}))
