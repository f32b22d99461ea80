"""Every public method of a server, a client and a session may be called in any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IPushProducer
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.support.threads import Waiter, in_thread, public_methods
from veltix_tx import (
    CannotBlock,
    Client,
    DisconnectReason,
    Limits,
    MessageRegistry,
    MessageType,
    NotReady,
    Plugin,
    Request,
    RequestTimeout,
    Response,
    Server,
    Session,
    SessionClosed,
    SettingsError,
    Token,
)
from veltix_tx.backplane.memory import MemoryBackplane
from veltix_tx.net import threads
from veltix_tx.net.clock import Clocks
from veltix_tx.testing import MemoryNetwork

GATE = {"call", "in_thread_of", "_wait"}
"""What of the package runs in the calling thread: the gate itself, and in it what ``tests.support.threads`` leaves out."""

BEFORE_THE_GATE = {"call", "methods", "register_route", "rpc", "route", "send", "send_and_wait", "service", "set_callback"}
"""Methods that have the gate written out, because they are called most, or lead to one behind it, because they are overloaded."""


@implementer(IPushProducer)
class Producer:
    """Produces nothing."""

    def pauseProducing(self) -> None:
        """Nothing to do."""

    resumeProducing = stopProducing = pauseProducing


@dataclass
class Scene:
    """A server and a client, connected, and another of each that has begun nothing yet."""

    server: Server
    client: Client
    session: Session
    new_server: Server
    new_client: Client
    chat: MessageType
    news: MessageType
    other: MessageType
    parent: MultiService
    connection_id: str


NOT_FOR_THREADS = {"Server.run", "Server.measure", "Server.timed_handlers", "Session.status"}
"""What is about the thread it is called in, and runs the reactor there; and what an administration asks in the reactor's thread."""

Call = Callable[[Scene], object]
Check = Callable[[Scene, Any], object]


def _decorated(register: Any) -> Any:
    """Use a decorator where it was made."""
    return register(lambda client=None, message=None: None)


def _answered(scene: Scene) -> Deferred[Response]:
    """Have the server ask the client, which answers through ``answer``."""
    return scene.session.send_and_wait(scene.other, b"?")


def pass_on(session: Session, message: Response, next: Any) -> object:
    """Pass a message on."""
    return next(message)


