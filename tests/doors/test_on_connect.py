"""Until ``on_connect`` is done a session is its own: nobody else gets it, and nobody else sends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from veltix_tx import (
    Client,
    DisconnectReason,
    MessageRegistry,
    MessageType,
    NotReady,
    Rejected,
    RetryPolicy,
    Server,
    Session,
    SessionClosed,
    Timeouts,
)
from veltix_tx.app.applications import Echo
from veltix_tx.app.plugins import Plugin
from veltix_tx.testing import MemoryNetwork

QUICK = RetryPolicy(initial_delay=0.5, factor=1, jitter=False)


class Office:
    """A server that answers what it is asked once it is let go on, and a client that logs in."""

    def __init__(self, *, serve: bool = True, **settings: Any) -> None:
        self.network = MemoryNetwork()
        self.types = MessageRegistry()
        self.login = MessageType(200, "login", registry=self.types)
        self.work = MessageType(201, "work", registry=self.types)
        self.news = MessageType(202, "news", registry=self.types)
        self.heard: list[bytes] = []
        self.answers: list[Deferred[bytes]] = []
        self.server = Server(types=self.types)
        self.server.route(self.login)(self.on_login)
        self.server.route(self.work, concurrent=True)(self.on_work)
        if serve:
            self.network.serve(self.server)
        self.client = Client(types=self.types, **settings)

    def on_login(self, client: Session, message: Any) -> Deferred[bytes]:
        """Answer later."""
        self.heard.append(message.content)
        self.answers.append(Deferred())
        return self.answers[-1]

    def on_work(self, client: Session, message: Any) -> bytes:
        """Answer at once."""
        self.heard.append(message.content)
        return b"done"

    def begin(self) -> Deferred[Session]:
        """Begin to connect; where the server serves, the handshake is complete at once."""
        self.client.reactor = self.network.clocks
        self.client.configure(endpoint=_endpoint(self.network))
        return self.client.connect()

    def connect(self) -> Deferred[Session]:
        """Begin to connect; the handshake is complete then, and on_connect has been called."""
        connecting = self.begin()
        self.network.pump()
        return connecting

    def accept(self) -> None:
        """Answer the oldest login."""
        self.answers.pop(0).callback(b"welcome")
        self.network.pump()


def _endpoint(network: MemoryNetwork) -> Any:
    from veltix_tx.testing import _ClientEndpoint

    return _ClientEndpoint(network)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with, failures as their errors."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def coroutine(office: Office) -> Callable[[], object]:
    """Log in as a coroutine."""

    async def on_connect() -> None:
        await office.client.send_and_wait(office.login, b"log in")
        office.client.send(office.work, b"and tell so")

    return on_connect


def chain(office: Office) -> Callable[[], object]:
    """Log in by a Deferred's callbacks."""

    def on_connect() -> Deferred[Any]:
        asked = office.client.send_and_wait(office.login, b"log in")
        return asked.addCallback(lambda _: office.client.send(office.work, b"and tell so")).addCallback(lambda _: None)

    return on_connect


# Who waits.


@pytest.mark.parametrize("kind", [coroutine, chain])
@pytest.mark.parametrize("later", [False, True])
def test_connect_waits_for_on_connect(kind: Any, later: bool) -> None:
    """What follows ``await connect()`` comes after the login, at the first connection and at each later one."""
    office = Office(retry=QUICK)
    office.client.set_callback("on_connect", kind(office))
    connected = outcome(office.connect())
    if later:
        office.accept()
        office.network.result(office.server.clients[0].disconnect())
        office.heard.clear()
        connected = outcome(office.client.retry())
        office.network.pump()
    assert connected == []
    assert office.heard == [b"log in"]
    office.accept()
    assert connected == [office.client.session]
    assert connected[0] is not None
    office.client.send(office.work, b"work")
    office.network.pump()
    assert office.heard == [b"log in", b"and tell so", b"work"]


