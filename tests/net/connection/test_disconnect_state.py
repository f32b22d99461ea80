"""DisconnectState: what a client is told at each step of a lost or failed connection, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.reconnecting import HELLO, Network
from veltix_tx.disconnect import DisconnectReason, DisconnectState
from veltix_tx.errors import HandshakeTimeout, SessionClosed, VersionRefused
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.reconnect import EndpointConnector, VeltixClientFactory
from veltix_tx.settings import ClientConfig, RetryPolicy
from veltix_tx.wire.messages import PROCESS_TYPES, MessageRegistry, MessageType, Response
from veltix_tx.wire.veltix.layouts import W22

OTHER_HELLO = W22.pack(10, b"\0\x051.6.4", 1, 0) + b"\0\x051.6.4"


def times(number: int | None) -> RetryPolicy:
    """Return a policy of so many tries, one second apart."""
    return RetryPolicy(number, initial_delay=1, factor=1, max_delay=1, jitter=False)


def refused(net: Network) -> None:
    """Refuse the try."""
    net.refuse()


def dropped(net: Network) -> None:
    """Close a session from the server's side."""
    net.ready()
    net.drop()


def reset(net: Network) -> None:
    """Reset a session's connection."""
    net.ready()
    net.transport.end(ConnectionLost())
    net.wait(0)


def left(net: Network) -> None:
    """Close the session by hand."""
    net.ready()
    net.factory.session.disconnect()  # type: ignore[union-attr]
    net.wait(0)


def stopped(net: Network) -> None:
    """Stop the factory while there is a session."""
    net.ready()
    net.factory.stop()
    net.wait(0)


def silent(net: Network) -> None:
    """Say nothing until the handshake's deadline."""
    net.accept()
    net.wait(0.5)
    net.wait(0)


def other_version(net: Network) -> None:
    """Announce a version that is refused, and no other until the handshake's deadline."""
    net.accept()
    net.protocol.dataReceived(OTHER_HELLO)
    net.wait(0.5)
    net.wait(0)


def stalled(net: Network) -> None:
    """Give up a session whose peer does not read."""
    net.ready()
    net.protocol.abort(SessionClosed(DisconnectReason.WRITE_TIMEOUT))
    net.wait(0)


@pytest.mark.parametrize(
    ("happens", "reason", "at"),
    [
        (refused, "ERROR", 0),
        (dropped, "PEER_CLOSED", 0),
        (reset, "RESET", 0),
        (stalled, "WRITE_TIMEOUT", 0),
        (silent, "HANDSHAKE_TIMEOUT", 0.5),
    ],
)
@pytest.mark.parametrize("retry", [0, 1, 2, None])
def test_the_steps_of_a_loss(retry: int | None, happens: Callable[[Network], None], reason: str, at: float, network: Any) -> None:
    """The loss is step 0; one more comes with each try that fails, then the permanent one; all with the loss's reason."""
    net = network(times(retry))
    happens(net)
    if retry == 0:
        assert net.states == [(at, "P", 0, 0, reason)]
        return
    assert net.states == [(at, "no", 0, retry, reason)]
    for _ in range(2 if retry is None else retry):
        net.wait(1)
        net.refuse()
    steps = [(at + number, "no", number, retry, reason) for number in range((2 if retry is None else retry) + 1)]
    assert net.states == steps + ([] if retry is None else [(at + retry, "P", retry, retry, reason)])
    net.wait(100)
    assert len(net.states) == len(steps) + (retry is not None)


@pytest.mark.parametrize("retry", [0, 3, None])
@pytest.mark.parametrize(
    ("happens", "reason", "at"), [(left, "MANUAL", 0), (stopped, "MANUAL", 0), (other_version, "VERSION_REFUSED", 0.5)]
)
def test_what_ends_at_once(happens: Callable[[Network], None], reason: str, at: float, retry: int | None, network: Any) -> None:
    """A close by hand and a refused version are permanent at once, whatever tries there might be."""
    net = network(times(retry))
    happens(net)
    assert net.states == [(at, "P", 0, retry, reason)]
    net.wait(100)
    assert len(net.times) == len(net.states) == 1


def test_the_reason_stays_and_the_error_changes(network: Any) -> None:
    """The reason of every step is the loss's own; the error is that of the latest try."""
    net, errors = network(times(2)), []
    net.when_told = lambda state: errors.append(type(state.error))
    dropped(net)
    net.wait(1)
    silent(net)
    net.wait(1)
    other_version(net)
    assert [step[1:] for step in net.states] == [
        ("no", 0, 2, "PEER_CLOSED"),
        ("no", 1, 2, "PEER_CLOSED"),
        ("no", 2, 2, "PEER_CLOSED"),
        ("P", 2, 2, "PEER_CLOSED"),
    ]
    assert errors == [SessionClosed, HandshakeTimeout, VersionRefused, VersionRefused]


def test_a_success_begins_anew(network: Any) -> None:
    """After a session that lived the next loss is step 0 again, with a reason of its own."""
    net = network(times(2))
    refused(net)
    net.wait(1)
    net.ready()
    net.wait(5)
    net.transport.end(ConnectionLost())
    net.wait(0)
    assert net.states == [(0, "no", 0, 2, "ERROR"), (6, "no", 0, 2, "RESET")]


