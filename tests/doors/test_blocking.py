"""The blocking views of servers, clients and sessions: plain values for threads, and no way to block the reactor."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.selectreactor import SelectReactor

from tests.support.threads import ENGINE_ROOM, Waiter, in_thread, public_methods
from veltix_tx import CannotBlock, Client, DisconnectReason, MessageRegistry, NotReady, RequestTimeout, Response, Server, Session
from veltix_tx.client import BlockingClient
from veltix_tx.net import threads
from veltix_tx.net.session.session import BlockingSession
from veltix_tx.server import BlockingServer
from veltix_tx.testing import MemoryNetwork

NOT_IN_THE_VIEW = {"disownServiceParent"}
"""A Deferred that threads have no use for by a typed name."""

VIEWS = ((Server, BlockingServer), (Client, BlockingClient), (Session, BlockingSession))


@pytest.mark.parametrize(("kind", "view"), VIEWS)
def test_the_view_has_what_returns_a_deferred(kind: type, view: type) -> None:
    """A method that returns a Deferred of a T is in the view, with the same arguments, and returns a T; so does send, with None."""
    wanted = {}
    for name in set(public_methods(kind)) - ENGINE_ROOM - NOT_IN_THE_VIEW:
        signature = inspect.signature(getattr(kind, name))
        if signature.return_annotation.startswith("Deferred["):
            wanted[name] = signature.replace(return_annotation=signature.return_annotation[len("Deferred[") : -1])
        elif name == "send":
            wanted[name] = signature.replace(return_annotation="None")
    assert {name: inspect.signature(getattr(view, name)) for name in public_methods(view)} == wanted


async def test_a_thread_gets_plain_values(loopback: Any) -> None:
    """Each method of the views blocks in a thread, and returns what the Deferred of the plain one fires with."""
    server, arrived = await loopback.server(), Deferred()
    server.set_callback("on_connect", arrived.callback)
    client = loopback.client(server.port)
    client.route(loopback.news)(lambda message: b"the client's")
    blocking = client.blocking
    session = await in_thread(blocking.connect)
    assert isinstance(session, Session)
    assert await in_thread(blocking.retry) is session
    assert await in_thread(lambda: blocking.send(loopback.chat, b"!")) is None
    reply = await in_thread(lambda: blocking.send_and_wait(loopback.chat, b"?", timeout=4))
    assert isinstance(reply, Response)
    assert reply.content == b"?"
    assert await in_thread(blocking.ping_server) < 5000
    there = await arrived
    assert await in_thread(lambda: server.blocking.ping_client(there)) < 5000
    assert await in_thread(there.blocking.ping) < 5000
    assert (await in_thread(lambda: there.blocking.send_and_wait(loopback.news))).content == b"the client's"
    for call in (there.blocking.when_idle, there.blocking.when_writable, lambda: there.blocking.send(loopback.chat, b"bye")):
        assert await in_thread(call) is None
    assert (await in_thread(there.blocking.disconnect)).reason is DisconnectReason.MANUAL
    assert await in_thread(there.blocking.when_closed) is there.closed
    assert await in_thread(blocking.disconnect) is None
    assert await in_thread(server.blocking.stopService) is None
    assert await in_thread(server.blocking.listen) is None
    assert len(server.addresses) == 1
    assert await in_thread(server.blocking.stopService) is None
    assert server.addresses == []
    assert await in_thread(blocking.stopService) is None


async def test_errors_are_raised(loopback: Any) -> None:
    """What the Deferred of the plain method fails with is raised."""
    server = await loopback.server()
    never: Deferred[None] = Deferred()
    server.route(loopback.news)(lambda client, message: never)
    client = loopback.client(server.port)
    with pytest.raises(NotReady):
        await in_thread(client.blocking.ping_server)
    with pytest.raises(Refused):
        await in_thread(loopback.client(1).blocking.connect)
    await client.connect()
    with pytest.raises(RequestTimeout):
        await in_thread(lambda: client.blocking.send_and_wait(loopback.news, timeout=0.02))
    never.callback(None)  # the server need not wait for it


async def test_sending_waits_for_room(loopback: Any) -> None:
    """``send`` of a view returns when there is room for more, as awaiting the plain one does."""
    server, got = await loopback.server(), []
    server.route(loopback.news)(lambda client, message: got.append(len(message.content)))
    client = loopback.client(server.port)
    session = await client.connect()

    def send_much() -> int:
        most = 0
        for _ in range(40):
            client.blocking.send(loopback.news, bytes(512 * 1024))
            most = max(most, session.write_buffer_size)
        client.blocking.ping_server()
        return most

    assert await in_thread(send_much) <= session._limits.write_high
    assert sum(got) == 40 * 512 * 1024


CALLS: dict[str, Callable[[Server, Client, Session, Any], object]] = {
    "server.listen": lambda server, client, session, type_: server.blocking.listen(),
    "server.stopService": lambda server, client, session, type_: server.blocking.stopService(),
    "server.ping_client": lambda server, client, session, type_: server.blocking.ping_client(session),
    "client.connect": lambda server, client, session, type_: client.blocking.connect(),
    "client.send": lambda server, client, session, type_: client.blocking.send(type_),
    "client.send_and_wait": lambda server, client, session, type_: client.blocking.send_and_wait(type_),
    "client.disconnect": lambda server, client, session, type_: client.blocking.disconnect(),
    "session.send": lambda server, client, session, type_: session.blocking.send(type_),
    "session.send_and_wait": lambda server, client, session, type_: session.blocking.send_and_wait(type_),
    "session.drain": lambda server, client, session, type_: session.blocking.drain(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_the_reactors_thread_is_not_blocked(loopback: Any, call: str) -> None:
    """In the reactor's thread the views raise CannotBlock, and nothing is done."""
    server = await loopback.server()
    client = loopback.client(server.port)
    session = await client.connect()
    with pytest.raises(CannotBlock, match="await the plain method"):
        CALLS[call](server, client, session, loopback.chat)
    assert (await client.send_and_wait(loopback.chat, b"all is well")).content == b"all is well"
    assert len(server.addresses) == 1


