"""Server, Client and MemoryNetwork on the plain wires: routes, the end of streams, replies in order, idle peers, settings."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from veltix_tx import (
    TEXT,
    Client,
    Delimited,
    DisconnectReason,
    EndOfStream,
    Fixed,
    Limits,
    Lines,
    MessageRegistry,
    MessageType,
    Prefixed,
    QueueFull,
    Raw,
    RequestTimeout,
    RetryPolicy,
    Server,
    SessionClosed,
    SettingsError,
    StreamEnded,
    Timeouts,
    TooManyRequests,
)
from veltix_tx.errors import EndlessMessage, LocalProtocolError
from veltix_tx.testing import MemoryNetwork, ScriptedPeer

IN_ORDER = Lines(replies="in-order")

WIRES = {
    "lines": Lines(),
    "lines of bytes": Lines(text=False),
    "fixed": Fixed(32),
    "prefixed": Prefixed(2),
    "delimited": Delimited(),
    "raw": Raw(),
    "eof": EndOfStream(),
}


def serving(network: MemoryNetwork, wire: Any = "lines", **settings: Any) -> Server:
    """Return a server of a network that echoes values."""
    server = Server(wire=wire, **settings)
    server.register_route(TEXT, lambda client, message: message.value)
    network.serve(server)
    return server


def sessions_end(server: Server) -> list[str]:
    """Return the reasons for which connections have ended."""
    return [
        name.removeprefix("closed_") for name, count in server.counters.items() if name.startswith("closed_") for _ in range(count)
    ]


# Routes, on every wire.


@pytest.mark.parametrize("name", WIRES)
def test_a_route_answers_with_a_value_of_the_wire(name: str) -> None:
    """A server's route and a client's callback get ``message.value``, text or bytes; what a route returns is the next message."""
    wire, said = WIRES[name], "h\u00e9" if WIRES[name].text else b"h\xe9"
    network, heard = MemoryNetwork(), list[object]()
    server, client = Server(wire=wire), Client(wire=wire)

    @server.route(TEXT)
    async def on_text(session: Any, message: Any) -> object:
        heard.append(message.value)
        return message.value + message.value

    client.set_callback("on_recv", lambda message: heard.append(message.value))
    network.serve(server)
    network.connect(client)
    client.send(TEXT, said)
    network.pump()
    assert heard == [said, said + said]  # type: ignore[operator]
    network.stop()


def test_the_listeners_type_picks_the_route() -> None:
    """A wire may name a type in place of TEXT, so that one route serves what comes on it and what comes on other wires."""
    types = MessageRegistry()
    order = MessageType(201, "order", registry=types)
    network = MemoryNetwork()
    server = Server(wire=Lines(type=order, text=False), types=types)
    server.register_route(order, lambda client, message: message.content + b"!")
    network.serve(server)
    peer = network.dial()
    peer.send(b"tea\n")
    assert peer.received == b"tea!\n"
    network.stop()


def test_a_line_may_be_a_value() -> None:
    """A wire whose type has content= and reply= carries these as JSON, a line each; what does not fit reaches no handler."""
    kind = MessageType(name="reading", registry=MessageRegistry(), content=dict[str, float], reply=str)
    network, heard = MemoryNetwork(), list[object]()
    server = Server(wire=Lines(type=kind))

    @server.route(kind)
    def on_reading(client: Any, message: Any) -> str:
        heard.append(message.value)
        return "ok"

    network.serve(server)
    peer = network.dial()
    peer.send(b'{"t": 20.5}\n{"t": "hot"}\n')
    assert heard == [{"t": 20.5}]
    assert peer.received == b'"ok"\n'
    assert server.counters["contents_invalid"] == 1
    client = Client(wire=Lines(type=kind, replies="in-order"))
    network.connect(client)
    assert network.result(client.send_and_wait(kind, {"t": 1.0})).value == "ok"
    network.stop()


def test_broadcasts_and_tags_are_as_on_any_wire() -> None:
    """A broadcast is encoded once, and reaches the sessions selected."""
    network = MemoryNetwork()
    server = serving(network)
    peers = [network.dial() for _ in range(3)]
    first, second, _ = server.clients
    first.add_tag("red")
    second.add_tag("red")
    assert server.broadcast(TEXT, "all") == 3
    assert server.broadcast(TEXT, "red", to=server.select(["red"]), exclude=[first]) == 1
    network.pump()
    assert [bytes(peer.received) for peer in peers] == [b"all\n", b"all\nred\n", b"all\n"]
    network.stop()


def test_a_stop_answers_what_has_arrived() -> None:
    """A stopping server handles the lines it has taken, answers them, and closes."""
    network = MemoryNetwork()
    server, waits = Server(wire="lines"), list[Deferred[str]]()

    @server.route(TEXT)
    async def on_text(client: Any, message: Any) -> str:
        waits.append(Deferred())
        return await waits[-1]

    network.serve(server)
    peer = network.dial()
    peer.send(b"one\ntwo\n")
    stopped = server.stopService()
    waits[0].callback("first")
    waits[1].callback("second")
    network.result(stopped)
    assert bytes(peer.received) == b"first\nsecond\n"
    assert peer.closed
    assert server.counters["cut_off"] == 0
    network.stop()


def test_lines_that_cannot_be_taken(log_events: list[Any]) -> None:
    """A line without end closes its peer, with one line of the log; one that is no text is counted, and more than 32 close."""
    network = MemoryNetwork()
    server = serving(network, Lines(max_line=100))
    endless, binary, other = (network.dial() for _ in range(3))
    endless.send(b"x" * 101)
    binary.send(b"\xff\n" * 32)
    assert (endless.closed, binary.closed) == (True, False)
    binary.send(b"\xff\n")
    assert binary.closed
    other.send(b"ok\n")
    assert other.received == b"ok\n"
    assert sessions_end(server) == ["protocol_error"] * 2
    assert server.counters["frames_refused"] == 33
    errors = [event["error"] for event in log_events if "error" in event]
    assert [type(error) for error in errors][:1] == [EndlessMessage]
    assert len(errors) == 2
    network.stop()


def test_a_half_line_has_a_deadline() -> None:
    """A line that has begun must end within ``timeouts.frame``: whoever sends a byte now and then keeps no connection."""
    network = MemoryNetwork()
    server = serving(network, timeouts=Timeouts(frame=10))
    peer = network.dial()
    for _ in range(6):
        peer.send(b"x")
        network.advance(2)
    assert peer.closed
    assert server.counters["frames_timed_out"] == 1
    network.stop()


def test_empty_lines_that_wait_count_as_memory() -> None:
    """An empty line is a byte to send, and more to keep: those that wait for a busy handler are charged, and the most is closed."""
    network = MemoryNetwork()
    server = Server(wire="lines", limits=Limits(receive_buffers=100_000))
    server.register_route(TEXT, lambda client, message: Deferred())
    network.serve(server)
    greedy, modest = network.dial(), network.dial()
    modest.send(b"\n" * 10)
    greedy.send(b"\n" * 2000)
    assert (greedy.closed, modest.closed) == (True, False)
    assert sessions_end(server) == ["overload"]
    network.stop()


# The end of a stream.


def test_a_peer_that_ends_its_stream_is_still_answered() -> None:
    """What came before the end is handled and answered, however long that takes; then the connection is closed, once."""
    network, ended = MemoryNetwork(), list[Any]()
    server, waits = Server(wire="lines"), list[Deferred[str]]()

    @server.route(TEXT)
    async def on_text(client: Any, message: Any) -> str:
        waits.append(Deferred())
        return await waits[-1]

    server.set_callback("on_disconnect", lambda client: ended.append(client.closed.reason))
    network.serve(server)
    peer = network.dial(stays=True)
    peer.send(b"one\ntwo\nhalf")
    peer.end_stream()
    network.advance(5)
    assert (peer.stream_ended, ended, len(server.clients)) == (False, [], 1)
    waits[0].callback("first")
    network.advance(5)
    waits[1].callback("second")
    network.pump()
    assert bytes(peer.received) == b"first\nsecond\n"
    assert peer.stream_ended
    assert ended == [DisconnectReason.PEER_CLOSED]
    assert len(waits) == 2
    network.stop()


def test_a_peer_that_hangs_up_idle_is_gone_at_once() -> None:
    """Nothing to finish, nothing to wait for."""
    network, ended = MemoryNetwork(), list[Any]()
    server = serving(network)
    server.set_callback("on_disconnect", lambda client: ended.append(client.closed.reason))
    network.dial().hang_up()
    assert ended == [DisconnectReason.PEER_CLOSED]
    network.stop()


def test_a_handler_that_asks_its_peer_after_the_end_of_its_stream_fails_at_once() -> None:
    """No reply can come any more: a request fails with SessionClosed, whether it was sent before the end or after it."""
    network, failed = MemoryNetwork(), list[Any]()
    server = Server(wire=IN_ORDER)

    @server.route(TEXT)
    async def on_text(client: Any, message: Any) -> str:
        for reply in (client.send_and_wait(TEXT, "really?", timeout=100), client.send_and_wait(TEXT, "and then?")):
            await reply.addErrback(lambda failure: failed.append(failure.value.reason))
        await client.send_and_wait(TEXT, "late", timeout=100).addErrback(lambda failure: failed.append(failure.value.reason))
        return "no"

    network.serve(server)
    peer = network.dial(stays=True)
    peer.send(b"one\n")
    peer.end_stream()
    assert failed == [DisconnectReason.PEER_CLOSED] * 3
    assert peer.received == b"really?\nno\n"
    assert peer.stream_ended
    network.stop()


# One message in each direction.


def test_one_exchange_and_both_are_done() -> None:
    """A client's message ends its stream, the answer ends the server's; the client is done, not lost, and does not try again."""
    network, states, heard = MemoryNetwork(), list[Any](), list[object]()
    server, client = serving(network, "eof"), Client(wire="eof", retry=RetryPolicy())
    client.set_callback("on_recv", lambda message: heard.append(message.value))
    client.set_callback("on_disconnect", states.append)
    network.connect(client)
    client.send(TEXT, "one\ntwo")
    network.advance(60)
    assert heard == ["one\ntwo"]
    assert sessions_end(server) == ["completed"]
    assert [(state.permanent, state.reason) for state in states] == [(True, DisconnectReason.COMPLETED)]
    assert not client.is_connected
    network.connect(client)
    assert network.result(client.send_and_wait(TEXT, "again")).value == "again"
    network.stop()


def test_the_one_reply_can_be_waited_for() -> None:
    """``send_and_wait`` needs no option where there is one message to come; a second request cannot be sent."""
    network = MemoryNetwork()
    serving(network, "eof")
    client = Client(wire="eof")
    network.connect(client)
    first, second = client.send_and_wait(TEXT, "one"), client.send_and_wait(TEXT, "two")
    assert network.result(first).value == "one"
    with pytest.raises((StreamEnded, SessionClosed)):
        network.result(second)
    network.stop()


def test_the_reply_may_take_its_time() -> None:
    """A client that has ended its stream waits for the answer as long as on any wire: nothing takes that for a close."""
    network, answer = MemoryNetwork(), Deferred[str]()
    server, client = Server(wire="eof"), Client(wire="eof")
    server.register_route(TEXT, lambda session, message: answer)
    network.serve(server)
    network.connect(client)
    reply = client.send_and_wait(TEXT, "one", timeout=60)
    network.advance(25)
    answer.callback("slow")
    assert network.result(reply).value == "slow"
    assert sessions_end(server) == ["completed"]
    network.stop()


def test_a_second_message_is_refused() -> None:
    """send() raises StreamEnded behind the one message; a broadcast passes such sessions over."""
    network = MemoryNetwork()
    server = Server(wire="eof")
    network.serve(server)
    peers = [network.dial(stays=True) for _ in range(2)]
    first, _ = server.clients
    first.send(TEXT, "one")
    with pytest.raises(StreamEnded):
        first.send(TEXT, "two")
    assert server.broadcast(TEXT, "news") == 1
    network.pump()
    assert [bytes(peer.received) for peer in peers] == [b"one", b"news"]
    assert [peer.stream_ended for peer in peers] == [True, True]
    network.stop()


def test_a_server_may_speak_first() -> None:
    """A server that ends its stream behind a greeting still hears the message of its client."""
    network, heard = MemoryNetwork(), list[object]()
    server = Server(wire="eof")
    server.set_callback("on_connect", lambda session: session.send(TEXT, "welcome") and None)
    server.register_route(TEXT, lambda session, message: heard.append(message.value))
    network.serve(server)
    peer = network.dial(stays=True)
    assert (bytes(peer.received), peer.stream_ended, peer.closed) == (b"welcome", True, False)
    peer.send(b"thanks")
    peer.end_stream()
    assert heard == ["thanks"]
    assert sessions_end(server) == ["completed"]
    network.stop()


def test_a_peer_without_a_message_is_no_exchange() -> None:
    """A connection that ends without a byte, as that of a health check, is no message, and was closed by its peer."""
    network = MemoryNetwork()
    server = serving(network, "eof")
    network.dial().hang_up()
    assert sessions_end(server) == ["peer_closed"]
    assert server.counters["unhandled"] == 0
    network.stop()


def test_a_message_without_an_end_has_a_deadline() -> None:
    """A stream that has begun and does not end is closed after ``timeouts.frame``."""
    network = MemoryNetwork()
    server = serving(network, "eof")
    peer = network.dial()
    peer.send(b"one")
    network.advance(40)
    assert peer.closed
    assert server.counters["frames_timed_out"] == 1
    network.stop()


def test_much_is_written_before_the_end_of_the_stream() -> None:
    """The end follows what waits for a slow peer, and does not cut it off."""
    network = MemoryNetwork()
    server = Server(wire="eof")
    server.register_route(TEXT, lambda session, message: "x" * 3_000_000)
    network.serve(server)
    peer = network.dial(stays=True)
    (session,) = server.clients
    session._flow.pauseProducing()
    peer.send(b"much")
    peer.end_stream()
    assert (len(peer.received), peer.stream_ended) == (0, False)
    session._flow.resumeProducing()
    network.pump()
    assert (len(peer.received), peer.stream_ended) == (3_000_000, True)
    network.stop()


def test_a_peer_that_does_not_read_the_one_message_is_given_up() -> None:
    """The end of the stream waits for it no longer than ``timeouts.write``, as any message does."""
    network = MemoryNetwork()
    server, client = serving(network, "eof"), Client(wire="eof", timeouts=Timeouts(write=10))
    session = network.connect(client)
    session._flow.pauseProducing()
    client.send(TEXT, "x" * 3_000_000)
    network.advance(11)
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.WRITE_TIMEOUT
    assert server.counters["unhandled"] == 0
    network.stop()


# Replies in order.


def devices(network: MemoryNetwork, **settings: Any) -> tuple[ScriptedPeer, Client]:
    """Return a scripted server, and a client that asks it."""
    client = Client(wire=IN_ORDER, **settings)
    peer, connecting = network.answer(client)
    network.result(connecting)
    return peer, client


def test_one_request_is_on_the_wire_and_the_others_wait() -> None:
    """The next message is the reply to the request on the wire; the next request is sent then, in the order of the calls."""
    network = MemoryNetwork()
    peer, client = devices(network)
    replies = [client.send_and_wait(TEXT, text) for text in ("one", "two", "three")]
    network.pump()
    assert peer.received == b"one\n"
    assert client.session is not None
    assert client.session.pending_requests == 3
    peer.send(b"ONE\n")
    assert network.result(replies[0]).value == "ONE"
    assert peer.received == b"one\ntwo\n"
    peer.send(b"TWO\nunasked\n")
    assert peer.received == b"one\ntwo\nthree\n"
    assert [network.result(reply).value for reply in replies[1:]] == ["TWO", "unasked"]
    network.stop()


def test_what_was_not_asked_for_is_a_message() -> None:
    """While no request waits, a message goes to its route."""
    network, heard = MemoryNetwork(), list[object]()
    peer, client = devices(network)
    client.register_route(TEXT, lambda message: heard.append(message.value))
    peer.send(b"news\n")
    reply = client.send_and_wait(TEXT, "one")
    network.pump()
    peer.send(b"ONE\n")
    peer.send(b"more\n")
    assert network.result(reply).value == "ONE"
    assert heard == ["news", "more"]
    network.stop()


@pytest.mark.parametrize("how", ["late", "cancelled"])
def test_a_request_that_is_given_up_closes_the_connection(how: str) -> None:
    """Its late reply could not be told from the next one: those that wait fail with the reason, and nothing more is heard."""
    network, heard = MemoryNetwork(), list[object]()
    peer, client = devices(network)
    client.set_callback("on_recv", lambda message: heard.append(message.value))
    session = client.session
    assert session is not None
    first, second = client.send_and_wait(TEXT, "one", timeout=3), client.send_and_wait(TEXT, "two", timeout=30)
    if how == "late":
        network.advance(3)
    else:
        first.cancel()
    with pytest.raises(RequestTimeout if how == "late" else CancelledError):
        network.result(first)
    with pytest.raises(SessionClosed) as caught:
        network.result(second)
    assert caught.value.reason is DisconnectReason.UNANSWERED
    assert session.closed is not None
    assert session.closed.reason is DisconnectReason.UNANSWERED
    assert peer.received == b"one\n"
    assert peer.closed
    assert heard == []
    network.stop()


def test_a_request_that_is_given_up_before_its_turn_is_never_sent() -> None:
    """Nothing of it is on the wire, so nothing is closed."""
    network = MemoryNetwork()
    peer, client = devices(network)
    first = client.send_and_wait(TEXT, "one")
    late, cancelled = client.send_and_wait(TEXT, "two", timeout=1), client.send_and_wait(TEXT, "three")
    last = client.send_and_wait(TEXT, "four")
    cancelled.cancel()
    network.advance(2)
    with pytest.raises(RequestTimeout):
        network.result(late)
    with pytest.raises(CancelledError):
        network.result(cancelled)
    peer.send(b"ONE\n")
    peer.send(b"FOUR\n")
    assert [network.result(reply).value for reply in (first, last)] == ["ONE", "FOUR"]
    assert peer.received == b"one\nfour\n"
    network.stop()


def test_requests_that_wait_for_their_turn_are_bounded() -> None:
    """``limits.pending`` requests may wait, and ``limits.write_hard`` bytes of them, or one. What cannot be sent fails at once."""
    network = MemoryNetwork()
    peer, client = devices(network, limits=Limits(pending=4, write_low=1, write_high=2, write_hard=100))
    waiting = [client.send_and_wait(TEXT, "x" * size) for size in (10, 200)]
    with pytest.raises(QueueFull):
        network.result(client.send_and_wait(TEXT, "y"))
    with pytest.raises(LocalProtocolError, match="a line has no LF"):
        network.result(client.send_and_wait(TEXT, "\n"))
    peer.send(b"reply\n")
    waiting += [client.send_and_wait(TEXT, "z") for _ in range(3)]
    with pytest.raises(TooManyRequests):
        network.result(client.send_and_wait(TEXT, "y"))
    assert [reply.called for reply in waiting] == [True, False, False, False, False]
    peer.send(b"reply\n" * 4)
    assert all(reply.called for reply in waiting)
    network.stop()


def test_without_the_option_nothing_can_be_asked() -> None:
    """On a wire that does not say that replies come in order the error says what does; pings have idle timeouts in their place."""
    network = MemoryNetwork()
    server = serving(network)
    client = Client(wire="lines")
    network.connect(client)
    (session,) = server.clients
    for ask in (client.send_and_wait, session.send_and_wait):
        with pytest.raises(LocalProtocolError, match=r"the wire lines has no request ids: .*replies='in-order'"):
            network.result(ask(TEXT, "one"))
    for ping in (client.ping_server, session.ping):
        with pytest.raises(LocalProtocolError, match=r"the wire lines has no pings: timeouts\.idle"):
            network.result(ping())
    network.stop()
    client = Client(wire=IN_ORDER)
    network.serve(server)
    network.connect(client)
    with pytest.raises(LocalProtocolError, match="no pings"):
        network.result(client.ping_server())
    network.stop()


def test_two_thousand_requests_with_random_timeouts_none_wrong() -> None:
    """Whatever is late, cancelled or lost with its connection: a reply that arrives is the reply to its own request."""
    network, random = MemoryNetwork(), Random(15)
    server = Server(wire="lines", limits=Limits(log_lines=1, log_burst=1))

    @server.route(TEXT)
    async def answer(client: Any, message: Any) -> str:
        waited: Deferred[None] = Deferred()
        network.clock.callLater(random.choice((0, 0, 0, 0.01, 0.1, 0.5)), waited.callback, None)
        await waited
        return f"reply to {message.value}"

    network.serve(server)
    client = Client(wire=IN_ORDER, retry=RetryPolicy(initial_delay=0.001, max_delay=0.01))
    network.connect(client)
    right = wrong = failed = 0

    def settled(result: Any, number: int) -> None:
        nonlocal right, wrong, failed
        if not hasattr(result, "value") or not isinstance(result.value, str):
            failed += 1
        elif result.value == f"reply to {number}":
            right += 1
        else:
            wrong += 1

    for number in range(2_000):
        reply = client.send_and_wait(TEXT, str(number), timeout=random.choice((0.02, 0.2, 1.0)))
        reply.addBoth(settled, number)
        if random.random() < 0.02:
            reply.cancel()
        if random.random() < 0.2:
            network.advance(random.choice((0.005, 0.05, 0.3)))
    network.advance(60)
    assert right + wrong + failed == 2_000
    assert wrong == 0
    assert right > 200
    assert failed > 200
    network.stop()


# Silence.


def test_an_idle_peer_is_closed_where_there_are_no_pings() -> None:
    """``timeouts.idle`` without a byte from the peer is the end; a heartbeat line, or half of one, puts it off."""
    network = MemoryNetwork()
    server = serving(network, timeouts=Timeouts(idle=30))
    silent, alive = network.dial(), network.dial()
    for _ in range(4):
        network.advance(10)
        alive.send(b"beat\n")
    assert (silent.closed, alive.closed) == (True, False)
    assert sessions_end(server) == ["idle"]
    network.stop()


def test_a_peer_that_waits_for_a_slow_handler_is_not_idle() -> None:
    """What a handler takes is no silence of the peer, before the end of its stream and behind it."""
    network, answers = MemoryNetwork(), list[Deferred[str]]()
    server = Server(wire="lines", timeouts=Timeouts(idle=5))

    @server.route(TEXT)
    async def on_text(client: Any, message: Any) -> str:
        answers.append(Deferred())
        return await answers[-1]

    network.serve(server)
    waits, ended = network.dial(), network.dial(stays=True)
    waits.send(b"one\n")
    ended.send(b"two\n")
    ended.end_stream()
    network.advance(20)
    for answer in answers:
        answer.callback("late")
    network.pump()
    assert (bytes(waits.received), bytes(ended.received)) == (b"late\n", b"late\n")
    network.advance(11)
    assert sorted(sessions_end(server)) == ["idle", "peer_closed"]
    network.stop()


def test_by_default_a_silent_peer_may_stay() -> None:
    """A listener that never says a word is no fault."""
    network = MemoryNetwork()
    serving(network)
    peer = network.dial()
    network.advance(100_000)
    assert not peer.closed
    network.stop()


# Settings.


def test_a_stream_that_must_end_is_refused_with_tls(authority: Any) -> None:
    """TLS has no end of one direction: every place where both could be asked for is a SettingsError that names it."""
    cert = authority.issue("server", "localhost")
    for make, named in (
        (lambda: Server(wire="eof", tls_cert=cert.cert, tls_key=cert.key), "wire is 'eof'"),
        (lambda: Server(endpoint=f"eof@tls:0:cert={cert.cert}"), "endpoint is 'eof@tls"),
        (lambda: Server(wire="eof", endpoint=f"ssl:0:privateKey={cert.key}:certKey={cert.cert}"), "endpoint is 'ssl"),
        (lambda: Client(wire=EndOfStream(), tls=True), "wire is 'eof'"),
        (lambda: Client(wire="eof", endpoint="tls:localhost:7000"), "wire is 'eof'"),
    ):
        with pytest.raises(SettingsError, match="works over TLS") as caught:
            make()
        assert str(caught.value).startswith(named)


async def test_lines_over_tls(loopback: Any, authority: Any) -> None:
    """TLS is below a plain wire as below any."""
    cert = authority.issue("server", "127.0.0.1")
    server = loopback.made_server(wire="lines", tls_cert=cert.cert, tls_key=cert.key)
    server.register_route(TEXT, lambda client, message: message.value.upper())
    server.startService()
    client = loopback.client(server.port, wire=IN_ORDER, tls=True, tls_ca=authority.ca)
    await client.connect()
    assert (await client.send_and_wait(TEXT, "one")).value == "ONE"


async def test_a_factory_over_tls_refuses_a_stream_that_must_end(loopback: Any, authority: Any) -> None:
    """Where no setting tells of TLS, as with an endpoint object, each connection fails with the reason, and none hangs."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import SSL4ServerEndpoint
    from twisted.internet.ssl import DefaultOpenSSLContextFactory

    cert = authority.issue("server", "127.0.0.1")
    context = DefaultOpenSSLContextFactory(str(cert.key), str(cert.cert))
    server = loopback.made_server(wire="eof", endpoint=SSL4ServerEndpoint(reactor, 0, context, interface="127.0.0.1"))
    server.startService()
    client = loopback.client(server.port, wire="lines", tls=True, tls_ca=authority.ca)
    session = await client.connect()
    assert (await session.when_closed()).reason is DisconnectReason.PEER_CLOSED
    await server.stopService()
    assert sessions_end(server) == ["protocol_error"]


def test_a_place_may_have_a_wire_of_its_own_with_options() -> None:
    """An endpoint is a description, or a pair of a wire and one; what the wire cannot do there is said of that place."""
    server = Server(endpoints=("lines@tcp:7001", (Lines(separator=b"|"), "tcp:7002"), ("fixed-64", "tcp:7003")))
    assert [place.wire for place in server._places] == [Lines(), Lines(separator=b"|"), Fixed(64)]
    assert repr(server) == "<Server for lines@tcp:7001, lines@tcp:7002, fixed-64@tcp:7003, not listening>"
    for endpoint, said in (
        (("lines",), "pairs of a wire and an endpoint"),
        (("line", "tcp:1"), "wire is 'line'"),
        ((Fixed(2**24), "tcp:1"), "fixed-16777216@tcp:1.*max_message_size"),
    ):
        with pytest.raises(SettingsError, match=said):
            Server(endpoints=(endpoint,))