CALLS: dict[str, tuple[Call, Check]] = {
    # A server's.
    "Server.abort": (lambda s: s.server.abort(), lambda s, got: got is None),
    "Server.attach": (
        lambda s: (s.new_server.register_plugin(Named()), s.new_server.attach(s.other, "named")),
        lambda s, got: got[1] is None,
    ),
    "Server.broadcast": (lambda s: s.server.broadcast(s.other, b"!"), lambda s, got: got == 1),
    "Server.configure": (lambda s: s.new_server.configure(max_workers=7), lambda s, got: s.new_server.config.max_workers == 7),
    "Server.disownServiceParent": (
        lambda s: (s.new_server.setServiceParent(s.parent), s.new_server.disownServiceParent()),
        lambda s, got: got == (None, None) and s.new_server.parent is None and not s.new_server.running,
    ),
    "Server.get_clients_by_tag": (lambda s: s.server.get_clients_by_tag("old", 1), lambda s, got: got == [s.session]),
    "Server.listen": (lambda s: s.new_server.listen(), lambda s, got: got is None and len(s.new_server.addresses) == 1),
    "Server.inherit": (lambda s: s.new_server.inherit([99]), lambda s, got: s.new_server._inherited == (99,)),
    "Server.stop_listening": (lambda s: s.server.stop_listening(), lambda s, got: got is None and s.server.addresses == []),
    "Server.set_backplane": (
        lambda s: s.new_server.set_backplane(MemoryBackplane()),
        lambda s, got: got is None,
    ),
    "Server.use": (lambda s: s.new_server.use(pass_on), lambda s, got: got is pass_on),
    "Server.before_send": (lambda s: s.new_server.before_send(print), lambda s, got: got is print),
    "Client.use": (lambda s: s.new_client.use(pass_on), lambda s, got: got is pass_on),
    "Client.before_send": (lambda s: s.new_client.before_send(print), lambda s, got: got is print),
    "Server.when_stopping": (
        lambda s: (s.server.stopService(), s.server.when_stopping())[1],
        lambda s, got: got is None and not s.server.running,
    ),
    "Server.ping_client": (lambda s: s.server.ping_client(s.session), lambda s, got: 0 <= got < 5000),
    "Server.privilegedStartService": (
        lambda s: s.new_server.privilegedStartService(),
        lambda s, got: len(s.new_server.addresses) == 1,
    ),
    "Server.register_plugin": (
        lambda s: s.new_server.register_plugin(Named()),
        lambda s, got: list(got) == ["note"] and s.new_server.plugins[0].in_thread == threading.get_ident(),
    ),
    "Server.register_route": (
        lambda s: s.server.register_route(s.other, lambda client, message: None),
        lambda s, got: s.server.unregister_route(s.other),
    ),
    "Server.reload_tls": (lambda s: s.server.reload_tls(), lambda s, got: got == 0),
    "Server.route": (lambda s: _decorated(s.server.route(s.other)), lambda s, got: s.server.unregister_route(s.other)),
    "Server.set_limits": (lambda s: s.server.set_limits(Limits(pings=5)), lambda s, got: s.server.config.limits.pings == 5),
    "Server.set_authenticate": (
        lambda s: s.new_server.set_authenticate(str),
        lambda s, got: got is None and s.new_server.authenticates,
    ),
    "Server.room": (lambda s: s.server.room("lobby"), lambda s, got: got.name == "lobby"),
    "Server.rooms": (lambda s: s.server.rooms(), lambda s, got: got == {}),
    "Server.rooms_of": (lambda s: s.server.rooms_of(s.session), lambda s, got: got == []),
    "Server.nodes": (lambda s: s.server.nodes(), lambda s, got: [each.node for each in got] == [s.server.backplane.node_id]),
    "Server.send_to": (lambda s: s.server.send_to(s.connection_id, s.other, b"!"), lambda s, got: got is None),
    "Server.call_to": (lambda s: s.server.call_to(s.connection_id, "double", 2), lambda s, got: got == 4),
    "Server.disconnect": (
        lambda s: s.server.disconnect(s.connection_id),
        lambda s, got: got is None and s.session.closed is not None,
    ),
    "Server.select_everywhere": (lambda s: s.server.select_everywhere(["old"]), lambda s, got: got == [s.session.id]),
    "Server.on_backplane_state": (lambda s: s.server.on_backplane_state(print), lambda s, got: got is print),
    "Client.on_gap": (lambda s: s.client.on_gap(print), lambda s, got: got is print),
    "Server.select": (lambda s: s.server.select(["old"]), lambda s, got: got == [s.session]),
    "Server.setName": (lambda s: s.new_server.setName("veltix"), lambda s, got: s.new_server.name == "veltix"),
    "Server.setServiceParent": (
        lambda s: s.new_server.setServiceParent(s.parent),
        lambda s, got: s.new_server.parent is s.parent and len(s.new_server.addresses) == 1,
    ),
    "Server.register_rpc": (lambda s: s.server.register_rpc(abs, "abs"), lambda s, got: s.server.unregister_rpc("abs")),
    "Server.register_service": (
        lambda s: s.server.register_service(Doubles(), prefix="more."),
        lambda s, got: s.server.unregister_rpc("more.double"),
    ),
    "Server.rpc": (lambda s: _decorated(s.server.rpc("own")), lambda s, got: s.server.unregister_rpc("own")),
    "Server.unregister_rpc": (lambda s: s.server.unregister_rpc("double"), lambda s, got: got is True),
    "Server.set_callback": (
        lambda s: (_decorated(s.server.set_callback("on_recv")), s.server.set_callback("on_recv", print)),
        lambda s, got: callable(got[0]) and got[1] is print,
    ),
    "Server.startService": (
        lambda s: s.new_server.startService(),
        lambda s, got: s.new_server.running and len(s.new_server.addresses) == 1,
    ),
    "Server.stopService": (lambda s: s.server.stopService(), lambda s, got: s.session.closed and not s.server.addresses),
    "Server.unregister_route": (lambda s: s.server.unregister_route(s.chat), lambda s, got: got is True),
    # A client's.
    "Client.attach": (
        lambda s: (s.new_client.register_plugin(Named()), s.new_client.attach(s.other, "named")),
        lambda s, got: got[1] is None,
    ),
    "Client.configure": (lambda s: s.new_client.configure(max_workers=7), lambda s, got: s.new_client.config.max_workers == 7),
    "Client.when_connected": (lambda s: s.client.when_connected(5), lambda s, got: got is s.client.session),
    "Client.connect": (lambda s: s.new_client.connect(), lambda s, got: got is s.new_client.session is not None),
    "Client.disconnect": (lambda s: s.client.disconnect(), lambda s, got: got is None and s.client.session is None),
    "Client.disownServiceParent": (
        lambda s: (s.client.setServiceParent(s.parent), s.client.disownServiceParent()),
        lambda s, got: got == (None, None) and s.client.session is None,
    ),
    "Client.ping_server": (lambda s: s.client.ping_server(), lambda s, got: 0 <= got < 5000),
    "Client.privilegedStartService": (lambda s: s.new_client.privilegedStartService(), lambda s, got: got is None),
    "Client.register_plugin": (lambda s: s.new_client.register_plugin(Named()), lambda s, got: list(got) == ["note"]),
    "Client.register_route": (
        lambda s: s.client.register_route(s.chat, lambda message: None),
        lambda s, got: s.client.unregister_route(s.chat),
    ),
    "Client.retry": (lambda s: s.client.retry(), lambda s, got: got is s.client.session),
    "Client.route": (lambda s: _decorated(s.client.route(s.chat)), lambda s, got: s.client.unregister_route(s.chat)),
    "Client.send": (lambda s: s.client.send(s.other, b"!"), lambda s, got: got is not None),
    "Client.send_and_wait": (lambda s: s.client.send_and_wait(s.chat, b"!"), lambda s, got: got.content == b"!"),
    "Client.call": (lambda s: s.client.call("double", 2), lambda s, got: got == 4),
    "Client.methods": (lambda s: s.client.methods(), lambda s, got: [each.name for each in got] == ["double"]),
    "Client.register_rpc": (lambda s: s.client.register_rpc(abs, "abs"), lambda s, got: s.client.unregister_rpc("abs")),
    "Client.register_service": (
        lambda s: s.client.register_service(Doubles(), prefix="more."),
        lambda s, got: s.client.unregister_rpc("more.double"),
    ),
    "Client.rpc": (lambda s: _decorated(s.client.rpc("own")), lambda s, got: s.client.unregister_rpc("own")),
    "Client.service": (lambda s: s.client.service(Doubles).double(2), lambda s, got: got == 4),
    "Client.unregister_rpc": (lambda s: s.client.unregister_rpc("none"), lambda s, got: got is False),
    "Client.setName": (lambda s: s.new_client.setName("veltix"), lambda s, got: s.new_client.name == "veltix"),
    "Client.setServiceParent": (
        lambda s: s.client.setServiceParent(s.parent),
        lambda s, got: s.client.parent is s.parent and s.client.running,
    ),
    "Client.set_callback": (
        lambda s: (_decorated(s.client.set_callback("on_recv")), s.client.set_callback("on_recv", print)),
        lambda s, got: callable(got[0]) and got[1] is print,
    ),
    "Client.startService": (
        lambda s: (s.new_client.startService(), s.new_client.connect()),
        lambda s, got: got == (None, s.new_client.session) and s.new_client.running,
    ),
    "Client.reauthenticate": (lambda s: s.client.reauthenticate(Token("new")), lambda s, got: got is None),
    "Client.stopService": (lambda s: s.client.stopService(), lambda s, got: got is None and s.client.session is None),
    "Client.stop_retry": (lambda s: s.client.stop_retry(), lambda s, got: got is None),
    "Client.unregister_route": (lambda s: s.client.unregister_route(s.other), lambda s, got: got is True),
    # A session's.
    "Session.add_tag": (lambda s: s.session.add_tag("new", 2), lambda s, got: got and s.session.get_tag("new") == 2),
    "Session.reply": (
        lambda s: s.session.reply(Response(s.other, b"", 0, 1, 0), b"an answer"),
        lambda s, got: got is None,
    ),
    "Session.call": (lambda s: s.session.call("double", 2), lambda s, got: got == 4),
    "Session.methods": (lambda s: s.session.methods(), lambda s, got: [each.name for each in got] == ["double"]),
    "Session.service": (lambda s: s.session.service(Doubles).double(2), lambda s, got: got == 4),
    "Session.clear_tags": (lambda s: s.session.clear_tags(), lambda s, got: not s.session.has_tag("old")),
    "Session.disconnect": (
        lambda s: s.session.disconnect(),
        lambda s, got: isinstance(got, SessionClosed) and got.reason is DisconnectReason.MANUAL,
    ),
    "Session.drain": (lambda s: s.session.drain(), lambda s, got: got is None and s.session.closed),
    "Session.get_tag": (lambda s: s.session.get_tag("old"), lambda s, got: got == 1),
    "Session.has_all_tags": (lambda s: s.session.has_all_tags(["old", "new"]), lambda s, got: got is False),
    "Session.has_any_tags": (lambda s: s.session.has_any_tags(["old", "new"]), lambda s, got: got is True),
    "Session.can_send": (lambda s: s.session.can_send(100), lambda s, got: got is True),
    "Session.has_tag": (lambda s: s.session.has_tag("old"), lambda s, got: got is True),
    "Session.ping": (lambda s: s.session.ping(), lambda s, got: 0 <= got < 5000),
    "Session.register_producer": (lambda s: s.session.register_producer(Producer()), lambda s, got: got is None),
    "Session.remove_tag": (lambda s: s.session.remove_tag("old"), lambda s, got: got and not s.session.has_tag("old")),
    "Session.send": (lambda s: s.session.send(s.other, b"!"), lambda s, got: got is not None),
    "Session.send_and_wait": (_answered, lambda s, got: got.content == b"the client's"),
    "Session.validate": (lambda s: s.session.validate(), lambda s, r: r is None),
    "Session.unregister_producer": (
        lambda s: (s.session.register_producer(Producer()), s.session.unregister_producer()),
        lambda s, got: got == (None, None),
    ),
    "Session.when_closed": (
        lambda s: (s.session.disconnect(), s.session.when_closed()),
        lambda s, got: got[0] is got[1] is s.session.closed,
    ),
    "Session.when_idle": (lambda s: s.session.when_idle(), lambda s, got: got is None),
    "Session.when_writable": (lambda s: s.session.when_writable(), lambda s, got: got is None),
}
"""Method -> how it is called in a thread, and what must have come of it: the plain outcome, never a Deferred."""


