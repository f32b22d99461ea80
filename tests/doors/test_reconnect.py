"""What a client's ``on_disconnect`` is told, ``stop_retry()`` and ``retry()``, in memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused

from veltix_tx import (
    Client,
    DisconnectReason,
    DisconnectState,
    HandshakeTimeout,
    MessageRegistry,
    MessageType,
    RetryPolicy,
    Server,
    ServerFull,
    SessionClosed,
    SettingsError,
    Timeouts,
    VersionRefused,
)
from veltix_tx.errors import FrameTooLarge
from veltix_tx.testing import MemoryNetwork, _ClientEndpoint


class Story:
    """A client in memory whose server comes and goes, and what the client is told."""

    def __init__(self, **settings: Any) -> None:
        self.network = MemoryNetwork()
        self.types = MessageRegistry()
        self.chat = MessageType(200, "chat", registry=self.types)
        self.server = Server(types=self.types)
        self.server.route(self.chat)(lambda client, message: message.content)
        self.told: list[Any] = []
        self.client = Client(types=self.types, **{"retry_delay": 0.5} | settings)
        self.client.set_callback("on_connect", lambda: self.told.append("connected"))
        self.client.set_callback("on_disconnect", self.note)

    def note(self, state: DisconnectState) -> None:
        """Write a state down."""
        step = "P" if state.permanent else "no"
        self.told.append((self.network.clock.seconds(), step, state.attempt, state.retry_max, state.reason.name))

    def serve(self) -> None:
        """Let the server come."""
        self.network.serve(self.server)

    def vanish(self) -> None:
        """Let the server go."""
        self.network.result(self.server.stopService())

    def connect(self) -> None:
        """Connect to the server, and forget about it."""
        self.serve()
        self.network.connect(self.client)
        assert self.told == ["connected"]
        self.told.clear()

    def try_in_vain(self) -> None:
        """Begin to connect where nothing listens; tries follow."""
        self.client.reactor = self.network.clocks
        self.client.configure(endpoint=_ClientEndpoint(self.network))
        self.client.connect().addErrback(lambda failure: failure.trap(Refused, SessionClosed))


# The steps.


def test_refused_without_retry() -> None:
    """A connection that cannot be made is told once, and connect() errbacks Twisted's error."""
    story = Story()
    with pytest.raises(Refused):
        story.network.connect(story.client)
    assert story.told == [(0, "P", 0, 0, "ERROR")]


def test_refused_with_two_tries() -> None:
    """The tries come at the delay and at twice the delay; each is told, then the end."""
    story = Story(retry=2)
    story.try_in_vain()
    connecting = story.client.connect()
    story.network.advance(10)
    assert story.told == [
        (0, "no", 0, 2, "ERROR"),
        (0.5, "no", 1, 2, "ERROR"),
        (1.0, "no", 2, 2, "ERROR"),
        (1.0, "P", 2, 2, "ERROR"),
    ]
    with pytest.raises(Refused):
        story.network.result(connecting)


def test_dropped_and_the_server_gone() -> None:
    """A lost connection whose server is gone is told as a refused one, with the loss's reason throughout."""
    story = Story(retry=2)
    story.connect()
    story.vanish()
    story.network.advance(10)
    assert story.told == [
        (0, "no", 0, 2, "PEER_CLOSED"),
        (0.5, "no", 1, 2, "PEER_CLOSED"),
        (1.0, "no", 2, 2, "PEER_CLOSED"),
        (1.0, "P", 2, 2, "PEER_CLOSED"),
    ]


def test_dropped_and_back_at_the_first_try() -> None:
    """A try that succeeds is no step: on_connect tells of it."""
    story = Story(retry=2)
    story.connect()
    story.network.result(story.server.clients[0].disconnect())
    story.network.advance(0.5)
    assert story.told == [(0, "no", 0, 2, "PEER_CLOSED"), "connected"]
    assert story.client.is_connected
    assert story.network.result(story.client.send_and_wait(story.chat, b"again")).content == b"again"


@pytest.mark.parametrize("settings", [{"retry": 3}, {"retry": RetryPolicy(3, initial_delay=0.5, factor=1, jitter=False)}])
def test_a_server_that_closes_at_once(settings: dict[str, Any]) -> None:
    """Sessions that end before they have lived count as tries that failed: each is told, and they come to an end."""
    story = Story(**settings)
    story.server.set_callback("on_connect", lambda client: client.disconnect())
    story.serve()
    story.client.reactor = story.network.clocks
    story.client.configure(endpoint=_ClientEndpoint(story.network))
    story.client.connect().addErrback(lambda failure: failure.trap(SessionClosed))
    story.network.advance(100)
    assert [told if isinstance(told, str) else told[1:3] for told in story.told] == [
        *("connected", ("no", 0), "connected", ("no", 1), "connected", ("no", 2)),
        *("connected", ("no", 3), ("P", 3)),
    ]
    assert story.server.counters["ready"] == 4