def test_connect_waits_for_a_plain_on_connect() -> None:
    """A plain on_connect has been called when ``connect()`` fires: what it sends is sent first."""
    office = Office(serve=False, retry=QUICK)
    order: list[str] = []
    office.client.set_callback("on_connect", lambda: (office.client.send(office.work, b"first"), order.append("on_connect"))[1])
    office.begin().addCallback(lambda session: (session.send(office.work, b"second"), order.append("connect"))[1])
    office.network.serve(office.server)
    office.network.advance(0.5)
    assert order == ["on_connect", "connect"]
    assert office.heard == [b"first", b"second"]


def test_connect_waits_for_the_plugins_too() -> None:
    """A plugin's ``connected`` belongs to the set-up: ``connect()`` waits for it, and others do not send meanwhile."""
    office, ready = Office(), Deferred()  # type: ignore[var-annotated]

    class Patient(Plugin):
        name = "patient"
        events = ("on_connect",)

        def connected(self, session: Session) -> object:
            session.send(office.work, b"of the plugin")
            office.client.send(office.work, b"through the client")
            return ready

    office.client.register_plugin(Patient())
    connected = outcome(office.connect())
    with pytest.raises(NotReady):
        office.client.send(office.work, b"too early")
    assert connected == []
    ready.callback(None)
    assert connected == [office.client.session]
    assert office.heard == [b"of the plugin", b"through the client"]


def test_a_session_that_is_gone_by_then_is_never_given_out() -> None:
    """A server that leaves while on_connect is busy: ``connect()`` errbacks, though on_connect ends well."""
    office, slow = Office(), Deferred()  # type: ignore[var-annotated]
    office.client.set_callback("on_connect", lambda: slow)
    connected = outcome(office.connect())
    office.network.result(office.server.stopService())
    slow.callback(None)
    (error,) = connected
    assert isinstance(error, SessionClosed)
    assert error.reason is DisconnectReason.PEER_CLOSED
    assert office.client.session is None


# Who may send.


@pytest.mark.parametrize("kind", [coroutine, chain])
def test_others_are_refused_until_it_is_done(kind: Any) -> None:
    """Everybody else gets NotReady, which says what to wait for, and nothing is sent; the client is not connected for them."""
    office = Office()
    client = office.client
    client.set_callback("on_connect", kind(office))
    office.connect()
    with pytest.raises(NotReady, match=r"on_connect is not done.*wait for connect\(\)"):
        client.send(office.work, b"overtaking")
    for asked in (client.send_and_wait(office.work, b"overtaking"), client.ping_server()):
        (error,) = outcome(asked)
        assert isinstance(error, NotReady)
    assert (client.is_connected, client.session) == (False, None)
    office.network.pump()
    assert office.heard == [b"log in"]
    office.accept()
    assert client.is_connected
    assert office.network.result(client.send_and_wait(office.work, b"work")).content == b"done"
    assert office.network.result(client.ping_server()) == 0


def test_on_connect_itself_is_connected() -> None:
    """In it the client has its session, can send, ask and ping, and ``connect()`` gives that session at once."""
    office = Office()
    client, seen = office.client, []  # type: ignore[var-annotated]

    async def on_connect() -> None:
        seen.append(client.is_connected)
        seen.append(await client.connect() is client.session)
        seen.append(await client.ping_server())
        seen.append((await client.send_and_wait(office.work, b"ask")).content)
        seen.append(client.is_connected)

    client.set_callback("on_connect", on_connect)
    session = office.network.result(office.connect())
    assert seen == [True, True, 0.0, b"done", True]
    assert session is client.session


def begun_coroutine(office: Office, send: Callable[[], object]) -> None:
    """Use the client in a coroutine that nobody waits for."""

    async def work() -> None:
        await office.client.ping_server()
        send()

    Deferred.fromCoroutine(work()).addErrback(lambda failure: office.heard.append(type(failure.value).__name__.encode()))


def timer(office: Office, send: Callable[[], object]) -> None:
    """Use it when a timer comes."""

    def work() -> None:
        try:
            send()
        except NotReady:
            office.heard.append(b"NotReady")

    office.network.clock.callLater(0.1, work)


