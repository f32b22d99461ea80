"""The administration of a process: asked by HTTP, red before the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from veltix_tx import Client, MessageRegistry, MessageType

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)


def asked(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body="{}" if method == "POST" else None, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_it_is_red_before_it_stops(twistd: Callable[..., Any]) -> None:
    """After SIGTERM /readyz is red while clients are served as ever; after --drain-delay the process ends by itself."""
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--admin", "tcp:0", "--drain-delay", "1")
    port = await process.port()
    admin = int((await process.says(rb"the administration is on 127\.0\.0\.1:(\d+)")).group(1))
    client = Client("127.0.0.1", port, types=TYPES)
    await client.connect()
    assert await deferToThread(asked, admin, "/readyz") == (200, b"ready\n")
    (session,) = json.loads((await deferToThread(asked, admin, "/api/v1/sessions"))[1])["sessions"]
    assert (await deferToThread(asked, admin, f"/api/v1/sessions/{session['id']}/ping", "POST"))[0] == 200
    assert b"\nveltix_accepted_total 1.0\n" in (await deferToThread(asked, admin, "/metrics"))[1]

    process.signal(signal.SIGTERM)
    await process.says(rb"Received SIGTERM")
    assert await deferToThread(asked, admin, "/readyz") == (503, b"stopping\n")
    assert await deferToThread(asked, admin, "/healthz") == (200, b"ok\n")
    assert (await client.send_and_wait(CHAT, b"still there")).content == b"still there"
    await process.exited
    assert b"Traceback" not in process.out + process.err
    await client.disconnect()


APP = """
from veltix_tx import MessageRegistry, MessageType, Server
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
server = Server(port=0, host="127.0.0.1", types=TYPES)


@server.route(CHAT)
def much(client, message):
    for _ in range(40):
        client.send(CHAT, bytes(200_000))
"""


async def test_the_slow_one_of_several_clients_is_found_and_disconnected(twistd: Callable[..., Any], tmp_path: Path) -> None:
    """Of clients that are sent much, the one that does not read is the first by what is queued, and can be disconnected."""
    (tmp_path / "much.py").write_text(APP)
    process = twistd("--app", "much:server", "--admin", "tcp:0")
    port = await process.port()
    admin = int((await process.says(rb"the administration is on 127\.0\.0\.1:(\d+)")).group(1))
    clients = [Client("127.0.0.1", port, types=TYPES) for _ in range(3)]
    for client in clients:
        await client.connect()
    slow: Any = clients[1].session
    where = slow._transport.transport.getHost()
    slow._transport.transport.pauseProducing()
    for client in clients:
        client.send(CHAT, b"")
    rows: list[Any] = []
    while not (rows and rows[0]["queued"] > 1_000_000 and rows[1]["queued"] == 0):
        rows = json.loads((await deferToThread(asked, admin, "/api/v1/sessions?sort=-queued"))[1])["sessions"]
    assert (rows[0]["state"], rows[0]["address"]) == ("blocked", f"127.0.0.1:{where.port}")
    metrics = (await deferToThread(asked, admin, "/metrics"))[1].decode()
    assert "\nveltix_peers_blocked 1.0\n" in metrics
    assert (await deferToThread(asked, admin, f"/api/v1/sessions/{rows[0]['id']}/disconnect", "POST"))[0] == 200
    slow._transport.transport.resumeProducing()
    await slow.when_closed()
    for client in clients:
        await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err