class Doubles:
    """What a server serves."""

    def double(self, number: int) -> int:
        """Double a number."""
        return 2 * number


class Named(Plugin):
    """A plugin with one type, which knows in what thread it was registered."""

    name = "named"
    description = "For this test."
    types = {"note": 500}  # noqa: RUF012
    in_thread = 0

    def registered(self, types: Any, granted: Any) -> None:
        """Keep the thread."""
        super().registered(types, granted)
        self.in_thread = threading.get_ident()


async def scene(loopback: Any) -> Scene:
    """Connect a client to a server."""
    server = await loopback.server(authenticate=lambda credentials: credentials.token)
    other = MessageType(202, "other", registry=loopback.types)
    client = loopback.client(server.port, credentials=Token("old"))
    client.register_route(other, lambda message: b"the client's")
    client.register_service(Doubles())
    arrived: Deferred[Session] = Deferred()
    server.register_service(Doubles())
    server.set_callback("on_connect", lambda client: None if arrived.called else arrived.callback(client))
    await client.connect()
    session = await arrived
    session.add_tag("old", 1)
    parent = MultiService()
    parent.startService()
    new_server, new_client = loopback.made_server(), loopback.client(server.port, credentials=Token("new"))
    loopback._ends += [parent.stopService, new_server.stopService]
    return Scene(server, client, session, new_server, new_client, loopback.chat, loopback.news, other, parent, session.id)