def foreign_deferred(office: Office, send: Callable[[], object]) -> None:
    """Use it in the callback of a Deferred that is not the client's."""
    turn: Deferred[None] = Deferred()
    turn.addCallback(lambda _: send()).addErrback(lambda failure: office.heard.append(type(failure.value).__name__.encode()))
    office.network.clock.callLater(0.1, turn.callback, None)


def thread(office: Office, send: Callable[[], object]) -> None:
    """Use it in a thread."""

    def work() -> None:
        try:
            send()
        except NotReady:
            office.heard.append(b"NotReady")

    office.network.clock.callInThread(work)


def thread_in_its_context(office: Office, send: Callable[[], object]) -> None:
    """Use it in a thread that has on_connect's context."""
    office.network.clock.callInThread(copy_context().run, send)


@pytest.mark.parametrize(
    ("begin", "may"),
    [(begun_coroutine, True), (thread_in_its_context, True), (timer, False), (foreign_deferred, False), (thread, False)],
)
@pytest.mark.parametrize("through", ["client", "session"])
def test_what_on_connect_begins_beside_itself(begin: Any, may: bool, through: str) -> None:
    """What carries its context may send as it does; what does not is refused, and uses ``client.session``, taken in it."""
    office, done = Office(), Deferred()  # type: ignore[var-annotated]

    def on_connect() -> Deferred[None]:
        sender = office.client if through == "client" else office.client.session
        begin(office, lambda: sender.send(office.work, b"beside"))
        return done

    office.client.set_callback("on_connect", on_connect)
    connected = outcome(office.connect())
    office.network.advance(0.1)
    assert connected == []
    assert office.heard == ([b"beside"] if may or through == "session" else [b"NotReady"])
    done.callback(None)
    assert len(connected) == 1


def test_the_right_ends_with_its_own_session() -> None:
    """What the first connection's on_connect began has no right to the second one's session while that is set up."""
    office = Office(retry=QUICK)
    go_on: list[Deferred[None]] = []
    tried: list[object] = []

    async def background() -> None:
        go_on.append(Deferred())
        await go_on[-1]
        try:
            tried.append(office.client.send(office.work, b"of the first"))
        except NotReady as error:
            tried.append(error)

    def on_connect() -> object:
        if go_on:
            return Deferred()
        Deferred.fromCoroutine(background())
        return None

    office.client.set_callback("on_connect", on_connect)
    office.network.result(office.connect())
    office.network.result(office.server.clients[0].disconnect())
    office.network.advance(0.5)
    assert not office.client.is_connected
    go_on[0].callback(None)
    assert isinstance(tried[0], NotReady)
    assert office.heard == []
    office.network.result(office.client.disconnect())


def test_a_thread_of_the_programs_own_is_refused() -> None:
    """A thread that has nothing to do with on_connect is refused as anybody else is."""
    office, caught = Office(), []  # type: ignore[var-annotated]
    office.client.set_callback("on_connect", coroutine(office))
    office.connect()

    def send() -> None:
        try:
            office.client.send(office.work, b"overtaking")
        except NotReady as error:
            caught.append(error)

    other = threading.Thread(target=send, daemon=True)
    other.start()
    for _ in range(500):  # the thread's call is carried out here
        office.network.pump()
        other.join(0.01)
        if not other.is_alive():
            break
    assert len(caught) == 1
    office.accept()
    office.network.result(office.client.disconnect())


# A server's.


def test_a_server_lists_and_broadcasts_to_none_that_is_being_set_up() -> None:
    """Until a session's on_connect is done it is in no list, and no broadcast reaches it, even one that names it."""
    office, heard = Office(), []  # type: ignore[var-annotated]
    server, sessions, done = office.server, [], Deferred()  # type: ignore[var-annotated]

    @server.set_callback("on_connect")
    def on_connect(session: Session) -> Deferred[None]:
        session.add_tag("member")
        session.send(office.news, b"its own")
        sessions.append(session)
        return done

    office.client.route(office.news)(lambda message: heard.append(message.content))
    office.network.result(office.connect())
    assert server.clients == server.select() == server.select(["member"]) == server.get_clients_by_tag("member") == []
    for to in (None, sessions):
        assert server.broadcast(office.news, b"all", to=to) == 0
        assert server.broadcast(office.news, b"all", to=to, exclude=[object()]) == 0  # type: ignore[list-item]
    office.network.pump()
    assert heard == [b"its own"]
    done.callback(None)
    assert server.clients == server.select() == server.select(["member"]) == sessions
    for to in (None, sessions):
        assert server.broadcast(office.news, b"all", to=to) == 1
    office.network.pump()
    assert heard == [b"its own", b"all", b"all"]


