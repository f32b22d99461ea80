"""Reconnecting: how long between tries, what ends them, what stop() leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, NotConnectingError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IConnector, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.deferreds import outcome
from tests.support.reconnecting import HELLO, POLICY
from veltix_tx.disconnect import DisconnectReason
from veltix_tx.errors import HandshakeError, HandshakeTimeout, SessionClosed, VersionRefused
from veltix_tx.net.clock import Clocks
from veltix_tx.net.connection.reconnect import EndpointConnector, VeltixClientFactory
from veltix_tx.settings import RetryPolicy
from veltix_tx.wire.messages import PING
from veltix_tx.wire.veltix.layouts import W22

OTHER_HELLO = W22.pack(10, b"\0\x051.6.4", 1, 0) + b"\0\x051.6.4"


def test_the_wait_grows_as_the_policy_says(network: Any) -> None:
    """After refused connections the tries follow the RetryPolicy up to its longest wait, without end."""
    net = network()
    for _ in range(7):
        net.refuse()
        net.wait(10)
    waits = [0, 1, 2, 4, 8, 10, 10, 10]
    assert net.factory.retries == 7
    assert len(net.times) == 8
    net = network()
    for wait in waits[1:]:
        net.refuse()
        net.wait(wait - 0.001)
        assert not net.trying
        net.wait(0.001)
        assert net.trying


def test_jitter_draws_the_wait(network: Any) -> None:
    """With jitter the wait is drawn between nothing and the policy's."""
    net = network(RetryPolicy(initial_delay=1, factor=1, max_delay=1))
    waits = []
    for _ in range(20):
        net.refuse()
        (call,) = net.clock.getDelayedCalls()
        waits.append(call.getTime() - net.clock.seconds())
        net.wait(1)
    assert all(0 <= wait <= 1 for wait in waits)
    assert len(set(waits)) == 20


def test_a_server_that_accepts_and_refuses_is_no_success(network: Any) -> None:
    """Connections without a finished handshake make the wait grow like refused ones."""
    net = network()
    for wait in (1, 2, 4, 8, 10):
        net.accept()
        net.drop()
        assert not net.trying
        net.wait(wait - 0.001)
        assert not net.trying
        net.wait(0.001)
        assert net.trying


def test_a_silent_server_is_no_success(network: Any) -> None:
    """A handshake that times out makes the wait grow, too."""
    net = network()
    for wait in (1, 2, 4):
        net.accept()
        net.wait(0.5)
        net.wait(0)
        net.wait(wait - 0.001)
        assert not net.trying
        net.wait(0.001)
        assert net.trying


def nothing(net: Any) -> None:
    """Live almost as long as it takes."""
    net.wait(POLICY.stable_after - 0.01)


def time(net: Any) -> None:
    """Live as long as it takes."""
    net.wait(POLICY.stable_after)


def ping(net: Any) -> None:
    """Get a ping, which any connection may bring."""
    net.say(PING.code, b"")


def message(net: Any) -> None:
    """Get a message."""
    net.say(net.chat.code, b"hello")


def reply(net: Any) -> None:
    """Get a reply."""
    request = net.factory.session.send_and_wait(net.chat, b"?")
    net.say(net.chat.code, b"hello", request.request_id)
    assert request.called


@pytest.mark.parametrize(("lives", "counts"), [(nothing, False), (ping, False), (time, True), (message, True), (reply, True)])
def test_only_a_session_that_lived_starts_the_count_again(lives: Any, counts: bool, network: Any) -> None:
    """The first wait is the shortest again after a session that lasted ``stable_after`` seconds or got a message."""
    net = network()
    for _ in range(2):
        net.refuse()
        net.wait(10)
    net.ready()
    assert net.factory.session is not None
    lives(net)
    net.drop()
    assert net.factory.session is None
    wait = 1 if counts else 4
    net.wait(wait - 0.001)
    assert not net.trying
    net.wait(0.001)
    assert net.trying


@pytest.mark.parametrize("tries", [0, 3, 5])
def test_a_server_that_closes_each_session_at_once_is_given_up(tries: int, network: Any) -> None:
    """Sessions that do not live use up the tries, and make the waits grow, as refused connections do."""
    net = network(replace(POLICY, max_retries=tries))
    for wait in (1, 2, 4, 8, 10)[:tries]:
        net.ready()
        net.drop()
        assert not net.trying
        net.wait(wait)
        assert net.trying
    net.ready()
    net.drop()
    assert net.factory.finished
    net.wait(1000)
    assert len(net.times) == tries + 1
    assert [state[1:3] for state in net.states] == [("no", number) for number in range(tries + (tries > 0))] + [("P", tries)]
    assert {state[4] for state in net.states} == {"PEER_CLOSED"}


