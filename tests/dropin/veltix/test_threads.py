"""Threads: use from many at once, and where and in what order callbacks run."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from tests.support.dropin.loopback import Ends, both_wires, new_type, until
from veltix_tx.dropin.veltix import Client, Request, Response, Server, reactor
from veltix_tx.dropin.veltix.callbacks import Strand, ThreadPool
from veltix_tx.dropin.veltix.reactor import reactor_thread


def answering(server: Server, kind: Any) -> None:
    """Let a server answer with what it gets."""

    def answer(response: Response, info: Any) -> None:
        server.get_sender().send(Request(kind, response.content, response.request_id), info.conn)

    server.route(kind)(answer)


@both_wires
def test_many_threads_ask_at_once(ends: Ends) -> None:
    """8 threads ask 500 times each on one client: each gets its own answers, all of them."""
    server, client = ends.pair()
    kind = new_type()
    answering(server, kind)

    def ask(thread: int) -> int:
        good = 0
        for number in range(500):
            content = b"%d/%d" % (thread, number)
            reply = client.send_and_wait(Request(kind, content), timeout=30)
            good += reply is not None and reply.content == content
        return good

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [500] * 8


def test_server_asks_many_clients_from_many_threads(ends: Ends) -> None:
    """The answers of several clients are not mixed up."""
    server, kind = ends.server(), new_type()
    for number in range(4):
        client = ends.client(server, connect=False)

        @client.route(kind)
        def answer(response: Response, client: Client = client, number: int = number) -> None:
            client.get_sender().send(Request(kind, b"%d:" % number + response.content, response.request_id))

        client.connect()
    infos = until(lambda: len(server.clients) == 4 and server.clients)

    def ask(which: int) -> set[bytes]:
        prefixes = set()
        for number in range(100):
            reply = server.send_and_wait(Request(kind, b"%d" % number), infos[which % 4], timeout=30)
            assert reply is not None
            prefix, _, content = reply.content.partition(b":")
            assert content == b"%d" % number
            prefixes.add(prefix)
        return prefixes

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(ask, range(8)))
    assert results == [{b"%d" % (which % 4)} for which in range(8)]


@both_wires
def test_many_threads_send_at_once(ends: Ends) -> None:
    """Nothing is lost, nothing torn, and each thread's messages arrive in the order it sent them; big ones, too."""
    server, client = ends.pair()
    kind, seen = new_type(), defaultdict(list)  # type: ignore[var-annotated]

    def received(_: object, response: Response) -> None:
        thread, number, rest = response.content.split(b"/", 2)
        assert rest == bytes(len(rest))
        seen[int(thread)].append(int(number))

    server.set_callback("on_recv", received)
    sender = client.get_sender()

    def send(thread: int) -> None:
        for number in range(300):
            size = 200_000 if number % 100 == 0 else 100
            assert sender.send(Request(kind, b"%d/%d/" % (thread, number) + bytes(size)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(8)))
    until(lambda: sum(map(len, seen.values())) == 8 * 300, 20)
    assert all(seen[thread] == list(range(300)) for thread in range(8))


def test_many_threads_send_to_one_client(ends: Ends) -> None:
    """Three threads that send 600 KB messages to one client do not cut into each other, as upstream's do."""
    server, client = ends.pair()
    kind, seen = new_type(), []  # type: ignore[var-annotated]
    client.set_callback("on_recv", lambda response: seen.append(response.content))
    conn, sender = server.clients[0].conn, server.get_sender()

    def send(thread: int) -> None:
        for _ in range(10):
            assert sender.send(Request(kind, bytes([thread]) * 600_000), conn)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(send, range(3)))
    until(lambda: len(seen) == 30, 20)
    assert sorted(content[0] for content in seen) == sorted(list(range(3)) * 10)
    assert all(content == content[:1] * 600_000 for content in seen)


def test_order_of_one_thread(ends: Ends) -> None:
    """send(), send_and_wait() and send() of one thread arrive in that order, and are handled in it."""
    server, client = ends.pair()
    kind, ask, seen = new_type(), new_type(), []  # type: ignore[var-annotated]

    @server.route(ask)
    def answer(response: Response, info: Any) -> None:
        seen.append(response.content)
        server.get_sender().send(Request(ask, b"", response.request_id), info.conn)

    server.set_callback("on_recv", lambda _, response: seen.append(response.content))
    wanted = []
    for number in range(100):
        wanted += [b"a%d" % number, b"b%d" % number, b"c%d" % number]
        client.get_sender().send(Request(kind, wanted[-3]))
        assert client.send_and_wait(Request(ask, wanted[-2])) is not None
        client.get_sender().send(Request(kind, wanted[-1]))
    until(lambda: len(seen) == 300)
    assert seen == wanted


