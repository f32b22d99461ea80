"""Connecting to names and addresses: which are tried when, on a reactor whose look-ups and connections a test moves."""

from __future__ import annotations

from socket import gaierror, if_nameindex
from typing import Any

import pytest
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError, NoRouteError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.name_resolution import Reactor
from tests.support.reconnecting import HELLO
from veltix_tx import Client, RetryPolicy, SessionClosed
from veltix_tx.net.clock import Clocks
from veltix_tx.net.transport.connecting import HostEndpoint, tcp_endpoint

SIX, FOUR = ("::1", "::2", "::3"), ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Try:
    """A try to connect to a name."""

    def __init__(self, *hosts: str) -> None:
        self.reactor = Reactor()
        self.made: list[Protocol] = []
        self.factory = Factory.forProtocol(Protocol)
        self.outcome: list[Any] = []
        self.connecting: Deferred[Any] = HostEndpoint(self.reactor, "name", 8080, 5).connect(self.factory)
        self.connecting.addCallbacks(self.outcome.append, lambda failure: self.outcome.append(failure.value))
        if hosts:
            self.reactor.answer(*hosts)


def test_it_is_an_endpoint() -> None:
    """It provides IStreamClientEndpoint and says what it is."""
    endpoint = HostEndpoint(Reactor(), "name", 8080, 5)
    assert verifyObject(IStreamClientEndpoint, endpoint)
    assert repr(endpoint) == "<HostEndpoint name:8080>"


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ((*SIX, *FOUR), ("::1", "127.0.0.1", "::2", "127.0.0.2", "::3", "127.0.0.3")),
        ((*FOUR, *SIX), ("127.0.0.1", "::1", "127.0.0.2", "::2", "127.0.0.3", "::3")),
        (("::1", "::1", "127.0.0.1", "::1"), ("::1", "127.0.0.1")),
        (("::1", *FOUR), ("::1", *FOUR)),
    ],
)
def test_an_address_that_refuses_starts_the_next_one_at_once(found: tuple[str, ...], tried: tuple[str, ...]) -> None:
    """No time passes between them; the families take turns, each address is tried once, and the last error is told."""
    it = Try(*found)
    for number in range(len(tried)):
        assert it.reactor.tried == list(tried[: number + 1])
        assert it.outcome == []
        it.reactor.refuse(number, NoRouteError() if number < len(tried) - 1 else Refused())
    assert isinstance(it.outcome[0], Refused)
    assert it.reactor.seconds() == 0
    assert it.reactor.getDelayedCalls() == []


def test_an_address_that_hangs_has_a_head_start() -> None:
    """The next one is tried beside it after a quarter of a second of the given reactor; the first to connect wins."""
    it = Try("::1", "127.0.0.1", "::2")
    it.reactor.advance(0.249)
    assert it.reactor.tried == ["::1"]
    it.reactor.advance(0.001)
    assert it.reactor.tried == ["::1", "127.0.0.1"]
    it.reactor.advance(0.2)
    it.reactor.refuse(1)
    assert it.reactor.tried == ["::1", "127.0.0.1", "::2"]
    it.reactor.advance(10)
    protocol = it.reactor.accept(0)
    assert it.outcome == [protocol.wrappedProtocol if hasattr(protocol, "wrappedProtocol") else protocol._wrappedProtocol]
    assert it.reactor.stopped == [2]
    assert it.reactor.getDelayedCalls() == []


def test_the_failure_of_one_waits_for_those_that_run() -> None:
    """While another address has not answered, the last refusal is not the end."""
    it = Try("::1", "127.0.0.1")
    it.reactor.advance(0.25)
    it.reactor.refuse(1)
    assert it.outcome == []
    it.reactor.refuse(0, NoRouteError())
    assert isinstance(it.outcome[0], NoRouteError)


def test_a_name_without_an_address() -> None:
    """It is Twisted's DNSLookupError, in which the name stands."""
    it = Try()
    it.reactor.answer()
    (error,) = it.outcome
    assert isinstance(error, DNSLookupError)
    assert str(error) == "DNS lookup failed: no address was found for 'name'."


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\xe9" * 64, "a\0b", "."])
def test_what_cannot_be_a_name(host: str) -> None:
    """It is not looked up: resolvers fail at it in ways of their own, or never answer."""
    reactor, failed = Reactor(), []  # type: ignore[var-annotated]
    connecting = HostEndpoint(reactor, host, 8080, 5).connect(Factory.forProtocol(Protocol))
    connecting.addErrback(lambda failure: failed.append(failure.value))
    assert isinstance(failed[0], DNSLookupError)
    assert str(failed[0]).endswith("is no host name.")
    assert reactor.lookups == []


@pytest.mark.parametrize("when", ["looking up", "connecting"])
def test_giving_up(when: str) -> None:
    """Cancelling ends it at once, and what comes after is ignored: a late answer, or tries that are under way."""
    it = Try(*(("::1", "127.0.0.1", "::2") if when == "connecting" else ()))
    if when == "connecting":
        it.reactor.advance(0.25)
    it.connecting.cancel()
    assert len(it.outcome) == 1
    if when == "looking up":
        it.reactor.answer("::1")
        assert it.reactor.tried == []
    else:
        assert it.reactor.stopped == [0, 1]
        for number in range(2):
            it.reactor.refuse(number)
    assert it.reactor.getDelayedCalls() == []
    assert len(it.outcome) == 1


