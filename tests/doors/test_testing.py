"""The testing module itself: real servers and clients in memory."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, current_thread, get_ident
from time import monotonic, sleep
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorThreads
from zope.interface.verify import verifyObject

from veltix_tx import (
    Client,
    MessageRegistry,
    MessageType,
    RequestTimeout,
    RetryPolicy,
    Server,
    SessionClosed,
    SettingsError,
    VersionRefused,
)
from veltix_tx.testing import MemoryNetwork
from veltix_tx.wire.veltix.layouts import W15, W22

TYPES = MessageRegistry()
CHAT = MessageType(200, "chat", registry=TYPES)
NEWS = MessageType(201, "news", registry=TYPES)
OTHER = MessageType(202, "other", registry=TYPES)
ACK = W22.pack(11, b"\0\x051.6.3", 1, 0) + b"\0\x051.6.3"


def json(text: bytes) -> bytes:
    """Return one message of the JSON handshake."""
    return len(text).to_bytes(2, "big") + text


@pytest.fixture
def network() -> MemoryNetwork:
    """Return a network with an echo server."""
    network = MemoryNetwork()
    server = Server(types=TYPES)
    server.route(CHAT)(lambda client, message: message.content)
    network.serve(server)
    return network


@pytest.mark.parametrize("wire", ["auto", "1.3.0", "1.4.0", "1.6.3", "1.7.5", "1.9.0", "3.3.0"])
def test_a_server_and_its_clients_meet_in_memory(wire: str) -> None:
    """connect() returns a session whose handshake is done; result() returns what a Deferred fires with."""
    network = MemoryNetwork()
    server = Server(types=TYPES, wire=wire)
    server.route(CHAT)(lambda client, message: message.content)
    network.serve(server)
    clients = [Client(types=TYPES, wire=wire) for _ in range(2)]
    sessions = [network.connect(client) for client in clients]
    assert [client.session for client in clients] == sessions
    for client in clients:
        assert network.result(client.send_and_wait(CHAT, b"hello")).content == b"hello"
        assert network.result(client.ping_server()) == 0
    ports = [session.port for session in server.clients]
    assert len(set(ports)) == 2
    assert network.result(clients[0].disconnect()) is None
    assert clients[1].is_connected


def test_nothing_listens_without_a_server() -> None:
    """connect() raises what the client's own connect errbacks with."""
    with pytest.raises(Refused, match="nothing listens"):
        MemoryNetwork().connect(Client(types=TYPES))
    with pytest.raises(AssertionError, match="serve"):
        MemoryNetwork().dial()


def test_a_stopped_server_listens_no_more(network: MemoryNetwork) -> None:
    """After stopService nothing listens any more, and a server can be served again."""
    server = Server(types=TYPES)
    network.serve(server)
    client = Client(types=TYPES)
    network.connect(client)
    network.result(server.stopService())
    assert not client.is_connected
    with pytest.raises(Refused):
        network.connect(Client(types=TYPES))
    network.serve(server)
    network.connect(client)
    assert client.is_connected


def test_result_returns_raises_or_says_what_is_missing(network: MemoryNetwork) -> None:
    """result() returns a value, raises a failure, and refuses a Deferred that has not fired."""
    assert network.result(succeed(5)) == 5
    with pytest.raises(ZeroDivisionError):
        network.result(fail(ZeroDivisionError()))
    with pytest.raises(AssertionError, match="advance"):
        network.result(Deferred())


def test_result_can_be_asked_again() -> None:
    """A Deferred that had not fired yet can be given to result() again once time has passed."""
    network = MemoryNetwork()
    server = Server(types=TYPES)
    server.route(CHAT)(lambda client, message: None)
    network.serve(server)
    client = Client(types=TYPES)
    network.connect(client)
    waiting = client.send_and_wait(CHAT, b"?", timeout=3)
    with pytest.raises(AssertionError):
        network.result(waiting)
    network.advance(3)
    with pytest.raises(RequestTimeout):
        network.result(waiting)