def test_every_public_method_is_in_the_table() -> None:
    """A new public method is called from a thread below, too, or says why not."""
    missing = []
    for kind in (Server, Client, Session):
        names = set(public_methods(kind))
        assert {call for call in CALLS if call.startswith(kind.__name__ + ".")} <= {f"{kind.__name__}.{name}" for name in names}
        missing += [f"{kind.__name__}.{name}" for name in names if f"{kind.__name__}.{name}" not in CALLS]
    assert set(missing) == NOT_FOR_THREADS


@pytest.mark.parametrize("method", CALLS)
async def test_a_method_called_in_a_thread_runs_in_the_reactors(loopback: Any, method: str) -> None:
    """It runs in the reactor's thread, while its caller waits for what its Deferred fires with."""
    made, ran = await scene(loopback), []
    call, check = CALLS[method]
    got = await in_thread(lambda: call(made), ran)
    assert not any(isinstance(each, Deferred) for each in (got if isinstance(got, tuple) else (got,)))
    assert check(made, got)
    name = method.partition(".")[2]
    leads_there = {name, "register", "_invoke", "call_remote"} if name in BEFORE_THE_GATE else set()
    assert set(ran) <= GATE | leads_there
    assert "_wait" in ran


BETWEEN = {
    "send": lambda client, chat: client.send(chat, b""),
    "send a request": lambda client, chat: client.send(Request(chat, b"")),
    "send_and_wait": lambda client, chat: client.send_and_wait(chat, b""),
    "ping_server": lambda client, chat: client.ping_server(),
}