def test_a_stop_waits_for_what_is_being_set_up() -> None:
    """A server that stops drains a session whose on_connect is not done as it does the others."""
    office, done = Office(), Deferred()  # type: ignore[var-annotated]
    office.server.set_callback("on_connect", lambda session: done)
    session = office.network.result(office.connect())
    session.send(office.work, b"sent before")
    office.network.pump()
    assert office.heard == []
    stopped = outcome(office.server.stopService())
    office.network.pump()
    assert stopped == []
    done.callback(None)
    office.network.pump()
    assert office.heard == [b"sent before"]
    assert len(stopped) == 1
    assert session.closed.reason is DisconnectReason.PEER_CLOSED


def test_a_client_that_leaves_while_it_is_set_up_is_forgotten() -> None:
    """Its on_connect ends well after it has gone: it is never listed, told of its end, and not kept."""
    office, done, gone = Office(), Deferred(), []  # type: ignore[var-annotated]
    office.server.set_callback("on_connect", lambda session: done)
    office.server.set_callback("on_disconnect", lambda session: gone.append(session.closed.reason))
    office.network.result(office.connect())
    office.network.result(office.client.disconnect())
    assert gone == []
    done.callback(None)
    assert gone == [DisconnectReason.PEER_CLOSED]
    assert office.server.clients == []
    assert len(office.server._hub) == 0


def test_succeeding_at_once_admits_at_once() -> None:
    """A Deferred that has fired already holds back nothing."""
    office = Office()
    for each in (office.client, office.server):
        each.set_callback("on_connect", lambda *_: succeed(None))
    session = office.network.result(office.connect())
    assert session.admitted
    assert [each.admitted for each in office.server.clients] == [True]


# Refusing.


def failing(error: BaseException) -> dict[str, Callable[..., object]]:
    """Return an on_connect of each kind that fails."""

    def plain(*_: Any) -> None:
        raise error

    async def coroutine(*_: Any) -> None:
        raise error

    return {"plain": plain, "coroutine": coroutine}


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), Rejected("banned")])
def test_a_server_whose_on_connect_fails_serves_nothing(kind: str, error: Exception, logged_failures: Any) -> None:
    """The client's connection is closed, none of its messages is handled, and it is in no list, then or later."""
    office, gone = Office(), []  # type: ignore[var-annotated]
    office.server.set_callback("on_connect", failing(error)[kind])
    office.server.set_callback("on_disconnect", gone.append)
    office.client.set_callback("on_connect", lambda: office.client.send(office.work, b"let me in"))
    office.begin().addErrback(lambda failure: failure.trap(SessionClosed))
    office.network.pump()
    assert not office.client.is_connected
    assert (office.heard, office.server.clients, gone, len(office.server._hub)) == ([], [], [], 0)
    counters = office.server.counters
    assert (counters["sessions_rejected"], counters["closed_rejected"]) == (1, 1)
    assert len(logged_failures.flush(ZeroDivisionError)) == isinstance(error, ZeroDivisionError)


def test_a_server_refuses_after_it_has_asked() -> None:
    """A coroutine may take its time to decide: what the client sends meanwhile waits, and is dropped."""
    office = Office()

    async def on_connect(session: Session) -> None:
        reply = await session.send_and_wait(office.login)
        if reply.content != b"secret":
            raise Rejected(f"a wrong word from {session.ip}")

    office.server.set_callback("on_connect", on_connect)
    word: list[Deferred[bytes]] = []
    office.client.route(office.login)(lambda message: word.append(Deferred()) or word[0])
    office.network.result(office.begin())
    office.client.send(office.work, b"impatient")
    office.network.pump()
    assert office.heard == []
    word[0].callback(b"guess")
    office.network.pump()
    assert not office.client.is_connected
    assert office.heard == []
    assert office.server.counters["sessions_rejected"] == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("error", [ZeroDivisionError("one"), Rejected("the server does not know us")])