def test_time_passes_only_by_advance(network: MemoryNetwork) -> None:
    """advance() lets everything due happen at its own time, and the clock ends where it was told to."""
    times: list[float] = []

    def again() -> None:
        times.append(network.clock.seconds())
        if len(times) < 4:
            network.clock.callLater(1, again)

    network.clock.callLater(0.5, again)
    network.advance(2.75)
    assert times == [0.5, 1.5, 2.5]
    assert network.clock.seconds() == 2.75
    network.advance(10)
    assert times == [0.5, 1.5, 2.5, 3.5]
    assert network.clocks.calendar() - network.clocks.uptime() == 1_700_000_000


def test_a_scripted_client_says_what_it_likes(network: MemoryNetwork) -> None:
    """dial() connects a peer whose bytes, right or wrong, reach the server as they are."""
    peer = network.dial()
    assert b'"v"' in peer.received
    peer.received.clear()
    peer.send_bytewise(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert bytes(peer.received) == json(b'{"result": "ok"}')
    peer.received.clear()
    peer.send(W15.pack(200, b"hi", 5, 0) + b"hi")
    assert bytes(peer.received) == W15.pack(200, b"hi", 5, 0) + b"hi"
    assert not peer.closed
    peer.send(b"VX" + b"\xff" * 13)
    assert peer.closed


def test_a_scripted_client_hangs_up(network: MemoryNetwork) -> None:
    """hang_up() closes from the peer's side."""
    gone: list[Any] = []
    server = Server(types=TYPES)
    server.set_callback("on_disconnect", lambda client: gone.append(client.closed))
    network.serve(server)
    peer = network.dial()
    peer.send(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert len(server.clients) == 1
    peer.hang_up()
    assert isinstance(gone[0], SessionClosed)
    assert server.clients == []


def test_a_scripted_server_answers_a_client() -> None:
    """answer() gives a client a server that says only what the test makes it say."""
    network = MemoryNetwork()
    client = Client(types=TYPES)
    peer, connecting = network.answer(client)
    assert bytes(peer.received) == b""
    peer.send(json(b'{"v": "3.3.0", "pv": "1.0", "meta": {}}'))
    assert b'"pv": "1.0"' in peer.received
    peer.send(json(b'{"result": "ok"}'))
    assert network.result(connecting) is client.session
    peer, connecting = network.answer(Client(types=TYPES, wire="3.3.0", retry=RetryPolicy()))
    peer.send(json(b'{"v": "4.0.0", "pv": "2.0"}'))
    with pytest.raises(VersionRefused):
        network.result(connecting)


def test_late_bytes_come_at_their_time(network: MemoryNetwork) -> None:
    """A scripted peer may take its time: nothing is delivered before it is said."""
    network.serve(Server(types=TYPES, wire="1.6.3", handshake_timeout=2))
    peer = network.dial()
    hello = W22.unpack(peer.received)
    ack = W22.pack(11, ACK[22:], hello.request_id, 0) + ACK[22:]
    peer.send(ack[:10])
    network.advance(1.9)
    peer.send(ack[10:])
    network.advance(10)
    assert not peer.closed
    silent = network.dial()
    network.advance(2)
    assert silent.closed


# Routes in threads.


def in_thread(network: MemoryNetwork, handler: Callable[..., object]) -> Client:
    """Return a client that is connected to a server with a handler in a thread; it answers NEWS in capitals, and OTHER never."""
    server = Server(types=TYPES)
    server.register_route(CHAT, handler, thread=True)
    network.serve(server)
    client = Client(types=TYPES)
    client.route(NEWS)(lambda message: message.content.upper())
    client.route(OTHER)(lambda message: None)
    network.connect(client)
    return client


def test_the_clock_stands_in_for_a_reactor_with_threads() -> None:
    """The network's clock provides what a reactor with threads does."""
    assert verifyObject(IReactorThreads, MemoryNetwork().clock)


def test_a_handler_in_a_thread_blocks_and_is_waited_for() -> None:
    """A thread route runs in a thread, may block in requests of its own, and result() waits for its answer."""
    network, idents = MemoryNetwork(), []

    def handler(session: Any, message: Any) -> bytes:
        idents.append(get_ident())
        sleep(0.05)
        assert session.ping() == 0
        assert session.add_tag("busy")
        return session.send_and_wait(NEWS, message.content).content + session.send_and_wait(NEWS, b"!").content

    client = in_thread(network, handler)
    assert network.result(client.send_and_wait(CHAT, b"hello")).content == b"HELLO!"
    assert idents != [get_ident()]


def test_clients_have_threads_too() -> None:
    """A client's thread route blocks in the client's own requests, while the server handles them in a thread as well."""
    network = MemoryNetwork()
    server = Server(types=TYPES)

    @server.route(CHAT, thread=True, concurrent=True)  # else OTHER would wait behind it
    def on_chat(session: Any, message: Any) -> bytes:
        return session.send_and_wait(NEWS, message.content).content

    server.route(OTHER)(lambda session, message: b"from the server")
    network.serve(server)
    client = Client(types=TYPES)
    client.register_route(NEWS, lambda message: client.send_and_wait(OTHER).content, thread=True)
    network.connect(client)
    assert network.result(client.send_and_wait(CHAT, b"?")).content == b"from the server"


def test_what_a_thread_waits_for_comes_when_time_has_passed() -> None:
    """pump() leaves a thread that waits for a Deferred alone; advance() lets it go on at its time."""
    network, caught = MemoryNetwork(), []

    def handler(session: Any, message: Any) -> bytes:
        try:
            session.send_and_wait(OTHER, timeout=2)
        except RequestTimeout as error:
            caught.append((error, network.clock.seconds()))
        return b"it did not answer"

    client = in_thread(network, handler)
    waiting = client.send_and_wait(CHAT, b"?")
    network.advance(1.9)
    assert caught == []
    assert not waiting.called
    network.advance(0.2)
    assert network.result(waiting).content == b"it did not answer"
    assert [at for _, at in caught] == [2]


def test_errors_in_a_thread_are_those_of_any_handler(logged_failures: Any) -> None:
    """What a handler raises in its thread is logged; the next message is handled."""
    network = MemoryNetwork()
    client = in_thread(network, lambda session, message: b"%d" % (1 // int(message.content)))
    client.send(CHAT, b"0")
    network.pump()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert network.result(client.send_and_wait(CHAT, b"1")).content == b"1"


def test_a_handler_that_is_stuck_is_named() -> None:
    """A handler that neither ends nor calls anything fails the test by its name, after ``patience`` real seconds."""
    network, go_on = MemoryNetwork(), Event()

    def sits_there(session: Any, message: Any) -> bytes:
        go_on.wait(10)
        return b"done"

    client = in_thread(network, sits_there)
    network.clock.patience = 0.05
    waiting = client.send_and_wait(CHAT, b"")
    with pytest.raises(AssertionError, match=r"sits_there blocks for more than 0\.05 s \(clock\.patience\)"):
        network.pump()
    go_on.set()
    assert network.result(waiting).content == b"done"


def test_patience_is_from_one_call_to_the_next() -> None:
    """A handler that takes long but calls something now and then is waited for."""
    network = MemoryNetwork()
    network.clock.patience = 0.3

    def steady(session: Any, message: Any) -> bytes:
        for number in range(5):
            sleep(0.1)
            session.add_tag(str(number))
        return b"done"

    assert network.result(in_thread(network, steady).send_and_wait(CHAT, b"")).content == b"done"


def test_what_the_test_has_called_from_a_thread_is_called() -> None:
    """What goes to callFromThread, from a thread or not, is called by pump(), Deferreds or not."""
    network, called = MemoryNetwork(), []
    network.clock.callFromThread(called.append, "from here")
    never: Deferred[None] = Deferred()
    network.clock.callFromThread(lambda: never)
    network.clock.callInThread(network.clock.callFromThread, called.append, "from a thread")
    network.pump()
    assert called == ["from here", "from a thread"]
    never.callback(None)
    network.pump()


def test_a_stopped_server_lets_its_threads_go(logged_failures: Any) -> None:
    """A handler that waits for an answer gets SessionClosed when the server has stopped; its thread ends."""
    network, threads = MemoryNetwork(), []

    def handler(session: Any, message: Any) -> None:
        threads.append(current_thread())
        session.send_and_wait(OTHER, timeout=1000)

    client = in_thread(network, handler)
    client.send(CHAT)
    network.pump()
    assert threads[0].is_alive()
    network.result(client.disconnect())
    threads[0].join(5)
    assert not threads[0].is_alive()
    assert logged_failures.flush() == []  # that its peer has left is no failure of the handler's


# The end of a network.

SHARED = Server(port=8080, types=TYPES)
"""A server of a module's own, as users have one."""

HEARD: list[object] = []
SHARED.route(CHAT)(lambda client, message: message.content)
SHARED.route(OTHER)(lambda client, message: Deferred(HEARD.append))
SHARED.set_callback("on_disconnect", HEARD.append)


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_server_of_a_module_is_served_in_one_test_after_another(time: str) -> None:
    """The end of a with block gives a server back as it was, so that the next test, or a real port, can have it."""
    with MemoryNetwork() as network:
        network.serve(SHARED)
        client = Client("127.0.0.1", 1, types=TYPES)
        network.connect(client)
        assert network.result(client.send_and_wait(CHAT, time.encode())).content == time.encode()
    assert (SHARED.running, SHARED.clients, SHARED.config.endpoints, SHARED.port) == (False, [], (), 8080)
    assert (client.is_connected, client.config.endpoint, client.config.port) == (False, None, 1)
    assert network.clock not in (SHARED.reactor, client.reactor)
    assert len(HEARD) == 1
    HEARD.clear()


def test_a_server_that_is_still_served_says_what_to_do() -> None:
    """A server that a network before did not give back is refused, with the remedy; stop() is the other one."""
    network = MemoryNetwork()
    network.serve(SHARED)
    with pytest.raises(SettingsError, match=r"server is <.*>: it must be stopped first: by stop\(\) of the MemoryNetwork that"):
        MemoryNetwork().serve(SHARED)
    network.stop()
    with MemoryNetwork() as other:
        other.serve(SHARED)


def test_a_test_that_fails_gives_back_what_it_had() -> None:
    """An error inside the with block is raised, and the server is free."""

    def test() -> None:
        with MemoryNetwork() as network:
            network.serve(SHARED)
            network.connect(Client(types=TYPES))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()
    assert not SHARED.running


def test_what_is_not_done_is_cut_off_in_no_time(logged_failures: Any) -> None:
    """stop() takes no real time for handlers that never end, retries and peers that say nothing; nothing goes on afterwards."""
    network = MemoryNetwork()
    network.serve(SHARED)
    client, late = Client(types=TYPES), Client(types=TYPES, retry=RetryPolicy())
    network.connect(client)
    waiting = client.send_and_wait(OTHER, timeout=1000)
    stranger = network.dial()
    server_of_a_test, connecting = network.answer(late)
    started = monotonic()
    network.stop()
    assert monotonic() - started < 5
    assert (stranger.closed, server_of_a_test.closed, client.is_connected, SHARED.clients) == (True, True, False, [])
    for failed in (waiting, connecting):
        with pytest.raises(SessionClosed):
            network.result(failed)
    network.stop()
    network.serve(SHARED)
    network.connect(client)
    network.stop()
    HEARD.clear()


def test_threads_end_with_the_network() -> None:
    """A handler in a thread that waits for its peer is let go."""
    threads = []

    def handler(session: Any, message: Any) -> None:
        threads.append(current_thread())
        session.send_and_wait(OTHER, timeout=1000)

    with MemoryNetwork() as network:
        in_thread(network, handler).send(CHAT)
        network.pump()
        assert threads[0].is_alive()
    threads[0].join(5)
    assert not threads[0].is_alive()