def test_a_session_that_does_not_live_is_a_step(network: Any) -> None:
    """It is a try that failed, with its number; from then on the reason is that of its loss."""
    net = network(times(2))
    refused(net)
    net.wait(1)
    reset(net)
    net.wait(1)
    refused(net)
    states = [(0, "no", 0, 2, "ERROR"), (1, "no", 1, 2, "RESET"), (2, "no", 2, 2, "RESET"), (2, "P", 2, 2, "RESET")]
    assert net.states == states


# Stopping the tries.


def test_stop_retry_while_waiting(network: Any) -> None:
    """stop_retry() before the next try tells the permanent step at once, with the loss's reason; no try follows."""
    net = network(times(5))
    dropped(net)
    net.wait(1)
    net.refuse()
    net.wait(0.5)
    net.factory.stop_retry()
    assert net.states[1:] == [(1, "no", 1, 5, "PEER_CLOSED"), (1.5, "P", 1, 5, "PEER_CLOSED")]
    net.factory.stop_retry()
    net.wait(100)
    assert (len(net.times), len(net.states)) == (2, 3)


@pytest.mark.parametrize("first", [True, False])
def test_stop_retry_while_a_try_is_under_way(first: bool, network: Any) -> None:
    """stop_retry() gives up a try that has not connected yet, and the permanent step is told."""
    net = network(times(5))
    if not first:
        refused(net)
        net.wait(1)
    net.factory.stop_retry()
    net.wait(100)
    assert not net.trying
    attempt = 0 if first else 1
    assert net.states[-1][1:] == ("P", attempt, 5, "ERROR")
    assert [step[1] for step in net.states].count("P") == 1
    assert len(net.times) == 1 + attempt


@pytest.mark.parametrize("succeeds", [True, False])
def test_stop_retry_in_the_handshake(succeeds: bool, network: Any) -> None:
    """stop_retry() lets a handshake under way go on; it is the last one either way."""
    net = network(times(5))
    net.accept()
    net.factory.stop_retry()
    if succeeds:
        net.protocol.dataReceived(HELLO)
        assert net.factory.session is not None
        assert net.states == []
    net.drop()
    assert net.states == [(0, "P", 0, 5, "PEER_CLOSED")]
    net.wait(100)
    assert len(net.times) == 1


def test_stop_retry_while_connected(network: Any) -> None:
    """stop_retry() leaves the session open; its loss is permanent."""
    net = network(times(5))
    net.ready()
    net.factory.stop_retry()
    assert net.factory.session.closed is None
    assert net.states == []
    net.wait(10)
    net.drop()
    assert net.states == [(10, "P", 0, 5, "PEER_CLOSED")]
    net.wait(100)
    assert len(net.times) == 1


@pytest.mark.parametrize("by", ["stop_retry", "stop"])
def test_stopping_when_told(by: str, network: Any) -> None:
    """Stopping in the very call that tells of a step makes the next one the permanent one, told once."""
    net = network(times(5))
    net.when_told = lambda state: None if state.permanent or state.attempt < 1 else getattr(net.factory, by)()
    dropped(net)
    net.wait(1)
    net.refuse()
    net.wait(100)
    reason = "MANUAL" if by == "stop" else "PEER_CLOSED"
    assert net.states[1:] == [(1, "no", 1, 5, "PEER_CLOSED"), (1, "P", 1, 5, reason)]
    assert len(net.times) == 2


@pytest.mark.parametrize("trying", [True, False])
def test_stop_after_a_loss_is_one_step(trying: bool, network: Any) -> None:
    """stop() while waiting or trying tells one permanent step, MANUAL: the user ended it, no try failed."""
    net = network(times(5))
    dropped(net)
    net.wait(1 if trying else 0.5)
    assert net.trying == trying
    net.factory.stop()
    net.wait(100)
    assert [step[1:] for step in net.states] == [("no", 0, 5, "PEER_CLOSED"), ("P", int(trying), 5, "MANUAL")]


# Trying now.


def test_retry_now_while_waiting(network: Any) -> None:
    """retry_now() tries at once; the tries that may follow are the new policy's, counted from 0."""
    net = network(times(5))
    dropped(net)
    net.wait(1)
    net.refuse()
    net.wait(0.25)
    net.factory.retry_now(times(1))
    assert net.trying
    net.refuse()
    net.wait(1)
    net.refuse()
    assert net.times == [0, 1, 1.25, 2.25]
    assert net.states[2:] == [(1.25, "no", 0, 1, "ERROR"), (2.25, "no", 1, 1, "ERROR"), (2.25, "P", 1, 1, "ERROR")]


def test_retry_now_while_connected(network: Any) -> None:
    """retry_now() with a connection leaves it, holds for its loss, and takes stop_retry() back."""
    net = network(times(0))
    net.ready()
    net.factory.stop_retry()
    net.factory.retry_now(times(1))
    net.drop()
    assert net.states == [(0, "no", 0, 1, "PEER_CLOSED")]
    net.wait(1)
    assert net.trying
    net.refuse()
    assert net.states[-1] == (1, "P", 1, 1, "PEER_CLOSED")