def test_stable_after_0_takes_every_session_for_a_success(network: Any) -> None:
    """With it only the handshake counts."""
    net = network(replace(POLICY, stable_after=0, max_retries=1))
    for _ in range(5):
        net.ready()
        net.drop()
        net.wait(1)
    assert net.trying


def test_the_time_is_counted_from_the_end_of_connected(network: Any, recorder: Any) -> None:
    """A session lives from its admission on: neither the time before nor a message that came before counts."""
    done: Deferred[None] = Deferred()
    recorder.on_connected = lambda session: done
    net = network()
    net.refuse()
    net.wait(1)
    net.ready()
    net.wait(2 * POLICY.stable_after)
    net.say(net.chat.code, b"before")
    done.callback(None)
    assert recorder.contents == [b"before"]
    net.drop()
    net.wait(1)
    assert not net.trying
    net.wait(1)
    assert net.trying


def test_when_ready_waits_through_the_tries(network: Any) -> None:
    """when_ready gives each caller a Deferred, fires with the session of whichever try succeeds, then at once."""
    net = network()
    cancelled = net.factory.when_ready()
    waiting = [outcome(net.factory.when_ready()) for _ in range(2)]
    gone = outcome(cancelled)
    cancelled.cancel()
    assert isinstance(gone[0], CancelledError)
    net.refuse()
    net.wait(1)
    assert waiting == [[], []]
    net.ready()
    assert waiting == [[net.factory.session], [net.factory.session]]
    assert outcome(net.factory.when_ready()) == [net.factory.session]
    net.drop()
    again = outcome(net.factory.when_ready())
    net.wait(2)
    assert again == []
    net.ready()
    assert again == [net.factory.session]
    assert again != waiting[0]


def test_a_closed_session_is_never_ready(network: Any) -> None:
    """when_ready does not fire with a session that is closed but whose connection is not gone yet."""
    net = network()
    net.ready()
    closing = net.factory.session
    net.protocol.close(SessionClosed(DisconnectReason.PROTOCOL_ERROR))
    ready = outcome(net.factory.when_ready())
    assert ready == []
    net.wait(0)
    net.wait(1)
    net.ready()
    assert ready == [net.factory.session]
    assert net.factory.session is not closing


def test_a_disconnect_by_hand_is_final(network: Any) -> None:
    """Who disconnects a session does not want it back: no further try is made."""
    net = network()
    net.ready()
    net.factory.session.disconnect()
    net.wait(0)
    net.wait(100)
    assert net.factory.session is None
    assert net.factory.finished


def test_a_refused_version_ends_the_tries(network: Any) -> None:
    """VersionRefused fails when_ready with the error itself, when no other hello has come in time, and no further try is made."""
    net = network()
    waiting = outcome(net.factory.when_ready())
    net.accept()
    net.protocol.dataReceived(OTHER_HELLO)
    net.wait(0.499)
    assert waiting == []
    net.wait(0.001)
    net.wait(0)
    assert isinstance(waiting[0], VersionRefused)
    assert "1.6.4" in str(waiting[0])
    net.wait(1000)
    assert len(net.times) == 1
    assert net.factory.finished
    assert outcome(net.factory.when_ready()) == waiting


@pytest.mark.parametrize("tries", [0, 2])
def test_the_last_error_is_told_when_the_tries_are_used_up(tries: int, network: Any) -> None:
    """After max_retries when_ready errbacks with the error of the last try."""
    net = network(RetryPolicy(max_retries=tries, initial_delay=1, factor=1, jitter=False))
    waiting = outcome(net.factory.when_ready())
    for _ in range(tries):
        net.refuse()
        net.wait(1)
        assert waiting == []
    net.accept()
    net.wait(0.5)
    net.wait(0)
    assert isinstance(waiting[0], HandshakeTimeout)
    net.wait(100)
    assert len(net.times) == tries + 1
    assert net.factory.finished


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda net: net.refuse(), Refused),
        (lambda net: (net.accept(), net.drop()), HandshakeError),
        (lambda net: (net.accept(), net.transport.end(ConnectionLost()), net.wait(0)), SessionClosed),
    ],
)
def test_each_failure_is_told_by_its_own_error(end: Any, kind: type, network: Any) -> None:
    """A refused connection, a close in the handshake and a reset are told apart."""
    net = network(RetryPolicy(max_retries=0))
    waiting = outcome(net.factory.when_ready())
    end(net)
    assert isinstance(waiting[0], kind)