@pytest.mark.parametrize("retry", [0, 2])
def test_a_client_whose_on_connect_fails_is_not_connected(kind: str, error: Exception, retry: int, logged_failures: Any) -> None:
    """Each such try counts as failed; ``connect()`` errbacks with the error itself, on_disconnect is told REJECTED."""
    office, states, gone = Office(retry=retry, retry_delay=1), [], []  # type: ignore[var-annotated]
    client = office.client
    client.set_callback("on_connect", failing(error)[kind])
    client.set_callback("on_disconnect", lambda state: states.append((state.permanent, state.attempt, state.reason)))
    office.server.set_callback("on_disconnect", gone.append)
    connected = outcome(office.begin())
    office.network.advance(10)
    assert connected == [error]
    assert not client.is_connected
    steps = [(False, number, DisconnectReason.REJECTED) for number in range(retry + 1)] if retry else []
    assert states == [*steps, (True, retry, DisconnectReason.REJECTED)]
    assert client.counters["sessions_rejected"] == retry + 1
    assert len(gone) == retry + 1
    assert len(logged_failures.flush(ZeroDivisionError)) == (retry + 1) * isinstance(error, ZeroDivisionError)


def test_a_client_comes_back_once_its_on_connect_succeeds() -> None:
    """The tries go on after an on_connect that failed, with waits that grow, and ``connect()`` fires with the one that succeeds."""
    office = Office(retry=RetryPolicy(initial_delay=1, jitter=False))
    answers = iter([b"no", b"no", b"yes"])
    asked_at: list[float] = []

    @office.client.set_callback("on_connect")
    async def on_connect() -> None:
        asked_at.append(office.network.clock.seconds())
        if next(answers) != b"yes":
            raise Rejected("not yet")

    connected = outcome(office.begin())
    office.network.advance(3.5)
    assert asked_at == [0, 1, 3]
    assert connected == [office.client.session]
    office.network.result(office.client.disconnect())


def test_an_on_connect_that_is_not_done_in_time_is_refused(logged_failures: Any) -> None:
    """After ``timeouts.handler`` it is cancelled, and ``connect()`` errbacks with a Rejected that names the setting."""
    office = Office(timeouts=Timeouts(handler=2))
    office.client.set_callback("on_connect", Deferred)
    connected = outcome(office.begin())
    office.network.advance(2)
    (error,) = connected
    assert isinstance(error, Rejected)
    assert "2 s (timeouts.handler)" in str(error)
    assert len(logged_failures.flush(CancelledError)) == 1


def test_an_application_refuses_in_its_connected() -> None:
    """What holds for callbacks holds for an IVeltixApplication."""

    class Closed(Echo):
        def connected(self, session: Session) -> None:
            raise Rejected("closed today")

    network, told = MemoryNetwork(), []  # type: ignore[var-annotated]
    server = Server(application=Closed())
    network.serve(server)
    client = Client(types=MessageRegistry())
    client.set_callback("on_disconnect", lambda state: told.append(state.reason))
    with pytest.raises(SessionClosed):
        network.connect(client)
    assert told == [DisconnectReason.PEER_CLOSED]
    assert server.counters["sessions_rejected"] == 1


def test_a_stop_of_the_client_in_its_on_connect_is_no_refusal() -> None:
    """``disconnect()`` in on_connect ends what it began: MANUAL, and nothing is logged."""
    office = Office(retry=3)

    @office.client.set_callback("on_connect")
    async def on_connect() -> None:
        await office.client.disconnect()

    (error,) = outcome(office.begin())
    assert isinstance(error, SessionClosed)
    assert error.reason is DisconnectReason.MANUAL
    assert office.client.counters["sessions_rejected"] == 0
