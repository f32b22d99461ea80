"""``server.reactor`` and ``client.reactor``: what handlers give to deferLater, in real life and in tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from zope.interface.verify import verifyObject

from veltix_tx import Client, MessageRegistry, MessageType, Server, SettingsError
from veltix_tx.net.clock import Clocks
from veltix_tx.testing import MemoryNetwork

MADE: dict[str, Callable[..., Server | Client]] = {
    "server": lambda **settings: Server(types=MessageRegistry(), **settings),
    "client": lambda **settings: Client(types=MessageRegistry(), **settings),
}


async def test_handlers_wait_on_it_while_it_runs(loopback: Any) -> None:
    """On a real network it is the reactor in use, of the server and of the client."""
    from twisted.internet import reactor

    server = await loopback.server()
    client = loopback.client(server.port)
    server.route(loopback.news)(lambda session, message: deferLater(server.reactor, 0.01, lambda: message.content))
    client.route(loopback.news)(lambda message: deferLater(client.reactor, 0.01, lambda: b"client"))
    await client.connect()
    assert server.reactor is client.reactor is reactor
    assert (await client.send_and_wait(loopback.news, b"server")).content == b"server"
    assert (await server.clients[0].send_and_wait(loopback.news)).content == b"client"


def test_handlers_wait_on_it_in_a_memory_network() -> None:
    """In a MemoryNetwork it is the network's clock: a handler that waits goes on when the test lets time pass."""
    network, types = MemoryNetwork(), MessageRegistry()
    wait = MessageType(200, "wait", registry=types)
    server, client = Server(types=types), Client(types=types)

    @server.route(wait)
    async def on_wait(session: Any, message: Any) -> bytes:
        await deferLater(server.reactor, 0.5)
        return b"%.1f" % server.reactor.seconds()

    network.serve(server)
    network.connect(client)
    assert verifyObject(IReactorTime, server.reactor)
    assert server.reactor is client.reactor is network.clock
    waiting = client.send_and_wait(wait)
    network.advance(0.4)
    assert not waiting.called
    network.advance(0.1)
    assert network.result(waiting).content == b"0.5"


@pytest.mark.parametrize("made", MADE.values(), ids=list(MADE))
def test_it_is_one_before_anything_begins(made: Callable[..., Server | Client]) -> None:
    """It is what was given, or set: of Clocks their reactor, of nothing the global one."""
    from twisted.internet import reactor

    clock = Clock()
    clocks = Clocks(clock, clock.seconds, clock.seconds)
    assert made().reactor is reactor
    assert made(reactor=clock).reactor is clock
    assert made(reactor=clocks).reactor is clock
    each = made(reactor=clock)
    each.reactor = None
    assert each.reactor is reactor
    each.reactor = clocks
    assert each.reactor is clock


def test_it_cannot_be_set_while_it_is_used() -> None:
    """A server that listens and a client that is connected keep theirs, and say so; the same one again is no change."""
    network, types = MemoryNetwork(), MessageRegistry()
    server, client = Server(types=types), Client(types=types)
    network.serve(server)
    network.connect(client)
    for each in (server, client):
        each.reactor = network.clocks
        with pytest.raises(SettingsError, match="it must be set before"):
            each.reactor = Clock()
        assert each.reactor is network.clock


def test_making_and_setting_up_install_no_reactor() -> None:
    """What a module does with its server when it is imported leaves the choice of a reactor to the program."""
    program = (
        "import sys; from veltix_tx import Client, MessageType, Server; server, client = Server(), Client('h', 1);"
        "server.route(MessageType(200, 'a'))(lambda c, m: None); server.set_callback('on_recv')(lambda c, m: None);"
        "server.configure(port=1); client.configure(port=2);"
        "server._owner_thread, client._owner_thread, server.blocking, client.blocking;"
        "server.select(), server.broadcast(MessageType(201, 'b')), client.stop_retry(), server.clients, client.session;"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
