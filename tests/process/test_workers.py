"""``twistd veltix --workers N``: who gets connections, what happens when a worker or the supervisor dies, and a roll."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.support.ports import free_port
from veltix_tx import Client, MessageRegistry, MessageType, RemoteError

TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)

APP = """
import os
from veltix_tx import MessageRegistry, MessageType, Server
TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)
server = Server(types=TYPES)
server.route(ASK)(lambda client, message: str(os.getpid()).encode())
"""

SLOW_APP = """
from twisted.internet import task
from veltix_tx import MessageRegistry, MessageType, Server
TYPES = MessageRegistry()
ASK = MessageType(200, "ask", registry=TYPES)
server = Server(types=TYPES)

@server.route(ASK, timeout=20)
async def slow(client, message):
    await task.deferLater(server.reactor, 1.5)
    return b"done"
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers need a POSIX system")

Start = Callable[..., Awaitable[tuple[Any, int]]]


@pytest.fixture
def start(twistd: Any, tmp_path: Path) -> Start:
    """Start a server of several workers, whose answers are their process ids; return it and its port."""
    (tmp_path / "pids.py").write_text(APP)

    async def start(workers: int) -> tuple[Any, int]:
        process = twistd("--port", "0", "--interface", "127.0.0.1", "--app", "pids:server", "--workers", str(workers))
        for number in range(1, workers + 1):
            await process.says(rb"worker %d: .* speaks .* on 127\.0\.0\.1:\d+" % number)
        return process, int(re.search(rb"speaks .* on 127\.0\.0\.1:(\d+)", process.out).group(1))  # type: ignore[union-attr]

    return start


async def ask(port: int) -> int:
    """Return the process id of the worker that serves one new connection."""
    client = Client("127.0.0.1", port, types=TYPES)
    await client.connect()
    answer = (await client.send_and_wait(ASK)).content
    await client.disconnect()
    return int(answer)