def test_a_server_that_closes_at_once_gets_few_visits() -> None:
    """A policy without end lets its waits grow to the longest, however often the handshake is complete."""
    story = Story(retry=RetryPolicy(jitter=False))
    story.server.set_callback("on_connect", lambda client: client.disconnect())
    story.serve()
    story.client.reactor = story.network.clocks
    story.client.configure(endpoint=_ClientEndpoint(story.network))
    story.client.connect().addErrback(lambda failure: failure.trap(SessionClosed))
    story.network.advance(300)
    assert 15 <= story.server.counters["ready"] <= 20
    story.network.result(story.client.disconnect())


def test_endless_tries_have_no_last_one() -> None:
    """With a policy without end retry_max is None, and no step is permanent until disconnect()."""
    story = Story(retry=RetryPolicy(initial_delay=1, factor=1, jitter=False))
    story.try_in_vain()
    story.network.advance(50)
    assert story.told == [(float(number), "no", number, None, "ERROR") for number in range(51)]
    story.network.result(story.client.disconnect())
    assert story.told[51:] == [(50, "P", 50, None, "MANUAL")]


@pytest.mark.parametrize("retry", [0, 4])
def test_disconnect_is_permanent(retry: int) -> None:
    """disconnect() is told as the end, MANUAL, whatever tries there might be; a second one tells nothing."""
    story = Story(retry=retry)
    story.connect()
    for _ in range(2):
        story.network.result(story.client.disconnect())
    story.network.advance(100)
    assert story.told == [(0, "P", 0, retry, "MANUAL")]


def test_a_silent_server() -> None:
    """A handshake that takes too long is told as HANDSHAKE_TIMEOUT."""
    story = Story(handshake_timeout=2)
    _, connecting = story.network.answer(story.client)
    story.network.advance(2)
    with pytest.raises(HandshakeTimeout):
        story.network.result(connecting)
    assert story.told == [(2, "P", 0, 0, "HANDSHAKE_TIMEOUT")]


@pytest.mark.parametrize("retry", [0, 3])
def test_a_refused_version(retry: int) -> None:
    """A refused version is told as the end at once: no try can go better."""
    story = Story(wire="3.3.0", retry=retry)
    peer, connecting = story.network.answer(story.client)
    text = b'{"v": "4.0.0", "pv": "2.0"}'
    peer.send(len(text).to_bytes(2, "big") + text)
    with pytest.raises(VersionRefused):
        story.network.result(connecting)
    story.network.advance(100)
    assert story.told == [(0, "P", 0, retry, "VERSION_REFUSED")]


@pytest.mark.parametrize("retry", [0, 1])
def test_a_full_server(retry: int) -> None:
    """A server that is full is told as SERVER_FULL, and tried again: a place may get free."""
    story = Story(retry=retry)
    story.server.configure(max_connection=1)
    story.serve()
    first = Client(types=story.types)
    story.network.connect(first)
    if retry == 0:
        with pytest.raises(ServerFull):
            story.network.connect(story.client)
        assert story.told == [(0, "P", 0, 0, "SERVER_FULL")]
        return
    story.try_in_vain()
    story.network.result(first.disconnect())
    story.network.advance(0.5)
    assert story.told == [(0, "no", 0, 1, "SERVER_FULL"), "connected"]


# stop_retry() and retry().


def test_stop_retry_while_waiting() -> None:
    """stop_retry() tells the end, and connect() errbacks with the last error."""
    story = Story(retry=5)
    story.try_in_vain()
    connecting = story.client.connect()
    story.network.advance(0.7)
    story.client.stop_retry()
    with pytest.raises(Refused):
        story.network.result(connecting)
    story.serve()
    story.network.advance(100)
    assert story.told == [(0, "no", 0, 5, "ERROR"), (0.5, "no", 1, 5, "ERROR"), (0.7, "P", 1, 5, "ERROR")]
    assert not story.client.is_connected