def test_retry_now_while_a_try_is_under_way(network: Any) -> None:
    """retry_now() makes no second try beside the one under way; the count begins with that."""
    net = network(times(1))
    dropped(net)
    net.wait(1)
    net.factory.retry_now(times(2))
    assert net.times == [0, 1]
    net.refuse()
    assert net.states[-1] == (1, "no", 0, 2, "ERROR")


# Its turn.


def test_it_comes_after_the_messages_of_the_lost_session(network: Any, recorder: Any) -> None:
    """A loss is told once the application has handled every message of the session, be it that its handler ignores the end."""
    busy: Deferred[None] = Deferred()
    busy.cancel = lambda: None  # type: ignore[method-assign]
    recorder.on_message = lambda session, message: busy
    chat = MessageType(200, "chat")
    try:
        net = network(times(1))
        net.ready()
        for content in (b"one", b"two"):
            net.protocol.dataReceived(W22.pack(chat.code, content, 0, 0) + content)
        net.drop()
        net.wait(1)
        net.refuse()
        assert recorder.contents == [b"one"]
        assert net.states == []
        recorder.on_message = lambda session, message: net.states.append((message.content,))
        busy.callback(None)
        steps = [("no", 0), ("no", 1), ("P", 1)]
        assert net.states == [(b"two",)] + [(1, kind, number, 1, "PEER_CLOSED") for kind, number in steps]
    finally:
        PROCESS_TYPES.unregister(chat)


def test_a_new_session_does_not_overtake_the_loss_of_the_old(network: Any, recorder: Any) -> None:
    """Where a handler outlasts the wait for the next try, the steps are told before the new session is, in their order."""
    net = network(times(3))
    net.when_told = lambda state: recorder.calls.append(("told", state.attempt))
    net.ready()
    busy: Deferred[None] = Deferred()
    busy.cancel = lambda: None  # type: ignore[method-assign]
    net.factory.session.reply(Response(MessageType(200, registry=MessageRegistry()), b"", 0, 0, 0), busy)
    net.drop()
    net.wait(1)
    net.refuse()
    net.wait(1)
    assert net.states == []
    net.ready()
    assert [call[:2] for call in recorder.calls if call[0] != "disconnected"] == [
        ("connected",),
        ("told", 0),
        ("told", 1),
        ("connected",),
    ]
    busy.callback(None)
    assert len(net.states) == 2


@pytest.mark.parametrize("late", [False, True])
def test_who_is_told_may_fail(late: bool, network: Any, logged_failures: Any) -> None:
    """What ``on_disconnect`` raises is logged, and the tries go on, whether it is called at the loss or before the next session."""
    net, busy = network(times(1)), Deferred()
    net.when_told = lambda state: [][state.attempt]
    net.ready()
    if late:
        net.factory.session.reply(Response(MessageType(200, registry=MessageRegistry()), b"", 0, 0, 0), busy)
    net.drop()
    net.wait(1)
    net.ready()
    assert net.factory.session is not None
    assert net.factory.session.closed is None
    assert len(logged_failures.flush(IndexError)) == 1
    net.when_told = lambda state: None
    busy.callback(None)


def test_a_connection_that_is_refused_before_its_endpoint_knows_ends_once(recorder: Any) -> None:
    """The end is told once, with its own reason, although it is noticed twice: an endpoint may fail after its protocol."""
    clock, states = Clock(), []

    @implementer(IStreamClientEndpoint)
    class Endpoint:
        def connect(self, factory: Any) -> Deferred[Any]:
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(StringTransport())
            clock.callLater(1, protocol.dataReceived, OTHER_HELLO)
            clock.callLater(2, protocol.connectionLost, Failure(ConnectionDone()))
            attempt: Deferred[Any] = Deferred()
            clock.callLater(3, attempt.errback, Failure(ConnectionDone()))
            return attempt

    clocks = Clocks(clock, clock.seconds, clock.seconds)
    factory = VeltixClientFactory(recorder, ClientConfig(wire="1.6.3"), retry=times(3), reactor=clocks, on_disconnect=states.append)
    EndpointConnector(Endpoint(), factory).connect()
    clock.pump([1, 1, 1, 1])
    assert states == [DisconnectState(True, 0, 3, DisconnectReason.VERSION_REFUSED)]


def test_two_states_are_equal_whatever_the_error() -> None:
    """A DisconnectState compares by what upstream's has; it is frozen."""
    state = DisconnectState(True, 1, 2, DisconnectReason.ERROR, KeyError())
    assert state == DisconnectState(True, 1, 2, DisconnectReason.ERROR)
    assert state != DisconnectState(True, 1, None, DisconnectReason.ERROR)
    with pytest.raises(AttributeError):
        state.permanent = False  # type: ignore[misc]
    assert DisconnectReason.PEER_CLOSED is DisconnectReason.SERVER_CLOSED