async def ask_often(port: int, count: int) -> Counter[int]:
    """Return how many of as many new connections each worker served."""
    served: Counter[int] = Counter()
    for _ in range(count // 20):
        served.update(await gatherResults([Deferred.fromCoroutine(ask(port)) for _ in range(20)], consumeErrors=True))
    return served


async def test_the_kernel_shares_connections_out(start: Start) -> None:
    """Each of two workers gets its part of the connections, and the supervisor none."""
    process, port = await start(2)
    served = await ask_often(port, 200)
    assert len(served) == 2
    assert process.transport.pid not in served
    assert min(served.values()) >= 200 * 0.3
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err
    assert b"the supervisor is gone" not in process.out


async def test_a_stopping_server_refuses_connections_while_it_drains(twistd: Any, tmp_path: Path) -> None:
    """With workers as without: none is accepted any more after SIGTERM, though a handler that runs is waited for, and answered."""
    (tmp_path / "slow.py").write_text(SLOW_APP)
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--app", "slow:server", "--workers", "2")
    port = int((await process.says(rb"speaks .* on 127\.0\.0\.1:(\d+)")).group(1))
    await process.says(rb"2 workers serve")
    client = Client("127.0.0.1", port, types=TYPES)
    await client.connect()
    asked = client.send_and_wait(ASK, timeout=20)
    await client.ping_server()
    process.signal(signal.SIGTERM)
    await process.says(rb"2 workers are stopped")
    while is_accepted(port):  # the workers' own may be on the way
        await reactor_turn()
    assert not asked.called
    assert (await asked).content == b"done"
    await process.exited


def is_accepted(port: int) -> bool:
    """Return True where the kernel accepts a connection."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_a_worker_that_dies_is_started_again(start: Start) -> None:
    """A worker that is killed is replaced, on the same sockets; what came meanwhile is served by the others or by its successor."""
    process, port = await start(2)
    killed = await ask(port)
    os.kill(killed, signal.SIGKILL)
    await process.says(rb"worker \d \(process \d+\) has ended")
    served = await ask_often(port, 60)
    assert len(served) == 2
    assert killed not in served


async def test_a_roll_replaces_every_worker_and_refuses_nobody(start: Start) -> None:
    """After SIGUSR2 all workers are new processes, and every connection that was begun meanwhile was served."""
    process, port = await start(2)
    before = set(await ask_often(port, 60))
    process.signal(signal.SIGUSR2)
    rolled = process.says(rb"2 of 2 workers were replaced")
    while not rolled.called:
        await ask_often(port, 20)
    await rolled
    while before & set(await ask_often(port, 20)):  # their signals may still be on the way
        pass
    assert not before & set(await ask_often(port, 60))


async def test_a_roll_keeps_workers_whose_successors_do_not_start(start: Start, tmp_path: Path) -> None:
    """An application that does not load any more leaves the workers that serve as they are."""
    process, port = await start(2)
    before = set(await ask_often(port, 60))
    (tmp_path / "pids.py").write_text("raise RuntimeError('broken')")
    process.signal(signal.SIGUSR2)
    await process.says(rb"worker 1 stays, and those after it")
    assert set(await ask_often(port, 60)) == before


async def test_a_reload_while_workers_start_ends_none(twistd: Any, tmp_path: Path) -> None:
    """SIGHUP waits for a worker to listen, and is answered by it then."""
    (tmp_path / "pids.py").write_text(APP)
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--app", "pids:server", "--workers", "2")
    await process.says(rb"2 workers are started")
    await process.says(rb"\n")
    process.signal(signal.SIGHUP)
    for number in (b"1", b"2"):
        await process.says(rb"worker %s: .*SIGHUP: the configuration was read again" % number)
    assert b"has ended" not in process.out


@pytest.mark.parametrize("options", [("--log-format", "json"), ()])
async def test_a_workers_errors_are_errors_of_the_log(options: tuple[str, ...], twistd: Any, tmp_path: Path) -> None:
    """With a level of the log that hides what is usual, what a worker's handler raises is there, at its level, in any format."""
    (tmp_path / "bad.py").write_text(APP.replace("str(os.getpid()).encode()", "1 / 0"))
    (tmp_path / "veltix.toml").write_text("log.level = 'error'\n")
    place = ("--port", str(free_port()), "--interface", "127.0.0.1")
    process = twistd(*place, "--app", "bad:server", "--workers", "2", "--config", "veltix.toml", *options)
    client = Client("127.0.0.1", int(place[1]), types=TYPES, retry=100, retry_delay=0.2)
    await client.connect()
    with pytest.raises(RemoteError):
        await client.send_and_wait(ASK)
    await process.says(rb"critical.*worker \d: .*failed|worker \d: .*failed.*critical")
    await client.disconnect()


async def test_without_workers_there_is_nothing_to_roll(twistd: Any) -> None:
    """SIGUSR2 ends no server that has no workers: it says so and goes on."""
    process = twistd("--port", "0", "--interface", "127.0.0.1")
    await process.port()
    process.signal(signal.SIGUSR2)
    await process.says(rb"SIGUSR2: there are no workers to replace")
    process.signal(signal.SIGTERM)
    await process.exited


async def test_workers_do_not_outlive_their_supervisor(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the supervisor is killed, its workers end by themselves, the port is free, and nothing of the backplane stays."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    process, port = await start(2)
    assert len(list((tmp_path / "t").iterdir())) == 1
    process.signal(signal.SIGKILL)
    await process.exited
    free = False
    while not free:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free = probe.connect_ex(("127.0.0.1", port)) != 0
        await reactor_turn()
    assert list((tmp_path / "t").iterdir()) == []


async def test_a_changed_file_replaces_the_workers(twistd: Any, tmp_path: Path) -> None:
    """With --reload, what a saved file says is served on the same port, and a file that does not load changes nothing."""
    (tmp_path / "pids.py").write_text(APP)
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--app", "pids:server", "--reload")
    await process.says(rb"worker 1: .* speaks .* on 127\.0\.0\.1:\d+")
    port = int(re.search(rb"speaks .* on 127\.0\.0\.1:(\d+)", process.out).group(1))  # type: ignore[union-attr]
    await process.says(rb"files in .* are watched")
    first = await ask(port)

    (tmp_path / "pids.py").write_text("raise RuntimeError('broken')")
    await process.says(rb"worker 1 stays")
    assert await ask(port) == first

    (tmp_path / "pids.py").write_text(APP.replace("os.getpid()", "1000000"))
    await process.says(rb"1 of 1 workers were replaced")
    while await ask(port) == first:  # its signal may still be on the way
        pass
    assert await ask(port) == 1000000
    process.signal(signal.SIGTERM)
    await process.exited


async def reactor_turn() -> None:
    """Let a tenth of a second pass."""
    from twisted.internet import reactor, task

    await task.deferLater(reactor, 0.1)  # type: ignore[arg-type]


def test_another_server_on_the_port_is_a_mistake_of_one_line(run: Any, scripts: str, busy_port: int) -> None:
    """A port that is taken is found by the supervisor, though workers could share one."""
    ended = run(f"{scripts}/twistd", "-n", "--pidfile=", "veltix", "--workers", "2", "--port", str(busy_port))
    assert ended.returncode == 1
    assert ended.stderr.startswith("twistd veltix: Couldn't listen on ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workers", "none"), "--workers none: it must be a whole number from 1 to 256"),
        (("--workers", "0"), "--workers 0: it must be a whole number from 1 to 256"),
        (("--workers", "2", "--listen", "unix:a.sock"), "one of tcp:, tcp6: and tls:PORT, which several processes can listen on"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], said: str, run: Any, scripts: str) -> None:
    """A wrong number, or a listener that cannot be shared, is told before anything starts."""
    ended = run(f"{scripts}/twistd", "-n", "--pidfile=", "veltix", *options)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