# Stopping.


@pytest.mark.parametrize("state", ["connecting", "handshake", "ready", "waiting"])
def test_stop_ends_everything(state: str, network: Any) -> None:
    """stop() in any state fires when the connection is gone, fails what waits, and no try follows."""
    net = network()
    waiting = outcome(net.factory.when_ready())
    if state == "handshake":
        net.accept()
    elif state == "ready":
        net.ready()
    elif state == "waiting":
        net.refuse()
    stopped = outcome(net.factory.stop())
    again = outcome(net.factory.stop())
    net.wait(0)
    assert stopped == again == [None]
    if state == "ready":
        assert waiting[0].closed.reason is DisconnectReason.MANUAL
    else:
        assert waiting[0].reason is DisconnectReason.MANUAL
    assert net.factory.finished
    assert net.clock.getDelayedCalls() == []
    net.wait(1000)
    assert len(net.times) == 1
    assert net.factory.session is None
    assert isinstance(outcome(net.factory.when_ready())[0], SessionClosed)


def test_stop_in_the_handshake_is_not_resurrected(network: Any) -> None:
    """A handshake that would be complete after stop() brings no session and no further tries."""
    net = network()
    net.accept()
    net.factory.stop()
    net.protocol.dataReceived(HELLO)
    net.wait(0)
    assert net.factory.session is None
    net.wait(1000)
    assert len(net.times) == 1


def test_stop_before_the_first_try_is_allowed(recorder: Any) -> None:
    """A factory that never tried can be stopped."""
    factory = VeltixClientFactory(recorder, reactor=Clock())  # type: ignore[arg-type]
    assert outcome(factory.stop()) == [None]
    assert isinstance(outcome(factory.when_ready())[0], SessionClosed)


def test_a_loss_without_a_protocol_is_tried_again(recorder: Any) -> None:
    """A connection that is lost before it has a protocol counts as a failed try."""
    clock = MemoryReactorClock()
    factory = VeltixClientFactory(recorder, retry=POLICY, reactor=clock)
    factory.clientConnectionLost(clock.connectTCP("127.0.0.1", 8080, factory), Failure(ConnectionLost()))
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 1
    factory.stop()
    assert clock.getDelayedCalls() == []


# The connector for endpoints.


@implementer(IStreamClientEndpoint)
class Endpoint:
    def __init__(self, result: Callable[[], Deferred[Any]]) -> None:
        self._result = result

    def connect(self, factory: Any) -> Deferred[Any]:
        """Begin a try."""
        return self._result()


def test_the_endpoint_connector_is_a_connector(recorder: Any) -> None:
    """It provides IConnector, tells its endpoint, and has nothing to stop when nothing is under way."""
    factory = VeltixClientFactory(recorder, retry=RetryPolicy(max_retries=0), reactor=Clock())  # type: ignore[arg-type]
    endpoint = Endpoint(lambda: fail(Refused()))
    connector = EndpointConnector(endpoint, factory)
    assert verifyObject(IConnector, connector)
    assert connector.getDestination() is endpoint
    assert "Endpoint" in repr(connector)
    with pytest.raises(NotConnectingError):
        connector.stopConnecting()
    connector.connect()
    assert factory.finished
    with pytest.raises(NotConnectingError):
        connector.stopConnecting()


def test_disconnect_of_the_connector_stops_the_factory(recorder: Any) -> None:
    """disconnect() cancels a try under way and makes the factory idle."""
    attempt: Deferred[Any] = Deferred()
    factory = VeltixClientFactory(recorder, reactor=Clock())  # type: ignore[arg-type]
    connector = EndpointConnector(Endpoint(lambda: attempt), factory)
    connector.connect()
    connector.disconnect()
    assert attempt.called
    assert factory.finished


def test_a_connection_that_is_lost_at_once_is_tried_again(recorder: Any) -> None:
    """A protocol that is gone before the endpoint tells of it counts as a failed try."""
    clock = Clock()
    factory = VeltixClientFactory(recorder, retry=POLICY, reactor=Clocks(clock, clock.seconds, clock.seconds))

    def connect() -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.connectionLost(Failure(ConnectionDone()))
        return succeed(protocol)

    connector = EndpointConnector(Endpoint(connect), factory)
    connector.connect()
    (call,) = clock.getDelayedCalls()
    assert call.getTime() == 1
    factory.stop()
    assert clock.getDelayedCalls() == []