def test_callbacks_never_run_in_the_reactors_thread(ends: Ends) -> None:
    """No callback runs in the reactor's thread, or in the one that made the call."""
    server, threads, kind = ends.server(), {}, new_type()  # type: ignore[var-annotated]

    def note(name: str) -> Any:
        return lambda *_: threads.setdefault(name, threading.get_ident())

    client = ends.client(server, connect=False)
    for side, each in (("server", server), ("client", client)):
        for event in ("on_connect", "on_disconnect", "on_recv"):
            each.set_callback(event, note(f"{side} {event}"))  # type: ignore[attr-defined]
    client.connect()
    client.get_sender().send(Request(kind, b""))
    until(lambda: server.clients)
    server.get_sender().broadcast(Request(kind, b""), server.get_all_clients_sockets())
    until(lambda: len(threads) == 4)
    client.disconnect()
    until(lambda: len(threads) == 6)
    reactor = reactor_thread().call(threading.get_ident)
    assert not {reactor, threading.get_ident()} & set(threads.values())


def test_one_connections_callbacks_run_in_order(ends: Ends) -> None:
    """``on_connect``, every message, ``on_disconnect``: one after another, in their order, never two at once."""
    server, kind, seen, inside = ends.server(), new_type(), [], []  # type: ignore[var-annotated]
    other = new_type()

    def note(what: object) -> None:
        inside.append(1)
        assert len(inside) == 1
        if len(seen) % 50 == 0:
            time.sleep(0.001)
        seen.append(what)
        inside.pop()

    server.set_callback("on_connect", lambda info: (time.sleep(0.02), note("connect")))
    server.set_callback("on_recv", lambda info, response: note(int(response.content)))
    server.route(other)(lambda response, info: note(int(response.content)))
    server.set_callback("on_disconnect", lambda info: note("disconnect"))
    client = ends.client(server)
    for number in range(1000):
        client.get_sender().send(Request(other if number % 3 else kind, b"%d" % number))
    client.disconnect()
    until(lambda: "disconnect" in seen)
    assert seen == ["connect", *range(1000), "disconnect"]


def test_workers(ends: Ends) -> None:
    """``max_workers`` clients' callbacks run at once, and no more."""
    server, kind = ends.server(max_workers=3), new_type()
    running, most, done = set(), [], []  # type: ignore[var-annotated]
    go = threading.Event()

    def work(info: Any, _: object) -> None:
        running.add(info)
        most.append(len(running))
        go.wait(10)
        running.discard(info)
        done.append(info)

    server.set_callback("on_recv", work)
    clients = [ends.client(server) for _ in range(6)]
    for client in clients:
        client.get_sender().send(Request(kind, b""))
    until(lambda: len(running) == 3)
    assert [client.ping_server() is not None for client in clients] == [True] * 6
    assert len(running) == 3
    go.set()
    until(lambda: len(done) == 6)
    assert max(most) == 3


def test_a_slow_handler_blocks_nobody_else(ends: Ends) -> None:
    """While one client's handler blocks, others' messages are handled, and the same one's pings answered."""
    server, slow, fast, seen = ends.server(), new_type(), new_type(), []  # type: ignore[var-annotated]
    server.route(slow)(lambda *_: ends.release.wait(20))
    answering(server, fast)
    server.set_callback("on_recv", lambda *_: seen.append(1))
    blocked, other = ends.client(server), ends.client(server)
    blocked.get_sender().send(Request(slow, b""))
    for _ in range(20):
        assert other.send_and_wait(Request(fast, b""), timeout=2) is not None
    assert blocked.ping_server(timeout=2) is not None
    assert blocked.send_and_wait(Request(fast, b""), timeout=0.05) is None


def test_threads_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are made when there is work and end when there is none, and others come with the next."""
    from veltix_tx.dropin.veltix import callbacks

    monkeypatch.setattr(callbacks, "_LINGER", 0.05)
    crew, seen = ThreadPool(4), []  # type: ignore[var-annotated]
    before = threading.active_count()
    for _ in range(2):
        for number in range(100):
            crew.submit(lambda number=number: seen.append(number))  # type: ignore[misc]
        until(lambda: len(seen) == 100)
        until(lambda: threading.active_count() <= before)
        seen.clear()


def client_queue(client: Any) -> int:
    """Bytes that wait in a client's session."""
    return int(client.socket.session.write_buffer_size)