ROOMS = """
import os
from veltix_tx import MessageRegistry, Server, Session
server = Server(types=MessageRegistry())

@server.rpc
async def enter(client: Session) -> int:
    await server.room("lobby").join(client)
    return os.getpid()

@server.rpc
async def members() -> list[str]:
    return [member.node for member in await server.room("lobby").members()]
"""


async def test_workers_share_rooms_without_redis(twistd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor hosts what its workers share, for this user alone: members of a room are seen on both, and nothing stays."""
    (tmp_path / "shared.py").write_text(ROOMS)
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    process = twistd("--port", "0", "--interface", "127.0.0.1", "--app", "shared:server", "--workers", "2")
    for number in (1, 2):
        await process.says(rb"worker %d: .* speaks .* on " % number)
    port = int(re.search(rb"speaks .* on [\d.]+:(\d+)", process.out).group(1))  # type: ignore[union-attr]
    assert re.search(rb"speaks .* on unix:", process.out) is None  # nobody but workers is served there
    (folder,) = (tmp_path / "t").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    clients: list[Client] = []
    pids: set[int] = set()
    while len(pids) < 2:
        clients.append(Client("127.0.0.1", port, types=MessageRegistry()))
        pids.add(await (await clients[-1].connect()).call("enter"))

    async def seen() -> list[list[str]]:
        return [await client.call("members") for client in (clients[0], clients[-1])]

    while True:  # until both have joined the backplane
        one, other = await seen()
        if len(one) == len(other) == len(clients):
            break
    assert sorted(one) == sorted(other)
    assert len(set(one)) == 2
    for client in clients:
        await client.disconnect()
    process.signal(signal.SIGTERM)
    await process.exited
    assert b"Traceback" not in process.out + process.err
    assert b"is down" not in process.out
    assert list((tmp_path / "t").iterdir()) == []