@pytest.mark.parametrize("call", BETWEEN)
async def test_a_client_without_a_session_raises_in_a_thread(loopback: Any, call: str) -> None:
    """Before the first connection and after the last the errors are raised, not returned in a Deferred."""
    server = await loopback.server()
    client = loopback.client(server.port)
    with pytest.raises(NotReady):
        await in_thread(lambda: BETWEEN[call](client, loopback.chat))
    await client.connect()
    await client.disconnect()
    with pytest.raises(SessionClosed) as caught:
        await in_thread(lambda: BETWEEN[call](client, loopback.chat))
    assert caught.value.reason is DisconnectReason.MANUAL


async def test_errors_are_raised_in_the_thread(loopback: Any) -> None:
    """What a Deferred would fail with, and what a method raises, is raised where it was called."""
    made = await scene(loopback)
    taken = loopback.made_server(port=made.server.port)
    never: Deferred[None] = Deferred()
    made.server.register_route(loopback.news, lambda client, message: never)
    for error, call in (
        (CannotListenError, taken.startService),
        (CannotListenError, taken.listen),
        (Refused, loopback.client(1).connect),
        (SettingsError, lambda: made.server.configure(port=0)),
        (SettingsError, made.server.listen),
        (SettingsError, lambda: made.server.set_callback("on_nothing")),
        (RequestTimeout, lambda: made.client.send_and_wait(loopback.news, b"", timeout=0.05)),
    ):
        with pytest.raises(error):
            await in_thread(call)
    never.callback(None)  # the server need not wait for it


async def test_what_is_made_in_a_thread_is_used_in_it(loopback: Any) -> None:
    """A thread may make its own client while the reactor runs elsewhere: connect() blocks and returns the session."""
    server = await loopback.server()

    def talk() -> tuple[object, bytes]:
        client = Client("127.0.0.1", server.port, types=loopback.types)
        session = client.connect()
        reply: Any = client.send_and_wait(loopback.chat, b"from a thread")
        client.disconnect()
        return session, reply.content

    session, content = await in_thread(talk)
    assert isinstance(session, Session)
    assert content == b"from a thread"


# Before the reactor runs, and after it.


class Elsewhere:
    """A reactor of its own in a thread, which a test lets run."""

    def __init__(self) -> None:
        self.reactor: Any = SelectReactor()
        self.reactor._registerAsIOThread = False
        self.thread = threading.Thread(target=self.reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)

    def begin(self) -> None:
        """Run it, and wait until it runs."""
        running = threading.Event()
        self.reactor.callWhenRunning(running.set)
        self.thread.start()
        assert running.wait(5)

    def end(self) -> None:
        """Stop it."""
        if self.thread.is_alive():
            self.reactor.callFromThread(self.reactor.stop)
            self.thread.join(5)
        assert not self.thread.is_alive()
        self.reactor.getThreadPool().stop()
        for reader in list(self.reactor._internalReaders):
            reader.connectionLost(None)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Return a reactor that will run in another thread."""
    made = Elsewhere()
    yield made
    made.end()


def test_a_given_reactor_that_runs_in_another_thread(elsewhere: Elsewhere) -> None:
    """With ``reactor=`` one that runs elsewhere, the first listen() and connect() block here, and so does all else."""
    elsewhere.begin()
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server = Server(host="127.0.0.1", port=0, types=types, reactor=elsewhere.reactor)
    server.route(chat)(lambda client, message: message.content + b" in %d" % threading.get_ident())
    server.startService()
    client = Client("127.0.0.1", server.port, types=types, reactor=elsewhere.reactor, random=Random(1))
    assert isinstance(client.connect(), Session)
    reply: Any = client.send_and_wait(chat, b"handled")
    assert reply.content == b"handled in %d" % elsewhere.thread.ident  # type: ignore[str-format]
    assert client.disconnect() is None
    assert server.stopService() is None


def test_a_call_before_the_reactor_runs_waits_for_it(elsewhere: Elsewhere, monkeypatch: Any) -> None:
    """A thread that calls before the reactor runs waits until it does, however often it has looked; it is carried out once."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    server = Server(host="127.0.0.1", port=0, types=MessageRegistry(), reactor=elsewhere.reactor)
    started, counted = Waiter(server.startService), []
    started.join(0.1)
    assert started.is_alive()
    assert server.addresses == []
    server.configure(max_workers=3)  # which needs no reactor
    elsewhere.begin()
    started.join(5)
    assert started.outcome == [None]
    assert len(server.addresses) == 1
    counted.append(server.broadcast(MessageType(200, "chat", registry=MessageRegistry()), b""))
    assert counted == [0]
    assert server.stopService() is None