def test_a_fast_sender_and_a_slow_handler(ends: Ends) -> None:
    """What waits for a slow handler is bounded at both ends, the sender's thread waits, and nothing is lost."""
    server, client = ends.pair()
    kind, seen, most = new_type(), [], []  # type: ignore[var-annotated]
    go = threading.Event()

    def received(_: object, response: Response) -> None:
        go.wait(20)
        seen.append(int(response.content[:8]))

    server.set_callback("on_recv", received)
    sender = client.get_sender()
    told: list[bool] = []

    def work() -> None:
        told.extend(sender.send(Request(kind, b"%08d" % number + bytes(1000))) for number in range(30_000))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: client_queue(client) > 1024 * 1024)
    ((_, strand),) = server._clients.values()
    session = server.clients[0].conn.session
    assert session is not None
    for _ in range(50):
        assert client.is_connected
        most.append(len(strand._calls) + len(session._dispatcher._inbox))
        time.sleep(0.005)
        assert client_queue(client) < 4 * 1024 * 1024
    assert 1000 < max(most) < 5000
    assert thread.is_alive()
    go.set()
    thread.join(30)
    assert told == [True] * 30_000
    until(lambda: len(seen) == 30_000, 30)
    assert seen == list(range(30_000))


def test_a_strand_makes_room() -> None:
    """A strand asks to wait when many calls wait, once, and fires when few are left."""
    thread = reactor_thread()
    strand, go, seen = Strand(ThreadPool(1), thread.reactor), threading.Event(), []  # type: ignore[var-annotated]
    strand.put(go.wait, 10)
    rooms = [strand.put(seen.append, number) for number in range(1100)]
    waiting = [room for room in rooms if room is not None]
    assert 50 < len(waiting) < 150
    assert all(room is waiting[0] for room in waiting)
    fired: list[int] = []
    waiting[0].addCallback(lambda _: fired.append(len(seen)))
    go.set()
    until(lambda: fired and len(seen) == 1100)
    assert strand.wait(5) is True
    assert seen == list(range(1100))


def test_a_call_that_is_put_at_a_strands_end() -> None:
    """It is not lost where it comes after the last look for more, nor called twice where it comes before."""

    class Calls(deque[Any]):
        """At the look for more another thread puts a call, just before or just after it."""

        def __init__(self, before: bool) -> None:
            self.before: bool | None = before

        def __bool__(self) -> bool:
            before, self.before = self.before, None
            if before:
                strand.put(seen.append, "late")
            found = len(self) > 0
            if before is False:
                strand.put(seen.append, "late")
            return found

    for before in (True, False):
        seen: list[str] = []
        jobs: deque[Callable[[], object]] = deque()
        strand = Strand(SimpleNamespace(submit=jobs.append), None)  # type: ignore[arg-type]
        strand._calls = Calls(before)
        strand.put(seen.append, "first")
        while jobs:
            jobs.popleft()()
        assert seen == ["first", "late"]


def test_a_cleared_strand_lets_go() -> None:
    """What has been forgotten is not called, and who waits for room goes on."""
    thread = reactor_thread()
    strand, go, seen = Strand(ThreadPool(1), thread.reactor), threading.Event(), []  # type: ignore[var-annotated]
    begun = threading.Event()
    strand.put(lambda: (begun.set(), go.wait(10)))
    assert begun.wait(5)
    (room,) = {id(room): room for room in (strand.put(seen.append, 1) for _ in range(1100)) if room is not None}.values()
    fired: list[None] = []
    assert isinstance(room, Deferred)
    room.addCallback(fired.append)
    strand.clear()
    until(lambda: fired)
    assert strand.wait(0.01) is False
    go.set()
    assert strand.wait(5) is True
    assert not seen


def test_calls_that_come_all_the_time() -> None:
    """What is posted while posted calls run waits for the next turn: the reactor is not kept from its work."""
    thread, stop, done = reactor_thread(), threading.Event(), []  # type: ignore[var-annotated]

    def again() -> None:
        if not stop.is_set():
            thread.post(again)

    thread.post(again)
    try:
        threading.Thread(target=lambda: done.append(thread.call(lambda: "done")), daemon=True).start()
        until(lambda: done, 3)
    finally:
        stop.set()


def test_a_call_comes_after_what_was_posted() -> None:
    """So it is even where another thread has still to wake the reactor for what was posted."""
    thread, seen = reactor_thread(), []  # type: ignore[var-annotated]
    thread._woken = True  # as that other thread leaves it
    thread.post(lambda: seen.append("posted"))
    thread.call(seen.append, "called")
    assert seen == ["posted", "called"]


def test_a_posted_call_that_fails(logged_failures: Any) -> None:
    """It is logged, and is neither in the way of those posted after it nor of who calls."""
    thread, seen = reactor_thread(), []  # type: ignore[var-annotated]

    def post() -> None:  # in the reactor's thread, so that all three are posted before one is called
        thread.post(lambda: 1 / 0)
        thread.post(lambda: seen.append("posted"))

    thread.reactor.callFromThread(post)
    until(lambda: seen)
    thread.post(lambda: 1 / 0)
    assert thread.call(lambda: "called") == "called"
    assert len(logged_failures.flush(ZeroDivisionError)) == 2