def test_stop_retry_while_connected() -> None:
    """stop_retry() leaves a connection as it is; its loss is the end."""
    story = Story(retry=5)
    story.connect()
    story.client.stop_retry()
    assert story.network.result(story.client.send_and_wait(story.chat, b"still")).content == b"still"
    story.network.result(story.server.clients[0].disconnect())
    story.network.advance(100)
    assert story.told == [(0, "P", 0, 5, "PEER_CLOSED")]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_stop_retry_when_told(step: int) -> None:
    """stop_retry() in on_disconnect itself makes the next step the last, told right after."""
    story = Story(retry=2)

    def stop(state: DisconnectState) -> None:
        story.note(state)
        if state.attempt == step:
            story.client.stop_retry()

    story.client.set_callback("on_disconnect", stop)
    story.connect()
    story.vanish()
    story.network.advance(100)
    assert [told[1:3] for told in story.told] == [("no", number) for number in range(step + 1)] + [("P", step)]


def test_stop_retry_without_a_connection_is_harmless() -> None:
    """stop_retry() before connecting does nothing; a later connect() has its tries."""
    story = Story(retry=1)
    story.client.stop_retry()
    story.try_in_vain()
    story.serve()
    story.network.advance(0.5)
    assert story.client.is_connected


def test_retry_while_waiting() -> None:
    """retry(max_=3) tries at once, and three more tries may follow, counted from 0."""
    story = Story(retry=5)
    story.try_in_vain()
    story.network.advance(0.7)
    again = story.client.retry(max_=3)
    story.network.advance(10)
    assert story.told == [
        (0, "no", 0, 5, "ERROR"),
        (0.5, "no", 1, 5, "ERROR"),
        (0.7, "no", 0, 3, "ERROR"),
        (1.2, "no", 1, 3, "ERROR"),
        (1.7, "no", 2, 3, "ERROR"),
        (2.2, "no", 3, 3, "ERROR"),
        (2.2, "P", 3, 3, "ERROR"),
    ]
    with pytest.raises(Refused):
        story.network.result(again)


def test_retry_after_the_end() -> None:
    """retry() connects again after the permanent end, with the number of tries given, or else as before."""
    story = Story()
    with pytest.raises(Refused):
        story.network.connect(story.client)
    story.told.clear()
    story.client.retry(max_=3)
    story.network.advance(0.5)
    story.serve()
    story.network.advance(0.5)
    assert story.told == [(0, "no", 0, 3, "ERROR"), (0.5, "no", 1, 3, "ERROR"), "connected"]
    story.told.clear()
    story.network.advance(5)
    story.vanish()
    assert story.told == [(6, "no", 0, 3, "PEER_CLOSED")]
    story.serve()
    assert story.network.result(story.client.retry()) is story.client.session
    assert story.network.clock.seconds() == 6


def test_retry_while_connected() -> None:
    """retry(max_=3) gives the session there is; its loss is followed by up to three tries."""
    story = Story()
    story.connect()
    session = story.client.session
    assert story.network.result(story.client.retry(max_=3)) is session
    story.vanish()
    story.network.advance(10)
    assert [told[1:4] for told in story.told] == [("no", 0, 3), ("no", 1, 3), ("no", 2, 3), ("no", 3, 3), ("P", 3, 3)]


def test_retry_when_told() -> None:
    """retry() in on_disconnect connects at once, before the delay is over and after the end."""
    story = Story(retry=1)

    def again(state: DisconnectState) -> None:
        story.note(state)
        if len(story.told) in (1, 4):
            story.client.retry().addErrback(lambda failure: failure.trap(Refused))

    story.client.set_callback("on_disconnect", again)
    story.try_in_vain()
    assert story.told == [(0, "no", 0, 1, "ERROR"), (0, "no", 0, 1, "ERROR")]
    story.network.advance(0.5)
    assert story.told[2:] == [(0.5, "no", 1, 1, "ERROR"), (0.5, "P", 1, 1, "ERROR"), (0.5, "no", 0, 1, "ERROR")]
    story.serve()
    story.network.advance(0.5)
    assert story.told[5:] == ["connected"]


@pytest.mark.parametrize("again", ["retry", "connect"])
def test_once_more_when_the_last_try_has_failed(again: str) -> None:
    """retry() and connect() on hearing that the last try failed tell the end of the tries first, and then try again."""
    story = Story(retry=1)

    def once_more(state: DisconnectState) -> None:
        story.note(state)
        if state.attempt == 1 and not state.permanent and len(story.told) == 2:
            getattr(story.client, again)().addErrback(lambda failure: failure.trap(Refused))

    story.client.set_callback("on_disconnect", once_more)
    story.try_in_vain()
    story.network.advance(0.5)
    assert [told[1:3] for told in story.told] == [("no", 0), ("no", 1), ("P", 1), ("no", 0)]
    story.serve()
    story.network.advance(0.5)
    assert story.told[4:] == ["connected"]