def test_a_call_to_a_reactor_that_never_runs_fails_and_is_not_carried_out(elsewhere: Elsewhere, monkeypatch: Any) -> None:
    """A call that is given up because the reactor does not run is not carried out when it runs after all."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    monkeypatch.setattr(threads, "_BEGIN", 0.05)
    server = Server(host="127.0.0.1", port=0, types=MessageRegistry(), reactor=elsewhere.reactor)
    started = Waiter(server.listen)
    started.join(5)
    (error,) = started.outcome
    assert isinstance(error, CannotBlock)
    assert "does not run" in str(error)
    elsewhere.begin()
    assert server.select() == []  # in the reactor's thread, after what waited for it
    assert server.addresses == []


def test_a_call_after_the_reactor_has_stopped_is_refused(elsewhere: Elsewhere, monkeypatch: Any) -> None:
    """A thread gets SessionClosed, which says why."""
    monkeypatch.setattr(threads, "_LOOK", 0.01)
    elsewhere.begin()
    server = Server(host="127.0.0.1", port=0, types=MessageRegistry(), reactor=elsewhere.reactor)
    server.startService()
    server.stopService()
    elsewhere.reactor.callFromThread(elsewhere.reactor.stop)
    elsewhere.thread.join(5)
    with pytest.raises(SessionClosed, match="the reactor has stopped"):
        server.broadcast(MessageType(200, "chat", registry=MessageRegistry()), b"")


def test_the_main_thread_sets_up_what_another_has_made(elsewhere: Elsewhere) -> None:
    """Before the reactor runs, the main thread need not wait for it: it is the one that will run it."""
    made = Waiter(lambda: Server(host="127.0.0.1", port=0, types=MessageRegistry(), reactor=elsewhere.reactor))
    made.join(5)
    (server,) = made.outcome
    listening = server.listen()
    assert isinstance(listening, Deferred)
    assert len(server.addresses) == 1
    elsewhere.begin()
    assert server.stopService() is None


# In tests of users.


def test_a_thread_of_ones_own_in_a_memory_network() -> None:
    """The thread that moves a MemoryNetwork is its reactor's: what another thread calls is done in it."""
    network = MemoryNetwork()
    types = MessageRegistry()
    chat = MessageType(200, "chat", registry=types)
    server, client = Server(types=types), Client(types=types)
    server.route(chat)(lambda client, message: b"%d" % threading.get_ident())
    network.serve(server)
    network.connect(client)
    asking = Waiter(lambda: client.send_and_wait(chat, b"?"))
    while asking.is_alive():
        network.pump()
        asking.join(0.01)
    assert asking.outcome[0].content == b"%d" % threading.get_ident()


def test_a_clock_has_one_thread() -> None:
    """What runs on a bare Clock tells another thread that there is no reactor to do its work."""
    clock = Clock()
    client = Client(
        "127.0.0.1", 1, types=MessageRegistry(), reactor=Clocks(clock, clock.seconds, clock.seconds), endpoint="tcp:a:1"
    )
    client._settle()
    call = Waiter(client.stop_retry)
    call.join(5)
    assert isinstance(call.outcome[0], CannotBlock)