def test_a_reactor_that_is_slow_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, however busy the machine is."""

    class Slow(SelectReactor):
        def run(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.8)
            super().run(*args, **kwargs)

    monkeypatch.setattr(reactor, "_make_reactor", Slow)
    thread = reactor.ReactorThread()
    assert thread.call(lambda: "runs") == "runs"
    thread.stop()
    for reader in list(thread.reactor._internalReaders):
        reader.connectionLost(None)


def test_senders_leave_the_reactor_time(ends: Ends) -> None:
    """While threads send without a pause, pings are answered and other clients served."""
    server, client = ends.pair()
    other, kind, ask = ends.client(server), new_type(), new_type()
    answering(server, ask)
    server.set_callback("on_recv", lambda *_: None)
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            client.get_sender().send(Request(kind, b"more"))

    threads = [threading.Thread(target=send, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert other.ping_server(timeout=3) is not None
        assert other.send_and_wait(Request(ask, b""), timeout=3) is not None
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_connects_from_many_threads(ends: Ends) -> None:
    """Clients connect, ask and disconnect in many threads at once."""
    server, kind = ends.server(), new_type()
    answering(server, kind)

    def run(number: int) -> bool:
        client = ends.client(server)
        reply = client.send_and_wait(Request(kind, b"%d" % number))
        client.disconnect()
        return reply is not None and reply.content == b"%d" % number and not client.is_connected

    with ThreadPoolExecutor(10) as threads:
        assert all(threads.map(run, range(50)))
    until(lambda: not server.clients)


def test_one_client_connected_from_many_threads(ends: Ends) -> None:
    """connect() in several threads at once makes one connection."""
    server = ends.server()
    client = ends.client(server, connect=False)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: client.connect(), range(8))) == [True] * 8
    assert len(until(lambda: server.clients)) == 1


def test_one_server_started_from_many_threads(ends: Ends) -> None:
    """start() and close_all() in several threads at once start and close it once."""
    server = ends.server(start=False)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: server.start(), range(8))) == [None] * 8
        assert ends.client(server).is_connected
        assert list(threads.map(lambda _: server.close_all(), range(8))) == [None] * 8
    assert server.clients == []


def test_broadcasts_while_clients_come_and_go(ends: Ends) -> None:
    """Broadcasting all the time keeps nobody from joining, as it does upstream, and never fails."""
    server, kind, stop, results = ends.server(), new_type(), threading.Event(), set()  # type: ignore[var-annotated]

    def shout() -> None:
        while not stop.is_set():
            results.add(server.get_sender().broadcast(Request(kind, b"x" * 100), server.get_all_clients_sockets()))

    thread = threading.Thread(target=shout, daemon=True)
    thread.start()
    try:
        for _ in range(30):
            client = ends.client(server)
            got = threading.Event()
            client.set_callback("on_recv", lambda _, got=got: got.set())
            assert got.wait(5)
            client.disconnect()
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert True in results


def test_close_all_inside_a_callback(ends: Ends) -> None:
    """A callback may close its own server, even with one worker."""
    server, client = ends.pair(max_workers=1)
    closed = threading.Event()

    def close(*_: object) -> None:
        server.close_all()
        closed.set()

    server.set_callback("on_recv", close)
    client.get_sender().send(Request(new_type(), b""))
    assert closed.wait(4)
    until(lambda: not client.is_connected)


def test_disconnect_inside_callbacks(ends: Ends) -> None:
    """A client may disconnect in each of its callbacks."""
    server, kind = ends.server(), new_type()
    server.set_callback("on_connect", lambda info: server.get_sender().send(Request(kind, b""), info.conn))
    for event in ("on_connect", "on_recv"):
        client, ended = ends.client(server, connect=False), threading.Event()
        client.set_callback("on_disconnect", lambda _, ended=ended: ended.set())
        client.set_callback(event, lambda *_, client=client: client.disconnect())
        started = time.monotonic()
        client.connect()
        assert ended.wait(4)
        assert time.monotonic() - started < 3
        assert not client.is_connected


def test_callbacks_in_one_thread_leave_no_context_variables() -> None:
    """What a callback sets with a ContextVar is not seen by another connection's, which has the same thread after it."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    crew, seen, done = ThreadPool(1), [], threading.Event()
    crew.submit(lambda: seen.append((threading.get_ident(), user.get(), user.set("first"))))
    crew.submit(lambda: (seen.append((threading.get_ident(), user.get(), None)), done.set()))
    assert done.wait(5)
    assert seen[0][0] == seen[1][0]
    assert [name for _, name, _ in seen] == ["nobody", "nobody"]
