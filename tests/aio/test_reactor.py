"""The reactor of a loop: shared, let go of by its last user, and never the global one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ServerEndpoint

from tests.support.aio.ends import CHAT, LOOPS, TYPES, Run, make_client, make_server
from tests.support.authority import Authority
from veltix_tx import SettingsError
from veltix_tx.aio import Client, Server, Session, reactor
from veltix_tx.aio.reactor import LoopReactor


def threads() -> set[str]:
    """Return the names of the threads of executors."""
    return {each.name for each in threading.enumerate() if each.name.startswith("ThreadPoolExecutor")}


def test_one_reactor_serves_all_of_a_loop(run: Run) -> None:
    """It is made for the first, and closed after the last, in whatever order they leave; the next gets a new one."""

    async def main() -> None:
        assert reactor._reactors == {}
        server, client = make_server(), Client(types=TYPES)
        for first, last in ((server.stop, client.disconnect), (client.disconnect, server.stop)):
            await server.listen()
            client.configure(port=server.port)
            await client.connect()
            (shared,) = reactor._reactors.values()
            assert server._native.reactor is client._native.reactor is shared
            assert (shared.users, shared.running) == (2, True)
            await first()
            assert shared.users == 1
            await last()
            assert (shared.users, shared.running) == (0, False)
            assert shared.getReaders() == shared.getWriters() == []
            assert reactor._reactors == {}
            assert shared not in (server._native.reactor, client._native.reactor)

    run(main())


def test_two_loops_in_two_threads_have_one_each() -> None:
    """Each thread's loop has its own, and a server made in a third thread belongs to the one that runs it."""
    servers, seen = [make_server(), make_server()], []
    together = threading.Barrier(2)

    async def main(server: Server) -> None:
        @server.route(CHAT, thread=True)
        def on_chat(client: Session, message: Any) -> bytes:
            return client.blocking.send_and_wait(CHAT, message.content).content

        async with server, make_client(server) as client:
            client.route(CHAT)(lambda message: b"answer")
            seen.append(server._native.reactor)
            together.wait(10)
            assert (await client.send_and_wait(CHAT)).content == b"answer"

    made = [threading.Thread(target=lambda each=each: asyncio.run(main(each))) for each in servers]
    for each in made:
        each.start()
    for each in made:
        each.join(20)
    assert len(set(seen)) == 2
    assert reactor._reactors == {}


def test_a_server_serves_one_loop_at_a_time(run: Run) -> None:
    """While it listens in one, it cannot in another; that leaves nothing behind."""
    server = make_server()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        with pytest.raises(SettingsError, match="reactor is"):
            asyncio.run(server.listen())
        errors.append(AssertionError())

    async def main() -> None:
        async with server:
            await asyncio.to_thread(elsewhere)
            assert len(errors) == 1
            assert len(reactor._reactors) == 1

    run(main())


def test_a_loop_whose_users_never_left_is_forgotten() -> None:
    """Who forgets to disconnect before the loop is closed keeps nobody else from going on, and no threads."""

    async def forget() -> Client:
        server = make_server()
        server.route(CHAT, thread=True)(lambda client, message: b"")
        await server.listen()
        client = make_client(server)
        await client.connect()
        await client.send_and_wait(CHAT)
        assert threads() - before
        for each in reactor._reactors.values():
            each.disconnectAll()  # what the collector does sooner or later, with a warning
        return client

    async def go_on() -> None:
        async with make_server() as server, make_client(server) as client:
            await client.ping()
            assert len(reactor._reactors) == 1

    before = threads()
    forgotten = asyncio.run(forget())
    asyncio.run(go_on())
    end = time.monotonic() + 30
    while threads() - before:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "connected" in repr(forgotten)


def test_a_thread_that_works_on_holds_up_neither_stop_nor_loop(run: Run) -> None:
    """A handler in a thread that outlives its session is left alone; what it returns is dropped, though its loop is closed."""
    server = make_server()
    go_on, done = threading.Event(), threading.Event()

    @server.route(CHAT, thread=True)
    def on_chat(client: Session, message: Any) -> bytes:
        go_on.wait(10)
        try:
            return client.blocking.send_and_wait(CHAT).content
        finally:
            done.set()

    async def main() -> None:
        await server.listen()
        async with make_client(server) as client:
            client.send(CHAT)
            await client.ping()
            begun = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(server.stop(), 0.05)
        assert time.monotonic() - begun < 1

    run(main())
    go_on.set()
    assert done.wait(10)


def test_cancelling_a_disconnect_cuts_off(run: Run) -> None:
    """With the last user nothing of the reactor's stays in the loop, closed politely or not."""
    server, ready, stop = make_server(), threading.Event(), threading.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await asyncio.to_thread(stop.wait, 10)

    async def main() -> None:
        client = make_client(server)
        session = await client.connect()
        own = client._native.reactor
        disconnecting = asyncio.ensure_future(client.disconnect())
        await asyncio.sleep(0)
        disconnecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await disconnecting
        assert own.getReaders() == own.getWriters() == []  # type: ignore[attr-defined]
        assert session.is_gone

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        run(main())
    finally:
        stop.set()
        thread.join(10)


def test_it_wakes_its_loop_without_descriptors_of_its_own(run: Run) -> None:
    """It has no waker, and Twisted's global reactor is another one."""

    async def main() -> None:
        async with make_server() as server:
            own = server._native.reactor
            assert isinstance(own, LoopReactor)
            assert own.waker is None
            assert len(own.getReaders()) == len(server.addresses)
            assert own is not sys.modules.get("twisted.internet.reactor")
            woken = asyncio.get_running_loop().create_future()
            threading.Thread(target=own.callFromThread, args=(woken.set_result, None)).start()
            await woken

    run(main())


def test_an_endpoint_of_twisteds_can_be_given(run: Run) -> None:
    """An endpoint object listens on the reactor it was made with, which must be that of the loop."""

    async def main() -> None:
        async with make_server() as first:
            endpoint = TCP4ServerEndpoint(first._native.reactor, 0, interface="127.0.0.1")
            async with Server(endpoint=endpoint, types=TYPES) as server, make_client(server) as client:
                assert await client.ping() > 0

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_ten_runs_end_as_one_does(loop: str, authority: Authority) -> None:
    """Ten ``asyncio.run`` with TLS by name and by endpoint strings leave the threads and descriptors of one, and no warning.

    Nothing imports the global reactor. (What Twisted's own TLS warns of is that it uses what pyOpenSSL deprecates.)
    """
    authority.issue("server", "localhost", "127.0.0.1")
    folder = authority.folder
    (folder / "trusted").mkdir()
    for name in ("ca.pem", "trusted/ca.pem"):
        (folder / name).write_bytes(authority.ca.read_bytes())
    warnings = ["-W", "error", "-W", "ignore:Passing pyOpenSSL:DeprecationWarning", "-W", "ignore:This API is:DeprecationWarning"]
    warnings += [
        "-W",
        "ignore:unclosed file <_io.TextIOWrapper:ResourceWarning",
    ]  # of the descriptor that Twisted before 25 reserves
    command = [sys.executable, *warnings, str(Path(__file__).parents[1] / "support" / "aio" / "ten_runs.py"), str(folder), loop]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["last"] == told["first"]
    assert told["first"][0] == 1
    assert not told["reactor"]
