"""The administration of ``twistd veltix --workers``: who is slow is found, whichever worker has it; each worker is shown."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from veltix_tx import Client, MessageRegistry, MessageType

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
ASK = MessageType(201, "ask", registry=TYPES)

APP = """
from veltix_tx import MessageRegistry, MessageType, Server
TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
ASK = MessageType(201, "ask", registry=TYPES)
server = Server(port=0, host="127.0.0.1", types=TYPES)
server.route(ASK)(lambda client, message: message.content)


@server.route(CHAT)
def much(client, message):
    for _ in range(40):
        client.send(CHAT, bytes(200_000))
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers need a POSIX system")


class Operator:
    """One who asks the administration of a process."""

    def __init__(self, process: Any, port: int, admin: int) -> None:
        self.process, self.port, self.admin = process, port, admin

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        return await deferToThread(self._ask, path, method)

    async def get(self, path: str) -> Any:
        """Return what a path of the API shows."""
        return json.loads((await self.ask(f"/api/v1/{path}"))[1])

    async def workers(self) -> list[dict[str, Any]]:
        """Return the workers that are shown."""
        return (await self.get("server"))["workers"]

    async def snapshot(self, show: str) -> Any:
        """Return the first snapshot of a stream."""
        return await deferToThread(self._read_snapshot, show)

    def _connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.admin, timeout=60)

    def _ask(self, path: str, method: str) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            body = "{}" if method == "POST" else None
            connection.request(method, path, body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _read_snapshot(self, show: str) -> Any:
        connection = self._connect()
        try:
            connection.request("GET", f"/events?show={show}")
            answer = connection.getresponse()
            line = b""
            while not line.startswith(b"data: "):
                line = answer.readline()
            return json.loads(line.removeprefix(b"data: "))
        finally:
            connection.close()


@pytest.fixture
def start(twistd: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Start two workers with an administration; return who asks that."""
    (tmp_path / "much.py").write_text(APP)

    async def start(*options: str) -> Operator:
        process = twistd("--app", "much:server", "--workers", "2", "--admin", "tcp:0", *options)
        admin = await process.says(rb"the administration is on 127\.0\.0\.1:(\d+)")
        await process.says(rb"2 workers serve")
        port = re.search(rb"speaks .* on 127\.0\.0\.1:(\d+)", process.out)
        assert port is not None
        return Operator(process, int(port[1]), int(admin[1]))

    return start


async def connected(port: int, count: int) -> list[Client]:
    """Return so many clients that are connected."""
    clients = [Client("127.0.0.1", port, types=TYPES) for _ in range(count)]
    await gatherResults([client.connect() for client in clients])
    return clients


async def test_the_slow_one_is_named_everywhere_and_kicked(start: Callable[..., Any], run: Any, scripts: str) -> None:
    """Of twenty clients the one that does not read is named by API, page's stream, metrics and command line, and disconnected."""
    operator = await start()
    clients = await connected(operator.port, 20)
    slow: Any = clients[7].session
    slow._transport.transport.pauseProducing()
    where = f"127.0.0.1:{slow._transport.transport.getHost().port}"
    for client in clients:
        client.send(CHAT, b"")
    rows: list[Any] = []
    while not (rows and rows[0]["queued"] > 1_000_000 and rows[1]["queued"] == 0):
        rows = (await operator.get("sessions?sort=-queued"))["sessions"]
    found = rows[0]
    assert (len(rows), found["state"], found["address"]) == (20, "blocked", where)
    assert {row["worker"] for row in rows} == {1, 2}

    snapshot = await operator.snapshot("sessions&sort=-slow&limit=1")
    assert (snapshot["now"]["sessions"], snapshot["now"]["blocked"]) == (20, 1)
    assert snapshot["shown"]["sessions"][0]["id"] == found["id"]
    assert (await operator.get(f"sessions/{found['id']}"))["worker"] == found["worker"]
    metrics = (await operator.ask("/metrics"))[1].decode()
    assert f'\nveltix_peers_blocked{{worker="{found["worker"]}"}} 1.0\n' in metrics
    assert sum(map(float, re.findall(r"^veltix_ready_total\{.*\} (.*)$", metrics, re.MULTILINE))) == 20

    veltix, admin = f"{scripts}/veltix", f"127.0.0.1:{operator.admin}"
    top = await deferToThread(run, veltix, "top", admin, "--count", "1", "--limit", "1")
    assert f"{found['id']}  {where}" in top.stdout
    kicked = await deferToThread(run, veltix, "kick", admin, found["id"])
    assert (kicked.returncode, found["id"] in kicked.stdout) == (0, True)
    slow._transport.transport.resumeProducing()
    await slow.when_closed()
    events = await deferToThread(run, veltix, "events", admin, "--search", found["id"])
    assert f"worker {found['worker']}: the operator at " in events.stdout
    for client in clients:
        await client.disconnect()


async def test_a_hung_worker_stalls_nobody_and_a_roll_shows_both(start: Callable[..., Any]) -> None:
    """A stopped worker is shown as such; under load each is replaced, both being shown meanwhile; /readyz is red before the end."""
    operator = await start("--drain-delay", "0.5")
    clients = await connected(operator.port, 10)
    before = {each["pid"] for each in await operator.workers()}
    hung = min(before)
    os.kill(hung, signal.SIGSTOP)
    shown = await operator.workers()
    assert {each["pid"]: each["answers"] for each in shown} == {pid: pid != hung for pid in before}
    assert (await operator.snapshot("sessions"))["shown"]["total"] < 10
    os.kill(hung, signal.SIGCONT)
    while not all(each["answers"] for each in shown):
        shown = await operator.workers()

    operator.process.signal(signal.SIGUSR2)
    seen: set[tuple[int, str]] = set()
    rolled = operator.process.says(rb"2 of 2 workers were replaced")
    while not rolled.called:
        (client,) = await connected(operator.port, 1)
        assert (await client.send_and_wait(ASK, b"x")).content == b"x"
        await client.disconnect()
        assert await operator.ask("/readyz") == (200, b"ready\n")
        shown = await operator.workers()
        if len(shown) > 2:
            seen.update((each["worker"], each["state"]) for each in shown)
    await rolled
    assert {(1, "starting"), (1, "ready")} <= seen
    while before & {each["pid"] for each in await operator.workers()}:
        pass  # they drain, and are shown until they are gone
    assert len(await operator.workers()) == 2

    operator.process.signal(signal.SIGTERM)
    await operator.process.says(rb"Received SIGTERM")
    assert await operator.ask("/readyz") == (503, b"stopping\n")
    assert [each["state"] for each in await operator.workers()] == ["ready", "ready"]
    await operator.process.exited
    output = operator.process.out + operator.process.err
    assert b"Traceback" not in output
    assert b"the supervisor is gone" not in output
    waiting: list[Deferred[None]] = [client.disconnect() for client in clients]
    await gatherResults(waiting)


async def test_workers_that_never_come_to_listen_end_it(spawn: Callable[..., Any], scripts: str, tmp_path: Path) -> None:
    """Where no worker ever listens, the process ends with status 1 after three tries of each, and says their last error."""
    (tmp_path / "flaky.py").write_text(
        "import os\nif 'FLAKY' in os.environ: raise RuntimeError('no way')\nos.environ['FLAKY'] = '1'\n"
        "from veltix_tx import Server\nserver = Server()\n"
    )
    options = ("--port", "0", "--interface", "127.0.0.1", "--app", "flaky:server", "--workers", "1")
    process = spawn(f"{scripts}/twistd", "-n", "--pidfile=flaky.pid", "veltix", *options)
    assert await process.exited == 1
    (line,) = process.err.decode().splitlines()
    assert line.startswith("twistd veltix: no worker has come to listen in 3 tries: --app flaky:server: it must be something to")
    assert "RuntimeError: no way" in line
    assert not (tmp_path / "flaky.pid").exists()