def test_only_so_many_addresses_are_tried() -> None:
    """A name with thousands of addresses does not hold a try up, nor nest too deep."""
    it = Try(*(f"10.0.{number // 256}.{number % 256}" for number in range(3000)))
    for number in range(32):
        it.reactor.refuse(number)
    assert isinstance(it.outcome[0], Refused)
    assert len(it.reactor.tried) == 32


def test_a_zone_that_was_looked_up_is_kept() -> None:
    """A link-local address is of use with its zone only."""
    it = Try()
    receiver = it.reactor.lookups[0][1]
    receiver.addressResolved(IPv6Address("TCP", "fe80::1", 8080, 0, 3))
    receiver.resolutionComplete()
    assert it.reactor.tried == ["fe80::1%3"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%7"])
def test_an_address_is_not_looked_up(host: str) -> None:
    """It is connected to as it is."""
    reactor = Reactor()
    tcp_endpoint(reactor, host, 8080, 5).connect(Factory.forProtocol(Protocol))
    assert (reactor.lookups, reactor.tried) == ([], [host])


def test_a_zone_is_the_number_of_its_interface() -> None:
    """The C library takes the name of an interface only for some addresses; its number for all."""
    number, name = if_nameindex()[0]
    reactor = Reactor()
    tcp_endpoint(reactor, f"::1%{name}", 8080, 5).connect(Factory.forProtocol(Protocol))
    assert reactor.tried == [f"::1%{number}"]


def test_a_zone_that_is_none() -> None:
    """An interface that this machine does not have is a ConnectError of one line that names it."""
    errors: list[Any] = []
    connecting = tcp_endpoint(Reactor(), "fe80::1%nosuch", 8080, 5).connect(Factory.forProtocol(Protocol))
    connecting.addErrback(lambda failure: errors.append(failure.value))
    (error,) = errors
    assert isinstance(error, ConnectError)
    assert "this machine has no network interface 'nosuch', of fe80::1%nosuch" in str(error)


# The time for a try.


class Story:
    """A client whose name is looked up by hand, and what comes of its connect()."""

    def __init__(self, **settings: Any) -> None:
        self.reactor = Reactor()
        clocks = Clocks(self.reactor, self.reactor.seconds, self.reactor.seconds)
        settings = {"wire": "1.6.3", "connect_timeout": 0.5, "handshake_timeout": 2.0, **settings}
        self.client = Client("name", 8080, reactor=clocks, **settings)
        self.outcome: list[Any] = []
        self.client.connect().addCallbacks(self.outcome.append, lambda failure: self.outcome.append(failure.value))

    def serve(self, number: int) -> Any:
        """Let a try succeed, and complete its handshake; return the protocol."""
        protocol = self.reactor.accept(number)
        protocol.dataReceived(HELLO)
        return protocol

    def end(self) -> None:
        """End all; nothing is left on the clock."""
        self.client.disconnect()
        session = self.client.session
        if session is not None:
            session._transport.connectionLost()
        self.reactor.advance(10)
        assert self.reactor.getDelayedCalls() == []


def test_a_look_up_that_hangs_is_given_up() -> None:
    """After connect_timeout of the client's own clock connect() errbacks with a ConnectError; the late answer is ignored."""
    story = Story()
    story.reactor.advance(0.499)
    assert story.outcome == []
    story.reactor.advance(0.001)
    (error,) = story.outcome
    assert isinstance(error, TimedOut)
    assert str(error) == "User timeout caused connection failure: no connection within 0.5 s (connect_timeout)."
    story.reactor.answer("127.0.0.1")
    story.reactor.advance(10)
    assert story.reactor.tried == []
    story.end()


def test_the_time_is_for_look_up_and_connection_together() -> None:
    """What the look-up took is not there for the addresses, however many there are."""
    story = Story()
    story.reactor.advance(0.4)
    story.reactor.answer("::1", "127.0.0.1", "::2")
    story.reactor.advance(0.1)
    assert isinstance(story.outcome[0], TimedOut)
    assert story.reactor.tried == ["::1"]
    assert story.reactor.stopped == [0]
    story.end()


def test_a_client_that_tries_again_comes_back_after_a_look_up_that_hung() -> None:
    """The next try looks up anew, at the first connection and after a loss; answers to the earlier ones are ignored."""
    story = Story(retry=RetryPolicy(initial_delay=1, factor=1, jitter=False))
    story.reactor.advance(0.5)
    story.reactor.advance(1)
    story.reactor.answer("127.0.0.1", lookup=0)
    assert story.reactor.tried == []
    story.reactor.answer("127.0.0.1")
    protocol = story.serve(0)
    assert story.outcome == [story.client.session]
    story.reactor.advance(5)
    protocol._wrappedProtocol.connectionLost(Failure(ConnectionDone()))
    story.reactor.advance(1)
    assert len(story.reactor.lookups) == 3
    story.reactor.advance(0.5)
    story.reactor.advance(1)
    story.reactor.answer("127.0.0.1")
    story.serve(1)
    assert story.client.is_connected
    story.reactor.answer("127.0.0.1", lookup=2)
    assert story.reactor.tried == ["127.0.0.1"] * 2
    story.end()


def test_the_handshake_has_a_time_of_its_own() -> None:
    """Once there is a connection connect_timeout counts no more."""
    story = Story()
    story.reactor.answer("127.0.0.1")
    transport = story.reactor.accept(0).transport
    story.reactor.advance(1.9)
    assert (story.outcome, transport.disconnecting) == ([], False)
    story.reactor.advance(0.1)
    story.reactor.advance(0)
    assert transport.disconnecting
    story.end()


@implementer(IStreamClientEndpoint)
class Deaf:
    """An endpoint that does not mind being cancelled, and builds a protocol when it is told to."""

    def __init__(self) -> None:
        self.factories: list[Any] = []
        self.deferreds: list[Deferred[Any]] = []

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Wait."""
        again: Deferred[Any] = Deferred()
        self.factories.append(protocolFactory)
        self.deferreds.append(again)
        first: Deferred[Any] = Deferred()
        return first.addErrback(lambda _: again)

    def finish(self, number: int) -> Any:
        """Connect after all."""
        protocol = self.factories[number].buildProtocol(None)
        if protocol is not None:
            protocol.makeConnection(StringTransport())
        self.deferreds[number].callback(protocol)
        return protocol


@pytest.mark.parametrize("endpoint", ["tcp:name:8080", "tcp:name:8080:timeout=60", None])
def test_the_time_holds_for_every_endpoint(endpoint: str | None) -> None:
    """An endpoint string with a time of its own, and an endpoint that cannot be cancelled: the try ends, and the next begins."""
    deaf = Deaf()
    story = Story(endpoint=endpoint or deaf, retry=1, retry_delay=1)
    story.reactor.advance(0.5)
    assert story.outcome == []
    story.reactor.advance(1)
    if endpoint is None:
        assert deaf.finish(0) is None
        protocol = deaf.finish(1)
        assert deaf.factories[1].buildProtocol(None) is None
    else:
        assert story.reactor.stopped == [0]
        protocol = story.reactor.accept(1)
    protocol.dataReceived(HELLO)
    assert story.outcome == [story.client.session]
    story.reactor.advance(20)
    assert story.client.is_connected
    story.end()


def test_the_time_holds_for_tls(authority: Any) -> None:
    """Below TLS a look-up is bounded as well."""
    story = Story(tls=True, tls_ca=authority.ca, tls_name="localhost", wire="auto")
    story.reactor.advance(0.5)
    assert isinstance(story.outcome[0], TimedOut)
    story.reactor.answer("127.0.0.1")
    assert story.reactor.tried == []
    story.end()


def test_a_protocol_that_was_made_and_never_connected_is_forgotten() -> None:
    """An endpoint that fails, or hangs, after it has built the protocol counts as a failed try; disconnect() ends it, too."""
    deaf = Deaf()
    story = Story(endpoint=deaf, retry=2, retry_delay=1)
    deaf.factories[0].buildProtocol(None)
    story.reactor.advance(0.5)
    story.reactor.advance(1)
    deaf.factories[1].buildProtocol(None)
    deaf.deferreds[1].errback(Refused())
    story.reactor.advance(0.5)
    story.reactor.advance(1)
    deaf.factories[2].buildProtocol(None)
    stopped: list[Any] = []
    story.client.disconnect().addCallback(stopped.append)
    assert stopped == [None]
    assert isinstance(story.outcome[0], SessionClosed)
    story.end()


def test_giving_up_a_try_is_a_connect_error() -> None:
    """stop_retry() while a name is looked up ends the look-up, and connect() errbacks with what says so."""
    story = Story(retry=3)
    story.client.stop_retry()
    (error,) = story.outcome
    assert isinstance(error, ConnectError)
    assert str(error) == "User aborted connection: the try was given up."
    story.reactor.answer("127.0.0.1")
    assert story.reactor.tried == []
    story.end()


def test_what_the_c_library_says_of_an_address_is_a_connect_error() -> None:
    """A zone that is none in an endpoint string is one line, with the endpoint in it."""
    story = Story(endpoint=r"tcp:host=fe80\:\:1%nosuch:port=8080")
    story.reactor.tcpClients.clear()

    def connect(*_: Any, **__: Any) -> None:
        raise gaierror(-2, "Name or service not known")

    story.end()
    story.reactor.connectTCP = connect  # type: ignore[method-assign, assignment]
    failed: list[Any] = []
    story.client.connect().addErrback(lambda failure: failed.append(failure.value))
    (error,) = failed
    assert isinstance(error, ConnectError)
    assert "is no address that can be connected to (Name or service not known)" in str(error)