@pytest.mark.parametrize("wrong", [-1, True, 1.5, "3"])
def test_a_number_of_tries_that_cannot_be(wrong: Any) -> None:
    """retry() refuses what is no whole number from 0; nothing is tried."""
    story = Story(retry=2)
    with pytest.raises(SettingsError, match="max_retries"):
        story.client.retry(max_=wrong)
    assert story.client.config.retry == 2
    assert story.told == []


# on_disconnect itself.


def test_it_comes_before_the_next_connection() -> None:
    """A handler that disconnects and connects again has on_disconnect called before on_connect, though it is not done."""
    story = Story()
    story.connect()

    @story.client.route(story.chat)
    async def again(message: Any) -> None:
        await story.client.disconnect()
        await story.client.connect()
        story.told.append("handled")

    story.server.broadcast(story.chat)
    story.network.pump()
    assert story.told == [(0, "P", 0, 0, "MANUAL"), "connected", "handled"]


@pytest.mark.parametrize("how", ["the server stops", "the client leaves"])
def test_it_comes_after_the_handlers_of_the_lost_session(how: str) -> None:
    """The end of a session cancels the client's handlers, too; on_disconnect is called when the last has come to its end."""
    story = Story()
    ends: list[Deferred[None]] = []

    async def slow(message: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            ends.append(Deferred())
            await ends[-1]
            story.told.append(message.content)

    story.client.register_route(story.chat, slow, timeout=math.inf)
    story.connect()
    for content in (b"one", b"two"):
        story.server.clients[0].send(story.chat, content)
    story.network.pump()
    if how == "the server stops":
        story.vanish()
    else:
        story.network.result(story.client.disconnect())
    story.network.pump()
    assert story.told == []
    for each in range(2):
        ends[each].callback(None)
        story.network.pump()
    reason = "PEER_CLOSED" if how == "the server stops" else "MANUAL"
    assert story.told == [b"one", b"two", (0, "P", 0, 0, reason)]
    assert story.network.clock.getDelayedCalls() == []


def test_a_handler_of_the_lost_session_is_gone_when_the_next_one_comes() -> None:
    """A handler that would wait for ever ends with its session, not with the client: none is left of it after a reconnect."""
    story, cancelled = Story(retry=1), []

    async def endless(message: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            cancelled.append(message.content)
            raise

    story.client.register_route(story.chat, endless, timeout=math.inf)
    story.connect()
    old = story.server.clients[0]
    old.send(story.chat, b"wait")
    story.network.pump()
    story.network.result(old.disconnect())
    story.network.pump()
    assert (cancelled, story.told) == ([b"wait"], [(0, "no", 0, 1, "PEER_CLOSED")])
    story.network.advance(0.5)
    assert story.client.is_connected
    story.network.result(story.client.session.when_idle())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_failing_on_disconnect_is_logged_and_changes_nothing(kind: str, logged_failures: Any) -> None:
    """What on_disconnect raises, at once or later, is logged; the tries go on."""
    story = Story(retry=1)
    moment: Deferred[None] = Deferred()

    def plain(state: DisconnectState) -> None:
        raise ZeroDivisionError

    async def coroutine(state: DisconnectState) -> None:
        await moment
        raise ZeroDivisionError

    story.client.set_callback("on_disconnect", plain if kind == "plain" else coroutine)
    story.connect()
    story.network.result(story.server.clients[0].disconnect())
    moment.callback(None)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    story.network.advance(0.5)
    assert story.client.is_connected


def test_the_state_says_what_happened() -> None:
    """A state carries the error itself, for people; the reason is the loss's."""
    story, states = Story(retry=1), []
    story.client.set_callback("on_disconnect", states.append)
    story.connect()
    story.vanish()
    story.network.advance(1)
    assert [type(state.error) for state in states] == [SessionClosed, Refused, Refused]
    assert states[-1] == DisconnectState(True, 1, 1, DisconnectReason.SERVER_CLOSED)


# What fails with a connection may connect again at once.


def peer_closes(story: Story) -> None:
    """Close from the server's side."""
    story.server.clients[0].disconnect()


def peer_resets(story: Story) -> None:
    """Break the connection off from the server's side."""
    story.server.clients[0]._transport.abort(SessionClosed(DisconnectReason.WRITE_TIMEOUT))


def session_disconnects(story: Story) -> None:
    """Close the session by hand."""
    story.client.session.disconnect()


def client_disconnects(story: Story) -> None:
    """Close by the client's own method."""
    story.client.disconnect()


def client_gives_up(story: Story) -> None:
    """Abort a server that does not read."""
    story.client.session._abort_slow_reader()


def rule_is_broken(story: Story) -> None:
    """Close because of what the server sent."""
    story.client.session._transport._terminate(FrameTooLarge(2, 1))


ENDS = [peer_closes, peer_resets, session_disconnects, client_disconnects, client_gives_up, rule_is_broken]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("again", ["connect", "retry"])
def test_a_request_that_fails_with_its_connection_connects_again(end: Any, again: str) -> None:
    """``except SessionClosed: await client.connect()`` makes a new connection at once, never fails with the end of the old one."""
    story = Story()
    story.connect()
    old = story.client.session
    silent = MessageType(201, "silent", registry=story.types)
    outcomes: list[Any] = []

    async def work() -> None:
        try:
            await story.client.send_and_wait(silent)
        except SessionClosed:
            outcomes.append(story.client.is_connected)
            outcomes.append(await getattr(story.client, again)())

    story.server.register_route(silent, lambda client, message: Deferred(), timeout=math.inf)
    working = Deferred.fromCoroutine(work())
    story.network.pump()
    end(story)
    story.network.pump()
    story.network.result(working)
    assert outcomes == [False, story.client.session]
    assert story.client.session not in (None, old)
    assert [told if isinstance(told, str) else told[1] for told in story.told] == ["P", "connected"]
    story.network.advance(10)
    assert story.client.is_connected
    assert [told if isinstance(told, str) else told[1] for told in story.told] == ["P", "connected"]
    assert story.network.result(story.client.send_and_wait(story.chat, b"again")).content == b"again"
    assert old.closed is not None
    story.network.result(story.client.disconnect())


def test_a_request_that_fails_waits_for_the_tries_that_follow() -> None:
    """With tries left ``connect()`` there waits for them, as ever; no second connection is made beside."""
    story = Story(retry=2)
    story.connect()
    waiting = story.client.ping_server()
    joined: list[Any] = []
    waiting.addErrback(lambda _: story.client.connect().addBoth(joined.append))
    story.server.clients[0]._transport.abort(SessionClosed(DisconnectReason.WRITE_TIMEOUT))
    story.network.pump()
    assert joined == []
    story.network.advance(0.5)
    assert joined == [story.client.session]
    assert story.server.counters["accepted"] == 2


def test_connecting_after_stop_retry_while_the_connection_closes() -> None:
    """stop_retry() makes the connection that is closing the last one: connect() after it begins anew."""
    story = Story(retry=2)
    story.connect()
    again: list[Any] = []

    def once_more(_: object) -> None:
        story.client.stop_retry()
        story.client.connect().addBoth(again.append)

    story.client.ping_server().addErrback(once_more)
    rule_is_broken(story)
    story.network.pump()
    assert again == [story.client.session]
    assert story.told == [(0, "P", 0, 2, "PROTOCOL_ERROR"), "connected"]


def test_retry_with_no_more_tries_while_the_connection_closes() -> None:
    """retry(max_=0) on hearing of the end tries once, though no try may follow a failed one any more."""
    story = Story(retry=2)
    story.connect()
    again: list[Any] = []
    waiting = story.client.ping_server()
    waiting.addErrback(lambda _: story.client.retry(max_=0).addBoth(again.append))
    rule_is_broken(story)
    story.network.pump()
    assert again == [story.client.session]
    assert story.client.is_connected
    assert story.told == [(0, "no", 0, 0, "PROTOCOL_ERROR"), "connected"]


def test_disconnect_waits_for_an_earlier_connection_too() -> None:
    """Where connect() has replaced a connection that was still closing, disconnect() fires when both are gone."""
    story = Story(timeouts=Timeouts(close=3))
    story.connect()
    old = story.client.session
    assert old is not None
    old._transport.transport.loseConnection = lambda: None  # type: ignore[attr-defined]  # its peer takes its time
    gone: list[Any] = []
    old.disconnect().addCallback(gone.append)
    assert story.network.result(story.client.connect()) is not old
    stopped: list[Any] = []
    story.client.disconnect().addCallback(stopped.append)
    story.network.pump()
    assert story.server.counters["closed_peer_closed"] == 1
    assert (gone, stopped) == ([], [])
    story.network.advance(3)
    assert (len(gone), stopped) == (1, [None])