async def test_a_handler_in_the_reactor_cannot_block_it(loopback: Any, logged_failures: Any) -> None:
    """A plain handler that uses the view fails, and says why, instead of stopping everything."""
    server = await loopback.server(wire="1.6.3")
    server.route(loopback.news)(lambda client, message: client.blocking.send_and_wait(loopback.chat))
    client = loopback.client(server.port, wire="1.6.3")
    await client.connect()
    with pytest.raises(Exception, match="could not answer"):
        await client.send_and_wait(loopback.news)
    (event,) = logged_failures.flush(CannotBlock)
    assert event["type"] == "news"


def test_handlers_in_threads_use_it_in_a_memory_network() -> None:
    """In a MemoryNetwork the view works in a handler's thread, and is refused in the test's own."""
    network, types = MemoryNetwork(), MessageRegistry()
    from veltix_tx import MessageType

    ask, chat = MessageType(200, "ask", registry=types), MessageType(201, "chat", registry=types)
    server, client = Server(types=types), Client(types=types)
    server.route(ask, thread=True)(lambda session, message: session.blocking.send_and_wait(chat, b"knock").content)
    client.route(chat)(lambda message: message.content + b" who is there")
    network.serve(server)
    network.connect(client)
    assert network.result(client.send_and_wait(ask)).content == b"knock who is there"
    with pytest.raises(CannotBlock):
        client.blocking.ping_server()


# Before the reactor runs.


def test_a_script_without_a_reactor_is_told(monkeypatch: Any) -> None:
    """Where no reactor runs, a blocking call does not wait for ever: it says what is missing."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    monkeypatch.setattr(threads, "_BEGIN_ELSEWHERE", 0.03)
    reactor: Any = SelectReactor()
    client = Client("127.0.0.1", 1, types=MessageRegistry(), reactor=reactor)
    with pytest.raises(CannotBlock, match="the reactor does not run: run it, in another thread"):
        client.blocking.connect()
    assert client.session is None
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)


def test_the_main_thread_may_block_as_soon_as_it_has_started_the_reactors(monkeypatch: Any) -> None:
    """A program that runs the reactor in another thread need not wait for it to run before its first blocking call."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    reactor: Any = SelectReactor()
    reactor._registerAsIOThread = False
    server = Server(host="127.0.0.1", port=0, types=MessageRegistry(), reactor=reactor)
    go = threading.Event()

    def run() -> None:
        assert go.wait(5)
        reactor.run(installSignalHandlers=False)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    threading.Timer(0.1, go.set).start()
    assert server.blocking.listen() is None
    assert len(server.addresses) == 1
    stopped = Waiter(server.blocking.stopService)
    stopped.join(5)
    assert stopped.outcome == [None]
    reactor.callFromThread(reactor.stop)
    thread.join(5)
    assert not thread.is_alive()
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)
